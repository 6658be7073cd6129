/* load/budget.c */
#include "load/budget.h"

#include <stdio.h>

#include "base/ck.h"

#define ROW_ALIGN 16 /* floats: 64 bytes */

#define CHUNK_STEP 32 /* rows: a chosen chunk is a multiple */

uint64_t budget_add(uint64_t a, uint64_t b) {
  uint64_t sum;
  return ck_add(a, b, &sum) ? UINT64_MAX : sum;
}

uint64_t budget_mul(uint64_t a, uint64_t b) {
  uint64_t product;
  return ck_mul(a, b, &product) ? UINT64_MAX : product;
}

static size_t padded(size_t floats) { return (floats + ROW_ALIGN - 1) / ROW_ALIGN * ROW_ALIGN; }

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

row_layout budget_rows(const viva_model_config *config) {
  row_layout r = {.hidden = (size_t)config->hidden_size,
                  .q = (size_t)(config->num_heads * config->head_dim),
                  .kv = (size_t)(config->num_kv_heads * config->head_dim),
                  .ffn = (size_t)config->intermediate_size};
  size_t hidden = padded(r.hidden), q = padded(r.q), kv = padded(r.kv), ffn = padded(r.ffn);
  r.norm_at = hidden;
  r.q_at = r.gate_at = 2 * hidden;
  r.k_at = r.q_at + q;
  r.v_at = r.k_at + kv;
  r.out_at = r.v_at + kv;
  r.up_at = r.gate_at + ffn;
  r.floats = larger(r.out_at + q, r.up_at + ffn);
  return r;
}

size_t budget_width(const viva_model_config *config) {
  row_layout r = budget_rows(config);
  return larger(r.hidden, larger(r.q, r.ffn));
}

size_t budget_chunk(const viva_model_config *config, const backend *b, uint64_t capacity, uint32_t asked) {
  uint64_t chunk = asked;
  if (!asked) {
    chunk = b->ops->pass_bytes / (budget_rows(config).floats * sizeof(float)) / CHUNK_STEP * CHUNK_STEP;
    if (chunk < CHUNK_STEP) chunk = CHUNK_STEP;
    if (chunk > b->ops->pass_rows) chunk = b->ops->pass_rows;
  }
  return (size_t)(chunk < capacity ? chunk : capacity);
}

uint64_t budget_kv(const viva_model_config *config, size_t layers, uint64_t capacity, kv_type kv) {
  static const uint64_t bytes[KV_TYPES] = {[KV_F16] = 2, [KV_F32] = 4, [KV_FP8] = 1};
  uint64_t vector = budget_mul(budget_mul(config->num_kv_heads, config->head_dim), bytes[kv]);
  if (kv == KV_FP8) vector = budget_add(vector, budget_mul(config->num_kv_heads, 2));
  uint64_t pages = capacity / KV_PAGE + (capacity % KV_PAGE != 0);
  return budget_mul(budget_mul(vector, pages * KV_PAGE), 2 * (uint64_t)layers);
}

uint64_t budget_quantized(const budget_case *c, size_t chunk) {
  row_layout r = budget_rows(c->config);
  const size_t widths[] = {r.hidden, r.q, r.ffn}; /* of what enters q k v, gate, up and the head; o; down */
  const backend_ops *ops = c->backend->ops;
  size_t most = 0;
  for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
    if (c->act != INPUT_FLOAT) most = larger(most, ops->quantized_bytes(c->backend, c->act, chunk, widths[i]));
    if (ops->takes_f16) most = larger(most, ops->quantized_bytes(c->backend, INPUT_F16, chunk, widths[i]));
  }
  return most;
}

#define LOGIT_ROWS 2 /* the session's, and the one being made */

uint64_t budget_work(const budget_case *c, uint64_t capacity, size_t chunk) {
  uint64_t row = budget_mul(budget_add(budget_rows(c->config).floats, c->config->rotary_dim), sizeof(float));
  uint64_t logits = budget_mul(c->config->vocab_size, LOGIT_ROWS * sizeof(float));
  uint64_t scratch = c->backend->ops->scratch_bytes(c->backend, chunk, (size_t)capacity, budget_width(c->config));
  return budget_add(budget_add(budget_mul(row, chunk), logits), budget_add(scratch, budget_quantized(c, chunk)));
}

uint64_t budget_context(const budget_case *c, uint64_t fixed, uint64_t available, uint64_t limit) {
  if (available == 0) return limit;
  uint64_t fits = 0, beyond = limit + 1; /* what is needed never falls as the context grows */
  while (beyond - fits > 1) {
    uint64_t context = fits + (beyond - fits) / 2;
    uint64_t work = budget_work(c, context, budget_chunk(c->config, c->backend, context, 0));
    uint64_t needed = budget_add(fixed, budget_add(work, budget_kv(c->config, c->layers, context, c->kv)));
    if (needed <= available)
      fits = context;
    else
      beyond = context;
  }
  return fits;
}

uint64_t budget_available(backend *b) {
  viva_device_info info = {.size = sizeof info};
  b->ops->info(b, &info);
  return info.memory_available;
}

const char *budget_text(uint64_t bytes, char buffer[32]) {
  static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  uint64_t tenths = 0;
  while (bytes >= 1024 && unit + 1 < sizeof units / sizeof *units) {
    tenths = bytes % 1024 * 10 / 1024;
    bytes /= 1024;
    unit++;
  }
  if (unit)
    snprintf(buffer, 32, "%u.%u %s", (unsigned)bytes, (unsigned)tenths, units[unit]);
  else
    snprintf(buffer, 32, "%u bytes", (unsigned)bytes);
  return buffer;
}
