/* compress/container.h: the file of docs/formats.md, "Containers": its records as bytes, for the files that write and read it.
 *
 *   header   64 bytes
 *   records  a header of 64 bytes, the payload, zeros up to a multiple of 64
 *     TENSOR   what it is: configuration, shape, name; its CHUNKs follow
 *     CHUNK    a segment (segment.h)
 *     INDEX    of each tensor: where its record is, how many chunks and values
 *     END      where the INDEX is
 *
 * All numbers little-endian; every header and payload has a checksum.
 */
#ifndef COMPRESS_CONTAINER_H
#define COMPRESS_CONTAINER_H

#include "compress/compress_inner.h"

#define CONTAINER_UNIT    64 /* everything begins at a multiple of it */
#define CONTAINER_VERSION 1
#define CONTAINER_NAME    4096

typedef enum record_kind { RECORD_TENSOR = 1, RECORD_CHUNK = 2, RECORD_INDEX = 3, RECORD_END = 4 } record_kind;

typedef struct record {
  record_kind kind;
  uint64_t bytes, hash; /* of the payload */
  uint32_t tensor;
  uint8_t bits, fate; /* CHUNK */
  uint64_t id;        /* CHUNK; END: offset of the INDEX */
  uint64_t values;    /* CHUNK */
  float global, error_pct;
} record;

/* The 64 bytes of the file's header and of a record's, and back. Reading: NULL, or what is wrong. */
void file_header_write(uint8_t to[CONTAINER_UNIT]);
const char *file_header_read(const uint8_t from[CONTAINER_UNIT], viva_status *status);
void record_write(const record *r, uint8_t to[CONTAINER_UNIT]);
const char *record_read(const uint8_t from[CONTAINER_UNIT], record *r);

static inline uint64_t record_padding(uint64_t bytes) { return -bytes % CONTAINER_UNIT; }

/* A TENSOR's payload without its name, whose bytes follow. */
#define TENSOR_BYTES 160
void tensor_write(const viva_container_tensor *t, uint32_t name_bytes, uint8_t to[TENSOR_BYTES]);
/* All but t->name; checks the configuration. NULL, or what is wrong. */
const char *tensor_read(const uint8_t *from, size_t bytes, viva_container_tensor *t, uint32_t *name_bytes);

/* An INDEX's entry. */
#define INDEX_BYTES 32
typedef struct index_entry {
  uint64_t offset; /* of the TENSOR's record */
  uint64_t chunks, values;
  uint64_t bytes; /* of the chunks' payloads */
} index_entry;
void index_write(const index_entry *e, uint8_t to[INDEX_BYTES]);
void index_read(const uint8_t from[INDEX_BYTES], index_entry *e);

/* The segment that a CHUNK holds, data (aligned to 8) being its payload. NULL, or what is wrong. */
const char *chunk_segment(const viva_container_tensor *t, const record *r, const uint8_t *data, segment *s);

/* What t is once its chunks are known; complete: all of them are there. NULL, or what is wrong. */
const char *tensor_settle(viva_container_tensor *t, const index_entry *e, int complete);

/* 1 when shape's product is not `elements`. */
int shape_differs(const viva_container_tensor *t, uint64_t elements);

#endif
