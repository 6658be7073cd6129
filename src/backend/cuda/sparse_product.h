/* sparse_product.h: one product of INT8 2:4 through cuSPARSELt: y[m][n] = x[m][k] · w[n][k]ᵀ in 32-bit integers.
 *
 * As with cuBLASLt (lt_product.h), w is the library's first matrix and y its transposed result. The library keeps w
 * in a form of its own, made from dense INT8 on the device.
 */
#ifndef CUDA_SPARSE_PRODUCT_H
#define CUDA_SPARSE_PRODUCT_H

#include "backend/cuda/sparse_library.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An algorithm by its numbers, as a table keeps it. id < 0: the library's default. */
typedef struct sparse_algorithm {
  int id;
  int split_k, split_mode, buffers; /* split_k 1: not split, and the others are not used */
} sparse_algorithm;

typedef struct sparse_product {
  int m, n, k;
  sparse_object a, b, d, matmul, selection, plan;
  int made; /* how many of a, b, d and plan exist */
  size_t workspace_bytes, compressed_bytes, buffer_bytes;
} sparse_product;

/* Errors: E_UNSUPPORTED with the library's status. wanted: NULL for the default. */
viva_status sparse_product_make(const sparse_library *lib, int m, int n, int k, const sparse_algorithm *wanted,
                                sparse_product *p, viva_error *error);

/* How many algorithms there are: their ids are below. */
int sparse_product_algorithms(const sparse_library *lib, const sparse_product *p);

/* compressed [compressed_bytes] from dense [n][k] INT8, of which 2 of 4 are 0; buffer [buffer_bytes]. Device memory.
 * The form does not depend on m. */
viva_status sparse_product_compress(const sparse_library *lib, const sparse_product *p, const void *dense,
                                    void *compressed, void *buffer, cudaStream_t stream, viva_error *error);

/* x [m][k] INT8, y [m][n] INT32, workspace [workspace_bytes]. Device memory. */
viva_status sparse_product_run(const sparse_library *lib, const sparse_product *p, const void *compressed,
                               const void *x, void *y, void *workspace, cudaStream_t stream, viva_error *error);

void sparse_product_end(const sparse_library *lib, sparse_product *p);

#ifdef __cplusplus
}
#endif
#endif
