/* backend/cpu/cpu_quantize.c: rows of x as codes: quantize_rows, and what kernels see of them.
 *
 *   scales  [m]       FP32, padded to a multiple of CPU_CODE_UNIT bytes
 *   values  [m][wide] the codes as FP32
 *   codes   [m][wide] INT8, INT4: one byte each; E4M3: as BF16, which holds them exactly
 *   pairs   [m][wide] INT8, INT4: as BF16 too, in tables with integer_pairs only
 *
 * wide: k up to a multiple of CPU_CODE_UNIT, zeros beyond k.
 */
#include "backend/cpu/cpu.h"

#include <math.h>
#include <string.h>

#include "number/number.h"

static size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }
static size_t scales_bytes(size_t m) { return round_up(m * sizeof(float), CPU_CODE_UNIT); }

/* Beside the codes: those of E4M3 are BF16 themselves. */
static int has_pairs(const cpu_kernels *k, input_mode mode) { return mode != INPUT_E4M3 && k->integer_pairs; }

size_t cpu_quantized_bytes(backend *b, input_mode mode, size_t m, size_t k) {
  const size_t pairs = has_pairs(&cpu_of(b)->kernels, mode) ? sizeof(uint16_t) : 0;
  return scales_bytes(m) + m * round_up(k, CPU_CODE_UNIT) * (sizeof(float) + cpu_code_bytes(mode) + pairs);
}

cpu_input cpu_input_of(const cpu_kernels *k, const linear_args *a, size_t row) {
  if (a->input == INPUT_FLOAT) return (cpu_input){.x = a->x + row * a->x_stride, .x_stride = a->x_stride};
  const size_t wide = round_up(a->w->cols, CPU_CODE_UNIT);
  const char *values = (const char *)a->xq + scales_bytes(a->m), *codes = values + a->m * wide * sizeof(float);
  const char *pairs = a->input == INPUT_E4M3 ? codes : has_pairs(k, a->input) ? codes + a->m * wide : NULL;
  return (cpu_input){.x = (const float *)(const void *)values + row * wide,
                     .x_stride = wide,
                     .codes = codes + row * wide * cpu_code_bytes(a->input),
                     .pairs = pairs ? (const uint16_t *)(const void *)pairs + row * wide : NULL,
                     .code_stride = wide,
                     .scales = (const float *)a->xq + row};
}

typedef struct quantize_job {
  const cpu_kernels *kernels;
  input_mode mode;
  const float *x;
  size_t x_stride, k, wide;
  float *scales, *values;
  char *codes;
  uint16_t *pairs; /* NULL: not wanted */
} quantize_job;

#define PART 256 /* columns that go through the stack */

static void e4m3_codes(const quantize_job *job, const float *x, float scale, float *values, void *codes) {
  uint8_t code[PART];
  for (size_t c = 0; c < job->k; c += PART) {
    const size_t part = job->k - c < PART ? job->k - c : PART;
    e4m3_scaled_from_f32_n(x + c, scale, code, part);
    e4m3_to_f32_n(code, values + c, part);
  }
  job->kernels->bf16_codes(values, codes, job->wide);
}

static void integer_codes(const quantize_job *job, const float *x, float scale, float *values, int8_t *codes) {
  int8_scaled_from_f32_n(x, scale, codes, job->k);
  memset(codes + job->k, 0, job->wide - job->k);
  const int8_t limit = job->mode == INPUT_INT4 ? INT4_LARGEST : INT8_LARGEST;
  for (size_t c = 0; c < job->k; c++) {
    int8_t code = codes[c] < limit ? codes[c] : limit;
    code = code > -limit ? code : (int8_t)-limit;
    codes[c] = code;
    values[c] = code;
  }
  if (job->kernels->int8_codes) job->kernels->int8_codes(codes, job->wide);
}

static void quantize_some(void *arg, size_t begin, size_t end, size_t t) {
  static const float largest[CPU_INPUT_MODES] = {
      [INPUT_E4M3] = FP8_LARGEST, [INPUT_INT8] = INT8_LARGEST, [INPUT_INT4] = INT4_LARGEST};
  const quantize_job *job = arg;
  const size_t code_bytes = cpu_code_bytes(job->mode);
  (void)t;
  for (size_t i = begin; i < end; i++) {
    const float *x = job->x + i * job->x_stride;
    float *values = job->values + i * job->wide;
    char *codes = job->codes + i * job->wide * code_bytes;
    int nonfinite = 0;
    float scale = f32_absmax_n(x, job->k, &nonfinite) / largest[job->mode];
    if (scale == 0) scale = 1; /* a row of zeros, or of less than the smallest scale */
    job->scales[i] = nonfinite ? NAN : scale;
    memset(values + job->k, 0, (job->wide - job->k) * sizeof *values);
    if (nonfinite) {
      memset(values, 0, job->k * sizeof *values);
      memset(codes, 0, job->wide * code_bytes);
    } else if (job->mode == INPUT_E4M3) {
      e4m3_codes(job, x, scale, values, codes);
    } else {
      integer_codes(job, x, scale, values, (int8_t *)codes);
    }
    if (job->pairs) job->kernels->bf16_codes(values, job->pairs + i * job->wide, job->wide);
  }
}

viva_status cpu_quantize_rows(backend *b, input_mode mode, const float *x, size_t x_stride, size_t m, size_t k,
                              void *to, viva_error *error) {
  cpu_backend *cpu = cpu_of(b);
  const size_t wide = round_up(k, CPU_CODE_UNIT);
  (void)error;
  float *values = (float *)(void *)((char *)to + scales_bytes(m));
  quantize_job job = {.kernels = &cpu->kernels,
                      .mode = mode,
                      .x = x,
                      .x_stride = x_stride,
                      .k = k,
                      .wide = wide,
                      .scales = to,
                      .values = values,
                      .codes = (char *)(values + m * wide)};
  if (has_pairs(job.kernels, mode)) job.pairs = (uint16_t *)(void *)(job.codes + m * wide * cpu_code_bytes(mode));
  cpu_spread(cpu, m, wide, quantize_some, &job);
  return VIVA_OK;
}
