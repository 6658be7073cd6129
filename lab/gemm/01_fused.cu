/* 01_fused.cu: the fused kernels of src/backend/cuda/gemm_*: right on small shapes for every kind, activation and
 * output, then timed beside cuBLASLt.
 *
 * Question: does a kernel of our own with both scales and the bias reach 0.93 of the library's bare product?
 */
#include "lt_lab.cuh"
#include "own_lab.cuh"

/* 1 when right. The tensor core adds E4M3 products with 14 bits beside the largest, so an output of few products errs
 * by up to 2^-12 Σ|x·w| however often its sums are added in FP32; over many the errors cancel: 2^-15 from K 2048 on.
 * F16 products are added with all bits, integers exactly: what is left are the scales. */
static int check(gemm_problem p, bool bias, uint32_t seed) {
  const char *kinds[] = {"fp8 fast", "fp8 full", "fp8 f16", "nvfp4 f16", "int8 24", "f16 f16"};
  const char *acts[] = {"plain", "gelu", "swiglu"}, *outputs[] = {"f16", "bf16", "f32"};
  const double exact = p.act == GEMM_PLAIN ? 0x1p-19 : 0x1p-17; /* the activations' own errors */
  const double bounds[] = {0x1p-11, p.k >= 2048 ? 0x1p-15 : 0x1p-12, exact, exact, exact, exact};
  if (gemm_refusal(&p)) return printf("refused: %s\n", gemm_refusal(&p)), 0;
  lab_case c = make_case(p, bias, seed);
  CUDA(cudaMemset(c.o.y, 0xFF, (size_t)p.m * p.n * 4)); /* NaN */
  CUDA(gemm_launch(&p, &c.o, nullptr));
  CUDA(cudaDeviceSynchronize());
  size_t stride = (size_t)p.m * p.n * p.k / 400000000 + 1;
  lab_error e = lab_compare(p, c.o, stride | 1);
  bool right = !e.nan && e.largest <= bounds[p.kind];
  if (!right || (p.m >= 2048 && p.act == GEMM_PLAIN && p.output == GEMM_F32) || p.k % 128 || p.k > 10000)
    printf("%-9s %-6s %-4s %5d x %5d x %5d%s  largest %.2e  rms %.2e %s\n", kinds[p.kind], acts[p.act],
           outputs[p.output], p.m, p.n, p.k, bias ? " bias" : "     ", e.largest, e.rms,
           right   ? ""
           : e.nan ? "NaN WRONG"
                   : "WRONG");
  fflush(stdout);
  end_case(c);
  return right;
}

static int check_all() {
  int right = 1;
  uint32_t seed = 1;
  const int shapes[][3] = {{256, 256, 512}, {300, 264, 384}, {17, 136, 128}, {2048, 1024, 4096}};
  for (int kind = 0; kind < GEMM_KINDS; kind++) {
    for (const int *s : shapes) {
      for (int act = 0; act <= GEMM_SWIGLU; act++) {
        for (int output = 0; output <= GEMM_F32; output++) {
          gemm_problem p = {(gemm_kind)kind, (gemm_output)output, (gemm_act)act, s[0], s[1], s[2]};
          if (gemm_refusal(&p)) continue;
          right &= check(p, (act + output) % 2 == 0, seed += 8);
        }
      }
    }
  }
  right &= check({GEMM_FP8_FAST, GEMM_F32, GEMM_PLAIN, 65, 1000, 272}, false, seed += 8); /* K ends inside a stage */
  right &= check({GEMM_FP8_FULL, GEMM_F32, GEMM_PLAIN, 513, 4096, 14336}, false, seed += 8);
  right &= check({GEMM_FP8_F16, GEMM_F32, GEMM_PLAIN, 65, 1000, 272}, false, seed += 8);
  right &= check({GEMM_NVFP4_F16, GEMM_F32, GEMM_PLAIN, 65, 1000, 14336}, false, seed += 8);
  return right;
}

