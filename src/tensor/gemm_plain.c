/* tensor/gemm_plain.c: our own products for any processor. */
#define GEMM_BLOCK gemm_block_plain
#include "tensor/gemm_body.h"
