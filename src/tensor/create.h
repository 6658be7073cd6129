/* tensor/create.h: tensors of given values. The public calls are in engine/tensors.c, which knows engines. */
#ifndef TENSOR_CREATE_H
#define TENSOR_CREATE_H

#include "tensor/operand.h"
#include "viva/tensor_ops.h"

viva_status create_full(runtime *rt, viva_dtype dtype, uint32_t rank, const uint64_t *shape, double value,
                        viva_tensor **out, viva_error *error);
viva_status create_from_data(runtime *rt, const void *data, size_t bytes, viva_dtype dtype, uint32_t rank,
                             const uint64_t *shape, viva_tensor **out, viva_error *error);
viva_status create_arange(runtime *rt, viva_dtype dtype, double start, double stop, double step, viva_tensor **out,
                          viva_error *error);
viva_status create_linspace(runtime *rt, viva_dtype dtype, double start, double stop, uint64_t count, viva_tensor **out,
                            viva_error *error);
viva_status create_logspace(runtime *rt, viva_dtype dtype, double start, double stop, uint64_t count, double base,
                            viva_tensor **out, viva_error *error);
/* The same to where results go; base 0: linspace, else logspace. */
viva_status create_range(runtime *rt, viva_dtype dtype, double start, double stop, double step, goal *g,
                         viva_error *error);
viva_status create_spaced(runtime *rt, viva_dtype dtype, double start, double stop, uint64_t count, double base,
                          goal *g, viva_error *error);
viva_status create_logspace_to(runtime *rt, viva_dtype dtype, double start, double stop, uint64_t count, double base,
                               goal *g, viva_error *error);
viva_status create_eye(runtime *rt, viva_dtype dtype, uint64_t rows, uint64_t columns, int64_t k, viva_tensor **out,
                       viva_error *error);

/* What the caller gave (NULL: the defaults), complete and checked. */
viva_status create_random_options(viva_random_options *options, const viva_random_options *given, viva_error *error);
/* options: such. */
viva_status create_random(runtime *rt, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                          const viva_random_options *options, viva_tensor **out, viva_error *error);
viva_status create_random_to(runtime *rt, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                             const viva_random_options *options, goal *g, viva_error *error);

/* Numbers [first, first + n) of such a tensor, before they are rounded to its type; first is even. */
void create_random_numbers(const viva_random_options *options, uint64_t first, size_t n, double *values);

#endif
