/* step_tiles.h: attention of many rows at once, for step_attention. */
#ifndef CUDA_STEP_TILES_H
#define CUDA_STEP_TILES_H

#include "backend/cuda/step.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Tiles that a block takes which stays: every turn deals one tile to each block, there and back, so that who had the heaviest of
 * a turn has the lightest of the next. */
NUMBER_SHARED uint32_t tiles_dealt(uint32_t block, uint32_t blocks, uint32_t turn) {
  return turn * blocks + (turn % 2 ? blocks - 1 - block : block);
}

/* Where a piece of 16 bytes lies of a row in panels of `rows` rows of 128 bytes: pieces 0 to 7 in the first panel, 8 to 15 in
 * the next; exchanged as the tensor cores' swizzle of 128 bytes has it. */
NUMBER_SHARED uint32_t tiles_panel_at(uint32_t rows, uint32_t row, uint32_t piece) {
  return piece / 8 * rows * 128 + row * 128 + (piece % 8 ^ row % 8) * 16;
}

/* The spans of at least `least` rows; caches of F16 and FP8. *taken: 0 when the device has no room for these heads, and
 * nothing was queued. half: as in step_attention. */
int step_attention_tiles(step_queue q, const attention_args *a, const step_half_rows *half, size_t least,
                         const step_work *work, int *taken);

/* backend.h's turn_attention. *taken: 0 when these are not for it, and nothing was queued. */
int step_turn_tiles(step_queue q, const rope_append_args *turn, const attention_args *a, const step_half_rows *half,
                    const step_work *work, int *taken);

#ifdef __cplusplus
}
#endif
#endif
