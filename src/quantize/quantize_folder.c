/* quantize/quantize_folder.c: whether the output may be written where it is to be: not in its input, not over it, and not
 * over anything but a model. base/commit.h does the writing. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/commit.h"
#include "format/checkpoint_build.h"
#include "quantize/quantize.h"

#define MAX_DEPTH 256 /* folders above one another */

static viva_status no_memory(viva_error *error) { return error_set(error, VIVA_E_MEMORY, "no memory for a path"); }

/* path without slashes at its end, and room bytes behind it. */
static char *copy_path(runtime *rt, const char *path, size_t room) {
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/') length--;
  char *copy = mem_alloc(&rt->mem, length + room + 1);
  if (!copy) return NULL;
  memcpy(copy, path, length);
  copy[length] = 0;
  return copy;
}

/* The folder that holds path, as text: what is before the last slash. In place. */
static void cut_to_parent(char *path) {
  char *slash = strrchr(path, '/');
  if (!slash)
    memcpy(path, ".", 2);
  else
    slash[slash == path] = 0;
}

/* 1 when the folder at path is `of`, or lies in it; a negative errno when that cannot be told. path is changed; room for
 * MAX_DEPTH × 3 bytes behind it. */
static int lies_in(runtime *rt, char *path, const io_stat *of) {
  io_stat at, before = {0};
  for (int depth = 0; depth < MAX_DEPTH; depth++) {
    int result = rt->io->stat_path(rt->io->user, path, &at);
    if (result == -ENOENT || result == -EACCES) return 0; /* no such place; above, one that nobody looks into */
    if (result < 0) return result;
    if (io_same(&at, of)) return 1;
    if (depth > 0 && io_same(&at, &before)) return 0; /* the root is its own parent */
    before = at;
    memcpy(path + strlen(path), "/..", 4);
  }
  return 0;
}

static viva_status refuse(viva_error *error, viva_status code, const char *path, const char *message) {
  error_set(error, code, "%s", message);
  error_at(error, path, NULL, 0, VIVA_NO_OFFSET);
  return code;
}

typedef struct folder_content {
  runtime *rt;
  const char *folder;
  int has_config, has_folder, no_memory;
} folder_content;

static int look_at(void *arg, const char *name) {
  folder_content *c = arg;
  io_stat found;
  char *path = copy_path(c->rt, c->folder, strlen(name) + 1);
  if (!path) return c->no_memory = 1;
  size_t length = strlen(path);
  snprintf(path + length, strlen(name) + 2, "/%s", name);
  if (c->rt->io->stat_path(c->rt->io->user, path, &found) == 0 && found.is_folder) c->has_folder = 1;
  if (strcmp(name, "config.json") == 0) c->has_config = 1;
  mem_free(&c->rt->mem, path);
  return 0;
}

/* A slip of the pen must not cost a home folder. */
viva_status folder_may_replace(runtime *rt, const char *path, const char *to, viva_error *error) {
  folder_content c = {.rt = rt, .folder = path};
  int result = rt->io->list(rt->io->user, path, look_at, &c);
  if (result < 0) return io_fail(error, "list the folder", to, result);
  if (c.no_memory) return no_memory(error);
  if (c.has_config && !c.has_folder) return VIVA_OK;
  return refuse(error, VIVA_E_IO, to,
                c.has_folder
                    ? "the folder has folders in it, and is not replaced: choose another name"
                    : "the folder has no config.json, so it is no model, and is not replaced: choose another name");
}

static viva_status look(runtime *rt, const char *path, io_stat *stat, viva_error *error) {
  int result = rt->io->stat_path(rt->io->user, path, stat);
  return result < 0 ? io_fail(error, "look at the input", path, result) : VIVA_OK;
}

/* What is at `to` already. path and above are changed. */
static viva_status check_existing(runtime *rt, const char *to, char *path, char *above, const io_stat *input,
                                  int overwrite, viva_error *error) {
  io_stat output;
  int result = rt->io->stat_path(rt->io->user, path, &output);
  if (result == -ENOENT || result == -ENOTDIR) return VIVA_OK; /* make_folder says what is wrong, if anything is */
  if (result < 0) return io_fail(error, "look at the output", to, result);
  if ((result = lies_in(rt, above, &output)) < 0) return io_fail(error, "look above the input", to, result);
  if (result)
    return refuse(error, VIVA_E_ARGUMENT, to, "this folder holds the input: choose another name for the output");
  if (io_same(&output, input))
    return refuse(error, VIVA_E_ARGUMENT, to, "input and output are the same: choose another name for the output");
  if (!output.is_folder)
    return refuse(error, VIVA_E_IO, to, "expected the name of a folder, found a file: choose another name");
  if (!overwrite)
    return refuse(error, VIVA_E_IO, to, "the folder exists already: choose another name, or ask to overwrite it");
  return folder_may_replace(rt, to, to, error);
}

