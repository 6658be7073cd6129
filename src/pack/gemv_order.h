/* pack/gemv_order.h: the second order of a packed weight, in which the CUDA kernels for 1 to 16 rows read it.
 *
 * The tensor cores take a tile of 16 rows of weights at a time, each lane holding certain codes of it. So the codes are
 * kept in the order in which the lanes want them, and every load of a warp is 32 × 16 bytes in a row. What is read
 * together lies together:
 *
 *   matrix  [tile of 16 rows][record of 128 columns]        rows and columns beyond the last are zero
 *   record  codes                                           then, where the format has them,
 *           positions of 2:4, then scales of blocks
 *   and behind all records the row scales, FP32 [tiles × 16]: what the sum of a row is multiplied with
 *
 *              columns  0 ........ 127 | 128 ...... 255 |            lane = 4 g + t   (g: 0 … 7, t: 0 … 3)
 *   rows 0 .. 15      [ record 0       | record 1       | …
 *   rows 16 .. 31     [ record R       | record R + 1   | …          R = ⌈columns / 128⌉
 *
 * Codes of a record are vectors of 16 bytes, [vector / 32][lane]. Lane 4 g + t holds rows g and g + 8; of a block of 16 columns
 * it holds four pairs, p = 0 … 3: row g + 8 (p mod 2), columns 2t, 2t + 1 and, of p = 2 and 3, 8 more.
 *
 *            column  0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15
 *   row g            t = 0 t = 1 t = 2 t = 3 t = 0 t = 1 t = 2 t = 3
 *                    ------- p = 0 --------- ------- p = 2 ---------
 *   row g + 8        ------- p = 1 --------- ------- p = 3 ---------
 *
 *   16 bits   8 × 32 vectors, each a block: pairs 0, 1, 2, 3
 *   FP8       4 × 32 vectors, each two blocks: pairs 0, 2 of the first; 0, 2 of the second; 1, 3 of the first; of the second
 *   NVFP4     2 × 32 vectors, each four blocks, a word for each. A pair is two FP16, its codes · 2^−14: of eight bits of
 *             GEMV_FP4_BITS. The word is the one of which gemv_fp4_pair makes its four pairs by two operations each
 *
 * 2:4 has spans of 32 columns in place of blocks, and groups of 4 columns, of which two codes are kept, in place of pairs: pair p
 * is row g + 8 (p mod 2), group t and, of p = 2 and 3, 4 more.
 *
 *   INT8 2:4  2 × 32 vectors, each two spans: pairs 0, 1, 2, 3 of each; codes + 128
 *   INT4 2:4  32 vectors, four spans, a word for each: of pair p the first code at bits 4p … 4p+3, the second 16 higher; + 8
 *
 *   positions: words. Lane t has span t / 2 of 64 columns, groups 4 (t mod 2) … + 3, row g in the low half, g + 8 in the high half, a
 *             nibble for each group, as layout.h has it. INT8: [64 columns][lane]; INT4: [lane][64 columns]
 *   scales:   FP8, INT4: [block of the record][g][row g, row g + 8] of the type they have. NVFP4: [64 columns][g][block 0 … 3][row
 *             g, row g + 8]
 *
 * Rows of x stay in the order of their columns. */
#ifndef PACK_GEMV_ORDER_H
#define PACK_GEMV_ORDER_H

#include "pack/weight.h"

#ifdef __CUDACC__
#define GEMV_SHARED static __host__ __device__ inline
#else
#define GEMV_SHARED static inline
#endif

#define GEMV_TILE   16  /* rows of w */
#define GEMV_RECORD 128 /* columns */
#define GEMV_LANES  32
#define GEMV_VECTOR 16 /* bytes */
#define GEMV_PIECE  8  /* columns of x that are moved together: 16 bytes of FP16 */

#define GEMV_NVFP4_SCALE 16384.0f /* the decoded code is its value · 2^−14 */

