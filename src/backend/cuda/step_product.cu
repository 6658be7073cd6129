/* step_product.cu: y = act(x · wᵀ · scales + bias) + residual, any format, any rows, any input: what is right before
 * it is fast, and what F32 weights use.
 *
 *   grid   outputs / 8 × rows / 8;  warp: one row of w and up to 8 rows of x
 *   lane   octets lane, lane + 32 … of K, each decoded once and multiplied with all of the warp's rows of x; its sums
 *          are chains, then a tree over the lanes: an output's bits depend on its row of x and of w alone
 *
 * Weights without a decoding of their own to hide behind (dense ones) read x from L1 or L2 eight times less than w.
 */
#include "backend/cuda/step_launch.cuh"
#include "backend/cuda/step_math.cuh"
#include "backend/cuda/weight_device.cuh"

#define PRODUCT_WARPS 8
#define PRODUCT_ROWS  8 /* of x */

struct product_args {
  weight w;
  const void *x; /* FP32 [m][x_stride], or codes [m][cols] */
  size_t x_stride, m;
  const float *x_scales, *bias, *residual; /* x_scales: [m], NULL for FP32 rows */
  float *y;
  size_t y_stride;
  activation act;
  bool vector; /* an octet of x may be loaded at once */
};

/* -- rows of x as FP32; codes are exact in it */

template <input_mode INPUT> struct product_input {
  typedef int8_t type;
  typedef uint2 load; /* by which an octet is read */
  static __device__ float value(type v) { return (float)v; }
};
template <> struct product_input<INPUT_FLOAT> {
  typedef float type;
  typedef uint4 load;
  static __device__ float value(type v) { return v; }
};
template <> struct product_input<INPUT_E4M3> {
  typedef uint8_t type;
  typedef uint2 load;
  static __device__ float value(type v) { return e4m3_value(v); }
};

template <input_mode INPUT>
static __device__ __forceinline__ void product_octet(const product_args &a, size_t row, size_t c,
                                                     float (&v)[WEIGHT_OCTET]) {
  typedef product_input<INPUT> input;
  typedef typename input::type code;
  typedef typename input::load load;
  const code *from = static_cast<const code *>(a.x) + row * a.x_stride + c;
  __align__(16) code codes[WEIGHT_OCTET];
  if (a.vector) {
#pragma unroll
    for (int i = 0; i < (int)(sizeof codes / sizeof(load)); i++)
      reinterpret_cast<load *>(codes)[i] = reinterpret_cast<const load *>(from)[i];
  } else {
#pragma unroll
    for (int i = 0; i < WEIGHT_OCTET; i++) codes[i] = c + (size_t)i < a.w.cols ? from[i] : code{};
  }
#pragma unroll
  for (int i = 0; i < WEIGHT_OCTET; i++) v[i] = input::value(codes[i]);
}

/* -- sums of a lane: FP32; or, for codes of integers on both sides, integers for each block of columns that has a
 * scale */

template <bool INTEGERS> struct product_sum {
  float sum;
  __device__ void add(const float (&x)[WEIGHT_OCTET], const float (&w)[WEIGHT_OCTET], float, bool) {
#pragma unroll
    for (int i = 0; i < WEIGHT_OCTET; i++) sum = fmaf(x[i], w[i], sum);
  }
  __device__ float total() const { return warp_sum(sum); }
};

template <> struct product_sum<true> {
  int whole; /* w has one scale for the row */
  float sum; /* of octets times their block's scale; of them each is exact: at most 8 · 127 · 127 */
  __device__ void add(const float (&x)[WEIGHT_OCTET], const float (&w)[WEIGHT_OCTET], float scale, bool blocked) {
    int octet = 0;
#pragma unroll
    for (int i = 0; i < WEIGHT_OCTET; i++) octet += (int)x[i] * (int)w[i];
    if (blocked)
      sum = fmaf((float)octet, scale, sum);
    else
      whole += octet;
  }
  __device__ float total() const {
    const int all = (int)__reduce_add_sync(~0u, (unsigned)whole);
    return __fadd_rn((float)all, warp_sum(sum));
  }
};

static __device__ void product_finish(const product_args &a, size_t m, size_t n, float v) {
  if (a.w.format > WEIGHT_F16) v = __fmul_rn(v, device_row_scale(a.w, n));
  if (a.x_scales) v = __fmul_rn(v, a.x_scales[m]);
  if (a.bias) v = __fadd_rn(v, a.bias[n]);
  v = activated(a.act, v);
  if (a.residual) v = __fadd_rn(v, a.residual[m * a.y_stride + n]);
  a.y[m * a.y_stride + n] = v;
}

