/* backend/cuda/gemv.cu: which kernel runs a problem, and its launch. */
#include "backend/cuda/gemv.h"

#include <type_traits>

#include "backend/cuda/gemv_arguments.cuh"
#include "backend/cuda/gemv_exchange.cuh"
#include "backend/cuda/gemv_together.cuh"
#include "backend/cuda/step_launch.cuh"

/* A kernel whose blocks share tiles. */
typedef struct gemv_form {
  const void *kernel;
  int warps, depth;
  int least, most; /* rows of x */
} gemv_form;

#define GEMV_FORMS 9

/* The kernels of one format, by what x needs. */
typedef struct gemv_kernels {
  const void *resident[4]; /* 1 row, 2 rows, up to 8, up to 16 */
  const void *streamed;
  gemv_form together[GEMV_FORMS]; /* the first that fits is taken */
  int record_most, depth[4], streamed_depth;
} gemv_kernels;

/* TILES: of eight rows of x. */
template <class F, int WARPS, int TILES, int RING> static gemv_form form_of() {
  constexpr int LEAST = TILES > 2 ? 8 * TILES - 7 : 1;
  return {reinterpret_cast<const void *>(gemv_together<F, WARPS, TILES, RING>), WARPS,
          gemv_shared_depth<F, WARPS, TILES, RING>::DEPTH, LEAST, 8 * TILES};
}

/* WIDE: for more than 16 rows, too. */
template <class F, bool WIDE> static void forms_of(gemv_form (&forms)[GEMV_FORMS]) {
  forms[0] = form_of<F, GEMV_MANY_WARPS, 2, GEMV_SHARED_RING_BYTES>();
  forms[1] = form_of<F, GEMV_WARPS, 2, GEMV_SHARED_RING_BYTES>();
  if constexpr (WIDE) {
    forms[2] = form_of<F, GEMV_MANY_WARPS, 3, GEMV_LARGE_RING_BYTES>();
    forms[3] = form_of<F, GEMV_WARPS, 3, GEMV_LARGE_RING_BYTES>();
    forms[4] = form_of<F, GEMV_WARPS, 3, GEMV_SMALL_RING_BYTES>();
    forms[5] = form_of<F, GEMV_MANY_WARPS, 4, GEMV_LARGE_RING_BYTES>();
    forms[6] = form_of<F, GEMV_MANY_WARPS, 4, GEMV_SMALL_RING_BYTES>();
    forms[7] = form_of<F, GEMV_WARPS, 4, GEMV_LARGE_RING_BYTES>();
    forms[8] = form_of<F, GEMV_WARPS, 4, GEMV_SMALL_RING_BYTES>();
  }
}

/* FEW: for 1 or 2 rows. */
template <class F, class FEW = F> static gemv_kernels kernels_of() {
  gemv_kernels k = {};
  k.depth[0] = gemv_depth<FEW, 1>::DEEP;
  k.depth[1] = gemv_depth<FEW, 1>::RESIDENT;
  k.depth[2] = gemv_depth<F, 1>::RESIDENT;
  k.depth[3] = gemv_depth<F, 2>::RESIDENT;
  k.resident[0] = reinterpret_cast<const void *>(gemv_resident<FEW, 1, gemv_depth<FEW, 1>::DEEP>);
  k.resident[1] = reinterpret_cast<const void *>(gemv_resident<FEW, 1, gemv_depth<FEW, 1>::RESIDENT>);
  k.resident[2] = reinterpret_cast<const void *>(gemv_resident<F, 1, gemv_depth<F, 1>::RESIDENT>);
  k.resident[3] = reinterpret_cast<const void *>(gemv_resident<F, 2, gemv_depth<F, 2>::RESIDENT>);
  k.streamed = reinterpret_cast<const void *>(gemv_streamed<F>);
  /* NVFP4's scaled sums take more time than reading: 32 rows at once are 5 % slower than twice 16 */
  forms_of<F, !std::is_same<F, gemv_nvfp4>::value>(k.together);
  k.record_most = F::RECORD;
  k.streamed_depth = gemv_depth<F, 2>::STREAMED;
  return k;
}

