/* tensor/loops_avx512.c: the same loops, compiled for AVX-512: the same bits. */
#include "tensor/ops.h"

#ifdef __AVX512F__

#include "tensor/loops_math_avx512.h"

#define LOOPS loops_avx512
#include "tensor/loops_body.h"

#else

#include <stddef.h>

const loops *loops_avx512(void) { return NULL; }

#endif
