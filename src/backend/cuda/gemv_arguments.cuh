/* backend/cuda/gemv_arguments.cuh: a problem as the kernels are told of it. */
#ifndef BACKEND_CUDA_GEMV_ARGUMENTS_CUH
#define BACKEND_CUDA_GEMV_ARGUMENTS_CUH

#include <limits.h>

#include "backend/cuda/gemv_kernel.cuh"

/* Lets a kernel have all the shared memory that a block may have, whatever this launch takes: a kernel's bound is the whole
 * process's, and engines beside each other must not lower it between another's question and its launch. */
static inline cudaError_t gemv_allow_shared(const void *kernel, size_t shared_most) {
  cudaFuncAttributes has;
  const cudaError_t status = cudaFuncGetAttributes(&has, kernel);
  if (status != cudaSuccess) return status;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              (int)(shared_most - has.sharedSizeBytes));
}

static inline size_t gemv_part_tiles(const gemv_part *part) { return (part->rows + GEMV_TILE - 1) / GEMV_TILE; }

static inline size_t gemv_tiles(const gemv_problem *p) {
  size_t tiles = 0;
  for (int i = 0; i < p->part_count; i++) tiles += gemv_part_tiles(&p->parts[i]);
  return tiles;
}

static inline gemv_matrix gemv_matrix_of(const gemv_problem *p, const gemv_part *part, size_t first_tile) {
  weight w = p->w;
  w.rows = part->rows;
  gemv_matrix m = {};
  m.w = static_cast<const uint8_t *>(part->ordered);
  m.row_scales = reinterpret_cast<const float *>(m.w + gemv_order_of(&w).row_scales_offset);
  m.bias = part->bias;
  m.residual = part->residual;
  m.y = part->y;
  m.y_stride = part->y_stride;
  m.n = (int)part->rows;
  m.first_tile = (int)first_tile;
  return m;
}

static inline gemv_args gemv_arguments(const gemv_problem *p) {
  const gemv_order o = gemv_order_of(&p->w);
  gemv_args a = {};
  size_t tiles = 0;
  for (int i = 0; i < GEMV_MOST_PARTS; i++) {
    if (i >= p->part_count) {
      a.matrix[i].first_tile = INT_MAX;
      continue;
    }
    a.matrix[i] = gemv_matrix_of(p, &p->parts[i], tiles);
    tiles += gemv_part_tiles(&p->parts[i]);
  }
  a.norm = p->norm;
  a.x = reinterpret_cast<const __half *>(p->x);
  a.x_scales = p->x_scales;
  a.x_stride = p->x_stride;
  a.m = p->m;
  a.k = (int)p->w.cols;
  a.tiles = (int)tiles;
  a.records = (int)o.records;
  a.pairs = p->w.pairs;
  a.record_bytes = (int)o.record_bytes;
  while (1u << a.block_shift < p->w.block) a.block_shift++;
  a.type = p->w.scales_type;
  a.activation = p->activation;
  a.output = p->output;
  return a;
}

#endif
