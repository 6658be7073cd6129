/* backend/cuda/cuda_outer.c: whole linear layers of many rows on sm_90a: two kernels, and one for each matrix that is expanded.
 *
 *   x, 16 or 32 bits ─ rows ─► codes and scales ─ product: scales, bias, activation, rounding ─► y, 16 or 32 bits
 *
 * What they need at once (expanded weights, codes of up to OUTER_ROWS rows) may be more than the GPU has left: then the
 * backend's other operations do the layer, which need less at a time. The product is cuBLASLt's where lt_table.h has a row for
 * it, else gemm.h's. */
#include "backend/cuda/cuda_linear.h"

#include <string.h>

#define OUTER_ROWS 8192 /* of x at a time: as many as fill the GPU with any matrix, so that their codes have a bound */

typedef struct outer_way {
  large_way large;
  gemm_problem problem; /* of the first piece */
  rows_type from;
  rows_codes to;
  int biased; /* 1: the biases are there as our own kernel takes them */
} outer_way;

/* -- what is taken */

static int rows_type_of(viva_dtype dtype, rows_type *type) {
  *type = dtype == VIVA_F16 ? ROWS_F16 : dtype == VIVA_BF16 ? ROWS_BF16 : ROWS_F32;
  return dtype == VIVA_F16 || dtype == VIVA_BF16 || dtype == VIVA_F32;
}

static int output_of(viva_dtype dtype, gemm_output *output) {
  *output = dtype == VIVA_F16 ? GEMM_F16 : dtype == VIVA_BF16 ? GEMM_BF16 : GEMM_F32;
  return dtype == VIVA_F16 || dtype == VIVA_BF16 || dtype == VIVA_F32;
}

static size_t rows_at_once(const linear_outer_args *a) { return a->rows < OUTER_ROWS ? a->rows : OUTER_ROWS; }

/* 1 when the rows of x and y lie as the kernels take them. */
static int lies_well(const linear_outer_args *a) {
  const size_t n = a->w->rows;
  return a->x.col_stride == 1 && a->x.row_stride >= 0 && a->y.col_stride == 1 && a->y.row_stride == (ptrdiff_t)n &&
         (uintptr_t)a->y.data % 16 == 0;
}

/* 1 when rows of this mode are what the kernel multiplies. */
static int mode_fits(input_mode mode, const large_way *way, rows_codes *to) {
  *to = way->half ? ROWS_TO_F16 : mode == INPUT_E4M3 ? ROWS_TO_E4M3 : mode == INPUT_INT8 ? ROWS_TO_INT8 : ROWS_TO_INT4;
  return way->half == (mode == INPUT_FLOAT);
}

/* 1 when up can be multiplied beside w. */
static int up_fits(const cuda_backend *c, const linear_outer_args *a, linear_args args, const large_way *way) {
  const weight *w = a->w, *up = a->up;
  args.w = up;
  if (w->format != up->format || w->block != up->block || w->scales_type != up->scales_type ||
      !cuda_large_runs(c, &args) || cuda_large_way(&args).kind != way->kind)
    return 0;
  if (w->format == WEIGHT_NVFP4 && weight_row_scale(w, 0) != weight_row_scale(up, 0))
    return 0; /* one number for both */
  const gemm_operands o = {.w = w->data, .index = w->scales, .up = {.w = up->data, .index = up->scales}};
  return way->weights != AS_IT_IS || gemm_ups_fit(way->kind, &o); /* expanded, the ups follow the gates */
}

static int find_way(const cuda_backend *c, const linear_outer_args *a, outer_way *way) {
  const linear_args args = {
      .m = rows_at_once(a), .input = a->mode, .w = a->w, .accumulate = a->accumulate, .y_stride = a->w->rows};
  gemm_output output;
  if (a->rows <= GEMM_FEW_TOKENS || !lies_well(a) || !rows_type_of(a->x.dtype, &way->from) ||
      !output_of(a->y.dtype, &output) || !cuda_large_runs(c, &args))
    return 0;
  if (a->act != ACTIVATION_NONE && a->act != ACTIVATION_GELU_TANH) return 0;
  way->large = cuda_large_way(&args);
  way->problem = (gemm_problem){.kind = way->large.kind,
                                .output = output,
                                .act = a->up                       ? GEMM_SWIGLU
                                       : a->act == ACTIVATION_NONE ? GEMM_PLAIN
                                                                   : GEMM_GELU,
                                .m = (int)args.m,
                                .n = (int)a->w->rows,
                                .k = (int)a->w->cols};
  return mode_fits(a->mode, &way->large, &way->to) && !gemm_refusal(&way->problem) &&
         (!a->up || up_fits(c, a, args, &way->large));
}

