/* tensor/along.h: the rows of the operations along one axis, and what they are made of. */
#ifndef TENSOR_ALONG_H
#define TENSOR_ALONG_H

#include "tensor/lanes.h"
#include "viva/tensor_algebra.h"

/* One row of each: arg is the row's viva_dtype, F64 or F32 (the running ones: also I64 or U64). */
void along_cumsum(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch);
void along_cumprod(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch);
void along_softmax(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch);
void along_log_softmax(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch);
void along_normalize(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch);
void along_standardize(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch);
void along_minmax_scale(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch);
void along_hadamard(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch);
void along_inverse_hadamard(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch);
void along_normalized_hadamard(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch);

/* Rows of F64 or F32 by the vectors of the table of operations. Places may be the same. */
void row_unary(viva_unary op, viva_dtype type, const char *in, size_t n, char *out);
void row_scalar(viva_binary op, viva_dtype type, const char *in, size_t n, double scalar, char *out);
void row_binary(viva_binary op, viva_dtype type, const char *a, const char *b, size_t n, char *out);
double row_sum(viva_dtype type, const char *in, size_t n);
double row_squares(viva_dtype type, const char *in, size_t n, double shift); /* of (x − shift) */
double row_extreme(viva_dtype type, const char *in, size_t n, int largest);  /* NaN where there is one */

#endif
