/* backend/cuda/cuda_linear.c: which kernel runs which product.
 *
 *   rows of x     sm_90a                                              other GPUs
 *   1 … 32        gemv.h on the weight's second form; of FP8 and       the same, 16 rows at a time
 *                 NVFP4 with 16-bit rows … 24
 *   more          gemm.h: FP8, NVFP4, F16 as they are; INT8 2:4 and   gemv.h, 16 rows at a time
 *                 INT4 2:4 times integers as INT8 2:4; the others
 *                 expanded to F16 before the product
 *   any           step_product: F32 weights, columns that are no multiple of 8, weights without a second form
 *
 * Large products of the same rows (q, k and v) are one launch where the weights are taken as they are; so are gate and up with
 * silu(gate) · up behind them.
 *
 * FP32 rows enter as FP16, a row that it cannot hold divided by a power of two. Rows of codes enter as they are, or, where the
 * weights are of another kind, as FP16, which holds every code. */
#include "backend/cuda/cuda_linear.h"

/* Rows of FP8 and NVFP4 that are gemv.h's. 8 layers of the 8B, 24 sequences: 20,465 (NVFP4 14,148) tok/s, by gemm.h 19,327
 * (13,885); 32: 22,093 (16,877), by gemm.h 24,781 (17,842). */
#define CUDA_GEMV_ROWS 24

#define EXPANDED_MOST                                                                                                  \
  ((size_t)1 << 30) /* bytes of a weight's expansion; a larger one is multiplied 16 rows at a time */

/* ---- rows as FP16 */

typedef struct half_rows {
  const void *from; /* x or xq: what rows holds now; NULL: nothing yet */
  uint16_t *codes;
  float *scales;
} half_rows;

static viva_status half_rows_make(cuda_backend *c, const linear_args *a, half_rows *rows, viva_error *error) {
  const size_t m = a->m, k = a->w->cols, scales = cuda_align(m * sizeof(float));
  const void *from = a->input == INPUT_FLOAT ? (const void *)a->x : a->xq;
  if (rows->from == from) return VIVA_OK;
  if (a->input == INPUT_F16) {
    *rows = (half_rows){from, (uint16_t *)(uintptr_t)a->xq, step_quantized_scales(a->xq, a->input, m, k)};
    return VIVA_OK;
  }
  TRY(cuda_room_fit(c, &c->rows, scales + m * k * sizeof(uint16_t), error));
  *rows = (half_rows){from, (uint16_t *)(void *)((uint8_t *)c->rows.dev + scales), c->rows.dev};
  if (a->input == INPUT_FLOAT)
    return cuda_check(c,
                      (cudaError_t)c->kernels->rows(ROWS_F32, a->x, a->x_stride, (int)m, (int)k, ROWS_TO_F16,
                                                    rows->codes, rows->scales, c->stream),
                      "rows to FP16", error);
  rows->scales = step_quantized_scales(a->xq, a->input, m, k);
  return cuda_check(c,
                    (cudaError_t)c->kernels->codes_to_f16(a->input == INPUT_E4M3 ? CONVERT_E4M3 : CONVERT_INT8, a->xq,
                                                          (int)m, (int)k, rows->codes, k, c->stream),
                    "codes to FP16", error);
}

/* ---- few rows */

/* count matrices together. */
static viva_status multiply_small(cuda_backend *c, const linear_args *args, size_t count, half_rows *rows,
                                  viva_error *error) {
  TRY(half_rows_make(c, args, rows, error));
  gemv_problem p = {.w = *args->w,
                    .m = (int)args->m,
                    .x = rows->codes,
                    .x_stride = args->w->cols,
                    .x_scales = rows->scales,
                    .activation = (gemv_activation)args->act,
                    .output = GEMV_F32,
                    .part_count = (int)count};
  for (size_t i = 0; i < count; i++)
    p.parts[i] = (gemv_part){.ordered = args[i].w->prepared,
                             .rows = args[i].w->rows,
                             .bias = args[i].bias,
                             .residual = args[i].residual,
                             .y = args[i].y,
                             .y_stride = args[i].y_stride};
  return cuda_check(c, (cudaError_t)c->kernels->gemv(&p, &c->gpu, 0, c->stream), "a product of few rows", error);
}

