/* lab/oracle.c: random weights, and products in FP64. */
#include "lab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "pack/pack.h"

const lab_format lab_formats[] = {
    {"bf16", WEIGHT_BF16, 0, SCALE_F32, 0, 0},
    {"f16", WEIGHT_F16, 0, SCALE_F32, 0, 0},
    {"fp8", WEIGHT_FP8, 0, SCALE_F32, 0, 0},
    {"fp8-b16", WEIGHT_FP8, 16, SCALE_F32, 0, 0},
    {"fp8-b16-f16", WEIGHT_FP8, 16, SCALE_F16, 0, 0},
    {"fp8-b32-e8m0", WEIGHT_FP8, 32, SCALE_E8M0, 0, 0},
    {"fp8-b64", WEIGHT_FP8, 64, SCALE_F32, 0, 0},
    {"fp8-b128", WEIGHT_FP8, 128, SCALE_F32, 0, 0},
    {"nvfp4", WEIGHT_NVFP4, 16, SCALE_E4M3, NVFP4_SEARCH_ABSMAX, 0},
    {"int8-24", WEIGHT_INT8_24, 0, SCALE_F32, 0, 0},
    {"int4-24", WEIGHT_INT4_24, 0, SCALE_F32, 0, 0},
    {"int4-24-g128", WEIGHT_INT4_24, 128, SCALE_F16, 0, 0},
    {"int4-24-g32", WEIGHT_INT4_24, 32, SCALE_F32, 0, 0},
    {"int4-24-pairs", WEIGHT_INT4_24, 64, SCALE_F16, 0, 1},
};
const int lab_format_count = sizeof lab_formats / sizeof *lab_formats;

static uint64_t next(uint64_t *state) { /* splitmix64 */
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

void lab_normal(float *to, size_t count, uint64_t seed) {
  for (size_t i = 0; i < count; i++) { /* Irwin–Hall: six 32-bit halves of three numbers */
    double sum = -3;
    for (int j = 0; j < 3; j++) {
      const uint64_t z = next(&seed);
      sum += ((double)(z >> 32) + (double)(z & 0xffffffffu)) * 0x1p-32;
    }
    to[i] = (float)(sum * 1.41421356);
  }
}

uint16_t lab_f16(float v) { return f16_from_f32(v); }
float lab_from_f16(uint16_t code) { return f16_to_f32(code); }

static void *get(size_t bytes) {
  void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (!p) {
    fprintf(stderr, "lab: no memory for %zu bytes\n", bytes);
    exit(1);
  }
  return p;
}

lab_weight lab_weight_make(const lab_format *f, size_t n, size_t k, uint64_t seed) {
  pack_spec spec = {.format = f->format, .block = f->block, .scale = f->scale, .search = f->search, .pairs = f->pairs};
  pack_survey survey = {0};
  pack_sizes sizes;
  lab_weight w = {0};
  w.source = get(n * k * sizeof *w.source);
  w.values = get(n * k * sizeof *w.values);
  lab_normal(w.source, n * k, seed);
  for (size_t i = 0; i < n * k; i++) w.source[i] *= 0.02f;
  if (pack_needs_survey(&spec)) pack_survey_rows(&spec, w.source, k, 0, n, k, &survey);
  pack_settle(&spec, &survey);
  if (pack_measure(&spec, n, k, &sizes)) exit(1);
  w.packed_bytes = sizes.bytes;
  w.packed = get(sizes.bytes);
  pack_rows(&spec, n, k, w.packed, 0, n, w.source, k, NULL, NULL);
  w.w = pack_view(&spec, n, k, w.packed);
  unpack_rows(&w.w, 0, n, w.values, k);
  w.ordered = get(gemv_order_of(&w.w).bytes);
  gemv_order_tiles(&w.w, 0, gemv_order_of(&w.w).tiles, w.ordered);
  return w;
}

void lab_weight_free(lab_weight *w) {
  free(w->packed);
  free(w->ordered);
  free(w->source);
  free(w->values);
}

double lab_dot(const float *w, const uint16_t *x, size_t k, double *absolute) {
  double sum = 0, all = 0;
  for (size_t i = 0; i < k; i++) {
    const double product = (double)w[i] * (double)f16_to_f32(x[i]);
    sum += product;
    all += fabs(product);
  }
  *absolute = all;
  return sum;
}
