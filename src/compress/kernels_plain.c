/* compress/kernels_plain.c: the codecs in plain C: the definition. */
#include <float.h>

#include "base/cpu.h"
#include "compress/kernels.h"
#include "number/number.h"
#include "pack/nvfp4_math.h"

/* -- affine */

static float scale_of(int levels, float range) {
  const float scale = (float)levels / range;
  return range > 0 && scale <= FLT_MAX ? scale : 1;
}

/* To nearest, ties away from zero; |t| is below 2^22. */
static int round_away(float t) {
  const int whole = (int)t;
  const float rest = t - (float)whole; /* exact */
  return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

/* n[0 .. count) of one block to codes, a byte each. */
static void encode_block(const affine *a, const float *n, size_t count, float *scale, float *zero, uint8_t *codes) {
  const int levels = affine_levels(a);
  const float high = (float)levels, low = a->symmetric ? -high : 0;
  float least = __builtin_inff(), most = -least;
  for (size_t i = 0; i < count; i++) {
    least = n[i] < least ? n[i] : least;
    most = n[i] > most ? n[i] : most;
  }
  *zero = a->symmetric ? 0 : least + 0.0f; /* never −0 */
  *scale = scale_of(levels, a->symmetric ? (most > -least ? most : -least) : most - least);
  for (size_t i = 0; i < count; i++) {
    const float t = (n[i] - *zero) * *scale;
    codes[i] = (uint8_t)(round_away(t < low ? low : t > high ? high : t) & ((1 << a->bits) - 1));
  }
}

static void encode(const affine *a, const float *values, size_t count, float *scales, float *zeros, uint8_t *codes) {
  for (size_t at = 0; at < count; at += a->block, scales++, zeros++, codes += affine_block_bytes(a)) {
    const size_t some = count - at < a->block ? count - at : a->block;
    float n[AFFINE_BLOCK_MOST];
    uint8_t bytes[AFFINE_BLOCK_MOST] = {0};
    for (size_t i = 0; i < some; i++) n[i] = values[at + i] / a->global;
    encode_block(a, n, some, scales, zeros, bytes);
    codes_pack_n(bytes, a->block, a->bits, codes);
  }
}

static void decode(const affine *a, const float *scales, const float *zeros, const uint8_t *codes, size_t count,
                   int past, float *to) {
  (void)past;
  const int sign = a->symmetric ? 1 << (a->bits - 1) : 0;
  for (size_t at = 0; at < count; at += a->block, scales++, zeros++, codes += affine_block_bytes(a)) {
    const size_t some = count - at < a->block ? count - at : a->block;
    uint8_t bytes[AFFINE_BLOCK_MOST];
    codes_unpack_n(codes, some, a->bits, bytes);
    for (size_t i = 0; i < some; i++) to[at + i] = ((float)((bytes[i] ^ sign) - sign) / *scales + *zeros) * a->global;
  }
}

/* -- nvfp4 */

static void nvfp4_codes(float global, const uint8_t *scales, const float *values, size_t count, uint8_t *codes) {
  for (size_t at = 0; at < count; at += NVFP4_BLOCK, scales++, codes += NVFP4_BLOCK_BYTES) {
    const float step = nvfp4_step(*scales, global);
    memset(codes, 0, NVFP4_BLOCK_BYTES);
    for (size_t i = 0; i < NVFP4_BLOCK && at + i < count; i++)
      codes[i / 2] = (uint8_t)(codes[i / 2] | nvfp4_code(values[at + i], step) << 4 * (i % 2));
  }
}

static void nvfp4_values(float global, const uint8_t *scales, const uint8_t *codes, size_t count, int past, float *to) {
  (void)past;
  for (size_t i = 0; i < count; i++) {
    const float step = nvfp4_step(scales[i / NVFP4_BLOCK], global);
    to[i] = e2m1_to_f32((uint8_t)(codes[i / 2] >> 4 * (i % 2))) * step;
  }
}

/* -- errors: 8 lanes, each summed in FP32 over RUN values and then in FP64; the lanes in the order of a tree */

#define LANES 8
#define RUN   128

typedef struct lanes {
  double absolute[LANES], square[LANES], signal[LANES];
} lanes;

static double fold(const double v[LANES]) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }

static void add_run(const float *x, const float *y, size_t count, float inverse, lanes *sums, float *largest) {
  float absolute[LANES] = {0}, square[LANES] = {0}, signal[LANES] = {0};
  for (size_t i = 0; i < count; i++) {
    const int finite = (f32_bits(x[i]) & 0x7fffffffu) < 0x7f800000u;
    const float v = finite ? x[i] * inverse : 0, d = finite ? v - y[i] * inverse : 0, size = d < 0 ? -d : d;
    absolute[i % LANES] += size;
    square[i % LANES] += d * d;
    signal[i % LANES] += v * v;
    *largest = size > *largest ? size : *largest;
  }
  for (size_t i = 0; i < LANES; i++) {
    sums->absolute[i] += (double)absolute[i];
    sums->square[i] += (double)square[i];
    sums->signal[i] += (double)signal[i];
  }
}

/* Whole runs together, then the rest. */
static void add_all(const float *x, const float *y, size_t count, float inverse, error_sums *sums) {
  lanes all = {0};
  float largest = 0;
  for (size_t at = 0; at < count; at += RUN)
    add_run(x + at, y + at, count - at < RUN ? count - at : RUN, inverse, &all, &largest);
  sums->absolute += fold(all.absolute);
  sums->square += fold(all.square);
  sums->signal += fold(all.signal);
  if ((double)largest > sums->largest) sums->largest = (double)largest;
}

static void errors(const float *x, const float *y, size_t count, float unit, error_sums *sums) {
  const size_t whole = count / RUN * RUN;
  add_all(x, y, whole, 1 / unit, sums);
  add_all(x + whole, y + whole, count - whole, 1 / unit, sums);
}

/* Within 2^±126, so that 1 / unit is a normal number. */
float error_unit(float absmax) {
  const uint32_t exponent = f32_bits(absmax) & 0x7f800000u;
  return f32_from_bits(exponent < 1u << 23 ? 1u << 23 : exponent > 253u << 23 ? 253u << 23 : exponent);
}

/* -- the machine */

static uint64_t read_words(const uint64_t *words, size_t count) {
  uint64_t sum[4] = {0};
  for (size_t i = 0; i < count; i += 4)
    for (size_t lane = 0; lane < 4; lane++) sum[lane] += words[i + lane];
  return sum[0] + sum[1] + sum[2] + sum[3];
}

/* The empty statements keep the compiler from adding everything up beforehand. */
static uint64_t work(size_t rounds) {
  uint64_t a = 1, b = 2, c = 3, d = 4;
  for (size_t i = 0; i < rounds; i++) {
    a += i, b += i, c += i, d += i;
    __asm__ __volatile__("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
  }
  return a + b + c + d;
}

const compress_kernels *compress_kernels_plain(void) {
  static const compress_kernels table = {.encode = encode,
                                         .decode = decode,
                                         .nvfp4_codes = nvfp4_codes,
                                         .nvfp4_values = nvfp4_values,
                                         .errors = errors,
                                         .read = read_words,
                                         .work = work,
                                         .work_bytes = 4 * 2 * sizeof(uint64_t)};
  return &table;
}

const compress_kernels *compress_kernels_best(void) {
  const compress_kernels *avx2 = compress_kernels_avx2(), *avx512 = compress_kernels_avx512();
  if (avx512 && cpu_get()->avx512) return avx512;
  return avx2 && cpu_get()->avx2 ? avx2 : compress_kernels_plain();
}
