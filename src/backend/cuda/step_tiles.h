/* step_tiles.h: attention of many rows at once, for step_attention. */
#ifndef CUDA_STEP_TILES_H
#define CUDA_STEP_TILES_H

#include "backend/cuda/step.h"

/* The spans of at least `least` rows; caches of F16 and FP8. *taken: 0 when the device has no room for these heads, and
 * nothing was queued. half: as in step_attention. */
int step_attention_tiles(step_queue q, const attention_args *a, const step_half_rows *half, size_t least, int *taken);

#endif
