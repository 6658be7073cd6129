/* own_lab.cuh: random problems for the kernels of src/backend/cuda/gemm.h. */
#ifndef LAB_GEMM_OWN_LAB_CUH
#define LAB_GEMM_OWN_LAB_CUH

#include "lab.cuh"

struct lab_case {
  gemm_problem p;
  gemm_operands o;
};

/* seed 0 is never used twice, so that no two matrices are equal */
inline lab_case make_case(gemm_problem p, bool bias, uint32_t seed) {
  lab_case c = {p, {}};
  size_t rows = (size_t)p.n * (p.act == GEMM_SWIGLU ? 2 : 1), m = p.m, k = p.k;
  gemm_operands &o = c.o;
  switch (p.kind) {
  case GEMM_NVFP4_F16:
    o.x = lab_random<LAB_F16>(m * k, 2, seed);
    o.w = lab_random<LAB_NIBBLES>(rows * k / 2, 1, seed + 1);
    o.index = lab_random<LAB_SCALES_E4M3>(rows * k / 16, 1, seed + 2);
    break;
  case GEMM_INT8_24:
    o.x = lab_random<LAB_INT8>(m * k, 1, seed);
    o.w = lab_random<LAB_INT8>(rows * k / 2, 1, seed + 1);
    o.index = lab_random<LAB_INDEX_24>(rows * k / 8, 1, seed + 2);
    break;
  case GEMM_F16_F16:
    o.x = lab_random<LAB_F16>(m * k, 2, seed);
    o.w = lab_random<LAB_F16>(rows * k, 2, seed + 1);
    break;
  default:
    o.x = p.kind == GEMM_FP8_F16 ? lab_random<LAB_F16>(m * k, 2, seed) : lab_random<LAB_E4M3>(m * k, 1, seed);
    o.w = lab_random<LAB_E4M3>(rows * k, 1, seed + 1);
  }
  o.scale = p.kind == GEMM_NVFP4_F16                           ? 0.01f
            : p.kind == GEMM_FP8_F16                           ? 0.1f
            : p.kind == GEMM_INT8_24 || p.kind == GEMM_F16_F16 ? 10.0f
                                                               : 0.5f;
  o.channel_scale = (float *)lab_random<LAB_SCALES_F32>(rows, 4, seed + 3);
  o.row_scale = (float *)lab_random<LAB_SCALES_F32>(m, 4, seed + 4);
  if (p.kind == GEMM_FP8_F16 || p.kind == GEMM_NVFP4_F16 || p.kind == GEMM_F16_F16) o.row_scale = nullptr;
  if (bias) o.bias = (float *)lab_random<LAB_BIAS>(rows, 4, seed + 5);
  if (p.act == GEMM_SWIGLU) { /* the ups follow the gates */
    const size_t w_row = p.kind == GEMM_NVFP4_F16 || p.kind == GEMM_INT8_24 ? k / 2
                         : p.kind == GEMM_F16_F16                           ? 2 * k
                                                                            : k;
    const size_t index_row = p.kind == GEMM_NVFP4_F16 ? k / 16 : k / 8;
    o.up = {(const char *)o.w + p.n * w_row, o.index ? (const char *)o.index + p.n * index_row : nullptr, nullptr,
            o.channel_scale + p.n, bias ? o.bias + p.n : nullptr};
    if (bias) o.after_bias = (float *)lab_random<LAB_BIAS>(p.n, 4, seed + 6);
  }
  CUDA(cudaMalloc(&o.y, m * p.n * 4));
  return c;
}

inline void end_case(lab_case &c) {
  const void *all[] = {c.o.x, c.o.w, c.o.index, c.o.channel_scale, c.o.row_scale, c.o.bias, c.o.after_bias, c.o.y};
  for (const void *memory : all) CUDA(cudaFree((void *)memory));
}

inline void add_own(std::vector<lab_entry> &entries, const char *name, gemm_problem p, uint32_t seed,
                    std::vector<std::vector<lab_case>> &keep) {
  std::vector<lab_case> cases;
  size_t bytes = (size_t)p.n * p.k * (p.act == GEMM_SWIGLU ? 2 : 1);
  for (size_t i = 0; i < std::max<size_t>(1, (200u << 20) / bytes); i++)
    cases.push_back(make_case(p, true, seed + 8 * i));
  keep.push_back(cases);
  double operations = 2.0 * p.m * p.n * p.k * (p.act == GEMM_SWIGLU ? 2 : 1);
  entries.push_back({name, operations, [cases](int i) {
                       const lab_case &c = cases[i % cases.size()];
                       CUDA(gemm_launch(&c.p, &c.o, nullptr));
                     }});
}

#endif
