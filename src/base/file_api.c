/* base/file_api.c: viva/file.h: commit.h's writer for clients, on a runtime of its own. */
#include <stdio.h>
#include <string.h>

#include "base/commit.h"
#include "base/options.h"
#include "viva/file.h"

struct viva_file {
  runtime *rt;
  io_writer *writer;
  io_stat *inputs;
  size_t input_count, input_room;
  commit_options commit;
};

viva_file_options viva_file_options_default(void) {
  return (viva_file_options){.size = sizeof(viva_file_options), .replace = 1};
}

static void free_file(viva_file *file) {
  runtime *rt = file->rt;
  mem_free(&rt->mem, file->inputs);
  mem_free(&rt->mem, file);
  runtime_release(rt);
}

/* ---- inputs */

static int add(viva_file *file, const io_stat *stat) {
  if (file->input_count == file->input_room) {
    size_t room = 2 * file->input_room + 16;
    io_stat *larger = mem_resize(&file->rt->mem, file->inputs, room * sizeof *larger);
    if (!larger) return -1;
    file->inputs = larger;
    file->input_room = room;
  }
  file->inputs[file->input_count++] = *stat;
  return 0;
}

typedef struct listing {
  viva_file *file;
  const char *folder;
  int no_memory;
} listing;

static int add_one(void *arg, const char *name) {
  listing *l = arg;
  runtime *rt = l->file->rt;
  size_t bytes = strlen(l->folder) + strlen(name) + 2;
  char *path = mem_alloc(&rt->mem, bytes);
  io_stat found;
  if (!path) return l->no_memory = 1;
  snprintf(path, bytes, "%s/%s", l->folder, name);
  if (rt->io->stat_path(rt->io->user, path, &found) == 0) l->no_memory = add(l->file, &found) != 0;
  mem_free(&rt->mem, path);
  return l->no_memory;
}

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory for writing a file");
}

/* A file, or the files of a folder. */
static viva_status add_input(viva_file *file, const char *path, viva_error *error) {
  const io_table *io = file->rt->io;
  io_stat found;
  if (!path) return error_set(error, VIVA_E_ARGUMENT, "the path of an input is NULL");
  int result = io->stat_path(io->user, path, &found);
  if (result < 0) return io_fail(error, "open the file", path, result);
  if (add(file, &found)) return no_memory(error);
  if (!found.is_folder) return VIVA_OK;
  listing l = {file, path, 0};
  result = io->list(io->user, path, add_one, &l);
  if (l.no_memory) return no_memory(error);
  return result < 0 ? io_fail(error, "list the folder", path, result) : VIVA_OK;
}

/* ---- the calls */

static viva_status open_file(viva_file *file, const char *path, const viva_file_options *o, viva_error *error) {
  if (o->input_count > 0 && !o->inputs)
    return error_set(error, VIVA_E_ARGUMENT, "inputs is NULL, but input_count is not 0");
  for (size_t i = 0; i < o->input_count; i++) TRY(add_input(file, o->inputs[i], error));
  file->commit = (commit_options){.replace = o->replace, .inputs = file->inputs, .input_count = file->input_count};
  return writer_open(file->rt, path, &file->commit, &file->writer, error);
}

viva_status viva_file_open(const char *path, const viva_file_options *options, viva_file **file, viva_error *error) {
  if (!file) return error_set(error, VIVA_E_ARGUMENT, "file is NULL; expected a place for the handle");
  *file = NULL;
  if (!path) return error_set(error, VIVA_E_ARGUMENT, "path is NULL; expected where to write");
  viva_file_options o = viva_file_options_default();
  TRY(options_read(&o, options, "viva_file_options", error));
  TRY(options_reserved(o.reserved, "viva_file_options", error));
  runtime *rt = runtime_create(o.allocator, NULL, NULL, NULL, VIVA_LOG_WARN);
  if (!rt) return no_memory(error);
  viva_file *made = mem_zalloc(&rt->mem, sizeof *made);
  if (!made) {
    runtime_release(rt);
    return no_memory(error);
  }
  made->rt = rt;
  viva_status status = open_file(made, path, &o, error);
  if (status != VIVA_OK)
    free_file(made);
  else
    *file = made;
  return status;
}

viva_status viva_file_write(viva_file *file, const void *data, size_t bytes, viva_error *error) {
  if (!file) return error_set(error, VIVA_E_ARGUMENT, "file is NULL; expected what viva_file_open gave");
  if (!data && bytes > 0) return error_set(error, VIVA_E_ARGUMENT, "data is NULL, but bytes is not 0");
  return writer_write(file->writer, data, bytes, error);
}

viva_status viva_file_commit(viva_file *file, viva_error *error) {
  if (!file) return error_set(error, VIVA_E_ARGUMENT, "file is NULL; expected what viva_file_open gave");
  viva_status status = writer_commit(file->writer, error);
  free_file(file);
  return status;
}

void viva_file_abort(viva_file *file) {
  if (!file) return;
  writer_abort(file->writer);
  free_file(file);
}
