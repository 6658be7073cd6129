/* format/safetensors/safetensors_header.h: the header of a safetensors file as its two writers make it.
 *
 * It is, byte for byte, what the reference writer makes: compact, padded with spaces to a multiple of 8, __metadata__ first,
 * tensors by type (the widest first, so that each is aligned), then name.
 */
#ifndef FORMAT_SAFETENSORS_SAFETENSORS_HEADER_H
#define FORMAT_SAFETENSORS_SAFETENSORS_HEADER_H

#include "format/json_text.h"

#define SAFETENSORS_LENGTH_BYTES     8          /* before the header */
#define SAFETENSORS_MAX_HEADER_BYTES 100000000u /* the format's own limit */

enum { SAFETENSORS_MAX_RANK = 8 };

/* Where tensors of this type come in a file. */
size_t safetensors_place(file_type type);

void safetensors_header_begin(json_text *j, const char *const *metadata, size_t metadata_count);
void safetensors_header_tensor(json_text *j, const char *name, file_type type, uint32_t rank, const uint64_t *shape,
                               uint64_t offset, uint64_t bytes);
void safetensors_header_end(json_text *j);

/* The 8 bytes before a header of so many. */
void safetensors_length(uint8_t to[SAFETENSORS_LENGTH_BYTES], uint64_t header_bytes);

#endif
