/* backend/cuda/cuda_step.c: the operations of a step beside the products, each a launch or two. */
#include "backend/cuda/cuda.h"

#include <string.h>

/* A kernel may start while the one before it ends. */
#define QUEUE(c) ((step_queue){.stream = (c)->stream, .dependent = (c)->gpu.major >= 9})

/* ---- steps */

static viva_status begin(cuda_backend *c, const batch *host, void *place, batch *dev, viva_error *error) {
  *dev = batch_at(host, place);
  TRY(cuda_check(c, c->api->MemcpyAsync(place, host->block, host->block_bytes, cudaMemcpyHostToDevice, c->stream),
                 "uploading a step", error));
  for (size_t i = 0; host->turns && i < host->span_count; i++)
    TRY(cuda_check(
        c,
        (cudaError_t)c->kernels->angles(QUEUE(c), &host->spans[i], &host->turns[i], (float *)(uintptr_t)dev->cos_sin),
        "angles of a step", error));
  return VIVA_OK;
}

viva_status cuda_step_begin(backend *b, const batch *host, void *place, batch *dev, viva_error *error) {
  CUDA_CALL(b, begin(cuda_of(b), host, place, dev, error));
}

/* What the host was given it has waited for; the rest may still run. */
viva_status cuda_step_end(backend *b, viva_error *error) {
  (void)b;
  (void)error;
  return VIVA_OK;
}

/* ---- rows */

viva_status cuda_embed(backend *b, const weight *table, const viva_token *tokens, size_t m, float *out,
                       viva_error *error) {
  cuda_backend *c = cuda_of(b);
  CUDA_CALL(b, cuda_check(c, (cudaError_t)c->kernels->embed(QUEUE(c), table, tokens, m, out), "embedding", error));
}

viva_status cuda_rmsnorm(backend *b, const float *x, float *y, size_t rows, size_t stride, size_t groups, size_t n,
                         const float *gain, float eps, viva_error *error) {
  cuda_backend *c = cuda_of(b);
  const step_rmsnorm_args a = {
      .x = x, .y = y, .rows = rows, .stride = stride, .groups = groups, .n = n, .gain = gain, .eps = eps};
  CUDA_CALL(b, cuda_check(c, (cudaError_t)c->kernels->rmsnorm(QUEUE(c), &a), "a norm", error));
}

viva_status cuda_silu_mul(backend *b, const float *gate, const float *up, float *out, size_t rows, size_t n,
                          size_t stride, viva_error *error) {
  cuda_backend *c = cuda_of(b);
  const step_silu_args a = {.gate = gate, .up = up, .out = out, .rows = rows, .n = n, .stride = stride};
  CUDA_CALL(b, cuda_check(c, (cudaError_t)c->kernels->silu_mul(QUEUE(c), &a), "a gated activation", error));
}

viva_status cuda_rmsnorm_codes(backend *b, const float *x, size_t rows, size_t n, const float *gain, float eps,
                               input_mode mode, void *to, viva_error *error) {
  cuda_backend *c = cuda_of(b);
  const step_rmsnorm_args a = {.x = x, .rows = rows, .stride = n, .groups = 1, .n = n, .gain = gain, .eps = eps};
  CUDA_CALL(b, cuda_check(c, (cudaError_t)c->kernels->rmsnorm_codes(QUEUE(c), &a, mode, to), "a norm", error));
}

viva_status cuda_silu_mul_codes(backend *b, const float *gate, const float *up, size_t rows, size_t n, input_mode mode,
                                void *to, viva_error *error) {
  cuda_backend *c = cuda_of(b);
  const step_silu_args a = {.gate = gate, .up = up, .rows = rows, .n = n, .stride = n};
  CUDA_CALL(b, cuda_check(c, (cudaError_t)c->kernels->silu_codes(QUEUE(c), &a, mode, to), "a gated activation", error));
}

viva_status cuda_take_rows(backend *b, const float *from, const uint32_t *rows, size_t count, size_t n, size_t stride,
                           float *to, viva_error *error) {
  cuda_backend *c = cuda_of(b);
  CUDA_CALL(b, cuda_check(c, (cudaError_t)c->kernels->take_rows(QUEUE(c), from, rows, count, n, stride, to),
                          "taking rows", error));
}

