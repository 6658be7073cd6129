/* format/safetensors/safetensors_stream.h: writes safetensors shards whose data do not fit in memory.
 *
 * All tensors are known beforehand, their bytes come later, piece by piece and in any order within a shard:
 *
 *   TRY(stream_open(rt, folder, tensors, count, metadata, 1, &s, error));
 *   stream_write(s, tensor, first_byte, data, bytes, error);        shards in rising order
 *   TRY(stream_finish(s, error));                                   or stream_abort(s)
 *
 * One shard is open at a time. Files appear under their own names: the folder is one that nobody else sees yet.
 */
#ifndef FORMAT_SAFETENSORS_SAFETENSORS_STREAM_H
#define FORMAT_SAFETENSORS_SAFETENSORS_STREAM_H

#include "base/runtime.h"
#include "format/types.h"

typedef struct stream_tensor {
  const char *name; /* zero-ended UTF-8, unique */
  file_type type;   /* one of safetensors' */
  uint32_t rank;
  uint64_t shape[8];
  uint64_t bytes;
  uint32_t shard;  /* from 0, rising without gaps from tensor to tensor */
  uint64_t offset; /* of its data in the file: set by stream_open */
} stream_tensor;

typedef struct stream stream;

/* tensors must outlive the stream. Errors: E_MEMORY, E_LIMIT (a header above the format's limit). Nothing is written yet.
 *
 * folder:   exists, and has none of the files
 * metadata: metadata_count pairs key, value, in every file */
viva_status stream_open(runtime *rt, const char *folder, stream_tensor *tensors, size_t count,
                        const char *const *metadata, size_t metadata_count, stream **out, viva_error *error);

/* Bytes [first, first + bytes) of tensors[tensor]. A shard is finished when a tensor of a later one is written; every byte of
 * it must have been. Errors: E_IO. */
viva_status stream_write(stream *s, size_t tensor, uint64_t first, const void *data, uint64_t bytes, viva_error *error);

/* Finishes the last shard and writes the index when there are several; frees s. */
viva_status stream_finish(stream *s, viva_error *error);
void stream_abort(stream *s); /* NULL is allowed. The files stay */

uint32_t stream_files(const stream *s); /* shards, and the index */

#endif
