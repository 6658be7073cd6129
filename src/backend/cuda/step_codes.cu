/* step_codes.cu: rmsnorm and silu_mul whose rows are wanted as codes only: a block has a row, in registers from what it is
 * made of to its codes, and memory is read once and written once.
 *
 *   quads of the row ──► largest magnitude of the block ──► scale ──► codes, four at once
 *
 * The bits are those of step_rmsnorm or step_silu_mul followed by step_quantize_rows: the same sums in the same order, the
 * same quotients.
 */
#include "backend/cuda/step_codes.cuh"
#include "backend/cuda/step_launch.cuh"

/* Quads of a thread: rows of 14336 and 28672 in blocks of 512 and 1024 threads, with the registers that those have. */
#define GATED_HELD  7
#define GATED_LEAST 128 /* threads */

/* -- rmsnorm */

/* VECTOR: 16-byte loads are allowed. */
template <rows_codes TO, bool VECTOR>
static __global__ void __launch_bounds__(ROW_MOST_THREADS)
    norm_codes_kernel(const float *x, const float *gain, float eps, const codes_rows to) {
  __shared__ float parts[ROW_MOST_WARPS];
  step_begin_kernel();
  norm_quads<false> row = {{parts}, {x + blockIdx.x * to.n, to.n, VECTOR}, to.n, {}};
  row.load();
  const float scale = norm_scale_of(row, eps);
  row_to_codes<TO>(row, to.of<TO>(blockIdx.x),
                   [&](size_t at, float4 v) { return normed(v, scale, load_quad(gain, at, to.n, VECTOR)); });
}

int step_rmsnorm_codes(step_queue q, const step_rmsnorm_args *a, input_mode mode, void *to) {
  if (mode == INPUT_FLOAT || a->groups != 1 || a->stride != a->n) return cudaErrorInvalidValue;
  if (a->rows == 0) return cudaSuccess;
  const bool vector = quads_fit(a->x, a->stride, a->n) && (size_t)a->gain % 16 == 0;
  /* a warp adds up a short vector as step_rmsnorm's warps do */
  const unsigned threads = a->n <= NORM_WARP_N ? STEP_WARP : norm_threads(a->n);
  auto *kernel = vector ? CODES_KERNEL(norm_codes_kernel, mode, true) : CODES_KERNEL(norm_codes_kernel, mode, false);
  return step_launch(q, kernel, dim3(step_side(a->rows)), threads, a->x, a->gain, a->eps,
                     codes_rows_of(to, mode, a->rows, a->n));
}

/* -- silu(gate) · up */

template <rows_codes TO, bool VECTOR>
static __global__ void __launch_bounds__(ROW_MOST_THREADS)
    gated_codes_kernel(const float *gate, const float *up, size_t stride, const codes_rows to) {
  step_begin_kernel();
  const size_t begin = blockIdx.x * stride;
  row_quads<false, GATED_HELD, gated_quads> row = {{NULL}, {gate + begin, up + begin, to.n, VECTOR}, to.n, {}};
  row.load();
  row_to_codes<TO>(row, to.of<TO>(blockIdx.x), [](size_t, float4 v) { return v; });
}

int step_silu_codes(step_queue q, const step_silu_args *a, input_mode mode, void *to) {
  if (mode == INPUT_FLOAT) return cudaErrorInvalidValue;
  if (a->rows == 0) return cudaSuccess;
  const bool vector = quads_fit(a->gate, a->stride, a->n) && quads_fit(a->up, a->stride, a->n);
  unsigned threads = GATED_LEAST;
  while (threads < ROW_MOST_THREADS && threads * 4 * GATED_HELD < a->n) threads *= 2;
  auto *kernel = vector ? CODES_KERNEL(gated_codes_kernel, mode, true) : CODES_KERNEL(gated_codes_kernel, mode, false);
  return step_launch(q, kernel, dim3(step_side(a->rows)), threads, a->gate, a->up, a->stride,
                     codes_rows_of(to, mode, a->rows, a->n));
}
