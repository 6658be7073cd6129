/* quantize/quantize_folder.c: a folder that appears whole or not at all: made as TO.viva-N.tmp, then renamed. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "format/checkpoint_build.h"
#include "quantize/quantize.h"

#define MAX_LEFTOVERS 100 /* more unfinished folders than this for one path: something is wrong */
#define MAX_DEPTH     256 /* folders above one another */
#define SUFFIX_BYTES  24  /* ".viva-N.tmp" and the zero */
#define NAME_BYTES    257 /* "/", the longest name of a file, and the zero */

static viva_status no_memory(viva_error *error) { return error_set(error, VIVA_E_MEMORY, "no memory for a path"); }

/* path without slashes at its end, and room bytes behind it. */
static char *copy_path(runtime *rt, const char *path, size_t room) {
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/') length--;
  char *copy = mem_alloc(&rt->mem, length + room + 1);
  if (copy == NULL) return NULL;
  memcpy(copy, path, length);
  copy[length] = 0;
  return copy;
}

/* The folder that holds path, as text: what is before the last slash. In place. */
static void cut_to_parent(char *path) {
  char *slash = strrchr(path, '/');
  if (slash == NULL)
    memcpy(path, ".", 2);
  else
    slash[slash == path] = 0;
}

static int same_place(const io_stat *a, const io_stat *b) { return a->device == b->device && a->inode == b->inode; }

/* 1 when the folder at path is `of`, or lies in it; a negative errno when that cannot be told. path is changed; room for
 * MAX_DEPTH × 3 bytes behind it. */
static int lies_in(runtime *rt, char *path, const io_stat *of) {
  io_stat at, before = {0};
  for (int depth = 0; depth < MAX_DEPTH; depth++) {
    int result = rt->io->stat_path(rt->io->user, path, &at);
    if (result == -ENOENT || result == -EACCES) return 0; /* no such place; above, one that nobody looks into */
    if (result < 0) return result;
    if (same_place(&at, of)) return 1;
    if (depth > 0 && same_place(&at, &before)) return 0; /* the root is its own parent */
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
  if (path == NULL) return c->no_memory = 1;
  size_t length = strlen(path);
  snprintf(path + length, strlen(name) + 2, "/%s", name);
  if (c->rt->io->stat_path(c->rt->io->user, path, &found) == 0 && found.is_folder) c->has_folder = 1;
  if (strcmp(name, "config.json") == 0) c->has_config = 1;
  mem_free(&c->rt->mem, path);
  return 0;
}

/* Only a folder that holds a model, and nothing deeper, is replaced: a slip of the pen must not cost a home folder. */
static viva_status check_replaceable(runtime *rt, const char *to, viva_error *error) {
  folder_content c = {.rt = rt, .folder = to};
  int result = rt->io->list(rt->io->user, to, look_at, &c);
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
  if (same_place(&output, input))
    return refuse(error, VIVA_E_ARGUMENT, to, "input and output are the same: choose another name for the output");
  if (!output.is_folder)
    return refuse(error, VIVA_E_IO, to, "expected the name of a folder, found a file: choose another name");
  if (!overwrite)
    return refuse(error, VIVA_E_IO, to, "the folder exists already: choose another name, or ask to overwrite it");
  return check_replaceable(rt, to, error);
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

viva_status folder_begin(runtime *rt, const char *to, char **temporary, viva_error *error) {
  *temporary = NULL;
  char *path = copy_path(rt, to, SUFFIX_BYTES + NAME_BYTES);
  if (path == NULL) return no_memory(error);
  size_t length = strlen(path);
  int result = -EEXIST;
  for (int n = 0; n < MAX_LEFTOVERS && result == -EEXIST; n++) {
    snprintf(path + length, SUFFIX_BYTES, ".viva-%d.tmp", n);
    result = rt->io->make_folder(rt->io->user, path);
  }
  if (result == 0) {
    *temporary = path;
    return VIVA_OK;
  }
  (void)io_fail(error, "make the folder", path, result);
  mem_free(&rt->mem, path);
  return VIVA_E_IO;
}

typedef struct removal {
  runtime *rt;
  char *path;
  int removed;
} removal;

/* Needs no memory: it also runs because there was none. */
static int remove_one(void *arg, const char *name) {
  removal *r = arg;
  size_t length = strlen(r->path);
  snprintf(r->path + length, NAME_BYTES, "/%s", name);
  r->removed += r->rt->io->remove(r->rt->io->user, r->path) == 0;
  r->path[length] = 0;
  return 0;
}

void folder_remove(runtime *rt, char *path) {
  removal r = {.rt = rt, .path = path};
  do { /* a list that changes while it is read may leave names out */
    r.removed = 0;
    (void)rt->io->list(rt->io->user, path, remove_one, &r);
  } while (r.removed > 0);
  (void)rt->io->remove_folder(rt->io->user, path);
}

static viva_status sync_folder(runtime *rt, const char *path, viva_error *error) {
  int result;
  do result = rt->io->sync_folder(rt->io->user, path);
  while (result == -EINTR);
  return result < 0 ? io_fail(error, "write the folder to the disk", path, result) : VIVA_OK;
}

/* Moves what is at to out of the way; *old is then its name (from rt's memory), NULL when there was nothing. */
static viva_status move_away(runtime *rt, const char *to, char **old, viva_error *error) {
  io_stat found;
  *old = NULL;
  if (rt->io->stat_path(rt->io->user, to, &found) < 0) return VIVA_OK;
  char *path = copy_path(rt, to, SUFFIX_BYTES + NAME_BYTES);
  if (path == NULL) return no_memory(error);
  size_t length = strlen(path);
  int n = 0;
  do snprintf(path + length, SUFFIX_BYTES, ".viva-%d.old", n++);
  while (n < MAX_LEFTOVERS && rt->io->stat_path(rt->io->user, path, &found) == 0);
  int result = rt->io->rename(rt->io->user, to, path);
  if (result == 0) {
    *old = path;
    return VIVA_OK;
  }
  (void)io_fail(error, "move the old folder away", to, result);
  mem_free(&rt->mem, path);
  return VIVA_E_IO;
}

viva_status folder_commit(runtime *rt, const char *temporary, const char *to, viva_error *error) {
  char *old = NULL, *parent = NULL, *name = copy_path(rt, to, 0);
  viva_status status = name ? sync_folder(rt, temporary, error) : no_memory(error);
  if (status == VIVA_OK) status = (parent = copy_path(rt, to, 2)) ? move_away(rt, name, &old, error) : no_memory(error);
  if (status == VIVA_OK) {
    int result = rt->io->rename(rt->io->user, temporary, name);
    if (result < 0) {
      status = io_fail(error, "give the finished folder its name", to, result);
      if (old) (void)rt->io->rename(rt->io->user, old, name);
    } else {
      if (old) folder_remove(rt, old);
      cut_to_parent(parent);
      (void)sync_folder(rt, parent, NULL); /* it is complete, and has its name; only a power cut could take that back */
    }
  }
  mem_free(&rt->mem, name);
  mem_free(&rt->mem, parent);
  mem_free(&rt->mem, old);
  return status;
}
