/* load/tokenizer_open.c: the public calls that load a tokenizer, from a path or from files in memory: those are an
 * io_table whose one folder, the empty path, has nothing else in it. */
#include <errno.h>
#include <string.h>

#include "base/options.h"
#include "load/tokenizer_folder.h"

typedef struct given_files {
  const viva_tokenizer_file *files;
  size_t count;
} given_files;

static int find_given(const given_files *given, const char *path) {
  for (size_t i = 0; i < given->count; i++)
    if (strcmp(given->files[i].name, path) == 0) return (int)i;
  return -ENOENT;
}

static int given_open(void *user, const char *path, io_open_mode mode) {
  return mode == IO_READ ? find_given(user, path) : -EROFS;
}

static int given_stat(void *user, int handle, io_stat *stat) {
  const given_files *given = user;
  *stat = (io_stat){.bytes = given->files[handle].bytes, .inode = (uint64_t)handle + 1, .is_file = 1};
  return 0;
}

static int given_stat_path(void *user, const char *path, io_stat *stat) {
  int at = find_given(user, path);
  return at < 0 ? at : given_stat(user, at, stat);
}

static int64_t given_read(void *user, int handle, void *data, size_t bytes, uint64_t offset) {
  const viva_tokenizer_file *file = &((const given_files *)user)->files[handle];
  if (offset >= file->bytes) return 0;
  size_t left = file->bytes - (size_t)offset, n = bytes < left ? bytes : left;
  if (n > 0) memcpy(data, (const char *)file->data + offset, n);
  return (int64_t)n;
}

static int given_close(void *user, int handle) {
  (void)user;
  (void)handle;
  return 0;
}

static int is_gguf(const char *name) {
  size_t length = strlen(name);
  return length >= 5 && strcmp(name + length - 5, ".gguf") == 0;
}

static viva_status check_files(const viva_tokenizer_file *files, size_t count, viva_error *error) {
  if (!files || count == 0 || count > INT32_MAX)
    return error_set(error, VIVA_E_ARGUMENT, "files is NULL, or there are none; give at least one");
  for (size_t i = 0; i < count; i++) {
    const viva_tokenizer_file *f = &files[i];
    if (!f->name || f->name[0] == 0 || strchr(f->name, '/') || (!f->data && f->bytes > 0))
      return error_set(error, VIVA_E_ARGUMENT, "file %zu has no name, a folder in it, or no data", i);
    if (is_gguf(f->name) && count > 1)
      return error_set(error, VIVA_E_ARGUMENT, "%s is a GGUF file: give it alone", f->name);
    for (size_t k = 0; k < i; k++)
      if (strcmp(files[k].name, f->name) == 0) return error_set(error, VIVA_E_ARGUMENT, "%s is given twice", f->name);
  }
  return VIVA_OK;
}

/* The runtime of a tokenizer that is loaded through io. */
static viva_status open_runtime(const viva_tokenizer_options *options, const io_table *io, runtime **rt,
                                viva_error *error) {
  viva_tokenizer_options o = viva_tokenizer_options_default();
  TRY(options_read(&o, options, "viva_tokenizer_options", error));
  *rt = runtime_create(o.allocator, io, o.log, o.log_user, VIVA_LOG_WARN);
  return *rt ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for a tokenizer");
}

viva_status viva_tokenizer_load(const char *path, const viva_tokenizer_options *options, viva_tokenizer **tokenizer,
                                viva_error *error) {
  runtime *rt;
  if (!tokenizer) return error_set(error, VIVA_E_ARGUMENT, "tokenizer is NULL; give a place for the handle");
  *tokenizer = NULL;
  if (!path) return error_set(error, VIVA_E_ARGUMENT, "path is NULL; give a tokenizer.json, its folder or a GGUF file");
  TRY(open_runtime(options, NULL, &rt, error));
  viva_status status = tokenizer_from_path(rt, path, tokenizer, error);
  runtime_release(rt);
  return status;
}

viva_status viva_tokenizer_load_files(const viva_tokenizer_file *files, size_t count,
                                      const viva_tokenizer_options *options, viva_tokenizer **tokenizer,
                                      viva_error *error) {
  runtime *rt;
  if (!tokenizer) return error_set(error, VIVA_E_ARGUMENT, "tokenizer is NULL; give a place for the handle");
  *tokenizer = NULL;
  TRY(check_files(files, count, error));
  given_files given = {files, count};
  const io_table io = {.open = given_open,
                       .stat = given_stat,
                       .stat_path = given_stat_path,
                       .read_at = given_read,
                       .close = given_close,
                       .user = &given};
  TRY(open_runtime(options, &io, &rt, error));
  viva_status status = is_gguf(files[0].name) ? tokenizer_from_path(rt, files[0].name, tokenizer, error)
                                              : tokenizer_from_folder(rt, "", tokenizer, error);
  rt->io = &io_system; /* the tokenizer keeps the runtime; the files are the caller's again */
  runtime_release(rt);
  return status;
}
