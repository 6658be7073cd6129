/* base/commit.h: every file and folder that viva writes appears under its name in one step, whole, or not at all.
 *
 *   TRY(commit_begin(rt, "OUT", CLAIM_FOLDER, &options, &c, error));
 *   ... write the files of c.claim.temporary, each synced ...
 *   status = commit_publish(&c, error);
 *   commit_end(&c);                          whatever happened; removes what was not published
 *
 * Without replace nothing that is at OUT is ever touched, whenever it came there. With it a folder changes places with
 * the new one in one step, and what was taken away is looked at once more before it is removed: at no moment is there no
 * OUT. A link is never written through, an input never replaced.
 */
#ifndef BASE_COMMIT_H
#define BASE_COMMIT_H

#include "base/claim.h"

typedef struct commit_options {
  int replace;           /* what is there may be replaced */
  const io_stat *inputs; /* files that must not be lost, by device and inode */
  size_t input_count;
  /* NULL, or: may this folder be replaced at all? path is where it lies now, name what the caller calls it. */
  viva_status (*may_replace)(runtime *rt, const char *path, const char *name, viva_error *error);
} commit_options;

typedef struct commit {
  claim claim;
  commit_options options;
} commit;

/* Looks at the place, removes what killed processes left beside it, and makes the temporary file or folder. options and
 * what it points to must outlive c. Errors: E_IO (something is there and replace is 0; it is a link, or of another kind; the
 * file system cannot exchange folders), E_ARGUMENT (it is, or holds, an input), those of claim_begin and may_replace.
 * After an error there is nothing to end. */
viva_status commit_begin(runtime *rt, const char *to, claim_kind kind, const commit_options *options, commit *c,
                         viva_error *error);

/* The temporary, complete, gets its name; then the folder that holds it is synced. A temporary folder is synced here, its
 * files by the caller. Errors: those of commit_begin, for something that came since then; E_IO. One failure leaves the new
 * output in place: when the sync after the last step fails, and the message says so. */
viva_status commit_publish(commit *c, viva_error *error);

void commit_end(commit *c);

/* A file written from its beginning to its end, and committed. writer_abort (or a failed writer_commit) removes it and
 * leaves path as it was. Bytes are gathered, so an error may be reported by a later call; a failed writer stays failed.
 *
 * options: NULL: replaces what is there. Else they must outlive the writer */
typedef struct io_writer io_writer;
viva_status writer_open(runtime *rt, const char *path, const commit_options *options, io_writer **writer,
                        viva_error *error);
viva_status writer_write(io_writer *writer, const void *data, size_t bytes, viva_error *error); /* appends */
viva_status writer_commit(io_writer *writer, viva_error *error);                                /* frees writer */
void writer_abort(io_writer *writer);                                                           /* NULL is allowed */

#endif
