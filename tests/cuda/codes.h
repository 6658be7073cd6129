/* tests/cuda/codes.h: the decoders of number/number.h by number, as each language compiles them. */
#ifndef TESTS_CUDA_CODES_H
#define TESTS_CUDA_CODES_H

#include "number/number.h"

enum { CODE_E4M3, CODE_E5M2, CODE_E8M0, CODE_E2M1, CODE_INT4, CODE_BF16, CODE_F16, CODE_FORMATS };

/* Codes of a format: all of them are tried. */
NUMBER_SHARED uint32_t codes_of(int format) { return format >= CODE_BF16 ? 65536 : format >= CODE_E2M1 ? 16 : 256; }

/* The bits of the value. */
NUMBER_SHARED uint32_t decode_code(int format, uint32_t code) {
  switch (format) {
  case CODE_E4M3: return f32_bits(e4m3_to_f32((uint8_t)code));
  case CODE_E5M2: return f32_bits(e5m2_to_f32((uint8_t)code));
  case CODE_E8M0: return f32_bits(e8m0_to_f32((uint8_t)code));
  case CODE_E2M1: return f32_bits(e2m1_to_f32((uint8_t)code));
  case CODE_INT4: return (uint32_t)int4_to_int((uint8_t)code);
  case CODE_BF16: return f32_bits(bf16_to_f32((uint16_t)code));
  default: return f32_bits(f16_to_f32((uint16_t)code));
  }
}

#ifdef __cplusplus
extern "C" {
#endif
uint32_t decode_code_in_c(int format, uint32_t code); /* codes.c */
#ifdef __cplusplus
}
#endif
#endif
