/* 02_whole.cu: whole layers: rows of 16 bits quantised, then the product. And cuSPARSELt as the peer of INT8 2:4.
 *
 * Questions: does quantising a row run at the speed of a copy; does our kernel, which writes the scaled 16-bit result
 * at once, beat the library's integers and a kernel after them?
 */
#include "backend/cuda/gemm_rows.h"
#include "backend/cuda/sparse_product.h"
#include "lt_lab.cuh"
#include "own_lab.cuh"

static sparse_library sparse_lab;

/* -- gemm_rows against one thread for each row */

__global__ void rows_check_kernel(const __half *x, int m, int k, rows_codes to, const void *codes, const float *scales,
                                  int *wrong) {
  int row = (int)(blockIdx.x * blockDim.x + threadIdx.x);
  if (row >= m) return;
  float largest = 0;
  bool finite = true;
  for (int i = 0; i < k; i++) {
    float v = __half2float(x[(size_t)row * k + i]);
    finite &= isfinite(v) != 0;
    largest = fmaxf(largest, fabsf(v));
  }
  float scale = to == ROWS_TO_F16 || largest == 0 ? 1 : __fdiv_rn(largest, to == ROWS_TO_E4M3 ? 448.0f : 127.0f);
  int bad = finite ? scales[row] != scale : !isnan(scales[row]);
  for (int i = 0; i < k; i++) {
    size_t at = (size_t)row * k + i;
    float q = finite ? __fdiv_rn(__half2float(x[at]), scale) : 0;
    if (to == ROWS_TO_E4M3)
      bad += ((const uint8_t *)codes)[at] != (uint8_t)__nv_cvt_float_to_fp8(q, __NV_SATFINITE, __NV_E4M3);
    if (to == ROWS_TO_INT8) bad += ((const int8_t *)codes)[at] != (int8_t)rintf(q);
    if (to == ROWS_TO_F16) bad += __half2float(((const __half *)codes)[at]) != q;
  }
  if (bad) atomicAdd(wrong, 1);
}

static int check_rows() {
  int all = 0, *wrong;
  CUDA(cudaMallocHost(&wrong, sizeof *wrong));
  const int shapes[][2] = {{17, 4096}, {300, 8192}, {5, 14336}, {33, 100}, {3, 20000}, {2, 1}};
  for (const int *s : shapes) {
    for (int to = ROWS_TO_E4M3; to <= ROWS_TO_F16; to++) {
      size_t count = (size_t)s[0] * s[1];
      __half *x = (__half *)lab_random<LAB_F16>(count, 2, (uint32_t)(s[1] + to));
      const uint16_t infinity = 0x7C00;
      CUDA(cudaMemset(x, 0, s[1] * 2)); /* a row of zeros, and one with an infinity */
      CUDA(cudaMemcpy(x + 2 * s[1] - 1, &infinity, 2, cudaMemcpyHostToDevice));
      void *codes;
      float *scales;
      CUDA(cudaMalloc(&codes, count * 2));
      CUDA(cudaMalloc(&scales, s[0] * 4));
      CUDA(cudaMemset(codes, 0xFF, count * 2));
      *wrong = 0;
      CUDA(gemm_rows(ROWS_F16, x, s[1], s[0], s[1], (rows_codes)to, codes, scales, nullptr));
      rows_check_kernel<<<(s[0] + 31) / 32, 32>>>(x, s[0], s[1], (rows_codes)to, codes, scales, wrong);
      CUDA(cudaDeviceSynchronize());
      if (*wrong) printf("rows %d x %d to %d: %d rows WRONG\n", s[0], s[1], to, *wrong);
      all += *wrong;
      CUDA(cudaFree(x));
      CUDA(cudaFree(codes));
      CUDA(cudaFree(scales));
    }
  }
  printf("rows: %s\n", all ? "WRONG" : "right");
  return all == 0;
}

/* -- cuSPARSELt */

