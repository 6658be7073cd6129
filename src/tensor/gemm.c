/* tensor/gemm.c: products cut into blocks for the threads. */
#include "tensor/gemm.h"

#include <limits.h>

#include "base/cpu.h"
#include "base/pool.h"
#include "tensor/blas.h"
#include "tensor/tensor.h"

enum {
  BLOCK_ROWS = 1024, /* blocks of the result: large enough that a library packs its operands for good reason */
  BLOCK_COLS = 1024,
  FEW_PRODUCTS = 64,           /* are not worth being cut into blocks */
  SMALL = 8 * 8 * 8,           /* products below this are not worth a library call */
  PARALLEL_PRODUCTS = 1 << 20, /* multiplications that are worth a second thread: some 50 us */
};

typedef struct run {
  const gemm *g;
  const blas *library;
  gemm_block own;
  size_t row_blocks, col_blocks;
} run;

int gemm_fits(uint64_t rows, uint64_t cols, int64_t row_step, int64_t col_step) {
  const int by_rows = col_step == 1 && row_step >= (int64_t)cols, by_cols = row_step == 1 && col_step >= (int64_t)rows;
  return (by_rows || by_cols) && row_step <= INT_MAX && col_step <= INT_MAX;
}

/* How CBLAS sees a matrix: turned when its columns are dense. */
static int turn_of(const gemm_matrix *x, int *step) {
  *step = (int)(x->col_step == 1 ? x->row_step : x->col_step);
  return x->col_step == 1 ? BLAS_PLAIN : BLAS_TURNED;
}

static void block_by_library(const run *r, const gemm_matrix *a, const gemm_matrix *b, char *c, size_t m, size_t n) {
  const gemm *g = r->g;
  int lda, ldb;
  const int turn_a = turn_of(a, &lda), turn_b = turn_of(b, &ldb), k = (int)g->k;
  const int is_f64 = g->type == VIVA_F64;
  if (n == 1 && g->n == 1) { /* matrix times vector */
    const int rows = turn_a == BLAS_PLAIN ? (int)m : k, cols = turn_a == BLAS_PLAIN ? k : (int)m;
    const int x_step = (int)b->row_step, y_step = (int)g->c_step;
    if (is_f64)
      r->library->dgemv(BLAS_ROW_MAJOR, turn_a, rows, cols, 1, (const double *)(const void *)a->data, lda,
                        (const double *)(const void *)b->data, x_step, 0, (double *)(void *)c, y_step);
    else
      r->library->sgemv(BLAS_ROW_MAJOR, turn_a, rows, cols, 1, (const float *)(const void *)a->data, lda,
                        (const float *)(const void *)b->data, x_step, 0, (float *)(void *)c, y_step);
    return;
  }
  if (is_f64)
    r->library->dgemm(BLAS_ROW_MAJOR, turn_a, turn_b, (int)m, (int)n, k, 1, (const double *)(const void *)a->data, lda,
                      (const double *)(const void *)b->data, ldb, 0, (double *)(void *)c, (int)g->c_step);
  else
    r->library->sgemm(BLAS_ROW_MAJOR, turn_a, turn_b, (int)m, (int)n, k, 1, (const float *)(const void *)a->data, lda,
                      (const float *)(const void *)b->data, ldb, 0, (float *)(void *)c, (int)g->c_step);
}

static void run_blocks(void *arg, size_t begin, size_t end, size_t thread) {
  const run *r = arg;
  const gemm *g = r->g;
  const int64_t element = (int64_t)tensor_element_bytes(g->type);
  (void)thread;
  for (size_t i = begin; i < end; i++) {
    const size_t in_one = r->row_blocks * r->col_blocks, one = i / in_one;
    const size_t row = i % in_one / r->col_blocks * BLOCK_ROWS, col = i % r->col_blocks * BLOCK_COLS;
    const size_t m = g->m - row < BLOCK_ROWS ? g->m - row : BLOCK_ROWS;
    const size_t n = g->n - col < BLOCK_COLS ? g->n - col : BLOCK_COLS;
    gemm_matrix a = g->a[one], b = g->b[one];
    char *c = g->c[one] + ((int64_t)row * g->c_step + (int64_t)col) * element;
    a.data += (int64_t)row * a.row_step * element;
    b.data += (int64_t)col * b.col_step * element;
    if (r->library)
      block_by_library(r, &a, &b, c, m, n);
    else
      r->own(g, &a, &b, c, m, n);
  }
}

static gemm_block own_block(viva_dtype type) {
  const gemm_block fast = cpu_get()->avx2 ? gemm_block_avx2(type) : NULL;
  return fast ? fast : gemm_block_plain(type);
}

/* Each result is one sum over k in order, as in gemm_body.h. */
#define FEW_BLOCK(name, T)                                                                                             \
  static void name(const gemm *g) {                                                                                    \
    const T *a = (const T *)(const void *)g->a->data, *b = (const T *)(const void *)g->b->data;                        \
    const int64_t a_step = g->a->col_step, b_step = g->b->row_step;                                                    \
    T *c = (T *)(void *)g->c[0];                                                                                       \
    for (size_t r = 0; r < g->m; r++, a += g->a->row_step, c += g->c_step)                                             \
      for (size_t q = 0; q < g->n; q++) {                                                                              \
        const T *x = a, *y = b + (int64_t)q * g->b->col_step;                                                          \
        T sum = 0;                                                                                                     \
        for (size_t k = 0; k < g->k; k++, x += a_step, y += b_step) sum += *x * *y;                                    \
        c[q] = sum;                                                                                                    \
      }                                                                                                                \
  }
FEW_BLOCK(few_f64, double)
FEW_BLOCK(few_f32, float)
FEW_BLOCK(few_u64, uint64_t) /* wraps: also I64 */

void gemm_few(const gemm *g) {
  if (g->type == VIVA_F64)
    few_f64(g);
  else if (g->type == VIVA_F32)
    few_f32(g);
  else
    few_u64(g);
}

void gemm_run(const gemm *g, pool *threads) {
  if (g->batch == 1 && g->m * g->n * g->k <= FEW_PRODUCTS) {
    gemm_few(g);
    return;
  }
  const int fits =
      g->type != VIVA_I64 && g->k > 0 && g->k <= INT_MAX && g->c_step <= INT_MAX && g->m * g->n * g->k >= SMALL;
  run r = {.g = g, .library = fits ? blas_get() : NULL, .own = own_block(g->type)};
  r.row_blocks = (g->m + BLOCK_ROWS - 1) / BLOCK_ROWS;
  r.col_blocks = (g->n + BLOCK_COLS - 1) / BLOCK_COLS;
  const size_t count = r.row_blocks * r.col_blocks * g->batch;
  const size_t products = BLOCK_ROWS * BLOCK_COLS < g->m * g->n ? BLOCK_ROWS * BLOCK_COLS * g->k : g->m * g->n * g->k;
  const int alone = (r.library && !r.library->ours) || g->batch * g->m * g->n * g->k < PARALLEL_PRODUCTS;
  if (count > 0) pool_for(alone ? NULL : threads, count, 1 + PARALLEL_PRODUCTS / (products + 1), run_blocks, &r);
}
