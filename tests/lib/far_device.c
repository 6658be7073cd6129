/* tests/lib/far_device.c */
#include "lib/far_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"

#define ARENA_BYTES ((size_t)4 << 30) /* of addresses */
#define PAGE        4096
#define PREPARED    0x5eed5eedu /* the mark of a second form */

/* Parts of the arena in the order of their addresses. */
typedef struct far_block {
  struct far_block *next;
  size_t at, bytes;
  int used;
} far_block;

/* An upload from pinned memory that was asked for. */
typedef struct far_upload {
  struct far_upload *before;
  void *to;
  const void *from;
  size_t bytes;
} far_upload;

far_device *far_of(backend *b) { return (far_device *)(void *)b; }

/* ---- the two sides */

static int inside(const far_device *far, const void *p) {
  return (const uint8_t *)p >= far->arena && (const uint8_t *)p < far->arena + far->arena_bytes;
}

/* A pointer of the device's, or NULL. */
void *far_dev(const far_device *far, const void *p) {
  if (p && !inside(far, p)) fail_msg("a host pointer where the device's memory is meant");
  return (void *)(uintptr_t)p;
}

static void *host(const far_device *far, const void *p) {
  if (p && inside(far, p)) fail_msg("a pointer of the device's where the host's memory is meant");
  return (void *)(uintptr_t)p;
}

static void rights(far_device *far, int mode) {
  if (far->used && mprotect(far->arena, (far->used + PAGE - 1) / PAGE * PAGE, mode)) abort();
}

/* Makes the uploads that wait, in their order. */
static void make_uploads(far_upload *last) {
  if (!last) return;
  make_uploads(last->before);
  memcpy(last->to, last->from, last->bytes);
  free(last);
}

/* With the lock; when the device is lost, it is not held any more. */
static viva_status count_call(far_device *far, viva_error *error) {
  if (far->calls_left >= 0 && far->calls_left-- == 0) far->lost = 1;
  if (!far->lost) return VIVA_OK;
  far->calls_left = -1;
  pthread_mutex_unlock(&far->lock);
  return error_set(error, VIVA_E_DEVICE, "the device fell off");
}

/* A call begins: its memory can be touched, unless the device is lost. */
static viva_status enter(far_device *far, viva_error *error) {
  while (far->hangs) usleep(1000);
  pthread_mutex_lock(&far->lock);
  TRY(count_call(far, error));
  rights(far, PROT_READ | PROT_WRITE);
  make_uploads(far->late);
  far->late = NULL;
  return VIVA_OK;
}

static viva_status leave(far_device *far, viva_status status) {
  rights(far, PROT_NONE);
  pthread_mutex_unlock(&far->lock);
  return status;
}

#define CALL(expression)                                                                                               \
  do {                                                                                                                 \
    TRY(enter(far, error));                                                                                            \
    return leave(far, (expression));                                                                                   \
  } while (0)

/* ---- memory */

static viva_status far_alloc(backend *b, size_t bytes, void **out, viva_error *error) {
  far_device *far = far_of(b);
  *out = NULL;
  TRY(enter(far, error));
  size_t whole = (bytes + PAGE) / 64 * 64; /* a gap behind each block */
  far_block *block = far->blocks;
  while (block && (block->used || block->bytes < whole)) block = block->next;
  if (!block) return leave(far, error_set(error, VIVA_E_MEMORY, "the device has no %zu bytes", bytes));
  if (block->bytes > whole) {
    far_block *rest = malloc(sizeof *rest);
    *rest = (far_block){block->next, block->at + whole, block->bytes - whole, 0};
    block->next = rest;
    block->bytes = whole;
  }
  block->used = 1;
  far->allocations++;
  if (block->at + whole > far->used) {
    far->used = block->at + whole;
    rights(far, PROT_READ | PROT_WRITE);
  }
  memset(far->arena + block->at, 0xff, whole); /* NaN: nothing counts on zeros */
  *out = far->arena + block->at;
  return leave(far, VIVA_OK);
}

static viva_status far_free(backend *b, void *p, viva_error *error) {
  far_device *far = far_of(b);
  (void)error;
  if (!far_dev(far, p)) return VIVA_OK;
  pthread_mutex_lock(&far->lock); /* also when it is lost: what the host knows of it is freed */
  for (far_block *block = far->blocks; block; block = block->next) {
    if (far->arena + block->at != (uint8_t *)p) continue;
    assert_true(block->used);
    block->used = 0;
    for (far_block *at = far->blocks; at; at = at->next)
      while (!at->used && at->next && !at->next->used) {
        far_block *next = at->next;
        at->bytes += next->bytes;
        at->next = next->next;
        free(next);
      }
    pthread_mutex_unlock(&far->lock);
    return VIVA_OK;
  }
  fail_msg("freed what was never allocated");
  return VIVA_E_INTERNAL;
}

