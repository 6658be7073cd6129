/* lab/gemv/gemv_lab.cu: products of 1 to 16 rows with weights of every format.
 *
 *   gemv_lab check                      every version against FP64, at awkward shapes; bits over neighbours and repeats
 *   gemv_lab time CSV [FORMAT …]        the table of shapes, as kernels of a graph
 *   gemv_lab profile FORMAT SHAPE ROWS  three launches, for a profiler */
#include <cmath>
#include <cstring>
#include <string>

#include "../lab.cuh"
#include "../lab.h"
#include "backend/cuda/gemv.h"

/* -- versions. 0 is what src/ has */

struct version {
  const char *name;
  cudaError_t (*plan)(const gemv_problem *p, int multiprocessors, size_t shared_most, gemv_plan *plan);
  cudaError_t (*launch)(const gemv_problem *p, const gemv_plan *plan, cudaStream_t stream);
};

static const version versions[] = {
    {"src", gemv_plan_make, gemv_launch},
};

static int multiprocessors;
static size_t shared_most;

/* -- check */

struct checked {
  lab_weight host;
  void *ordered;           /* device */
  std::vector<uint16_t> x; /* [16][k8] */
  uint16_t *x_device;
  size_t k8; /* k rounded up to 8 */
};

static checked make_checked(const lab_format *f, size_t n, size_t k, uint64_t seed) {
  checked c = {};
  c.host = lab_weight_make(f, n, k, seed);
  c.ordered = device_copy(static_cast<const uint8_t *>(c.host.ordered), gemv_order_of(&c.host.w).bytes);
  c.k8 = (k + 7) / 8 * 8;
  std::vector<float> values(GEMV_MOST_ROWS * c.k8);
  lab_normal(values.data(), values.size(), seed + 1);
  for (float v : values) c.x.push_back(lab_f16(v));
  for (int m = 0; m < GEMV_MOST_ROWS; m++) /* must not be used */
    for (size_t i = k; i < c.k8; i++) c.x[m * c.k8 + i] = 0x7e00;
  c.x_device = device_copy(c.x.data(), c.x.size());
  return c;
}

static void free_checked(checked *c) {
  CHECK(cudaFree(c->ordered));
  CHECK(cudaFree(c->x_device));
  lab_weight_free(&c->host);
}

static gemv_problem problem_of(const checked &c, int m, float *y) {
  gemv_problem p = {};
  p.w = c.host.w;
  p.part_count = 1;
  p.parts[0].rows = c.host.w.rows;
  p.parts[0].ordered = c.ordered;
  p.m = m;
  p.x = c.x_device;
  p.x_stride = c.k8;
  p.parts[0].y = y;
  p.parts[0].y_stride = c.host.w.rows;
  return p;
}

/* Nothing where the version does not take the problem. */
static std::vector<float> run(const version &v, const gemv_problem &p, int repeats = 1) {
  const size_t count = (size_t)p.m * p.parts[0].y_stride;
  gemv_plan plan;
  const cudaError_t planned = v.plan(&p, multiprocessors, shared_most, &plan);
  if (planned == cudaErrorInvalidValue && &v != &versions[0]) return {};
  CHECK(planned);
  CHECK(cudaMemset(p.parts[0].y, 0xff, count * sizeof(float)));
  for (int i = 0; i < repeats; i++) CHECK(v.launch(&p, &plan, 0));
  CHECK(cudaDeviceSynchronize());
  return host_copy(static_cast<const float *>(p.parts[0].y), count);
}

