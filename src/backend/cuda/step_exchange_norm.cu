/* step_exchange_norm.cu: the sum of the ranks' parts and a norm of its rows: a block has a row, in registers from the parts to what
 * the next products read. The bits are those of step_exchange_sum, then step_rmsnorm or step_rmsnorm_codes. */
#include "backend/cuda/step_codes.cuh"
#include "backend/cuda/step_exchange.cuh"
#include "backend/cuda/step_launch.cuh"

static_assert(EXCHANGE_NORM_LEAST == NORM_WARP_N + 1 && EXCHANGE_NORM_MOST == ROW_MOST_THREADS * 4 * NORM_HELD,
              "rows of a block, all of them held");

struct summed_quads {
  const step_exchange_sum_args &a;
  size_t first; /* of the row */

  __device__ float4 quad(size_t at) const {
    const size_t i = (first + at) / 4;
    const float4 sum = exchange_sum_quad(a, i);
    reinterpret_cast<float4 *>(a.x)[i] = sum; /* each is made once: all are held */
    return sum;
  }
};

typedef row_quads<false, NORM_HELD, summed_quads> summed_row;

static __device__ __forceinline__ void sum_begin(const step_exchange_sum_args &a) {
  launch_dependents();
  if (!a.words[a.rank]) wait_for_previous();
  exchange_await_words(a);
}

/* The kernel after this one waits for this one alone, and takes what the one before made. */
static __device__ __forceinline__ void sum_end(const step_exchange_sum_args &a) {
  if (a.words[a.rank] && blockIdx.x + 1 == gridDim.x) wait_for_previous();
}

static __global__ void __launch_bounds__(ROW_MOST_THREADS)
    sum_norm_kernel(const step_exchange_sum_args a, const float *gain, float eps, float *y, size_t n, size_t place) {
  __shared__ float parts[ROW_MOST_WARPS];
  const size_t begin = blockIdx.x * n;
  float *to = y + (place + blockIdx.x) * n;
  sum_begin(a);
  summed_row row = {{parts}, {a, begin}, n, {}};
  row.load();
  const float scale = norm_scale_of(row, eps);
  row.each([&](size_t i, float4 v) { store_quad(to, i, n, true, normed(v, scale, load_quad(gain, i, n, true))); });
  sum_end(a);
}

template <rows_codes TO, bool>
static __global__ void __launch_bounds__(ROW_MOST_THREADS)
    sum_codes_kernel(const step_exchange_sum_args a, const float *gain, float eps, const codes_rows to, size_t place) {
  __shared__ float parts[ROW_MOST_WARPS];
  sum_begin(a);
  summed_row row = {{parts}, {a, blockIdx.x * to.n}, to.n, {}};
  row.load();
  const float scale = norm_scale_of(row, eps);
  row_to_codes<TO>(row, to.of<TO>(place + blockIdx.x),
                   [&](size_t at, float4 v) { return normed(v, scale, load_quad(gain, at, to.n, true)); });
  sum_end(a);
}

int step_exchange_norm(step_queue q, const step_exchange_sum_args *a, const exchange_norm *norm, size_t first) {
  const size_t rows = a->count / norm->n;
  if (step_exchange_norm_refusal(norm) || rows * norm->n != a->count || first + rows > norm->rows ||
      (size_t)a->x % 16 != 0 || (size_t)a->own % 16 != 0)
    return cudaErrorInvalidValue;
  if (rows == 0) return cudaSuccess;
  const dim3 grid(step_side(rows));
  const unsigned threads = norm_threads(norm->n);
  if (norm->mode == INPUT_FLOAT)
    return step_launch(q, sum_norm_kernel, grid, threads, *a, norm->gain, norm->eps, static_cast<float *>(norm->to),
                       norm->n, first);
  return step_launch(q, CODES_KERNEL(sum_codes_kernel, norm->mode, true), grid, threads, *a, norm->gain, norm->eps,
                     codes_rows_of(norm->to, norm->mode, norm->rows, norm->n), first);
}
