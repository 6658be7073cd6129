/* compress/compressed.c: the handle of a compressed tensor: lifetime, description, views. */
#include "compress/compressed.h"

#include <stdatomic.h>

#include "base/error.h"
#include "base/options.h"
#include "number/number.h"

/* -- lifetime */

viva_compressed *compressed_make(runtime *rt, const viva_compression_config *config, size_t segments) {
  viva_compressed *c = mem_zalloc(&rt->mem, sizeof *c);
  if (!c) return NULL;
  c->segments = mem_array(&rt->mem, segments, sizeof *c->segments);
  if (!c->segments) {
    mem_free(&rt->mem, c);
    return NULL;
  }
  atomic_init(&c->references, 1);
  c->rt = runtime_retain(rt);
  c->config = *config;
  return c;
}

void compressed_count(viva_compressed *c) {
  segment *s = &c->segments[c->count];
  const segment *before = c->count > 0 ? s - 1 : NULL;
  s->first_value = before ? before->first_value + before->grid.values : 0;
  s->first_block = c->blocks;
  c->blocks += s->blocks;
  c->count++;
}

viva_compressed *viva_compressed_retain(viva_compressed *compressed) {
  if (compressed) atomic_fetch_add_explicit(&compressed->references, 1, memory_order_relaxed);
  return compressed;
}

void viva_compressed_release(viva_compressed *compressed) {
  if (!compressed || atomic_fetch_sub_explicit(&compressed->references, 1, memory_order_acq_rel) != 1) return;
  runtime *rt = compressed->rt;
  for (size_t i = 0; compressed->owned && i < compressed->count; i++)
    if (!compressed->segments[i].room) mem_free(&rt->mem, compressed->segments[i].data);
  mem_free(&rt->mem, compressed->room);
  if (compressed->release) compressed->release(compressed->keep);
  mem_free(&rt->mem, compressed->segments);
  mem_free(&rt->mem, compressed);
  runtime_release(rt);
}

/* -- what it is */

uint64_t seed_bytes(const viva_compression_config *config, uint64_t blocks) {
  return blocks * (config->block_size * config->bits_per_value / 8 + 2 * sizeof(float)) + GLOBAL_BYTES;
}

/* Adds to info what became of a segment's blocks. */
static void count_blocks(const viva_compressed *c, const segment *s, viva_compressed_desc *info) {
  const segment_parts p = segment_split(s);
  for (size_t b = 0; b < s->blocks; b++) {
    const uint32_t bits = segment_block_bits(s, &p, b);
    info->blocks_raised += bits > c->config.bits_per_value;
    info->blocks_16 += bits == SEGMENT_WIDE;
    info->blocks_32 += bits == SEGMENT_RAW;
  }
}

viva_status viva_compressed_info(const viva_compressed *compressed, viva_compressed_desc *info, viva_error *error) {
  if (!compressed) return error_set(error, VIVA_E_ARGUMENT, "compressed is NULL");
  viva_compressed_desc filled = {.size = sizeof filled, .config = compressed->config, .rank = compressed->rank};
  memcpy(filled.shape, compressed->shape, sizeof filled.shape);
  filled.bound_met = 1;
  filled.num_elements = compressed->elements;
  filled.blocks = compressed->blocks;
  filled.segments = compressed->count;
  filled.global_scale = compressed->count ? compressed->segments[0].global : 1;
  filled.memory_bytes = compressed->count ? 0 : GLOBAL_BYTES;
  for (size_t i = 0; i < compressed->count; i++) {
    const segment *s = &compressed->segments[i];
    filled.memory_bytes += s->bytes + GLOBAL_BYTES;
    filled.bound_met &= s->bound_met;
    filled.segments_raw += s->bits == SEGMENT_RAW;
    if (s->error_pct > filled.error_pct) filled.error_pct = s->error_pct;
    count_blocks(compressed, s, &filled);
  }
  filled.seed_memory_bytes = seed_bytes(&compressed->config, compressed->blocks);
  filled.compression_ratio = 4.0 * (double)compressed->elements / (double)filled.memory_bytes;
  return options_fill(info, &filled, "viva_compressed_desc", error);
}

/* -- views */

