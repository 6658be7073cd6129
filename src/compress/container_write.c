/* compress/container_write.c: writes containers, to a path or through the caller's function. */
#include "base/checksum.h"
#include "base/commit.h"
#include "base/error.h"
#include "base/num.h"
#include "base/options.h"
#include "compress/container.h"
#include "engine/engine.h"

struct viva_container_writer {
  runtime *rt;     /* one reference */
  io_writer *file; /* or NULL: */
  viva_write_fn write;
  void *user;
  uint64_t offset;
  viva_container_tensor tensor; /* the one that is being written; its name is not kept */
  int open;                     /* there is one */
  index_entry *entries;
  size_t count, room; /* tensors, the open one counted */
  viva_error failed;  /* code 0 while all is well */
};

/* -- bytes */

static viva_status put(viva_container_writer *w, const void *bytes, size_t count) {
  w->offset += count;
  if (w->file) return writer_write(w->file, bytes, count, &w->failed);
  if (w->write(w->user, bytes, count) == 0) return VIVA_OK;
  return error_set(&w->failed, VIVA_E_IO, "the container could not be written: its receiver refused %zu bytes", count);
}

static viva_status put_record(viva_container_writer *w, record *r, const void *payload, size_t bytes) {
  static const uint8_t zeros[CONTAINER_UNIT];
  uint8_t header[CONTAINER_UNIT];
  r->bytes = bytes;
  r->hash = checksum_bytes(payload, bytes);
  record_write(r, header);
  TRY(put(w, header, sizeof header));
  TRY(put(w, payload, bytes));
  return put(w, zeros, (size_t)record_padding(r->bytes));
}

/* -- begin and end */

viva_status viva_container_create(viva_engine *engine, const char *path, viva_write_fn write, void *user,
                                  viva_container_writer **writer, viva_error *error) {
  if (!writer) return error_set(error, VIVA_E_ARGUMENT, "writer is NULL; expected a place for the handle");
  *writer = NULL;
  if (!engine) return error_set(error, VIVA_E_ARGUMENT, "engine is NULL; open one with viva_engine_open");
  if (!path == !write) return error_set(error, VIVA_E_ARGUMENT, "expected either path or write");
  viva_container_writer *w = mem_zalloc(&engine->rt->mem, sizeof *w);
  if (!w) return error_set(error, VIVA_E_MEMORY, "no memory for writing a container");
  w->rt = runtime_retain(engine->rt);
  w->write = write;
  w->user = user;
  uint8_t header[CONTAINER_UNIT];
  file_header_write(header);
  viva_status status = path ? writer_open(w->rt, path, NULL, &w->file, &w->failed) : VIVA_OK;
  if (status == VIVA_OK) status = put(w, header, sizeof header);
  if (status == VIVA_OK) {
    *writer = w;
    return VIVA_OK;
  }
  if (error) *error = w->failed;
  viva_container_abort(w);
  return status;
}

void viva_container_abort(viva_container_writer *writer) {
  if (!writer) return;
  runtime *rt = writer->rt;
  writer_abort(writer->file);
  mem_free(&rt->mem, writer->entries);
  mem_free(&rt->mem, writer);
  runtime_release(rt);
}

/* -- tensors */

static index_entry *last(viva_container_writer *w) { return &w->entries[w->count - 1]; }

static viva_status end_tensor(viva_container_writer *w) {
  if (!w->open) return VIVA_OK;
  w->open = 0;
  if (w->tensor.elements == VIVA_UNKNOWN || w->tensor.elements == last(w)->values) return VIVA_OK;
  return error_set(&w->failed, VIVA_E_SIZE, "tensor %zu ended with %llu of its %llu values", w->count - 1,
                   (unsigned long long)last(w)->values, (unsigned long long)w->tensor.elements);
}

static viva_status add_entry(viva_container_writer *w) {
  if (w->count == w->room) {
    const size_t room = w->room ? 2 * w->room : 16;
    index_entry *entries = mem_resize(&w->rt->mem, w->entries, room * sizeof *entries);
    if (!entries) return error_set(&w->failed, VIVA_E_MEMORY, "no memory for the index of %zu tensors", room);
    w->entries = entries;
    w->room = room;
  }
  w->entries[w->count++] = (index_entry){.offset = w->offset};
  return VIVA_OK;
}

static viva_status check_tensor(const viva_container_tensor *t, viva_error *error) {
  coder checked;
  if (!t->name || strlen(t->name) > CONTAINER_NAME || !utf8_valid(t->name, strlen(t->name)))
    return error_set(error, VIVA_E_ARGUMENT, "name must be UTF-8 of at most %d bytes", CONTAINER_NAME);
  if (t->rank > VIVA_TENSOR_MAX_RANK || (t->elements != VIVA_UNKNOWN && shape_differs(t, t->elements)))
    return error_set(error, VIVA_E_ARGUMENT, "rank and shape do not give %llu elements",
                     (unsigned long long)t->elements);
  if (t->config.row_blocks && t->row_length == 0)
    return error_set(error, VIVA_E_ARGUMENT, "row_length is 0, but the blocks end at rows");
  return coder_make(&t->config, (size_t)t->row_length, NULL, NULL, &checked, error);
}