static void far_info(backend *b, viva_device_info *info) {
  far_device *far = far_of(b);
  far->cpu->ops->info(far->cpu, info);
  if (far->available) info->memory_available = far->available;
}

/* From pinned memory it is made when the next call other than an upload begins. */
static viva_status far_upload_rows(backend *b, void *to, const void *from, size_t bytes, viva_error *error) {
  far_device *far = far_of(b);
  if (far->pinned && (const uint8_t *)from >= far->pinned && (const uint8_t *)from < far->pinned + far->pinned_bytes) {
    pthread_mutex_lock(&far->lock);
    TRY(count_call(far, error));
    far_upload *late = malloc(sizeof *late);
    *late = (far_upload){far->late, far_dev(far, to), from, bytes};
    far->late = late;
    pthread_mutex_unlock(&far->lock);
    return VIVA_OK;
  }
  CALL((memcpy(far_dev(far, to), host(far, from), bytes), VIVA_OK));
}

static viva_status far_host_alloc(backend *b, size_t bytes, void **out, viva_error *error) {
  far_device *far = far_of(b);
  TRY(enter(far, error));
  assert_null(far->pinned); /* one at a time is enough */
  *out = far->pinned = malloc(bytes);
  far->pinned_bytes = bytes;
  memset(far->pinned, 0xff, bytes);
  return leave(far, VIVA_OK);
}

static void far_host_free(backend *b, void *p) {
  far_device *far = far_of(b);
  if (!p) return;
  assert_ptr_equal(p, far->pinned);
  if (enter(far, NULL) == VIVA_OK) leave(far, VIVA_OK); /* makes what waits; a lost device never will */
  for (far_upload *late = far->late, *before; late; late = before) {
    before = late->before;
    free(late);
  }
  far->late = NULL;
  free(far->pinned);
  far->pinned = NULL;
}

static viva_status far_upload_wait(backend *b, viva_error *error) {
  far_device *far = far_of(b);
  CALL(VIVA_OK);
}

static viva_status far_download(backend *b, void *to, const void *from, size_t bytes, viva_error *error) {
  far_device *far = far_of(b);
  far->downloads++;
  CALL((memcpy(host(far, to), far_dev(far, from), bytes), VIVA_OK));
}

static viva_status far_copy(backend *b, void *to, const void *from, size_t bytes, viva_error *error) {
  far_device *far = far_of(b);
  CALL(far->cpu->ops->copy(far->cpu, far_dev(far, to), far_dev(far, from), bytes, error));
}

/* ---- weights */

/* The second form: the codes once more, each byte turned over, behind a mark. */
static size_t code_bytes(const weight *w) { return w->rows * w->row_bytes; }

static size_t form_bytes(const weight *w) { return (64 + code_bytes(w) + 63) / 64 * 64; }

static size_t far_weight_bytes(backend *b, const weight *group, size_t count) {
  size_t bytes = 0;
  (void)b;
  for (size_t i = 0; i < count; i++) bytes += form_bytes(&group[i]);
  return bytes;
}

static viva_status far_weight_prepare(backend *b, weight *group, size_t count, void *place, viva_error *error) {
  far_device *far = far_of(b);
  uint8_t *at = far_dev(far, place);
  TRY(enter(far, error));
  for (size_t i = 0; i < count; i++) {
    weight *w = &group[i];
    const uint8_t *codes = far_dev(far, w->data);
    const uint32_t mark = PREPARED;
    memcpy(at, &mark, sizeof mark);
    for (size_t j = 0; j < code_bytes(w); j++) at[64 + j] = (uint8_t)~codes[j];
    w->prepared = at;
    at += form_bytes(w);
  }
  return leave(far, VIVA_OK);
}

/* Packs as the host does, from FP32. */
static viva_status far_pack_rows(backend *b, const pack_spec *spec, size_t all_rows, size_t cols, void *to, size_t row,
                                 size_t rows, const outer_rows *values, pack_place *bad, viva_error *error) {
  far_device *far = far_of(b);
  far_dev(far, values->data), host(far, spec), host(far, bad);
  assert_false(weight_dense(spec->format));
  TRY(enter(far, error));
  float *line = malloc(rows * cols * sizeof *line);
  uint8_t *not_finite = malloc(rows);
  far->packed += rows;
  const viva_status status = far->cpu->ops->load_rows(far->cpu, values, rows, cols, line, cols, not_finite, error);
  if (!status) pack_rows(spec, all_rows, cols, far_dev(far, to), row, rows, line, cols, NULL, bad);
  free(line), free(not_finite);
  return leave(far, status);
}

