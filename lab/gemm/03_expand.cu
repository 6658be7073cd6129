/* 03_expand.cu: gemm_expand against unpack_rows on weights that pack_rows made; then its speed, and products with an
 * expansion before each.
 *
 * Question: how much of the library's 16-bit product is left when nothing is cached?
 */
#include <cstring>

extern "C" {
#include "number/number.h"
#include "pack/pack.h"
}
#include "backend/cuda/gemm_expand.h"
#include "lt_lab.cuh"
#include "own_lab.cuh"

struct form {
  const char *name;
  pack_spec spec;
};

static const form forms[] = {
    {"fp8", {WEIGHT_FP8, 0, SCALE_F32}},
    {"fp8 block 16", {WEIGHT_FP8, 16, SCALE_F32}},
    {"fp8 block 128 e8m0", {WEIGHT_FP8, 128, SCALE_E8M0}},
    {"fp8 block 32 f16", {WEIGHT_FP8, 32, SCALE_F16}},
    {"nvfp4", {WEIGHT_NVFP4, 16, SCALE_E4M3, NVFP4_SEARCH_ABSMAX}},
    {"int8 2:4", {WEIGHT_INT8_24, 0, SCALE_F32}},
    {"int4 2:4", {WEIGHT_INT4_24, 0, SCALE_F32}},
    {"int4 2:4 groups of 128", {WEIGHT_INT4_24, 128, SCALE_F16}},
    {"int4 2:4 groups of 32", {WEIGHT_INT4_24, 32, SCALE_F32}},
};

struct packed {
  weight host, device;
  std::vector<uint8_t> bytes;
  void *memory;
};

static packed make_packed(pack_spec spec, size_t rows, size_t cols) {
  std::vector<float> values(rows * cols);
  for (size_t i = 0; i < values.size(); i++) {
    float sum = 0;
    for (uint32_t j = 0; j < 12; j++) sum += (float)(lab_hash(i, 100 + j) >> 8) * (1.0f / 16777216);
    values[i] = (sum - 6) * 0.02f * (1 + (float)(i / cols % 7));
  }
  pack_survey survey = {};
  pack_survey_rows(&spec, values.data(), cols, 0, rows, cols, &survey);
  pack_settle(&spec, &survey);
  pack_sizes sizes;
  if (pack_measure(&spec, rows, cols, &sizes)) exit(1);
  packed p;
  p.bytes.resize(sizes.bytes);
  pack_rows(&spec, rows, cols, p.bytes.data(), 0, rows, values.data(), cols, nullptr, nullptr);
  CUDA(cudaMalloc(&p.memory, sizes.bytes));
  CUDA(cudaMemcpy(p.memory, p.bytes.data(), sizes.bytes, cudaMemcpyHostToDevice));
  p.host = pack_view(&spec, rows, cols, p.bytes.data());
  p.device = pack_view(&spec, rows, cols, p.memory);
  return p;
}

struct expanded {
  expand_target target;
};

static expanded make_target(expand_to to, size_t rows, size_t cols) {
  expanded e = {};
  e.target.to = to;
  CUDA(cudaMalloc(&e.target.codes, rows * cols * 2));
  CUDA(cudaMalloc(&e.target.index, rows * cols / 8 + 16));
  CUDA(cudaMalloc(&e.target.channel_scale, rows * 4));
  CUDA(cudaMemset(e.target.codes, 0xFF, rows * cols * 2));
  return e;
}

static void end_target(expanded &e) {
  CUDA(cudaFree(e.target.codes));
  CUDA(cudaFree(e.target.index));
  CUDA(cudaFree(e.target.channel_scale));
}

static float code_value(const expand_target &t, const std::vector<uint8_t> &codes, const std::vector<uint8_t> &index,
                        size_t cols, size_t row, size_t col) {
  if (t.to == EXPAND_F16) {
    uint16_t half;
    memcpy(&half, &codes[(row * cols + col) * 2], 2);
    return f16_to_f32(half);
  }
  if (t.to == EXPAND_FP8) return e4m3_to_f32(codes[row * cols + col]);
  uint32_t nibble = index[row * (cols / 8) + col / 8] >> 4 * (col / 4 % 2) & 15;
  const int8_t *kept = (const int8_t *)&codes[row * (cols / 2) + col / 4 * 2];
  return (nibble & 3) == col % 4 ? kept[0] : nibble >> 2 == col % 4 ? kept[1] : 0;
}