/* 1 when b can be a part of a's launch. */
static int joins(const linear_args *a, const linear_args *b) {
  const weight *v = a->w, *w = b->w;
  return v->format == w->format && v->cols == w->cols && v->block == w->block && v->scales_type == w->scales_type &&
         v->pairs == w->pairs && a->act == b->act && a->input == b->input && a->accumulate == b->accumulate &&
         a->x == b->x && a->xq == b->xq && a->x_stride == b->x_stride;
}

/* ---- many rows, sm_90a */

static int whole_rows(const weight *w) {
  if (w->format == WEIGHT_NVFP4) return w->row_bytes == w->cols / 2 && w->scale_row_bytes == w->cols / 16;
  return w->row_bytes == w->cols * (w->format == WEIGHT_F16 ? 2 : 1);
}

large_way cuda_large_way(const linear_args *a) {
  const weight *w = a->w;
  const int sparse = w->format == WEIGHT_INT8_24 || w->format == WEIGHT_INT4_24;
  const int integers = a->input == INPUT_INT8 || a->input == INPUT_INT4;
  if (w->format == WEIGHT_FP8 && !w->block && whole_rows(w)) {
    if (a->input == INPUT_E4M3)
      return (large_way){.kind = a->accumulate == ACCUMULATE_FAST ? GEMM_FP8_FAST : GEMM_FP8_FULL};
    return (large_way){.kind = GEMM_FP8_F16, .half = 1};
  }
  if (w->format == WEIGHT_NVFP4 && w->cols % 64 == 0 && whole_rows(w))
    return (large_way){.kind = GEMM_NVFP4_F16, .half = 1};
  if (sparse && !w->block && integers && w->cols % 128 == 0)
    return (large_way){.kind = GEMM_INT8_24,
                       .weights = EXPANDED,
                       .to = EXPAND_INT8_24,
                       .expanded = w->rows * w->cols / 2,
                       .index = w->rows * w->cols / 8};
  if (w->format == WEIGHT_F16 && whole_rows(w)) return (large_way){.kind = GEMM_F16_F16, .half = 1};
  return (large_way){.kind = GEMM_F16_F16,
                     .weights = w->format == WEIGHT_BF16 ? BF16_AS_F16 : EXPANDED,
                     .to = EXPAND_F16,
                     .half = 1,
                     .expanded = w->rows * w->cols * 2};
}

static gemm_problem large_problem(const linear_args *a, const large_way *way) {
  return (gemm_problem){.kind = way->kind,
                        .output = GEMM_F32,
                        .act = GEMM_PLAIN,
                        .m = (int)a->m,
                        .n = (int)a->w->rows,
                        .k = (int)a->w->cols};
}

static int runs_small(const linear_args *a) { return a->w->prepared && a->w->cols % 8 == 0; }

/* 1 when the weight's scales are what the kernel takes. */
static int plain_scales(const weight *w, const large_way *way) {
  const int unscaled = way->kind == GEMM_NVFP4_F16 || w->format == WEIGHT_F16;
  return unscaled || (w->scales_type == SCALE_F32 && w->scale_row_bytes == sizeof(float));
}

/* Rows that are gemv.h's: of FP8 and NVFP4 fewer, where gemm.h takes weights and rows as they are. */
static size_t small_rows(const linear_args *a, const large_way *way) {
  const int widened = way->kind == GEMM_FP8_F16 || way->kind == GEMM_NVFP4_F16;
  const int floats = a->input == INPUT_FLOAT || a->input == INPUT_F16;
  if (!runs_small(a)) return GEMV_SURE_ROWS;
  return widened && floats && plain_scales(a->w, way) ? CUDA_GEMV_ROWS : GEMV_MOST_ROWS;
}

