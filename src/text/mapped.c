#include "text/mapped.h"

#include <string.h>

#include "text/unicode.h"

void mapped_free(mapped *text) {
  mem_free(text->mem, text->bytes);
  mem_free(text->mem, text->origins);
  *text = (mapped){.mem = text->mem, .with_origins = text->with_origins};
}

int mapped_reserve(mapped *text, size_t more) {
  if (more <= text->room - text->count) return 0;
  if (more > SIZE_MAX / 4 - text->count) return 1;
  if (text->most && (text->count > text->most || more > text->most - text->count)) {
    text->is_over = 1;
    return 1;
  }
  size_t room = text->count + more + text->room / 2 + 64;
  uint8_t *bytes = mem_resize(text->mem, text->bytes, room);
  if (!bytes) return 1;
  text->bytes = bytes;
  if (text->with_origins) {
    origin *origins =
        room > SIZE_MAX / sizeof *origins ? NULL : mem_resize(text->mem, text->origins, room * sizeof *origins);
    if (!origins) return 1;
    text->origins = origins;
  }
  text->room = room;
  return 0;
}

viva_status mapped_status(const mapped *text, viva_status status, viva_error *error) {
  if (status != VIVA_E_MEMORY || !text->is_over) return status;
  return error_set(error, VIVA_E_LIMIT, "the tokenizer's rules make more than 1024 bytes of each byte of the text");
}

int mapped_copy(mapped *text, text_view from, size_t begin, size_t end) {
  size_t count = end - begin;
  if (count == 0) return 0;
  if (mapped_reserve(text, count)) return 1;
  memcpy(text->bytes + text->count, from.bytes + begin, count);
  if (text->with_origins) memcpy(text->origins + text->count, from.origins + begin, count * sizeof *from.origins);
  text->count += count;
  return 0;
}

int mapped_put(mapped *text, const void *bytes, size_t count, origin of) {
  if (count == 0) return 0;
  if (mapped_reserve(text, count)) return 1;
  memcpy(text->bytes + text->count, bytes, count);
  if (text->with_origins)
    for (size_t i = 0; i < count; i++) text->origins[text->count + i] = of;
  text->count += count;
  return 0;
}

void mapped_identity(const uint8_t *text, size_t count, size_t at, origin *out) {
  for (size_t i = 0; i < count;) {
    uint32_t code;
    size_t n = unicode_read(text + i, &code);
    for (size_t k = 0; k < n; k++) out[i + k] = (origin){at + i, at + i + n};
    i += n;
  }
}