static gemv_kernels kernels_for(const weight *w) {
  switch (w->format) {
  case WEIGHT_BF16: return kernels_of<gemv_dense<true>>();
  case WEIGHT_F16: return kernels_of<gemv_dense<false>>();
  case WEIGHT_NVFP4: return kernels_of<gemv_nvfp4, gemv_nvfp4_few>();
  case WEIGHT_INT8_24: return kernels_of<gemv_int8_24>();
  case WEIGHT_FP8: return w->block ? kernels_of<gemv_fp8_blocks>() : kernels_of<gemv_fp8>();
  case WEIGHT_INT4_24: return w->block ? kernels_of<gemv_int4_24<true>>() : kernels_of<gemv_int4_24<false>>();
  default: return {};
  }
}

static int shift_of(int together) { return together == 8 ? 3 : together / 2; } /* of 1, 2, 4, 8 */

/* Clusters of the plan that fit on the device at once. */
static cudaError_t clusters_of(const gemv_plan *plan, int multiprocessors, int *clusters) {
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = (unsigned)plan->together;
  cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3((unsigned)(multiprocessors / plan->together * plan->together));
  config.blockDim = dim3((unsigned)plan->threads);
  config.dynamicSmemBytes = plan->shared_bytes;
  config.attrs = &cluster;
  config.numAttrs = 1;
  return cudaOccupancyMaxActiveClusters(clusters, plan->kernel, &config);
}

/* Which resident kernel takes a problem, and its bytes. */
static int resident_of(const gemv_problem *p, const gemv_kernels *k, size_t shared_most, size_t *bytes) {
  const size_t records = gemv_order_of(&p->w).records;
  int size = p->m <= 2 ? p->m - 1 : p->m <= 8 ? 2 : 3;
  *bytes = gemv_resident_bytes(k->record_most, k->depth[size], records, p->m);
  if (size == 0 && *bytes > shared_most) { /* a smaller ring beside a long x */
    size = 1;
    *bytes = gemv_resident_bytes(k->record_most, k->depth[size], records, p->m);
  }
  return size;
}

/* Whether a form can share the problem's tiles among so many blocks: each warp has a tile of a round's, and a pair of gate and
 * up is of one round. */
static bool form_fits(const gemv_form *form, const gemv_problem *p, int record_most, int together, size_t shared_most,
                      size_t *bytes) {
  const size_t records = gemv_order_of(&p->w).records;
  const int beside = gemv_beside(form->warps, shift_of(together));
  *bytes = gemv_together_bytes(record_most, form->warps, form->depth, records, p->m, shift_of(together));
  if (p->m < form->least || p->m > form->most) return false;
  if (beside * GEMV_WARPS != form->warps * together || (p->activation == GEMV_SWIGLU && beside % 2)) return false;
  return *bytes <= shared_most;
}

/* Whether blocks share tiles: of 9 rows and more, or where one block has no room for all of x, if the device has clusters
 * and a block's part of x leaves room. */
static cudaError_t plan_together(const gemv_problem *p, const gemv_kernels *k, int multiprocessors, size_t shared_most,
                                 gemv_plan *plan) {
  cudaFuncAttributes has;
  cudaError_t status = cudaFuncGetAttributes(&has, k->together[0].kernel);
  size_t alone = 0, bytes;
  if (p->m <= GEMV_SURE_ROWS) resident_of(p, k, shared_most, &alone);
  if (status != cudaSuccess || has.binaryVersion < 90 || (p->m <= 8 && alone <= shared_most)) return status;
  for (int together = 2; together <= (p->m <= GEMV_SURE_ROWS ? 4 : 8); together *= 2)
    for (int i = 0; i < GEMV_FORMS; i++) {
      const gemv_form *form = &k->together[i];
      if (!form_fits(form, p, k->record_most, together, shared_most, &bytes)) continue;
      gemv_plan shared = {};
      int clusters = 0;
      shared.kernel = form->kernel;
      shared.threads = form->warps * GEMV_LANES;
      shared.together = together;
      shared.shared_bytes = bytes < GEMV_LEAST_BYTES ? GEMV_LEAST_BYTES : bytes;
      status = gemv_allow_shared(shared.kernel, shared_most);
      if (status == cudaSuccess) status = clusters_of(&shared, multiprocessors, &clusters);
      if (status != cudaSuccess) return status;
      const size_t units = p->activation == GEMV_SWIGLU ? gemv_tiles(p) / 2 : gemv_tiles(p);
      shared.blocks = together * (units < (size_t)clusters ? (int)units : clusters);
      if (clusters) *plan = shared;
      return cudaSuccess;
    }
  return cudaSuccess;
}

