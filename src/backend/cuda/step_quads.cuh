/* step_quads.cuh: a vector in the registers of the threads that share it, four neighbouring values at a time. */
#ifndef CUDA_STEP_QUADS_CUH
#define CUDA_STEP_QUADS_CUH

#include "backend/cuda/step_math.cuh"

#define ROW_MOST_THREADS 1024
#define ROW_MOST_WARPS   (ROW_MOST_THREADS / STEP_WARP)

/* The threads that share a vector: those of a warp, or of a block. */
template <bool WARP> struct row_team {
  float *parts; /* shared, a value for each warp */

  __device__ unsigned rank() const { return WARP ? threadIdx.x % STEP_WARP : threadIdx.x; }
  __device__ unsigned size() const { return WARP ? STEP_WARP : blockDim.x; }
  __device__ float sum(float v) const { return WARP ? warp_sum(v) : block_sum(v, parts); }
};

/* Thread t has quads t, t + size ...: HELD of them in registers; what is beyond is made anew each time. Make: quad(at) of the
 * vector's values from `at` on, 0 beyond n. */
template <bool WARP, int HELD, class Make> struct row_quads {
  row_team<WARP> team;
  Make make;
  size_t n;
  float4 held[HELD];

  __device__ size_t place(int i) const { return 4 * (team.rank() + (size_t)i * team.size()); }
  __device__ void load() {
#pragma unroll
    for (int i = 0; i < HELD; i++) held[i] = place(i) < n ? make.quad(place(i)) : make_float4(0, 0, 0, 0);
  }
  template <class Each> __device__ void each(Each each) const {
#pragma unroll
    for (int i = 0; i < HELD; i++)
      if (place(i) < n) each(place(i), held[i]);
    for (int i = HELD; place(i) < n; i++) each(place(i), make.quad(place(i)));
  }
};

/* A vector as it lies in memory. */
struct plain_quads {
  const float *x;
  size_t n;
  bool vector; /* quads may be loaded at once */

  __device__ float4 quad(size_t at) const { return load_quad(x, at, n, vector); }
};

/* -- RMSNorm */

#define NORM_WARP_N 256 /* longest vector of a warp; a longer one has a block */
#define NORM_HELD   2   /* quads */

template <bool WARP> using norm_quads = row_quads<WARP, NORM_HELD, plain_quads>;

/* What the vector's values are multiplied with. */
template <class Vector> static __device__ float norm_scale_of(const Vector &vector, float eps) {
  float squares = 0;
  vector.each([&](size_t, float4 v) { squares = add_squares(squares, v); });
  return norm_scale(vector.team.sum(squares), vector.n, eps);
}

/* Threads of a block that has a vector. */
static inline unsigned norm_threads(size_t n) {
  unsigned threads = 2 * STEP_WARP;
  while (threads < ROW_MOST_THREADS && threads * 4 * NORM_HELD < n) threads *= 2;
  return threads;
}

/* -- silu(gate) · up */

struct gated_quads {
  const float *gate, *up;
  size_t n;
  bool vector;

  __device__ float4 quad(size_t at) const {
    const float4 g = load_quad(gate, at, n, vector), u = load_quad(up, at, n, vector);
    return make_float4(__fmul_rn(silu(g.x), u.x), __fmul_rn(silu(g.y), u.y), __fmul_rn(silu(g.z), u.z),
                       __fmul_rn(silu(g.w), u.w));
  }
};

#endif
