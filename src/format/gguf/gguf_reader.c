/* format/gguf/gguf_reader.c: the growing private copy of a header. */
#include "format/gguf/gguf_reader.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/ck.h"

/* Headers of models with a small vocabulary fit; others take a few doublings. */
#define FIRST_READ ((uint64_t)1 << 20)

void reader_init(gguf_reader *r, runtime *rt, const io_file *file, viva_error *error) {
  *r = (gguf_reader){.rt = rt, .file = file, .error = error};
}

void reader_free(gguf_reader *r) {
  mem_free(&r->rt->mem, r->bytes);
  r->bytes = NULL;
  r->have = 0;
}

uint64_t reader_left(const gguf_reader *r) { return r->file->stat.bytes - r->at; }

viva_status reader_fail(gguf_reader *r, viva_status code, uint64_t offset, const char *format, ...) {
  char message[sizeof((viva_error *)0)->message];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  error_set(r->error, code, "%s", length < 0 ? "" : message);
  const char *item = r->item_bytes ? (const char *)r->bytes + r->item : NULL;
  error_at(r->error, r->file->path, item, (ptrdiff_t)r->item_bytes, offset);
  return code;
}

/* Enlarges the copy to at least end bytes, end ≤ the file's size. */
static viva_status read_on(gguf_reader *r, uint64_t end) {
  uint64_t size = r->have < FIRST_READ / 2 ? FIRST_READ : (uint64_t)r->have * 2; /* have ≤ GGUF_MAX_HEADER */
  if (size < end) size = end;
  if (size > GGUF_MAX_HEADER) size = GGUF_MAX_HEADER;
  if (size > r->file->stat.bytes) size = r->file->stat.bytes;
  uint8_t *larger = mem_resize(&r->rt->mem, r->bytes, (size_t)size);
  if (!larger) {
    return reader_fail(r, VIVA_E_MEMORY, r->at, "no memory for %" PRIu64 " bytes of the file's header", size);
  }
  r->bytes = larger;
  TRY(io_read(r->file, larger + r->have, (size_t)size - r->have, r->have, r->error));
  r->have = (size_t)size;
  return VIVA_OK;
}

viva_status reader_need(gguf_reader *r, uint64_t bytes, const char *what) {
  if (bytes <= r->have - r->at) return VIVA_OK;
  uint64_t left = reader_left(r);
  if (bytes > left) {
    return reader_fail(r, VIVA_E_FORMAT, r->at,
                       "%s needs %" PRIu64 " bytes, but the file has %" PRIu64
                       " left: it is damaged or not complete (fetch it again)",
                       what, bytes, left);
  }
  if (bytes > GGUF_MAX_HEADER - r->at) {
    return reader_fail(r, VIVA_E_LIMIT, r->at, "%s lies beyond the first GiB: viva reads headers up to 1 GiB", what);
  }
  return read_on(r, r->at + bytes);
}

viva_status reader_skip(gguf_reader *r, uint64_t bytes, const char *what) {
  TRY(reader_need(r, bytes, what));
  r->at += (size_t)bytes;
  return VIVA_OK;
}

viva_status reader_u32(gguf_reader *r, uint32_t *value, const char *what) {
  TRY(reader_need(r, sizeof *value, what));
  memcpy(value, r->bytes + r->at, sizeof *value);
  r->at += sizeof *value;
  return VIVA_OK;
}

viva_status reader_u64(gguf_reader *r, uint64_t *value, const char *what) {
  TRY(reader_need(r, sizeof *value, what));
  memcpy(value, r->bytes + r->at, sizeof *value);
  r->at += sizeof *value;
  return VIVA_OK;
}

viva_status reader_string(gguf_reader *r, size_t *offset, size_t *bytes, const char *what) {
  uint64_t length;
  TRY(reader_u64(r, &length, what));
  size_t start = r->at;
  TRY(reader_skip(r, length, what));
  *offset = start;
  *bytes = (size_t)length;
  return VIVA_OK;
}