viva_status cuda_load_rows(backend *b, const outer_rows *from, size_t rows, size_t cols, float *to, size_t to_stride,
                           uint8_t *bad, viva_error *error) {
  cuda_backend *c = cuda_of(b);
  CUDA_CALL(b, cuda_check(c, (cudaError_t)c->kernels->load_rows(QUEUE(c), from, rows, cols, to, to_stride, bad),
                          "loading rows", error));
}

static viva_status store(cuda_backend *c, step_store_args *a, uint64_t *overflows, viva_error *error) {
  uint64_t found = 0;
  TRY(cuda_room_fit(c, &c->product, 256, error));
  a->overflows = c->product.dev;
  TRY(cuda_check(c, c->api->MemsetAsync(a->overflows, 0, sizeof found, c->stream), "storing rows", error));
  TRY(cuda_check(c, (cudaError_t)c->kernels->store_rows(QUEUE(c), a), "storing rows", error));
  TRY(cuda_answers_fit(c, sizeof found, error));
  TRY(cuda_check(c, c->api->MemcpyAsync(c->answers, a->overflows, sizeof found, cudaMemcpyDeviceToHost, c->stream),
                 "storing rows", error));
  TRY(cuda_check(c, c->api->StreamSynchronize(c->stream), "storing rows", error));
  memcpy(&found, c->answers, sizeof found);
  *overflows += found;
  return VIVA_OK;
}

viva_status cuda_store_rows(backend *b, const float *from, size_t from_stride, size_t rows, size_t cols,
                            const float *bias, const uint8_t *bad, const outer_rows *to, uint64_t *overflows,
                            viva_error *error) {
  step_store_args a = {
      .from = from, .from_stride = from_stride, .rows = rows, .cols = cols, .bias = bias, .bad = bad, .to = *to};
  CUDA_CALL(b, store(cuda_of(b), &a, overflows, error));
}

/* ---- attention */

/* Scratch and counters of attention and top: counters first, zero since they were made. */
static viva_status work_fit_step(cuda_backend *c, size_t scratch, step_work *work, viva_error *error) {
  const size_t counters = cuda_align(STEP_COUNTERS * sizeof(uint32_t));
  if (c->split.bytes < counters + scratch) {
    TRY(cuda_room_fit(c, &c->split, counters + scratch, error));
    TRY(cuda_check(c, c->api->MemsetAsync(c->split.dev, 0, counters, c->stream), "clearing counters", error));
  }
  *work = (step_work){.counters = c->split.dev,
                      .scratch = (uint8_t *)c->split.dev + counters,
                      .multiprocessors = c->gpu.multiprocessors,
                      .clusters = c->gpu.major >= 9,
                      .warpgroups = c->gpu.major == 9};
  return VIVA_OK;
}

viva_status cuda_rope_append(backend *b, const rope_append_args *args, viva_error *error) {
  cuda_backend *c = cuda_of(b);
  CUDA_CALL(b, cuda_check(c, (cudaError_t)c->kernels->rope_append(QUEUE(c), args, NULL, NULL, 0), "rotation and cache",
                          error));
}

static viva_status attend(cuda_backend *c, const attention_args *args, viva_error *error) {
  step_work work;
  TRY(work_fit_step(c, step_attention_scratch(args->h, c->gpu.multiprocessors), &work, error));
  work.row_shares = step_row_shares((uint32_t)args->step->longest, STEP_SHARE); /* no row has more */
  return cuda_check(c, (cudaError_t)c->kernels->attention(QUEUE(c), args, NULL, &work), "attention", error);
}

viva_status cuda_attention(backend *b, const attention_args *args, viva_error *error) {
  const char *refusal = step_attention_refusal(args->h);
  if (refusal) return error_set(error, VIVA_E_UNSUPPORTED, "attention on a GPU needs %s", refusal);
  CUDA_CALL(b, attend(cuda_of(b), args, error));
}