static viva_status check_place(runtime *rt, const char *to, char *path, const io_stat *input, viva_error *error) {
  if (!input->is_folder) return VIVA_OK;
  cut_to_parent(path);
  int result = lies_in(rt, path, input);
  if (result < 0) return io_fail(error, "look above the output", to, result);
  return result ? refuse(error, VIVA_E_ARGUMENT, to, "the output lies in the input's folder: choose a place outside")
                : VIVA_OK;
}

viva_status folder_check(runtime *rt, const viva_checkpoint *ck, const char *from, const char *to, int overwrite,
                         viva_error *error) {
  io_stat input = {0};
  if (to[0] == 0) return refuse(error, VIVA_E_ARGUMENT, NULL, "the path of the folder to write is empty");
  char *path = copy_path(rt, to, MAX_DEPTH * 3), *above = copy_path(rt, ck->folder, MAX_DEPTH * 3);
  viva_status status = path && above ? look(rt, from, &input, error) : no_memory(error);
  if (!status) status = check_existing(rt, to, path, above, &input, overwrite, error);
  if (!status) status = check_place(rt, to, path, &input, error);
  mem_free(&rt->mem, path);
  mem_free(&rt->mem, above);
  return status;
}

/* ---- what must not be lost */

typedef struct inputs {
  quantize_job *j;
  const char *folder;
  int no_memory;
} inputs;

static int add_input(inputs *in, const io_stat *stat) {
  io_stat *added = grow_add(&in->j->engine->rt->mem, &in->j->inputs);
  if (!added) return in->no_memory = 1;
  *added = *stat;
  return 0;
}

static int add_neighbour(void *arg, const char *name) {
  inputs *in = arg;
  runtime *rt = in->j->engine->rt;
  io_stat found;
  char *path = copy_path(rt, in->folder, strlen(name) + 1);
  if (!path) return in->no_memory = 1;
  size_t length = strlen(path);
  snprintf(path + length, strlen(name) + 2, "/%s", name);
  if (rt->io->stat_path(rt->io->user, path, &found) == 0 && found.is_file) add_input(in, &found);
  mem_free(&rt->mem, path);
  return in->no_memory;
}

viva_status folder_inputs(quantize_job *j, viva_error *error) {
  const viva_checkpoint *ck = j->ck;
  const io_table *io = j->engine->rt->io;
  inputs in = {.j = j, .folder = ck->folder};
  j->inputs.item_bytes = sizeof(io_stat);
  for (size_t i = 0; i < ck->file_count; i++) add_input(&in, &ck->files[i].io.stat);
  /* Configuration and tokenizer lie beside the weights. */
  int result = ck->container == CONTAINER_SAFETENSORS ? io->list(io->user, ck->folder, add_neighbour, &in) : 0;
  if (in.no_memory) return no_memory(error);
  return result < 0 ? io_fail(error, "list the folder", ck->folder, result) : VIVA_OK;
}

/* ---- what must be there */

/* Configuration and tokenizer beside the weights: no more than these take, and file systems count in blocks. */
#define SMALL_FILES ((uint64_t)1 << 20)

viva_status folder_room(const quantize_job *j, const char *folder, const char *to, viva_error *error) {
  const io_table *io = j->engine->rt->io;
  uint64_t needed = SMALL_FILES, room;
  char texts[2][32];
  for (size_t i = 0; i < j->tensor_count; i++) needed = budget_add(needed, j->tensors[i].bytes);
  int result = io->space(io->user, folder, &room);
  if (result < 0) return io_fail(error, "ask how much space is left", to, result);
  if (needed <= room) return VIVA_OK;
  error_set(error, VIVA_E_IO, "the output needs %s, but %s are free there; free some space, or choose another place",
            budget_text(needed, texts[0]), budget_text(room, texts[1]));
  error_at(error, to, NULL, 0, VIVA_NO_OFFSET);
  return VIVA_E_IO;
}
