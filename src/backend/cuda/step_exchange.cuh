/* step_exchange.cuh: words of step_exchange.h, for its kernel and for persist.cuh's. */
#ifndef CUDA_STEP_EXCHANGE_CUH
#define CUDA_STEP_EXCHANGE_CUH

#include "backend/cuda/ptx.cuh"
#include "backend/cuda/step_exchange.h"

static __device__ __forceinline__ uint64_t exchange_word(float v, uint32_t number) {
  return (uint64_t)number << 32 | __float_as_uint(v);
}

/* Where the words of rank `from` lie in the inbox of rank `to`. */
static __device__ __forceinline__ uint64_t *exchange_place(const step_exchange_group &g, int to, int from,
                                                           uint32_t number) {
  return g.inbox[to] + ((size_t)(number % EXCHANGE_TURNS) * g.ranks + from) * EXCHANGE_FLOATS;
}

/* Ends EXCHANGE_PATIENCE_NS after it began, and at once when it has ended before. */
struct exchange_patience {
  uint64_t end;
  volatile uint32_t *failed;
  uint32_t looks = 0;

  __device__ __forceinline__ explicit exchange_patience(uint32_t *flag)
      : end(nanoseconds() + EXCHANGE_PATIENCE_NS), failed(flag) {}
  /* After a look that found nothing. */
  __device__ __forceinline__ bool over() {
    if (++looks % 1024 != 0 || (nanoseconds() < end && !*failed)) return false;
    *failed = 1;
    return true;
  }
};

#endif
