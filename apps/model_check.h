/* model_check.h: what can be told of a model before its weights are read, which may take minutes. */
#ifndef APPS_MODEL_CHECK_H
#define APPS_MODEL_CHECK_H

#include "model_args.h"

/* What was seen of it. model_check_free ends it. */
typedef struct model_seen {
  viva_tokenizer *tokenizer; /* NULL: the files cannot be opened; loading says why */
  uint64_t context;          /* that it will be loaded with */
} model_seen;

/* Reads the configuration, the tokenizer and (chat: 1) the template alone: a model without them, and stop tokens that are
 * none, are refused. Returns 0, or the exit code after a message. */
int model_check(const model_args *model, const text_list *stop_tokens, int chat, model_seen *seen);

void model_check_free(model_seen *seen);

#endif
