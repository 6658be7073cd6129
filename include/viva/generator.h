/* viva/generator.h: text, pulled piece by piece; many texts at once.
 *
 * A viva_generator is the state of one text that is being generated on a session: sampling, penalties, stop strings, whole
 * UTF-8 characters. viva_generate runs one from beginning to end; here the caller asks for the next piece, and
 * viva_generators_step advances any number of them in one pass over the weights. A server is a loop around that call:
 *
 *     viva_generator_create(session, &options, &g, &error);
 *     viva_generator_prompt(g, text, bytes, &error);
 *     do {
 *       viva_generators_step(&g, 1, &out, &error);      // with n generators: some read their prompts, others write
 *       fwrite(out.text, 1, out.text_bytes, stdout);
 *     } while (out.state != VIVA_GENERATOR_DONE);
 *     viva_generator_free(g);
 *
 * A generator belongs to one thread at a time, and so does its session, which must live as long and is not used otherwise
 * meanwhile. What each of many generators gives is bit for bit what it gives alone (on a GPU: of up to 16, docs/gpu.md).
 */
#ifndef VIVA_GENERATOR_H
#define VIVA_GENERATOR_H

#include "viva/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct viva_generator viva_generator;

/* options: NULL for the defaults; on_text, progress and session are not used (session must be NULL or the session)
 * generator: freed with viva_generator_free
 * Errors: those of viva_generate that its options can cause, E_MEMORY. */
VIVA_API viva_status viva_generator_create(viva_session *session, const viva_generate_options *options,
                                           viva_generator **generator, viva_error *error);
VIVA_API void viva_generator_free(viva_generator *generator); /* NULL is allowed. The session stays as it is */

/* What the text begins with: once for each generator, before its first step; nothing is computed yet. A session that has
 * logits may go on without tokens (bytes or count 0). Errors: as viva_generate; E_STATE (a second prompt). */
VIVA_API viva_status viva_generator_prompt(viva_generator *generator, const char *text, size_t bytes,
                                           viva_error *error);
VIVA_API viva_status viva_generator_prompt_tokens(viva_generator *generator, const viva_token *tokens, size_t count,
                                                  viva_error *error);

typedef enum viva_generator_state {
  VIVA_GENERATOR_PROMPT = 0, /* it has read a part of its prompt */
  VIVA_GENERATOR_TOKEN = 1,  /* it has written a token */
  VIVA_GENERATOR_DONE = 2,   /* it has ended: reason says why. No further step is possible */
  VIVA_GENERATOR_FAILED = 3  /* choosing its token or its text failed: it has ended */
} viva_generator_state;

typedef struct viva_generator_output {
  size_t size; /* sizeof(viva_generator_output), set by the caller before the call */
  viva_generator_state state;
  viva_token token;     /* of this step; -1: none. DONE: an end token, the last one of a stop string, or -1 */
  const char *text;     /* what can be shown now, in whole UTF-8 characters; valid until the generator's next call */
  size_t text_bytes;    /* 0: nothing yet (see viva_text_fn) */
  uint64_t prompt_done; /* tokens of the prompt that were read */
  uint64_t prompt_count;
  const viva_logprob *logprob; /* with logprobs: of token; else NULL. Valid as text is */
  const viva_logprob *top;     /* [logprobs], or NULL */
  viva_stop_reason reason;     /* DONE */
  int32_t reserved;
} viva_generator_output;

/* Advances each: one that has a prompt left reads up to its session's prefill_chunk tokens of it, in the same pass in which
 * others read the token that they wrote last; then each that has logits chooses its next token.
 * All must be of one model with one KV type, have a prompt and not have ended. No generators: nothing happens, VIVA_OK.
 * Errors: those of viva_step; then no generator has changed, and the item names one ("generators[3]"). E_NUMERIC, E_MEMORY
 * where a token is chosen: its output says FAILED, the others' outputs are valid.
 *
 * outputs: [count] */
VIVA_API viva_status viva_generators_step(viva_generator *const *generators, size_t count,
                                          viva_generator_output *outputs, viva_error *error);

/* Ends it before the next step: its reason is then VIVA_STOP_CANCELLED. */
VIVA_API void viva_generator_cancel(viva_generator *generator);

/* Everything so far, as viva_generate gives it. result: freed with viva_generate_result_free. Errors: E_ARGUMENT, E_MEMORY. */
VIVA_API viva_status viva_generator_result(const viva_generator *generator, viva_generate_result **result,
                                           viva_error *error);

/* ---- for loops of one's own --------------------------------------------------------------------------------------- */

/* 1 when id is one of the model's end tokens. */
VIVA_API int viva_model_is_end_token(const viva_model *model, viva_token id);

/* Finds stop strings in text that arrives in pieces, wherever they are cut. One thread at a time. */
typedef struct viva_stop_matcher viva_stop_matcher;

/* strings: count zero-ended strings, none empty; copied. Errors: E_ARGUMENT, E_MEMORY. */
VIVA_API viva_status viva_stop_matcher_create(viva_engine *engine, const char *const *strings, size_t count,
                                              viva_stop_matcher **matcher, viva_error *error);
VIVA_API void viva_stop_matcher_free(viva_stop_matcher *matcher); /* NULL is allowed */

/* Takes bytes, and stops behind the first byte that ends a stop string.
 *
 * taken:   receives how many bytes were read: all, or those up to the end of a stop string
 * matched: receives the length of the longest stop string that ends there; 0: none
 * held:    receives how many of the last bytes so far may be the beginning of a stop string: not to be shown yet
 * Errors: E_ARGUMENT. */
VIVA_API viva_status viva_stop_matcher_feed(viva_stop_matcher *matcher, const char *text, size_t bytes, size_t *taken,
                                            size_t *matched, size_t *held, viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