/* Returns the number of faults. */
static int check_shape(const version &v, const lab_format *f, const checked &c) {
  const size_t n = c.host.w.rows, k = c.host.w.cols;
  float *y = device_new<float>(GEMV_MOST_ROWS * n);
  const std::vector<float> all = run(versions[0], problem_of(c, GEMV_MOST_ROWS, y));
  double worst = 0, squares = 0;
  int faults = 0, taken = 0;
  for (int m = 0; m < (&v == &versions[0] ? GEMV_MOST_ROWS : 0); m++) /* the others are to give its bits */
    for (size_t i = 0; i < n; i++) {
      double absolute;
      const double expected = lab_dot(c.host.values + i * k, c.x.data() + m * c.k8, k, &absolute);
      const double error = fabs(all[m * n + i] - expected) / absolute;
      if (!(error <= worst)) worst = error;
      squares += error * error;
    }
  if (!(worst <= 0x1p-19)) faults++; /* FP32 sums of exact products, and FP32 scales */
  for (int m : {1, 2, 3, 4, 5, 7, 8, 9, 13, 15, 16}) {
    const std::vector<float> some = run(v, problem_of(c, m, y));
    if (some.empty()) continue;
    taken++;
    if (memcmp(some.data(), all.data(), some.size() * sizeof(float)) != 0) {
      printf("  %d rows differ from 16\n", m);
      faults++;
    }
  }
  for (int i = 0; i < 30; i++) {
    const std::vector<float> again = run(v, problem_of(c, 1 + i % 16, y), 3);
    if (again.empty()) continue;
    if (memcmp(again.data(), all.data(), again.size() * sizeof(float)) != 0) faults++;
  }
  if (&v == &versions[0] || faults)
    printf("%-4s %-14s n %5zu k %5zu, %d counts of rows: worst 2^%.1f, rms 2^%.1f  %s\n", v.name, f->name, n, k, taken,
           log2(worst), log2(sqrt(squares / all.size())), faults ? "WRONG" : "ok");
  CHECK(cudaFree(y));
  return faults;
}

