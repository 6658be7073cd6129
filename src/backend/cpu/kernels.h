/* backend/cpu/kernels.h: the table of kernels behind the CPU backend. One thread runs one kernel; the files cpu_*.c cut
 * the work for the threads and know nothing of instruction sets.
 *
 * The plain C entries fill the table first, then those of AVX2, then those of AVX-512 (kernels_choose).
 *
 * One order along K. A table has L lanes (8, with AVX-512 16). A dot product of length k adds element i to lane i mod
 * L, in the order of i; the lanes are then added as a tree, lane l to lane l + L/2, and so on down to one. There is one
 * accumulator a lane whatever the tile, so y[row][n] has the same bits however many rows are computed at once, in
 * whatever blocks, on however many threads. The latency of the adder is hidden by computing many outputs at once.
 * Products of codes and of 2:4 (fp8_pairs.h, codes_simd.h, blocks_simd.h, select_simd.h) have orders of their own, stated
 * there, with the same promise.
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
#define CPU_KV_BLOCK KV_PAGE

typedef struct cpu_kernels cpu_kernels;

/* Rows of x as kernels see them. Quantised rows are there twice: their codes as FP32 values, so that every kernel for
 * float rows works on them, and as codes. Both are padded with zeros to a multiple of CPU_CODE_UNIT. */
typedef struct cpu_input {
  const float *x; /* values, or codes as FP32 */
  size_t x_stride;
  const void *codes;     /* INT8, INT4: int8_t; E4M3: BF16, in the order of the table's bf16_codes; FLOAT: NULL */
  const uint16_t *pairs; /* the same as BF16, in that order; INT8, INT4: NULL unless the table has integer_pairs */
  size_t code_stride;    /* codes */
  const float *scales;   /* of the rows; FLOAT: NULL */
} cpu_input;

#define CPU_CODE_UNIT 64
/* K is cut for panels at multiples of this, so that kernels may add up so many columns together. */
#define CPU_CUT_UNIT    128
#define CPU_INPUT_MODES (INPUT_INT4 + 1)
#define CPU_E4M3_CODES  256
#define CPU_E2M1_CODES  16

static inline size_t cpu_code_bytes(input_mode mode) { return mode == INPUT_E4M3 ? 2 : 1; }

/* Rows [row, …) of what an operation gets. */
cpu_input cpu_input_of(const cpu_kernels *k, const linear_args *a, size_t row);

/* Memory that will be read next, asked for while the processor multiplies. */
typedef struct read_ahead {
  const char *from;
  size_t bytes;
} read_ahead;

/* m rows times a panel of n rows of w, over columns [k0, k0 + k) of a longer K. x, bias, residual and y point at the
 * block's first element. */
typedef struct panel_job {
  const float *x; /* FP32 panels */
  size_t x_stride, m;
  const void *codes; /* panels of codes */
  size_t code_stride;
  const float *w; /* [n up to a multiple of CPU_PANEL_GROUP][w_stride], zero where padded; or what `fill` made */
  size_t w_stride, n, k;
  const float *w_scales; /* of the panel's rows (readable up to the next multiple of CPU_PANEL_GROUP), or NULL: 1 */
  const float *x_scales; /* of the rows of x, or NULL: 1 */
  const weight *weight;  /* and where the panel lies in it: for scales of blocks */
  size_t row, col;
  float *lanes;    /* lane sums between blocks of K: panel_lanes(m, n) floats; unused when first and last */
  int first, last; /* first: lanes start at zero. last: lanes are added up, the epilogue runs and y is written */
  const float *bias, *residual;
  float *y;
  size_t y_stride;
  read_ahead ahead; /* bytes 0: nothing */
} panel_job;

/* A form of widened weights and the product with them. */
typedef struct cpu_panel {
  size_t column_bytes; /* of one column of one row in the panel, whatever `fill` adds included */
  size_t most_columns; /* of a panel, at most CPU_PANEL_FLOATS · 4 / 16 / column_bytes; longer K is cut */
  size_t unit;         /* columns of a panel are padded to a multiple of this, a divisor of CPU_CUT_UNIT */
  int codes;           /* the product reads job->codes, not job->x */
  int pairs;           /* and they are BF16 */
  int whole;           /* its weights are not divided by factor[format] */
  int kept_only; /* columns that 2:4 leaves out are not looked at: rows of x that are not finite become NaN after */
  /* Not NULL: weights for which it gives 0 are multiplied as with FLOAT rows, few rows of x too. */
  int (*fits)(const weight *w);
  /* Rows [row, row + rows) × columns [col, col + cols) of w to the panel, rows `stride` columns apart, zero where padded
   * (rows to a multiple of CPU_PANEL_GROUP). */
  void (*fill)(const cpu_kernels *k, const weight *w, size_t row, size_t rows, size_t col, size_t cols, size_t stride,
               void *panel);
  void (*multiply)(const panel_job *job);
} cpu_panel;

/* How weights of one format are multiplied with rows of one mode. */
typedef struct cpu_product {
  /* Rows [begin, end) of a->w (begin a multiple of CPU_FEW_GROUP) against all of a->m ≤ CPU_FEW_ROWS rows of in. The
   * activation of a is not applied. */
  void (*few)(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t begin, size_t end);
  const cpu_panel *panel; /* NULL: many rows go through `few`. Both give the same bits. */
} cpu_product;

/* The running state of attention for one query: out = sum / weight once all positions are in. */
typedef struct softmax_state {
  float max, weight; /* largest score so far; Σ e^(score − max) */
} softmax_state;