/* The codes from the second form, in memory of the host's for the time of a product. */
static weight usable(const far_device *far, const weight *w, uint8_t **turned) {
  weight copy = *w;
  far_dev(far, w->data), far_dev(far, w->scales);
  *turned = NULL;
  if (!far->ops.weight_prepare) return copy;
  uint32_t mark = 0;
  if (!w->prepared) fail_msg("a product with a weight that was not prepared");
  memcpy(&mark, far_dev(far, w->prepared), sizeof mark);
  assert_int_equal(mark, PREPARED);
  const uint8_t *codes = (const uint8_t *)w->prepared + 64;
  *turned = aligned_alloc(64, (code_bytes(w) + 127) / 64 * 64);
  for (size_t j = 0; j < code_bytes(w); j++) (*turned)[j] = (uint8_t)~codes[j];
  copy.data = *turned;
  return copy;
}

/* ---- steps */

static void check_batch(const far_device *far, const batch *step) {
  far_dev(far, step->block), far_dev(far, step->tokens), far_dev(far, step->positions), far_dev(far, step->sequence);
  far_dev(far, step->cos_sin), far_dev(far, step->spans), far_dev(far, step->kept_spans), far_dev(far, step->kept_rows);
  far_dev(far, step->pages);
  assert_non_null(step->block);
  assert_true(far->steps_open > 0);
}

static viva_status far_step_begin(backend *b, const batch *from, void *place, batch *to, viva_error *error) {
  far_device *far = far_of(b);
  host(far, from->block);
  assert_non_null(place);
  TRY(enter(far, error));
  memcpy(far_dev(far, place), from->block, from->block_bytes);
  *to = batch_at(from, place);
  for (size_t i = 0; i < from->page_count; i++) far_dev(far, from->pages[i]);
  far->steps_open++;
  return leave(far, VIVA_OK);
}

static viva_status far_step_end(backend *b, viva_error *error) {
  far_device *far = far_of(b);
  far->steps_open--;
  CALL(VIVA_OK);
}

/* ---- operations */

static viva_status far_embed(backend *b, const weight *table, const viva_token *tokens, size_t m, float *out,
                             viva_error *error) {
  far_device *far = far_of(b);
  far_dev(far, table->data);
  CALL(far->cpu->ops->embed(far->cpu, table, far_dev(far, tokens), m, far_dev(far, out), error));
}

static viva_status far_rmsnorm(backend *b, const float *x, float *y, size_t rows, size_t stride, size_t groups,
                               size_t n, const float *gain, float eps, viva_error *error) {
  far_device *far = far_of(b);
  CALL(far->cpu->ops->rmsnorm(far->cpu, far_dev(far, x), far_dev(far, y), rows, stride, groups, n, far_dev(far, gain),
                              eps, error));
}

static viva_status far_linear(backend *b, const linear_args *args, size_t count, viva_error *error) {
  far_device *far = far_of(b);
  linear_args copy[3] = {{0}};
  weight weights[3] = {{0}};
  uint8_t *turned[3] = {NULL};
  assert_true(count <= 3);
  TRY(enter(far, error));
  for (size_t i = 0; i < count; i++) {
    const linear_args *a = &args[i];
    far_dev(far, a->x), far_dev(far, a->xq), far_dev(far, a->y), far_dev(far, a->bias), far_dev(far, a->residual);
    host(far, a->w);
    weights[i] = usable(far, a->w, &turned[i]);
    copy[i] = *a;
    copy[i].w = &weights[i];
    if (a->input != INPUT_F16) continue;
    copy[i].input = INPUT_FLOAT;
    copy[i].x = a->xq;
    copy[i].x_stride = a->w->cols;
    copy[i].xq = NULL;
  }
  const viva_status status = far->cpu->ops->linear(far->cpu, copy, count, error);
  for (size_t i = 0; i < count; i++) free(turned[i]);
  return leave(far, status);
}

/* What stands for FP16 rows here keeps FP32's bits: whoever mixes the two up is told by a test of equality. */
static int far_takes_f16(backend *b, const linear_args *args, size_t count) {
  (void)b;
  (void)args;
  return count > 0;
}

