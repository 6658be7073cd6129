/* format/gguf/dequant_plain.c: types without blocks. */
#include "format/gguf/dequant.h"
#include "number/number.h"

void dequant_f64(const void *from, float *to, size_t count) {
  const uint8_t *in = from;
  for (size_t i = 0; i < count; i++) {
    double value;
    memcpy(&value, in + i * 8, 8);
    to[i] = (float)value;
  }
}

void dequant_f32(const void *from, float *to, size_t count) {
  if (count != 0) memcpy(to, from, count * sizeof(float));
}

void dequant_f16(const void *from, float *to, size_t count) { f16_to_f32_n(from, to, count); }

void dequant_bf16(const void *from, float *to, size_t count) { bf16_to_f32_n(from, to, count); }

void dequant_e4m3(const void *from, float *to, size_t count) {
  const uint8_t *in = from;
  for (size_t i = 0; i < count; i++) to[i] = e4m3_to_f32(in[i]);
}

void dequant_e5m2(const void *from, float *to, size_t count) {
  const uint8_t *in = from;
  for (size_t i = 0; i < count; i++) to[i] = e5m2_to_f32(in[i]);
}

void dequant_e8m0(const void *from, float *to, size_t count) {
  const uint8_t *in = from;
  for (size_t i = 0; i < count; i++) to[i] = e8m0_to_f32(in[i]);
}

void dequant_e2m1(const void *from, float *to, size_t count) {
  const uint8_t *in = from;
  for (size_t i = 0; i < count; i++) to[i] = e2m1_to_f32((uint8_t)(in[i / 2] >> (4 * (i % 2))));
}
