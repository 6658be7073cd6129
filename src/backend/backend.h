/* backend/backend.h: the one table of operations through which model/ uses a device.
 *
 * A backend is filled with the plain C reference first; tuned entries override it (by CPU feature or weight format). So a
 * new format is right before it is fast, and every tuned entry is tested against the reference with the same arguments.
 *
 * Pointers named dev are in the backend's memory (for the CPU: ordinary memory); the others are the host's. Activations
 * are FP32, [rows][features], rows contiguous unless a stride is given. There is one queue for each engine: operations happen
 * in the order of the calls, whichever thread makes them; results are visible to the host after download, top or step_end.
 * No operation allocates. A device that is lost makes every later call return E_DEVICE.
 *
 * Numbers. Every output row is computed as if it were alone: its bits depend on its own inputs and on the weight's shape,
 * never on the number of rows, on their order, on threads or on other rows. That is what makes prefill equal decode.
 *
 * This header and what it includes compile as C, C++ and CUDA (tests/cuda/test_headers.cu).
 */
#ifndef BACKEND_BACKEND_H
#define BACKEND_BACKEND_H

#include "backend/batch.h"
#include "backend/decoder.h"
#include "pack/pack.h"
#include "viva/engine.h"

typedef struct pool pool;       /* base/pool.h */
typedef struct runtime runtime; /* base/runtime.h */
typedef struct backend backend;
typedef struct exchange exchange; /* exchange.h */

/* What is applied to product + bias. GELU tanh: v/2 · (1 + tanh(√(2/π) · (v + 0.044715 v³))); GELU erf:
 * v/2 · (1 + erf(v/√2)); SiLU: v / (1 + e^−v). (A SwiGLU pair is two linears and silu_mul.) */
typedef enum activation {
  ACTIVATION_NONE = 0,
  ACTIVATION_GELU_TANH = 1,
  ACTIVATION_GELU_ERF = 2,
  ACTIVATION_SILU = 3
} activation;

/* How rows of x enter a product: as they are, or quantised by quantize_rows, each row with one FP32 scale (1 for a row of
 * zeros): E4M3 with absmax / 448, INT8 with absmax / 127, INT4 with absmax / 7; code = nearest even of x / scale. A row with
 * a NaN or an infinity gets the scale NaN and zero codes, so that every output of it is NaN.
 *
 * F16 is how a backend with takes_f16 brings FLOAT rows to a product, and no mode of a model: the scale is 1, or for a row that
 * FP16 cannot hold the power of two that brings its absmax below 2^15. */
typedef enum input_mode { INPUT_FLOAT = 0, INPUT_E4M3 = 1, INPUT_INT8 = 2, INPUT_INT4 = 3, INPUT_F16 = 4 } input_mode;

/* Longest K of an integer product whose sum cannot leave 32 bits: 2 of 4 weights, 127 · 127 each. Callers refuse more. */
#define INPUT_INT8_MOST_K ((size_t)266287)

/* y[m][n] = act(x[m][k] · w[n][k]ᵀ · scales (+ bias[n])) (+ residual[m][n]). Accumulated in FP32 (codes of INT8 and INT4
 * weights times integer inputs: exactly, in integers, per block of columns that has a scale of its own), then the row scale
 * of w, the scale of the input's row, bias, activation, residual, in this order.
 *
 * Blocked scales: FP8, INT4 2:4 and NVFP4 multiply code · block scale (rounded to FP32; exact for NVFP4) before the sum;
 * tuned kernels may instead scale the partial sum of a block, as long as the bits do not depend on m.
 * Error against FP64 of the same codes, before bias: at most (k / 8 + 8) 2^−24 Σ|x·w|, as at least 8 lanes are chains of
 * fused additions; with terms of both signs at most 2^−20 Σ|x·w|. */
typedef struct linear_args {
  size_t m;          /* rows of x; n and k are w's */
  const float *x;    /* dev [m][x_stride]; unused when input is not FLOAT */
  size_t x_stride;   /* elements, ≥ k */
  input_mode input;  /* of all args of a call */
  const void *xq;    /* dev: quantize_rows' result for this m and k; NULL for FLOAT */
  const weight *w;   /* host struct, dev data */
  const float *bias; /* dev [n] or NULL */
  accumulation accumulate;
  activation act;        /* with an activation residual must be NULL */
  const float *residual; /* dev [m][y_stride] or NULL; may be y itself */
  float *y;              /* dev [m][y_stride] */
  size_t y_stride;       /* elements, ≥ n */
} linear_args;