static size_t far_quantized_bytes(backend *b, input_mode mode, size_t m, size_t k) {
  if (mode == INPUT_F16) return m * k * sizeof(float);
  return backend_cpu.quantized_bytes(far_of(b)->cpu, mode, m, k);
}

/* x, to: as the host sees them. */
static viva_status rows_in_mode(far_device *far, input_mode mode, const float *x, size_t x_stride, size_t m, size_t k,
                                void *to, viva_error *error) {
  if (mode != INPUT_F16) return far->cpu->ops->quantize_rows(far->cpu, mode, x, x_stride, m, k, to, error);
  for (size_t i = 0; i < m; i++) memcpy((float *)to + i * k, x + i * x_stride, k * sizeof *x);
  return VIVA_OK;
}

static viva_status far_quantize_rows(backend *b, input_mode mode, const float *x, size_t x_stride, size_t m, size_t k,
                                     void *to, viva_error *error) {
  far_device *far = far_of(b);
  CALL(rows_in_mode(far, mode, far_dev(far, x), x_stride, m, k, far_dev(far, to), error));
}

static viva_status far_load_rows(backend *b, const outer_rows *from, size_t rows, size_t cols, float *to,
                                 size_t to_stride, uint8_t *bad, viva_error *error) {
  far_device *far = far_of(b);
  far_dev(far, from->data);
  CALL(far->cpu->ops->load_rows(far->cpu, from, rows, cols, far_dev(far, to), to_stride, far_dev(far, bad), error));
}

static viva_status far_store_rows(backend *b, const float *from, size_t from_stride, size_t rows, size_t cols,
                                  const float *bias, const uint8_t *bad, const outer_rows *to, uint64_t *overflows,
                                  viva_error *error) {
  far_device *far = far_of(b);
  far_dev(far, to->data), host(far, overflows);
  CALL(far->cpu->ops->store_rows(far->cpu, far_dev(far, from), from_stride, rows, cols, far_dev(far, bias),
                                 far_dev(far, bad), to, overflows, error));
}

static viva_status far_rope_append(backend *b, const rope_append_args *args, viva_error *error) {
  far_device *far = far_of(b);
  check_batch(far, args->step);
  far_dev(far, args->q), far_dev(far, args->k), far_dev(far, args->v);
  CALL(far->cpu->ops->rope_append(far->cpu, args, error));
}

static viva_status far_attention(backend *b, const attention_args *args, viva_error *error) {
  far_device *far = far_of(b);
  check_batch(far, args->step);
  far_dev(far, args->q), far_dev(far, args->out);
  CALL(far->cpu->ops->attention(far->cpu, args, error));
}

static viva_status far_silu_mul(backend *b, const float *gate, const float *up, float *out, size_t rows, size_t n,
                                size_t stride, viva_error *error) {
  far_device *far = far_of(b);
  CALL(far->cpu->ops->silu_mul(far->cpu, far_dev(far, gate), far_dev(far, up), far_dev(far, out), rows, n, stride,
                               error));
}

/* The rows that are written nowhere, for as long as they are quantised. */
static viva_status codes_of(far_device *far, float *made, size_t rows, size_t n, input_mode mode, void *to,
                            viva_status status, viva_error *error) {
  if (!status) status = rows_in_mode(far, mode, made, n, rows, n, far_dev(far, to), error);
  free(made);
  return status;
}

static viva_status far_rmsnorm_codes(backend *b, const float *x, size_t rows, size_t n, const float *gain, float eps,
                                     input_mode mode, void *to, viva_error *error) {
  far_device *far = far_of(b);
  TRY(enter(far, error));
  float *y = malloc(rows * n * sizeof *y);
  const viva_status status =
      far->cpu->ops->rmsnorm(far->cpu, far_dev(far, x), y, rows, n, 1, n, far_dev(far, gain), eps, error);
  return leave(far, codes_of(far, y, rows, n, mode, to, status, error));
}

static viva_status far_silu_mul_codes(backend *b, const float *gate, const float *up, size_t rows, size_t n,
                                      input_mode mode, void *to, viva_error *error) {
  far_device *far = far_of(b);
  TRY(enter(far, error));
  float *y = malloc(rows * n * sizeof *y);
  const viva_status status =
      far->cpu->ops->silu_mul(far->cpu, far_dev(far, gate), far_dev(far, up), y, rows, n, n, error);
  return leave(far, codes_of(far, y, rows, n, mode, to, status, error));
}

static viva_status far_take_rows(backend *b, const float *from, const uint32_t *rows, size_t count, size_t n,
                                 size_t stride, float *to, viva_error *error) {
  far_device *far = far_of(b);
  CALL(far->cpu->ops->take_rows(far->cpu, far_dev(far, from), far_dev(far, rows), count, n, stride, far_dev(far, to),
                                error));
}

