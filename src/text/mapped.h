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

#include "base/error.h"
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
  size_t most; /* bytes that it may have; 0: any number. A call that would pass it fails as if there were no memory */
  int is_over; /* 1: such a call was made */
} mapped;

/* What operations may make of a text of so many bytes: a list of them can double it again and again. The largest that the
 * known ones make of a byte is 11 bytes (NFKC of U+FDFA). */
static inline size_t mapped_most(size_t bytes) {
  return bytes < SIZE_MAX / 2048 ? 1024 * bytes + ((size_t)1 << 20) : SIZE_MAX;
}

/* The status of what was written into text: E_LIMIT where E_MEMORY came from its limit. */
viva_status mapped_status(const mapped *text, viva_status status, viva_error *error);

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
