/* number/bulk.c: bulk conversion: the scalar variants, and the choice of a variant. */
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

static float f32_at(const void *from, size_t i) {
  float value;
  memcpy(&value, (const uint8_t *)from + i * 4, 4);
  return value;
}

static void f32_put(void *to, size_t i, float value) { memcpy((uint8_t *)to + i * 4, &value, 4); }

static void decode8(const void *from, void *to, size_t count, float (*decode)(uint8_t)) {
  const uint8_t *in = from;
  for (size_t i = 0; i < count; i++) f32_put(to, i, decode(in[i]));
}

static void encode8(const void *from, void *to, size_t count, uint8_t (*encode)(float)) {
  uint8_t *out = to;
  for (size_t i = 0; i < count; i++) out[i] = encode(f32_at(from, i));
}

static void decode4(const void *from, void *to, size_t count, float (*decode)(uint8_t)) {
  const uint8_t *in = from;
  for (size_t i = 0; i < count; i++) f32_put(to, i, decode((uint8_t)(in[i / 2] >> (4 * (i % 2)) & 0xf)));
}

static void encode4(const void *from, void *to, size_t count, uint8_t (*encode)(float)) {
  uint8_t *out = to;
  for (size_t i = 0; i < count; i += 2) {
    uint8_t high = i + 1 < count ? encode(f32_at(from, i + 1)) : 0;
    out[i / 2] = (uint8_t)(encode(f32_at(from, i)) | high << 4);
  }
}

static float int4_to_f32(uint8_t code) { return (float)int4_to_int(code); }

static void e4m3_to_f32_scalar(const void *from, void *to, size_t count) { decode8(from, to, count, e4m3_to_f32); }
static void e5m2_to_f32_scalar(const void *from, void *to, size_t count) { decode8(from, to, count, e5m2_to_f32); }
static void e8m0_to_f32_scalar(const void *from, void *to, size_t count) { decode8(from, to, count, e8m0_to_f32); }
static void e2m1_to_f32_scalar(const void *from, void *to, size_t count) { decode4(from, to, count, e2m1_to_f32); }
static void int4_to_f32_scalar(const void *from, void *to, size_t count) { decode4(from, to, count, int4_to_f32); }
static void e4m3_from_f32_scalar(const void *from, void *to, size_t count) { encode8(from, to, count, e4m3_from_f32); }
static void e5m2_from_f32_scalar(const void *from, void *to, size_t count) { encode8(from, to, count, e5m2_from_f32); }
static void e8m0_from_f32_scalar(const void *from, void *to, size_t count) { encode8(from, to, count, e8m0_from_f32); }
static void e2m1_from_f32_scalar(const void *from, void *to, size_t count) { encode4(from, to, count, e2m1_from_f32); }
static void int4_from_f32_scalar(const void *from, void *to, size_t count) { encode4(from, to, count, int4_from_f32); }

static void e4m3_scaled_scalar(const void *from, float scale, void *to, size_t count) {
  uint8_t *out = to;
  for (size_t i = 0; i < count; i++) out[i] = e4m3_from_f32(f32_at(from, i) / scale);
}

static void int8_scaled_scalar(const void *from, float scale, void *to, size_t count) {
  int8_t *out = to;
  for (size_t i = 0; i < count; i++) out[i] = int8_from_f32(f32_at(from, i) / scale);
}

