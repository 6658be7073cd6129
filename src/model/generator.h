/* model/generator.h: what viva_generator is inside.
 *
 *   generator.c       options, prompt, session; beginning and end
 *   generator_step.c  from logits to a token to text; many generators in one step
 *   generate.c        viva_generate: one generator from beginning to end
 */
#ifndef MODEL_GENERATOR_H
#define MODEL_GENERATOR_H

#include "model/session.h"
#include "model/stop.h"
#include "viva/generator.h"

typedef struct buffer {
  void *data;
  size_t bytes, room;
} buffer;

typedef enum generator_phase {
  PHASE_NEW,    /* without a prompt */
  PHASE_FEED,   /* tokens from `fed` on go into the session, then a token is chosen */
  PHASE_CHOOSE, /* the session's logits are those to choose from */
  PHASE_FLUSH,  /* the last token is chosen; held back text is still to come */
  PHASE_DONE
} generator_phase;

struct viva_generator {
  viva_model *model; /* one reference */
  mem *mem;
  viva_generate_options o;
  generator_phase phase;

  viva_session *session; /* the caller's; NULL until there is one */
  size_t start;          /* its position before */

  buffer tokens; /* prompt, then generated ids */
  size_t prompt_count, count;
  size_t fed;         /* of tokens, into the session */
  buffer chosen, top; /* viva_logprob */

  viva_decoder *decoder; /* NULL: the model has no tokenizer */
  stop_matcher *stop;    /* NULL: no stop strings */
  buffer ends;           /* viva_token: end tokens by option */
  buffer stop_ids;       /* viva_token: special tokens whose text is a stop string */
  buffer text;           /* all of it, also what is held back */
  size_t shown;          /* bytes given out */
  int text_over;         /* a stop string ended it: nothing that is held back comes any more */

  void *scratch; /* for viva_sample */
  size_t scratch_bytes;

  viva_stop_reason reason;
  double prefill_seconds, decode_seconds;
  size_t steps; /* forward passes after the prefill */
};

/* A generator without a session: its options are checked. Errors: see viva_generator_create. */
viva_status generator_make(viva_model *model, const viva_generate_options *options, viva_generator **out,
                           viva_error *error);

/* Its session. The prompt's tokens and max_new_tokens must fit: E_LIMIT. Called again when there is a prompt. */
viva_status generator_attach(viva_generator *g, viva_session *session, viva_error *error);

/* The prompt's tokens; text NULL: ids. continues: the session holds something already. */
viva_status generator_read_prompt(viva_generator *g, const char *text, size_t bytes, const viva_token *ids,
                                  size_t count, const viva_session *session, viva_error *error);

/* Of a session to be made: *needed is the capacity for prompt and max_new_tokens, at most context. Errors: E_LIMIT. */
viva_status generator_check_length(const viva_generator *g, uint64_t context, uint64_t *needed, viva_error *error);

/* Appends; 1 when there is no memory. */
int buffer_add(mem *m, buffer *b, const void *data, size_t bytes);
/* Makes room for more bytes; 1 when there is no memory. */
int buffer_reserve(mem *m, buffer *b, size_t bytes);

#endif
