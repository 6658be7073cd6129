/* bench_pack: packing of one FP32 matrix on one thread, every format beside memcpy of the same matrix, in turn in one run.
 *
 *   bench_pack [ROWS COLS [ROUNDS]]      (default 4096 14336 5)
 *
 * Prints for each format the median rate in bytes of FP32 read a second (the survey is part of it where the format needs
 * one), the ratio to copying, the time as a multiple of NVFP4 by absmax, the error on Gaussian weights, and the rate of
 * unpacking in bytes of FP32 written.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "pack/pack.h"

enum { MOST_ROUNDS = 99 };

typedef struct pack_case {
  const char *name;
  pack_spec spec;
} pack_case;

static const pack_case cases[] = {
    {"bf16", {.format = WEIGHT_BF16}},
    {"f16", {.format = WEIGHT_F16}},
    {"fp8", {.format = WEIGHT_FP8}},
    {"fp8:f16", {.format = WEIGHT_FP8, .scale = SCALE_F16}},
    {"fp8-b128", {.format = WEIGHT_FP8, .block = 128}},
    {"fp8-b64", {.format = WEIGHT_FP8, .block = 64}},
    {"fp8-b32", {.format = WEIGHT_FP8, .block = 32}},
    {"fp8-b16", {.format = WEIGHT_FP8, .block = 16}},
    {"fp8-b16:f16", {.format = WEIGHT_FP8, .block = 16, .scale = SCALE_F16}},
    {"fp8-b16:e8m0", {.format = WEIGHT_FP8, .block = 16, .scale = SCALE_E8M0}},
    {"int8-24", {.format = WEIGHT_INT8_24}},
    {"int4-24", {.format = WEIGHT_INT4_24, .block = 128, .scale = SCALE_F16}},
    {"int4-24-g32", {.format = WEIGHT_INT4_24, .block = 32, .scale = SCALE_F16}},
    {"int4-24-channel", {.format = WEIGHT_INT4_24}},
    {"int4-24 pairs", {.format = WEIGHT_INT4_24, .block = 128, .scale = SCALE_F16, .pairs = 1}},
    {"nvfp4 absmax", {.format = WEIGHT_NVFP4, .search = NVFP4_SEARCH_ABSMAX}},
    {"nvfp4 4/6", {.format = WEIGHT_NVFP4, .search = NVFP4_SEARCH_FOUR_OVER_SIX}},
    {"nvfp4 search", {.format = WEIGHT_NVFP4, .search = NVFP4_SEARCH_MSE}},
};
enum { CASES = sizeof cases / sizeof *cases };

typedef struct matrix {
  size_t rows, cols;
  float *values, *copy;
  uint8_t *packed;
} matrix;

/* Of this thread's processor time: other programs' turns do not count. */
static double own_seconds(void) { return clock_seconds(CLOCK_THREAD_CPUTIME_ID); }

/* Gaussian weights, by Box and Muller over splitmix64. */
static void fill(matrix *m) {
  uint64_t state = 1;
  for (size_t i = 0; i < m->rows * m->cols; i++) {
    double u[2];
    for (int j = 0; j < 2; j++) {
      uint64_t z = state += 0x9E3779B97F4A7C15u;
      z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
      z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
      u[j] = ((double)((z ^ (z >> 31)) >> 11) + 1) * 0x1p-53;
    }
    m->values[i] = (float)(0.02 * sqrt(-2 * log(u[0])) * cos(6.283185307179586 * u[1]));
  }
}

static double pack_seconds(const matrix *m, const pack_spec *asked, weight *w) {
  pack_spec spec = *asked;
  pack_survey survey = {0};
  pack_place bad;
  const double begin = own_seconds();
  if (pack_needs_survey(&spec)) {
    pack_survey_rows(&spec, m->values, m->cols, 0, m->rows, m->cols, &survey);
    pack_settle(&spec, &survey);
  }
  pack_rows(&spec, m->rows, m->cols, m->packed, 0, m->rows, m->values, m->cols, NULL, &bad);
  const double end = own_seconds();
  *w = pack_view(&spec, m->rows, m->cols, m->packed);
  return end - begin;
}

static double unpack_seconds(const matrix *m, const weight *w) {
  const double begin = own_seconds();
  unpack_rows(w, 0, m->rows, m->copy, m->cols);
  return own_seconds() - begin;
}

static double decibels(const matrix *m) {
  double signal = 0, noise = 0;
  for (size_t i = 0; i < m->rows * m->cols; i++) {
    const double v = (double)m->values[i], d = v - (double)m->copy[i];
    signal += v * v;
    noise += d * d;
  }
  return 10 * log10(signal / noise);
}

int main(int argc, char **argv) {
  matrix m = {.rows = argc > 2 ? strtoul(argv[1], NULL, 10) : 4096,
              .cols = argc > 2 ? strtoul(argv[2], NULL, 10) : 14336};
  const size_t rounds = argc > 3 ? strtoul(argv[3], NULL, 10) : 5, count = m.rows * m.cols,
               bytes = count * sizeof(float);
  static double packing[CASES][MOST_ROUNDS], unpacking[CASES][MOST_ROUNDS], copying[MOST_ROUNDS];
  double errors[CASES], absmax = 0;
  if (rounds < 1 || rounds > MOST_ROUNDS) return fprintf(stderr, "1 to %d rounds\n", MOST_ROUNDS), 1;
  m.values = malloc(bytes);
  m.copy = malloc(bytes);
  m.packed = aligned_alloc(PACK_ALIGN, (2 * bytes + PACK_ALIGN - 1) / PACK_ALIGN * PACK_ALIGN);
  if (!m.values || !m.copy || !m.packed) return fprintf(stderr, "no memory for %zu x %zu\n", m.rows, m.cols), 1;
  fill(&m);
  memset(m.packed, 0, 2 * bytes);
  for (size_t r = 0; r < rounds; r++) {
    const double begin = own_seconds();
    memcpy(m.copy, m.values, bytes);
    copying[r] = own_seconds() - begin;
    for (size_t c = 0; c < CASES; c++) {
      weight w;
      packing[c][r] = pack_seconds(&m, &cases[c].spec, &w);
      unpacking[c][r] = unpack_seconds(&m, &w);
      if (r == 0) errors[c] = decibels(&m);
    }
  }
  const double copy = median(copying, rounds);
  for (size_t c = 0; c < CASES; c++)
    if (strcmp(cases[c].name, "nvfp4 absmax") == 0) absmax = median(packing[c], rounds);
  printf("%zu x %zu, %zu rounds, 1 thread; memcpy %.2f GB/s\n", m.rows, m.cols, rounds, 1e-9 * (double)bytes / copy);
  printf("%-18s %10s %9s %9s %9s %12s\n", "format", "pack GB/s", "of copy", "x absmax", "SQNR dB", "unpack GB/s");
  for (size_t c = 0; c < CASES; c++) {
    const double t = median(packing[c], rounds), back = median(unpacking[c], rounds);
    printf("%-18s %10.2f %9.2f %9.2f %9.2f %12.2f\n", cases[c].name, 1e-9 * (double)bytes / t, copy / t, t / absmax,
           errors[c], 1e-9 * (double)bytes / back);
  }
  free(m.values);
  free(m.copy);
  free(m.packed);
  return 0;
}