static viva_status begin(viva_container_writer *w, const viva_container_tensor *t) {
  uint8_t description[TENSOR_BYTES + CONTAINER_NAME];
  TRY(end_tensor(w));
  TRY(check_tensor(t, &w->failed));
  TRY(add_entry(w));
  const size_t name = strlen(t->name);
  tensor_write(t, (uint32_t)name, description);
  memcpy(description + TENSOR_BYTES, t->name, name);
  record r = {.kind = RECORD_TENSOR, .tensor = (uint32_t)(w->count - 1), .global = 1};
  w->tensor = *t;
  w->open = 1;
  return put_record(w, &r, description, TENSOR_BYTES + name);
}

static viva_status chunk(viva_container_writer *w, const viva_stream_chunk *c) {
  index_entry *entry = w->open ? last(w) : NULL;
  if (!entry) return error_set(&w->failed, VIVA_E_STATE, "a chunk came before its tensor was begun");
  if (c->id != entry->chunks || c->values == 0)
    return error_set(&w->failed, VIVA_E_ARGUMENT, "expected chunk %llu with values, found chunk %llu with %llu",
                     (unsigned long long)entry->chunks, (unsigned long long)c->id, (unsigned long long)c->values);
  record r = {.kind = RECORD_CHUNK,
              .tensor = (uint32_t)(w->count - 1),
              .bits = (uint8_t)c->bits,
              .fate = (uint8_t)c->fate,
              .id = c->id,
              .values = c->values,
              .global = c->global_scale,
              .error_pct = (float)c->error_pct};
  entry->chunks++;
  entry->values += c->values;
  entry->bytes += c->bytes;
  return put_record(w, &r, c->data, (size_t)c->bytes);
}

/* -- the calls */

static viva_status check_call(const viva_container_writer *writer, const void *argument, viva_error *error) {
  if (!writer || !argument) return error_set(error, VIVA_E_ARGUMENT, "%s is NULL", writer ? "the argument" : "writer");
  if (writer->failed.code && error) *error = writer->failed;
  return writer->failed.code;
}

static viva_status result(const viva_container_writer *w, viva_status status, viva_error *error) {
  if (status != VIVA_OK && error) *error = w->failed;
  return status;
}

viva_status viva_container_begin(viva_container_writer *writer, const viva_container_tensor *tensor,
                                 viva_error *error) {
  viva_container_tensor t = {.size = sizeof t};
  TRY(check_call(writer, tensor, error));
  TRY(options_read(&t, tensor, "viva_container_tensor", error));
  return result(writer, begin(writer, &t), error);
}

viva_status viva_container_chunk(viva_container_writer *writer, const viva_stream_chunk *given, viva_error *error) {
  viva_stream_chunk c = {.size = sizeof c};
  TRY(check_call(writer, given, error));
  TRY(options_read(&c, given, "viva_stream_chunk", error));
  return result(writer, chunk(writer, &c), error);
}

static viva_status add(viva_container_writer *w, const viva_container_tensor *t, const viva_compressed *c) {
  viva_stream_chunk view;
  TRY(begin(w, t));
  for (size_t i = 0; i < c->count; i++) {
    chunk_view(&c->segments[i], i, c->segments[i].first_value, &view);
    TRY(chunk(w, &view));
  }
  return VIVA_OK;
}

viva_status viva_container_add(viva_container_writer *writer, const viva_container_tensor *tensor,
                               const viva_compressed *compressed, viva_error *error) {
  viva_container_tensor t = {.size = sizeof t};
  TRY(check_call(writer, compressed, error));
  TRY(options_read(&t, tensor, "viva_container_tensor", error));
  if (!t.name) t.name = "";
  t.config = compressed->config;
  t.rank = compressed->rank;
  memcpy(t.shape, compressed->shape, sizeof t.shape);
  t.elements = compressed->elements;
  t.row_length = t.config.row_blocks ? (t.rank ? t.shape[t.rank - 1] : 1) : 0;
  if (t.config.row_blocks && t.row_length == 0) t.row_length = 1; /* no values at all */
  return result(writer, add(writer, &t, compressed), error);
}

static viva_status finish(viva_container_writer *w) {
  TRY(w->failed.code);
  TRY(end_tensor(w));
  record index = {.kind = RECORD_INDEX, .tensor = (uint32_t)w->count, .global = 1};
  record end = {.kind = RECORD_END, .tensor = index.tensor, .id = w->offset, .global = 1};
  const size_t bytes = w->count * INDEX_BYTES;
  uint8_t *entries = mem_alloc(&w->rt->mem, bytes);
  if (!entries) return error_set(&w->failed, VIVA_E_MEMORY, "no memory for the index of %zu tensors", w->count);
  for (size_t i = 0; i < w->count; i++) index_write(&w->entries[i], entries + i * INDEX_BYTES);
  viva_status status = put_record(w, &index, entries, bytes);
  mem_free(&w->rt->mem, entries);
  if (status == VIVA_OK) status = put_record(w, &end, "", 0);
  if (status != VIVA_OK || !w->file) return status;
  status = writer_commit(w->file, &w->failed);
  w->file = NULL;
  return status;
}

viva_status viva_container_finish(viva_container_writer *writer, viva_error *error) {
  if (!writer) return error_set(error, VIVA_E_ARGUMENT, "writer is NULL");
  const viva_status status = result(writer, finish(writer), error);
  viva_container_abort(writer);
  return status;
}
