/* format/checkpoint.h: what viva_checkpoint is inside, for format/ and model/.
 *
 * One list of checked tensor views, whatever the container. safetensors.c, shards.c and gguf.c each fill it.
 */
#ifndef FORMAT_CHECKPOINT_H
#define FORMAT_CHECKPOINT_H

#include "base/allowance.h"
#include "base/runtime.h"
#include "format/types.h"
#include "viva/checkpoint.h"

typedef enum container_kind { CONTAINER_SAFETENSORS, CONTAINER_GGUF } container_kind;

#define TENSOR_NAME_MOST 255 /* bytes, in every container; real ones have up to 120 */

/* A tensor's checked place: [offset, offset + bytes) lies within files[file], and bytes is what type and shape need. */
typedef struct tensor_view {
  const char *name; /* zero-ended, valid UTF-8, no zero byte inside */
  file_type type;
  uint32_t rank;
  uint32_t file;     /* index into files */
  uint64_t shape[8]; /* outermost first */
  uint64_t elements;
  uint64_t bytes;
  uint64_t offset; /* from the beginning of the file */
} tensor_view;

typedef struct checkpoint_file {
  const char *path; /* zero-ended, in the arena */
  io_file io;
  const uint8_t *map; /* whole file, or NULL in read mode */
} checkpoint_file;

struct viva_checkpoint {
  runtime *rt; /* one reference */
  arena *arena;
  container_kind container;
  viva_load_mode load;
  const char *path;   /* as given */
  const char *folder; /* of the weights, for the files beside them */
  checkpoint_file *files;
  size_t file_count;
  tensor_view *tensors; /* sorted by name */
  size_t tensor_count;
  struct metadata_entry *metadata; /* for viva_checkpoint_metadata */
  size_t metadata_count;
  struct gguf *gguf;   /* key-value pairs, CONTAINER_GGUF only */
  allowance allowance; /* of opening */
};

/* As viva_checkpoint_open, on a given runtime (which is retained). */
viva_status checkpoint_open(runtime *rt, const char *path, viva_load_mode load, viva_checkpoint **out,
                            viva_error *error);

/* NULL when there is none. */
const tensor_view *checkpoint_find(const viva_checkpoint *ck, const char *name);

/* Copies bytes [first, first + bytes) of the tensor's data. */
viva_status checkpoint_read_part(const viva_checkpoint *ck, const tensor_view *view, uint64_t first, void *data,
                                 size_t bytes, viva_error *error);

/* The tensor's bytes in the mapping, or NULL in read mode. Possibly unaligned. */
const void *checkpoint_mapped(const viva_checkpoint *ck, const tensor_view *view);

/* Sets error with the tensor's name, file and offset as place; returns code. */
viva_status checkpoint_fail(const viva_checkpoint *ck, const tensor_view *view, viva_error *error, viva_status code,
                            const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Reads a small whole file (JSON) beside the weights into the arena's memory, zero-ended. E_NOT_FOUND when it does not
 * exist; E_LIMIT above limit bytes. */
viva_status file_read_all(runtime *rt, arena *a, const char *path, uint64_t limit, const char **text, size_t *bytes,
                          viva_error *error);

#endif
