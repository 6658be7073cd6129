/* backend/cpu/pairs_words.h: codes of FP8 as BF16, two to a lane of 32 bits: AVX-512 with AVX512_VBMI. */
#ifndef BACKEND_CPU_PAIRS_WORDS_H
#define BACKEND_CPU_PAIRS_WORDS_H

#include "backend/cpu/kernels.h"
#include "backend/cpu/simd.h"

#define PAIRS_UNIT CPU_CODE_UNIT /* columns that two vectors of pairs hold */

/* E4M3 codes 0 … 127 as BF16. */
static const uint16_t pairs_table[128] = {
    0x0000, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60, 0x3c80, 0x3c90, 0x3ca0, 0x3cb0, 0x3cc0,
    0x3cd0, 0x3ce0, 0x3cf0, 0x3d00, 0x3d10, 0x3d20, 0x3d30, 0x3d40, 0x3d50, 0x3d60, 0x3d70, 0x3d80, 0x3d90,
    0x3da0, 0x3db0, 0x3dc0, 0x3dd0, 0x3de0, 0x3df0, 0x3e00, 0x3e10, 0x3e20, 0x3e30, 0x3e40, 0x3e50, 0x3e60,
    0x3e70, 0x3e80, 0x3e90, 0x3ea0, 0x3eb0, 0x3ec0, 0x3ed0, 0x3ee0, 0x3ef0, 0x3f00, 0x3f10, 0x3f20, 0x3f30,
    0x3f40, 0x3f50, 0x3f60, 0x3f70, 0x3f80, 0x3f90, 0x3fa0, 0x3fb0, 0x3fc0, 0x3fd0, 0x3fe0, 0x3ff0, 0x4000,
    0x4010, 0x4020, 0x4030, 0x4040, 0x4050, 0x4060, 0x4070, 0x4080, 0x4090, 0x40a0, 0x40b0, 0x40c0, 0x40d0,
    0x40e0, 0x40f0, 0x4100, 0x4110, 0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170, 0x4180, 0x4190, 0x41a0,
    0x41b0, 0x41c0, 0x41d0, 0x41e0, 0x41f0, 0x4200, 0x4210, 0x4220, 0x4230, 0x4240, 0x4250, 0x4260, 0x4270,
    0x4280, 0x4290, 0x42a0, 0x42b0, 0x42c0, 0x42d0, 0x42e0, 0x42f0, 0x4300, 0x4310, 0x4320, 0x4330, 0x4340,
    0x4350, 0x4360, 0x4370, 0x4380, 0x4390, 0x43a0, 0x43b0, 0x43c0, 0x43d0, 0x43e0, 0x7fc0,
};

/* Low bytes of codes 0 … 63 and 64 … 127, then the high bytes. */
typedef struct pairs_words {
  __m512i table[4];
} pairs_words;

/* Bytes of a 128-entry table; an index's highest bit is not looked at. */
ALWAYS_INLINE __m512i pairs_permute(__m512i index, __m512i low, __m512i high) {
  return _mm512_permutex2var_epi8(low, index, high);
}

ALWAYS_INLINE __m512i pairs_bytes(const uint16_t *from, int shift) {
  const __m512i a = _mm512_srl_epi16(_mm512_loadu_si512(from), _mm_cvtsi32_si128(shift));
  const __m512i b = _mm512_srl_epi16(_mm512_loadu_si512(from + 32), _mm_cvtsi32_si128(shift));
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(a)), _mm512_cvtepi16_epi8(b), 1);
}

ALWAYS_INLINE pairs_words pairs_ready(void) {
  pairs_words p;
  UNROLL
  for (int i = 0; i < 4; i++) p.table[i] = pairs_bytes(pairs_table + 64 * (i % 2), i / 2 * 8);
  return p;
}

/* 64 codes as two vectors of pairs. */
ALWAYS_INLINE void pairs_widen(const pairs_words *p, __m512i codes, __m512i to[2]) {
  const __m512i low = pairs_permute(codes, p->table[0], p->table[1]);
  const __m512i high = _mm512_or_si512(pairs_permute(codes, p->table[2], p->table[3]),
                                       _mm512_and_si512(codes, _mm512_set1_epi8((char)0x80)));
  to[0] = _mm512_unpacklo_epi8(low, high);
  to[1] = _mm512_unpackhi_epi8(low, high);
}

/* 64 codes, or the first `count` and zeros. */
ALWAYS_INLINE __m512i pairs_codes(const uint8_t *from, size_t count) {
  return count >= PAIRS_UNIT ? _mm512_loadu_si512(from) : _mm512_maskz_loadu_epi8(((__mmask64)1 << count) - 1, from);
}

#endif
