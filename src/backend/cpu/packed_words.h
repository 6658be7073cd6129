/* backend/cpu/packed_words.h: the words for packed blocks of the instruction set that the including file is compiled for. */
#ifndef BACKEND_CPU_PACKED_WORDS_H
#define BACKEND_CPU_PACKED_WORDS_H

#if defined(__AVX512F__)
#include "backend/cpu/packed_avx512.h"
#else
#include "backend/cpu/packed_avx2.h"
#endif

#endif
