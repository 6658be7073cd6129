/* model/step.h: one step from the inside: any number of sessions, each with any number of tokens, in one pass over the weights
 * (or in several, where the rows are more than a workspace holds).
 *
 *   check      every part, before anything changes
 *   pages      that the tokens will be written to
 *   passes     batch_build ─► step_begin ─► forward ─► step_end ─► head, rows of logits to whom they belong
 *   commit     positions and logits of all sessions at once; an error before leaves every session as it was
 */
#ifndef MODEL_STEP_H
#define MODEL_STEP_H

#include "model/session.h"
#include "model/watch.h"
#include "model/workspace.h"

typedef enum step_keep { STEP_NONE, STEP_LAST, STEP_ALL } step_keep;

typedef struct step_part {
  viva_session *session;
  const viva_token *tokens;
  size_t count;
  step_keep keep;           /* the rows whose logits are made; the session keeps the last row's */
  float *all_logits;        /* STEP_ALL: host [count][vocab], or NULL */
  viva_logits_fn on_logits; /* STEP_ALL: or NULL */
  void *on_logits_user;
  size_t top;            /* with a place for results: so many for each row kept */
  viva_top *top_results; /* [kept rows][top], or NULL */

  size_t number; /* in error messages; step_parts counts them */

  /* While the step runs: */
  size_t done, taken; /* tokens of passes that are over; of this one */
  size_t kept_done;   /* rows of logits made so far */
  logits_row *row;
  kv_write write;
} step_part;

typedef struct step_call {
  const char *unit;     /* what a part is in error messages, "sessions": item "sessions[3]"; NULL: it has no name */
  int tokens_are_parts; /* token i is part i's: so messages count them */
  viva_progress_fn progress;
  void *progress_user;
  step_watch *watch; /* NULL: nobody looks */
} step_call;

/* Room for count parts in a borrowed workspace; NULL: no memory. */
step_part *step_parts(viva_model *m, workspace *w, size_t count);

/* Runs parts of one model with a borrowed workspace. Errors: those of viva_step. */
viva_status step_run(viva_model *m, workspace *w, step_part *parts, size_t count, const step_call *call,
                     viva_error *error);

/* One part, with a workspace of its own borrowing. */
viva_status step_one(step_part *part, const step_call *call, viva_error *error);

/* -- step_batch.c */

/* Bytes of the block of a batch with so much room. */
size_t step_batch_bytes(batch_room room, size_t rotary_dim);

/* Describes the next pass: rows of the parts from their `done` on, most_rows at most, in order. Sets `taken` of each. */
batch step_batch(const viva_model *m, workspace *w, step_part *parts, size_t count, size_t most_rows);

/* Rows [first, first + rows) of a batch as one of its own, written to block (host, as large as the whole's; of any rows that are
 * kept it has all, or none). */
batch step_batch_part(const batch *whole, size_t rotary_dim, size_t first, size_t rows, void *block);

/* Rows of this pass whose logits are made: the last of those taken. */
size_t step_kept(const step_part *part);

/* -- forward.c */

#define FORWARD_BATCHES 2

/* Embedding and layers of dev[count], count ≤ FORWARD_BATCHES, whose rows follow one another; only the last one may keep rows,
 * and their hidden states are then the first rows of the residual stream. mode: how rows enter packed weights; watch: told of
 * each stage, or NULL. */
viva_status forward_layers(backend *b, const decoder *d, input_mode mode, const workspace *w, const batch *dev,
                           size_t count, step_watch *watch, viva_error *error);

/* logits (dev [rows][vocab]) of hidden states first .. first + rows. */
viva_status forward_head(backend *b, const decoder *d, input_mode mode, const workspace *w, size_t first, size_t rows,
                         float *logits, step_watch *watch, viva_error *error);

#endif
