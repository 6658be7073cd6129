/* compress/container_read.c: opens containers and loads their tensors.
 *
 * END, in the last 64 bytes, leads to the INDEX and that to the tensors. A file without END (its writer was killed) is gone
 * through from its beginning instead, as far as whole records with right checksums reach.
 */
#include <stdatomic.h>

#include "base/checksum.h"
#include "base/ck.h"
#include "base/error.h"
#include "base/num.h"
#include "base/options.h"
#include "compress/container.h"
#include "engine/engine.h"

typedef struct entry {
  viva_container_tensor t;
  index_entry at;
} entry;

struct viva_container {
  _Atomic uint32_t references;
  runtime *rt; /* one reference */
  char *path;
  io_file file;
  int opened;
  const uint8_t *map; /* or NULL */
  uint64_t size;
  arena *names;
  entry *entries;
  size_t count, room;
};

viva_container_options viva_container_options_default(void) {
  return (viva_container_options){.size = sizeof(viva_container_options)};
}

/* -- bytes */

static viva_status damaged(const viva_container *c, uint64_t offset, const char *what, viva_error *error) {
  error_set(error, VIVA_E_FORMAT, "%s", what);
  error_at(error, c->path, NULL, 0, offset);
  return VIVA_E_FORMAT;
}

static viva_status read_bytes(const viva_container *c, uint64_t offset, void *to, size_t bytes, viva_error *error) {
  if (!ck_range(offset, bytes, c->size)) return damaged(c, offset, "the file ends in the middle of a record", error);
  if (!c->map) return io_read(&c->file, to, bytes, offset, error);
  memcpy(to, c->map + offset, bytes);
  return VIVA_OK;
}

/* A record's header; its payload lies inside the file. */
static viva_status read_record(const viva_container *c, uint64_t offset, record *r, viva_error *error) {
  uint8_t header[CONTAINER_UNIT];
  TRY(read_bytes(c, offset, header, sizeof header, error));
  const char *wrong = record_read(header, r);
  if (!wrong && !ck_range(offset + CONTAINER_UNIT, r->bytes, c->size)) wrong = "the record reaches beyond the file";
  return wrong ? damaged(c, offset, wrong, error) : VIVA_OK;
}

/* The payload, checked: where it is mapped, or in memory that is then the caller's. */
static viva_status read_payload(const viva_container *c, uint64_t offset, const record *r, const uint8_t **data,
                                viva_error *error) {
  const uint64_t at = offset + CONTAINER_UNIT;
  uint8_t *owned = NULL;
  if (c->map) {
    *data = c->map + at;
  } else {
    *data = owned = mem_alloc(&c->rt->mem, (size_t)r->bytes);
    if (!owned) return error_set(error, VIVA_E_MEMORY, "no memory for %llu bytes", (unsigned long long)r->bytes);
    const viva_status status = read_bytes(c, at, owned, (size_t)r->bytes, error);
    if (status != VIVA_OK) {
      mem_free(&c->rt->mem, owned);
      return status;
    }
  }
  if (checksum_bytes(*data, (size_t)r->bytes) == r->hash) return VIVA_OK;
  mem_free(&c->rt->mem, owned);
  return damaged(c, at, "the record's checksum is not that of its bytes", error);
}

static void drop_payload(const viva_container *c, const uint8_t *data) {
  if (!c->map) mem_free(&c->rt->mem, (void *)(uintptr_t)data);
}

static uint64_t after(uint64_t offset, const record *r) {
  return offset + CONTAINER_UNIT + r->bytes + record_padding(r->bytes);
}

/* -- tensors */

static viva_status parse_tensor(viva_container *c, uint64_t offset, const uint8_t *data, size_t bytes, entry *e,
                                viva_error *error) {
  uint32_t name_bytes;
  const char *wrong = tensor_read(data, bytes, &e->t, &name_bytes);
  const char *name = (const char *)data + TENSOR_BYTES;
  if (!wrong && (!utf8_valid(name, name_bytes) || memchr(name, 0, name_bytes))) wrong = "the tensor's name is no text";
  if (wrong) return damaged(c, offset, wrong, error);
  e->t.name = arena_text(c->names, name, name_bytes);
  return e->t.name ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for the names of tensors");
}

/* Adds the tensor whose record is at offset. */
static viva_status add_tensor(viva_container *c, uint64_t offset, viva_error *error) {
  record r;
  const uint8_t *data;
  TRY(read_record(c, offset, &r, error));
  if (r.kind != RECORD_TENSOR || r.tensor != c->count)
    return damaged(c, offset, "expected the description of the next tensor here", error);
  if (c->count == c->room) {
    const size_t room = c->room ? 2 * c->room : 16;
    entry *entries = mem_resize(&c->rt->mem, c->entries, room * sizeof *entries);
    if (!entries) return error_set(error, VIVA_E_MEMORY, "no memory for %zu tensors", room);
    c->entries = entries;
    c->room = room;
  }
  entry *e = &c->entries[c->count];
  TRY(read_payload(c, offset, &r, &data, error));
  const viva_status status = parse_tensor(c, offset, data, (size_t)r.bytes, e, error);
  drop_payload(c, data);
  e->at = (index_entry){.offset = offset};
  c->count += status == VIVA_OK;
  return status;
}

