/* base/commit.c: see commit.h. The order that a power cut cannot break: the output's bytes are on the disk before its name
 * is, and its name is before what it replaced is removed. */
#include "base/commit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NAME_BYTES 257 /* "/", the longest name of a file, and the zero */
#define MAX_TURNS  100 /* an output that appears and vanishes under our hands this often: give up */

static viva_status refuse(viva_error *error, viva_status code, const char *path, const char *message) {
  error_set(error, code, "%s", message);
  error_at(error, path, NULL, 0, VIVA_NO_OFFSET);
  return code;
}

static int is_input(const commit_options *o, const io_stat *found) {
  for (size_t i = 0; i < o->input_count; i++)
    if (io_same(found, &o->inputs[i])) return 1;
  return 0;
}

/* ---- what would be replaced */

typedef struct content {
  runtime *rt;
  const commit_options *options;
  const char *folder;
  int holds_input, no_memory;
} content;

static int look_into(void *arg, const char *name) {
  content *c = arg;
  io_stat found;
  size_t length = strlen(c->folder);
  char *path = mem_alloc(&c->rt->mem, length + NAME_BYTES);
  if (!path) return c->no_memory = 1;
  snprintf(path, length + NAME_BYTES, "%s/%s", c->folder, name);
  /* Through links too: a link in the output to an input may be what the input was opened by. */
  if (c->rt->io->stat_path(c->rt->io->user, path, &found) == 0 && is_input(c->options, &found)) c->holds_input = 1;
  mem_free(&c->rt->mem, path);
  return c->holds_input;
}

/* path: where it lies, as found says; c's own name for it goes into messages. */
static viva_status check_old(const commit *c, const char *path, const io_stat *found, viva_error *error) {
  runtime *rt = c->claim.rt;
  const char *to = c->claim.to;
  if (found->is_link)
    return refuse(error, VIVA_E_IO, to,
                  "it is a symbolic link, which is not written through: give the path it leads to");
  if (c->claim.kind == CLAIM_FILE && !found->is_file)
    return refuse(error, VIVA_E_IO, to,
                  found->is_folder ? "expected the name of a file, found a folder: choose another name"
                                   : "it is a device, pipe or socket: choose another name");
  if (c->claim.kind == CLAIM_FOLDER && !found->is_folder)
    return refuse(error, VIVA_E_IO, to, "expected the name of a folder, found a file: choose another name");
  if (is_input(&c->options, found))
    return refuse(error, VIVA_E_ARGUMENT, to, "input and output are the same: choose another name for the output");
  if (!c->options.replace)
    return refuse(error, VIVA_E_IO, to,
                  c->claim.kind == CLAIM_FOLDER
                      ? "the folder exists already: choose another name, or ask to overwrite it"
                      : "the file exists already: choose another name, or ask to overwrite it");
  if (c->claim.kind == CLAIM_FILE) return VIVA_OK;
  content inside = {.rt = rt, .options = &c->options, .folder = path};
  int result = rt->io->list(rt->io->user, path, look_into, &inside);
  if (result < 0) return io_fail(error, "list the folder", to, result);
  if (inside.no_memory) return error_set(error, VIVA_E_MEMORY, "no memory for a path");
  if (inside.holds_input)
    return refuse(error, VIVA_E_ARGUMENT, to,
                  "a file of this folder is an input, by another name or through a link: choose another name for the "
                  "output");
  return c->options.may_replace ? c->options.may_replace(rt, path, to, error) : VIVA_OK;
}

static int is_still_there(const commit *c, const io_stat *found) {
  const io_table *io = c->claim.rt->io;
  io_stat now;
  return io->look(io->user, c->claim.to, &now) == 0 && io_same(&now, found);
}

/* *there: 0 when nothing is. What another writer replaced while it was looked at has lost files, or all: then the next one
 * is looked at. */
static viva_status check_place(const commit *c, io_stat *found, int *there, viva_error *error) {
  const io_table *io = c->claim.rt->io;
  viva_status status = VIVA_OK;
  for (int turn = 0; turn < MAX_TURNS; turn++) {
    int result = io->look(io->user, c->claim.to, found);
    *there = result == 0;
    if (result == -ENOENT || result == -ENOTDIR)
      return VIVA_OK; /* making the temporary says what is wrong, if anything is */
    if (result < 0) return io_fail(error, "look at the output", c->claim.to, result);
    status = check_old(c, c->claim.to, found, error);
    if (status == VIVA_OK || is_still_there(c, found)) return status;
  }
  return status;
}

