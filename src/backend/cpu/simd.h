/* backend/cpu/simd.h: the vector words of the instruction set that the including file is compiled for. */
#ifndef BACKEND_CPU_SIMD_H
#define BACKEND_CPU_SIMD_H

#if defined(__AVX512F__)
#include "backend/cpu/simd_avx512.h"
#else
#include "backend/cpu/simd_avx2.h"
#endif

#endif
