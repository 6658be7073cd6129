/* format/safetensors/safetensors_stream.c
 *
 * A shard's header is written when the first of its tensors comes; its data are written where they belong, so that the
 * file is in the reference writer's order whatever the order of the calls.
 */
#include "format/safetensors/safetensors_stream.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "format/safetensors/safetensors_header.h"
#include "format/sort.h"

#define NAME_BYTES 48 /* "model-00001-of-00002.safetensors" */
#define NO_SHARD   UINT32_MAX

struct stream {
  runtime *rt;
  const char *folder;
  stream_tensor *tensors;
  size_t count;
  const char *const *metadata;
  size_t metadata_count;
  uint32_t shards;
  const void **order; /* [count]: tensors by shard, then as they lie in the file */
  uint32_t open;      /* shard, or NO_SHARD */
  int handle;
  char *path; /* folder + "/" + a name */
};

static int compare_tensors(const void *a, const void *b) {
  const stream_tensor *x = a, *y = b;
  size_t place_x = safetensors_place(x->type), place_y = safetensors_place(y->type);
  if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
  if (place_x != place_y) return place_x < place_y ? -1 : 1;
  return strcmp(x->name, y->name);
}

static void file_name(const stream *s, uint32_t shard, char name[NAME_BYTES]) {
  if (s->shards == 1)
    snprintf(name, NAME_BYTES, "model.safetensors");
  else
    snprintf(name, NAME_BYTES, "model-%05u-of-%05u.safetensors", (unsigned)shard + 1, (unsigned)s->shards);
}

static void set_path(stream *s, const char *name) {
  snprintf(s->path, strlen(s->folder) + 1 + NAME_BYTES, "%s/%s", s->folder, name);
}

/* The header of a shard, whose data offsets begin at 0. */
static void build_header(const stream *s, uint32_t shard, json_text *text) {
  uint64_t offset = 0;
  safetensors_header_begin(text, s->metadata, s->metadata_count);
  for (size_t i = 0; i < s->count; i++) {
    const stream_tensor *t = s->order[i];
    if (t->shard != shard) continue;
    safetensors_header_tensor(text, t->name, t->type, t->rank, t->shape, offset, t->bytes);
    offset += t->bytes;
  }
  safetensors_header_end(text);
}

/* Gives every tensor of a shard its place in the file. */
static viva_status place_shard(stream *s, uint32_t shard, viva_error *error) {
  json_text text = json_text_begin(&s->rt->mem);
  build_header(s, shard, &text);
  uint64_t at = SAFETENSORS_LENGTH_BYTES + text.text.count;
  int no_memory = text.no_memory, too_long = text.text.count > SAFETENSORS_MAX_HEADER_BYTES;
  json_text_free(&text);
  if (no_memory) return checkpoint_build_no_memory(s->folder, "a header", error);
  if (too_long)
    return error_set(error, VIVA_E_LIMIT, "a header would be longer than 100,000,000 bytes, the format's limit");
  for (size_t i = 0; i < s->count; i++) {
    const stream_tensor *t = s->order[i];
    if (t->shard != shard) continue;
    s->tensors[t - s->tensors].offset = at;
    at += t->bytes;
  }
  return VIVA_OK;
}

viva_status stream_open(runtime *rt, const char *folder, stream_tensor *tensors, size_t count,
                        const char *const *metadata, size_t metadata_count, stream **out, viva_error *error) {
  *out = NULL;
  stream *s = mem_zalloc(&rt->mem, sizeof *s);
  if (!s) return checkpoint_build_no_memory(folder, "writing", error);
  *s = (stream){.rt = runtime_retain(rt), .folder = folder, .tensors = tensors, .count = count, .metadata = metadata};
  s->metadata_count = metadata_count;
  s->open = NO_SHARD;
  s->handle = -1;
  s->shards = count ? tensors[count - 1].shard + 1 : 1;
  s->order = mem_array(&rt->mem, count + 1, sizeof *s->order);
  s->path = mem_alloc(&rt->mem, strlen(folder) + 1 + NAME_BYTES);
  viva_status status = s->order && s->path ? VIVA_OK : checkpoint_build_no_memory(folder, "writing", error);
  if (status == VIVA_OK) {
    for (size_t i = 0; i < count; i++) s->order[i] = &tensors[i];
    sort_pointers(s->order, count, compare_tensors);
  }
  for (uint32_t i = 0; status == VIVA_OK && i < s->shards; i++) status = place_shard(s, i, error);
  if (status != VIVA_OK) {
    stream_abort(s);
    return status;
  }
  *out = s;
  return VIVA_OK;
}

/* -- files */