void chunk_view(const segment *s, uint64_t id, uint64_t first_value, viva_stream_chunk *chunk) {
  const segment_parts p = segment_split(s);
  *chunk = (viva_stream_chunk){.size = sizeof *chunk,
                               .id = id,
                               .first_value = first_value,
                               .values = s->grid.values,
                               .blocks = s->blocks,
                               .compressed = s->bits != SEGMENT_RAW,
                               .fate = s->fate,
                               .bits = s->bits,
                               .global_scale = s->global,
                               .error_pct = s->error_pct,
                               .data = s->data,
                               .bytes = s->bytes,
                               .scales = p.scales,
                               .zero_points = p.zeros,
                               .nvfp4_scales = p.nvfp4_scales,
                               .block_bits = p.widths,
                               .codes = p.codes};
}

static viva_status none_of(viva_error *error, const char *what, uint64_t index, uint64_t count) {
  return error_set(error, VIVA_E_NOT_FOUND, "there is no %s %llu: there are %llu", what, (unsigned long long)index,
                   (unsigned long long)count);
}

viva_status viva_compressed_segment(const viva_compressed *compressed, uint64_t index, viva_stream_chunk *chunk,
                                    viva_error *error) {
  if (!compressed) return error_set(error, VIVA_E_ARGUMENT, "compressed is NULL");
  if (index >= compressed->count) return none_of(error, "segment", index, compressed->count);
  viva_stream_chunk filled;
  const segment *s = &compressed->segments[index];
  chunk_view(s, index, s->first_value, &filled);
  return options_fill(chunk, &filled, "viva_stream_chunk", error);
}

static void block_view(const segment *s, size_t index, viva_micro_block *block) {
  const segment_parts p = segment_split(s);
  const block_run run = grid_run(&s->grid, index, index + 1);
  const uint32_t bits = segment_block_bits(s, &p, index);
  *block = (viva_micro_block){.size = sizeof *block,
                              .codes = p.codes + segment_code_at(s, &p, index),
                              .code_bytes = codes_bytes(run.values, bits),
                              .count = (uint32_t)run.values,
                              .bits = bits,
                              .scale = 1,
                              .global_scale = s->global,
                              .codec = s->codec,
                              .symmetric = s->symmetric};
  if (bits >= SEGMENT_WIDE) return;
  block->scale = p.scales ? p.scales[index] : e4m3_to_f32(p.nvfp4_scales[index]);
  block->zero_point = p.zeros ? p.zeros[index] : 0;
}

viva_status viva_compressed_block(const viva_compressed *compressed, uint64_t index, viva_micro_block *block,
                                  viva_error *error) {
  if (!compressed) return error_set(error, VIVA_E_ARGUMENT, "compressed is NULL");
  if (index >= compressed->blocks) return none_of(error, "block", index, compressed->blocks);
  size_t low = 0, high = compressed->count; /* of the segments [low, high) one has it */
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    *(compressed->segments[middle].first_block <= index ? &low : &high) = middle;
  }
  const segment *s = &compressed->segments[low];
  viva_micro_block filled;
  block_view(s, (size_t)(index - s->first_block), &filled);
  return options_fill(block, &filled, "viva_micro_block", error);
}

viva_status viva_micro_block_codes(const viva_micro_block *block, int32_t *codes, size_t count, viva_error *error) {
  if (!block || !codes) return error_set(error, VIVA_E_ARGUMENT, "%s is NULL", block ? "codes" : "block");
  if (count != block->count)
    return error_set(error, VIVA_E_SIZE, "count is %zu; the block has %u codes", count, (unsigned)block->count);
  if (block->bits == SEGMENT_RAW)
    return error_set(error, VIVA_E_ARGUMENT, "the block is stored in 32 bits: block->codes are floats");
  if (block->bits == SEGMENT_WIDE) {
    for (size_t i = 0; i < count; i++) codes[i] = (int32_t)codes_load(block->codes + 2 * i, 2);
    return VIVA_OK;
  }
  uint8_t bytes[AFFINE_BLOCK_MOST];
  if (count > sizeof bytes) return error_set(error, VIVA_E_ARGUMENT, "a block has at most %zu codes", sizeof bytes);
  codes_unpack_n(block->codes, count, block->bits, bytes);
  const int sign = block->codec == VIVA_CODEC_AFFINE && block->symmetric ? 1 << (block->bits - 1) : 0;
  for (size_t i = 0; i < count; i++) codes[i] = (bytes[i] ^ sign) - sign;
  return VIVA_OK;
}
