/* base/claim.c: see claim.h. Who makes the lock file, and then holds its lock while the name still is that file's, has the
 * claim; every other order of two processes ends with one of them trying the next number. */
#include "base/claim.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/ck.h"

#define MAX_NUMBERS  100 /* more unfinished outputs than this for one path: something is wrong */
#define SUFFIX_BYTES 24  /* ".viva-N.lock" and the zero */
#define NAME_BYTES   257 /* "/", the longest name of a file, and the zero */

/* What a lock file holds, in this machine's byte order: nobody else reads it. */
typedef struct claim_record {
  char magic[8];
  claim_place made, also;
} claim_record;
_Static_assert(sizeof(claim_record) == 40, "no padding: the record is written as it lies");

static const char magic[8] = {'v', 'i', 'v', 'a', 'c', 'l', 'm', '1'};

int io_same(const io_stat *a, const io_stat *b) { return a->device == b->device && a->inode == b->inode; }

static int is_place(const io_stat *found, const claim_place *place) {
  return found->device == place->device && found->inode == place->inode;
}

/* ---- removing */

typedef struct removal {
  runtime *rt;
  char *path; /* with NAME_BYTES behind it */
  int removed;
} removal;

static int remove_one(void *arg, const char *name) {
  removal *r = arg;
  size_t length = strlen(r->path);
  snprintf(r->path + length, NAME_BYTES, "/%s", name);
  r->removed += r->rt->io->remove(r->rt->io->user, r->path) == 0 || /* or an empty folder, of commit.c's trial */
                r->rt->io->remove_folder(r->rt->io->user, r->path) == 0;
  r->path[length] = 0;
  return 0;
}

/* A folder, the files and the empty folders in it; not what lies deeper. */
static void remove_folder(runtime *rt, char *path) {
  removal r = {.rt = rt, .path = path};
  do { /* a list that changes while it is read may leave names out */
    r.removed = 0;
    (void)rt->io->list(rt->io->user, path, remove_one, &r);
  } while (r.removed > 0);
  (void)rt->io->remove_folder(rt->io->user, path);
}

/* ---- what others left */

/* Reads the record of a lock file; 0 when nothing (or not all of it) has been written. */
static int read_record(runtime *rt, int handle, claim_record *record) {
  int64_t got = rt->io->read_at(rt->io->user, handle, record, sizeof *record, 0);
  return got == (int64_t)sizeof *record && memcmp(record->magic, magic, sizeof magic) == 0;
}

static int is_gone(runtime *rt, const char *path) {
  io_stat found;
  return rt->io->look(rt->io->user, path, &found) == -ENOENT;
}

/* temporary: with NAME_BYTES behind it. 0 when something of ours is still there. */
static int remove_left(runtime *rt, char *temporary, int recorded, const claim_record *record) {
  io_stat found;
  int result = rt->io->look(rt->io->user, temporary, &found);
  if (result < 0) return result == -ENOENT;
  if (!recorded) { /* killed between making it and saying so: it is empty, or not ours */
    if (found.is_folder) (void)rt->io->remove_folder(rt->io->user, temporary);
    if (found.is_file && found.bytes == 0) (void)rt->io->remove(rt->io->user, temporary);
    return 1;
  }
  if (!is_place(&found, &record->made) && !is_place(&found, &record->also)) return 1;
  if (found.is_folder)
    remove_folder(rt, temporary);
  else
    (void)rt->io->remove(rt->io->user, temporary);
  return is_gone(rt, temporary);
}

/* 1 when handle is locked by us and path still is that file. */
static int holds(runtime *rt, const char *path, int handle) {
  io_stat here, named;
  return rt->io->stat(rt->io->user, handle, &here) == 0 && rt->io->look(rt->io->user, path, &named) == 0 &&
         named.is_file && io_same(&here, &named);
}

/* Ends the claim of these two names if its process is gone. */
static void take_over(runtime *rt, char *temporary, const char *lock_path) {
  claim_record record;
  io_stat named;
  if (rt->io->look(rt->io->user, lock_path, &named) < 0 || !named.is_file) return;
  int handle = rt->io->open(rt->io->user, lock_path, IO_READ);
  if (handle < 0) return;
  if (named.bytes <= sizeof record && rt->io->lock(rt->io->user, handle) == 0 && holds(rt, lock_path, handle)) {
    int recorded = read_record(rt, handle, &record);
    /* A file with other contents is somebody's. What cannot be removed keeps its record, for another run to try. */
    if ((recorded || named.bytes == 0) && remove_left(rt, temporary, recorded, &record))
      (void)rt->io->remove(rt->io->user, lock_path);
  }
  (void)rt->io->close(rt->io->user, handle);
}