/* Sizes of a weight in this order. */
typedef struct gemv_order {
  size_t tiles, records;             /* records of a tile */
  size_t code_bytes, position_bytes; /* of a record */
  size_t record_bytes, row_scales_offset, bytes;
} gemv_order;

static inline size_t gemv_code_bytes(weight_format format) {
  switch (format) {
  case WEIGHT_BF16:
  case WEIGHT_F16: return (size_t)GEMV_TILE * GEMV_RECORD * 2;
  case WEIGHT_FP8: return (size_t)GEMV_TILE * GEMV_RECORD;
  case WEIGHT_NVFP4: return (size_t)GEMV_TILE * GEMV_RECORD / 2;
  case WEIGHT_INT8_24: return (size_t)GEMV_TILE * GEMV_RECORD / 2;
  case WEIGHT_INT4_24: return (size_t)GEMV_TILE * GEMV_RECORD / 4;
  default: return 0; /* F32 has no such order */
  }
}

/* rows and cols are those of a weight that exists, so nothing overflows: a record holds 4096 bytes for 2048 weights. */
static inline gemv_order gemv_order_of(const weight *w) {
  const int sparse = w->format == WEIGHT_INT8_24 || w->format == WEIGHT_INT4_24;
  gemv_order o = {0};
  o.tiles = (w->rows + GEMV_TILE - 1) / GEMV_TILE;
  o.records = (w->cols + GEMV_RECORD - 1) / GEMV_RECORD;
  o.code_bytes = gemv_code_bytes(w->format);
  o.position_bytes = sparse ? (size_t)GEMV_TILE * GEMV_RECORD / 8 : 0;
  o.record_bytes = o.code_bytes + o.position_bytes;
  if (weight_blocked(w)) o.record_bytes += GEMV_RECORD / w->block * GEMV_TILE * scale_bytes(w->scales_type);
  o.row_scales_offset = o.tiles * o.records * o.record_bytes;
  o.bytes = o.row_scales_offset + o.tiles * GEMV_TILE * sizeof(float);
  return o;
}

/* -- where codes come from: each function reads w's own order (layout.h), 0 beyond the last row or column */

GEMV_SHARED const uint8_t *gemv_row(const weight *w, size_t row) {
  return (const uint8_t *)w->data + row * w->row_bytes;
}

GEMV_SHARED uint32_t gemv_pair16(const weight *w, size_t row, size_t col) { /* columns col and col + 1 */
  if (row >= w->rows || col >= w->cols) return 0;
  const uint16_t *at = (const uint16_t *)(const void *)gemv_row(w, row) + col;
  return at[0] | (col + 1 < w->cols ? (uint32_t)at[1] << 16 : 0u);
}

GEMV_SHARED uint32_t gemv_code_fp8(const weight *w, size_t row, size_t col) {
  return row < w->rows && col < w->cols ? gemv_row(w, row)[col] : 0u;
}

GEMV_SHARED uint32_t gemv_code_fp4(const weight *w, size_t row, size_t col) {
  if (row >= w->rows || col >= w->cols) return 0;
  return (uint32_t)gemv_row(w, row)[col / 2] >> (col & 1) * 4 & 0xfu;
}

/* Kept code k (0 or 1) of the group at column col; the blocks hold whole groups to their end. */
GEMV_SHARED uint32_t gemv_kept(const weight *w, size_t row, size_t col, uint32_t k) {
  const uint32_t bits = w->format == WEIGHT_INT8_24 ? 8 : 4, bias = 1u << (bits - 1);
  if (row >= w->rows || col >= w->cols) return bias;
  const size_t block = bits == 8 ? sizeof(int8_24_block) : sizeof(int4_24_block);
  const uint8_t *codes = gemv_row(w, row) + col / SPARSE_24_COLUMNS * block;
  const uint32_t at = (uint32_t)(col % SPARSE_24_COLUMNS / 2) + k;
  const uint32_t code = bits == 8 ? codes[at] : (uint32_t)codes[at / 2] >> (at & 1) * 4 & 0xfu;
  return code ^ bias; /* two's complement + 128, + 8 */
}