/* -- the work */

/* 1 when n floats at data lie in what is written. */
static int lies_in_y(const linear_outer_args *a, const void *data, size_t n) {
  const uintptr_t from = (uintptr_t)data, y = (uintptr_t)a->y.data;
  const size_t bytes = a->rows * a->w->rows * (a->y.dtype == VIVA_F32 ? sizeof(float) : sizeof(uint16_t));
  return from < y + bytes && y < from + n * sizeof(float);
}

/* A bias as FP32: as it lies, or loaded to the next part of the room for it. */
static viva_status find_bias(cuda_backend *c, const linear_outer_args *a, const outer_rows *bias, uint8_t **room,
                             const float **to, viva_error *error) {
  const size_t n = a->w->rows;
  const step_queue q = {.stream = c->stream};
  *to = bias ? bias->data : NULL;
  if (!bias || (bias->dtype == VIVA_F32 && bias->col_stride == 1 && !lies_in_y(a, bias->data, n))) return VIVA_OK;
  float *const made = (float *)(void *)*room;
  *to = made;
  *room += cuda_align(n * sizeof(float) + 1);
  return cuda_check(c, (cudaError_t)c->kernels->load_rows(q, bias, 1, n, made, n, (uint8_t *)(made + n)), "a bias",
                    error);
}

static size_t biases_bytes(const linear_outer_args *a) {
  enum { BIASES = 3 };
  return BIASES * cuda_align(a->w->rows * sizeof(float) + 1);
}

/* In the room that find_operands took for them. */
static viva_status find_biases(cuda_backend *c, const linear_outer_args *a, gemm_operands *o, viva_error *error) {
  uint8_t *room = c->product.dev;
  TRY(find_bias(c, a, a->bias, &room, &o->bias, error));
  TRY(find_bias(c, a, a->up_bias, &room, &o->up.bias, error));
  return find_bias(c, a, a->after_bias, &room, &o->after_bias, error);
}

/* The weights' operands: in the engine's room what is expanded, the ups behind the gates. */
static viva_status find_weights(cuda_backend *c, const linear_outer_args *a, const outer_way *way, gemm_operands *o,
                                viva_error *error) {
  const size_t first = cuda_large_room(a->w, &way->large), second = a->up ? cuda_large_room(a->up, &way->large) : 0;
  gemm_operands up;
  if (first + second) TRY(cuda_room_fit(c, &c->expanded, first + second, error));
  TRY(cuda_large_weights(c, a->w, &way->large, c->expanded.dev, o, error));
  if (!a->up) return VIVA_OK;
  void *const behind = second ? (uint8_t *)c->expanded.dev + first : NULL;
  TRY(cuda_large_weights(c, a->up, &way->large, behind, &up, error));
  o->up.w = up.w, o->up.index = up.index, o->up.channel_scale = up.channel_scale;
  return VIVA_OK;
}

/* Of the codes and scales of so many rows. */
static size_t piece_bytes(const linear_outer_args *a, const outer_way *way, size_t rows) {
  return cuda_align(rows * sizeof(float)) + rows * a->w->cols * (way->large.half ? sizeof(uint16_t) : 1);
}

/* What all pieces read, and room for the largest. */
static viva_status find_operands(cuda_backend *c, const linear_outer_args *a, const outer_way *way, gemm_operands *o,
                                 viva_error *error) {
  TRY(find_weights(c, a, way, o, error));
  TRY(cuda_room_fit(c, &c->product, biases_bytes(a), error));
  return cuda_room_fit(c, &c->rows, piece_bytes(a, way, rows_at_once(a)), error);
}

/* The product by cuBLASLt, which takes biases of the results' type only, and whose full sums err by more than docs/gpu.md
 * promises. E_UNSUPPORTED: it does not run there. */
