/* model/session.h: what viva_session is inside: a timeline, as a table of pages, a position and the last logits. */
#ifndef MODEL_SESSION_H
#define MODEL_SESSION_H

#include "model/model.h"
#include "model/rope.h"

struct viva_session {
  viva_model *model;         /* one reference */
  size_t capacity, position; /* tokens */
  size_t chunk;              /* tokens that a prefill processes at once */
  kv_table cache;
  rope rope_angles;
  logits_row *logits;   /* NULL: nothing was processed yet, or truncated since */
  logits_row *spare[2]; /* of a reserving session: so that a step never lacks one */
  int relies;           /* counted in the work pool */
  int marked;           /* while the parts of a step are checked for doubles */
};

/* E_LIMIT when count tokens more do not fit. */
viva_status session_check_room(const viva_session *s, size_t count, viva_error *error);

/* A row for logits that are being made, and its way back (NULL is allowed). Errors: as logits_take. */
viva_status session_take_row(viva_session *s, logits_row **row, viva_error *error);
void session_put_row(viva_session *s, logits_row *row);

/* E_NUMERIC: the logits that follow the token at position are NaN. */
viva_status session_not_a_number(const viva_session *s, uint64_t position, viva_error *error);

#endif
