/* model/real.h: elementary functions in double precision, the same bits on every machine (the C library's differ).
 *
 * Only additions, multiplications and divisions in a fixed order are used. The error is below 2^-48 of the result
 * (of 1 for sin and cos), so that rounding to FP32 is right but for about one value in 10^7.
 */
#ifndef MODEL_REAL_H
#define MODEL_REAL_H

double real_log(double x);                     /* x finite, normal and > 0 */
double real_pow(double base, double exponent); /* base as for real_log; with the sampler's exp */

/* |x| up to 10^7 radians with the error above; beyond that (far outside any context) it grows with x. */
void real_sin_cos(double x, double *sine, double *cosine);

#endif