static void time_shape(int m, int n, int k, FILE *csv) {
  std::vector<lab_entry> entries;
  std::vector<std::vector<lab_case>> keep;
  std::vector<lt_case *> products;
  auto lt = [&](const char *name, lt_problem p) { lt_add(entries, name, p, products, csv); };
  lt("lt fp8 bare fast bf16", {LT_E4M3, LT_BF16, LT_SCALES_NONE, 0, 0, 0, m, n, k});
  lt("lt fp8 bare full bf16", {LT_E4M3, LT_BF16, LT_SCALES_NONE, 1, 0, 0, m, n, k});
  lt("lt fp8 outer fast bf16", {LT_E4M3, LT_BF16, LT_SCALES_OUTER, 0, 0, 0, m, n, k});
  lt("lt fp8 outer bias fast f16", {LT_E4M3, LT_F16, LT_SCALES_OUTER, 0, 1, 0, m, n, k});
  lt("lt fp8 outer bias fast bf16", {LT_E4M3, LT_BF16, LT_SCALES_OUTER, 0, 1, 0, m, n, k});
  lt("lt fp8 outer bias gelu fast f16", {LT_E4M3, LT_F16, LT_SCALES_OUTER, 0, 1, 1, m, n, k});
  lt("lt fp8 outer bias full f16", {LT_E4M3, LT_F16, LT_SCALES_OUTER, 1, 1, 0, m, n, k});
  lt("lt f16", {LT_F16, LT_F16, LT_SCALES_NONE, 0, 0, 0, m, n, k});
  lt("lt f16 bias", {LT_F16, LT_F16, LT_SCALES_NONE, 0, 1, 0, m, n, k});
  auto own = [&](const char *name, gemm_kind kind, gemm_output out, gemm_act act, int channels) {
    add_own(entries, name, {kind, out, act, m, channels, k}, (uint32_t)entries.size() * 1000, keep);
  };
  own("own fp8 fast bias f16", GEMM_FP8_FAST, GEMM_F16, GEMM_PLAIN, n);
  own("own fp8 fast bias f32", GEMM_FP8_FAST, GEMM_F32, GEMM_PLAIN, n);
  own("own fp8 fast bias gelu f16", GEMM_FP8_FAST, GEMM_F16, GEMM_GELU, n);
  own("own fp8 fast swiglu f16, n/2", GEMM_FP8_FAST, GEMM_F16, GEMM_SWIGLU, n / 2);
  own("own fp8 full bias f16", GEMM_FP8_FULL, GEMM_F16, GEMM_PLAIN, n);
  own("own fp8 full swiglu f16, n/2", GEMM_FP8_FULL, GEMM_F16, GEMM_SWIGLU, n / 2);
  own("own fp8 w8a16 f16", GEMM_FP8_F16, GEMM_F16, GEMM_PLAIN, n);
  own("own nvfp4 w4a16 f16", GEMM_NVFP4_F16, GEMM_F16, GEMM_PLAIN, n);
  own("own nvfp4 swiglu f16, n/2", GEMM_NVFP4_F16, GEMM_F16, GEMM_SWIGLU, n / 2);
  own("own fp8 w8a16 swiglu f16, n/2", GEMM_FP8_F16, GEMM_F16, GEMM_SWIGLU, n / 2);
  own("own f16 f16", GEMM_F16_F16, GEMM_F16, GEMM_PLAIN, n);
  own("own f16 swiglu f16, n/2", GEMM_F16_F16, GEMM_F16, GEMM_SWIGLU, n / 2);
  own("own int8 2:4 bias f16", GEMM_INT8_24, GEMM_F16, GEMM_PLAIN, n);
  own("own int8 2:4 swiglu f16, n/2", GEMM_INT8_24, GEMM_F16, GEMM_SWIGLU, n / 2);
  lab_time(entries, 21);
  char title[64];
  snprintf(title, sizeof title, "M %d N %d K %d", m, n, k);
  lab_print(title, entries, csv);
  for (auto &cases : keep)
    for (lab_case &c : cases) end_case(c);
  for (lt_case *c : products) lt_end(c);
}

/* One launch of each kind, for a profiler. */
static int launch_each() {
  for (int kind = 0; kind < GEMM_KINDS; kind++) {
    lab_case c = make_case({(gemm_kind)kind, GEMM_F16, GEMM_PLAIN, 8192, 8192, 8192}, true, 1);
    CUDA(gemm_launch(&c.p, &c.o, nullptr));
    CUDA(cudaDeviceSynchronize());
    end_case(c);
  }
  return 0;
}

/* 01_fused FOLDER [profile] */
int main(int count, char **arguments) {
  std::string out = count > 1 ? arguments[1] : ".";
  if (count > 2 && !strcmp(arguments[2], "profile")) return launch_each();
  if (!check_all()) {
    printf("01_fused: WRONG\n");
  }
  FILE *csv = fopen((out + "/01_fused.csv").c_str(), "w");
  lt_start();
  time_shape(8192, 8192, 8192, csv);
  time_shape(2048, 14336, 4096, csv);
  time_shape(2048, 4096, 14336, csv);
  time_shape(2048, 6144, 4096, csv);
  time_shape(2048, 4096, 4096, csv);
  fclose(csv);
  return 0;
}