/* Index nibbles of the four groups from column col, a multiple of 16. */
GEMV_SHARED uint32_t gemv_index(const weight *w, size_t row, size_t col) {
  if (row >= w->rows || col >= w->cols) return 0x4444; /* (0, 1) */
  const size_t codes = w->format == WEIGHT_INT8_24 ? SPARSE_24_KEPT : SPARSE_24_KEPT / 2;
  const uint8_t *index =
      gemv_row(w, row) + col / SPARSE_24_COLUMNS * (codes + SPARSE_24_GROUPS / 2) + codes + col % SPARSE_24_COLUMNS / 8;
  return index[0] | (uint32_t)index[1] << 8;
}

/* -- words of the new order. row, col: of the record's first code; lane and what are places in it */

GEMV_SHARED uint32_t gemv_word_16(const weight *w, size_t row, size_t col, uint32_t lane, uint32_t pair) {
  return gemv_pair16(w, row + lane / 4 + (pair & 1) * 8, col + lane % 4 * 2 + pair / 2 * 8);
}

GEMV_SHARED uint32_t gemv_word_fp8(const weight *w, size_t row, size_t col, uint32_t lane, uint32_t word) {
  uint32_t all = 0;
  for (uint32_t i = 0; i < 4; i++)
    all |= gemv_code_fp8(w, row + lane / 4 + word / 2 * 8, col + (word & 1) * 16 + lane % 4 * 2 + i / 2 * 8 + (i & 1))
           << 8 * i;
  return all;
}

#define GEMV_FP4_BITS 0x8e008e00u /* of two FP16 that are codes · 2^−14 */

GEMV_SHARED uint32_t gemv_left(uint32_t w, uint32_t by) { return w << by | w >> (32 - by); }

/* The word whose gemv_fp4_pair p is pair[p]: each line finds the bits that those before have left only one way to. */
GEMV_SHARED uint32_t gemv_fp4_word(const uint32_t pair[4]) {
  uint32_t w = pair[2] >> 9 | pair[3] >> 6;
  w |= ((pair[1] ^ w) & 0x02000200u) >> 2;
  w |= (pair[1] ^ w << 2) & 0x08000800u;
  w |= (pair[0] ^ gemv_left(w, 13)) & 0x80008000u;
  w |= gemv_left((pair[0] ^ w) & 0x02000200u, 19);
  w |= ((pair[1] ^ w) & 0x80008000u) >> 2;
  w |= (pair[0] ^ gemv_left(w, 13)) & 0x04000400u;
  w |= gemv_left((pair[0] ^ w) & 0x08000800u, 19);
  w |= ((pair[1] ^ w) & 0x04000400u) >> 2;
  return w;
}

/* Two operations: a shift or rotation, and one of three operands. */
GEMV_SHARED uint32_t gemv_fp4_pair(uint32_t w, int p) {
  switch (p) {
  case 0: return (w ^ gemv_left(w, 13)) & GEMV_FP4_BITS;
  case 1: return (w ^ w << 2) & GEMV_FP4_BITS;
  case 2: return w << 9 & GEMV_FP4_BITS;
  default: return w << 6 & GEMV_FP4_BITS;
  }
}

GEMV_SHARED uint32_t gemv_word_nvfp4(const weight *w, size_t row, size_t col, uint32_t lane, uint32_t block) {
  uint32_t pairs[4];
  for (uint32_t p = 0; p < 4; p++) {
    pairs[p] = 0;
    for (uint32_t i = 0; i < 2; i++) {
      const uint32_t code =
          gemv_code_fp4(w, row + lane / 4 + (p & 1) * 8, col + block * 16 + lane % 4 * 2 + p / 2 * 8 + i);
      pairs[p] |= ((code & 8u) << 12 | (code & 7u) << 9) << 16 * i;
    }
  }
  return gemv_fp4_word(pairs);
}

