/* compress/segment.h: a segment: the blocks that share a global scale, in packed arrays, one after another in one piece:
 *
 *   starts  u64 [ceil(blocks / 64)]   byte, within the codes, of every 64th block   \  only where blocks differ in
 *   scales  f32 [blocks], zero points f32 [blocks]   affine                          |  their bits
 *           E4M3 [blocks]                            nvfp4                           |
 *   widths  u8  [blocks]              bits of each block: 2 … 8, 16, 32             /
 *   codes                             block after block, each from a whole byte on, a short one as long as a whole one
 *
 * Where all blocks have 16 or 32 bits there are codes alone, values without gaps. 16 bits: halves of x / global; 32: x.
 * This is what lies in memory, in a container's chunk, and what a view points into; little-endian.
 */
#ifndef COMPRESS_SEGMENT_H
#define COMPRESS_SEGMENT_H

#include "base/pool.h"
#include "compress/kernels.h"
#include "pack/pack.h"
#include "viva/compress.h"

#define SEGMENT_WIDE 16 /* bits of a half */
#define SEGMENT_RAW  32
#define STARTS_EVERY 64
#define GLOBAL_BYTES 4                 /* of a segment's global scale, which is counted though it lies elsewhere */
#define GRAIN_VALUES ((size_t)1 << 14) /* about what a thread does at once: 64 KiB of values */

/* Where blocks begin: in rows of `row` values, each cut into blocks of `block` from its beginning on. */
typedef struct block_grid {
  size_t values, row;
  uint32_t block;
} block_grid;

static inline size_t grid_row_blocks(const block_grid *g) { return g->row / g->block + (g->row % g->block != 0); }
static inline size_t grid_blocks(const block_grid *g) {
  const size_t rest = g->row ? g->values % g->row : 0;
  return g->row ? g->values / g->row * grid_row_blocks(g) + (rest + g->block - 1) / g->block : 0;
}

/* Blocks [first, first + blocks) that lie in one row, and their values. */
typedef struct block_run {
  size_t first, blocks, value, values;
} block_run;

/* The longest run from block `from` on that ends before block `end`. */
block_run grid_run(const block_grid *g, size_t from, size_t end);

typedef struct segment {
  uint64_t first_value, first_block; /* in its tensor */
  block_grid grid;
  viva_codec codec;
  int symmetric;
  uint32_t bits; /* of all blocks; 0: each its own */
  float global;
  float absmax; /* the largest magnitude, where it was encoded with a bound or without a given scale; else 0 */
  viva_chunk_fate fate;
  double error_pct;
  int bound_met;
  size_t blocks;
  uint8_t *data; /* aligned to 8 at least */
  size_t bytes;
  uint8_t *room; /* somebody's memory, which data lies in; NULL: data is memory of its own */
} segment;

/* The arrays inside data; NULL: there is none. */
typedef struct segment_parts {
  uint64_t *starts;
  float *scales, *zeros;
  uint8_t *nvfp4_scales, *widths, *codes;
  size_t code_bytes;
} segment_parts;

/* Offset of the codes (bits 0: for blocks that differ), and all bytes when all blocks have `bits`. 1 on overflow. */
int segment_sizes(const segment *s, size_t *codes_at, size_t *bytes);
segment_parts segment_split(const segment *s);

/* Bytes of a block's codes, by its bits; where codes of block b lie. */
static inline size_t block_code_bytes(uint32_t block, uint32_t bits) { return codes_bytes(block, bits); }
size_t segment_code_at(const segment *s, const segment_parts *p, size_t block);
static inline uint32_t segment_block_bits(const segment *s, const segment_parts *p, size_t block) {
  return s->bits ? s->bits : p->widths[block];
}

/* Where a block's values begin in the segment; of s->blocks, where they end. */
size_t segment_value_at(const segment *s, size_t block);

/* 1 when the arrays of a segment from a file agree: bytes as its sizes say, widths that there are, starts as the widths
 * say. What the scales hold is not looked at: any bytes decode to some value, safely. */
int segment_valid(const segment *s);

/* How values become segments: a configuration that was checked, and what is needed to carry it out. */
typedef struct coder {
  viva_compression_config config;
  size_t row; /* values of a row where blocks end; 0: they do not */
  runtime *rt;
  pool *pool; /* NULL: the caller alone */
  const compress_kernels *kernels;
} coder;

/* E_ARGUMENT: the field is the error's item. */
viva_status config_wrong(viva_error *error, const char *field, const char *expected);

/* Errors: E_ARGUMENT, as config_wrong. row: length of the last axis. */
viva_status coder_make(const viva_compression_config *config, size_t row, runtime *rt, pool *threads, coder *c,
                       viva_error *error);

/* Bytes of a segment of so many values, where they do not depend on the values: 0 where a bound or values that are not finite
 * may change its bits, or where they overflow. */
size_t coder_bytes(const coder *c, size_t count);

/* Compresses count values as one segment, whose data comes from rt's memory and is then the caller's. first: index of the
 * first, for messages. room: coder_bytes (not 0) where data is put instead, aligned to 8; or NULL. Errors: E_NUMERIC, E_ARGUMENT
 * (a value far beyond the given scale), E_LIMIT, E_MEMORY. */
viva_status segment_encode(const coder *c, const float *values, size_t count, uint64_t first, uint8_t *room, segment *s,
                           viva_error *error);
/* The same by threads that share a segment: each fills blocks of its own. s: begun, with its global scale, its data and their
 * bytes (coder_bytes, not 0). */
void segment_begin(const coder *c, size_t count, uint8_t *room, segment *s);
void segment_fill_blocks(const coder *c, const segment *s, const float *values, size_t from, size_t end);
/* As it is: 32 bits. */
viva_status segment_store(const coder *c, const float *values, size_t count, segment *s, viva_error *error);

/* to[0 … values of blocks [from, end)): block `from` must begin at to. past: as in compress_kernels.decode. */
void segment_decode_blocks(const segment *s, size_t from, size_t end, int past, float *to);
/* All of it, by these threads. */
void segment_decode(const segment *s, pool *threads, float *to);

/* Errors of a decoded segment against values, in units of `unit`: error_unit of the values' largest magnitude. */
viva_status segment_errors(const segment *s, const coder *c, const float *values, float unit, error_sums *sums,
                           viva_error *error);
/* 100 · the measure / absmax for sums over count values in units of `unit`; 0 when absmax or count is. */
double error_percent(const error_sums *sums, size_t count, float unit, float absmax, viva_error_measure measure);

/* nvfp4: G for this global scale (absmax), as compressed-tensors rounds it: (1 / absmax) · 2688, at most 2^118, so that
 * G / scale is finite for the least scale, 2^-9. */
#define NVFP4_NUMBER_MOST 0x1p118f
float nvfp4_number(float global);

#endif
