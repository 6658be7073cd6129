/* tensor/few_product.h: the product of two matrices or vectors of few elements, on the stack. */
#ifndef TENSOR_FEW_PRODUCT_H
#define TENSOR_FEW_PRODUCT_H

#include "tensor/few.h"
#include "tensor/gemm.h"

/* The sizes of a product of [m][k] by [k][n], k being axis `shared` of b; 0: it is not one of few elements, or none at all. */
int few_product_fits(const viva_tensor *a, const viva_tensor *b, uint32_t shared, gemm *g);

/* values: of g->type, dtype_product(result), row by row. */
void few_product(const viva_tensor *a, const viva_tensor *b, uint32_t shared, viva_dtype result, gemm *g,
                 few_room *values);

/* Values of this type become the result. */
viva_status few_product_give(goal *to, const viva_tensor *a, const viva_tensor *b, viva_dtype result, const gemm *g,
                             viva_dtype type, const few_room *values, viva_error *error);

#endif
