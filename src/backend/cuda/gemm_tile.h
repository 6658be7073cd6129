/* gemm_tile.h: the sizes that the kernels and the plan of their memory share. */
#ifndef CUDA_GEMM_TILE_H
#define CUDA_GEMM_TILE_H

#define GEMM_CHANNELS    128  /* rows of w in a tile */
#define GEMM_TOKENS      256  /* rows of x in a tile */
#define GEMM_CLUSTER     2    /* blocks, one above the other, that share x */
#define GEMM_GROUP_ROWS  64   /* rows of w that a warpgroup multiplies */
#define GEMM_WARPS       8    /* that multiply */
#define GEMM_ROUND_BYTES 8192 /* of a warpgroup's results on their way out at once */

#endif