int cuda_large_runs(const cuda_backend *c, const linear_args *a) {
  const weight *w = a->w;
  if (c->gpu.major != 9 || a->m <= GEMV_SURE_ROWS || w->format == WEIGHT_F32 || w->pairs) return 0;
  if (a->m > INT32_MAX / 2 || (uintptr_t)w->data % 16) return 0;
  const large_way way = cuda_large_way(a);
  if (a->m <= small_rows(a, &way)) return 0;
  if (way.weights == EXPANDED && gemm_expand_refusal(w, way.to)) return 0;
  if (way.weights == BF16_AS_F16 && w->row_bytes != w->cols * 2) return 0;
  const gemm_problem p = large_problem(a, &way);
  return way.expanded <= EXPANDED_MOST && !gemm_refusal(&p);
}

/* 1 when the kernel can write y itself. */
static int writes_y(const linear_args *a) {
  return a->act == ACTIVATION_NONE && (!a->residual || a->residual == a->y) && a->y_stride == a->w->rows &&
         (uintptr_t)a->y % 16 == 0;
}

/* 1 when nothing but the rows takes room, so that products of the same rows may be one launch. */
static int needs_no_room(const linear_args *a) {
  const large_way way = cuda_large_way(a);
  return way.weights == AS_IT_IS && plain_scales(a->w, &way) && writes_y(a);
}

size_t cuda_large_room(const weight *w, const large_way *way) {
  if (way->weights == AS_IT_IS && plain_scales(w, way)) return 0;
  return cuda_align(way->expanded) + cuda_align(way->index) + cuda_align(w->rows * sizeof(float));
}

viva_status cuda_large_weights(cuda_backend *c, const weight *w, const large_way *way, void *room, gemm_operands *o,
                               viva_error *error) {
  const size_t codes = cuda_align(way->expanded), index = cuda_align(way->index);
  const int unscaled = way->kind == GEMM_NVFP4_F16 || w->format == WEIGHT_F16;
  o->scale = way->kind == GEMM_NVFP4_F16 ? weight_row_scale(w, 0) : 1;
  o->w = w->data;
  o->ordered = w->prepared;
  o->index = w->scales;
  if (way->weights == AS_IT_IS && plain_scales(w, way)) {
    o->channel_scale = unscaled ? NULL : w->scales;
    return VIVA_OK;
  }
  uint8_t *dev = room;
  o->made = way->weights != AS_IT_IS;
  float *scales = (float *)(void *)(dev + codes + index);
  o->channel_scale = scales;
  if (way->weights == AS_IT_IS)
    return cuda_check(c, (cudaError_t)c->kernels->row_scales(w, scales, c->stream), "scales of rows", error);
  o->w = dev;
  o->index = dev + codes;
  if (way->weights == BF16_AS_F16)
    return cuda_check(c,
                      (cudaError_t)c->kernels->rows(ROWS_BF16, w->data, w->cols, (int)w->rows, (int)w->cols,
                                                    ROWS_TO_F16, dev, scales, c->stream),
                      "weights to FP16", error);
  /* NVFP4's number of the matrix is not in what the expansion calls the channel's scale. */
  if (w->format == WEIGHT_NVFP4) o->scale = weight_row_scale(w, 0);
  const expand_target target = {.to = way->to, .codes = dev, .index = dev + codes, .channel_scale = scales};
  return cuda_check(c, (cudaError_t)c->kernels->expand(w, &target, c->stream), "expanding weights", error);
}

/* The same in the engine's room for it. */
static viva_status large_weights(cuda_backend *c, const weight *w, const large_way *way, gemm_operands *o,
                                 viva_error *error) {
  TRY(cuda_room_fit(c, &c->expanded, cuda_large_room(w, way), error));
  return cuda_large_weights(c, w, way, c->expanded.dev, o, error);
}

/* Room for few rows' parts to meet: its counters are 0. */
static viva_status meet_fit(cuda_backend *c, viva_error *error) {
  const size_t bytes = gemm_meet_bytes(GEMM_FEW_TOKENS, c->gpu.multiprocessors);
  if (c->meet.bytes >= bytes) return VIVA_OK;
  TRY(cuda_room_fit(c, &c->meet, bytes, error));
  return cuda_check(c, c->api->MemsetAsync(c->meet.dev, 0, gemm_meet_zeros(c->gpu.multiprocessors), c->stream),
                    "clearing counters", error);
}

