/* tensor/gemm_body.h: our own product of two blocks; included by gemm_plain.c and gemm_avx2.c. GEMM_BLOCK names the choice.
 *
 * A tile of ROWS × COLS results stays in registers while k runs; the columns of b are copied to lie together first. Each result is one
 * sum over k in order, so that both sets of instructions give the same bits.
 */
#include <stddef.h>
#include <string.h>

#include "tensor/gemm.h"

enum {
  ROWS = 4,
  COLS = 16,
  DEPTH = 256 /* of k at once: DEPTH × COLS of b stay in the first cache */
};

#define BLOCK(name, T)                                                                                                 \
  static void name##_tile(const T *a, int64_t row_step, int64_t k_step, size_t rows, const T *packed, size_t depth,    \
                          T *c, int64_t c_step, size_t cols, int first) {                                              \
    T sums[ROWS][COLS] = {{0}};                                                                                        \
    for (size_t r = 0; r < rows && !first; r++)                                                                        \
      for (size_t j = 0; j < cols; j++) sums[r][j] = c[(int64_t)r * c_step + (int64_t)j];                              \
    if (rows == ROWS) {                                                                                                \
      for (size_t k = 0; k < depth; k++)                                                                               \
        for (size_t r = 0; r < ROWS; r++) {                                                                            \
          const T x = a[(int64_t)r * row_step + (int64_t)k * k_step];                                                  \
          for (size_t j = 0; j < COLS; j++) sums[r][j] += x * packed[k * COLS + j];                                    \
        }                                                                                                              \
    } else {                                                                                                           \
      for (size_t k = 0; k < depth; k++)                                                                               \
        for (size_t r = 0; r < rows; r++) {                                                                            \
          const T x = a[(int64_t)r * row_step + (int64_t)k * k_step];                                                  \
          for (size_t j = 0; j < COLS; j++) sums[r][j] += x * packed[k * COLS + j];                                    \
        }                                                                                                              \
    }                                                                                                                  \
    for (size_t r = 0; r < rows; r++) memcpy(c + (int64_t)r * c_step, sums[r], cols * sizeof(T));                      \
  }                                                                                                                    \
  static void name(const gemm *g, const gemm_matrix *ma, const gemm_matrix *mb, char *to, size_t m, size_t n) {        \
    const T *a = (const T *)(const void *)ma->data, *b = (const T *)(const void *)mb->data;                            \
    T *c = (T *)(void *)to, packed[DEPTH * COLS];                                                                      \
    for (size_t j = 0; j < n; j += COLS) {                                                                             \
      const size_t cols = n - j < COLS ? n - j : COLS;                                                                 \
      for (size_t k = 0; k == 0 || k < g->k; k += DEPTH) {                                                             \
        const size_t depth = g->k - k < DEPTH ? g->k - k : DEPTH;                                                      \
        memset(packed, 0, depth *COLS * sizeof(T));                                                                    \
        for (size_t d = 0; d < depth; d++)                                                                             \
          for (size_t q = 0; q < cols; q++)                                                                            \
            packed[d * COLS + q] = b[(int64_t)(k + d) * mb->row_step + (int64_t)(j + q) * mb->col_step];               \
        for (size_t i = 0; i < m; i += ROWS)                                                                           \
          name##_tile(a + (int64_t)i * ma->row_step + (int64_t)k * ma->col_step, ma->row_step, ma->col_step,           \
                      m - i < ROWS ? m - i : ROWS, packed, depth, c + (int64_t)i * g->c_step + (int64_t)j, g->c_step,  \
                      cols, k == 0);                                                                                   \
      }                                                                                                                \
    }                                                                                                                  \
  }
BLOCK(block_f32, float)
BLOCK(block_f64, double)
BLOCK(block_u64, uint64_t) /* wraps: also I64 */

gemm_block GEMM_BLOCK(viva_dtype type) {
  return type == VIVA_F64 ? block_f64 : type == VIVA_F32 ? block_f32 : block_u64;
}
