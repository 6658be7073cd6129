/* backend/cpu/kernels.h: the table of kernels behind the CPU backend. One thread runs one kernel; the files cpu_*.c cut
 * the work for the threads and know nothing of instruction sets.
 *
 * The plain C entries fill the table first, then those of AVX2, then those of AVX-512 (kernels_choose).
 *
 * One order along K. A table has L lanes (8, with AVX-512 16). A dot product of length k adds element i to lane i mod
 * L, in the order of i; the lanes are then added as a tree, lane l to lane l + L/2, and so on down to one. There is one
 * accumulator a lane whatever the tile, so y[row][n] has the same bits however many rows are computed at once, in
 * whatever blocks, on however many threads. The latency of the adder is hidden by computing many outputs at once.
 */
#ifndef BACKEND_CPU_KERNELS_H
#define BACKEND_CPU_KERNELS_H

#include "backend/backend.h"

/* Up to this many rows are multiplied with the weights read as they are stored; with more, a panel of weights is first
 * widened to FP32 and used for all of them. */
#define CPU_FEW_ROWS 16

/* Rows of w by which the work of `few` is cut: a multiple of those that it computes together. */
#define CPU_FEW_GROUP 4

/* A panel's rows are padded with zeros to a multiple of the lanes, and their number to a multiple of this. */
#define CPU_PANEL_GROUP 4
#define CPU_MAX_LANES   16

/* Positions that attention treats together. Blocks are aligned to the position, so a row's order is its own. */
#define CPU_KV_BLOCK 64

/* Memory that will be read next, asked for while the processor multiplies. */
typedef struct read_ahead {
  const char *from;
  size_t bytes;
} read_ahead;

/* m rows times a panel of n rows of w, over columns [k0, k0 + k) of a longer K. x, bias, residual and y point at the
 * block's first element. */
typedef struct panel_job {
  const float *x;
  size_t x_stride, m;
  const float *w; /* [n up to a multiple of CPU_PANEL_GROUP][w_stride], zero where padded */
  size_t w_stride, n, k;
  float *lanes;    /* lane sums between blocks of K: panel_lanes(m, n) floats; unused when first and last */
  int first, last; /* first: lanes start at zero. last: lanes are added up, the epilogue runs and y is written */
  const float *bias, *residual;
  float *y;
  size_t y_stride;
  read_ahead ahead; /* bytes 0: nothing */
} panel_job;

/* The running state of attention for one query: out = sum / weight once all positions are in. */
typedef struct softmax_state {
  float max, weight; /* largest score so far; Σ e^(score − max) */
} softmax_state;

/* Queries [row, row + rows) of one span, heads [head, head + heads) of q, all on kv_head. The queries of a tile have
 * one chunk size (attention_chunk). */
typedef struct attend_tile {
  const attention_args *a;
  const kv_span *span;
  size_t row, rows; /* rows of the span, from 0 */
  size_t kv_head, head, heads;
  float *scratch; /* CPU_SCRATCH_FLOATS */
} attend_tile;