template <weight_format FORMAT, input_mode INPUT>
static __global__ void __launch_bounds__(PRODUCT_WARPS *STEP_WARP)
    product_kernel(const __grid_constant__ product_args a) {
  constexpr bool INTEGERS = (FORMAT == WEIGHT_INT8_24 || FORMAT == WEIGHT_INT4_24) && INPUT == INPUT_INT8;
  step_begin_kernel();
  const size_t n = blockIdx.x * (size_t)PRODUCT_WARPS + threadIdx.x / STEP_WARP;
  const size_t first = blockIdx.y * (size_t)PRODUCT_ROWS, lane = threadIdx.x % STEP_WARP;
  if (n >= a.w.rows) return; /* whole warps */
  const int rows = a.m - first < PRODUCT_ROWS ? (int)(a.m - first) : PRODUCT_ROWS;
  product_sum<INTEGERS> sums[PRODUCT_ROWS] = {};
  for (size_t c = lane * WEIGHT_OCTET; c < a.w.cols; c += STEP_WARP * WEIGHT_OCTET) {
    float w[WEIGHT_OCTET], scale = 0;
    if (INTEGERS) {
      octet_of<FORMAT>::load(a.w, n, c, w);
      if (a.w.block) scale = device_scale(a.w, n, c / a.w.block);
    } else {
      load_octet<FORMAT>(a.w, n, c, w);
    }
#pragma unroll
    for (int i = 0; i < PRODUCT_ROWS; i++) {
      if (i >= rows) break;
      float x[WEIGHT_OCTET];
      product_octet<INPUT>(a, first + (size_t)i, c, x);
      sums[i].add(x, w, scale, a.w.block != 0);
    }
  }
#pragma unroll
  for (int i = 0; i < PRODUCT_ROWS; i++) {
    if (i >= rows) break;
    const float v = sums[i].total();
    if (lane == 0) product_finish(a, first + (size_t)i, n, v);
  }
}

/* -- launch */

typedef void product_function(const product_args);

template <weight_format FORMAT> static product_function *product_of(input_mode input) {
  if (input == INPUT_FLOAT) return product_kernel<FORMAT, INPUT_FLOAT>;
  return input == INPUT_E4M3 ? product_kernel<FORMAT, INPUT_E4M3> : product_kernel<FORMAT, INPUT_INT8>;
}

static product_function *product_for(weight_format format, input_mode input) {
  switch (format) {
  case WEIGHT_F32: return product_of<WEIGHT_F32>(input);
  case WEIGHT_BF16: return product_of<WEIGHT_BF16>(input);
  case WEIGHT_F16: return product_of<WEIGHT_F16>(input);
  case WEIGHT_FP8: return product_of<WEIGHT_FP8>(input);
  case WEIGHT_NVFP4: return product_of<WEIGHT_NVFP4>(input);
  case WEIGHT_INT8_24: return product_of<WEIGHT_INT8_24>(input);
  default: return product_of<WEIGHT_INT4_24>(input);
  }
}

int step_product(step_queue q, const linear_args *l) {
  const weight *w = l->w;
  if (l->m == 0) return cudaSuccess;
  if (l->act != ACTIVATION_NONE && l->residual) return cudaErrorInvalidValue;
  product_args a = {.w = *w,
                    .x = l->x,
                    .x_stride = l->x_stride,
                    .m = l->m,
                    .x_scales = NULL,
                    .bias = l->bias,
                    .residual = l->residual,
                    .y = l->y,
                    .y_stride = l->y_stride,
                    .act = l->act,
                    .vector = false};
  if (l->input != INPUT_FLOAT) {
    a.x = l->xq;
    a.x_stride = w->cols;
    a.x_scales = step_quantized_scales(l->xq, l->input, l->m, w->cols);
  }
  const size_t element = l->input == INPUT_FLOAT ? sizeof(float) : 1, load = l->input == INPUT_FLOAT ? 16 : 8;
  a.vector = w->cols % WEIGHT_OCTET == 0 && (size_t)a.x % load == 0 && a.x_stride * element % load == 0;
  const dim3 grid(step_side(step_parts(w->rows, PRODUCT_WARPS)), (unsigned)step_parts(l->m, PRODUCT_ROWS));
  return step_launch(q, product_for(w->format, l->input), grid, PRODUCT_WARPS * STEP_WARP, a);
}
