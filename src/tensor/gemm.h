/* tensor/gemm.h: products of matrices of F32, F64 and I64. */
#ifndef TENSOR_GEMM_H
#define TENSOR_GEMM_H

#include "base/runtime.h"
#include "viva/types.h"

/* A matrix in memory: element [i][j] at data + (i·rows_step + j·cols_step) elements; one of the steps is 1. */
typedef struct gemm_matrix {
  const char *data;
  int64_t row_step, col_step;
} gemm_matrix;

typedef struct gemm {
  viva_dtype type; /* F32, F64 or I64 */
  size_t m, n, k;
  size_t batch;
  const gemm_matrix *a, *b; /* batch of each: [m][k], [k][n] */
  char *const *c;           /* batch of [m][n], row-major */
  int64_t c_step;           /* elements from row to row */
} gemm;

/* c = a·b. The products are cut into blocks by their shape alone, and each is computed by one thread: the number of threads does not
 * matter. */
void gemm_run(const gemm *g, struct pool *threads);

/* One product of few elements, without any arranging; steps may be anything. The same bits as gemm_run. */
void gemm_few(const gemm *g);

/* 1 when a matrix of rows × cols with these steps can be a gemm_matrix. */
int gemm_fits(uint64_t rows, uint64_t cols, int64_t row_step, int64_t col_step);

/* One block by our own loops: c[m][n], c_step apart. */
typedef void (*gemm_block)(const gemm *g, const gemm_matrix *a, const gemm_matrix *b, char *c, size_t m, size_t n);
gemm_block gemm_block_plain(viva_dtype type);
gemm_block gemm_block_avx2(viva_dtype type); /* NULL: not in this build */

#endif