/* The operands of one product; where the kernel cannot write y, its sums go to the room for them. */
static viva_status large_operands(cuda_backend *c, const linear_args *a, const large_way *way, half_rows *rows,
                                  gemm_operands *o, viva_error *error) {
  *o = (gemm_operands){.bias = a->bias, .y = a->y, .adds = writes_y(a) && a->residual};
  if (way->half) {
    TRY(half_rows_make(c, a, rows, error));
    o->x = rows->codes;
    o->row_scale = rows->scales;
  } else {
    o->x = a->xq;
    o->row_scale = step_quantized_scales(a->xq, a->input, a->m, a->w->cols);
  }
  TRY(large_weights(c, a->w, way, o, error));
  if (a->m <= GEMM_FEW_TOKENS) TRY(meet_fit(c, error));
  o->meet = a->m <= GEMM_FEW_TOKENS ? c->meet.dev : NULL;
  if (writes_y(a)) return VIVA_OK;
  TRY(cuda_room_fit(c, &c->product, a->m * a->w->rows * sizeof(float), error));
  o->y = c->product.dev;
  return VIVA_OK;
}

/* count products as one launch; more than one only of those that need no room. */
static viva_status multiply_large(cuda_backend *c, const linear_args *a, size_t count, half_rows *rows,
                                  viva_error *error) {
  gemm_problem p[GEMM_MOST_PARTS];
  gemm_operands o[GEMM_MOST_PARTS];
  for (size_t i = 0; i < count; i++) {
    const large_way way = cuda_large_way(&a[i]);
    p[i] = large_problem(&a[i], &way);
    TRY(large_operands(c, &a[i], &way, rows, &o[i], error));
  }
  TRY(cuda_check(c, (cudaError_t)c->kernels->gemm(p, o, (int)count, c->stream), "a product of many rows", error));
  if (writes_y(a)) return VIVA_OK;
  const convert_finish_args finish = {.sums = o->y,
                                      .m = (int)a->m,
                                      .n = (int)a->w->rows,
                                      .act = a->act,
                                      .residual = a->residual,
                                      .y = a->y,
                                      .y_stride = a->y_stride};
  return cuda_check(c, (cudaError_t)c->kernels->finish(&finish, c->stream), "finishing a product", error);
}

/* -- silu(gate) · up as one product */

/* args: gate, up. 1 when the kernel makes both of them, and gate's place takes the result. */
static int runs_gated(const cuda_backend *c, const linear_args *args) {
  const linear_args *gate = &args[0], *up = &args[1];
  if (!cuda_large_runs(c, gate) || !cuda_large_runs(c, up) || gate->m != up->m || !joins(gate, up)) return 0;
  if (gate->w->rows != up->w->rows || gate->residual || up->residual || up->act != ACTIVATION_NONE) return 0;
  const large_way way = cuda_large_way(gate);
  if (way.kind == GEMM_NVFP4_F16 && weight_row_scale(gate->w, 0) != weight_row_scale(up->w, 0)) return 0;
  const gemm_operands o = {
      .w = gate->w->data, .index = gate->w->scales, .up = {.w = up->w->data, .index = up->w->scales}};
  return needs_no_room(gate) && plain_scales(up->w, &way) && gemm_ups_fit(way.kind, &o);
}

/* output: GEMM_F32, or GEMM_F16 of up to GEMM_FEW_TOKENS rows. */
static viva_status multiply_gated(cuda_backend *c, const linear_args *args, gemm_output output, half_rows *rows,
                                  viva_error *error) {
  const large_way way = cuda_large_way(&args[0]);
  gemm_problem p = large_problem(&args[0], &way);
  gemm_operands o, up;
  p.act = GEMM_SWIGLU;
  p.output = output;
  TRY(large_operands(c, &args[0], &way, rows, &o, error));
  TRY(large_weights(c, args[1].w, &way, &up, error));
  o.up = (gemm_ups){
      .w = up.w, .index = up.index, .ordered = up.ordered, .channel_scale = up.channel_scale, .bias = args[1].bias};
  return cuda_check(c, (cudaError_t)c->kernels->gemm(&p, &o, 1, c->stream), "a gated product of many rows", error);
}