static void set_names(claim *c, int number) {
  size_t room = strlen(c->to) + SUFFIX_BYTES;
  snprintf(c->temporary, room, "%s.viva-%d.tmp", c->to, number);
  snprintf(c->lock_path, room, "%s.viva-%d.lock", c->to, number);
}

/* The number of a lock file's name, -1 for every other name. */
static int lock_number(const char *to, const char *name) {
  static const char before[] = ".viva-", after[] = ".lock";
  const char *slash = strrchr(to, '/'), *base = slash ? slash + 1 : to;
  size_t length = strlen(base);
  if (strncmp(name, base, length) != 0 || strncmp(name + length, before, sizeof before - 1) != 0) return -1;
  const char *digits = name + length + sizeof before - 1, *at = digits;
  int number = 0;
  while (*at >= '0' && *at <= '9' && number < MAX_NUMBERS) number = 10 * number + (*at++ - '0');
  return at > digits && number < MAX_NUMBERS && strcmp(at, after) == 0 ? number : -1;
}

static int sweep_one(void *arg, const char *name) {
  claim *c = arg;
  int number = lock_number(c->to, name);
  if (number < 0) return 0;
  set_names(c, number);
  take_over(c->rt, c->temporary, c->lock_path);
  return 0;
}

/* ---- our own */

static int create(runtime *rt, const char *path) {
  int handle;
  do handle = rt->io->open(rt->io->user, path, IO_CREATE_NEW);
  while (handle == -EINTR);
  return handle;
}

static int make(claim *c) {
  if (c->kind == CLAIM_FOLDER) return c->rt->io->make_folder(c->rt->io->user, c->temporary);
  c->handle = create(c->rt, c->temporary);
  return c->handle < 0 ? c->handle : 0;
}

static int write_record(const claim *c, const claim_record *record) {
  for (size_t at = 0; at < sizeof *record;) { /* after a short write the next one says why */
    int64_t done = c->rt->io->write_at(c->rt->io->user, c->lock, (const char *)record + at, sizeof *record - at, at);
    if (done == -EINTR) continue;
    if (done <= 0) return done < 0 ? (int)done : -ENOSPC;
    at += (size_t)done;
  }
  return 0;
}

static int place_of(const claim *c, claim_place *place) {
  io_stat made;
  int result = c->rt->io->look(c->rt->io->user, c->temporary, &made);
  *place = (claim_place){made.device, made.inode};
  return result;
}

static viva_status record(const claim *c, const io_stat *also, viva_error *error) {
  claim_record r = {.made = {0, 0}};
  memcpy(r.magic, magic, sizeof magic);
  if (also) r.also = (claim_place){also->device, also->inode};
  int result = place_of(c, &r.made);
  if (result == 0) result = write_record(c, &r);
  return result < 0 ? io_fail(error, "write the file", c->lock_path, result) : VIVA_OK;
}

static void end_lock(claim *c) {
  if (c->lock < 0) return;
  if (c->lock_path[0] != 0) (void)c->rt->io->remove(c->rt->io->user, c->lock_path);
  (void)c->rt->io->close(c->rt->io->user, c->lock);
  c->lock = -1;
}

/* 0: ours. -EEXIST: the number is somebody's. */
static int try_number(claim *c, int number) {
  set_names(c, number);
  c->lock = create(c->rt, c->lock_path);
  if (c->lock < 0) return c->lock;
  /* Where a file system has no locks, nobody can take one over either. */
  if (c->rt->io->lock(c->rt->io->user, c->lock) == -EWOULDBLOCK || !holds(c->rt, c->lock_path, c->lock)) {
    (void)c->rt->io->close(c->rt->io->user, c->lock); /* it is being removed by one that took it for a left-over */
    c->lock = -1;
    return -EEXIST;
  }
  int result = make(c);
  if (result < 0) end_lock(c);
  return result;
}

