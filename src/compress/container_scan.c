/* compress/container_scan.c: a container as it comes through a pipe: one record in memory at a time. */
#include "base/checksum.h"
#include "base/ck.h"
#include "base/error.h"
#include "base/num.h"
#include "compress/container.h"
#include "engine/engine.h"

#define GROW ((size_t)1 << 20) /* a payload's memory grows by what has come, so that a false size takes nothing */

typedef struct scan {
  viva_engine *engine;
  viva_read_fn read;
  void *read_user;
  viva_container_fn visit;
  void *user;
  uint64_t offset; /* of what is read next */
  uint8_t *payload;
  size_t room;
  float *values;
  size_t values_room;
  char name[CONTAINER_NAME + 1];
  viva_container_tensor t;
  index_entry seen;            /* of the tensor that has begun */
  uint32_t tensors;            /* that have begun */
  uint64_t chunks, all_values; /* of all tensors */
} scan;

static viva_status damaged(const scan *s, const char *what, viva_error *error) {
  error_set(error, VIVA_E_FORMAT, "%s", what);
  error_at(error, NULL, NULL, 0, s->offset);
  return VIVA_E_FORMAT;
}

static viva_status read_exactly(scan *s, uint8_t *to, size_t bytes, viva_error *error) {
  while (bytes > 0) {
    const int64_t got = s->read(s->read_user, to, bytes);
    if (got < 0) {
      error_set(error, VIVA_E_IO, "the container could not be read");
      error_at(error, NULL, NULL, 0, s->offset);
      return VIVA_E_IO;
    }
    if (got == 0) return damaged(s, "the container ends too early: what came before is right", error);
    const size_t step = (uint64_t)got < bytes ? (size_t)got : bytes;
    to += step;
    bytes -= step;
    s->offset += step;
  }
  return VIVA_OK;
}

/* Payload and padding. */
static viva_status read_payload(scan *s, const record *r, viva_error *error) {
  size_t bytes, have = 0;
  uint8_t zeros[CONTAINER_UNIT];
  if (ck_size(r->bytes, &bytes)) return damaged(s, "the record is too large for this machine", error);
  while (have < bytes || !s->payload) {
    const size_t some = bytes - have < have + GROW ? bytes - have : have + GROW;
    if (have + some > s->room || !s->payload) {
      uint8_t *grown = mem_resize(&s->engine->rt->mem, s->payload, have + some);
      if (!grown) return error_set(error, VIVA_E_MEMORY, "no memory for a chunk of %zu bytes", bytes);
      s->payload = grown;
      s->room = have + some;
    }
    TRY(read_exactly(s, s->payload + have, some, error));
    have += some;
  }
  TRY(read_exactly(s, zeros, (size_t)record_padding(r->bytes), error));
  return checksum_bytes(s->payload, bytes) == r->hash ? VIVA_OK
                                                      : damaged(s, "the checksum before this place is wrong", error);
}

static viva_status told(int stop, viva_error *error) {
  return stop ? error_set(error, VIVA_E_CANCELLED, "the reading was cancelled") : VIVA_OK;
}

/* -- records */

/* A tensor's values must all have come before the next thing. */
static viva_status end_tensor(const scan *s, viva_error *error) {
  if (s->tensors == 0 || s->t.elements == VIVA_UNKNOWN || s->t.elements == s->seen.values) return VIVA_OK;
  return damaged(s, "a tensor before this place has fewer values than its shape says", error);
}

static viva_status on_tensor(scan *s, const record *r, viva_error *error) {
  uint32_t name_bytes;
  TRY(end_tensor(s, error));
  if (r->tensor != s->tensors)
    return damaged(s, "expected the description of the next tensor before this place", error);
  const char *wrong = tensor_read(s->payload, (size_t)r->bytes, &s->t, &name_bytes);
  if (wrong) return damaged(s, wrong, error);
  memcpy(s->name, s->payload + TENSOR_BYTES, name_bytes);
  s->name[name_bytes] = 0;
  if (!utf8_valid(s->name, name_bytes) || strlen(s->name) != name_bytes)
    return damaged(s, "the tensor's name is no text", error);
  s->t.name = s->name;
  s->tensors++;
  s->seen = (index_entry){0};
  return told(s->visit(s->user, &s->t, NULL, NULL), error);
}

