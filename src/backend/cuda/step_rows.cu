/* step_rows.cu: the operations on single rows: embed, rmsnorm, silu_mul, take_rows. */
#include "backend/cuda/step_launch.cuh"
#include "backend/cuda/step_quads.cuh"
#include "backend/cuda/weight_device.cuh"

#define ROW_THREADS 128

/* -- embed: a block for 1024 columns of a row, a thread for 8 */

template <weight_format FORMAT>
static __global__ void embed_kernel(const weight table, const viva_token *tokens, float *out) {
  step_begin_kernel();
  const size_t c = (blockIdx.y * (size_t)ROW_THREADS + threadIdx.x) * WEIGHT_OCTET, row = (size_t)tokens[blockIdx.x];
  if (c >= table.cols) return;
  const float scale = device_row_scale(table, row);
  float v[WEIGHT_OCTET];
  load_octet<FORMAT>(table, row, c, v);
  out += blockIdx.x * table.cols;
  const bool vector = table.cols % 4 == 0 && (size_t)out % 16 == 0;
#pragma unroll
  for (int i = 0; i < WEIGHT_OCTET; i += 4) {
    const float4 quad = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
    const bool whole = vector && c + i < table.cols;
    store_quad(out, c + i, table.cols, whole, FORMAT > WEIGHT_F16 ? quad * scale : quad);
  }
}

int step_embed(step_queue q, const weight *table, const viva_token *tokens, size_t m, float *out) {
  typedef void kernel(const weight, const viva_token *, float *);
  static kernel *const kernels[WEIGHT_FORMATS] = {
      embed_kernel<WEIGHT_F32>,   embed_kernel<WEIGHT_BF16>,    embed_kernel<WEIGHT_F16>,    embed_kernel<WEIGHT_FP8>,
      embed_kernel<WEIGHT_NVFP4>, embed_kernel<WEIGHT_INT8_24>, embed_kernel<WEIGHT_INT4_24>};
  if (m == 0) return cudaSuccess;
  const dim3 grid(step_side(m), (unsigned)step_parts(table->cols, (size_t)ROW_THREADS * WEIGHT_OCTET));
  return step_launch(q, kernels[table->format], grid, ROW_THREADS, *table, tokens, out);
}

/* -- rmsnorm: a warp for each vector of up to 256, a block for a longer one, as many threads as take two quads each.
 * What they hold is not read again, so y may be x. */

struct norm_shape {
  size_t rows, stride, groups, n;
  float eps;
  bool vector; /* quads may be loaded and stored at once */
};

template <bool WARP>
static __global__ void __launch_bounds__(ROW_MOST_THREADS)
    norm_kernel(const float *x, float *y, const norm_shape s, const float *gain) {
  __shared__ float parts[ROW_MOST_WARPS];
  step_begin_kernel();
  const size_t at =
      WARP ? blockIdx.x * (size_t)(ROW_THREADS / STEP_WARP) + threadIdx.x / STEP_WARP : (size_t)blockIdx.x;
  const size_t row = at / s.groups;
  if (row >= s.rows) return; /* whole warps */
  const size_t begin = row * s.stride + at % s.groups * s.n;
  norm_quads<WARP> vector = {{parts}, {x + begin, s.n, s.vector}, s.n, {}};
  vector.load();
  const float scale = norm_scale_of(vector, s.eps);
  vector.each([&](size_t i, float4 v) {
    store_quad(y + begin, i, s.n, s.vector, normed(v, scale, load_quad(gain, i, s.n, s.vector)));
  });
}

int step_rmsnorm(step_queue q, const step_rmsnorm_args *a) {
  if (a->rows == 0) return cudaSuccess;
  const norm_shape s = {.rows = a->rows,
                        .stride = a->stride,
                        .groups = a->groups,
                        .n = a->n,
                        .eps = a->eps,
                        .vector = quads_fit(a->x, a->stride, a->n) && quads_fit(a->y, a->stride, a->n) &&
                                  (size_t)a->gain % 16 == 0};
  const size_t vectors = a->rows * a->groups;
  if (a->n <= NORM_WARP_N) {
    const dim3 grid(step_side(step_parts(vectors, ROW_THREADS / STEP_WARP)));
    return step_launch(q, norm_kernel<true>, grid, ROW_THREADS, a->x, a->y, s, a->gain);
  }
  return step_launch(q, norm_kernel<false>, dim3(step_side(vectors)), norm_threads(a->n), a->x, a->y, s, a->gain);
}

/* -- silu_mul: a thread for each quad */

struct silu_rows {
  const float *gate, *up;
  float *out;
  size_t n, stride;
  bool vector;
};

static __global__ void silu_kernel(const silu_rows s) {
  step_begin_kernel();
  const size_t at = 4 * (blockIdx.y * (size_t)ROW_THREADS + threadIdx.x), row = blockIdx.x;
  const gated_quads gated = {s.gate + row * s.stride, s.up + row * s.stride, s.n, s.vector};
  if (at < s.n) store_quad(s.out + row * s.stride, at, s.n, s.vector, gated.quad(at));
}

int step_silu_mul(step_queue q, const step_silu_args *a) {
  if (a->rows == 0) return cudaSuccess;
  const silu_rows s = {.gate = a->gate,
                       .up = a->up,
                       .out = a->out,
                       .n = a->n,
                       .stride = a->stride,
                       .vector = quads_fit(a->gate, a->stride, a->n) && quads_fit(a->up, a->stride, a->n) &&
                                 quads_fit(a->out, a->stride, a->n)};
  const dim3 grid(step_side(a->rows), (unsigned)step_parts(a->n, (size_t)ROW_THREADS * 4));
  return step_launch(q, silu_kernel, grid, ROW_THREADS, s);
}

/* -- take_rows */

static __global__ void take_kernel(const float *from, const uint32_t *rows, size_t n, size_t stride, bool vector,
                                   float *to) {
  step_begin_kernel();
  const size_t at = 4 * (blockIdx.y * (size_t)ROW_THREADS + threadIdx.x);
  if (at >= n) return;
  store_quad(to + blockIdx.x * stride, at, n, vector, load_quad(from + rows[blockIdx.x] * stride, at, n, vector));
}

int step_take_rows(step_queue q, const float *from, const uint32_t *rows, size_t count, size_t n, size_t stride,
                   float *to) {
  if (count == 0) return cudaSuccess;
  const bool vector = quads_fit(from, stride, n) && quads_fit(to, stride, n);
  const dim3 grid(step_side(count), (unsigned)step_parts(n, (size_t)ROW_THREADS * 4));
  return step_launch(q, take_kernel, grid, ROW_THREADS, from, rows, n, stride, vector, to);
}
