/* number/math_f64.h: elementary functions in double precision, the same bits on every machine (the C library's differ).
 *
 * Only additions, multiplications and divisions in a fixed order are used. The error is below 2^-48 of the result
 * (of 1 for sin and cos), so that rounding to FP32 is right but for about one value in 10^7.
 */
#ifndef NUMBER_MATH_F64_H
#define NUMBER_MATH_F64_H

/* e^x for x ≤ 0: relative error at most 2^-51; 0 below MATH_EXP_LOWEST, where e^x would be subnormal; exactly 1 for 0. */
double math_exp(double x);
#define MATH_EXP_LOWEST (-708.0)

double math_log(double x);                     /* x finite, normal and > 0 */
double math_pow(double base, double exponent); /* base as for math_log; with the sampler's exp */

/* |x| up to 10^7 radians with the error above; beyond that (far outside any context) it grows with x. */
void math_sin_cos(double x, double *sine, double *cosine);

#endif