/* Word 0 and 1 of a span: pairs 0, 1 and 2, 3. */
GEMV_SHARED uint32_t gemv_word_int8(const weight *w, size_t row, size_t col, uint32_t lane, uint32_t word) {
  uint32_t all = 0;
  for (uint32_t i = 0; i < 4; i++) {
    const uint32_t pair = (word & 1) * 2 + i / 2, group = lane % 4 + pair / 2 * 4;
    all |= gemv_kept(w, row + lane / 4 + (pair & 1) * 8, col + word / 2 * 32 + group * 4, i & 1) << 8 * i;
  }
  return all;
}

GEMV_SHARED uint32_t gemv_word_int4(const weight *w, size_t row, size_t col, uint32_t lane, uint32_t span) {
  uint32_t all = 0;
  for (uint32_t p = 0; p < 4; p++)
    for (uint32_t i = 0; i < 2; i++)
      all |= gemv_kept(w, row + lane / 4 + (p & 1) * 8, col + span * 32 + (lane % 4 + p / 2 * 4) * 4, i)
             << (4 * p + 16 * i);
  return all;
}

GEMV_SHARED uint32_t gemv_positions(const weight *w, size_t row, size_t col, uint32_t lane) { /* of 64 columns */
  const size_t at = col + lane % 4 / 2 * 32 + (lane & 1) * 16;
  return gemv_index(w, row + lane / 4, at) | gemv_index(w, row + lane / 4 + 8, at) << 16;
}

/* Word i (of 4 bytes) of the codes and positions of the record whose first code is at row, col. */
GEMV_SHARED uint32_t gemv_record_word(const weight *w, size_t row, size_t col, uint32_t i) {
  const uint32_t vector = i / 128, lane = i / 4 % 32, word = i % 4; /* 128 words: a vector of each lane */
  switch (w->format) {
  case WEIGHT_BF16:
  case WEIGHT_F16: return gemv_word_16(w, row, col + vector * 16, lane, word);
  case WEIGHT_FP8: return gemv_word_fp8(w, row, col + vector * 32, lane, word);
  case WEIGHT_NVFP4: return gemv_word_nvfp4(w, row, col + vector * 64, lane, word);
  case WEIGHT_INT8_24:
    if (vector < 2) return gemv_word_int8(w, row, col + vector * 64, lane, word);
    return gemv_positions(w, row, col + i / 32 % 2 * 64, i % 32);
  case WEIGHT_INT4_24:
    if (vector < 1) return gemv_word_int4(w, row, col, lane, word);
    return gemv_positions(w, row, col + (i & 1) * 64, i % 64 / 2);
  default: return 0;
  }
}

/* Byte i of the scales of blocks of that record, as w has them; 0 beyond the last. */
GEMV_SHARED uint8_t gemv_record_scale(const weight *w, size_t row, size_t col, uint32_t i) {
  const uint32_t size = w->scales_type == SCALE_F32 ? 4 : w->scales_type == SCALE_F16 ? 2 : 1, n = i / size;
  uint32_t g = n / 2 % 8, block = n / 16; /* n counts [block][g][row g, g + 8] */
  if (w->format == WEIGHT_NVFP4) {        /* [64 columns][g][block][row] */
    g = n / 8 % 8;
    block = n / 64 * 4 + n / 2 % 4;
  }
  const size_t at = row + g + (n & 1) * 8, c = col + (size_t)block * w->block;
  if (at >= w->rows || c >= w->cols) return 0;
  return ((const uint8_t *)w->scales)[at * w->scale_row_bytes + c / w->block * size + i % size];
}

/* to: gemv_order_of(w).bytes. w is in the host's memory; not F32. Rows of tiles [tile, tile + tiles). */
void gemv_order_tiles(const weight *w, size_t tile, size_t tiles, void *to);

#endif