/* Two empty folders in the temporary one change places: then folders can do so here. */
static viva_status check_exchange(commit *c, viva_error *error) {
  runtime *rt = c->claim.rt;
  size_t bytes = strlen(c->claim.temporary) + 3;
  char *a = mem_alloc(&rt->mem, bytes), *b = mem_alloc(&rt->mem, bytes);
  viva_status status = a && b ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for a path");
  if (status == VIVA_OK) {
    snprintf(a, bytes, "%s/a", c->claim.temporary);
    snprintf(b, bytes, "%s/b", c->claim.temporary);
    int result = rt->io->make_folder(rt->io->user, a);
    if (result == 0) result = rt->io->make_folder(rt->io->user, b);
    if (result < 0)
      status = io_fail(error, "make the folder", c->claim.temporary, result);
    else if (rt->io->exchange(rt->io->user, a, b) < 0)
      status = refuse(error, VIVA_E_IO, c->claim.to,
                      "this file system cannot exchange two folders in one step, so the old one cannot be replaced "
                      "safely: write to a new name, then remove the old folder");
    int removed = rt->io->remove_folder(rt->io->user, a), also = rt->io->remove_folder(rt->io->user, b);
    if (removed == 0) removed = also;
    if (status == VIVA_OK && removed < 0) /* the output would be published with it */
      status = io_fail(error, "remove the folder", c->claim.temporary, removed);
  }
  mem_free(&rt->mem, a);
  mem_free(&rt->mem, b);
  return status;
}

viva_status commit_begin(runtime *rt, const char *to, claim_kind kind, const commit_options *options, commit *c,
                         viva_error *error) {
  *c = (commit){.options = *options};
  TRY(claim_begin(rt, to, kind, &c->claim, error));
  io_stat found;
  int there;
  viva_status status = check_place(c, &found, &there, error);
  if (status == VIVA_OK && there && kind == CLAIM_FOLDER) status = check_exchange(c, error);
  if (status != VIVA_OK) commit_end(c);
  return status;
}

/* ---- the last step */

static viva_status sync_folder(runtime *rt, const char *path, const char *action, const char *to, viva_error *error) {
  int result;
  do result = rt->io->sync_folder(rt->io->user, path);
  while (result == -EINTR);
  return result < 0 ? io_fail(error, action, to, result) : VIVA_OK;
}

static viva_status sync_name(const commit *c, viva_error *error) {
  return sync_folder(c->claim.rt, c->claim.folder, "make sure that the output, which is complete, outlives a power cut",
                     c->claim.to, error);
}

static viva_status fail_name(const commit *c, int result, viva_error *error) {
  return io_fail(error, "give the finished output its name", c->claim.to, result);
}

/* A file replaces another, or nothing, by its name alone. */
static viva_status replace_file(commit *c, viva_error *error) {
  const io_table *io = c->claim.rt->io;
  io_stat old;
  int there;
  TRY(check_place(c, &old, &there, error));
  int result = io->rename(io->user, c->claim.temporary, c->claim.to);
  if (result < 0) return fail_name(c, result, error);
  claim_keep(&c->claim);
  return sync_name(c, error);
}

/* The old folder is now at the temporary's name. It is removed if it is one that may be, else put back. */
static viva_status remove_old(commit *c, viva_error *error) {
  const io_table *io = c->claim.rt->io;
  io_stat old;
  int result = io->look(io->user, c->claim.temporary, &old);
  viva_status status = result < 0 ? io_fail(error, "look at the old folder", c->claim.temporary, result)
                                  : check_old(c, c->claim.temporary, &old, error);
  if (status != VIVA_OK) {
    if (io->exchange(io->user, c->claim.temporary, c->claim.to) < 0) claim_keep(&c->claim);
    return status;
  }
  status = sync_name(c, error);
  if (status != VIVA_OK) claim_leave(&c->claim); /* the new name may not have reached the disk */
  return status;
}

/* *gone 1: what was there has gone in the meantime. */
static viva_status replace_folder(commit *c, const io_stat *old, int *gone, viva_error *error) {
  const io_table *io = c->claim.rt->io;
  TRY(claim_also(&c->claim, old, error));
  int result = io->exchange(io->user, c->claim.temporary, c->claim.to);
  *gone = result == -ENOENT;
  if (*gone) return VIVA_OK;
  return result < 0 ? fail_name(c, result, error) : remove_old(c, error);
}

viva_status commit_publish(commit *c, viva_error *error) {
  const io_table *io = c->claim.rt->io;
  if (c->claim.kind == CLAIM_FOLDER) {
    TRY(claim_tidy(&c->claim, error));
    TRY(sync_folder(c->claim.rt, c->claim.temporary, "write the folder to the disk", c->claim.to, error));
  }
  if (c->claim.kind == CLAIM_FILE && c->options.replace) return replace_file(c, error);
  for (int turn = 0; turn < MAX_TURNS; turn++) {
    io_stat old;
    int there = 0, gone = 0;
    int result = io->rename_new(io->user, c->claim.temporary, c->claim.to);
    if (result == 0) {
      claim_keep(&c->claim);
      return sync_name(c, error);
    }
    if (result != -EEXIST) return fail_name(c, result, error);
    TRY(check_place(c, &old, &there, error));
    if (!there) continue;
    TRY(replace_folder(c, &old, &gone, error));
    if (!gone) return VIVA_OK;
  }
  return fail_name(c, -EBUSY, error);
}

void commit_end(commit *c) { claim_end(&c->claim); }
