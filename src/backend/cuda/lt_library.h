/* lt_library.h: cuBLASLt, opened at run time: a program with the CUDA backend starts and runs where it is absent. */
#ifndef CUDA_LT_LIBRARY_H
#define CUDA_LT_LIBRARY_H

#include <cublasLt.h>

#include "backend/cuda/library_loader.h"
#include "viva/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every function that is used: name without its prefix, arguments. All return cublasStatus_t. */
#define LT_FUNCTIONS(X)                                                                                                \
  X(Create, (cublasLtHandle_t * handle))                                                                               \
  X(Destroy, (cublasLtHandle_t handle))                                                                                \
  X(MatmulDescCreate, (cublasLtMatmulDesc_t * made, cublasComputeType_t compute, cudaDataType_t scale))                \
  X(MatmulDescDestroy, (cublasLtMatmulDesc_t desc))                                                                    \
  X(MatmulDescSetAttribute,                                                                                            \
    (cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t which, const void *value, size_t bytes))                \
  X(MatrixLayoutCreate, (cublasLtMatrixLayout_t * made, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld))  \
  X(MatrixLayoutDestroy, (cublasLtMatrixLayout_t layout))                                                              \
  X(MatmulPreferenceCreate, (cublasLtMatmulPreference_t * made))                                                       \
  X(MatmulPreferenceDestroy, (cublasLtMatmulPreference_t preference))                                                  \
  X(MatmulPreferenceSetAttribute, (cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t which,  \
                                   const void *value, size_t bytes))                                                   \
  X(MatmulAlgoGetHeuristic,                                                                                            \
    (cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,           \
     cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int most,              \
     cublasLtMatmulHeuristicResult_t *results, int *found))                                                            \
  X(MatmulAlgoInit, (cublasLtHandle_t handle, cublasComputeType_t compute, cudaDataType_t scale, cudaDataType_t a,     \
                     cudaDataType_t b, cudaDataType_t c, cudaDataType_t d, int id, cublasLtMatmulAlgo_t *algo))        \
  X(MatmulAlgoConfigSetAttribute,                                                                                      \
    (cublasLtMatmulAlgo_t * algo, cublasLtMatmulAlgoConfigAttributes_t which, const void *value, size_t bytes))        \
  X(MatmulAlgoConfigGetAttribute, (const cublasLtMatmulAlgo_t *algo, cublasLtMatmulAlgoConfigAttributes_t which,       \
                                   void *value, size_t bytes, size_t *written))                                        \
  X(MatmulAlgoCheck, (cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,                    \
                      cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,                    \
                      const cublasLtMatmulAlgo_t *algo, cublasLtMatmulHeuristicResult_t *result))                      \
  X(Matmul, (cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,                     \
             cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout, const void *beta,        \
             const void *c, cublasLtMatrixLayout_t c_layout, void *d, cublasLtMatrixLayout_t d_layout,                 \
             const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes, cudaStream_t stream))

typedef struct lt_library {
  const library_loader *loader;
  void *file;
  size_t version; /* as the library says: 130100 is 13.1 */
  cublasLtHandle_t handle;
  size_t (*GetVersion)(void);
#define LT_POINTER(name, arguments) cublasStatus_t(*name) arguments;
  LT_FUNCTIONS(LT_POINTER)
#undef LT_POINTER
} lt_library;

/* Opens the library and makes its handle for the current device. Errors: E_UNSUPPORTED (absent, too old, or it lacks a
 * function: named); then *library is zero. */
viva_status lt_library_open(const library_loader *loader, lt_library *library, viva_error *error);

void lt_library_close(lt_library *library);

#ifdef __cplusplus
}
#endif
#endif
