/* tensor/reducers_avx2.c: the same loops, compiled for AVX2: the same bits. */
#include "tensor/reducers.h"

#ifdef __AVX2__

#define REDUCERS reducers_avx2
#include "tensor/reducers_body.h"

#else

const reducers *reducers_avx2(void) { return NULL; }

#endif
