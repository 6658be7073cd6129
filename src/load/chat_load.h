/* load/chat_load.h: a model's chat templates and the texts of its special tokens, from its files. */
#ifndef LOAD_CHAT_LOAD_H
#define LOAD_CHAT_LOAD_H

#include "format/checkpoint.h"

typedef struct chat_named {
  const char *name, *text; /* zero-ended */
  size_t bytes;            /* of text */
} chat_named;

/* Immutable. */
typedef struct chat_source {
  arena *arena;
  chat_named *templates; /* the one called "default" first, if there is one */
  size_t template_count;
  const char **tokens; /* [2 · token_count] name, text: as chat_template_input has them */
  size_t token_count;
} chat_source;

/* *out stays NULL when the files have neither. What is damaged in them is logged and left out: a model runs without.
 * Errors: E_MEMORY. */
viva_status chat_load(const viva_checkpoint *ck, chat_source **out, viva_error *error);
void chat_source_free(runtime *rt, chat_source *source); /* NULL is allowed */

/* The template of that name, else the first; NULL: there is none. */
const chat_named *chat_source_template(const chat_source *source, const char *name);

#endif
