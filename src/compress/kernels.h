/* compress/kernels.h: the codecs' arithmetic and the measuring of errors: plain C is the definition, the forms of AVX2 and
 * AVX-512 give the same bits.
 *
 * A block of values x with the global scale g (FP32, each operation rounded):
 *
 *   n = x / g
 *   asymmetric  zero = least n;  scale = (2^bits − 1) / (largest n − zero);        code = round(clamp((n − zero) · scale))
 *               within 0 … 2^bits − 1
 *   symmetric   zero = 0;        scale = (2^(bits−1) − 1) / largest |n|;           within ±(2^(bits−1) − 1), stored as two's
 *               complement of `bits` bits
 *   x̂ = (code / scale + zero) · g
 *
 * round: to nearest, ties away from zero, as the original has it. A range of 0, or one so small that the scale would be
 * infinite, gives scale 1. All x must be finite and g finite and above 0.
 *
 * NVFP4, as compressed-tensors orders it (nvfp4.c chooses the scales): with the number G of the segment (segment.h) and a
 * block's scale s, an E4M3 code,
 *
 *   step = s / G;  code = e2m1(x / step);  x̂ = code · step
 *
 * An x of −0 has code 0; a negative x that rounds to 0 has code 8.
 */
#ifndef COMPRESS_KERNELS_H
#define COMPRESS_KERNELS_H

#include "compress/codes.h"

#define AFFINE_BLOCK_LEAST 8
#define AFFINE_BLOCK_MOST  256
#define AFFINE_BITS_LEAST  2
#define AFFINE_BITS_MOST   8

typedef struct affine {
  uint32_t block, bits;
  int symmetric;
  float global;
} affine;

/* Codes of the largest magnitude: 2^bits − 1, or 2^(bits−1) − 1. */
static inline int affine_levels(const affine *a) { return (1 << (a->symmetric ? a->bits - 1 : a->bits)) - 1; }
static inline size_t affine_block_bytes(const affine *a) { return codes_bytes(a->block, a->bits); }

/* Sums over values, in units of `unit` (a power of two near the largest magnitude, so that squares neither overflow nor
 * vanish). Values of the original that are not finite are left out. */
typedef struct error_sums {
  double absolute, square, signal; /* Σ |x − y|, Σ (x − y)², Σ x² */
  double largest;                  /* |x − y| */
} error_sums;

typedef struct compress_kernels {
  /* count values (one row): blocks of a->block, the last may be short. Block b: scales[b], zeros[b], and codes from
   * b · affine_block_bytes on; of a short block's codes what lies beyond its end is 0. */
  void (*encode)(const affine *a, const float *values, size_t count, float *scales, float *zeros, uint8_t *codes);
  /* past: to is larger than the caches and goes past them, where the processor can. */
  void (*decode)(const affine *a, const float *scales, const float *zeros, const uint8_t *codes, size_t count, int past,
                 float *to);
  /* NVFP4, count values (one row): blocks of 16, the last may be short. Block b: scales[b], and codes from 8 · b on; of a
   * short block's codes what lies beyond its end is 0. */
  void (*nvfp4_codes)(float global, const uint8_t *scales, const float *values, size_t count, uint8_t *codes);
  void (*nvfp4_values)(float global, const uint8_t *scales, const uint8_t *codes, size_t count, int past, float *to);
  /* Adds those of count values to *sums. */
  void (*errors)(const float *x, const float *y, size_t count, float unit, error_sums *sums);
  /* For measuring the machine: reads all of count words (a multiple of 32), and works on registers alone; what they return
   * depends on all of it. */
  uint64_t (*read)(const uint64_t *words, size_t count);
  uint64_t (*work)(size_t rounds);
  size_t work_bytes; /* of operands in a round */
} compress_kernels;

const compress_kernels *compress_kernels_plain(void);
const compress_kernels *compress_kernels_avx2(void);   /* NULL when the library was built for another processor */
const compress_kernels *compress_kernels_avx512(void); /* likewise */
const compress_kernels *compress_kernels_best(void);   /* for this processor */

/* The unit for values of this largest magnitude. */
float error_unit(float absmax);

#endif
