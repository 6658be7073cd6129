/* step_angles.cu: cos and sin of a step's rows, which cost the host 20 ns an angle: a thread for each angle. The bits are those
 * of rope_row. */
#include "backend/cuda/step_launch.cuh"
#include "number/sin_cos.h"

#define ANGLES_THREADS 128

struct angles_args {
  float *cos_sin; /* of the span's first row */
  uint32_t position, pairs;
  float scaling;
  float inv_freq[STEP_MOST_PAIRS];
};

static __global__ void angles_kernel(const __grid_constant__ angles_args a) {
  step_begin_kernel();
  const uint32_t row = blockIdx.x, pair = blockIdx.y * ANGLES_THREADS + threadIdx.x;
  if (pair >= a.pairs) return;
  float *const to = a.cos_sin + row * (size_t)(2 * a.pairs) + pair;
  double sine, cosine;
  sin_cos_of((double)__fmul_rn((float)(a.position + row), a.inv_freq[pair]), &sine, &cosine);
  to[0] = __fmul_rn((float)cosine, a.scaling);
  to[a.pairs] = __fmul_rn((float)sine, a.scaling);
}

int step_angles(step_queue q, const batch_span *span, const batch_turn *turn, float *cos_sin) {
  if (turn->pairs > STEP_MOST_PAIRS) return cudaErrorInvalidValue;
  angles_args args = {
      cos_sin + span->first_row * 2 * turn->pairs, span->position, (uint32_t)turn->pairs, turn->scaling, {}};
  for (size_t i = 0; i < turn->pairs; i++) args.inv_freq[i] = turn->inv_freq[i];
  const dim3 grid(span->rows, (unsigned)step_parts(turn->pairs, ANGLES_THREADS));
  return step_launch(q, angles_kernel, grid, ANGLES_THREADS, args);
}
