/* backend/cpu/attention_work.h: what the files of the tuned attention share. */
#ifndef BACKEND_CPU_ATTENTION_WORK_H
#define BACKEND_CPU_ATTENTION_WORK_H

#include "backend/cpu/few_simd.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd.h"

/* The parts of a thread's scratch (CPU_ATTEND_FLOATS), [queries] by row and then head. */
typedef struct attend_work {
  size_t dim, padded; /* head_dim, and that up to a multiple of the lanes */
  size_t queries;
  float *q;                     /* [queries][padded], times scale, zero where padded */
  float *chunk_sums, *row_sums; /* [queries][padded] */
  float *k, *v;                 /* [CPU_KV_BLOCK][padded], zero where padded */
  float *scores;                /* [queries][CPU_KV_BLOCK]; then the weights */
  softmax_state *chunk_state, *row_state;
} attend_work;

/* Positions within a block. */
typedef struct block_range {
  size_t begin, end;
} block_range;

/* Keys or values of one block as they lie in memory: position 0 is the block's. */
typedef struct block_rows {
  weight_format format;
  const char *from;
  const float *factors; /* FP8: of each position, what its codes are multiplied with (attention_fp8.h); else NULL */
  const char *next;     /* of the following block, which is asked for meanwhile; NULL: this is the last */
  size_t stride;        /* bytes */
  int cold;             /* nothing of this block was asked for yet */
} block_rows;

ALWAYS_INLINE void ask_for(const char *from, size_t bytes) {
  for (size_t line = 0; line < bytes; line += LINE) __builtin_prefetch(from + line, 0, 3);
}

/* The two halves of a block's work, for a number of queries and a format. */
typedef struct attend_pair {
  void (*score)(const attend_work *w, size_t query, const block_rows *keys, const block_rows *values, block_range in);
  void (*weigh)(const attend_work *w, size_t query, const block_rows *values, block_range in, const float *shrink);
} attend_pair;

#endif