static viva_status turn_attend(cuda_backend *c, const rope_append_args *turn, const attention_args *args,
                               viva_error *error) {
  step_work work;
  const batch *step = args->step;
  const size_t rows = args->kept ? step->kept : step->rows, width = args->h.q_heads * args->h.head_dim;
  const step_half_rows half = {
      .rows = args->f16, .stride = width, .scales = step_quantized_scales(args->f16, INPUT_F16, rows, width)};
  int taken = 0;
  if (args->f16 && width % 8 != 0) return VIVA_E_UNSUPPORTED;
  TRY(work_fit_step(c, step->singles ? step_attention_scratch(args->h, c->gpu.multiprocessors) : 0, &work, error));
  work.row_shares = step_row_shares((uint32_t)step->longest_single, STEP_SHARE); /* of those rows */
  TRY(cuda_check(c, (cudaError_t)c->kernels->turn_tiles(QUEUE(c), turn, args, args->f16 ? &half : NULL, &work, &taken),
                 "attention", error));
  return taken ? VIVA_OK : VIVA_E_UNSUPPORTED;
}

viva_status cuda_turn_attention(backend *b, const rope_append_args *turn, const attention_args *args,
                                viva_error *error) {
  CUDA_CALL(b, turn_attend(cuda_of(b), turn, args, error));
}

/* ---- the largest logits */

static viva_status top(cuda_backend *c, const float *logits, size_t rows, size_t n, size_t k, viva_token *ids,
                       float *values, uint8_t *nan, viva_error *error) {
  const size_t id_bytes = rows * k * sizeof *ids, value_bytes = rows * k * sizeof *values;
  const size_t values_at = id_bytes, nan_at = values_at + value_bytes,
               all = nan_at + rows; /* no gaps: all of it travels */
  step_work work;
  TRY(cuda_room_fit(c, &c->product, all, error));
  TRY(cuda_answers_fit(c, all, error));
  TRY(work_fit_step(c, step_top_scratch(rows, n, k), &work, error));
  uint8_t *dev = c->product.dev;
  const uint8_t *host = c->answers;
  const step_top_args a = {.logits = logits,
                           .rows = rows,
                           .n = n,
                           .k = k,
                           .ids = (viva_token *)(void *)dev,
                           .values = (float *)(void *)(dev + values_at),
                           .nan = dev + nan_at};
  TRY(cuda_check(c, (cudaError_t)c->kernels->top(QUEUE(c), &a, &work), "the largest logits", error));
  TRY(cuda_check(c, c->api->MemcpyAsync(c->answers, dev, all, cudaMemcpyDeviceToHost, c->stream), "the largest logits",
                 error));
  TRY(cuda_check(c, c->api->StreamSynchronize(c->stream), "the largest logits", error));
  memcpy(ids, host, id_bytes);
  if (values) memcpy(values, host + values_at, value_bytes);
  memcpy(nan, host + nan_at, rows);
  return VIVA_OK;
}

viva_status cuda_top(backend *b, const float *logits, size_t rows, size_t n, size_t k, viva_token *ids, float *values,
                     uint8_t *nan, viva_error *error) {
  CUDA_CALL(b, top(cuda_of(b), logits, rows, n, k, ids, values, nan, error));
}

/* ---- work space */

/* Rows as FP16 with their scales, results before they are finished, parts of products of few rows. */
static size_t rows_bytes(size_t m, size_t width) {
  return cuda_align(m * sizeof(float)) + m * width * sizeof(uint16_t);
}

size_t cuda_scratch_bytes(backend *b, size_t m, size_t context, size_t width) {
  (void)context;
  return rows_bytes(m, width) + m * width * sizeof(float) +
         gemm_meet_bytes(GEMM_FEW_TOKENS, cuda_of(b)->gpu.multiprocessors);
}

static viva_status reserve(cuda_backend *c, size_t m, size_t width, viva_error *error) {
  TRY(cuda_room_fit(c, &c->rows, rows_bytes(m, width), error));
  return cuda_room_fit(c, &c->product, m * width * sizeof(float), error);
}

viva_status cuda_reserve(backend *b, size_t m, size_t context, size_t width, viva_error *error) {
  (void)context;
  CUDA_CALL(b, reserve(cuda_of(b), m, width, error));
}