viva_status cuda_linear_gated(backend *b, const linear_args *args, viva_error *error) {
  half_rows rows = {NULL, NULL, NULL};
  if (args->m == 0 || !runs_gated(cuda_of(b), args)) return VIVA_E_UNSUPPORTED;
  CUDA_CALL(b, multiply_gated(cuda_of(b), args, GEMM_F32, &rows, error));
}

/* 1 when b can be a part of a's launch. */
static int joins_large(const cuda_backend *c, const linear_args *a, const linear_args *b) {
  return cuda_large_runs(c, b) && a->m == b->m && joins(a, b) && cuda_large_way(a).kind == cuda_large_way(b).kind &&
         needs_no_room(a) && needs_no_room(b);
}

/* ---- the same within a captured step */

int cuda_many_taken(const cuda_backend *c, const linear_args *args, size_t count, int gated) {
  if (gated) return runs_gated(c, args);
  if (args->m > GEMM_FEW_TOKENS || !cuda_large_runs(c, args) || !needs_no_room(args)) return 0;
  for (size_t i = 1; i < count; i++)
    if (!joins_large(c, args, &args[i])) return 0;
  return 1;
}

viva_status cuda_many_prepare(cuda_backend *c, viva_error *error) { return meet_fit(c, error); }

viva_status cuda_many_queue(cuda_backend *c, const linear_args *args, size_t count, const gemm_output *gated,
                            const uint16_t *rows, const float *scales, viva_error *error) {
  half_rows half = {args->x, (uint16_t *)(uintptr_t)rows, (float *)(uintptr_t)scales};
  return gated ? multiply_gated(c, args, *gated, &half, error) : multiply_large(c, args, count, &half, error);
}

/* ---- all of them */

static viva_status multiply(cuda_backend *c, const linear_args *args, size_t count, viva_error *error) {
  half_rows rows = {NULL, NULL, NULL};
  for (size_t i = 0, together; i < count; i += together) {
    const linear_args *a = &args[i];
    together = 1;
    if (i > 0 && (a->m != args->m || a->w->cols != args->w->cols)) rows.from = NULL;
    if (cuda_large_runs(c, a)) {
      while (i + together < count && together < GEMM_MOST_PARTS && joins_large(c, a, &a[together])) together++;
      TRY(multiply_large(c, a, together, &rows, error));
    } else if (runs_small(a)) {
      while (i + together < count && together < GEMV_MOST_PARTS && runs_small(&a[together]) &&
             !cuda_large_runs(c, &a[together]) && joins(a, &a[together]))
        together++;
      TRY(multiply_small(c, a, together, &rows, error));
    } else {
      const step_queue q = {.stream = c->stream};
      TRY(cuda_check(c, (cudaError_t)c->kernels->product(q, a), "a plain product", error));
    }
  }
  return VIVA_OK;
}

viva_status cuda_linear(backend *b, const linear_args *args, size_t count, viva_error *error) {
  if (count == 0 || args->m == 0) return VIVA_OK;
  CUDA_CALL(b, multiply(cuda_of(b), args, count, error));
}

int cuda_takes_f16(backend *b, const linear_args *args, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const linear_args *a = &args[i];
    if (cuda_large_runs(cuda_of(b), a) ? !cuda_large_way(a).half : !runs_small(a)) return 0;
  }
  return 1;
}

size_t cuda_quantized_bytes(backend *b, input_mode mode, size_t m, size_t k) {
  (void)b;
  return step_quantized_bytes(mode, m, k);
}

viva_status cuda_quantize_rows(backend *b, input_mode mode, const float *x, size_t x_stride, size_t m, size_t k,
                               void *to, viva_error *error) {
  cuda_backend *c = cuda_of(b);
  const step_queue q = {.stream = c->stream, .dependent = c->gpu.major >= 9};
  if (m == 0) return VIVA_OK;
  CUDA_CALL(b, cuda_check(c, (cudaError_t)c->kernels->quantize_rows(q, mode, x, x_stride, m, k, to), "quantising rows",
                          error));
}
