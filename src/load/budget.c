/* load/budget.c */
#include "load/budget.h"

#include <stdio.h>

#include "base/ck.h"

#define ROW_ALIGN 16 /* floats: 64 bytes */

/* The chosen chunk: enough rows for the GEMM to run at full speed, but no more activations than this. */
#define CHUNK_MOST  512
#define CHUNK_LEAST 32
#define CHUNK_BYTES ((uint64_t)64 << 20)

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
                  .ffn = (size_t)config->intermediate_size,
                  .cos_sin = (size_t)config->rotary_dim};
  size_t hidden = padded(r.hidden), q = padded(r.q), kv = padded(r.kv), ffn = padded(r.ffn);
  r.norm_at = hidden;
  r.q_at = r.gate_at = 2 * hidden;
  r.k_at = r.q_at + q;
  r.v_at = r.k_at + kv;
  r.out_at = r.v_at + kv;
  r.up_at = r.gate_at + ffn;
  r.cos_sin_at = larger(r.out_at + q, r.up_at + ffn);
  r.floats = r.cos_sin_at + padded(r.cos_sin);
  return r;
}

size_t budget_width(const viva_model_config *config) {
  row_layout r = budget_rows(config);
  return larger(r.hidden, larger(r.q, r.ffn));
}

size_t budget_chunk(const viva_model_config *config, uint64_t capacity, uint32_t asked) {
  uint64_t chunk = asked;
  if (!asked) {
    chunk = CHUNK_BYTES / (budget_rows(config).floats * sizeof(float)) / CHUNK_LEAST * CHUNK_LEAST;
    if (chunk < CHUNK_LEAST) chunk = CHUNK_LEAST;
    if (chunk > CHUNK_MOST) chunk = CHUNK_MOST;
  }
  return (size_t)(chunk < capacity ? chunk : capacity);
}

uint64_t budget_kv(const viva_model_config *config, size_t layers, uint64_t capacity, kv_type kv) {
  uint64_t vector = budget_mul(config->num_kv_heads * config->head_dim, kv == KV_F16 ? 2 : 4);
  return budget_mul(budget_mul(vector, capacity), 2 * (uint64_t)layers);
}

uint64_t budget_quantized(const budget_case *c, size_t chunk) {
  row_layout r = budget_rows(c->config);
  const size_t widths[] = {r.hidden, r.q, r.ffn}; /* of what enters q k v, gate, up and the head; o; down */
  size_t most = 0;
  if (c->act == INPUT_FLOAT) return 0;
  for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
    most = larger(most, c->backend->ops->quantized_bytes(c->backend, c->act, chunk, widths[i]));
  return most;
}

uint64_t budget_work(const budget_case *c, uint64_t capacity, size_t chunk) {
  uint64_t rows = budget_mul(budget_rows(c->config).floats * sizeof(float), chunk);
  uint64_t logits = budget_mul(c->config->vocab_size, 2 * sizeof(float));
  uint64_t scratch = c->backend->ops->scratch_bytes(c->backend, chunk, (size_t)capacity, budget_width(c->config));
  return budget_add(budget_add(rows, logits), budget_add(scratch, budget_quantized(c, chunk)));
}

uint64_t budget_context(const budget_case *c, uint64_t fixed, uint64_t available, uint64_t limit) {
  if (available == 0) return limit;
  uint64_t fits = 0, beyond = limit + 1; /* what is needed never falls as the context grows */
  while (beyond - fits > 1) {
    uint64_t context = fits + (beyond - fits) / 2;
    uint64_t work = budget_work(c, context, budget_chunk(c->config, context, 0));
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
