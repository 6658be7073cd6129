/* gemm_launch.cu: queues a product: encodes its boxes, picks the kernel, launches. */
#include <cuda_runtime.h>

#include "backend/cuda/gemm_kernel.cuh"
#include "backend/cuda/gemm_kernels.h"
#include "backend/cuda/gemm_plan.h"
#include "pack/gemv_order.h"

typedef CUresult (*encode_function)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                                    const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                                    CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/* The driver's function, asked of the runtime, so that no program needs libcuda to start. NULL: an older driver. */
static encode_function find_encode(void) {
  void *function = nullptr;
  cudaDriverEntryPointQueryResult found;
  cudaError_t status =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
  return status == cudaSuccess && found == cudaDriverEntryPointSuccess ? (encode_function)function : nullptr;
}

static cudaError_t encode_box(encode_function encode, const gemm_box *box, CUtensorMap *map) {
  static const cuuint32_t every[4] = {1, 1, 1, 1};
  if (box->rank == 0) return cudaSuccess;
  CUtensorMapDataType type = box->element == GEMM_BYTE   ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                             : box->element == GEMM_HALF ? CU_TENSOR_MAP_DATA_TYPE_UINT16
                                                         : CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  CUtensorMapSwizzle swizzle = box->swizzle == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                               : box->swizzle == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                    : CU_TENSOR_MAP_SWIZZLE_NONE;
  static_assert(sizeof(cuuint64_t) == sizeof(uint64_t), "sizes and strides are handed over as they are");
  CUresult result = encode(map, type, (cuuint32_t)box->rank, (void *)box->data, (const cuuint64_t *)box->size,
                           (const cuuint64_t *)box->stride, box->box, every, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                           CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

static gemm_code find_code(const gemm_problem *p) {
  switch (p->kind) {
  case GEMM_FP8_FAST:
  case GEMM_FP8_FULL: return gemm_fp8_code(p->kind, p->act, p->output);
  case GEMM_FP8_F16:
  case GEMM_F16_F16:
  case GEMM_NVFP4_F16: return gemm_f16_code(p->kind, p->act, p->output);
  case GEMM_INT8_24: return gemm_int8_24_code(p->act, p->output);
  default: return {nullptr, 0};
  }
}

/* One part's boxes and numbers; part 0 brings the rows' too. */
static cudaError_t make_part(encode_function encode, const gemm_problem *p, const gemm_operands *o, int part,
                             gemm_maps *maps, gemm_args *args) {
  gemm_boxes boxes;
  gemm_part_maps *to = &maps->parts[part];
  gemm_plan(p, o, &boxes);
  cudaError_t status = part == 0 ? encode_box(encode, &boxes.x, &maps->x) : cudaSuccess;
  if (status == cudaSuccess && part == 0) status = encode_box(encode, &boxes.x_half, &maps->x_half);
  if (status == cudaSuccess && part == 0) status = encode_box(encode, &boxes.x_tail, &maps->x_tail);
  if (status == cudaSuccess) status = encode_box(encode, &boxes.w, &to->w);
  if (status == cudaSuccess) status = encode_box(encode, &boxes.index, &to->index);
  if (status == cudaSuccess) status = encode_box(encode, &boxes.y, &to->y);
  const bool blocks = p->kind == GEMM_NVFP4_F16;
  args->parts[part] = {p->n,
                       gemm_pairs(p),
                       {o->channel_scale, o->up.channel_scale},
                       {o->bias, o->up.bias},
                       o->after_bias,
                       {blocks ? (const uint8_t *)o->index : nullptr, blocks ? (const uint8_t *)o->up.index : nullptr},
                       o->scale,
                       o->adds,
                       (float *)o->y,
                       p->output == GEMM_F16,
                       {(const uint8_t *)o->ordered, (const uint8_t *)o->up.ordered},
                       (p->k + GEMV_RECORD - 1) / GEMV_RECORD};
  return status;
}

int gemm_launch_parts(const gemm_problem *p, const gemm_operands *o, int count, void *stream) {
  if (count < 1 || count > GEMM_MOST_PARTS) return cudaErrorInvalidValue;
  for (int i = 0; i < count; i++)
    if (gemm_refusal(&p[i]) || (p[i].act == GEMM_SWIGLU && !gemm_ups_fit(p[i].kind, &o[i])) ||
        (o[i].adds && p[i].output != GEMM_F32) || !gemm_joins(p, o, &p[i], &o[i]))
      return cudaErrorInvalidValue;
  int device, sms;
  cudaError_t status = cudaGetDevice(&device);
  if (status == cudaSuccess) status = cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, device);
  if (status != cudaSuccess) return status;
  const bool shared = gemm_shared(p, o);
  const gemm_tiles tiles = gemm_tiles_plan(p, count, sms);
  const gemm_code code = shared       ? gemm_few_code(p->kind, p->act, p->m, gemm_ordered(p, o))
                         : tiles.tail ? gemm_tall_code(p->kind, p->act)
                                      : find_code(p);
  encode_function encode = find_encode();
  if (!code.kernel || !encode) return cudaErrorNotSupported;

  gemm_maps maps = {};
  gemm_args args = {};
  args.k = p->k;
  args.row_scale = o->row_scale;
  args.early = 1;
  for (int i = 0; i < count && status == cudaSuccess; i++) {
    args.early &= !o[i].made;
    status = make_part(encode, &p[i], &o[i], i, &maps, &args);
  }
  if (status != cudaSuccess) return status;

  status = cudaFuncSetAttribute(code.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, code.shared_bytes);
  if (status != cudaSuccess) return status;
  args.tiles = tiles;
  args.shares = gemm_shares_plan(p, o, count, sms);
  args.counters = (uint32_t *)o->meet;
  args.sums = shared ? (uint8_t *)o->meet + gemm_meet_zeros(sms) : nullptr;

  cudaLaunchConfig_t config = {};
  config.gridDim = dim3((unsigned)(shared ? GEMM_CLUSTER * args.shares.clusters : gemm_blocks(&args.tiles, sms)));
  config.blockDim = dim3(GEMM_THREADS);
  config.dynamicSmemBytes = (size_t)code.shared_bytes;
  config.stream = (cudaStream_t)stream;
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim.x = GEMM_CLUSTER;
  attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization; /* may start while the kernel before it ends */
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  config.attrs = attributes;
  config.numAttrs = 2;
  void *parameters[] = {&maps, &args};
  return cudaLaunchKernelExC(&config, code.kernel, parameters);
}

int gemm_launch(const gemm_problem *p, const gemm_operands *o, void *stream) {
  return gemm_launch_parts(p, o, 1, stream);
}