/* What load_rows and store_rows take of the outside: [rows][cols] of F32, F16 or BF16, any strides. */
typedef struct outer_rows {
  viva_dtype dtype;
  void *data;                       /* dev */
  ptrdiff_t row_stride, col_stride; /* elements */
} outer_rows;

/* A whole linear layer: rows of the outside, a product with what may follow it, rows of the outside. */
typedef struct linear_outer_args {
  size_t rows;
  outer_rows x, y; /* [rows][w's cols], [rows][w's rows] */
  input_mode mode; /* not F16 */
  accumulation accumulate;
  const weight *w,
      *up; /* host structs, dev data; up: NULL, or y = silu(x · wᵀ + bias) · (x · upᵀ + up_bias) + after_bias */
  activation act;                                /* NONE with up */
  const outer_rows *bias, *up_bias, *after_bias; /* each a row [n], or NULL */
  uint64_t *overflows;                           /* host; as store_rows', or NULL: not counted */
} linear_outer_args;

/* Rotates q and k in place (half-split pairing: i with i + rotary_dim/2; dimensions from rotary_dim on stay) and writes k and
 * v into the pages of the batch's rows. */
typedef struct rope_append_args {
  const batch *step; /* as step_begin returned it */
  size_t layer;
  head_shape h;
  size_t rotary_dim;
  float *q;     /* dev [rows][q_heads × head_dim], rows q_stride apart */
  float *k, *v; /* dev [rows][kv_heads × head_dim], rows kv_stride apart */
  size_t q_stride, kv_stride;
} rope_append_args;

/* out = softmax(q · Kᵀ · scale) · V for each row and head over cache positions [first, p], p the row's position,
 * first = window ? max(0, p − window + 1) : 0. The row's own k and v are in the cache already. */
typedef struct attention_args {
  const batch *step;
  size_t layer;
  int kept; /* 0: all rows, each to its own place. 1: only the kept ones, to out's rows 0, 1, 2 ... */
  head_shape h;
  float scale;
  size_t window;  /* 0: full */
  const float *q; /* dev [rows][q_heads × head_dim], rows q_stride apart */
  size_t q_stride;
  float *out; /* dev [rows or kept][q_heads × head_dim], rows out_stride apart */
  size_t out_stride;
  void *f16; /* turn_attention: NULL, or dev: where rows go in the form of INPUT_F16, in place of out */
} attention_args;

