/* step_exchange.h: the sum over several GPUs of what each of them made, written into each other's memory.
 *
 * Every rank has an inbox: [EXCHANGE_TURNS][ranks][EXCHANGE_FLOATS] words of 64 bits, zero at first. A word is a value and, in
 * its upper half, the number of the exchange that it belongs to, so whoever reads a word sees by itself whether it is there:
 * one store over the link, no flag, no fence, no barrier.
 *
 * Exchange e uses turn e % 2. A rank writes the words of exchange e + 2 after its kernel of e + 1 has ended, for which every
 * other rank has sent all of e + 1, which it does after its kernel of e has read those of e. In persist.cuh, whose kernel has all
 * exchanges of a step in it: after it has had all words of e + 1, each of which the thread sent that had read the same of e.
 */
#ifndef CUDA_STEP_EXCHANGE_H
#define CUDA_STEP_EXCHANGE_H

#include "backend/cuda/step.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EXCHANGE_TURNS  2
#define EXCHANGE_RANKS  16
#define EXCHANGE_FLOATS ((size_t)1 << 18) /* of one exchange: 16 rows of 16384; 2 MiB of words for each rank and turn */

/* What a rank's kernels know of the others. */
typedef struct step_exchange_group {
  int rank, ranks;
  uint64_t *inbox[EXCHANGE_RANKS]; /* of each rank */
  const uint32_t *base;            /* dev, or NULL: 0; numbers of exchanges are beyond it */
  uint32_t *failed;                /* pinned: set to 1 when a rank did not come within EXCHANGE_PATIENCE_NS */
} step_exchange_group;

typedef struct step_exchange_args {
  step_exchange_group group;
  float *x; /* [count]: the rank's part, then the sum; parts are added in the order of the ranks */
  size_t count;
  uint32_t number; /* of the exchange, beyond *base; never the same twice, 1 at first */
} step_exchange_args;

#define EXCHANGE_PATIENCE_NS 5000000000ull

static inline size_t exchange_inbox_bytes(size_t ranks) {
  return EXCHANGE_TURNS * ranks * EXCHANGE_FLOATS * sizeof(uint64_t);
}

int step_exchange(step_queue q, const step_exchange_args *a);

#ifdef __cplusplus
}
#endif
#endif
