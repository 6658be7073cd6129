/* format/gguf/gguf.c: reading a GGUF header. The format stands in gguf.h.
 *
 * One pass over the header reads it into private memory (gguf_reader) and checks it, noting places; then the copy moves
 * to the checkpoint's arena and the places become pointers.
 */
#include "format/gguf/gguf.h"

#include <inttypes.h>
#include <string.h>

#include "base/ck.h"
#include "format/gguf/gguf_parse.h"

/* The smallest entries: a key of one byte with a value of one byte; a tensor name of one byte without dimensions. */
#define MIN_VALUE_ENTRY  (8 + 1 + 4 + 1)
#define MIN_TENSOR_ENTRY (8 + 1 + 4 + 4 + 8)

static viva_status check_version(gguf_reader *r, uint32_t version) {
  const uint64_t at = 4;
  if (version == 2 || version == 3) return VIVA_OK;
  if (version == 0) return reader_fail(r, VIVA_E_FORMAT, at, "GGUF version 0 does not exist: the file is damaged");
  if ((version & 0xffffu) == 0) {
    return reader_fail(r, VIVA_E_UNSUPPORTED, at,
                       "a big-endian GGUF file (version 0x%08" PRIx32
                       "): viva reads little-endian files; convert it with gguf_convert_endian.py",
                       version);
  }
  return reader_fail(r, VIVA_E_UNSUPPORTED, at, "GGUF version %" PRIu32 ": viva reads versions 2 and 3%s", version,
                     version == 1 ? "; convert the model again" : "");
}

static viva_status read_count(gguf_reader *r, const char *what, uint64_t smallest, uint64_t *count) {
  size_t at = r->at;
  TRY(reader_u64(r, count, "the header"));
  if (*count <= reader_left(r) / smallest) return VIVA_OK;
  return reader_fail(r, VIVA_E_FORMAT, at,
                     "a count of %" PRIu64 " %s, but the %" PRIu64 " bytes that follow hold at most %" PRIu64, *count,
                     what, reader_left(r), reader_left(r) / smallest);
}

static viva_status parse_preamble(gguf_parse *p, uint64_t *tensors, uint64_t *values) {
  gguf_reader *r = &p->reader;
  TRY(reader_need(r, 4, "the magic number"));
  if (memcmp(r->bytes, "GGUF", 4) != 0) {
    return reader_fail(r, VIVA_E_FORMAT, 0, "not a GGUF file: it begins with %02x %02x %02x %02x, not with \"GGUF\"",
                       r->bytes[0], r->bytes[1], r->bytes[2], r->bytes[3]);
  }
  r->at = 4;
  TRY(reader_u32(r, &p->g->version, "the header"));
  TRY(check_version(r, p->g->version));
  TRY(read_count(r, "tensors", MIN_TENSOR_ENTRY, tensors));
  return read_count(r, "key-value pairs", MIN_VALUE_ENTRY, values);
}

/* Moves the header to the arena: its size is known now. */
static viva_status keep_header(gguf_parse *p) {
  gguf_reader *r = &p->reader;
  gguf *g = p->g;
  uint64_t data_offset;
  if (ck_align(r->at, g->alignment, &data_offset)) { /* at ≤ 1 GiB, alignment a small power of two */
    return reader_fail(r, VIVA_E_INTERNAL, r->at, "the header's end cannot be aligned to %" PRIu32, g->alignment);
  }
  g->data_offset = data_offset;
  g->header_bytes = r->at;
  uint8_t *header = arena_alloc(p->ck->arena, r->at);
  if (!header) return reader_fail(r, VIVA_E_MEMORY, 0, "no memory for a header of %zu bytes", r->at);
  memcpy(header, r->bytes, r->at);
  g->header = header;
  return VIVA_OK;
}

static viva_status parse(gguf_parse *p) {
  gguf_reader *r = &p->reader;
  uint64_t tensors, values;
  p->g = arena_alloc(p->ck->arena, sizeof *p->g);
  if (!p->g) return reader_fail(r, VIVA_E_MEMORY, VIVA_NO_OFFSET, "no memory for the file's header");
  *p->g = (gguf){.alignment = GGUF_DEFAULT_ALIGNMENT};
  TRY(parse_preamble(p, &tensors, &values));
  TRY(parse_values(p, values));
  TRY(parse_tensors(p, tensors));
  r->item_bytes = 0;
  TRY(keep_header(p));
  TRY(finish_values(p));
  if (p->file == 0) TRY(describe_values(p));
  return finish_tensors(p);
}

viva_status gguf_read_part(viva_checkpoint *ck, uint32_t file, gguf **out, viva_error *error) {
  mem *m = &ck->rt->mem;
  gguf_parse p = {.ck = ck,
                  .file = file,
                  .values = {.item_bytes = sizeof(raw_value)},
                  .tensors = {.item_bytes = sizeof(raw_tensor)}};
  reader_init(&p.reader, ck->rt, &ck->files[file].io, error);
  viva_status status = parse(&p);
  reader_free(&p.reader);
  grow_free(m, &p.values);
  grow_free(m, &p.tensors);
  if (status == VIVA_OK) *out = p.g;
  return status;
}
