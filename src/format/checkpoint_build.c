/* format/checkpoint_build.c: the parts of opening that every container needs. */
#include "format/checkpoint_build.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/ck.h"

enum { FIRST_CAPACITY = 16 };

void *grow_add(mem *m, grow *g) {
  if (g->count == g->capacity) {
    size_t capacity = g->capacity > 0 ? g->capacity * 2 : FIRST_CAPACITY;
    uint64_t bytes;
    size_t size;
    if (capacity < g->capacity || ck_mul(capacity, g->item_bytes, &bytes) || ck_size(bytes, &size)) return NULL;
    char *items = mem_resize(m, g->items, size);
    if (!items) return NULL;
    g->items = items;
    g->capacity = capacity;
  }
  return memset(g->items + g->item_bytes * g->count++, 0, g->item_bytes);
}

void grow_free(mem *m, grow *g) {
  mem_free(m, g->items);
  *g = (grow){.item_bytes = g->item_bytes};
}

const void **grow_sorted(mem *m, const grow *g, size_t first, sort_compare compare) {
  size_t count = g->count - first;
  const void **order = mem_array(m, count, sizeof *order);
  if (!order) return NULL;
  for (size_t i = 0; i < count; i++) order[i] = g->items + g->item_bytes * (first + i);
  sort_pointers(order, count, compare);
  return order;
}

viva_status checkpoint_build_no_memory(const char *path, const char *what, viva_error *error) {
  error_set(error, VIVA_E_MEMORY, "no memory for %s", what);
  error_at(error, path, NULL, 0, VIVA_NO_OFFSET);
  return VIVA_E_MEMORY;
}

viva_status checkpoint_build_files(checkpoint_build *b, size_t count, viva_error *error) {
  uint64_t bytes;
  size_t size;
  viva_checkpoint *ck = b->ck;
  if (!ck_mul(count, sizeof *ck->files, &bytes) && !ck_size(bytes, &size)) ck->files = arena_alloc(ck->arena, size);
  return ck->files ? VIVA_OK : checkpoint_build_no_memory(ck->path, "the list of files", error);
}

viva_status checkpoint_build_add_file(checkpoint_build *b, const char *path, viva_error *error) {
  viva_checkpoint *ck = b->ck;
  checkpoint_file *file = &ck->files[ck->file_count];
  *file = (checkpoint_file){.path = path};
  TRY(io_open(ck->rt->io, path, &file->io, error));
  ck->file_count++; /* from here on checkpoint_close closes it */
  allowance_pay(&ck->allowance, file->io.stat.bytes);
  if (ck->load != VIVA_LOAD_MMAP) return VIVA_OK;
  const void *map = NULL;
  TRY(io_map(&file->io, &map, error));
  file->map = map;
  return VIVA_OK;
}

viva_status checkpoint_build_charge_json(allowance *a, size_t bytes, const char *path, uint64_t *charged,
                                         viva_error *error) {
  const uint64_t key_cost =
      12; /* for each byte: a key of 8 bytes with its value takes up to 80 in tables that double */
  *charged = key_cost * bytes;
  allowance_pay(a, bytes);
  return allowance_memory(a, *charged, "the JSON text", path, error);
}

int tensor_view_by_name(const void *a, const void *b) {
  return strcmp(((const tensor_view *)a)->name, ((const tensor_view *)b)->name);
}

static viva_status duplicate(const viva_checkpoint *ck, const tensor_view *first, const tensor_view *second,
                             viva_error *error) {
  const char *other = ck->files[first->file].path;
  return checkpoint_fail(ck, second, error, VIVA_E_FORMAT, "there is a tensor of this name in %s too", other);
}

viva_status checkpoint_build_finish(checkpoint_build *b, viva_error *error) {
  viva_checkpoint *ck = b->ck;
  mem *m = &ck->rt->mem;
  size_t count = b->tensors.count;
  tensor_view *sorted = arena_alloc(ck->arena, count * sizeof *sorted); /* as large as the list that exists */
  const void **order = grow_sorted(m, &b->tensors, 0, tensor_view_by_name);
  viva_status status = VIVA_OK;
  if (!sorted || !order) status = checkpoint_build_no_memory(ck->path, "the list of tensors", error);
  for (size_t i = 0; status == VIVA_OK && i < count; i++) {
    sorted[i] = *(const tensor_view *)order[i];
    if (i > 0 && tensor_view_by_name(&sorted[i - 1], &sorted[i]) == 0)
      status = duplicate(ck, &sorted[i - 1], &sorted[i], error);
  }
  mem_free(m, order);
  if (status != VIVA_OK) return status;
  ck->tensors = sorted;
  ck->tensor_count = count;
  return VIVA_OK;
}

const char *path_join(arena *a, const char *folder, const char *name) {
  size_t folder_bytes = strlen(folder), name_bytes = strlen(name);
  int slash = folder_bytes > 0 && folder[folder_bytes - 1] != '/';
  char *path = arena_alloc(a, folder_bytes + (size_t)slash + name_bytes + 1);
  if (!path) return NULL;
  memcpy(path, folder, folder_bytes);
  if (slash) path[folder_bytes] = '/';
  memcpy(path + folder_bytes + (size_t)slash, name, name_bytes + 1);
  return path;
}

const char *path_folder(arena *a, const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash) return ".";
  return slash == path ? "/" : arena_text(a, path, (size_t)(slash - path));
}

int path_ends_with(const char *path, const char *end) {
  size_t path_bytes = strlen(path), end_bytes = strlen(end);
  return path_bytes >= end_bytes && memcmp(path + path_bytes - end_bytes, end, end_bytes) == 0;
}

int path_is_folder(runtime *rt, const char *path) {
  io_stat stat;
  int result;
  do result = rt->io->stat_path(rt->io->user, path, &stat);
  while (result == -EINTR);
  return result >= 0 && stat.is_folder;
}

viva_status path_exists(runtime *rt, const char *path, int *exists, viva_error *error) {
  io_stat stat;
  int result;
  do result = rt->io->stat_path(rt->io->user, path, &stat);
  while (result == -EINTR);
  *exists = result >= 0;
  /* No file has a name that is too long. */
  if (result >= 0 || result == -ENOENT || result == -ENOTDIR || result == -ENAMETOOLONG) return VIVA_OK;
  /* No permission, a damaged disk: that must not look like a missing file. */
  return io_fail(error, "look at the file", path, result);
}
