/* backend/cpu/exp_simd.h: exp.h in vectors. */
#ifndef BACKEND_CPU_EXP_SIMD_H
#define BACKEND_CPU_EXP_SIMD_H

#include "backend/cpu/exp.h"
#include "backend/cpu/simd.h"

ALWAYS_INLINE vf v_exp(vf x) {
  x = v_min(v_set(EXP_HIGHEST), v_max(v_set(EXP_LOWEST), x)); /* NaN passes: see v_max */
  const vf n = v_round(v_mul(x, v_set(EXP_LOG2_E)));
  vf r = v_fma(n, v_set(-EXP_LN2_HIGH), x);
  r = v_fma(n, v_set(-EXP_LN2_LOW), r);
  vf p = v_set(EXP_C7);
  p = v_fma(p, r, v_set(EXP_C6));
  p = v_fma(p, r, v_set(EXP_C5));
  p = v_fma(p, r, v_set(EXP_C4));
  p = v_fma(p, r, v_set(EXP_C3));
  p = v_fma(p, r, v_set(EXP_C2));
  p = v_fma(p, r, v_set(1.0f));
  p = v_fma(p, r, v_set(1.0f));
  return v_scale2(p, n);
}

#endif
