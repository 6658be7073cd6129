/* base/writer.c: a file that appears whole or not at all.
 *
 * The bytes go to PATH.viva-N.tmp in the same folder. N is the first number that is free, and O_EXCL decides who gets
 * it, so neither two writers nor what a killed one left behind can meet. Commit: write, fsync, close, rename, fsync of
 * the folder.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/ck.h"
#include "base/runtime.h"

#define GATHER_BYTES  ((size_t)64 << 10) /* small writes are gathered into pieces of this size */
#define MAX_LEFTOVERS 100                /* more temporary files than this for one path: something is wrong */
#define SUFFIX_BYTES  24                 /* ".viva-N.tmp" and the zero */

struct io_writer {
  runtime *rt;
  char *path, *folder; /* behind the struct */
  char *temporary;     /* behind the struct; "" when there is no such file (any more) */
  int handle;          /* -1 when closed */
  uint64_t offset;     /* where gather goes */
  size_t gathered;
  viva_error failed; /* first error; later calls return it again */
  char gather[GATHER_BYTES];
};

/* The folder of path: "." when it names none. */
static void copy_folder(char *folder, const char *path) {
  const char *slash = strrchr(path, '/');
  size_t bytes = slash == NULL ? 0 : (size_t)(slash - path);
  if (slash == NULL)
    memcpy(folder, ".", 2);
  else if (bytes == 0)
    memcpy(folder, "/", 2);
  else {
    memcpy(folder, path, bytes);
    folder[bytes] = 0;
  }
}

static viva_status open_temporary(io_writer *w, viva_error *error) {
  const io_table *io = w->rt->io;
  for (int n = 0; n < MAX_LEFTOVERS; n++) {
    snprintf(w->temporary, strlen(w->path) + SUFFIX_BYTES, "%s.viva-%d.tmp", w->path, n);
    do w->handle = io->open(io->user, w->temporary, IO_CREATE_NEW);
    while (w->handle == -EINTR);
    if (w->handle >= 0) return VIVA_OK;
    if (w->handle != -EEXIST) {
      (void)io_fail(error, "create the file", w->temporary, w->handle);
      w->temporary[0] = 0;
      return VIVA_E_IO;
    }
  }
  w->temporary[0] = 0;
  error_set(error, VIVA_E_IO,
            "%d unfinished files PATH.viva-N.tmp are beside this one; delete those that no program "
            "is writing",
            MAX_LEFTOVERS);
  error_at(error, w->path, NULL, 0, VIVA_NO_OFFSET);
  return VIVA_E_IO;
}

viva_status writer_open(runtime *rt, const char *path, io_writer **writer, viva_error *error) {
  *writer = NULL;
  size_t length = strlen(path);
  if (length == 0) return error_set(error, VIVA_E_IO, "the path of the file to write is empty");
  /* The path, the temporary's, and the folder's ("." and "/" are longer than nothing by one). */
  uint64_t texts, bytes;
  if (ck_mul(length, 3, &texts) || ck_add(texts, sizeof(io_writer) + SUFFIX_BYTES + 4, &bytes) || bytes > SIZE_MAX)
    return error_set(error, VIVA_E_MEMORY, "the path is too long");
  io_writer *w = mem_alloc(&rt->mem, (size_t)bytes);
  if (w == NULL)
    return error_set(error, VIVA_E_MEMORY, "no memory (%llu bytes) for writing a file", (unsigned long long)bytes);
  w->rt = runtime_retain(rt);
  w->handle = -1;
  w->offset = 0;
  w->gathered = 0;
  w->failed.code = VIVA_OK;
  w->path = (char *)(w + 1);
  memcpy(w->path, path, length + 1);
  w->temporary = w->path + length + 1;
  w->folder = w->temporary + length + SUFFIX_BYTES;
  copy_folder(w->folder, path);
  viva_status status = open_temporary(w, error);
  if (status != VIVA_OK) {
    writer_abort(w);
    return status;
  }
  *writer = w;
  return VIVA_OK;
}

static void copy_error(viva_error *to, const viva_error *from) {
  if (to != NULL) *to = *from;
}

/* Writes all of data at the end of the file. On failure w->failed is set. */
static viva_status write_all(io_writer *w, const char *data, size_t bytes) {
  const io_table *io = w->rt->io;
  while (bytes > 0) {
    int64_t done = io->write_at(io->user, w->handle, data, bytes, w->offset);
    if (done == -EINTR) continue;
    if (done <= 0) {
      (void)io_fail(&w->failed, "write the file", w->path, done < 0 ? done : -ENOSPC);
      error_at(&w->failed, NULL, NULL, 0, w->offset);
      return VIVA_E_IO;
    }
    size_t step = (uint64_t)done <= bytes ? (size_t)done : bytes;
    data += step;
    bytes -= step;
    w->offset += step;
  }
  return VIVA_OK;
}

static viva_status flush(io_writer *w) {
  size_t bytes = w->gathered;
  w->gathered = 0;
  return write_all(w, w->gather, bytes);
}

viva_status writer_write(io_writer *w, const void *data, size_t bytes, viva_error *error) {
  viva_status status = w->failed.code;
  if (status == VIVA_OK && bytes > GATHER_BYTES - w->gathered) status = flush(w);
  if (status == VIVA_OK && bytes > GATHER_BYTES) {
    status = write_all(w, data, bytes);
  } else if (status == VIVA_OK && bytes > 0) {
    memcpy(w->gather + w->gathered, data, bytes);
    w->gathered += bytes;
  }
  if (status != VIVA_OK) copy_error(error, &w->failed);
  return status;
}

/* Bytes to the disk, then the name. Each step only after the one before it. */
static viva_status publish(io_writer *w) {
  const io_table *io = w->rt->io;
  TRY(w->failed.code);
  TRY(flush(w));
  int result;
  do result = io->sync(io->user, w->handle);
  while (result == -EINTR);
  if (result < 0) return io_fail(&w->failed, "write the file to the disk", w->path, result);
  result = io->close(io->user, w->handle);
  w->handle = -1;
  if (result < 0) return io_fail(&w->failed, "close the file", w->path, result);
  result = io->rename(io->user, w->temporary, w->path);
  if (result < 0) return io_fail(&w->failed, "give the finished file its name", w->path, result);
  w->temporary[0] = 0; /* nothing to remove any more */
  do result = io->sync_folder(io->user, w->folder);
  while (result == -EINTR);
  if (result < 0)
    return io_fail(&w->failed, "make sure that the file, which is complete, outlives a power cut", w->path, result);
  return VIVA_OK;
}

viva_status writer_commit(io_writer *w, viva_error *error) {
  viva_status status = publish(w);
  if (status != VIVA_OK) copy_error(error, &w->failed);
  writer_abort(w);
  return status;
}

void writer_abort(io_writer *w) {
  if (w == NULL) return;
  runtime *rt = w->rt;
  if (w->handle >= 0) (void)rt->io->close(rt->io->user, w->handle);
  if (w->temporary[0] != 0) (void)rt->io->remove(rt->io->user, w->temporary);
  mem_free(&rt->mem, w);
  runtime_release(rt);
}
