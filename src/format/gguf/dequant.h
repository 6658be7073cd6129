/* format/gguf/dequant.h: decoding of stored values to FP32, as dequant_fn says. The plain C functions are the definition;
 * their AVX2 variants give the same bits. A NaN stays a NaN, but which one is not defined (it is not in the reference
 * either).
 */
#ifndef FORMAT_GGUF_DEQUANT_H
#define FORMAT_GGUF_DEQUANT_H

#include "format/types.h"

/* dequant_plain.c */
void dequant_f64(const void *from, float *to, size_t count); /* rounded to nearest */
void dequant_f32(const void *from, float *to, size_t count);
void dequant_f16(const void *from, float *to, size_t count);
void dequant_bf16(const void *from, float *to, size_t count);
void dequant_e4m3(const void *from, float *to, size_t count);
void dequant_e5m2(const void *from, float *to, size_t count);
void dequant_e8m0(const void *from, float *to, size_t count);
void dequant_e2m1(const void *from, float *to, size_t count); /* two to a byte, first in the low half */

/* dequant_32.c: blocks of 32, and NVFP4 */
void dequant_q4_0(const void *from, float *to, size_t count);
void dequant_q4_1(const void *from, float *to, size_t count);
void dequant_q5_0(const void *from, float *to, size_t count);
void dequant_q5_1(const void *from, float *to, size_t count);
void dequant_q8_0(const void *from, float *to, size_t count);
void dequant_iq4_nl(const void *from, float *to, size_t count);
void dequant_mxfp4(const void *from, float *to, size_t count);
void dequant_nvfp4(const void *from, float *to, size_t count);

/* dequant_k.c: blocks of 256 */
void dequant_q2_k(const void *from, float *to, size_t count);
void dequant_q3_k(const void *from, float *to, size_t count);
void dequant_q4_k(const void *from, float *to, size_t count);
void dequant_q5_k(const void *from, float *to, size_t count);
void dequant_q6_k(const void *from, float *to, size_t count);
void dequant_iq4_xs(const void *from, float *to, size_t count);

/* dequant_avx2.c. NULL: no variant for this type, or not built for x86-64. */
dequant_fn dequant_avx2(file_type type);

#endif
