/* tensor/dtype.c: the table of promotions, and the kinds of types. */
#include "tensor/dtype.h"

#include <stdint.h>

enum { D = VIVA_F64, F = VIVA_F32, H = VIVA_F16, B = VIVA_BF16, L = VIVA_I64, I = VIVA_I32, S = VIVA_I16 };
enum { C = VIVA_I8, UL = VIVA_U64, UI = VIVA_U32, US = VIVA_U16, UC = VIVA_U8, BO = VIVA_BOOL };

static const uint8_t promoted[DTYPE_COMPUTE - 1][DTYPE_COMPUTE - 1] = {
    /* F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL */
    {D, D, D, D, D, D, D, D, D, D, D, D, D},       /* F64 */
    {D, F, F, F, D, D, F, F, D, D, F, F, F},       /* F32 */
    {D, F, H, F, D, D, F, H, D, D, F, H, H},       /* F16 */
    {D, F, F, B, D, D, F, B, D, D, F, B, B},       /* BF16 */
    {D, D, D, D, L, L, L, L, D, L, L, L, L},       /* I64 */
    {D, D, D, D, L, I, I, I, D, L, I, I, I},       /* I32 */
    {D, F, F, F, L, I, S, S, D, L, I, S, S},       /* I16 */
    {D, F, H, B, L, I, S, C, D, L, I, S, C},       /* I8 */
    {D, D, D, D, D, D, D, D, UL, UL, UL, UL, UL},  /* U64 */
    {D, D, D, D, L, L, L, L, UL, UI, UI, UI, UI},  /* U32 */
    {D, F, F, F, L, I, I, I, UL, UI, US, US, US},  /* U16 */
    {D, F, H, B, L, I, S, S, UL, UI, US, UC, UC},  /* U8 */
    {D, F, H, B, L, I, S, C, UL, UI, US, UC, BO}}; /* BOOL */

viva_dtype dtype_promote(viva_dtype a, viva_dtype b) {
  if (!dtype_is_compute(a) || !dtype_is_compute(b)) return VIVA_DTYPE_NONE;
  return (viva_dtype)promoted[a - VIVA_F64][b - VIVA_F64];
}

viva_dtype dtype_float_of(viva_dtype t) {
  if (dtype_is_float(t)) return t;
  if (t == VIVA_BOOL || t == VIVA_I8 || t == VIVA_U8) return VIVA_F16;
  return t == VIVA_I16 || t == VIVA_U16 ? VIVA_F32 : VIVA_F64;
}

viva_dtype dtype_sum_of(viva_dtype t) {
  if (dtype_is_float(t)) return t;
  return dtype_is_signed(t) || t == VIVA_BOOL ? VIVA_I64 : VIVA_U64;
}
