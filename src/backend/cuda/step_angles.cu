/* step_angles.cu: cos and sin of a step's rows, which cost the host 20 ns an angle: a thread for each angle. The bits are those
 * of rope_row. */
#include "backend/cuda/step_launch.cuh"
#include "backend/cuda/step_row_angles.h"
#include "number/sin_cos.h"

#define ANGLES_THREADS 128

struct angles_args {
  float *cos_sin; /* of the span's first row */
  uint32_t position, pairs;
  float scaling;
  float inv_freq[STEP_MOST_PAIRS];
};

/* to: the row's. */
static __device__ __forceinline__ void angles_put(float *to, uint32_t pairs, uint32_t pair, uint32_t position,
                                                  float inv_freq, float scaling) {
  double sine, cosine;
  sin_cos_of((double)__fmul_rn((float)position, inv_freq), &sine, &cosine);
  to[pair] = __fmul_rn((float)cosine, scaling);
  to[pairs + pair] = __fmul_rn((float)sine, scaling);
}

static __global__ void angles_kernel(const __grid_constant__ angles_args a) {
  step_begin_kernel();
  const uint32_t row = blockIdx.x, pair = blockIdx.y * ANGLES_THREADS + threadIdx.x;
  if (pair >= a.pairs) return;
  angles_put(a.cos_sin + row * (size_t)(2 * a.pairs), a.pairs, pair, a.position + row, a.inv_freq[pair], a.scaling);
}

static __global__ void row_angles_kernel(const step_row_angles_args a) {
  step_begin_kernel();
  const uint32_t row = blockIdx.x, pair = threadIdx.x, pairs = (uint32_t)a.pairs;
  const float *const turn = a.turns + row * (size_t)(2 * pairs);
  angles_put(a.cos_sin + row * (size_t)(2 * pairs), pairs, pair, a.positions[row], turn[pair], turn[pairs]);
}

int step_angles(step_queue q, const batch_span *span, const batch_turn *turn, float *cos_sin) {
  if (turn->pairs > STEP_MOST_PAIRS) return cudaErrorInvalidValue;
  angles_args args = {
      cos_sin + span->first_row * 2 * turn->pairs, span->position, (uint32_t)turn->pairs, turn->scaling, {}};
  for (size_t i = 0; i < turn->pairs; i++) args.inv_freq[i] = turn->inv_freq[i];
  const dim3 grid(span->rows, (unsigned)step_parts(turn->pairs, ANGLES_THREADS));
  return step_launch(q, angles_kernel, grid, ANGLES_THREADS, args);
}

int step_row_angles(step_queue q, const step_row_angles_args *a) {
  if (a->pairs == 0 || a->pairs > STEP_MOST_PAIRS) return cudaErrorInvalidValue;
  return step_launch(q, row_angles_kernel, dim3((unsigned)a->rows), (unsigned)a->pairs, *a);
}
