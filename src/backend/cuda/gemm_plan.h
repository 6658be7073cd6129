/* gemm_plan.h: what a product's kernel is told about memory: the boxes that the copy engine moves. No CUDA in here, so
 * that the arithmetic is tested without a GPU. */
#ifndef CUDA_GEMM_PLAN_H
#define CUDA_GEMM_PLAN_H

#include "backend/cuda/gemm.h"
#include "backend/cuda/gemm_tile.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum gemm_element { GEMM_BYTE = 1, GEMM_HALF = 2, GEMM_FLOAT = 4 } gemm_element; /* their bytes */

/* A tensor in the device's memory and the box of it that is moved at once; innermost dimension first. */
typedef struct gemm_box {
  const void *data;
  gemm_element element;
  int rank;           /* 2 or 4; 0: not used */
  uint64_t size[4];   /* elements */
  uint64_t stride[3]; /* bytes from one to the next of dimensions 1 and up */
  uint32_t box[4];    /* elements */
  uint32_t swizzle;   /* bytes of a row in shared memory whose 16-byte pieces are exchanged: 128, 64; 0: none */
} gemm_box;

typedef struct gemm_boxes {
  gemm_box x, x_half, x_tail, w, index, y; /* x_half: of half a tile */
} gemm_boxes;

/* The problem is one that gemm_refusal accepts. */
void gemm_plan(const gemm_problem *p, const gemm_operands *o, gemm_boxes *boxes);

/* Pairs of tiles, one above the other, along the channels of a product. */
int gemm_pairs(const gemm_problem *p);

/* The tiles of count products of the same rows, for whole clusters of at most one block for each of sms multiprocessors. */
gemm_tiles gemm_tiles_plan(const gemm_problem *p, int count, int sms);

/* 1 when clusters share the product's tiles (gemm_few.cuh): few rows, and room to meet. */
int gemm_shared(const gemm_problem *p, const gemm_operands *o);

/* 1 when it takes the weights in gemv_order.h's order. */
int gemm_ordered(const gemm_problem *p, const gemm_operands *o);

/* Their shares, and rows of x that the kernel takes. */
gemm_shares gemm_shares_plan(const gemm_problem *p, const gemm_operands *o, int count, int sms);
int gemm_few_tokens(int m);

/* Blocks to launch for them. */
int gemm_blocks(const gemm_tiles *tiles, int sms);

#ifdef __cplusplus
}
#endif
#endif
