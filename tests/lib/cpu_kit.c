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

static size_t weight_bytes(const weight *w) {
  return (w->rows - 1) * w->row_bytes + w->cols * weight_element_bytes(w->format);
}

weight kit_weight(weight_format format, size_t rows, size_t cols, size_t gap, uint64_t *state) {
  weight w = {format, rows, cols, cols * weight_element_bytes(format) + gap, NULL};
  char *data = kit_guarded(weight_bytes(&w));
  for (size_t r = 0; r < rows; r++) {
    for (size_t c = 0; c < cols; c++) {
      const float value = kit_uniform(state);
      char *to = data + r * w.row_bytes + c * weight_element_bytes(format);
      const uint16_t code = format == WEIGHT_BF16 ? bf16_from_f32(value) : f16_from_f32(value);
      if (format == WEIGHT_F32)
        memcpy(to, &value, sizeof value);
      else
        memcpy(to, &code, sizeof code);
    }
  }
  w.data = data;
  return w;
}

void kit_weight_free(weight *w) {
  kit_guarded_free((void *)(uintptr_t)w->data, weight_bytes(w));
  w->data = NULL;
}

double kit_weight_at(const weight *w, size_t row, size_t col) {
  const char *from = (const char *)w->data + row * w->row_bytes + col * weight_element_bytes(w->format);
  float value;
  uint16_t code;
  memcpy(&code, from, sizeof code);
  if (w->format == WEIGHT_F32)
    memcpy(&value, from, sizeof value);
  else
    value = w->format == WEIGHT_BF16 ? bf16_to_f32(code) : f16_to_f32(code);
  return (double)value;
}

int kit_same(const float *a, const float *b, size_t count) { return memcmp(a, b, count * sizeof *a) == 0; }