/* -- by the index */

static viva_status add_indexed(viva_container *c, const uint8_t *data, size_t count, viva_error *error) {
  for (size_t i = 0; i < count; i++) {
    index_entry e;
    index_read(data + i * INDEX_BYTES, &e);
    if (e.offset % CONTAINER_UNIT != 0) return damaged(c, e.offset, "the index names no record here", error);
    TRY(add_tensor(c, e.offset, error));
    c->entries[i].at = e;
    const char *wrong = tensor_settle(&c->entries[i].t, &e, 1);
    if (wrong) return damaged(c, e.offset, wrong, error);
  }
  return VIVA_OK;
}

static viva_status open_index(viva_container *c, const record *end, viva_error *error) {
  record r;
  const uint8_t *data;
  TRY(read_record(c, end->id, &r, error));
  if (r.kind != RECORD_INDEX || r.bytes / INDEX_BYTES != r.tensor || r.bytes % INDEX_BYTES != 0)
    return damaged(c, end->id, "expected the index here", error);
  TRY(read_payload(c, end->id, &r, &data, error));
  const viva_status status = add_indexed(c, data, r.tensor, error);
  drop_payload(c, data);
  return status;
}

/* *found: 1 when the file's last 64 bytes are an END. */
static viva_status find_end(const viva_container *c, record *end, int *found, viva_error *error) {
  uint8_t last[CONTAINER_UNIT];
  *found = 0;
  if (c->size < 2 * CONTAINER_UNIT || c->size % CONTAINER_UNIT != 0) return VIVA_OK;
  TRY(read_bytes(c, c->size - CONTAINER_UNIT, last, sizeof last, error));
  *found = record_read(last, end) == NULL && end->kind == RECORD_END && end->bytes == 0;
  return VIVA_OK;
}

/* -- without it */

/* Takes the record at offset when it is whole and the next in order; else 0: what is behind it cannot be trusted. */
static int recover_one(viva_container *c, uint64_t offset, record *r) {
  const uint8_t *data;
  if (read_record(c, offset, r, NULL) != VIVA_OK) return 0;
  if (r->kind == RECORD_TENSOR) return add_tensor(c, offset, NULL) == VIVA_OK;
  if (r->kind != RECORD_CHUNK || c->count == 0) return 0;
  entry *e = &c->entries[c->count - 1];
  if (r->tensor != c->count - 1 || r->id != e->at.chunks) return 0;
  if (read_payload(c, offset, r, &data, NULL) != VIVA_OK) return 0;
  segment s;
  const int whole = chunk_segment(&e->t, r, data, &s) == NULL;
  drop_payload(c, data);
  if (!whole || ck_add(e->at.values, r->values, &e->at.values)) return 0;
  e->at.chunks++;
  e->at.bytes += r->bytes;
  return 1;
}

static viva_status recover(viva_container *c) {
  record r;
  for (uint64_t at = CONTAINER_UNIT; recover_one(c, at, &r);) at = after(at, &r);
  for (size_t i = 0; i < c->count; i++) /* a later tensor proves that one before it is whole, the last has no proof */
    (void)tensor_settle(&c->entries[i].t, &c->entries[i].at,
                        i + 1 < c->count || c->entries[i].t.elements == c->entries[i].at.values);
  return VIVA_OK;
}

/* -- the handle */

static viva_container *container_retain(viva_container *c) {
  atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
  return c;
}

void viva_container_close(viva_container *container) {
  if (!container || atomic_fetch_sub_explicit(&container->references, 1, memory_order_acq_rel) != 1) return;
  runtime *rt = container->rt;
  if (container->map) io_unmap(rt->io, container->map, (size_t)container->size);
  if (container->opened) io_close(&container->file);
  arena_free(container->names);
  mem_free(&rt->mem, container->entries);
  mem_free(&rt->mem, container->path);
  mem_free(&rt->mem, container);
  runtime_release(rt);
}

static viva_status open_file(viva_container *c, const viva_container_options *o, viva_error *error) {
  uint8_t header[CONTAINER_UNIT];
  record end;
  viva_status code;
  int found;
  TRY(io_open(c->rt->io, c->path, &c->file, error));
  c->opened = 1;
  c->size = c->file.stat.bytes;
  if (o->mode == VIVA_LOAD_MMAP && c->size > 0) {
    const void *map;
    TRY(io_map(&c->file, &map, error));
    c->map = map;
  }
  if (c->size < CONTAINER_UNIT) return damaged(c, 0, "the file is too short for a container", error);
  TRY(read_bytes(c, 0, header, sizeof header, error));
  const char *wrong = file_header_read(header, &code);
  if (wrong) {
    (void)damaged(c, 0, wrong, error);
    if (error) error->code = code;
    return code;
  }
  TRY(find_end(c, &end, &found, error));
  if (found) return open_index(c, &end, error);
  if (o->recover) return recover(c);
  return damaged(c, c->size,
                 "the container's end is missing: its writer was stopped, or the file was cut; open it "
                 "with recover to read up to the last whole chunk",
                 error);
}

