/* format/gguf/gguf_parse.h: what the parts of the GGUF reader share. Private to gguf*.c. */
#ifndef FORMAT_GGUF_GGUF_PARSE_H
#define FORMAT_GGUF_GGUF_PARSE_H

#include "format/checkpoint_build.h"
#include "format/gguf/gguf.h"
#include "format/gguf/gguf_reader.h"

#define GGUF_TYPES             13 /* value types 0 to 12 */
#define GGUF_MAX_RANK          4  /* ggml's GGML_MAX_DIMS */
#define GGUF_DEFAULT_ALIGNMENT 32

/* Bytes of one encoded element; 0 for strings and arrays. type < GGUF_TYPES. */
size_t gguf_type_bytes(gguf_type type);

/* A key-value pair or a tensor as the parser met it: places instead of pointers, because the header's copy still moves.
 */
typedef struct raw_value {
  size_t key, key_bytes;
  size_t data, bytes;
  uint64_t count;
  gguf_type type;
  int is_array;
} raw_value;

typedef struct raw_tensor {
  size_t entry; /* where its description begins, for messages */
  size_t name, name_bytes;
  uint64_t shape[GGUF_MAX_RANK]; /* outermost first */
  uint64_t elements, bytes;
  uint64_t offset; /* from the beginning of the data */
  uint32_t rank;
  file_type type;
} raw_tensor;

typedef struct gguf_parse {
  viva_checkpoint *ck;
  uint32_t file; /* index into ck->files */
  gguf *g;       /* in the arena */
  gguf_reader reader;
  grow values;  /* of raw_value */
  grow tensors; /* of raw_tensor */
} gguf_parse;

/* gguf.c: reads and checks the header of ck->files[file]; its tensors are added at the end of ck->tensors. */
viva_status gguf_read_part(viva_checkpoint *ck, uint32_t file, gguf **out, viva_error *error);

/* gguf_values.c: count key-value pairs; sets g->alignment. */
viva_status parse_values(gguf_parse *p, uint64_t count);
/* With the whole header in g->header: g->values. Refuses double keys. */
viva_status finish_values(gguf_parse *p);

/* gguf_text.c: ck->metadata, from g->values. */
viva_status describe_values(gguf_parse *p);

/* gguf_tensors.c: count tensor descriptions. */
viva_status parse_tensors(gguf_parse *p, uint64_t count);
/* With g->data_offset known: adds to ck->tensors, sorted. Refuses double names, data outside the file or overlapping. */
viva_status finish_tensors(gguf_parse *p);

#endif