typedef struct cpu_kernels {
  const char *name;
  size_t lanes;
  size_t tile_rows; /* m is best a multiple of this for `panel` */

  /* to[i] = from[i] as FP32 */
  void (*widen[WEIGHT_FORMATS])(const void *from, float *to, size_t count);
  /* to[i] = from[i] as F16, to nearest, ties to even */
  void (*narrow_f16)(const float *from, uint16_t *to, size_t count);

  /* Rows [begin, end) of a->w against all of a->m ≤ CPU_FEW_ROWS rows of x. */
  void (*few)(const linear_args *a, size_t begin, size_t end);
  void (*panel)(const panel_job *job);

  void (*rmsnorm)(const float *x, float *y, size_t n, const float *gain, float eps);
  void (*silu_mul)(const float *gate, const float *up, float *out, size_t n);
  /* Rotates one head: (a, b) = (v[i], v[i + half]) becomes (a·cos − b·sin, b·cos + a·sin). */
  void (*rotate)(float *head, const float *cos_, const float *sin_, size_t half);
  /* to[i] = e^from[i]: the exponential of silu_mul and attention, for tests. */
  void (*exp)(const float *from, float *to, size_t count);
  /* Index of the first largest; *nan is set to 1 when a value is NaN, else left alone. n ≥ 1. */
  size_t (*argmax)(const float *values, size_t n, int *nan);

  /* Whole rows: out is written. */
  void (*attend)(const attend_tile *tile);
  /* One row's positions of one chunk (chunk × attention_chunk and on): sums and then states go to partial, of
   * attention_partial(heads, head_dim) floats. NULL when the table's attention has no chunks; then `merge` is too. */
  void (*attend_chunk)(const attend_tile *tile, size_t chunk, float *partial);
  /* Adds up a row's chunks, `partial` holding count of them, stride floats apart, and writes out. */
  void (*merge)(const attend_tile *tile, const float *partial, size_t count, size_t stride);
  size_t attend_rows; /* queries (rows × heads) that `attend` likes to have in a tile, and its limit */
  size_t attend_dim;  /* largest head_dim of `attend`; above, the plain entry is used */

  /* Reads bytes; the result only keeps the compiler from dropping the loads. */
  uint64_t (*read)(const void *data, size_t bytes);
} cpu_kernels;

/* Floats of scratch that one thread of the pool needs, whatever the shapes: see the parts in cpu_linear.c and
 * attention_simd.h. */
#define CPU_PANEL_FLOATS   32768 /* a widened panel: 128 KiB, so that it stays in the L2 of small cores */
#define CPU_PANEL_K        2048  /* columns of a panel: a tile of x rows of this length stays in L1 */
#define CPU_BLOCK_ROWS     96    /* rows of x for which lane sums are kept between blocks of K */
#define CPU_LANES_FLOATS   (CPU_BLOCK_ROWS * (CPU_PANEL_FLOATS / CPU_PANEL_K) * CPU_MAX_LANES)
#define CPU_ATTEND_DIM     256 /* head_dim that the tuned attention holds */
#define CPU_ATTEND_QUERIES 48
#define CPU_ATTEND_FLOATS                                                                                              \
  (2 * CPU_KV_BLOCK * CPU_ATTEND_DIM + 3 * CPU_ATTEND_QUERIES * CPU_ATTEND_DIM + CPU_ATTEND_QUERIES * CPU_KV_BLOCK +   \
   4 * CPU_ATTEND_QUERIES)
#define CPU_LINEAR_FLOATS  (CPU_PANEL_FLOATS + CPU_LANES_FLOATS)
#define CPU_SCRATCH_FLOATS (CPU_LINEAR_FLOATS > CPU_ATTEND_FLOATS ? CPU_LINEAR_FLOATS : CPU_ATTEND_FLOATS)

/* Positions of a chunk for a row that looks at `positions` of them: a row's attention is a sum over chunks, each a sum
 * over blocks. It depends on the row alone, so that chunks may be computed by different threads. At most
 * CPU_MAX_CHUNKS + 1 chunks are touched (the first one may be cut by a window). */
#define CPU_CHUNK      128
#define CPU_MAX_CHUNKS 16
static inline size_t attention_chunk(size_t positions) {
  size_t chunk = CPU_CHUNK;
  while (positions / chunk > CPU_MAX_CHUNKS - 1 && chunk < ((size_t)1 << 62)) chunk *= 2;
  return chunk;
}

/* Floats of one chunk's result. */
static inline size_t attention_partial(size_t queries, size_t head_dim) {
  return queries * ((head_dim + CPU_MAX_LANES - 1) / CPU_MAX_LANES * CPU_MAX_LANES + 2);
}

/* First position that the row at `position` looks at. */
static inline size_t attention_first(size_t position, size_t window) {
  return window != 0 && position >= window ? position - window + 1 : 0;
}

void kernels_reference(cpu_kernels *k);
#if defined(__x86_64__)
void kernels_avx2(cpu_kernels *k);
void kernels_avx512(cpu_kernels *k);
#endif

/* The plain entries, which tuned tables fall back to. */
void ref_attend(const attend_tile *tile);

#endif
