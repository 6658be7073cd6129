/* backend/cpu/ref_rows.c: the operations on single rows in plain C. */
#include <math.h>
#include <string.h>

#include "backend/cpu/exp.h"
#include "backend/cpu/ref.h"
#include "number/number.h"

float ref_exp(float x) {
  if (x < EXP_LOWEST) x = EXP_LOWEST;
  if (x > EXP_HIGHEST) x = EXP_HIGHEST;
  if (x != x) return x;
  /* Adding and taking away 1.5 · 2^23 rounds to a whole number, ties to even. */
  const float magic = 12582912.0f;
  const float n = (x * EXP_LOG2_E + magic) - magic;
  const float r = (x - n * EXP_LN2_HIGH) - n * EXP_LN2_LOW;
  float p = EXP_C7;
  p = p * r + EXP_C6;
  p = p * r + EXP_C5;
  p = p * r + EXP_C4;
  p = p * r + EXP_C3;
  p = p * r + EXP_C2;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  /* 2^n in two factors, as n reaches −150 and 128. */
  const int whole = (int)n, half = whole >> 1;
  return p * f32_from_bits((uint32_t)(half + 127) << 23) * f32_from_bits((uint32_t)(whole - half + 127) << 23);
}

static void exps(const float *from, float *to, size_t count) {
  for (size_t i = 0; i < count; i++) to[i] = ref_exp(from[i]);
}

static void rmsnorm(const float *x, float *y, size_t n, const float *gain, float eps) {
  ref_lanes squares = {0};
  ref_accumulate(x, x, n, &squares);
  const float scale = 1.0f / sqrtf(ref_sum(&squares) / (float)n + eps);
  for (size_t i = 0; i < n; i++) y[i] = x[i] * scale * gain[i];
}

static void silu_mul(const float *gate, const float *up, float *out, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = gate[i] / (1.0f + ref_exp(-gate[i])) * up[i];
}

static void rotate(float *head, const float *cos_, const float *sin_, size_t half) {
  for (size_t i = 0; i < half; i++) {
    const float a = head[i], b = head[i + half];
    head[i] = a * cos_[i] - b * sin_[i];
    head[i + half] = b * cos_[i] + a * sin_[i];
  }
}

static size_t argmax(const float *values, size_t n, int *nan) {
  size_t best = 0;
  for (size_t i = 0; i < n; i++) {
    if (values[i] != values[i])
      *nan = 1;
    else if (values[best] != values[best] || values[i] > values[best])
      best = i;
  }
  return best;
}

static uint64_t read_bytes(const void *data, size_t bytes) {
  const char *from = data;
  uint64_t sum[4] = {0};
  size_t i = 0;
  for (; i + 32 <= bytes; i += 32) {
    uint64_t word[4];
    memcpy(word, from + i, sizeof word);
    for (size_t l = 0; l < 4; l++) sum[l] += word[l];
  }
  for (; i < bytes; i++) sum[0] += (unsigned char)from[i];
  return sum[0] + sum[1] + sum[2] + sum[3];
}

void ref_rows(cpu_kernels *k) {
  k->exp = exps;
  k->rmsnorm = rmsnorm;
  k->silu_mul = silu_mul;
  k->rotate = rotate;
  k->argmax = argmax;
  k->read = read_bytes;
}