static float f32_absmax_scalar(const void *from, size_t count, int *nonfinite) {
  uint32_t largest = 0; /* magnitudes are in the order of their bits */
  for (size_t i = 0; i < count; i++) {
    uint32_t magnitude = f32_bits(f32_at(from, i)) & 0x7fffffffu;
    if (magnitude >= 0x7f800000u)
      *nonfinite = 1;
    else if (magnitude > largest)
      largest = magnitude;
  }
  return f32_from_bits(largest);
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
                                    .e4m3_to_f32 = e4m3_to_f32_scalar,
                                    .e4m3_from_f32 = e4m3_from_f32_scalar,
                                    .e5m2_to_f32 = e5m2_to_f32_scalar,
                                    .e5m2_from_f32 = e5m2_from_f32_scalar,
                                    .e8m0_to_f32 = e8m0_to_f32_scalar,
                                    .e8m0_from_f32 = e8m0_from_f32_scalar,
                                    .e2m1_to_f32 = e2m1_to_f32_scalar,
                                    .e2m1_from_f32 = e2m1_from_f32_scalar,
                                    .int4_to_f32 = int4_to_f32_scalar,
                                    .int4_from_f32 = int4_from_f32_scalar,
                                    .e4m3_scaled_from_f32 = e4m3_scaled_scalar,
                                    .int8_scaled_from_f32 = int8_scaled_scalar,
                                    .f32_absmax = f32_absmax_scalar,
                                    .f32_find_nonfinite = f32_find_scalar,
                                    .bf16_find_nonfinite = bf16_find_scalar,
                                    .f16_find_nonfinite = f16_find_scalar};
  return &table;
}

static const number_bulk *best(void) {
  const number_bulk *avx2 = number_bulk_avx2();
  return avx2 && cpu_get()->avx2 ? avx2 : number_bulk_scalar();
}

void bf16_to_f32_n(const void *from, void *to, size_t count) { best()->bf16_to_f32(from, to, count); }
void bf16_from_f32_n(const void *from, void *to, size_t count) { best()->bf16_from_f32(from, to, count); }
void f16_to_f32_n(const void *from, void *to, size_t count) { best()->f16_to_f32(from, to, count); }
void f16_from_f32_n(const void *from, void *to, size_t count) { best()->f16_from_f32(from, to, count); }
void e4m3_to_f32_n(const void *from, void *to, size_t count) { best()->e4m3_to_f32(from, to, count); }
void e4m3_from_f32_n(const void *from, void *to, size_t count) { best()->e4m3_from_f32(from, to, count); }
void e5m2_to_f32_n(const void *from, void *to, size_t count) { best()->e5m2_to_f32(from, to, count); }
void e5m2_from_f32_n(const void *from, void *to, size_t count) { best()->e5m2_from_f32(from, to, count); }
void e8m0_to_f32_n(const void *from, void *to, size_t count) { best()->e8m0_to_f32(from, to, count); }
void e8m0_from_f32_n(const void *from, void *to, size_t count) { best()->e8m0_from_f32(from, to, count); }
void e2m1_to_f32_n(const void *from, void *to, size_t count) { best()->e2m1_to_f32(from, to, count); }
void e2m1_from_f32_n(const void *from, void *to, size_t count) { best()->e2m1_from_f32(from, to, count); }
void int4_to_f32_n(const void *from, void *to, size_t count) { best()->int4_to_f32(from, to, count); }
void int4_from_f32_n(const void *from, void *to, size_t count) { best()->int4_from_f32(from, to, count); }

void e4m3_scaled_from_f32_n(const void *from, float scale, void *to, size_t count) {
  best()->e4m3_scaled_from_f32(from, scale, to, count);
}

void int8_scaled_from_f32_n(const void *from, float scale, void *to, size_t count) {
  best()->int8_scaled_from_f32(from, scale, to, count);
}

float f32_absmax_n(const void *from, size_t count, int *nonfinite) {
  int found = 0;
  float largest = best()->f32_absmax(from, count, &found);
  if (found && nonfinite) *nonfinite = 1;
  return largest;
}

size_t f32_find_nonfinite_n(const void *from, size_t count) { return best()->f32_find_nonfinite(from, count); }
size_t bf16_find_nonfinite_n(const void *from, size_t count) { return best()->bf16_find_nonfinite(from, count); }
size_t f16_find_nonfinite_n(const void *from, size_t count) { return best()->f16_find_nonfinite(from, count); }