/* The largest |expanded - unpacked|, in units of the row's largest value. */
static int check(const form &f, expand_to to, size_t rows, size_t cols) {
  packed p = make_packed(f.spec, rows, cols);
  if (gemm_expand_refusal(&p.device, to)) return 1;
  expanded e = make_target(to, rows, cols);
  CUDA(gemm_expand(&p.device, &e.target, nullptr));
  CUDA(cudaDeviceSynchronize());
  std::vector<uint8_t> codes(rows * cols * 2), index(rows * cols / 8 + 16);
  std::vector<float> scale(rows), want(cols);
  CUDA(cudaMemcpy(codes.data(), e.target.codes, codes.size(), cudaMemcpyDeviceToHost));
  CUDA(cudaMemcpy(index.data(), e.target.index, index.size(), cudaMemcpyDeviceToHost));
  CUDA(cudaMemcpy(scale.data(), e.target.channel_scale, rows * 4, cudaMemcpyDeviceToHost));
  const float global = f.spec.format == WEIGHT_NVFP4 ? weight_row_scale(&p.host, 0) : 1;
  double worst = 0, square = 0, all = 0;
  for (size_t row = 0; row < rows; row++) {
    unpack_rows(&p.host, row, 1, want.data(), cols);
    float largest = 0;
    for (float v : want) largest = std::max(largest, std::fabs(v));
    for (size_t col = 0; col < cols; col++) {
      double v = (double)code_value(e.target, codes, index, cols, row, col) * scale[row] * global;
      double error = std::fabs(v - want[col]);
      worst = !(error <= 1e30) ? INFINITY : std::max(worst, error / largest);
      square += error * error, all += (double)want[col] * want[col];
    }
  }
  const bool requantised = to != EXPAND_F16 && (f.spec.format == WEIGHT_NVFP4 || f.spec.block != 0);
  const double bound = requantised                                     ? to == EXPAND_FP8 ? 0x1p-4 : 0.51 / 127
                       : f.spec.block && f.spec.format != WEIGHT_NVFP4 ? 0x1p-11
                                                                       : 0x1p-22;
  const char *names[] = {"f16", "int8 2:4", "fp8"};
  printf("%-24s to %-8s %5zu x %5zu  largest %.2e  rms %.2e %s\n", f.name, names[to], rows, cols, worst,
         sqrt(square / all), worst <= bound ? "" : "WRONG");
  end_target(e);
  CUDA(cudaFree(p.memory));
  return worst <= bound;
}

static void time_all(FILE *csv) {
  const int m = 2048, n = 14336, k = 4096;
  std::vector<lab_entry> entries;
  std::vector<lt_case *> products;
  lt_add(entries, "lt f16", {LT_F16, LT_F16, LT_SCALES_NONE, 0, 0, 0, m, n, k}, products, nullptr);
  static std::vector<packed> weights;
  static std::vector<expanded> targets;
  weights.reserve(32), targets.reserve(32);
  void *x = lab_random<LAB_F16>((size_t)m * k, 2, 1), *y;
  CUDA(cudaMalloc(&y, (size_t)m * n * 4));
  auto add = [&](const form &f, expand_to to, gemm_kind kind) {
    weights.push_back(make_packed(f.spec, n, k));
    targets.push_back(make_target(to, n, k));
    const packed *p = &weights.back();
    const expanded *e = &targets.back();
    std::string name = std::string(f.name) + (to == EXPAND_F16   ? " > f16"
                                              : to == EXPAND_FP8 ? " > fp8"
                                                                 : " > int8 2:4");
    double out = (double)n * k * (to == EXPAND_F16 ? 2 : to == EXPAND_FP8 ? 1 : 0.625);
    entries.push_back({name + ", GB/s",
                       ((double)p->bytes.size() + out) * 1e3,
                       [=](int) { CUDA(gemm_expand(&p->device, &e->target, nullptr)); },
                       {}});
    gemm_problem problem = {kind, GEMM_F16, GEMM_PLAIN, m, n, k};
    gemm_operands o = {x, e->target.codes, e->target.index, e->target.channel_scale, nullptr, nullptr, nullptr, 1, y};
    entries.push_back({name + " + product",
                       2.0 * m * n * k,
                       [=](int) {
                         CUDA(gemm_expand(&p->device, &e->target, nullptr));
                         CUDA(gemm_launch(&problem, &o, nullptr));
                       },
                       {}});
  };
  add(forms[1], EXPAND_F16, GEMM_F16_F16);
  add(forms[4], EXPAND_F16, GEMM_F16_F16);
  add(forms[4], EXPAND_FP8, GEMM_FP8_FAST);
  add(forms[5], EXPAND_INT8_24, GEMM_INT8_24);
  add(forms[7], EXPAND_INT8_24, GEMM_INT8_24);
  add(forms[7], EXPAND_F16, GEMM_F16_F16);
  lab_time(entries, 21);
  lab_print("expand, M 2048 N 14336 K 4096", entries, csv);
}

int main(int count, char **arguments) {
  std::string out = count > 1 ? arguments[1] : ".";
  int right = 1;
  for (const form &f : forms)
    for (int to = 0; to <= EXPAND_FP8; to++) {
      right &= check(f, (expand_to)to, 37, 640);
      right &= check(f, (expand_to)to, 5, 200);
    }
  printf("expand: %s\n", right ? "right" : "WRONG");
  FILE *csv = fopen((out + "/03_expand.csv").c_str(), "w");
  lt_start();
  time_all(csv);
  fclose(csv);
  return 0;
}