viva_status viva_container_open(viva_engine *engine, const char *path, const viva_container_options *options,
                                viva_container **container, viva_error *error) {
  viva_container_options o = viva_container_options_default();
  if (!container) return error_set(error, VIVA_E_ARGUMENT, "container is NULL; expected a place for the handle");
  *container = NULL;
  if (!engine || !path) return error_set(error, VIVA_E_ARGUMENT, "%s is NULL", engine ? "path" : "engine");
  TRY(options_read(&o, options, "viva_container_options", error));
  mem *m = &engine->rt->mem;
  viva_container *c = mem_zalloc(m, sizeof *c);
  if (!c) return error_set(error, VIVA_E_MEMORY, "no memory for opening a container");
  atomic_init(&c->references, 1);
  c->rt = runtime_retain(engine->rt);
  c->path = mem_alloc(m, strlen(path) + 1);
  c->names = arena_create(m, 4096);
  viva_status status = c->path && c->names ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for a container");
  if (status == VIVA_OK) {
    memcpy(c->path, path, strlen(path) + 1);
    status = open_file(c, &o, error);
  }
  if (status == VIVA_OK)
    *container = c;
  else
    viva_container_close(c);
  return status;
}

size_t viva_container_count(const viva_container *container) { return container ? container->count : 0; }

static viva_status need_entry(const viva_container *c, size_t index, viva_error *error) {
  if (!c) return error_set(error, VIVA_E_ARGUMENT, "container is NULL");
  if (index < c->count) return VIVA_OK;
  return error_set(error, VIVA_E_NOT_FOUND, "there is no tensor %zu: the container has %zu", index, c->count);
}

viva_status viva_container_info(const viva_container *container, size_t index, viva_container_tensor *tensor,
                                viva_error *error) {
  TRY(need_entry(container, index, error));
  return options_fill(tensor, &container->entries[index].t, "viva_container_tensor", error);
}

/* -- loading */

static viva_status load_chunk(const viva_container *c, const entry *e, uint64_t offset, record *r,
                              viva_compressed *made, viva_error *error) {
  const uint8_t *data;
  TRY(read_record(c, offset, r, error));
  if (r->kind != RECORD_CHUNK || r->tensor != (size_t)(e - c->entries) || r->id != made->count)
    return damaged(c, offset, "expected the next chunk of the tensor here", error);
  TRY(read_payload(c, offset, r, &data, error));
  segment *s = &made->segments[made->count];
  const char *wrong = chunk_segment(&e->t, r, data, s);
  if (!wrong && r->values > e->at.values - made->elements)
    wrong = "the tensor's chunks have more values than the index says";
  if (wrong) {
    drop_payload(c, data);
    return damaged(c, offset, wrong, error);
  }
  made->elements += r->values;
  compressed_count(made);
  return VIVA_OK;
}

static viva_status load_all(viva_container *c, const entry *e, viva_compressed *made, viva_error *error) {
  record r;
  TRY(read_record(c, e->at.offset, &r, error));
  for (uint64_t i = 0, at = after(e->at.offset, &r); i < e->at.chunks; i++) {
    TRY(load_chunk(c, e, at, &r, made, error));
    at = after(at, &r);
  }
  if (made->elements == e->at.values) return VIVA_OK;
  return damaged(c, e->at.offset, "the tensor's chunks have fewer values than the index says", error);
}

static void release_container(void *container) { viva_container_close(container); }

viva_status viva_container_load(viva_container *container, size_t index, viva_compressed **compressed,
                                viva_error *error) {
  if (!compressed) return error_set(error, VIVA_E_ARGUMENT, "compressed is NULL; expected a place for the handle");
  *compressed = NULL;
  TRY(need_entry(container, index, error));
  const entry *e = &container->entries[index];
  if (e->at.chunks > container->size / CONTAINER_UNIT)
    return damaged(container, e->at.offset, "the index says more chunks than the file has room for", error);
  viva_compressed *made = compressed_make(container->rt, &e->t.config, (size_t)e->at.chunks);
  if (!made) return error_set(error, VIVA_E_MEMORY, "no memory for %llu chunks", (unsigned long long)e->at.chunks);
  made->rank = e->t.rank;
  memcpy(made->shape, e->t.shape, sizeof made->shape);
  made->owned = container->map == NULL;
  if (container->map) made->release = release_container, made->keep = container_retain(container);
  const viva_status status = load_all(container, e, made, error);
  if (status == VIVA_OK)
    *compressed = made;
  else
    viva_compressed_release(made);
  return status;
}