cudaError_t gemv_plan_make(const gemv_problem *p, int multiprocessors, size_t shared_most, gemv_plan *plan) {
  const gemv_kernels k = kernels_for(&p->w);
  const gemv_order o = gemv_order_of(&p->w);
  *plan = {};
  if (!k.resident[0] || p->m < 1 || p->m > GEMV_MOST_ROWS || (int)o.record_bytes > k.record_most)
    return cudaErrorInvalidValue;
  if (p->part_count < 1 || p->part_count > GEMV_MOST_PARTS) return cudaErrorInvalidValue;
  if (p->activation == GEMV_SWIGLU && (p->part_count != 2 || p->parts[0].rows != p->parts[1].rows))
    return cudaErrorInvalidValue;
  const cudaError_t shared = plan_together(p, &k, multiprocessors, shared_most, plan);
  if (shared != cudaSuccess || plan->kernel || p->m > GEMV_SURE_ROWS) return shared;
  plan->together = 1;
  plan->threads = GEMV_THREADS;
  size_t resident;
  const int size = resident_of(p, &k, shared_most, &resident);
  if (resident <= shared_most) {
    plan->kernel = k.resident[size];
    plan->shared_bytes = resident < GEMV_LEAST_BYTES && GEMV_LEAST_BYTES <= shared_most ? GEMV_LEAST_BYTES : resident;
    plan->norms = p->m == 1; /* of more, every block would read all rows: 6 µs for 8, 20 for 16 */
  } else {
    plan->kernel = k.streamed;
    plan->shared_bytes = gemv_streamed_bytes(k.record_most, k.streamed_depth, p->m);
  }
  /* One on every multiprocessor, even where fewer would have equal work: on one that is left idle the kernel after this one
   * would put two of its blocks. */
  const size_t units = p->activation == GEMV_SWIGLU ? gemv_tiles(p) / 2 : gemv_tiles(p);
  plan->blocks = units < (size_t)multiprocessors ? (int)units : multiprocessors;
  return gemv_allow_shared(plan->kernel, shared_most);
}

cudaError_t gemv_norm_rows(const gemv_norm *norm, int m, int k, uint16_t *rows, int dependent, cudaStream_t stream) {
  const step_queue q = {stream, dependent};
  return (cudaError_t)step_launch(q, gemv_norm_kernel, dim3((unsigned)m), GEMV_THREADS, *norm, k,
                                  reinterpret_cast<uint4 *>(rows));
}

cudaError_t gemv_exchange_rows(const gemv_norm *norm, const step_exchange_args *e, int m, int k, uint16_t *rows,
                               int dependent, cudaStream_t stream) {
  const step_queue q = {stream, dependent};
  const bool held = k <= GEMV_HELD * GEMV_THREADS * GEMV_PIECE;
  if ((size_t)m * k > EXCHANGE_FLOATS || norm->stride != (size_t)k || k % GEMV_PIECE) return cudaErrorInvalidValue;
  return (cudaError_t)step_launch(q, held ? gemv_exchange_kernel<true> : gemv_exchange_kernel<false>, dim3((unsigned)m),
                                  GEMV_THREADS, *norm, *e, k, reinterpret_cast<uint4 *>(rows));
}

cudaError_t gemv_launch(const gemv_problem *p, const gemv_plan *plan, cudaStream_t stream) {
  gemv_args a = gemv_arguments(p);
  if (!plan->norms) a.norm.x = nullptr;
  const int clusters = plan->blocks / plan->together;
  const uint64_t units = (uint64_t)(p->activation == GEMV_SWIGLU ? a.tiles / 2 : a.tiles);
  a.together_shift = shift_of(plan->together);
  a.share = ((units << 32) + clusters - 1) / clusters;
  gemv_send send = p->send;
  void *arguments[] = {&a, &send};
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config = {};
  if (plan->dependent) {
    attributes[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (plan->together > 1) {
    attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
    attributes[config.numAttrs].val.clusterDim.x = (unsigned)plan->together;
    attributes[config.numAttrs].val.clusterDim.y = attributes[config.numAttrs].val.clusterDim.z = 1;
    config.numAttrs++;
  }
  config.gridDim = dim3((unsigned)plan->blocks);
  config.blockDim = dim3((unsigned)plan->threads);
  config.dynamicSmemBytes = plan->shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  return cudaLaunchKernelExC(&config, plan->kernel, arguments);
}