/* Queries [row, row + rows) of one span, heads [head, head + heads) of q, all on kv_head. The queries of a tile have
 * one chunk size (attention_chunk). */
typedef struct attend_tile {
  const attention_args *a;
  const batch_span *span;
  size_t row, rows; /* rows of the span, from 0 */
  size_t kv_head, head, heads;
  float *scratch; /* CPU_SCRATCH_FLOATS */
} attend_tile;

struct cpu_kernels {
  const char *name;
  size_t lanes;
  size_t tile_rows; /* m is best a multiple of this for `panel` */

  /* to[i] = weight (row, col + i) as FP32, blocks of columns multiplied with their scales, the scale of the row not in
   * it. Weights without scales of blocks may come divided by factor[format]. col is a multiple of 64. */
  void (*widen[WEIGHT_FORMATS])(const weight *w, size_t row, size_t col, float *to, size_t count);
  float factor[WEIGHT_FORMATS];
  /* to[i] = from[i] as F16, to nearest, ties to even */
  void (*narrow_f16)(const float *from, uint16_t *to, size_t count);

  cpu_product product[2][WEIGHT_FORMATS][CPU_INPUT_MODES]; /* [weight_blocked] */
  /* few of FP32 rows for any weight, by its `widen`: for those that an entry does not take. */
  void (*few_any)(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t begin, size_t end);
  uint16_t nvfp4_bf16[CPU_E4M3_CODES][CPU_E2M1_CODES]; /* scale × value as BF16, for nvfp4_pairs.h */

  /* y[i] = activation of y[i]; NONE is not asked for. */
  void (*activate)(activation act, float *y, size_t count);
  /* Codes of E4M3 (as FP32 values) as BF16, in an order within each CPU_CODE_UNIT that the table's kernels like. */
  void (*bf16_codes)(const float *values, uint16_t *codes, size_t count);
  int integer_pairs; /* INT8 and INT4 rows are wanted as BF16 beside their codes */
  /* Codes of INT8 and INT4 rows into the order that the table's kernels like within each CPU_CODE_UNIT; NULL: as they
   * are. */
  void (*int8_codes)(int8_t *codes, size_t count);

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
};

/* Floats of scratch that one thread of the pool needs, whatever the shapes: see the parts in cpu_linear.c and
 * attention_simd.h. */
#define CPU_PANEL_FLOATS   32768 /* a widened panel: 128 KiB, so that it stays in the L2 of small cores */
#define CPU_PANEL_K        2048  /* columns of a panel: a tile of x rows of this length stays in L1 */
#define CPU_BLOCK_ROWS     96    /* rows of x for which lane sums are kept between blocks of K */
#define CPU_LANES_FLOATS   (CPU_BLOCK_ROWS * (CPU_PANEL_FLOATS / CPU_PANEL_K) * CPU_MAX_LANES)
#define CPU_ATTEND_DIM     256 /* head_dim that the tuned attention holds */
#define CPU_ATTEND_UNIT    32  /* to a multiple of which it may pad a head's vectors */
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
  return queries * ((head_dim + CPU_ATTEND_UNIT - 1) / CPU_ATTEND_UNIT * CPU_ATTEND_UNIT + 2);
}

/* Keys (and, values_at further, values) of a span's block of CPU_KV_BLOCK positions, for all heads of the layer. */
static inline const char *attention_page(const attention_args *a, const batch_span *span, size_t position) {
  const batch *step = a->step;
  return (const char *)step->pages[span->first_page + position / KV_PAGE] + a->layer * step->kv.layer_bytes;
}

/* First position that the row at `position` looks at. */
static inline size_t attention_first(size_t position, size_t window) {
  return window != 0 && position >= window ? position - window + 1 : 0;
}

/* What the sums of a row of w are multiplied with at the end. */
static inline float cpu_row_factor(const cpu_kernels *k, const weight *w, size_t row) {
  return weight_blocked(w) ? weight_row_scale(w, row) : weight_row_scale(w, row) * k->factor[w->format];
}

/* Sets the product of all formats and modes that multiply FP32 values. */
void kernels_set_float(cpu_kernels *k, cpu_product product);
/* `fill` of FP32 panels. */
void kernels_fill_float(const cpu_kernels *k, const weight *w, size_t row, size_t rows, size_t col, size_t cols,
                        size_t stride, void *panel);

/* `few` of m ≤ CPU_FEW_ROWS rows through panels of this form, of CPU_PANEL_GROUP rows of w each, which stay in L1. */
void kernels_few_panel(const cpu_panel *form, const cpu_kernels *k, const linear_args *a, const cpu_input *in,
                       size_t begin, size_t end);

void kernels_reference(cpu_kernels *k);
#if defined(__x86_64__)
void kernels_avx2(cpu_kernels *k);
void kernels_avx512(cpu_kernels *k);
/* On top of that table, with AVX512_VBMI and AVX512_VNNI: FP8 times FP32 rows and 2:4 times INT8 and INT4 rows, faster and
 * with the same bits. */
void kernels_avx512_vbmi(cpu_kernels *k);
/* On top of that: FP8 and NVFP4 times rows of codes as pairs of BF16 (AVX512_BF16 and AVX512_VBMI). */
void kernels_avx512_bf16(cpu_kernels *k);
#endif

/* The plain entries, which tuned tables fall back to. */
void ref_attend(const attend_tile *tile);

#endif
