/* base/writer.c: a file that is written from its beginning to its end, gathered into large pieces: commit.h. */
#include <errno.h>
#include <string.h>

#include "base/commit.h"

#define GATHER_BYTES ((size_t)64 << 10) /* small writes are gathered into pieces of this size */

struct io_writer {
  runtime *rt;
  commit commit;
  uint64_t offset; /* where gather goes */
  size_t gathered;
  viva_error failed; /* first error; later calls return it again */
  char gather[GATHER_BYTES];
};

viva_status writer_open(runtime *rt, const char *path, const commit_options *options, io_writer **writer,
                        viva_error *error) {
  static const commit_options replace = {.replace = 1};
  *writer = NULL;
  io_writer *w = mem_alloc(&rt->mem, sizeof *w);
  if (!w) return error_set(error, VIVA_E_MEMORY, "no memory (%zu bytes) for writing a file", sizeof *w);
  w->rt = runtime_retain(rt);
  w->offset = 0;
  w->gathered = 0;
  w->failed.code = VIVA_OK;
  viva_status status = commit_begin(rt, path, CLAIM_FILE, options ? options : &replace, &w->commit, error);
  if (status != VIVA_OK) {
    writer_abort(w);
    return status;
  }
  *writer = w;
  return VIVA_OK;
}

static void copy_error(viva_error *to, const viva_error *from) {
  if (to) *to = *from;
}

/* Writes all of data at the end of the file. On failure w->failed is set. */
static viva_status write_all(io_writer *w, const char *data, size_t bytes) {
  const io_table *io = w->rt->io;
  while (bytes > 0) {
    int64_t done = io->write_at(io->user, w->commit.claim.handle, data, bytes, w->offset);
    if (done == -EINTR) continue;
    if (done <= 0) {
      (void)io_fail(&w->failed, "write the file", w->commit.claim.to, done < 0 ? done : -ENOSPC);
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
  claim *c = &w->commit.claim;
  TRY(w->failed.code);
  TRY(flush(w));
  int result;
  do result = io->sync(io->user, c->handle);
  while (result == -EINTR);
  if (result < 0) return io_fail(&w->failed, "write the file to the disk", c->to, result);
  result = io->close(io->user, c->handle);
  c->handle = -1;
  if (result < 0) return io_fail(&w->failed, "close the file", c->to, result);
  return commit_publish(&w->commit, &w->failed);
}

viva_status writer_commit(io_writer *w, viva_error *error) {
  viva_status status = publish(w);
  if (status != VIVA_OK) copy_error(error, &w->failed);
  writer_abort(w);
  return status;
}

void writer_abort(io_writer *w) {
  if (!w) return;
  runtime *rt = w->rt;
  commit_end(&w->commit);
  mem_free(&rt->mem, w);
  runtime_release(rt);
}
