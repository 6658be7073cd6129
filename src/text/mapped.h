/* text/mapped.h: text that remembers where it came from.
 *
 * Normalizers and pre-tokenizers that change text write a new one. When a caller wants offsets, each byte carries the
 * range of the original text that it stands for, by the reference's rules (tokenizer/normalizer.rs); otherwise origins
 * are NULL and cost nothing.
 */
#ifndef TEXT_MAPPED_H
#define TEXT_MAPPED_H

#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

/* A range of bytes of the original text. */
typedef struct origin {
  size_t begin, end;
} origin;

/* Text that somebody else owns. */
typedef struct text_view {
  const uint8_t *bytes;
  const origin *origins; /* one for each byte, or NULL */
  size_t count;
} text_view;

/* Text that grows. Zeroed but for mem and with_origins at first; ended by mapped_free. */
typedef struct mapped {
  mem *mem;
  uint8_t *bytes;
  origin *origins;
  size_t count, room;
  int with_origins;
} mapped;

void mapped_free(mapped *text);
static inline text_view mapped_view(const mapped *text) {
  return (text_view){text->bytes, text->with_origins ? text->origins : NULL, text->count};
}

/* Room for more bytes. 1: no memory. */
int mapped_reserve(mapped *text, size_t more);

/* Appends from[begin .. end) with its origins. 1: no memory. from must not be a view of text. */
int mapped_copy(mapped *text, text_view from, size_t begin, size_t end);

/* Appends bytes that all stand for the same range. 1: no memory. */
int mapped_put(mapped *text, const void *bytes, size_t count, origin of);

/* The origins of text as it was given, from original position `at` on: each byte stands for its character. text is
 * valid UTF-8; `out` has room for count. */
void mapped_identity(const uint8_t *text, size_t count, size_t at, origin *out);

/* The part of a view. */
static inline text_view view_part(text_view v, size_t begin, size_t end) {
  return (text_view){v.bytes + begin, v.origins ? v.origins + begin : NULL, end - begin};
}

/* What byte `at` stands for; nothing when origins are not kept. */
static inline origin view_origin(text_view v, size_t at) { return v.origins ? v.origins[at] : (origin){0, 0}; }

#endif