static double activated(gemv_activation a, double v) {
  switch (a) {
  case GEMV_GELU_TANH: return 0.5 * v * (1 + tanh(sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
  case GEMV_GELU_ERF: return 0.5 * v * (1 + erf(v / sqrt(2.0)));
  case GEMV_SILU:
  case GEMV_SWIGLU: return v / (1 + exp(-v));
  default: return v;
  }
}

static int check_epilogue(const version &v, gemv_activation activation, gemv_output output) {
  const size_t n = 72, k = 520, m = 5;
  checked c = make_checked(&lab_formats[2], n, k, 5);
  std::vector<float> bias(n), residual(m * n), scales(m);
  lab_normal(bias.data(), n, 6);
  lab_normal(residual.data(), m * n, 7);
  for (size_t i = 0; i < m; i++) scales[i] = 0.5f + i;
  float *y = device_new<float>(m * n), *device_bias = device_copy(bias.data(), n);
  float *device_residual = device_copy(residual.data(), m * n), *device_scales = device_copy(scales.data(), m);
  gemv_problem p = problem_of(c, (int)m, y);
  p.x_scales = device_scales;
  p.parts[0].bias = device_bias;
  p.activation = activation;
  p.parts[0].residual = activation == GEMV_SWIGLU ? nullptr : device_residual;
  p.output = output;
  if (activation == GEMV_SWIGLU) { /* the same matrix twice, up without a bias */
    p.part_count = 2;
    p.parts[1] = p.parts[0];
    p.parts[1].bias = nullptr;
  }
  const std::vector<float> raw = run(v, p);
  if (raw.empty()) {
    CHECK(cudaFree(y));
    return 0;
  }
  const uint16_t *halves = reinterpret_cast<const uint16_t *>(raw.data());
  double worst = 0;
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < n; j++) {
      double absolute;
      const double value = lab_dot(c.host.values + j * k, c.x.data() + i * c.k8, k, &absolute) * scales[i];
      double expected = activated(activation, value + bias[j]);
      if (activation == GEMV_SWIGLU) expected *= value;
      if (p.parts[0].residual) expected += residual[i * n + j];
      const size_t at = i * n + j;
      const double got = output == GEMV_F32   ? raw[at]
                         : output == GEMV_F16 ? lab_from_f16(halves[at])
                                              : f32_from_bits((uint32_t)halves[at] << 16);
      const double error = fabs(got - expected) / (1 + fabs(expected));
      if (!(error <= worst)) worst = error;
    }
  const double bound = output == GEMV_F32 ? 0x1p-17 : output == GEMV_F16 ? 0x1p-11 : 0x1p-8;
  if (&v == &versions[0] || !(worst <= bound))
    printf("%-4s epilogue %d to type %d: worst 2^%.1f  %s\n", v.name, activation, output, log2(worst),
           worst <= bound ? "ok" : "WRONG");
  CHECK(cudaFree(y));
  CHECK(cudaFree(device_bias));
  CHECK(cudaFree(device_residual));
  CHECK(cudaFree(device_scales));
  free_checked(&c);
  return !(worst <= bound);
}

static int check_all() {
  static const size_t shapes[][2] = {{1, 1}, {40, 200}, {133, 1001}, {512, 4096}, {50, 14336}, {2200, 320}};
  int faults = 0;
  for (int f = 0; f < lab_format_count; f++)
    for (const auto &shape : shapes) {
      checked c = make_checked(&lab_formats[f], shape[0], shape[1], 77 * shape[0] + shape[1]);
      for (const version &v : versions) faults += check_shape(v, &lab_formats[f], c);
      free_checked(&c);
    }
  for (const version &v : versions)
    for (int a = GEMV_NONE; a <= GEMV_SWIGLU; a++)
      for (int o = GEMV_F32; o <= GEMV_BF16; o++) faults += check_epilogue(v, (gemv_activation)a, (gemv_output)o);
  printf("%s\n", faults ? "WRONG" : "all agree");
  return faults != 0;
}

/* -- time */

#define ARENA ((size_t)4 << 30)

struct shape {
  const char *name;
  size_t n, k;
  bool gated; /* two matrices of n rows: gate and up */
};
static const shape shapes[] = {
    {"14336x4096", 14336, 4096, false}, {"4096x14336", 4096, 14336, false}, {"6144x4096", 6144, 4096, false},
    {"4096x4096", 4096, 4096, false},   {"head", 128256, 4096, false},      {"gate+up", 14336, 4096, true},
};

/* The whole arena full of valid records. Row scales of a weight are then codes, which costs no time. */
static void fill_arena(uint8_t *arena, const lab_format *f) {
  lab_weight w = lab_weight_make(f, 512, 4096, 3);
  const size_t bytes = gemv_order_of(&w.w).row_scales_offset;
  CHECK(cudaMemcpy(arena, w.ordered, bytes, cudaMemcpyHostToDevice));
  for (size_t done = bytes; done < ARENA; done *= 2)
    CHECK(cudaMemcpy(arena + done, arena, std::min(done, ARENA - done), cudaMemcpyDeviceToDevice));
  lab_weight_free(&w);
}

static void place_weights(gemv_problem *p, uint8_t *at) {
  for (int i = 0; i < p->part_count; i++) p->parts[i].ordered = at + i * gemv_order_of(&p->w).bytes;
}

/* A problem whose weight begins at arena, x and y included; all rows of x. */
static gemv_problem timed_problem(const lab_format *f, const shape &s, uint8_t *arena) {
  std::vector<float> values(GEMV_MOST_ROWS * s.k);
  std::vector<uint16_t> codes;
  lab_normal(values.data(), values.size(), 9);
  for (float value : values) codes.push_back(lab_f16(value));
  gemv_problem p = {};
  p.w.format = f->format;
  p.w.rows = s.n;
  p.w.cols = s.k;
  p.w.block = f->block;
  p.w.scales_type = f->scale;
  p.w.pairs = f->pairs;
  p.part_count = s.gated ? 2 : 1;
  if (s.gated) p.activation = GEMV_SWIGLU;
  p.output = s.gated ? GEMV_F16 : GEMV_F32;
  p.parts[0].rows = p.parts[1].rows = s.n;
  p.m = GEMV_MOST_ROWS;
  p.x = device_copy(codes.data(), codes.size());
  p.x_stride = s.k;
  p.parts[0].y = device_new<float>(GEMV_MOST_ROWS * s.n);
  p.parts[0].y_stride = s.n;
  place_weights(&p, arena);
  return p;
}

static void free_timed(const gemv_problem &p) {
  CHECK(cudaFree(const_cast<uint16_t *>(p.x)));
  CHECK(cudaFree(p.parts[0].y));
}

static const int timed_rows[] = {1, 2, 3, 4, 5, 8, 9, 12, 16};

static void time_shape(const version &v, const lab_format *f, const shape &s, uint8_t *arena, double bandwidth,
                       FILE *csv) {
  gemv_problem p = timed_problem(f, s, arena);
  const gemv_order o = gemv_order_of(&p.w);
  const size_t bytes = p.part_count * o.bytes, span = (bytes + 255) / 256 * 256,
               copies = std::min<size_t>(40, ARENA / span);
  printf("%-4s %-12s %-10s %6.1f MB", v.name, f->name, s.name, bytes * 1e-6);
  double first = 0;
  for (int m : timed_rows) {
    p.m = m;
    gemv_plan plan;
    if (v.plan(&p, multiprocessors, shared_most, &plan) != cudaSuccess) {
      printf("    -");
      continue;
    }
    plan.dependent = 1;
    const double us = time_graph(40, 21, [&](int i, cudaStream_t stream) {
      place_weights(&p, arena + i % copies * span);
      return v.launch(&p, &plan, stream);
    });
    if (m == 1) first = us;
    const double share = bytes / us * 1e-3 / bandwidth;
    if (m == 1)
      printf(" %6.2f us %.3f |", us, share);
    else
      printf(" %6.2f", us);
    fprintf(csv, "%s,%s,%s,%zu,%zu,%d,%.3f,%.1f,%.4f,%.3f,%d,%zu\n", v.name, f->name, s.name, s.n, s.k, m, us,
            bytes / us * 1e-3, share, us / first, plan.blocks, plan.shared_bytes);
  }
  printf("\n");
  free_timed(p);
}

/* LAB_VERSIONS: those that are timed, else what src/ has. */
static bool timed(const version &v) {
  const char *list = getenv("LAB_VERSIONS");
  return list ? strstr(list, v.name) != nullptr : &v == &versions[0];
}

static int time_all(const char *path, int count, char **names) {
  FILE *csv = fopen(path, "w");
  if (!csv) return 1;
  uint8_t *arena = device_new<uint8_t>(ARENA);
  fill_arena(arena, &lab_formats[2]);
  const double bandwidth = read_bandwidth(arena, ARENA);
  printf("read bandwidth %.0f GB/s; us of 1 row, its share of that | 2, 3, 4, 5, 8, 9, 12, 16 rows\n", bandwidth);
  fprintf(csv, "version,format,shape,n,k,rows,us,gbs,share,against_one,blocks,shared\n");
  for (int f = 0; f < lab_format_count; f++) {
    bool wanted = count == 0;
    for (int i = 0; i < count; i++) wanted |= strcmp(names[i], lab_formats[f].name) == 0;
    if (!wanted) continue;
    fill_arena(arena, &lab_formats[f]);
    for (const version &v : versions)
      for (const shape &s : shapes)
        if (timed(v)) time_shape(v, &lab_formats[f], s, arena, bandwidth, csv);
  }
  CHECK(cudaFree(arena));
  return fclose(csv);
}

static int profile(const char *format, const char *name, int rows) {
  uint8_t *arena = device_new<uint8_t>(ARENA);
  for (int f = 0; f < lab_format_count; f++)
    for (const shape &s : shapes)
      if (strcmp(lab_formats[f].name, format) == 0 && strcmp(s.name, name) == 0) {
        fill_arena(arena, &lab_formats[f]);
        gemv_problem p = timed_problem(&lab_formats[f], s, arena);
        p.m = rows;
        gemv_plan plan;
        CHECK(gemv_plan_make(&p, multiprocessors, shared_most, &plan));
        for (int i = 0; i < 3; i++) CHECK(gemv_launch(&p, &plan, 0));
        CHECK(cudaDeviceSynchronize());
        free_timed(p);
      }
  CHECK(cudaFree(arena));
  return 0;
}

int main(int argc, char **argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  cudaDeviceProp device;
  CHECK(cudaGetDeviceProperties(&device, 0));
  multiprocessors = device.multiProcessorCount;
  shared_most = device.sharedMemPerBlockOptin;
  if (argc == 2 && strcmp(argv[1], "check") == 0) return check_all();
  if (argc >= 3 && strcmp(argv[1], "time") == 0) return time_all(argv[2], argc - 3, argv + 3);
  if (argc == 5 && strcmp(argv[1], "profile") == 0) return profile(argv[2], argv[3], atoi(argv[4]));
  fprintf(stderr, "usage: %s check | time CSV [FORMAT...] | profile FORMAT SHAPE ROWS\n", argv[0]);
  return 2;
}
