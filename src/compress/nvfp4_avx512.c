/* compress/nvfp4_avx512.c: NVFP4's codes with AVX-512, equal to kernels_plain.c bit for bit. Four whole blocks at a time; what is
 * left is the AVX2 form's.
 *
 * Quotients by a block's step are had without dividing (kernels_avx512.h) where steps are from 2^-90 to 2: what lacks digits then
 * is below 1/8, whose code is 0, and no quotient of a value below 0 becomes 0, so that its sign is the value's.
 */
#include "compress/kernels.h"

#ifdef __AVX512F__

#include "compress/kernels_avx2.h"
#include "compress/kernels_avx512.h"
#include "number/layout.h"
#include "number/number.h"

#define CHUNK_BLOCKS 64 /* whose steps are found together */
#define LEAST_STEP   0x1p-90f
#define STEP_END     2.0f

typedef struct steps {
  float by[CHUNK_BLOCKS], inverse[CHUNK_BLOCKS], rest[CHUNK_BLOCKS];
  int ordinary; /* quotients may be had without dividing */
} steps;

static inline void find_steps(float global, const uint8_t *scales, size_t blocks, steps *s) {
  const __m512 g = _mm512_set1_ps(global);
  __mmask16 ordinary = 0xffff;
  e4m3_to_f32_n(scales, s->by, blocks);
  for (size_t i = blocks; i % 16 != 0; i++) s->by[i] = global; /* a step of 1 */
  for (size_t i = 0; i < blocks; i += 16) {
    const __m512 by = _mm512_div_ps(_mm512_loadu_ps(s->by + i), g), inverse = _mm512_div_ps(_mm512_set1_ps(1), by);
    ordinary &= _mm512_cmp_ps_mask(by, _mm512_set1_ps(LEAST_STEP), _CMP_GE_OQ) &
                _mm512_cmp_ps_mask(by, _mm512_set1_ps(STEP_END), _CMP_LT_OQ);
    _mm512_storeu_ps(s->by + i, by);
    _mm512_storeu_ps(s->inverse + i, inverse);
    _mm512_storeu_ps(s->rest + i, rest_of(by, inverse));
  }
  s->ordinary = ordinary == 0xffff;
}

/* Of 16 values: 2 more than the codes of the magnitudes, modulo 8, as in nvfp4_avx2.c; *below: those below 0. */
FOR_EACH __m512i sizes16(const float *values, const steps *s, size_t block, int ordinary, __mmask16 *below) {
  const divisor d = {_mm512_set1_ps(s->by[block]), _mm512_set1_ps(s->inverse[block]), _mm512_set1_ps(s->rest[block])};
  const __m512 x = _mm512_loadu_ps(values), y = ordinary ? quotient(x, &d) : _mm512_div_ps(x, d.by);
  const __m512 size = _mm512_range_ps(y, _mm512_set1_ps(NVFP4_LARGEST), 10); /* the lesser magnitude, positive */
  const __m512 power = _mm512_and_ps(size, _mm512_castsi512_ps(_mm512_set1_epi32(0x7f800000)));
  const __m512 unit = _mm512_max_ps(power, _mm512_set1_ps(1));
  const __m512i bits = _mm512_castps_si512(_mm512_fmadd_ps(unit, _mm512_set1_ps(0x1p22f), size));
  *below = _mm512_cmp_ps_mask(ordinary ? x : y, _mm512_setzero_ps(), _CMP_LT_OQ); /* not −0 */
  return _mm512_and_si512(_mm512_add_epi32(bits, _mm512_srli_epi32(bits, 22)), _mm512_set1_epi32(7));
}

FOR_EACH void code_four(const float *values, const steps *s, size_t block, int ordinary, uint8_t *codes) {
  __m512i sizes[4];
  __mmask16 below[4];
  for (size_t i = 0; i < 4; i++) {
    ask_ahead(values + i * NVFP4_BLOCK);
    sizes[i] = sizes16(values + i * NVFP4_BLOCK, s, block + i, ordinary, &below[i]);
  }
  const __mmask64 signs =
      (uint64_t)below[0] | (uint64_t)below[1] << 16 | (uint64_t)below[2] << 32 | (uint64_t)below[3] << 48;
  const __m512i three = _mm512_and_si512(_mm512_sub_epi8(bytes64(sizes), _mm512_set1_epi8(2)), _mm512_set1_epi8(7));
  store_nibbles(codes, _mm512_mask_add_epi8(three, signs, three, _mm512_set1_epi8(8)));
}

FOR_EACH void code_chunk(const float *values, const steps *s, size_t blocks, int ordinary, uint8_t *codes) {
  for (size_t i = 0; i < blocks; i += 4)
    code_four(values + i * NVFP4_BLOCK, s, i, ordinary, codes + i * NVFP4_BLOCK_BYTES);
}

void nvfp4_codes_avx512(float global, const uint8_t *scales, const float *values, size_t count, uint8_t *codes) {
  const size_t blocks = count / NVFP4_BLOCK / 4 * 4, done = blocks * NVFP4_BLOCK;
  steps s;
  for (size_t b = 0; b < blocks; b += CHUNK_BLOCKS) {
    const size_t some = blocks - b < CHUNK_BLOCKS ? blocks - b : CHUNK_BLOCKS;
    const float *from = values + b * NVFP4_BLOCK;
    uint8_t *to = codes + b * NVFP4_BLOCK_BYTES;
    find_steps(global, scales + b, some, &s);
    if (s.ordinary)
      code_chunk(from, &s, some, 1, to);
    else
      code_chunk(from, &s, some, 0, to);
  }
  nvfp4_codes_avx2(global, scales + blocks, values + done, count - done, codes + blocks * NVFP4_BLOCK_BYTES);
}

#endif
