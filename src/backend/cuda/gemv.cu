/* backend/cuda/gemv.cu: which kernel runs a problem, and its launch. */
#include "backend/cuda/gemv.h"

#include "backend/cuda/gemv_kernel.cuh"

/* The kernels of one format, by what x needs. */
typedef struct gemv_kernels {
  const void *resident[2]; /* up to 8 rows, up to 16 */
  const void *streamed;
  const void *few; /* 1 or 2 rows, NULL: resident[0] */
  int record_most, depth[2], streamed_depth;
} gemv_kernels;

template <class F> static gemv_kernels kernels_of() {
  gemv_kernels k = {};
  k.resident[0] = reinterpret_cast<const void *>(gemv_resident<F, 1>);
  k.resident[1] = reinterpret_cast<const void *>(gemv_resident<F, 2>);
  k.streamed = reinterpret_cast<const void *>(gemv_streamed<F>);
  k.record_most = F::RECORD;
  k.depth[0] = gemv_depth<F, 1>::RESIDENT;
  k.depth[1] = gemv_depth<F, 2>::RESIDENT;
  k.streamed_depth = gemv_depth<F, 2>::STREAMED;
  return k;
}

static gemv_kernels nvfp4_kernels() {
  gemv_kernels k = kernels_of<gemv_nvfp4>();
  k.few = reinterpret_cast<const void *>(gemv_resident<gemv_nvfp4_few, 1>);
  return k;
}

static gemv_kernels kernels_for(const weight *w) {
  switch (w->format) {
  case WEIGHT_BF16: return kernels_of<gemv_dense<true>>();
  case WEIGHT_F16: return kernels_of<gemv_dense<false>>();
  case WEIGHT_NVFP4: return nvfp4_kernels();
  case WEIGHT_INT8_24: return kernels_of<gemv_int8_24>();
  case WEIGHT_FP8: return w->block ? kernels_of<gemv_fp8_blocks>() : kernels_of<gemv_fp8>();
  case WEIGHT_INT4_24: return w->block ? kernels_of<gemv_int4_24<true>>() : kernels_of<gemv_int4_24<false>>();
  default: return {};
  }
}

cudaError_t gemv_plan_make(const gemv_problem *p, int multiprocessors, size_t shared_most, gemv_plan *plan) {
  const gemv_kernels k = kernels_for(&p->w);
  const gemv_order o = gemv_order_of(&p->w);
  *plan = {};
  if (!k.resident[0] || p->m < 1 || p->m > GEMV_MOST_ROWS || (int)o.record_bytes > k.record_most)
    return cudaErrorInvalidValue;
  const int wide = p->m > 8; /* two column tiles of x */
  const size_t resident = gemv_resident_bytes(k.record_most, k.depth[wide], o.records, p->m);
  if (resident <= shared_most) {
    plan->kernel = k.few && p->m <= 2 ? k.few : k.resident[wide];
    plan->shared_bytes = resident;
  } else {
    plan->kernel = k.streamed;
    plan->shared_bytes = gemv_streamed_bytes(k.record_most, k.streamed_depth, p->m);
  }
  /* One on every multiprocessor, even where fewer would have equal work: on one that is left idle the kernel after this one
   * would put two of its blocks. */
  plan->blocks = o.tiles < (size_t)multiprocessors ? (int)o.tiles : multiprocessors;
  return cudaFuncSetAttribute(plan->kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)plan->shared_bytes);
}

cudaError_t gemv_launch(const gemv_problem *p, const gemv_plan *plan, cudaStream_t stream) {
  const gemv_order o = gemv_order_of(&p->w);
  gemv_args a = {};
  a.w = static_cast<const uint8_t *>(p->ordered);
  a.row_scales = reinterpret_cast<const float *>(a.w + o.row_scales_offset);
  a.x = reinterpret_cast<const __half *>(p->x);
  a.x_scales = p->x_scales;
  a.bias = p->bias;
  a.residual = p->residual;
  a.y = p->y;
  a.x_stride = p->x_stride;
  a.y_stride = p->y_stride;
  a.m = p->m;
  a.n = (int)p->w.rows;
  a.k = (int)p->w.cols;
  a.tiles = (int)o.tiles;
  a.records = (int)o.records;
  a.pairs = p->w.pairs;
  a.record_bytes = (int)o.record_bytes;
  while (1u << a.block_shift < p->w.block) a.block_shift++;
  a.type = p->w.scales_type;
  a.activation = p->activation;
  a.output = p->output;
  void *arguments[] = {&a};
  cudaLaunchAttribute dependent = {};
  dependent.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  dependent.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3((unsigned)plan->blocks);
  config.blockDim = dim3(GEMV_THREADS);
  config.dynamicSmemBytes = plan->shared_bytes;
  config.stream = stream;
  config.attrs = &dependent;
  config.numAttrs = plan->dependent ? 1 : 0;
  return cudaLaunchKernelExC(&config, plan->kernel, arguments);
}
