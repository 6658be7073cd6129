/* base/claim.h: a name beside an output under which this process alone makes the output, and the end of those that
 * killed processes left.
 *
 *   TO.viva-N.tmp    what is being made: a file or a folder
 *   TO.viva-N.lock   held with a lock as long as its process lives; says which file or folder the other name stands for
 *
 * A name alone proves nothing: TO.viva-0.tmp may be somebody's own. Removed is only what a lock file that nobody holds
 * speaks of by device and inode, and an empty folder beside a lock file in which nothing has been written yet.
 */
#ifndef BASE_CLAIM_H
#define BASE_CLAIM_H

#include "base/runtime.h"

typedef enum claim_kind { CLAIM_FILE, CLAIM_FOLDER } claim_kind;

/* Which file or folder. */
typedef struct claim_place {
  uint64_t device, inode;
} claim_place;

typedef struct claim {
  runtime *rt;
  claim_kind kind;
  char *to;        /* without slashes at its end */
  char *folder;    /* that holds it */
  char *temporary; /* with room for a name behind it; "" when there is nothing (any more) */
  char *lock_path; /* "" when there is none */
  int lock;        /* handle, or -1 */
  int handle;      /* CLAIM_FILE: of the temporary, or -1 */
} claim;

/* Removes what killed processes left of outputs of this name, then makes a temporary file or folder. Errors: E_IO (the
 * place cannot be written to; to is empty), E_MEMORY. After an error there is nothing to end. */
viva_status claim_begin(runtime *rt, const char *to, claim_kind kind, claim *c, viva_error *error);

/* Before the temporary changes places with another folder: a next run may remove that one too, if this one is killed. */
viva_status claim_also(const claim *c, const io_stat *other, viva_error *error);

/* The temporary has its final name: nothing of it is removed any more. */
void claim_keep(claim *c);

/* Removes the locks that writers of the temporary folder's files could not remove: it is about to be published. */
viva_status claim_tidy(claim *c, viva_error *error);

/* What is at the temporary's name stays for the next run to remove. */
void claim_leave(claim *c);

/* Removes the temporary (files, and a folder with the files in it) unless it was kept, and the lock. Needs no memory of
 * its own: it also runs because there was none. */
void claim_end(claim *c);

int io_same(const io_stat *a, const io_stat *b); /* the same file or folder, by whatever name */

#endif