static viva_status multiply_lt(cuda_backend *c, const linear_outer_args *a, const gemm_problem *p,
                               const gemm_operands *o, viva_error *error) {
  if (p->kind != GEMM_FP8_FAST || p->act == GEMM_SWIGLU || a->after_bias || p->output == GEMM_F32 ||
      (uintptr_t)o->channel_scale % 16 ||
      (a->bias && (a->bias->dtype != a->y.dtype || a->bias->col_stride != 1 || (uintptr_t)a->bias->data % 16 ||
                   lies_in_y(a, a->bias->data, a->w->rows))))
    return VIVA_E_UNSUPPORTED;
  const lt_problem problem = {.input = LT_E4M3,
                              .output = p->output == GEMM_F16 ? LT_F16 : LT_BF16,
                              .scales = LT_SCALES_OUTER,
                              .bias = a->bias != NULL,
                              .gelu = p->act == GEMM_GELU,
                              .m = p->m,
                              .n = p->n,
                              .k = p->k};
  const lt_operands operands = {.x = o->x,
                                .w = o->w,
                                .channel_scale = o->channel_scale,
                                .row_scale = o->row_scale,
                                .bias = a->bias ? a->bias->data : NULL,
                                .y = o->y};
  return cuda_lt_multiply(c, &problem, &operands, error);
}

static viva_status multiply_piece(cuda_backend *c, const linear_outer_args *a, outer_way *way, gemm_operands *o,
                                  size_t first, size_t rows, viva_error *error) {
  const size_t k = a->w->cols;
  gemm_problem p = way->problem;
  uint8_t *const codes = (uint8_t *)c->rows.dev + cuda_align(rows * sizeof(float));
  const uint8_t *const x = (const uint8_t *)a->x.data +
                           first * (size_t)a->x.row_stride * (way->from == ROWS_F32 ? sizeof(float) : sizeof(uint16_t));
  p.m = (int)rows;
  o->x = codes;
  o->row_scale = c->rows.dev;
  o->y = (uint8_t *)a->y.data + first * a->w->rows * (p.output == GEMM_F32 ? sizeof(float) : sizeof(uint16_t));
  TRY(cuda_check(c,
                 (cudaError_t)c->kernels->rows(way->from, x, (size_t)a->x.row_stride, (int)rows, (int)k, way->to, codes,
                                               c->rows.dev, c->stream),
                 "rows of a layer", error));
  const viva_status status = multiply_lt(c, a, &p, o, error);
  if (status != VIVA_E_UNSUPPORTED) return status;
  if (!way->biased) TRY(find_biases(c, a, o, error));
  way->biased = 1;
  return cuda_check(c, (cudaError_t)c->kernels->gemm(&p, o, 1, c->stream), "a layer of many rows", error);
}

static viva_status count_overflows(cuda_backend *c, const linear_outer_args *a, viva_error *error) {
  uint64_t found = 0;
  TRY(cuda_room_fit(c, &c->product, 256, error));
  TRY(cuda_answers_fit(c, sizeof found, error));
  const step_queue q = {.stream = c->stream};
  TRY(cuda_check(c, c->api->MemsetAsync(c->product.dev, 0, sizeof found, c->stream), "counting overflows", error));
  TRY(cuda_check(
      c, (cudaError_t)c->kernels->count_infinite(q, a->y.dtype, a->y.data, a->rows * a->w->rows, c->product.dev),
      "counting overflows", error));
  TRY(cuda_check(c, c->api->MemcpyAsync(c->answers, c->product.dev, sizeof found, cudaMemcpyDeviceToHost, c->stream),
                 "counting overflows", error));
  TRY(cuda_check(c, c->api->StreamSynchronize(c->stream), "counting overflows", error));
  memcpy(&found, c->answers, sizeof found);
  *a->overflows += found;
  return VIVA_OK;
}

static viva_status multiply(cuda_backend *c, const linear_outer_args *a, viva_error *error) {
  outer_way way = {0};
  gemm_operands o = {.scale = 1};
  viva_error refused = {0};
  if (!find_way(c, a, &way)) return VIVA_E_UNSUPPORTED;
  const viva_status found = find_operands(c, a, &way, &o, &refused);
  if (found == VIVA_E_MEMORY) return VIVA_E_UNSUPPORTED; /* nothing is multiplied yet */
  if (found) {
    if (error) *error = refused;
    return found;
  }
  for (size_t first = 0, rows; first < a->rows; first += rows) {
    rows = a->rows - first < OUTER_ROWS ? a->rows - first : OUTER_ROWS;
    TRY(multiply_piece(c, a, &way, &o, first, rows, error));
  }
  return a->overflows ? count_overflows(c, a, error) : VIVA_OK;
}

viva_status cuda_linear_outer(backend *b, const linear_outer_args *args, viva_error *error) {
  CUDA_CALL(b, multiply(cuda_of(b), args, error));
}
