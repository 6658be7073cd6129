/* model/session.h: what viva_session is inside, and the steps that prefill, decode and generate share. */
#ifndef MODEL_SESSION_H
#define MODEL_SESSION_H

#include "load/budget.h"
#include "model/model.h"
#include "model/rope.h"

/* Rows of logits made at once when all positions' are wanted. */
#define SESSION_LOGIT_ROWS 32

struct viva_session {
  viva_model *model; /* one reference */
  kv_type kv;
  size_t capacity, position; /* tokens */
  size_t chunk;              /* rows of the activations */
  int failed;                /* the cache's contents are lost: see viva_session_copy */

  void *cache;       /* dev: [layer][k, v][kv_head][capacity][head_dim] */
  size_t cache_half; /* bytes of one layer's keys */

  row_layout rows;
  float *activations; /* dev [rows.floats][chunk] */
  void *quantized;    /* dev: the rows that enter packed layers, when the model's act is not FLOAT; else NULL */
  float *cos_sin;     /* host [chunk][rotary_dim] */
  kv_span *spans;     /* host [chunk] */
  rope rope;

  float *logits[2]; /* dev [vocab]: logits[0] are the session's, logits[1] those being made: a failed call loses none */
  float *host_logits; /* host copy of logits[0], when the host cannot read the device's memory */
  int has_logits, host_valid;
  viva_token next;  /* the largest of logits[0] */
  viva_token made;  /* the largest of logits[1], while a batch is checked */
  float *many;      /* dev [SESSION_LOGIT_ROWS][vocab], made when first needed */
  float *many_host; /* the same for the host, when it cannot read many */
  int marked;       /* while a batch is checked for doubles */
};

/* The rows of one pass through the layers: either rows tokens of one session, or one token of each of rows sessions. */
typedef struct step {
  viva_session *const *sessions;
  size_t session_count; /* 1, or rows */
  size_t position;      /* of the first row, for one session */
  const viva_token *tokens;
  size_t rows;
  size_t keep; /* rows before this one are only needed in the cache */
} step;

/* Runs embedding and layers with the activations of s; the hidden states of rows from keep on stay there. */
viva_status forward_layers(viva_session *s, const step *st, viva_error *error);

/* logits (dev [rows][vocab]) of hidden states first .. first + rows. */
viva_status forward_head(viva_session *s, size_t first, size_t rows, float *logits, viva_error *error);

/* Makes many (and many_host). */
viva_status session_reserve_many(viva_session *s, viva_error *error);

/* The largest of one row of logits that follows the token at position. E_NUMERIC when one is NaN. */
viva_status session_argmax(viva_session *s, const float *logits, uint64_t position, viva_token *id, viva_error *error);

/* logits[1] become the session's, next their largest; position moves on. */
void session_commit(viva_session *s, size_t tokens, viva_token next);

/* E_STATE when failed; E_LIMIT when tokens more do not fit; E_ARGUMENT when an id is outside the vocabulary. */
viva_status session_check(const viva_session *s, const viva_token *tokens, size_t count, viva_error *error);

#endif
