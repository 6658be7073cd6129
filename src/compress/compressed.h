/* compress/compressed.h: what viva_compressed is inside: segments, whose arrays are its own or a view of somebody's. */
#ifndef COMPRESS_COMPRESSED_H
#define COMPRESS_COMPRESSED_H

#include "compress/segment.h"

struct viva_compressed {
  _Atomic uint32_t references;
  runtime *rt; /* one reference */
  viva_compression_config config;
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  uint64_t elements, blocks;
  size_t count; /* of segments */
  segment *segments;
  int owned;                   /* the segments' data are rt's, each its own, or all of them in room */
  uint8_t *room;               /* or NULL */
  void (*release)(void *keep); /* or they lie in what keep keeps alive; NULL: none */
  void *keep;
};

/* A handle without segments, with room for `segments`; rank and shape are the caller's to set. NULL: no memory. */
viva_compressed *compressed_make(runtime *rt, const viva_compression_config *config, size_t segments);

/* Segment [count] was filled: it becomes part of the tensor. */
void compressed_count(viva_compressed *c);

/* Fills a chunk's view of a segment. */
void chunk_view(const segment *s, uint64_t id, uint64_t first_value, viva_stream_chunk *chunk);

/* Blocks to a segment, and bytes by the original's formula for the whole. */
uint64_t seed_bytes(const viva_compression_config *config, uint64_t blocks);

#endif