static viva_status write_at(stream *s, const void *data, uint64_t bytes, uint64_t offset, viva_error *error) {
  const io_table *io = s->rt->io;
  const char *from = data;
  while (bytes > 0) {
    int64_t done = io->write_at(io->user, s->handle, from, (size_t)bytes, offset);
    if (done == -EINTR) continue;
    if (done <= 0) {
      (void)io_fail(error, "write the file", s->path, done < 0 ? done : -ENOSPC);
      error_at(error, NULL, NULL, 0, offset);
      return VIVA_E_IO;
    }
    uint64_t step = (uint64_t)done <= bytes ? (uint64_t)done : bytes;
    from += step;
    bytes -= step;
    offset += step;
  }
  return VIVA_OK;
}

static viva_status create(stream *s, const char *name, viva_error *error) {
  const io_table *io = s->rt->io;
  set_path(s, name);
  do s->handle = io->open(io->user, s->path, IO_CREATE_NEW);
  while (s->handle == -EINTR);
  return s->handle < 0 ? io_fail(error, "create the file", s->path, s->handle) : VIVA_OK;
}

/* To the disk, then closed. */
static viva_status complete(stream *s, viva_error *error) {
  const io_table *io = s->rt->io;
  int result;
  if (s->handle < 0) return VIVA_OK;
  do result = io->sync(io->user, s->handle);
  while (result == -EINTR);
  viva_status status = result < 0 ? io_fail(error, "write the file to the disk", s->path, result) : VIVA_OK;
  result = io->close(io->user, s->handle);
  s->handle = -1;
  if (status == VIVA_OK && result < 0) status = io_fail(error, "close the file", s->path, result);
  return status;
}

static viva_status begin_shard(stream *s, uint32_t shard, viva_error *error) {
  char name[NAME_BYTES];
  uint8_t length[SAFETENSORS_LENGTH_BYTES];
  TRY(complete(s, error));
  file_name(s, shard, name);
  TRY(create(s, name, error));
  s->open = shard;
  json_text text = json_text_begin(&s->rt->mem);
  build_header(s, shard, &text);
  safetensors_length(length, text.text.count);
  viva_status status = text.no_memory ? checkpoint_build_no_memory(s->path, "the header", error) : VIVA_OK;
  if (status == VIVA_OK) status = write_at(s, length, sizeof length, 0, error);
  if (status == VIVA_OK) status = write_at(s, text.text.items, text.text.count, sizeof length, error);
  json_text_free(&text);
  return status;
}

viva_status stream_write(stream *s, size_t tensor, uint64_t first, const void *data, uint64_t bytes,
                         viva_error *error) {
  const stream_tensor *t = &s->tensors[tensor];
  if (t->shard != s->open) TRY(begin_shard(s, t->shard, error));
  return write_at(s, data, bytes, t->offset + first, error);
}

static viva_status write_index(stream *s, viva_error *error) {
  char name[NAME_BYTES];
  uint64_t total = 0;
  json_text text = json_text_begin(&s->rt->mem);
  for (size_t i = 0; i < s->count; i++) total += s->tensors[i].bytes;
  json_text_put(&text, "{\n  \"metadata\": {\"total_size\": ");
  json_text_u64(&text, total);
  json_text_put(&text, "},\n  \"weight_map\": {");
  for (size_t i = 0; i < s->count; i++) {
    file_name(s, s->tensors[i].shard, name);
    json_text_put(&text, i ? ",\n    " : "\n    ");
    json_text_quoted(&text, s->tensors[i].name);
    json_text_put(&text, ": ");
    json_text_quoted(&text, name);
  }
  json_text_put(&text, "\n  }\n}\n");
  viva_status status = text.no_memory ? checkpoint_build_no_memory(s->folder, "the index", error)
                                      : create(s, "model.safetensors.index.json", error);
  if (status == VIVA_OK) status = write_at(s, text.text.items, text.text.count, 0, error);
  json_text_free(&text);
  return status == VIVA_OK ? complete(s, error) : status;
}

viva_status stream_finish(stream *s, viva_error *error) {
  viva_status status = s->count == 0 ? begin_shard(s, 0, error) : VIVA_OK;
  if (status == VIVA_OK) status = complete(s, error);
  if (status == VIVA_OK && s->shards > 1) status = write_index(s, error);
  stream_abort(s);
  return status;
}

void stream_abort(stream *s) {
  if (!s) return;
  runtime *rt = s->rt;
  if (s->handle >= 0) (void)rt->io->close(rt->io->user, s->handle);
  mem_free(&rt->mem, s->path);
  mem_free(&rt->mem, s->order);
  mem_free(&rt->mem, s);
  runtime_release(rt);
}

uint32_t stream_files(const stream *s) { return s->shards + (s->shards > 1); }
