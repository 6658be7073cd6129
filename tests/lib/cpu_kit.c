#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "lib/cpu_kit.h"
#include "number/number.h"

#define PAGE ((size_t)4096)

int kit_open(cpu_kit *kit, viva_cpu_kernels table, int threads) {
  *kit = (cpu_kit){.ops = &backend_cpu};
  kit->rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_ERROR);
  assert_non_null(kit->rt);
  assert_int_equal(pool_create(kit->rt, threads, &kit->pool, NULL), VIVA_OK);
  viva_status status = kit->ops->open(kit->rt, kit->pool, 0, table, &kit->b, NULL);
  if (status == VIVA_E_UNSUPPORTED) {
    pool_free(kit->pool);
    runtime_release(kit->rt);
    return 0;
  }
  assert_int_equal(status, VIVA_OK);
  return 1;
}

void kit_close(cpu_kit *kit) {
  kit->ops->close(kit->b);
  pool_free(kit->pool);
  assert_int_equal(kit->rt->mem.current, mem_size(kit->rt)); /* the runtime's own block is left */
  runtime_release(kit->rt);
}

static size_t pages(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

void *kit_guarded(size_t bytes) {
  char *base = mmap(NULL, pages(bytes) + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(base != MAP_FAILED);
  assert_int_equal(mprotect(base + pages(bytes), PAGE, PROT_NONE), 0);
  memset(base, 0xff, pages(bytes));
  return base + pages(bytes) - bytes;
}

void kit_guarded_free(void *memory, size_t bytes) {
  if (memory) munmap((char *)memory + bytes - pages(bytes), pages(bytes) + PAGE);
}

uint64_t kit_random(uint64_t *state) { /* splitmix64 */
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

float kit_uniform(uint64_t *state) { return (float)(kit_random(state) >> 40) * 0x1p-23f - 1.0f; }

void kit_fill(float *values, size_t count, uint64_t *state) {
  for (size_t i = 0; i < count; i++) values[i] = kit_uniform(state);
}

/* -- weights */

static size_t code_bytes(const weight *w) { /* of a row */
  switch (w->format) {
  case WEIGHT_FP8: return w->cols;
  case WEIGHT_NVFP4: return (w->cols + NVFP4_BLOCK - 1) / NVFP4_BLOCK * NVFP4_BLOCK_BYTES;
  case WEIGHT_INT8_24: return (w->cols + SPARSE_24_COLUMNS - 1) / SPARSE_24_COLUMNS * sizeof(int8_24_block);
  case WEIGHT_INT4_24: return (w->cols + SPARSE_24_COLUMNS - 1) / SPARSE_24_COLUMNS * sizeof(int4_24_block);
  default: return w->cols * weight_element_bytes(w->format);
  }
}

static size_t weight_bytes(const weight *w) { return (w->rows - 1) * w->row_bytes + code_bytes(w); }
static size_t scales_bytes(const weight *w) { return w->rows * w->scale_row_bytes; }

static void dense_row(const weight *w, char *to, uint64_t *state) {
  for (size_t c = 0; c < w->cols; c++) {
    const float value = kit_uniform(state);
    const uint16_t code = w->format == WEIGHT_BF16 ? bf16_from_f32(value) : f16_from_f32(value);
    if (w->format == WEIGHT_F32)
      memcpy(to + 4 * c, &value, sizeof value);
    else
      memcpy(to + 2 * c, &code, sizeof code);
  }
}

static void fp8_row(const weight *w, uint8_t *to, uint64_t *state) {
  for (size_t c = 0; c < w->cols; c++) {
    to[c] = (uint8_t)kit_random(state);
    if ((to[c] & 0x7f) == 0x7f) to[c] ^= 1; /* no NaN */
  }
}

static void nvfp4_row(const weight *w, uint8_t *to, uint64_t *state) {
  for (size_t i = 0; i < code_bytes(w); i++) {
    const unsigned low = 2 * i < w->cols ? 0x0f : 0, high = 2 * i + 1 < w->cols ? 0xf0 : 0;
    to[i] = (uint8_t)(kit_random(state) & (low | high));
  }
}

/* Where kept code i of a block is: the column of the matrix. */
static size_t kept_column(const weight *w, size_t block, size_t i, uint8_t index_byte) {
  static const size_t pair_order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
  const unsigned nibble = i / 2 % 2 ? index_byte >> 4 : index_byte & 15u;
  const size_t at = i / 2 * SPARSE_24_GROUP + (i % 2 ? nibble >> 2 : nibble & 3u);
  return block * SPARSE_24_COLUMNS + (w->pairs ? at / 8 * 8 + pair_order[at % 8] : at);
}

static void sparse_row(const weight *w, uint8_t *to, uint64_t *state) {
  static const uint8_t nibbles[6] = {4, 8, 9, 12, 13, 14};
  const int bits4 = w->format == WEIGHT_INT4_24;
  const size_t kept_bytes = bits4 ? SPARSE_24_KEPT / 2 : SPARSE_24_KEPT;
  const size_t block_bytes = kept_bytes + SPARSE_24_GROUPS / 2;
  for (size_t b = 0; b < code_bytes(w) / block_bytes; b++, to += block_bytes) {
    memset(to, 0, block_bytes);
    for (size_t i = 0; i < SPARSE_24_GROUPS / 2; i++)
      to[kept_bytes + i] = (uint8_t)(nibbles[kit_random(state) % 6] | nibbles[kit_random(state) % 6] << 4);
    for (size_t i = 0; i < SPARSE_24_KEPT; i++) {
      const int code = bits4 ? (int)(kit_random(state) % 15) - 7 : (int)(kit_random(state) % 255) - 127;
      if (kept_column(w, b, i, to[kept_bytes + i / 4]) >= w->cols) continue;
      if (bits4)
        to[i / 2] |= (uint8_t)((code & 15) << 4 * (i % 2));
      else
        to[i] = (uint8_t)code;
    }
  }
}

static void fill_scales(const weight *w, char *to, uint64_t *state) {
  for (size_t i = 0; i < scales_bytes(w); i += scale_bytes(w->scales_type), to += scale_bytes(w->scales_type)) {
    const float value = (kit_uniform(state) + 1.5f) / 32;
    const uint16_t half = f16_from_f32(value);
    switch (w->scales_type) {
    case SCALE_F32: memcpy(to, &value, 4); break;
    case SCALE_F16: memcpy(to, &half, 2); break;
    case SCALE_E8M0: *(uint8_t *)to = (uint8_t)(120 + kit_random(state) % 8); break;
    case SCALE_E4M3: *(uint8_t *)to = (uint8_t)(kit_random(state) % 0x7f); break;
    }
  }
}

weight kit_packed(weight_format format, size_t rows, size_t cols, size_t gap, uint32_t block, scale_type scales,
                  uint64_t *state) {
  weight w = {.format = format, .rows = rows, .cols = cols, .scales_type = scales, .block = block, .global = 1};
  w.row_bytes = code_bytes(&w) + gap;
  char *data = kit_guarded(weight_bytes(&w));
  w.data = data;
  for (size_t r = 0; r < rows; r++, data += w.row_bytes) {
    if (weight_dense(format)) dense_row(&w, data, state);
    if (format == WEIGHT_FP8) fp8_row(&w, (uint8_t *)data, state);
    if (format == WEIGHT_NVFP4) nvfp4_row(&w, (uint8_t *)data, state);
    if (format == WEIGHT_INT8_24 || format == WEIGHT_INT4_24) sparse_row(&w, (uint8_t *)data, state);
  }
  if (weight_dense(format)) return w;
  w.scale_row_bytes = weight_blocks(&w) * scale_bytes(scales);
  if (format == WEIGHT_NVFP4) w.global = 23.5f, w.global_divides = 1;
  char *to = kit_guarded(scales_bytes(&w));
  fill_scales(&w, to, state);
  w.scales = to;
  return w;
}

weight kit_weight(weight_format format, size_t rows, size_t cols, size_t gap, uint64_t *state) {
  static const uint32_t blocks[WEIGHT_FORMATS] = {[WEIGHT_NVFP4] = NVFP4_BLOCK, [WEIGHT_INT4_24] = 128};
  static const scale_type scales[WEIGHT_FORMATS] = {[WEIGHT_NVFP4] = SCALE_E4M3, [WEIGHT_INT4_24] = SCALE_F16};
  return kit_packed(format, rows, cols, gap, blocks[format], scales[format], state);
}

void kit_weight_free(weight *w) {
  kit_guarded_free((void *)(uintptr_t)w->data, weight_bytes(w));
  if (w->scales) kit_guarded_free((void *)(uintptr_t)w->scales, scales_bytes(w));
  w->data = w->scales = NULL;
}

static double sparse_at(const weight *w, const uint8_t *row, size_t col) {
  const int bits4 = w->format == WEIGHT_INT4_24;
  const size_t kept_bytes = bits4 ? SPARSE_24_KEPT / 2 : SPARSE_24_KEPT;
  const size_t b = col / SPARSE_24_COLUMNS;
  const uint8_t *block = row + b * (kept_bytes + SPARSE_24_GROUPS / 2);
  double value = 0;
  for (size_t i = 0; i < SPARSE_24_KEPT; i++)
    if (kept_column(w, b, i, block[kept_bytes + i / 4]) == col)
      value += bits4 ? int4_to_int(block[i / 2] >> 4 * (i % 2) & 15) : (int8_t)block[i];
  return value;
}

double kit_weight_at(const weight *w, size_t row, size_t col) {
  const uint8_t *from = (const uint8_t *)w->data + row * w->row_bytes;
  float value;
  uint16_t code;
  double number = 0;
  switch (w->format) {
  case WEIGHT_F32: memcpy(&value, from + 4 * col, sizeof value); return (double)value;
  case WEIGHT_BF16: memcpy(&code, from + 2 * col, sizeof code); return (double)bf16_to_f32(code);
  case WEIGHT_F16: memcpy(&code, from + 2 * col, sizeof code); return (double)f16_to_f32(code);
  case WEIGHT_FP8: number = (double)e4m3_to_f32(from[col]); break;
  case WEIGHT_NVFP4: number = (double)e2m1_to_f32(from[col / 2] >> 4 * (col % 2) & 15); break;
  default: number = sparse_at(w, from, col); break;
  }
  if (w->block) number *= (double)weight_scale(w, row, col / w->block);
  return number * (double)weight_row_scale(w, row);
}

int kit_same(const float *a, const float *b, size_t count) { return memcmp(a, b, count * sizeof *a) == 0; }
