/* tests/lib/cuda_kit.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cuda_kit.h"

enum { SKIPPED = 77, PART = 64 };

static int unavailable(const char *reason) {
  fprintf(stderr, "skipped: %s\n", reason);
  return SKIPPED;
}

int cuda_kit_open(cuda_kit *k, size_t rows, size_t context, size_t width) {
  viva_device_info info = {.size = sizeof info};
  *k = (cuda_kit){.ops = &backend_cuda};
  if (!k->ops) return unavailable("built without CUDA");
  if (!k->ops->device(0, &info)) return unavailable("no CUDA device");
  assert_true(kit_open(&k->cpu, VIVA_KERNELS_REFERENCE, 2));
  viva_error error = {0};
  if (k->ops->open(k->cpu.rt, k->cpu.pool, 0, VIVA_KERNELS_AUTO, &k->b, &error)) fail_msg("%s", error.message);
  assert_int_equal(k->ops->reserve(k->b, rows, context, width, NULL), VIVA_OK);
  return 0;
}

void cuda_kit_close(cuda_kit *k) {
  cuda_kit_drop(k);
  k->ops->close(k->b);
  kit_close(&k->cpu);
}

void *cuda_kit_put(cuda_kit *k, const void *host, size_t bytes) {
  void *dev = NULL, *blank = NULL;
  assert_true(k->block_count < CUDA_KIT_BLOCKS);
  if (!host) host = blank = memset(malloc(bytes), 0xff, bytes);
  assert_int_equal(k->ops->alloc(k->b, bytes, &dev, NULL), VIVA_OK);
  assert_int_equal((uintptr_t)dev % 64, 0);
  assert_int_equal(k->ops->upload(k->b, dev, host, bytes, NULL), VIVA_OK);
  free(blank);
  return k->blocks[k->block_count++] = dev;
}

void cuda_kit_get(cuda_kit *k, void *host, const void *dev, size_t bytes) {
  viva_error error = {0};
  if (k->ops->download(k->b, host, dev, bytes, &error)) fail_msg("%s", error.message);
}

void cuda_kit_drop(cuda_kit *k) {
  while (k->block_count) assert_int_equal(k->ops->free(k->b, k->blocks[--k->block_count], NULL), VIVA_OK);
}

weight cuda_kit_weight(cuda_kit *k, const weight *w) {
  weight far = *w;
  far.data = cuda_kit_put(k, w->data, kit_weight_bytes(w));
  if (w->scales) far.scales = cuda_kit_put(k, w->scales, w->rows * w->scale_row_bytes);
  return far;
}

/* -- comparing */

void cuda_kit_same(const char *what, const float *cpu, const float *gpu, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (memcmp(&cpu[i], &gpu[i], sizeof *cpu) != 0 && !(isnan(cpu[i]) && isnan(gpu[i])))
      fail_msg("%s [%zu]: %.9g, the CPU has %.9g", what, i, (double)gpu[i], (double)cpu[i]);
}

double cuda_kit_near(const char *what, const float *cpu, const float *gpu, size_t count,
                     double (*bound)(const void *arg, size_t i), const void *arg) {
  double most = 0;
  for (size_t i = 0; i < count; i++) {
    if (cpu[i] == gpu[i] || (isnan(cpu[i]) && isnan(gpu[i]))) continue;
    const double off = fabs((double)cpu[i] - (double)gpu[i]), allowed = bound(arg, i);
    if (!(off <= allowed))
      fail_msg("%s [%zu]: %.9g, the CPU has %.9g, within %.3g", what, i, (double)gpu[i], (double)cpu[i], allowed);
    most = fmax(most, off / allowed);
  }
  return most;
}

/* -- steps */

static size_t padded(size_t bytes) { return (bytes + PART - 1) / PART * PART; }

size_t cuda_step_page_bytes(const cuda_step *s) { return s->pages.layers * s->pages.b.kv.layer_bytes; }

/* The next array of a block that is being laid out. */
static char *place(char *block, size_t *at, size_t bytes) {
  char *here = block + *at;
  *at += padded(bytes);
  return here;
}

