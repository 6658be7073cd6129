/* backend/cpu/ref.h: what the plain C kernels share. 8 lanes; a product and a sum are two roundings, also where the
 * processor could fuse them. */
#ifndef BACKEND_CPU_REF_H
#define BACKEND_CPU_REF_H

#include "backend/cpu/kernels.h"

#define REF_LANES 8

/* Four lanes that the compiler keeps in one register of any 64-bit processor; the operators are C's. */
typedef float ref_f4 __attribute__((vector_size(16)));

/* The lanes of one sum: 0–3 and 4–7. */
typedef struct ref_lanes {
  ref_f4 low, high;
} ref_lanes;

/* Adds a·b, up to length k, to the lanes of one sum. Between calls k must be a multiple of the lanes. */
void ref_accumulate(const float *a, const float *b, size_t k, ref_lanes *lanes);
float ref_sum(const ref_lanes *lanes); /* lane l to lane l + 4, + 2, + 1 */

/* e^x within 2 ulp; 0 below −104, infinity above 88.7, NaN for NaN. */
float ref_exp(float x);

/* product × scales + bias + residual, in this order; to y. */
void ref_finish(const linear_args *a, const cpu_input *in, float w_scale, size_t row, size_t col, float sum);

/* The 64 codes of the 2:4 block at column col (a multiple of 64), in the order of the columns, with zeros between. */
void ref_sparse_codes(const weight *w, size_t row, size_t col, int8_t codes[SPARSE_24_COLUMNS]);

/* Values times the scales of their blocks. */
void ref_widen_fp8(const weight *w, size_t row, size_t col, float *to, size_t count);

void ref_activate(activation act, float *y, size_t count);
double ref_erf(double v);

void ref_linear(cpu_kernels *k);
void ref_packed(cpu_kernels *k);
void ref_activations(cpu_kernels *k);
void ref_rows(cpu_kernels *k);

#endif
