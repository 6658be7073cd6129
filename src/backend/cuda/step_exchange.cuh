/* step_exchange.cuh: words of step_exchange.h, for its kernel and for persist.cuh's. */
#ifndef CUDA_STEP_EXCHANGE_CUH
#define CUDA_STEP_EXCHANGE_CUH

#include "backend/cuda/ptx.cuh"
#include "backend/cuda/step_exchange.h"

static __device__ __forceinline__ uint64_t exchange_word(float v, uint32_t number) {
  return (uint64_t)number << 32 | __float_as_uint(v);
}

static __device__ __forceinline__ float exchange_value(uint64_t word) { return __uint_as_float((uint32_t)word); }

/* Where the words of rank `from` lie in the inbox of rank `to`. */
static __device__ __forceinline__ uint64_t *exchange_place(const step_exchange_group &g, int to, int from,
                                                           uint32_t number) {
  return g.inbox[to] + ((size_t)(number % EXCHANGE_TURNS) * g.ranks + from) * EXCHANGE_FLOATS;
}

/* This rank's value at `at` to all others. */
static __device__ __forceinline__ void exchange_send(const step_exchange_group &g, uint32_t number, size_t at,
                                                     float v) {
  for (int r = 0; r < g.ranks; r++)
    if (r != g.rank) store_relaxed_system(exchange_place(g, r, g.rank, number) + at, exchange_word(v, number));
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

/* -- parts that lie here (step_exchange_sum_args) */

/* Between looks: those of a thousand blocks slow the copy that they wait for (58 us to 344). */
#define EXCHANGE_NAP_NS 256

/* All threads of a block: until the parts that have words are there, or patience ends. */
static __device__ __forceinline__ void exchange_await_words(const step_exchange_sum_args &a) {
  const int r = (int)threadIdx.x;
  if (r < a.ranks && a.words[r]) {
    exchange_patience patience(a.failed);
    while (load_acquire_system(a.words[r]) != a.tick && !patience.over()) __nanosleep(EXCHANGE_NAP_NS);
  }
  __syncthreads();
}

/* Quad number i of the sum. */
static __device__ __forceinline__ float4 exchange_sum_quad(const step_exchange_sum_args &a, size_t i) {
  bool first = !a.before;
  float4 sum = first ? make_float4(0, 0, 0, 0) : __ldcg(reinterpret_cast<const float4 *>(a.before) + i);
  for (int r = 0; r < a.ranks; r++) { /* what another GPU wrote is in L2 */
    const float4 *from = reinterpret_cast<const float4 *>(r == a.rank ? a.own : a.parts[r]);
    const float4 part = __ldcg(from + i);
    sum = first ? part
                : make_float4(__fadd_rn(sum.x, part.x), __fadd_rn(sum.y, part.y), __fadd_rn(sum.z, part.z),
                              __fadd_rn(sum.w, part.w));
    first = false;
  }
  return sum;
}

#endif