static viva_status far_top(backend *b, const float *logits, size_t rows, size_t n, size_t k, viva_token *ids,
                           float *values, uint8_t *nan, viva_error *error) {
  far_device *far = far_of(b);
  CALL(far->cpu->ops->top(far->cpu, far_dev(far, logits), rows, n, k, host(far, ids), host(far, values), host(far, nan),
                          error));
}

static viva_status far_read_pass(backend *b, const void *p, size_t bytes, double *seconds, viva_error *error) {
  far_device *far = far_of(b);
  CALL(far->cpu->ops->read_pass(far->cpu, far_dev(far, p), bytes, seconds, error));
}

static viva_status far_chase(backend *b, const uint64_t *words, size_t reads, double *seconds, viva_error *error) {
  far_device *far = far_of(b);
  TRY(enter(far, error));
  const uint64_t *mine = far_dev(far, words), start = clock_ns();
  uint64_t at = 0;
  for (size_t i = 0; i < reads; i++) at = mine[at];
  *seconds = (double)(clock_ns() - start + 1 + (at == UINT64_MAX)) * 1e-9;
  return leave(far, VIVA_OK);
}

static size_t far_scratch_bytes(backend *b, size_t m, size_t context, size_t width) {
  return backend_cpu.scratch_bytes(far_of(b)->cpu, m, context, width);
}

static viva_status far_reserve(backend *b, size_t m, size_t context, size_t width, viva_error *error) {
  far_device *far = far_of(b);
  CALL(far->cpu->ops->reserve(far->cpu, m, context, width, error));
}

/* ---- */

void far_begin(far_device *far, viva_engine *engine, int flags) { far_begin_at(far, &engine->backend, flags); }

void far_begin_at(far_device *far, backend **slot, int flags) {
  *far = (far_device){.cpu = *slot, .slot = slot, .arena_bytes = ARENA_BYTES, .calls_left = -1};
  far->ops = (backend_ops){.name = "far",
                           .kind = VIVA_DEVICE_CPU,
                           .pass_rows = 512,
                           .pass_bytes = (uint64_t)64 << 20,
                           .info = far_info,
                           .alloc = far_alloc,
                           .free = far_free,
                           .upload = far_upload_rows,
                           .download = far_download,
                           .copy = far_copy,
                           .step_begin = far_step_begin,
                           .step_end = far_step_end,
                           .embed = far_embed,
                           .rmsnorm = far_rmsnorm,
                           .linear = far_linear,
                           .takes_f16 = far_takes_f16,
                           .quantized_bytes = far_quantized_bytes,
                           .quantize_rows = far_quantize_rows,
                           .load_rows = far_load_rows,
                           .store_rows = far_store_rows,
                           .rope_append = far_rope_append,
                           .attention = far_attention,
                           .silu_mul = far_silu_mul,
                           .rmsnorm_codes = far_rmsnorm_codes,
                           .silu_mul_codes = far_silu_mul_codes,
                           .take_rows = far_take_rows,
                           .top = far_top,
                           .read_pass = far_read_pass,
                           .chase = far_chase,
                           .scratch_bytes = far_scratch_bytes,
                           .reserve = far_reserve};
  if (flags & FAR_PREPARE) far->ops.weight_bytes = far_weight_bytes, far->ops.weight_prepare = far_weight_prepare;
  if (flags & FAR_PACK) far->ops.pack_rows = far_pack_rows;
  if (flags & FAR_PIN) {
    far->ops.host_alloc = far_host_alloc;
    far->ops.host_free = far_host_free;
    far->ops.upload_wait = far_upload_wait;
  }
  far->arena = mmap(NULL, ARENA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (far->arena == MAP_FAILED) fail_msg("no addresses for the device's memory");
  far->blocks = malloc(sizeof *far->blocks);
  *far->blocks = (far_block){NULL, 0, ARENA_BYTES, 0};
  pthread_mutex_init(&far->lock, NULL);
  far->base.ops = &far->ops;
  *slot = &far->base;
}

void far_end(far_device *far) {
  for (far_block *block = far->blocks, *next; block; block = next) {
    if (block->used) fail_msg("%zu bytes of the device's memory were not freed", block->bytes);
    next = block->next;
    free(block);
  }
  assert_int_equal(far->steps_open, 0);
  assert_null(far->pinned);
  munmap(far->arena, far->arena_bytes);
  pthread_mutex_destroy(&far->lock);
  *far->slot = far->cpu;
}