/* dense [n][k] of random INT8 with 2 of 4 zero, as the library takes it */
__global__ void dense_24_kernel(int8_t *to, size_t groups, uint32_t seed) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < groups; i += (size_t)gridDim.x * blockDim.x) {
    uint32_t h = lab_hash(i, seed), first = h % 3, second = first + 1 + (h >> 8) % (3 - first);
    for (uint32_t j = 0; j < 4; j++)
      to[4 * i + j] =
          (int8_t)(j == first || j == second ? fmaxf(-127, fminf(127, rintf(32 * lab_normal(4 * i + j, seed)))) : 0);
  }
}

struct sparse_case {
  int m, n, k;
  sparse_product product;
  std::vector<void *> compressed;
  int8_t *x;
  int32_t *y;
  void *workspace;
};

static void run_sparse(sparse_case *c, int i) {
  VIVA(sparse_product_run(&sparse_lab, &c->product, c->compressed[i % c->compressed.size()], c->x, c->y, c->workspace,
                          nullptr, &error_));
}

static float time_sparse(sparse_case *c, int rounds) {
  std::vector<lab_entry> one(1);
  one[0] = {"", 0, [c](int i) { run_sparse(c, i); }, {}};
  lab_time(one, rounds);
  return one[0].median();
}

static sparse_case *make_sparse(int m, int n, int k, FILE *csv) {
  sparse_case *c = new sparse_case{m, n, k, {}, {}, nullptr, nullptr, nullptr};
  int8_t *dense;
  void *buffer;
  CUDA(cudaMalloc(&dense, (size_t)n * k));
  dense_24_kernel<<<1024, 256>>>(dense, (size_t)n * k / 4, 7);
  c->x = (int8_t *)lab_random<LAB_INT8>((size_t)m * k, 1, 3);
  CUDA(cudaMalloc(&c->y, (size_t)m * n * 4));
  CUDA(cudaMalloc(&c->workspace, LT_WORKSPACE));
  VIVA(sparse_product_make(&sparse_lab, m, n, k, nullptr, &c->product, &error_));
  CUDA(cudaMalloc(&buffer, c->product.buffer_bytes + 16));
  for (size_t i = 0; i < std::max<size_t>(1, ((size_t)200 << 20) / ((size_t)n * k)); i++) {
    void *compressed;
    CUDA(cudaMalloc(&compressed, c->product.compressed_bytes));
    VIVA(sparse_product_compress(&sparse_lab, &c->product, dense, compressed, buffer, nullptr, &error_));
    CUDA(cudaDeviceSynchronize());
    c->compressed.push_back(compressed);
  }
  int most = sparse_product_algorithms(&sparse_lab, &c->product);
  sparse_algorithm best = {-1, 1, 0, 0};
  float best_time = 0;
  for (int id = 0; id < most; id++) {
    for (int split = 1; split <= 4; split *= 2) {
      for (int mode = 1; mode <= (split > 1 ? 2 : 1); mode++) {
        sparse_algorithm a = {id, split, mode, split > 1 ? split - 1 : 0};
        sparse_product_end(&sparse_lab, &c->product);
        if (sparse_product_make(&sparse_lab, m, n, k, &a, &c->product, nullptr) != VIVA_OK) continue;
        if (c->product.workspace_bytes > LT_WORKSPACE) continue;
        if (sparse_product_run(&sparse_lab, &c->product, c->compressed[0], c->x, c->y, c->workspace, nullptr,
                               nullptr) != VIVA_OK)
          continue;
        float time = time_sparse(c, 5);
        if (csv)
          fprintf(csv, "sparse,%d %d %d,{%d %d %d %d},%.2f\n", m, n, k, a.id, a.split_k, a.split_mode, a.buffers,
                  time * 1e3);
        if (best.id < 0 || time < best_time) best = a, best_time = time;
      }
    }
  }
  sparse_product_end(&sparse_lab, &c->product);
  VIVA(sparse_product_make(&sparse_lab, m, n, k, &best, &c->product, &error_));
  printf("  cuSPARSELt %d: algorithm %d of %d, split %d: %.1f us alone\n", sparse_lab.version, best.id, most,
         best.split_k, best_time * 1e3);
  CUDA(cudaFree(dense));
  CUDA(cudaFree(buffer));
  return c;
}

/* -- whole layers */