typedef struct backend_ops {
  const char *name; /* "cpu" */
  viva_device_kind kind;
  /* Prefill takes up to pass_rows rows at once, with which products run at full speed, as long as their activations take no
   * more than pass_bytes. */
  size_t pass_rows;
  uint64_t pass_bytes;

  /* -- lifetime */
  /* 0 when index is past the last device of this kind. Fills info without opening anything. */
  int (*device)(size_t index, viva_device_info *info);
  /* The pool is the engine's and outlives the backend. kernels: for the CPU. */
  viva_status (*open)(runtime *rt, pool *p, int device_index, viva_cpu_kernels kernels, backend **out,
                      viva_error *error);
  void (*close)(backend *b);
  void (*info)(backend *b, viva_device_info *info);
  /* Optional: an exchange between devices of this kind, which outlive it. E_UNSUPPORTED: these have none of their own. */
  viva_status (*join)(backend *const *ranks, size_t count, exchange **out, viva_error *error);

  /* -- memory */
  /* *dev: 64-byte aligned, NULL on failure. Errors: E_MEMORY. */
  viva_status (*alloc)(backend *b, size_t bytes, void **dev, viva_error *error);
  viva_status (*free)(backend *b, void *dev, viva_error *error); /* NULL is allowed */
  viva_status (*upload)(backend *b, void *dev, const void *host, size_t bytes, viva_error *error);
  /* Optional, all or none: memory of the host's that the device reads by itself. An upload from it may still be under way when
   * upload returns: its bytes stay as they are until upload_wait, which waits for every upload before it. host_free waits too,
   * and can be called when the device is lost. */
  viva_status (*host_alloc)(backend *b, size_t bytes, void **host, viva_error *error);
  void (*host_free)(backend *b, void *host); /* NULL is allowed */
  viva_status (*upload_wait)(backend *b, viva_error *error);
  viva_status (*download)(backend *b, void *host, const void *dev, size_t bytes, viva_error *error); /* waits */
  viva_status (*copy)(backend *b, void *dev_to, const void *dev_from, size_t bytes, viva_error *error);

  /* -- second forms of weights (optional: both or none). `count` matrices that read the same rows (q, k and v; gate and up;
   * or one alone). A backend may keep the bytes of pack/ only, or hold them in another order or expanded beside them. */
  /* Bytes of the second form of weights of these formats and shapes (data and scales may be NULL); 0: it wants none. Asked
   * by the memory plan before anything is read. */
  size_t (*weight_bytes)(backend *b, const weight *group, size_t count);
  /* Makes it at dev, which stays valid as long as the weights, and sets `prepared` of each. */
  viva_status (*weight_prepare)(backend *b, weight *group, size_t count, void *dev, viva_error *error);

  /* -- packing on the device (optional; without it rows are packed on the host and uploaded) */
  /* As pack/'s pack_rows by magnitude, to the same bytes: rows [row, row + rows) of a matrix of all_rows × cols at `to` (dev,
   * pack_measure's layout), from their values (F32, F16 or BF16). spec: a packed format, settled. *bad as there. */
  viva_status (*pack_rows)(backend *b, const pack_spec *spec, size_t all_rows, size_t cols, void *to, size_t row,
                           size_t rows, const outer_rows *values, pack_place *bad, viva_error *error);

  /* -- steps */
  /* Opens a step: *dev is host with its arrays in the device's memory, at `place` (dev, host->block_bytes bytes) unless the
   * backend reads the host's own. Valid until step_end, which every successful step_begin is followed by. */
  viva_status (*step_begin)(backend *b, const batch *host, void *place, batch *dev, viva_error *error);
  viva_status (*step_end)(backend *b, viva_error *error);
  /* Steps of more than angle_rows rows, of few sequences, may have turns in place of cos_sin, which lies last in the block then
   * and does not travel; so may steps for decode_step of at least angle_sequences sequences of a row each. 0: none may. */
  size_t angle_rows, angle_sequences;

  /* -- operations */
  /* out[i][0..cols) = table row tokens[i], as FP32. tokens: dev [m], each < table->rows. */
  viva_status (*embed)(backend *b, const weight *table, const viva_token *tokens, size_t m, float *out,
                       viva_error *error);
  /* y = x · rsqrt(mean(x²) + eps) · gain, for rows × groups vectors of n: group g of row r begins at
   * x + r · stride + g · n. y may be x. Per-head norms use groups = heads. gain: dev [n]. */
  viva_status (*rmsnorm)(backend *b, const float *x, float *y, size_t rows, size_t stride, size_t groups, size_t n,
                         const float *gain, float eps, viva_error *error);
  /* count linear layers at once, independent of each other (q, k, v; gate, up); all have the same m and input mode. */
  viva_status (*linear)(backend *b, const linear_args *args, size_t count, viva_error *error);
  /* Optional: 1 when linear brings FLOAT rows to each of these products as INPUT_F16: then they may enter so, with the same
   * bits. Of the arguments x and xq do not matter. */
  int (*takes_f16)(backend *b, const linear_args *args, size_t count);
  /* Bytes of the quantised form of m rows of k (the backend's own layout), and the quantisation. Used for every linear
   * layer that reads these rows. mode is not FLOAT. */
  size_t (*quantized_bytes)(backend *b, input_mode mode, size_t m, size_t k);
  viva_status (*quantize_rows)(backend *b, input_mode mode, const float *x, size_t x_stride, size_t m, size_t k,
                               void *to, viva_error *error);
  /* to[rows][to_stride] = from as FP32. bad: dev [rows], 1 for a row with a NaN or an infinity, else 0. */
  viva_status (*load_rows)(backend *b, const outer_rows *from, size_t rows, size_t cols, float *to, size_t to_stride,
                           uint8_t *bad, viva_error *error);
  /* to = from (+ bias[cols], added in FP32), rounded to nearest even; a row that is bad becomes NaN throughout.
   * *overflows (host) grows by the number of infinite values written. bias: dev or NULL. */
  viva_status (*store_rows)(backend *b, const float *from, size_t from_stride, size_t rows, size_t cols,
                            const float *bias, const uint8_t *bad, const outer_rows *to, uint64_t *overflows,
                            viva_error *error);
  viva_status (*rope_append)(backend *b, const rope_append_args *args, viva_error *error);
  viva_status (*attention)(backend *b, const attention_args *args, viva_error *error);
  /* Optional: rope_append, then attention of the same rows and layer, with the same bits (but of a row with a NaN, in F16,
   * whose other values may stay); q may stay as it was. Errors: E_UNSUPPORTED: it does not take these, nothing was done, one
   * after the other does it. */
  viva_status (*turn_attention)(backend *b, const rope_append_args *turn, const attention_args *args,
                                viva_error *error);
  /* out = silu(gate) · up over rows × n; silu(v) = v / (1 + e^−v). out may be gate or up. Rows stride apart. */
  viva_status (*silu_mul)(backend *b, const float *gate, const float *up, float *out, size_t rows, size_t n,
                          size_t stride, viva_error *error);
  /* Optional: linear of args[0] (gate) and args[1] (up), then silu_mul of what they made to args[0].y, as one product;
   * args[1].y may be written or not. silu within 2^-20 (1 + |gate|) of itself. Errors: E_UNSUPPORTED: it does not take these,
   * nothing was done, linear and silu_mul do it. */
  viva_status (*linear_gated)(backend *b, const linear_args *args, viva_error *error);
  /* Optional: load_rows, quantize_rows, linear (and silu_mul, silu as exact as linear_gated's) and store_rows as one. Errors:
   * E_UNSUPPORTED: it does not take these, nothing was done, the others do it. */
  viva_status (*linear_outer)(backend *b, const linear_outer_args *args, viva_error *error);
  /* Optional, each by itself: rmsnorm (of x [rows][n]) or silu_mul (of gate and up [rows][n]), then quantize_rows, in one pass,
   * for rows that nothing but products of codes reads. The same codes and scales; the rows themselves are written nowhere. mode
   * is not FLOAT. */
  viva_status (*rmsnorm_codes)(backend *b, const float *x, size_t rows, size_t n, const float *gain, float eps,
                               input_mode mode, void *to, viva_error *error);
  viva_status (*silu_mul_codes)(backend *b, const float *gate, const float *up, size_t rows, size_t n, input_mode mode,
                                void *to, viva_error *error);
  /* to[i] = from[rows[i]] for i < count; vectors of n, stride apart in both. to does not overlap from. */
  viva_status (*take_rows)(backend *b, const float *from, const uint32_t *rows, size_t count, size_t n, size_t stride,
                           float *to, viva_error *error);
  /* For each of `rows` vectors of n (n apart) the k largest values with their indices, the largest first, equal ones by
   * rising index. Results to the host: ids and values [rows][k], values may be NULL; nan [rows]: 1 when one of the
   * row's values is NaN (its other results are then of no use). 1 ≤ k ≤ n. */
  viva_status (*top)(backend *b, const float *logits, size_t rows, size_t n, size_t k, viva_token *ids, float *values,
                     uint8_t *nan, viva_error *error);
  /* Optional: a whole step of few rows in one call, from the host's description to the logits of the kept rows, each
   * to its place (host [kept]: dev [vocab]), in place of step_begin, the operations above, and step_end. best, values, nan
   * (host [kept]): as top's for k = 1. The same numbers within the backend's bound; whether it takes a step depends on the
   * decoder, the mode and the numbers of rows, never on positions or time. mode: how rows enter packed weights. Errors:
   * E_UNSUPPORTED: it does not take this step, nothing was done, the operations do it. */
  viva_status (*decode_step)(backend *b, const decoder *d, const batch *host, input_mode mode, float *const *logits,
                             viva_token *best, float *values, uint8_t *nan, viva_error *error);
  /* With decode_step: the decoder is about to end; what the backend keeps of it (captured steps) goes. */
  void (*decode_forget)(backend *b, const decoder *d);
  size_t decode_rows; /* most rows of a step that decode_step takes; 0 without it */
  /* Reads bytes of dev memory as fast as it can, once; for the bandwidth ceiling. */
  viva_status (*read_pass)(backend *b, const void *dev, size_t bytes, double *seconds, viva_error *error);
  /* Optional: so many reads that each need the one before it: from words[0] on, a word is the index of the next. */
  viva_status (*chase)(backend *b, const uint64_t *words, size_t reads, double *seconds, viva_error *error);

  /* Bytes of dev scratch memory the backend keeps for steps of up to m rows, context tokens and width features, for
   * the memory plan. reserve makes sure it exists; afterwards steps of this size allocate nothing. */
  size_t (*scratch_bytes)(backend *b, size_t m, size_t context, size_t width);
  viva_status (*reserve)(backend *b, size_t m, size_t context, size_t width, viva_error *error);
} backend_ops;

/* Every backend begins with this. */
struct backend {
  const backend_ops *ops;
  /* 1 when dev memory is the host's too (CPU): files may be read or mapped into it. */
  int host_memory;
};

/* Every backend of this build, NULL at the end; the first is the CPU's, which every build has. */
extern const backend_ops *const backends[];
extern const backend_ops backend_cpu;

#endif
