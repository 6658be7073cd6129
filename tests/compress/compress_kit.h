/* tests/compress/compress_kit.h: an engine, tensors over arrays, and values of several distributions. */
#ifndef TESTS_COMPRESS_KIT_H
#define TESTS_COMPRESS_KIT_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/runtime.h"
#include "engine/engine.h"
#include "viva/viva.h"

static inline viva_engine *kit_engine(int threads) {
  viva_engine_options options = viva_engine_options_default();
  viva_engine *engine = NULL;
  options.device = VIVA_DEVICE_CPU;
  options.threads = threads;
  assert_int_equal(viva_engine_open(&options, &engine, NULL), VIVA_OK);
  return engine;
}

/* All memory that came through the engine must be back but its own. */
static inline void kit_engine_close(viva_engine *engine, size_t own_bytes) {
  viva_memory_stats stats = {.size = sizeof stats};
  assert_int_equal(viva_engine_memory(engine, &stats, NULL), VIVA_OK);
  assert_int_equal(stats.current_bytes, own_bytes);
  viva_engine_release(engine);
}

static inline size_t kit_bytes(viva_engine *engine) {
  viva_memory_stats stats = {.size = sizeof stats};
  assert_int_equal(viva_engine_memory(engine, &stats, NULL), VIVA_OK);
  return stats.current_bytes;
}

#define kit_good(status, error)                                                                                        \
  do {                                                                                                                 \
    if ((status) != VIVA_OK) fail_msg("%s", (error).message);                                                          \
  } while (0)

static inline viva_tensor *kit_tensor(viva_engine *engine, const float *values, uint64_t rows, uint64_t cols) {
  const uint64_t shape[2] = {rows, cols};
  viva_error error = {0};
  viva_tensor *t = NULL;
  const viva_status status =
      viva_tensor_wrap(engine, (void *)(uintptr_t)values, rows * cols * sizeof *values, VIVA_F32, 2, shape, &t, &error);
  kit_good(status, error);
  return t;
}

static inline uint64_t kit_next(uint64_t *state) { /* splitmix64 */
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}
static inline double kit_unit(uint64_t *state) { return (double)(kit_next(state) >> 11) * 0x1p-53; } /* [0, 1) */
static inline double kit_gauss(uint64_t *state) {
  return sqrt(-2 * log(1 - kit_unit(state))) * cos(6.283185307179586 * kit_unit(state));
}

enum { KIT_DISTRIBUTIONS = 12 };

/* One value of distribution 0 … 11. */
static inline double kit_value(int which, uint64_t *state) {
  const double u = kit_unit(state), sign = kit_next(state) & 1 ? 1 : -1;
  switch (which) {
  case 0: return kit_gauss(state);
  case 1: return 2 * u - 1;          /* uniform */
  case 2: return u;                  /* the original's benchmark */
  case 3: return -sign * log(1 - u); /* Laplace */
  case 4: {                          /* Student's t with 5 degrees */
    double square = 0;
    for (int i = 0; i < 5; i++) square += pow(kit_gauss(state), 2);
    return kit_gauss(state) / sqrt(square / 5);
  }
  case 5: return u < 0.9 ? 0 : kit_gauss(state);                       /* mostly zeros */
  case 6: return exp(kit_gauss(state));                                /* log-normal: positive */
  case 7: return u < 0.001 ? 50 * kit_gauss(state) : kit_gauss(state); /* outliers */
  case 8: return 5 + 0.1 * kit_gauss(state);                           /* far from zero */
  case 9: return fmax(0, kit_gauss(state));                            /* after ReLU */
  case 10: return sign * (1 + 0.05 * kit_gauss(state));                /* two peaks */
  default: return sin(100 * u) * (kit_next(state) % 4 == 0 ? 1 : 0.1);
  }
}

static inline void kit_values(int which, float scale, float *values, size_t count, uint64_t seed) {
  uint64_t state = seed;
  for (size_t i = 0; i < count; i++) values[i] = (float)kit_value(which, &state) * scale;
}

/* A value that a processor's form meets beside the plain one: zeros of both signs and tiny ones among a distribution's. */
static inline float kit_mixed(int which, float scale, uint64_t *state) {
  float v = (float)kit_value(which, state) * scale;
  if (kit_next(state) % 16 == 0) v = kit_next(state) & 1 ? 0.0f : -0.0f;
  if (kit_next(state) % 16 == 0) v = ldexpf(v, -(int)(kit_next(state) % 150));
  return v;
}

static inline float *kit_floats(size_t count) {
  float *values = calloc(count ? count : 1, sizeof *values);
  assert_non_null(values);
  return values;
}

#endif
