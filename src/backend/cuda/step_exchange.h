/* step_exchange.h: the sum over several GPUs of what each of them made, written into each other's memory.
 *
 * Every rank has an inbox: [EXCHANGE_TURNS][ranks][EXCHANGE_FLOATS] words of 64 bits, zero at first. A word is a value and, in
 * its upper half, the number of the exchange that it belongs to, so whoever reads a word sees by itself whether it is there:
 * one store over the link, no flag, no fence, no barrier.
 *
 * Exchange e uses turn e % 2. A rank writes the words of exchange e + 2 after its kernel of e + 1 has ended, for which every
 * other rank has sent all of e + 1, which it does after its kernel of e has read those of e. So it is where a product sends
 * what it makes (gemv.h) and a later kernel takes the words. In persist.cuh, whose kernel has all exchanges of a step in it:
 * after it has had all words of e + 1, each of which the thread sent that had read the same of e.
 */
#ifndef CUDA_STEP_EXCHANGE_H
#define CUDA_STEP_EXCHANGE_H

#include "backend/cuda/step.h"
#include "backend/exchange.h"

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
  uint32_t *failed;                /* pinned: 1 once a rank did not come within EXCHANGE_PATIENCE_NS, or gave up */
} step_exchange_group;

typedef struct step_exchange_args {
  step_exchange_group group;
  float *x; /* [count]: the rank's part, then the sum; parts are added in the order of the ranks */
  size_t count;
  uint32_t number; /* of the exchange, beyond *base; never the same twice, 1 at first */
} step_exchange_args;

/* Parts of all other ranks lie in this GPU's memory, each as soon as its word is `tick`: cuda_copies.h brings them. */
typedef struct step_exchange_sum_args {
  int rank, ranks;
  float *x;            /* [count]: the sum; parts are added in the order of the ranks */
  const float *own;    /* [count]: the rank's part; it may be x */
  const float *before; /* [count], or NULL: what the first part is added to; it may be x */
  size_t count;
  const float *parts[EXCHANGE_RANKS];
  const uint32_t *words[EXCHANGE_RANKS]; /* [rank] NULL: `own` is there once the kernel before has ended */
  uint32_t tick;
  uint32_t *failed;
  size_t blocks; /* as many as the GPU holds at once */
} step_exchange_sum_args;

#define EXCHANGE_PATIENCE_NS 5000000000ull

static inline size_t exchange_inbox_bytes(size_t ranks) {
  return EXCHANGE_TURNS * ranks * EXCHANGE_FLOATS * sizeof(uint64_t);
}

int step_exchange(step_queue q, const step_exchange_args *a);
int step_exchange_sum(step_queue q, const step_exchange_sum_args *a);

/* The sum and a norm of its rows in one pass; the bits are those of both, one after the other. The sum's rows are `norm`'s from
 * `first` on. With words[rank] it does not wait for the kernel before, but fills what multiprocessors that leaves; it ends
 * after that one. */
int step_exchange_norm(step_queue q, const step_exchange_sum_args *a, const exchange_norm *norm, size_t first);

/* Nothing but the waiting for the others' words. */
int step_exchange_wait(step_queue q, const step_exchange_sum_args *a);

#define EXCHANGE_NORM_LEAST 257  /* of a row: a warp has a shorter one */
#define EXCHANGE_NORM_MOST  8192 /* what a block has in registers */

/* What it does not do, or NULL. */
static inline const char *step_exchange_norm_refusal(const exchange_norm *norm) {
  if (norm->n % 4 != 0 || (size_t)norm->gain % 16 != 0 || (size_t)norm->to % 16 != 0) return "rows of whole quads";
  if (norm->n < EXCHANGE_NORM_LEAST || norm->n > EXCHANGE_NORM_MOST) return "rows of 257 to 8192 numbers";
  return NULL;
}

#ifdef __cplusplus
}
#endif
#endif
