/* tests/engine/engine_kit.h: what the tests of packed weights share: engines, tensors of random values, checked errors. */
#ifndef TESTS_ENGINE_KIT_H
#define TESTS_ENGINE_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/packed.h"
#include "lib/cpu_kit.h"
#include "tensor/tensor.h"
#include "viva/viva.h"

/* "ITEM: MESSAGE" must contain text. */
static inline void refused(viva_status status, viva_status code, const viva_error *error, const char *text) {
  char whole[sizeof error->item + sizeof error->message + 3];
  snprintf(whole, sizeof whole, "%s: %s", error->item, error->message);
  if (status != code) fail_msg("status %d, expected %d (%s)", (int)status, (int)code, whole);
  if (!strstr(whole, text)) fail_msg("\"%s\" lacks \"%s\"", whole, text);
}

/* What `fine` tells: a call that must not fail is given &fault. */
static _Thread_local viva_error fault;
#define fine(call)                                                                                                     \
  do {                                                                                                                 \
    if ((call) != VIVA_OK) fail_msg("%s:%d: %s: %s", __FILE__, __LINE__, fault.item, fault.message);                   \
  } while (0)

static inline viva_engine *open_engine(viva_cpu_kernels kernels, int threads) {
  viva_engine_options options = viva_engine_options_default();
  viva_engine *engine;
  options.device = VIVA_DEVICE_CPU, options.threads = threads, options.kernels = kernels;
  fine(viva_engine_open(&options, &engine, &fault));
  return engine;
}

static inline size_t bytes_now(const viva_engine *engine) {
  viva_memory_stats stats = {.size = sizeof stats};
  fine(viva_engine_memory(engine, &stats, &fault));
  return stats.current_bytes;
}

/* Sums of 4 uniform values: nearly Gaussian, of deviation 0.58 · scale. */
static inline float bell(uint64_t *state) {
  return (kit_uniform(state) + kit_uniform(state) + kit_uniform(state) + kit_uniform(state)) / 2;
}

static inline void fill_bell(float *values, size_t count, float scale, uint64_t *state) {
  for (size_t i = 0; i < count; i++) values[i] = bell(state) * scale;
}

/* One element of a tensor's memory. */
static inline void put(viva_dtype dtype, void *at, size_t i, float value) {
  const double wide = value;
  const uint16_t half = dtype == VIVA_F16 ? f16_from_f32(value) : bf16_from_f32(value);
  if (dtype == VIVA_F32) ((float *)at)[i] = value;
  if (dtype == VIVA_F64) memcpy((char *)at + i * 8, &wide, 8);
  if (dtype == VIVA_F16 || dtype == VIVA_BF16) ((uint16_t *)at)[i] = half;
}

/* Set: tensors made below lie in the memory of their engine's device, and results are expected there. */
static int on_device;

/* A tensor of the host's, where it is wanted. */
static inline viva_tensor *placed(viva_engine *engine, viva_tensor *t) {
  viva_tensor *there;
  if (!on_device) return t;
  fine(viva_tensor_to_device(t, engine, &there, &fault));
  viva_tensor_release(t);
  return there;
}

/* A result, which lies where the input did, in the host's memory. */
static inline viva_tensor *fetched(viva_tensor *t) {
  viva_tensor *here;
  assert_int_equal(viva_tensor_engine(t) != NULL, on_device);
  if (!on_device) return t;
  fine(viva_tensor_to_host(t, &here, &fault));
  viva_tensor_release(t);
  return here;
}

/* A new row-major tensor of these values, rounded to dtype. */
static inline viva_tensor *tensor_of(viva_engine *engine, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                                     const float *values) {
  viva_tensor *t;
  fine(viva_tensor_create(engine, dtype, rank, shape, &t, &fault));
  for (size_t i = 0; i < t->elements; i++) put(dtype, viva_tensor_elements(t), i, values[i]);
  return placed(engine, t);
}

static inline viva_tensor *matrix_of(viva_engine *engine, viva_dtype dtype, size_t rows, size_t cols,
                                     const float *values) {
  return tensor_of(engine, dtype, 2, (uint64_t[]){rows, cols}, values);
}

/* The same matrix, whose columns lie together in memory. */
static inline viva_tensor *turned_of(viva_engine *engine, viva_dtype dtype, size_t rows, size_t cols,
                                     const float *values) {
  viva_tensor *t, *turned;
  fine(viva_tensor_create(engine, dtype, 2, (uint64_t[]){cols, rows}, &t, &fault));
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < cols; c++) put(dtype, viva_tensor_elements(t), c * rows + r, values[r * cols + c]);
  t = placed(engine, t);
  fine(viva_tensor_transpose(t, 0, 1, &turned, &fault));
  viva_tensor_release(t);
  return turned;
}

/* Every packed format with its options, by the name that describe must give. */
static const char *const all_formats[] = {"f32",
                                          "bf16",
                                          "f16",
                                          "fp8",
                                          "fp8:f16",
                                          "fp8:e8m0",
                                          "fp8-b16",
                                          "fp8-b16:f16",
                                          "fp8-b32",
                                          "fp8-b64:e8m0",
                                          "fp8-b128",
                                          "nvfp4",
                                          "int8-24",
                                          "int4-24",
                                          "int4-24-g32",
                                          "int4-24-g64:f32",
                                          "int4-24-channel",
                                          "int4-24-channel:f32"};
#define ALL_FORMATS (sizeof all_formats / sizeof *all_formats)

static inline viva_status prepack_named(viva_engine *engine, const char *name, const viva_tensor *t,
                                        const viva_prepack_options *base, viva_packed_weight **packed,
                                        viva_error *error) {
  viva_prepack_options o = base ? *base : viva_prepack_options_default();
  const char *scale = strchr(name, ':'), *block = strchr(name, '-');
  if (scale) o.scale_dtype = scale[1] == 'e' ? VIVA_E8M0 : scale[2] == '3' ? VIVA_F32 : VIVA_F16;
  if (strncmp(name, "fp8-b", 5) == 0)
    return viva_prepack_fp8_weight_blocked(engine, t, (uint32_t)atoi(block + 2), &o, packed, error);
  if (strncmp(name, "fp8", 3) == 0) return viva_prepack_fp8_weight(engine, t, &o, packed, error);
  if (strcmp(name, "nvfp4") == 0) return viva_prepack_nvfp4_weight(engine, t, &o, packed, error);
  if (strcmp(name, "int8-24") == 0) return viva_prepack_int8_sparse_24_weight(engine, t, &o, packed, error);
  if (strncmp(name, "int4-24", 7) == 0) {
    const char *group = strstr(name, "-g");
    if (group) o.block = (uint32_t)atoi(group + 2);
    if (strstr(name, "channel")) o.block = VIVA_BLOCK_CHANNEL;
    return viva_prepack_int4_sparse_24_weight(engine, t, &o, packed, error);
  }
  const viva_dtype dtype = name[0] == 'b' ? VIVA_BF16 : name[1] == '3' ? VIVA_F32 : VIVA_F16;
  return viva_prepack_dense(engine, t, dtype, &o, packed, error);
}

static inline viva_packed_info describe_packed(const viva_packed_weight *packed) {
  viva_packed_info info = {.size = sizeof info};
  fine(viva_packed_weight_info(packed, &info, &fault));
  return info;
}

#endif