static viva_status find_number(claim *c, viva_error *error) {
  int result = -EEXIST;
  for (int number = 0; number < MAX_NUMBERS && result == -EEXIST; number++) result = try_number(c, number);
  if (result == 0) return VIVA_OK;
  if (result != -EEXIST)
    return io_fail(error, c->kind == CLAIM_FOLDER ? "make the folder" : "create the file", c->temporary, result);
  error_set(error, VIVA_E_IO,
            "%d unfinished outputs PATH.viva-N.tmp are beside this one; delete those that no program is writing",
            MAX_NUMBERS);
  error_at(error, c->to, NULL, 0, VIVA_NO_OFFSET);
  return VIVA_E_IO;
}

/* The folder that holds path: "." when it names none. */
static void copy_folder(char *folder, const char *path) {
  const char *slash = strrchr(path, '/');
  size_t bytes = slash ? (size_t)(slash - path) : 0;
  if (bytes == 0) {
    memcpy(folder, slash ? "/" : ".", 2);
    return;
  }
  memcpy(folder, path, bytes);
  folder[bytes] = 0;
}

/* All paths in one block, which to begins. */
static viva_status begin_paths(claim *c, const char *to, viva_error *error) {
  size_t length = strlen(to);
  uint64_t texts, bytes;
  if (length == 0) return error_set(error, VIVA_E_IO, "the path of the output is empty");
  while (length > 1 && to[length - 1] == '/') length--;
  if (ck_mul(length, 4, &texts) || ck_add(texts, 2 * SUFFIX_BYTES + NAME_BYTES + 4, &bytes) || bytes > SIZE_MAX)
    return error_set(error, VIVA_E_MEMORY, "the path is too long");
  char *block = mem_alloc(&c->rt->mem, (size_t)bytes);
  if (!block) return error_set(error, VIVA_E_MEMORY, "no memory for a path");
  memcpy(block, to, length);
  block[length] = 0;
  c->to = block;
  c->folder = block + length + 1;
  copy_folder(c->folder, c->to);
  c->lock_path = c->folder + length + 2;
  c->temporary = c->lock_path + length + SUFFIX_BYTES;
  c->lock_path[0] = c->temporary[0] = 0;
  return VIVA_OK;
}

viva_status claim_begin(runtime *rt, const char *to, claim_kind kind, claim *c, viva_error *error) {
  *c = (claim){.rt = rt, .kind = kind, .lock = -1, .handle = -1};
  TRY(begin_paths(c, to, error));
  (void)rt->io->list(rt->io->user, c->folder, sweep_one,
                     c); /* a folder that cannot be listed may still be written to */
  viva_status status = find_number(c, error);
  if (status != VIVA_OK) c->temporary[0] = 0; /* not ours */
  if (status == VIVA_OK) status = record(c, NULL, error);
  if (status != VIVA_OK) claim_end(c);
  return status;
}

viva_status claim_also(const claim *c, const io_stat *other, viva_error *error) { return record(c, other, error); }

/* ---- what the writers of a folder's files left in it */

typedef struct tidying {
  claim *claim;
  int result;
} tidying;

static int tidy_one(void *arg, const char *name) {
  static const char end[] = ".lock";
  tidying *t = arg;
  const claim *c = t->claim;
  size_t length = strlen(name), folder = strlen(c->temporary);
  if (length < sizeof end || strcmp(name + length - (sizeof end - 1), end) != 0) return 0;
  snprintf(c->temporary + folder, NAME_BYTES, "/%s", name);
  t->result = c->rt->io->remove(c->rt->io->user, c->temporary);
  c->temporary[folder] = 0;
  return t->result < 0;
}

viva_status claim_tidy(claim *c, viva_error *error) {
  tidying t = {.claim = c};
  int result = c->rt->io->list(c->rt->io->user, c->temporary, tidy_one, &t);
  if (result == 0) result = t.result;
  return result < 0 ? io_fail(error, "tidy the finished folder", c->temporary, result) : VIVA_OK;
}

void claim_keep(claim *c) { c->temporary[0] = 0; }

void claim_leave(claim *c) { c->temporary[0] = c->lock_path[0] = 0; }

void claim_end(claim *c) {
  const io_table *io = c->rt->io;
  if (c->handle >= 0) (void)io->close(io->user, c->handle);
  c->handle = -1;
  if (!c->to) return;
  if (c->temporary[0] != 0) {
    if (c->kind == CLAIM_FOLDER)
      remove_folder(c->rt, c->temporary);
    else
      (void)io->remove(io->user, c->temporary);
    if (!is_gone(c->rt, c->temporary)) claim_leave(c);
  }
  end_lock(c);
  mem_free(&c->rt->mem, c->to);
  c->to = NULL;
}
