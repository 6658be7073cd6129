/* backend/cpu/rows_simd.h: the tuned operations on single rows, in the vector words of simd.h. */
#ifndef BACKEND_CPU_ROWS_SIMD_H
#define BACKEND_CPU_ROWS_SIMD_H

#include <math.h>

#include "backend/cpu/exp_simd.h"
#include "backend/cpu/kernels.h"

static void exps(const float *from, float *to, size_t count) {
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) v_store(to + i, v_exp(v_load(from + i)));
  if (i < count) v_store_part(to + i, v_exp(v_load_part(from + i, count - i)), count - i);
}

static void rmsnorm(const float *x, float *y, size_t n, const float *gain, float eps) {
  vf squares = v_zero();
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    const vf v = v_load(x + i);
    squares = v_fma(v, v, squares);
  }
  if (i < n) {
    const vf v = v_load_part(x + i, n - i);
    squares = v_fma(v, v, squares);
  }
  const vf scale = v_set(1.0f / sqrtf(v_sum(squares) / (float)n + eps));
  for (i = 0; i + LANES <= n; i += LANES) v_store(y + i, v_mul(v_mul(v_load(x + i), scale), v_load(gain + i)));
  if (i < n) v_store_part(y + i, v_mul(v_mul(v_load_part(x + i, n - i), scale), v_load_part(gain + i, n - i)), n - i);
}

ALWAYS_INLINE vf silu(vf gate, vf up) {
  const vf one = v_set(1.0f);
  return v_mul(v_div(gate, v_add(one, v_exp(v_sub(v_zero(), gate)))), up);
}

static void silu_mul(const float *gate, const float *up, float *out, size_t n) {
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) v_store(out + i, silu(v_load(gate + i), v_load(up + i)));
  if (i < n) v_store_part(out + i, silu(v_load_part(gate + i, n - i), v_load_part(up + i, n - i)), n - i);
}

static void rotate(float *head, const float *cos_, const float *sin_, size_t half) {
  size_t i = 0;
  for (; i + LANES <= half; i += LANES) {
    const vf a = v_load(head + i), b = v_load(head + half + i), c = v_load(cos_ + i), s = v_load(sin_ + i);
    v_store(head + i, v_sub(v_mul(a, c), v_mul(b, s)));
    v_store(head + half + i, v_add(v_mul(b, c), v_mul(a, s)));
  }
  if (i < half) {
    const size_t part = half - i;
    const vf a = v_load_part(head + i, part), b = v_load_part(head + half + i, part);
    const vf c = v_load_part(cos_ + i, part), s = v_load_part(sin_ + i, part);
    v_store_part(head + i, v_sub(v_mul(a, c), v_mul(b, s)), part);
    v_store_part(head + half + i, v_add(v_mul(b, c), v_mul(a, s)), part);
  }
}

/* First the largest value, in 4 vectors at once, then its first place. */
static size_t argmax(const float *values, size_t n, int *nan) {
  vf best[4];
  for (int j = 0; j < 4; j++) best[j] = v_set(-INFINITY);
  size_t i = 0;
  int found_nan = 0;
  for (; i + 4 * LANES <= n; i += 4 * LANES) {
    vf all = v_zero(); /* 0 · x summed: NaN when one is, and when one is infinite */
    UNROLL
    for (int j = 0; j < 4; j++) {
      const vf v = v_load(values + i + j * LANES);
      best[j] = v_max(v, best[j]);
      all = v_fma(v, v_zero(), all);
    }
    if (v_any_nan(all))
      for (int j = 0; j < 4; j++) found_nan |= v_any_nan(v_load(values + i + j * LANES));
  }
  float top = v_max_of(v_max(v_max(best[0], best[1]), v_max(best[2], best[3])));
  for (; i < n; i++) {
    if (values[i] != values[i])
      found_nan = 1;
    else if (values[i] > top)
      top = values[i];
  }
  if (found_nan) *nan = 1;
  const vf wanted = v_set(top);
  for (i = 0; i + LANES <= n; i += LANES) {
    const unsigned equal = v_equal_bits(v_load(values + i), wanted);
    if (equal != 0) return i + (size_t)__builtin_ctz(equal);
  }
  for (; i < n; i++)
    if (values[i] == top) return i;
  return 0; /* every value is NaN */
}

/* Bytes that `read` asks for ahead of itself: the latency of memory (100 ns) at 40 GB/s. */
#define READ_AHEAD 8192

static uint64_t read_bytes(const void *data, size_t bytes) {
  const char *from = data;
  __m256i sum[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
  size_t i = 0;
  for (; i + 128 <= bytes; i += 128) {
    _mm_prefetch(from + i + READ_AHEAD, _MM_HINT_T0);
    _mm_prefetch(from + i + READ_AHEAD + 64, _MM_HINT_T0);
    UNROLL
    for (int j = 0; j < 4; j++)
      sum[j] = _mm256_add_epi64(sum[j], _mm256_loadu_si256((const __m256i *)(const void *)(from + i + 32 * j)));
  }
  uint64_t words[4], total = 0;
  const __m256i all = _mm256_add_epi64(_mm256_add_epi64(sum[0], sum[1]), _mm256_add_epi64(sum[2], sum[3]));
  _mm256_storeu_si256((__m256i *)(void *)words, all);
  for (int j = 0; j < 4; j++) total += words[j];
  for (; i < bytes; i++) total += (unsigned char)from[i];
  return total;
}

static void rows_kernels(cpu_kernels *k) {
  k->exp = exps;
  k->rmsnorm = rmsnorm;
  k->silu_mul = silu_mul;
  k->rotate = rotate;
  k->argmax = argmax;
  k->read = read_bytes;
}

#endif
