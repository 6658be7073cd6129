/* tensor/loops_avx2.c: the same loops, compiled for AVX2: the same bits. */
#include "tensor/ops.h"

#ifdef __AVX2__

#include "tensor/loops_math_avx2.h"

#define LOOPS loops_avx2
#include "tensor/loops_body.h"

#else

#include <stddef.h>

const loops *loops_avx2(void) { return NULL; }

#endif
