/* lt_lab.cuh: cuBLASLt as a peer: each product with the fastest of the algorithms that it proposes, found here. */
#ifndef LAB_GEMM_LT_LAB_CUH
#define LAB_GEMM_LT_LAB_CUH

#include "backend/cuda/lt_product.h"
#include "lab.cuh"

#define LT_WORKSPACE ((size_t)64 << 20)

static lt_library lt_lab;

#define VIVA(call)                                                                                                     \
  do {                                                                                                                 \
    viva_error error_ = {};                                                                                            \
    if ((call) != VIVA_OK) {                                                                                           \
      printf("%s:%d: %s\n", __FILE__, __LINE__, error_.message);                                                       \
      exit(1);                                                                                                         \
    }                                                                                                                  \
  } while (0)

inline void lt_start() {
  VIVA(lt_library_open(&library_loader_system, &lt_lab, &error_));
  printf("cuBLASLt %zu\n", lt_lab.version);
}

struct lt_case {
  lt_problem p;
  lt_product product;
  lt_operands o;
  std::vector<void *> weights;
};

inline float lt_time(lt_case *c, int repeats) {
  std::vector<lab_entry> one(1);
  one[0] = {"", 0, [c](int) { lt_product_run(&lt_lab, &c->product, &c->o, nullptr, nullptr); }, {}};
  lab_time(one, repeats);
  return one[0].median();
}

/* For products with outer scales the library proposes one algorithm only. Its relatives: every tile, cluster and
 * variant that it proposes for the bare product, put together; most are refused. */
inline std::vector<lt_algorithm> lt_relatives(const lt_algorithm &of) {
  const uint32_t tiles[] = {20, 21, 22, 23, 24, 184, 201, 248}, clusters[] = {2, 3, 4, 5};
  std::vector<lt_algorithm> all;
  for (uint32_t tile : tiles)
    for (uint32_t cluster : clusters)
      for (uint32_t custom = 0; custom < 9; custom++) {
        lt_algorithm a = of;
        a.tile = tile, a.cluster = cluster, a.custom = custom;
        all.push_back(a);
      }
  return all;
}

/* Leaves the fastest algorithm in c; a row of each proposal goes to csv. */
inline bool lt_search(lt_case *c, FILE *csv) {
  viva_error error = {};
  if (lt_product_make(&lt_lab, &c->p, nullptr, LT_WORKSPACE, &c->product, &error) != VIVA_OK) {
    printf("  %s\n", error.message);
    return false;
  }
  std::vector<lt_algorithm> proposals(24);
  proposals.resize(lt_product_proposals(&lt_lab, &c->product, LT_WORKSPACE, 24, proposals.data()));
  if (c->p.scales == LT_SCALES_OUTER && proposals.size())
    for (const lt_algorithm &a : lt_relatives(proposals[0])) proposals.push_back(a);
  int count = (int)proposals.size(), best = -1;
  float best_time = 0;
  for (int i = 0; i < count; i++) {
    lt_product_end(&lt_lab, &c->product);
    VIVA(lt_product_make(&lt_lab, &c->p, &proposals[i], LT_WORKSPACE, &c->product, &error_));
    lt_algorithm a = lt_product_algorithm(&lt_lab, &c->product);
    if (memcmp(&a, &proposals[i], sizeof a) != 0) continue; /* refused */
    float time = lt_product_run(&lt_lab, &c->product, &c->o, nullptr, nullptr) == VIVA_OK ? lt_time(c, 5) : NAN;
    if (csv) {
      fprintf(csv, "algorithm,%d %d %d %d %d %d,%d %d %d,{%d %u %u %u %u %u %u %u %u},1,%.2f\n", c->p.input,
              c->p.output, c->p.scales, c->p.full, c->p.bias, c->p.gelu, c->p.m, c->p.n, c->p.k, a.id, a.tile, a.stages,
              a.split_k, a.reduction, a.swizzle, a.custom, a.inner, a.cluster, time * 1e3);
    }
    if (best < 0 || time < best_time) best = i, best_time = time;
  }
  if (best < 0) return false;
  lt_product_end(&lt_lab, &c->product);
  VIVA(lt_product_make(&lt_lab, &c->p, &proposals[best], LT_WORKSPACE, &c->product, &error_));
  return true;
}

inline void lt_add(std::vector<lab_entry> &entries, const char *name, lt_problem p, std::vector<lt_case *> &keep,
                   FILE *csv) {
  lt_case *c = new lt_case{p, {}, {}, {}};
  size_t m = p.m, n = p.n, k = p.k, size = p.input == LT_F16 ? 2 : 1, bytes = n * k * size;
  uint32_t seed = (uint32_t)keep.size() * 64 + 5000;
  c->o.x = p.input == LT_F16 ? lab_random<LAB_F16>(m * k, 2, seed) : lab_random<LAB_E4M3>(m * k, 1, seed);
  for (size_t i = 0; i < std::max<size_t>(1, ((size_t)200 << 20) / bytes); i++) {
    c->weights.push_back(p.input == LT_F16 ? lab_random<LAB_F16>(n * k, 2, seed + 1 + (uint32_t)i)
                                           : lab_random<LAB_E4M3>(n * k, 1, seed + 1 + (uint32_t)i));
  }
  c->o.w = c->weights[0];
  if (p.scales == LT_SCALES_OUTER) {
    c->o.channel_scale = (float *)lab_random<LAB_SCALES_F32>(n, 4, seed + 2);
    c->o.row_scale = (float *)lab_random<LAB_SCALES_F32>(m, 4, seed + 3);
  }
  if (p.bias) c->o.bias = lab_random<LAB_F16>(n, 2, seed + 4);
  CUDA(cudaMalloc(&c->o.y, m * n * 4));
  CUDA(cudaMalloc(&c->o.workspace, LT_WORKSPACE));
  c->o.workspace_bytes = LT_WORKSPACE;
  keep.push_back(c);
  if (!lt_search(c, csv)) return;
  entries.push_back({name,
                     2.0 * p.m * p.n * p.k,
                     [c](int i) {
                       c->o.w = c->weights[i % c->weights.size()];
                       VIVA(lt_product_run(&lt_lab, &c->product, &c->o, nullptr, &error_));
                     },
                     {}});
}

inline void lt_end(lt_case *c) {
  lt_product_end(&lt_lab, &c->product);
  for (void *w : c->weights) CUDA(cudaFree(w));
  const void *all[] = {c->o.x, c->o.channel_scale, c->o.row_scale, c->o.bias, c->o.y, c->o.workspace};
  for (const void *memory : all) CUDA(cudaFree((void *)memory));
  delete c;
}

#endif
