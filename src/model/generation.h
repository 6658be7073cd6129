/* model/generation.h: one call of viva_generate while it runs. */
#ifndef MODEL_GENERATION_H
#define MODEL_GENERATION_H

#include "model/session.h"
#include "model/stop.h"

typedef struct buffer {
  void *data;
  size_t bytes, room;
} buffer;

typedef struct generation {
  viva_model *model;
  mem *mem;
  viva_generate_options o;

  viva_session *session; /* the caller's, or this call's own */
  size_t start;          /* its position before */

  buffer tokens; /* prompt, then generated ids */
  size_t prompt_count, count;
  buffer chosen, top; /* viva_logprob */

  viva_decoder *decoder; /* NULL: the model has no tokenizer */
  stop_matcher *stop;    /* NULL: no stop strings */
  buffer text;           /* all of it, also what is held back */
  size_t shown;          /* bytes given to on_text */

  void *scratch; /* for viva_sample */
  size_t scratch_bytes;

  viva_stop_reason reason;
  double prefill_seconds, decode_seconds;
  size_t steps; /* forward passes after the prefill */
} generation;

/* Prefills and generates until a reason to stop. Everything is set up; on failure the session is where it was. */
viva_status generation_run(generation *g, viva_error *error);

/* The result in one block. */
viva_status generation_result(const generation *g, viva_generate_result **result, viva_error *error);

/* Appends; 1 when there is no memory. */
int buffer_add(mem *m, buffer *b, const void *data, size_t bytes);

#endif
