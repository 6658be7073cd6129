/* sparse_library.h: cuSPARSELt, opened at run time. Its header comes with the library and not with the CUDA toolkit,
 * so what is used of it is declared here, as versions 0.8 to 0.10 have it.
 */
#ifndef CUDA_SPARSE_LIBRARY_H
#define CUDA_SPARSE_LIBRARY_H

#include <cuda_runtime_api.h>
#include <library_types.h>
#include <stdint.h>

#include "backend/cuda/library_loader.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The library's objects. It declares each as 512 bytes aligned to 16; a later version might want more. */
typedef struct sparse_object {
  uint8_t data[2048] __attribute__((aligned(64)));
} sparse_object;

/* Values of its enums. */
enum {
  SPARSE_OK = 0,             /* CUSPARSE_STATUS_SUCCESS */
  SPARSE_ORDER_COL = 1,      /* cusparseOrder_t */
  SPARSE_ORDER_ROW = 2,      /* */
  SPARSE_NOT_TRANSPOSED = 0, /* cusparseOperation_t */
  SPARSE_HALF = 0,           /* cusparseLtSparsity_t: 50 percent */
  SPARSE_COMPUTE_32I = 0,    /* cusparseComputeType */
  SPARSE_ALG_DEFAULT = 0,    /* cusparseLtMatmulAlg_t */
  SPARSE_ALG_ID = 0,         /* cusparseLtMatmulAlgAttribute_t, int each */
  SPARSE_ALG_MOST = 1,       /* read only: ids are below */
  SPARSE_ALG_SPLIT_K = 3,    /* */
  SPARSE_ALG_SPLIT_MODE = 4, /* */
  SPARSE_ALG_BUFFERS = 5     /* */
};

/* Every function that is used: name without its prefix, arguments. All return a status, 0 for success. */
#define SPARSE_FUNCTIONS(X)                                                                                            \
  X(Init, (sparse_object * handle))                                                                                    \
  X(Destroy, (const sparse_object *handle))                                                                            \
  X(GetVersion, (const sparse_object *handle, int *version))                                                           \
  X(DenseDescriptorInit, (const sparse_object *handle, sparse_object *made, int64_t rows, int64_t cols, int64_t ld,    \
                          uint32_t alignment, cudaDataType type, int order))                                           \
  X(StructuredDescriptorInit, (const sparse_object *handle, sparse_object *made, int64_t rows, int64_t cols,           \
                               int64_t ld, uint32_t alignment, cudaDataType type, int order, int sparsity))            \
  X(MatDescriptorDestroy, (const sparse_object *descriptor))                                                           \
  X(MatmulDescriptorInit,                                                                                              \
    (const sparse_object *handle, sparse_object *made, int a_operation, int b_operation, const sparse_object *a,       \
     const sparse_object *b, const sparse_object *c, const sparse_object *d, int compute))                             \
  X(MatmulAlgSelectionInit,                                                                                            \
    (const sparse_object *handle, sparse_object *made, const sparse_object *matmul, int algorithm))                    \
  X(MatmulAlgSetAttribute,                                                                                             \
    (const sparse_object *handle, sparse_object *selection, int which, const void *value, size_t bytes))               \
  X(MatmulAlgGetAttribute,                                                                                             \
    (const sparse_object *handle, const sparse_object *selection, int which, void *value, size_t bytes))               \
  X(MatmulPlanInit,                                                                                                    \
    (const sparse_object *handle, sparse_object *made, const sparse_object *matmul, const sparse_object *selection))   \
  X(MatmulPlanDestroy, (const sparse_object *plan))                                                                    \
  X(MatmulGetWorkspace, (const sparse_object *handle, const sparse_object *plan, size_t *bytes))                       \
  X(SpMMACompressedSize,                                                                                               \
    (const sparse_object *handle, const sparse_object *plan, size_t *bytes, size_t *buffer_bytes))                     \
  X(SpMMACompress, (const sparse_object *handle, const sparse_object *plan, const void *dense, void *compressed,       \
                    void *buffer, cudaStream_t stream))                                                                \
  X(Matmul, (const sparse_object *handle, const sparse_object *plan, const void *alpha, const void *a, const void *b,  \
             const void *beta, const void *c, void *d, void *workspace, cudaStream_t *streams, int32_t stream_count))

typedef struct sparse_library {
  const library_loader *loader;
  void *file;
  int version; /* as the library says */
  sparse_object handle;
#define SPARSE_POINTER(name, arguments) int(*name) arguments;
  SPARSE_FUNCTIONS(SPARSE_POINTER)
#undef SPARSE_POINTER
} sparse_library;

/* Opens the library and makes its handle for the current device. Errors: E_UNSUPPORTED (absent, lacks a function, or
 * cannot start on this device); then *library is zero. */
viva_status sparse_library_open(const library_loader *loader, sparse_library *library, viva_error *error);

void sparse_library_close(sparse_library *library);

#ifdef __cplusplus
}
#endif
#endif
