/* backend/cpu/exp.h: the exponential of all kernels: e^x = 2^n · e^r with n = round(x / ln 2), |r| ≤ 0.3466.
 *
 * e^r is Taylor's polynomial of degree 7: the first term left out is r^8/8! ≤ 5.2e-9, a tenth of an ulp. ln 2 is taken
 * away in two parts, the first with 9 bits, so that n · high is exact. Within 2 ulp of e^x on all floats, subnormal
 * results included (tests/backend_cpu/test_rows.c).
 */
#ifndef BACKEND_CPU_EXP_H
#define BACKEND_CPU_EXP_H

#define EXP_LOWEST   (-104.0f) /* e^−104 is below half of the smallest subnormal: 0 */
#define EXP_HIGHEST  89.0f     /* e^89 is above the largest float: infinity */
#define EXP_LOG2_E   1.44269504f
#define EXP_LN2_HIGH 0.693359375f
#define EXP_LN2_LOW  (-2.12194440e-4f)
#define EXP_C2       (1.0f / 2)
#define EXP_C3       (1.0f / 6)
#define EXP_C4       (1.0f / 24)
#define EXP_C5       (1.0f / 120)
#define EXP_C6       (1.0f / 720)
#define EXP_C7       (1.0f / 5040)

#endif
