/* step_row_angles.h: cos and sin of a captured step's rows, of a sequence each (step_angles.cu). */
#ifndef CUDA_STEP_ROW_ANGLES_H
#define CUDA_STEP_ROW_ANGLES_H

#include "backend/cuda/step.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Everything lies in the device's memory, where a graph finds it each time. */
typedef struct step_row_angles_args {
  const uint32_t *positions; /* [rows] */
  const float *turns;        /* [rows][2 · pairs]: inv_freq [pairs], scaling; the rest is not read */
  float *cos_sin;            /* [rows][2 · pairs] */
  size_t rows, pairs;
} step_row_angles_args;

/* The bits of step_angles. */
int step_row_angles(step_queue q, const step_row_angles_args *a);

#ifdef __cplusplus
}
#endif
#endif
