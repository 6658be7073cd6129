/* number/layout.h: the packed layouts, byte for byte: one definition for C, CUDA and files.
 *
 * Every matrix is [out][in], rows one after another, and all columns of a row together (K runs along memory):
 *
 *   FP8       codes  [out][in]            one E4M3 byte each; row_bytes = in
 *             scales [out][blocks]        F32, F16 or E8M0; blocks = 1 (per channel) or ceil(in / block)
 *   NVFP4     codes  [out][ceil(in/16)·8] two E2M1 to a byte, the even column in the low half
 *             scales [out][ceil(in/16)]   E4M3; and one FP32 for the matrix
 *   INT8 2:4  blocks [out][ceil(in/64)]   int8_24_block; scales [out] F32
 *   INT4 2:4  blocks [out][ceil(in/64)]   int4_24_block; scales [out][groups] F16 or F32
 *
 * FP8 and NVFP4 are what checkpoint files hold, so a mapped file runs without a copy. What lies beyond the last column
 * (the end of a last block) is zero: codes 0, and groups of 2:4 with the index (0,1). Scales follow the codes at the next multiple of PACK_ALIGN bytes when viva packs;
 * in a file they are where the file has them.
 */
#ifndef NUMBER_LAYOUT_H
#define NUMBER_LAYOUT_H

#include <stdint.h>

#define PACK_ALIGN 64

#define FP8_LARGEST        448.0f /* E4M3 */
#define INT8_LARGEST       127
#define INT4_LARGEST       7
#define NVFP4_BLOCK        16 /* weights to one scale */
#define NVFP4_BLOCK_BYTES  8
#define NVFP4_LARGEST      6.0f                          /* E2M1 */
#define NVFP4_GLOBAL_RANGE (FP8_LARGEST * NVFP4_LARGEST) /* 2688: G = 2688 / absmax */

/* 2:4: of every 4 neighbouring weights (a group) 2 are kept.
 *
 *   group g:   columns 4g 4g+1 4g+2 4g+3        kept: first < second position in the group
 *   codes:     [2g] of the first, [2g + 1] of the second
 *   index:     nibble g = first | second << 2;  byte i holds nibble 2i in its low half, 2i + 1 in its high half
 *
 *   (0,1) 0100   (0,2) 1000   (1,2) 1001   (0,3) 1100   (1,3) 1101   (2,3) 1110     as the sparse tensor cores have it
 *
 * A group with fewer than 2 weights that are not zero keeps zeros beside them (code 0, never −0), the lowest positions; one
 * of zeros (0,1). A nibble of a file that is none of these six has no defined value, but is safe to read (pack.h). */
#define SPARSE_24_GROUP   4
#define SPARSE_24_COLUMNS 64 /* of a block */
#define SPARSE_24_GROUPS  (SPARSE_24_COLUMNS / SPARSE_24_GROUP)
#define SPARSE_24_KEPT    (SPARSE_24_COLUMNS / 2)

/* 64 columns in 40 bytes: 5 bits a weight. */
typedef struct int8_24_block {
  int8_t codes[SPARSE_24_KEPT];        /* −127 … 127 */
  uint8_t index[SPARSE_24_GROUPS / 2]; /* 16 nibbles */
} int8_24_block;

/* 64 columns in 24 bytes: 3 bits a weight, and the scales. */
typedef struct int4_24_block {
  uint8_t
      codes[SPARSE_24_KEPT / 2]; /* two's complement −7 … 7: code 2i in the low half of byte i, 2i + 1 in the high */
  uint8_t index[SPARSE_24_GROUPS / 2]; /* 16 nibbles */
} int4_24_block;

#ifdef __cplusplus
static_assert(sizeof(int8_24_block) == 40, "5 bits a weight: no padding");
static_assert(sizeof(int4_24_block) == 24, "3 bits a weight: no padding");
#else
_Static_assert(sizeof(int8_24_block) == 40, "5 bits a weight: no padding");
_Static_assert(sizeof(int4_24_block) == 24, "3 bits a weight: no padding");
#endif

#endif
