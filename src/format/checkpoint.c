/* format/checkpoint.c: opening and closing a checkpoint, and reading its tensors' bytes. */
#include "format/checkpoint.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/ck.h"
#include "format/checkpoint_build.h"
#include "format/gguf/gguf.h"

#define FIRST_BLOCK 16384 /* of the arena: a small model's names and views */

static const char gguf_magic[4] = {'G', 'G', 'U', 'F'};

viva_status checkpoint_build_open_single(checkpoint_build *b, const char *path, viva_error *error) {
  viva_checkpoint *ck = b->ck;
  char first[sizeof gguf_magic] = {0};
  if (!ck->folder) ck->folder = path_folder(ck->arena, path);
  if (!ck->folder) return checkpoint_build_no_memory(path, "a path", error);
  TRY(checkpoint_build_files(b, 1, error));
  TRY(checkpoint_build_add_file(b, path, error));
  const io_file *io = &ck->files[0].io;
  if (io->stat.bytes >= sizeof first) TRY(io_read(io, first, sizeof first, 0, error));
  if (memcmp(first, gguf_magic, sizeof first) == 0) {
    ck->container = CONTAINER_GGUF;
    return gguf_open(b, error);
  }
  TRY(safetensors_read(b, 0, 1, error));
  return checkpoint_build_finish(b, error);
}

static viva_status open_path(checkpoint_build *b, const char *path, viva_error *error) {
  viva_checkpoint *ck = b->ck;
  int unreadable;
  ck->path = arena_text(ck->arena, path, strlen(path));
  if (!ck->path) return checkpoint_build_no_memory(path, "a path", error);
  if (path_is_folder(ck->rt, ck->path))
    TRY(shards_open_folder(b, ck->path, error));
  else if (path_ends_with(ck->path, ".index.json"))
    TRY(shards_open_index(b, ck->path, &unreadable, error));
  else
    TRY(shards_open_file(b, ck->path, error));
  return metadata_finish(b, error);
}

viva_status checkpoint_open(runtime *rt, const char *path, viva_load_mode load, viva_checkpoint **out,
                            viva_error *error) {
  *out = NULL;
  viva_checkpoint *ck = mem_zalloc(&rt->mem, sizeof *ck);
  if (!ck) return checkpoint_build_no_memory(path, "the checkpoint", error);
  ck->rt = runtime_retain(rt);
  ck->load = load;
  ck->arena = arena_create(&rt->mem, FIRST_BLOCK);
  checkpoint_build b = {.ck = ck,
                        .tensors = {.item_bytes = sizeof(tensor_view)},
                        .metadata = {.item_bytes = sizeof(struct metadata_entry)}};
  viva_status status =
      ck->arena ? open_path(&b, path, error) : checkpoint_build_no_memory(path, "the checkpoint", error);
  grow_free(&rt->mem, &b.tensors);
  grow_free(&rt->mem, &b.metadata);
  if (status != VIVA_OK) {
    viva_checkpoint_close(ck);
    return status;
  }
  *out = ck;
  return VIVA_OK;
}

void viva_checkpoint_close(viva_checkpoint *ck) {
  if (!ck) return;
  runtime *rt = ck->rt;
  for (size_t i = 0; i < ck->file_count; i++) {
    checkpoint_file *file = &ck->files[i];
    if (file->map) io_unmap(rt->io, file->map, (size_t)file->io.stat.bytes);
    io_close(&file->io);
  }
  arena_free(ck->arena);
  mem_free(&rt->mem, ck);
  runtime_release(rt);
}

const char *viva_checkpoint_format(const viva_checkpoint *ck) {
  if (!ck) return "";
  if (ck->container == CONTAINER_GGUF) return ck->gguf->version == 2 ? "GGUF 2" : "GGUF 3";
  return ck->file_count > 1 ? "safetensors shards" : "safetensors";
}

const tensor_view *checkpoint_find(const viva_checkpoint *ck, const char *name) {
  size_t low = 0, high = ck->tensor_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int compared = strcmp(ck->tensors[middle].name, name);
    if (compared == 0) return &ck->tensors[middle];
    if (compared < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}

viva_status checkpoint_read_part(const viva_checkpoint *ck, const tensor_view *view, uint64_t first, void *data,
                                 size_t bytes, viva_error *error) {
  if (!ck_range(first, bytes, view->bytes))
    return checkpoint_fail(ck, view, error, VIVA_E_SIZE, "asked for %zu bytes at %llu of a tensor of %llu", bytes,
                           (unsigned long long)first, (unsigned long long)view->bytes);
  if (bytes == 0) return VIVA_OK;
  const checkpoint_file *file = &ck->files[view->file];
  if (file->map) {
    memcpy(data, file->map + view->offset + first, bytes);
    return VIVA_OK;
  }
  viva_status status = io_read(&file->io, data, bytes, view->offset + first, error);
  if (status != VIVA_OK) error_at(error, NULL, view->name, -1, VIVA_NO_OFFSET);
  return status;
}

const void *checkpoint_mapped(const viva_checkpoint *ck, const tensor_view *view) {
  const uint8_t *map = ck->files[view->file].map;
  return map ? map + view->offset : NULL;
}

viva_status checkpoint_fail(const viva_checkpoint *ck, const tensor_view *view, viva_error *error, viva_status code,
                            const char *format, ...) {
  char message[sizeof error->message];
  va_list arguments;
  va_start(arguments, format);
  if (vsnprintf(message, sizeof message, format, arguments) < 0) message[0] = 0;
  va_end(arguments);
  error_set(error, code, "%s", message);
  error_at(error, ck->files[view->file].path, view->name, -1, view->offset);
  return code;
}

viva_status file_read_all(runtime *rt, arena *a, const char *path, uint64_t limit, const char **text, size_t *bytes,
                          viva_error *error) {
  io_file file;
  int exists;
  TRY(path_exists(rt, path, &exists, error));
  if (!exists) {
    error_set(error, VIVA_E_NOT_FOUND, "there is no such file");
    error_at(error, path, NULL, 0, VIVA_NO_OFFSET);
    return VIVA_E_NOT_FOUND;
  }
  TRY(io_open(rt->io, path, &file, error));
  uint64_t size = file.stat.bytes;
  viva_status status = VIVA_OK;
  if (size > limit) {
    status = error_set(error, VIVA_E_LIMIT, "the file has %llu bytes; at most %llu are read", (unsigned long long)size,
                       (unsigned long long)limit);
    error_at(error, path, NULL, 0, VIVA_NO_OFFSET);
  }
  char *copy = status == VIVA_OK ? arena_alloc(a, (size_t)size + 1) : NULL;
  if (status == VIVA_OK && !copy) status = checkpoint_build_no_memory(path, "the file", error);
  if (status == VIVA_OK) status = io_read(&file, copy, (size_t)size, 0, error);
  io_close(&file);
  if (status != VIVA_OK) return status;
  copy[size] = 0;
  *text = copy;
  *bytes = (size_t)size;
  return VIVA_OK;
}
