/* number/bulk.c: bulk conversion: the scalar twins, and the choice of a twin. */
#include "number/bulk.h"

#include "base/cpu.h"
#include "number/number.h"

static void bf16_to_f32_scalar(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  for (size_t i = 0; i < count; i++) {
    uint16_t code;
    memcpy(&code, in + i * 2, 2);
    float value = bf16_to_f32(code);
    memcpy(out + i * 4, &value, 4);
  }
}

static void bf16_from_f32_scalar(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  for (size_t i = 0; i < count; i++) {
    float value;
    memcpy(&value, in + i * 4, 4);
    uint16_t code = bf16_from_f32(value);
    memcpy(out + i * 2, &code, 2);
  }
}

static void f16_to_f32_scalar(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  for (size_t i = 0; i < count; i++) {
    uint16_t code;
    memcpy(&code, in + i * 2, 2);
    float value = f16_to_f32(code);
    memcpy(out + i * 4, &value, 4);
  }
}

static void f16_from_f32_scalar(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  for (size_t i = 0; i < count; i++) {
    float value;
    memcpy(&value, in + i * 4, 4);
    uint16_t code = f16_from_f32(value);
    memcpy(out + i * 2, &code, 2);
  }
}

/* A value is infinite or NaN when all bits of its exponent are set. */
static size_t find_exponent32(const void *from, size_t count, uint32_t exponent) {
  const uint8_t *in = from;
  for (size_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, in + i * 4, 4);
    if ((bits & exponent) == exponent) return i;
  }
  return count;
}

static size_t find_exponent16(const void *from, size_t count, uint16_t exponent) {
  const uint8_t *in = from;
  for (size_t i = 0; i < count; i++) {
    uint16_t bits;
    memcpy(&bits, in + i * 2, 2);
    if ((bits & exponent) == exponent) return i;
  }
  return count;
}

static size_t f32_find_scalar(const void *from, size_t count) { return find_exponent32(from, count, 0x7f800000u); }
static size_t bf16_find_scalar(const void *from, size_t count) { return find_exponent16(from, count, 0x7f80u); }
static size_t f16_find_scalar(const void *from, size_t count) { return find_exponent16(from, count, 0x7c00u); }

const number_bulk *number_bulk_scalar(void) {
  static const number_bulk table = {.bf16_to_f32 = bf16_to_f32_scalar,
                                    .bf16_from_f32 = bf16_from_f32_scalar,
                                    .f16_to_f32 = f16_to_f32_scalar,
                                    .f16_from_f32 = f16_from_f32_scalar,
                                    .f32_find_nonfinite = f32_find_scalar,
                                    .bf16_find_nonfinite = bf16_find_scalar,
                                    .f16_find_nonfinite = f16_find_scalar};
  return &table;
}

static const number_bulk *best(void) {
  const number_bulk *avx2 = number_bulk_avx2();
  return avx2 != NULL && cpu_get()->avx2 ? avx2 : number_bulk_scalar();
}

void bf16_to_f32_n(const void *from, void *to, size_t count) { best()->bf16_to_f32(from, to, count); }
void bf16_from_f32_n(const void *from, void *to, size_t count) { best()->bf16_from_f32(from, to, count); }
void f16_to_f32_n(const void *from, void *to, size_t count) { best()->f16_to_f32(from, to, count); }
void f16_from_f32_n(const void *from, void *to, size_t count) { best()->f16_from_f32(from, to, count); }
size_t f32_find_nonfinite_n(const void *from, size_t count) { return best()->f32_find_nonfinite(from, count); }
size_t bf16_find_nonfinite_n(const void *from, size_t count) { return best()->bf16_find_nonfinite(from, count); }
size_t f16_find_nonfinite_n(const void *from, size_t count) { return best()->f16_find_nonfinite(from, count); }