static viva_status room_for(scan *s, size_t count, viva_error *error) {
  if (count <= s->values_room) return VIVA_OK;
  mem *m = &s->engine->rt->mem;
  mem_free(m, s->values);
  s->values_room = 0;
  s->values = mem_alloc(m, count * sizeof *s->values); /* chunk_segment has looked at count */
  if (!s->values) return error_set(error, VIVA_E_MEMORY, "no memory for a chunk of %zu values", count);
  s->values_room = count;
  return VIVA_OK;
}

static viva_status on_chunk(scan *s, const record *r, viva_error *error) {
  segment made;
  viva_stream_chunk chunk;
  if (s->tensors == 0 || r->tensor != s->tensors - 1 || r->id != s->seen.chunks)
    return damaged(s, "expected the next chunk of the tensor before this place", error);
  const char *wrong = chunk_segment(&s->t, r, s->payload, &made);
  if (!wrong && s->t.elements != VIVA_UNKNOWN && r->values > s->t.elements - s->seen.values)
    wrong = "the tensor has more values than its shape says";
  if (wrong) return damaged(s, wrong, error);
  TRY(room_for(s, made.grid.values, error));
  segment_decode(&made, s->engine->pool, s->values);
  chunk_view(&made, r->id, s->seen.values, &chunk);
  s->seen.chunks++;
  s->seen.values += r->values;
  s->chunks++;
  s->all_values += r->values;
  return told(s->visit(s->user, &s->t, &chunk, s->values), error);
}

static viva_status on_index(scan *s, const record *r, viva_error *error) {
  uint64_t chunks = 0, values = 0;
  TRY(end_tensor(s, error));
  if (r->tensor != s->tensors || r->bytes != (uint64_t)s->tensors * INDEX_BYTES)
    return damaged(s, "the index before this place has another number of tensors", error);
  for (size_t i = 0; i < s->tensors; i++) {
    index_entry e;
    index_read(s->payload + i * INDEX_BYTES, &e);
    chunks += e.chunks;
    values += e.values;
  }
  if (chunks != s->chunks || values != s->all_values)
    return damaged(s, "the index before this place has other chunks than have come", error);
  return VIVA_OK;
}

static viva_status scan_all(scan *s, viva_error *error) {
  uint8_t header[CONTAINER_UNIT];
  record r;
  viva_status code;
  int indexed = 0;
  TRY(read_exactly(s, header, sizeof header, error));
  const char *wrong = file_header_read(header, &code);
  if (wrong) {
    error_set(error, code, "%s", wrong);
    error_at(error, NULL, NULL, 0, 0);
    return code;
  }
  for (;;) {
    TRY(read_exactly(s, header, sizeof header, error));
    wrong = record_read(header, &r);
    if (!wrong && (r.kind == RECORD_END) != indexed) wrong = "the index and the end are not in their order";
    if (wrong) return damaged(s, wrong, error);
    if (r.kind == RECORD_END) return VIVA_OK;
    TRY(read_payload(s, &r, error));
    if (r.kind == RECORD_TENSOR) TRY(on_tensor(s, &r, error));
    if (r.kind == RECORD_CHUNK) TRY(on_chunk(s, &r, error));
    if (r.kind == RECORD_INDEX) TRY(on_index(s, &r, error));
    indexed = r.kind == RECORD_INDEX;
  }
}

viva_status viva_container_scan(viva_engine *engine, viva_read_fn read, void *read_user, viva_container_fn visit,
                                void *user, viva_error *error) {
  if (!engine || !read || !visit)
    return error_set(error, VIVA_E_ARGUMENT, "%s is NULL", !engine ? "engine" : !read ? "read" : "visit");
  scan *s = mem_zalloc(&engine->rt->mem, sizeof *s);
  if (!s) return error_set(error, VIVA_E_MEMORY, "no memory for reading a container");
  s->engine = engine;
  s->read = read;
  s->read_user = read_user;
  s->visit = visit;
  s->user = user;
  const viva_status status = scan_all(s, error);
  mem_free(&engine->rt->mem, s->payload);
  mem_free(&engine->rt->mem, s->values);
  mem_free(&engine->rt->mem, s);
  return status;
}
