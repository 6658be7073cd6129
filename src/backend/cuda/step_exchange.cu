/* step_exchange.cu: a thread for two values sends its own, waits for those of the others, adds; or, of large sums, for the word
 * that tells of the whole part, then adds quads in turn. */
#include "backend/cuda/step_exchange.cuh"
#include "backend/cuda/step_launch.cuh"

#define EXCHANGE_THREADS 256
#define EXCHANGE_PAIR    2
#define EXCHANGE_WAITERS 32 /* a thread for each rank */

/* Two words of a rank, once they are there; or what is there when patience ends. */
static __device__ __forceinline__ float2 exchange_await(const uint64_t *from, uint32_t number, uint32_t *failed) {
  exchange_patience patience(failed);
  for (;;) {
    const ulonglong2 words = load_relaxed_system_2(from);
    if (((uint32_t)(words.x >> 32) == number && (uint32_t)(words.y >> 32) == number) || patience.over())
      return make_float2(__uint_as_float((uint32_t)words.x), __uint_as_float((uint32_t)words.y));
  }
}

static __global__ void __launch_bounds__(EXCHANGE_THREADS) exchange_kernel(const step_exchange_args a) {
  step_begin_kernel();
  const size_t at = EXCHANGE_PAIR * (blockIdx.x * (size_t)EXCHANGE_THREADS + threadIdx.x);
  if (at >= a.count) return;
  const bool both = at + 1 < a.count;
  const step_exchange_group &g = a.group;
  const uint32_t number = a.number + (g.base ? load_relaxed(g.base) : 0);
  const float2 own = make_float2(a.x[at], both ? a.x[at + 1] : 0);
  for (int r = 0; r < g.ranks; r++)
    if (r != g.rank)
      store_relaxed_system_2(exchange_place(g, r, g.rank, number) + at, exchange_word(own.x, number),
                             exchange_word(own.y, number));
  float2 sum = make_float2(0, 0);
  for (int r = 0; r < g.ranks; r++) {
    const float2 part = r == g.rank ? own : exchange_await(exchange_place(g, g.rank, r, number) + at, number, g.failed);
    sum = r == 0 ? part : make_float2(__fadd_rn(sum.x, part.x), __fadd_rn(sum.y, part.y));
  }
  a.x[at] = sum.x;
  if (both) a.x[at + 1] = sum.y;
}

int step_exchange(step_queue q, const step_exchange_args *a) {
  if (a->count == 0) return cudaSuccess;
  if (a->count > EXCHANGE_FLOATS || a->group.ranks > EXCHANGE_RANKS) return cudaErrorInvalidValue;
  const dim3 grid(step_side(step_parts(a->count, (size_t)EXCHANGE_THREADS * EXCHANGE_PAIR)));
  return step_launch(q, exchange_kernel, grid, EXCHANGE_THREADS, *a);
}

static __global__ void __launch_bounds__(EXCHANGE_THREADS) exchange_sum_kernel(const step_exchange_sum_args a) {
  step_begin_kernel();
  exchange_await_words(a);
  const size_t first = blockIdx.x * (size_t)EXCHANGE_THREADS + threadIdx.x, all = gridDim.x * (size_t)EXCHANGE_THREADS;
  float4 *x = reinterpret_cast<float4 *>(a.x);
  for (size_t i = first; i < a.count / 4; i += all) x[i] = exchange_sum_quad(a, i);
  for (size_t i = a.count / 4 * 4 + first; i < a.count; i += all) {
    bool begun = a.before;
    float sum = begun ? a.before[i] : 0;
    for (int r = 0; r < a.ranks; r++, begun = true) {
      const float part = r == a.rank ? a.own[i] : __ldcg(a.parts[r] + i);
      sum = begun ? __fadd_rn(sum, part) : part;
    }
    a.x[i] = sum;
  }
}

int step_exchange_sum(step_queue q, const step_exchange_sum_args *a) {
  if (a->count == 0) return cudaSuccess;
  if (a->ranks > EXCHANGE_RANKS || (size_t)a->x % 16 != 0) return cudaErrorInvalidValue;
  const size_t blocks = step_parts(a->count, 4 * (size_t)EXCHANGE_THREADS);
  return step_launch(q, exchange_sum_kernel, dim3((unsigned)(blocks < a->blocks ? blocks : a->blocks)),
                     EXCHANGE_THREADS, *a);
}

static __global__ void __launch_bounds__(EXCHANGE_WAITERS) exchange_wait_kernel(const step_exchange_sum_args a) {
  launch_dependents();
  exchange_await_words(a);
  wait_for_previous();
}

int step_exchange_wait(step_queue q, const step_exchange_sum_args *a) {
  if (a->ranks > EXCHANGE_RANKS) return cudaErrorInvalidValue;
  return step_launch(q, exchange_wait_kernel, dim3(1), EXCHANGE_WAITERS, *a);
}