static void fill_kept(const cuda_step *s, batch *b, uint32_t *rows, batch_span *spans) {
  for (size_t i = 0; i < b->span_count; i++) {
    const batch_span *span = &s->pages.spans[i];
    const uint32_t kept = (span->rows + 1) / 2, skipped = span->rows - kept;
    spans[i] = (batch_span){.first_row = span->first_row + skipped,
                            .rows = kept,
                            .out_row = (uint32_t)b->kept,
                            .position = span->position + skipped,
                            .first_page = span->first_page};
    for (uint32_t r = 0; r < kept; r++) rows[b->kept + r] = span->first_row + skipped + r;
    b->kept += kept;
  }
}

/* The step with these pages, in a block of its own. */
static batch lay_out(const cuda_step *s, void *const *pages, char **block) {
  batch b = s->pages.b;
  const size_t rows = b.rows * sizeof(uint32_t), spans = b.span_count * sizeof(batch_span);
  const size_t tables = b.page_count * sizeof *pages, turns = b.rows * s->rotary * sizeof(float);
  size_t at = 0;
  b.block_bytes = 4 * padded(rows) + 2 * padded(spans) + padded(tables) + padded(turns);
  *block = calloc(1, b.block_bytes + PART); /* calloc gives 16 bytes of alignment */
  char *base = *block + (PART - (uintptr_t)*block % PART) % PART;
  b.block = base;
  b.tokens = (viva_token *)(void *)place(base, &at, rows);
  b.positions = memcpy(place(base, &at, rows), s->pages.positions, rows);
  b.sequence = memcpy(place(base, &at, rows), s->pages.sequence, rows);
  uint32_t *kept_rows = (uint32_t *)(void *)place(base, &at, rows);
  b.spans = memcpy(place(base, &at, spans), s->pages.spans, spans);
  batch_span *kept_spans = (batch_span *)(void *)place(base, &at, spans);
  b.pages = memcpy(place(base, &at, tables), pages, tables);
  float *turn = (float *)(void *)place(base, &at, turns);
  fill_kept(s, &b, kept_rows, kept_spans);
  b.kept_rows = kept_rows, b.kept_spans = kept_spans, b.kept_span_count = b.span_count;
  b.cos_sin = turn;
  for (size_t r = 0; r < b.rows; r++)
    for (size_t i = 0; i < s->rotary / 2; i++) {
      const double angle = (double)s->pages.positions[r] / (double)(i + 1);
      turn[r * s->rotary + i] = (float)cos(angle);
      turn[r * s->rotary + s->rotary / 2 + i] = (float)sin(angle);
    }
  for (size_t i = 0; i < b.span_count; i++) batch_count(&b, &s->pages.spans[i]);
  return b;
}

cuda_step cuda_kit_step_begin(cuda_kit *k, head_shape h, kv_type type, size_t layers, size_t rotary,
                              const kit_range *ranges, size_t count, int fill) {
  cuda_step s = {.pages = paged_kit_make(h, type, layers, ranges, count), .rotary = rotary};
  const size_t bytes = cuda_step_page_bytes(&s), pages = s.pages.b.page_count;
  uint64_t seed = h.head_dim + (uint64_t)type;
  void **far = malloc(pages * sizeof *far);
  if (fill) paged_kit_fill(&s.pages, &seed);
  s.far = cuda_kit_put(k, NULL, pages * bytes);
  for (size_t i = 0; i < pages; i++) {
    far[i] = s.far + (pages - 1 - i) * bytes;
    assert_int_equal(k->ops->upload(k->b, far[i], s.pages.pages[i], bytes, NULL), VIVA_OK);
  }
  s.cpu = lay_out(&s, s.pages.pages, &s.blocks[0]);
  s.host = lay_out(&s, far, &s.blocks[1]);
  free(far);
  void *dev = cuda_kit_put(k, NULL, s.host.block_bytes);
  assert_int_equal(k->ops->step_begin(k->b, &s.host, dev, &s.gpu, NULL), VIVA_OK);
  return s;
}

void cuda_kit_step_end(cuda_kit *k, cuda_step *s) {
  viva_error error = {0};
  if (k->ops->step_end(k->b, &error)) fail_msg("%s", error.message);
  paged_kit_free(&s->pages);
  free(s->blocks[0]);
  free(s->blocks[1]);
}