static void time_shape(int m, int n, int k, FILE *csv) {
  std::vector<lab_entry> entries;
  std::vector<std::vector<lab_case>> keep;
  std::vector<lt_case *> products;
  const double operations = 2.0 * m * n * k;
  __half *x = (__half *)lab_random<LAB_F16>((size_t)m * k, 2, 99);
  auto bytes = [&](const char *name, double moved, std::function<void(int)> run) {
    entries.push_back({name, moved * 1e3, run, {}}); /* T/s then reads as GB/s */
  };
  lt_add(entries, "lt fp8 bare fast bf16", {LT_E4M3, LT_BF16, LT_SCALES_NONE, 0, 0, 0, m, n, k}, products, csv);
  lt_add(entries, "lt fp8 outer bias fast f16", {LT_E4M3, LT_F16, LT_SCALES_OUTER, 0, 1, 0, m, n, k}, products, csv);
  lt_case *fp8 = products.back();
  entries.push_back(
      {"rows + lt fp8 outer bias fast f16",
       operations,
       [=](int i) {
         fp8->o.w = fp8->weights[i % fp8->weights.size()];
         CUDA(gemm_rows(ROWS_F16, x, k, m, k, ROWS_TO_E4M3, (void *)fp8->o.x, (float *)fp8->o.row_scale, nullptr));
         VIVA(lt_product_run(&lt_lab, &fp8->product, &fp8->o, nullptr, &error_));
       },
       {}});
  sparse_case *sparse = make_sparse(m, n, k, csv);
  entries.push_back({"cuSPARSELt int32", operations, [=](int i) { run_sparse(sparse, i); }, {}});
  add_own(entries, "own int8 2:4 bias f16", {GEMM_INT8_24, GEMM_F16, GEMM_PLAIN, m, n, k}, 7000, keep);
  std::vector<lab_case> cases = keep.back();
  entries.push_back(
      {"rows + own int8 2:4 bias f16",
       operations,
       [=](int i) {
         const lab_case &c = cases[i % cases.size()];
         CUDA(gemm_rows(ROWS_F16, x, k, m, k, ROWS_TO_INT8, (void *)c.o.x, (float *)c.o.row_scale, nullptr));
         CUDA(gemm_launch(&c.p, &c.o, nullptr));
       },
       {}});
  void *codes;
  float *scales;
  CUDA(cudaMalloc(&codes, (size_t)m * k * 2));
  CUDA(cudaMalloc(&scales, m * 4));
  bytes("copy of 3 bytes a value, GB/s", 3.0 * m * k,
        [=](int) { CUDA(cudaMemcpyAsync(codes, x, (size_t)m * k * 3 / 2, cudaMemcpyDeviceToDevice, nullptr)); });
  bytes("rows f16 to e4m3, GB/s", 3.0 * m * k,
        [=](int) { CUDA(gemm_rows(ROWS_F16, x, k, m, k, ROWS_TO_E4M3, codes, scales, nullptr)); });
  bytes("rows f16 to int8, GB/s", 3.0 * m * k,
        [=](int) { CUDA(gemm_rows(ROWS_F16, x, k, m, k, ROWS_TO_INT8, codes, scales, nullptr)); });
  lab_time(entries, 21);
  char title[64];
  snprintf(title, sizeof title, "whole M %d N %d K %d", m, n, k);
  lab_print(title, entries, csv);
  for (auto &list : keep)
    for (lab_case &c : list) end_case(c);
  for (lt_case *c : products) lt_end(c);
  sparse_product_end(&sparse_lab, &sparse->product);
  for (void *w : sparse->compressed) CUDA(cudaFree(w));
  void *all[] = {sparse->x, sparse->y, sparse->workspace, x, codes, scales};
  for (void *memory : all) CUDA(cudaFree(memory));
  delete sparse;
}

int main(int count, char **arguments) {
  std::string out = count > 1 ? arguments[1] : ".";
  if (!check_rows()) return 1;
  FILE *csv = fopen((out + "/02_whole.csv").c_str(), "w");
  lt_start();
  VIVA(sparse_library_open(&library_loader_system, &sparse_lab, &error_));
  time_shape(8192, 8192, 8192, csv);
  time_shape(2048, 14336, 4096, csv);
  time_shape(2048, 4096, 14336, csv);
  fclose(csv);
  return 0;
}
