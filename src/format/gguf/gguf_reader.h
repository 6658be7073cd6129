/* format/gguf/gguf_reader.h: a forward cursor over the beginning of a file, for parsing a GGUF header.
 *
 * The bytes are read once into private memory that grows as the parser goes on (where a header ends is known only when
 * it has been parsed), so what was checked cannot change afterwards. Positions are offsets from the beginning of the
 * file; pointers into bytes are valid until the next reader_need.
 */
#ifndef FORMAT_GGUF_GGUF_READER_H
#define FORMAT_GGUF_GGUF_READER_H

#include "base/runtime.h"

/* ggml's limit for one string or array; here for the whole header. */
#define GGUF_MAX_HEADER ((uint64_t)1 << 30)

typedef struct gguf_reader {
  runtime *rt;
  const io_file *file;
  viva_error *error;
  uint8_t *bytes; /* [0, have) of the file */
  size_t have;
  size_t at;               /* ≤ have */
  size_t item, item_bytes; /* the key or tensor name at hand, for messages; item_bytes 0: none */
} gguf_reader;

void reader_init(gguf_reader *r, runtime *rt, const io_file *file, viva_error *error);
void reader_free(gguf_reader *r);

/* Bytes of the file from at on. */
uint64_t reader_left(const gguf_reader *r);

/* Makes [at, at + bytes) present. what ("a key") is for the message when the file ends before: E_FORMAT. E_LIMIT beyond
 * GGUF_MAX_HEADER, E_MEMORY, E_IO. */
viva_status reader_need(gguf_reader *r, uint64_t bytes, const char *what);

/* reader_need, then moves on. */
viva_status reader_skip(gguf_reader *r, uint64_t bytes, const char *what);
viva_status reader_u32(gguf_reader *r, uint32_t *value, const char *what);
viva_status reader_u64(gguf_reader *r, uint64_t *value, const char *what);

/* A string: its length, then its bytes, whose place is returned. */
viva_status reader_string(gguf_reader *r, size_t *offset, size_t *bytes, const char *what);

/* Sets the error with the file, the item at hand and offset as place; returns code. */
viva_status reader_fail(gguf_reader *r, viva_status code, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
