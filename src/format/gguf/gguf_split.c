/* format/gguf/gguf_split.c: a model in several GGUF files.
 *
 *   NAME-00001-of-00003.gguf   all key-value pairs, split.no 0, split.count 3, and the first tensors
 *   NAME-00002-of-00003.gguf   split.no 1 ..., and more tensors; offsets count from its own data
 *
 * The parts are found beside the first, which is the one to give, by their names, as llama.cpp's gguf-split writes them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format/gguf/gguf_parse.h"
#include "format/sort.h"

#define MAX_PARTS 9999 /* five digits in the name; ggml's limit is its 16 bits */
#define END_BYTES (sizeof "-00001-of-00003.gguf" - 1)

static uint64_t key_or(const gguf *g, const char *key, uint64_t missing) {
  const gguf_value *value = gguf_find(g, key);
  uint64_t number;
  return value && gguf_u64(value, &number) == 0 ? number : missing;
}

static viva_status fail(const char *path, viva_status code, viva_error *error, const char *key) {
  error_at(error, path, key, -1, VIVA_NO_OFFSET);
  return code;
}

static void name_end(char end[END_BYTES + 1], uint64_t part, uint64_t count) {
  snprintf(end, END_BYTES + 1, "-%05u-of-%05u.gguf", (unsigned)(part % 100000), (unsigned)(count % 100000));
}

/* The path of part number (from 1), made from that of the first. */
static char *part_path(arena *a, const char *first, uint64_t number, uint64_t count) {
  char end[END_BYTES + 1];
  char *path = arena_text(a, first, strlen(first));
  if (!path) return NULL;
  name_end(end, number, count);
  memcpy(path + strlen(path) - END_BYTES, end, END_BYTES);
  return path;
}

static viva_status check_first(const viva_checkpoint *ck, uint64_t number, uint64_t count, viva_error *error) {
  const char *path = ck->files[0].path;
  char end[END_BYTES + 1];
  if (count > MAX_PARTS || number >= count) {
    error_set(error, VIVA_E_FORMAT, "part %" PRIu64 " of %" PRIu64 " does not exist: the file is damaged", number + 1,
              count);
    return fail(path, VIVA_E_FORMAT, error, "split.count");
  }
  name_end(end, number + 1, count);
  if (number > 0) {
    error_set(error, VIVA_E_UNSUPPORTED,
              "this is part %" PRIu64 " of a model in %" PRIu64
              " files; give the first, whose name ends with -00001-of-%05" PRIu64 ".gguf",
              number + 1, count, count);
    return fail(path, VIVA_E_UNSUPPORTED, error, "split.no");
  }
  if (path_ends_with(path, end)) return VIVA_OK;
  error_set(error, VIVA_E_UNSUPPORTED,
            "this is the first of %" PRIu64 " files, and the others are found by their names; its own should end "
            "with %s",
            count, end);
  return fail(path, VIVA_E_UNSUPPORTED, error, "split.count");
}

/* Room for all files; the first moves into it. */
static viva_status make_room(viva_checkpoint *ck, uint64_t count, viva_error *error) {
  checkpoint_file *files = arena_alloc(ck->arena, (size_t)count * sizeof *files); /* at most MAX_PARTS */
  if (!files) return checkpoint_build_no_memory(ck->path, "the list of files", error);
  files[0] = ck->files[0];
  ck->files = files;
  return VIVA_OK;
}

static viva_status open_part(checkpoint_build *b, uint64_t number, uint64_t count, viva_error *error) {
  viva_checkpoint *ck = b->ck;
  int exists;
  gguf *g;
  const char *path = part_path(ck->arena, ck->files[0].path, number, count);
  if (!path) return checkpoint_build_no_memory(ck->path, "a path", error);
  TRY(path_exists(ck->rt, path, &exists, error));
  if (!exists) {
    error_set(error, VIVA_E_NOT_FOUND, "part %" PRIu64 " of %" PRIu64 " is missing: fetch all parts into one folder",
              number, count);
    return fail(path, VIVA_E_NOT_FOUND, error, NULL);
  }
  TRY(checkpoint_build_add_file(b, path, error));
  TRY(gguf_read_part(ck, (uint32_t)(number - 1), &g, error));
  if (key_or(g, "split.no", UINT64_MAX) == number - 1 && key_or(g, "split.count", 0) == count) return VIVA_OK;
  error_set(error, VIVA_E_FORMAT, "its keys do not say that it is part %" PRIu64 " of %" PRIu64 ", as its name does",
            number, count);
  return fail(path, VIVA_E_FORMAT, error, "split.no");
}

static int compare_views(const void *a, const void *b) {
  return strcmp(((const tensor_view *)a)->name, ((const tensor_view *)b)->name);
}

/* The parts' lists, one behind the other, become one in order of names. */
static viva_status sort_tensors(viva_checkpoint *ck, viva_error *error) {
  mem *m = &ck->rt->mem;
  const tensor_view *all = ck->tensors;
  size_t count = ck->tensor_count;
  tensor_view *sorted = arena_alloc(ck->arena, count * sizeof *sorted); /* as large as the list that exists */
  const void **order = mem_array(m, count, sizeof *order);
  viva_status status = VIVA_OK;
  if (!sorted || !order) status = checkpoint_build_no_memory(ck->path, "the list of tensors", error);
  for (size_t i = 0; status == VIVA_OK && i < count; i++) order[i] = &all[i];
  if (status == VIVA_OK) sort_pointers(order, count, compare_views);
  for (size_t i = 0; status == VIVA_OK && i < count; i++) {
    sorted[i] = *(const tensor_view *)order[i];
    if (i > 0 && compare_views(&sorted[i - 1], &sorted[i]) == 0)
      status = checkpoint_fail(ck, &sorted[i], error, VIVA_E_FORMAT, "there is a tensor of this name in %s too",
                               ck->files[sorted[i - 1].file].path);
  }
  mem_free(m, order);
  if (status == VIVA_OK) ck->tensors = sorted;
  return status;
}

viva_status gguf_open(checkpoint_build *b, viva_error *error) {
  viva_checkpoint *ck = b->ck;
  TRY(gguf_read_part(ck, 0, &ck->gguf, error));
  uint64_t count = key_or(ck->gguf, "split.count", 1);
  if (count <= 1) return VIVA_OK;
  TRY(check_first(ck, key_or(ck->gguf, "split.no", 0), count, error));
  TRY(make_room(ck, count, error));
  for (uint64_t number = 2; number <= count; number++) TRY(open_part(b, number, count, error));
  return sort_tensors(ck, error);
}

int gguf_is_later_part(const char *path) {
  size_t bytes = strlen(path);
  const char *end = bytes >= END_BYTES ? path + bytes - END_BYTES : NULL;
  if (!end || end[0] != '-' || memcmp(end + 6, "-of-", 4) != 0) return 0;
  for (int i = 1; i < 15; i++)
    if ((i < 6 || i >= 10) && (end[i] < '0' || end[i] > '9')) return 0;
  return memcmp(end, "-00001", 6) != 0;
}
