/* chat_model.h: messages as tokens of a model. */
#ifndef APPS_CHAT_MODEL_H
#define APPS_CHAT_MODEL_H

#include <viva/viva.h>

#include "tokens.h"

/* 1 when the model has a chat template. */
int chat_model_has_template(const viva_model *model);

/* Says that it has none. Returns the exit code. */
int chat_model_no_template(void);

/* The tokens of a conversation that an answer is to follow, by the model's own template. variables: a JSON object for
 * it, or NULL. Returns 0, or the exit code after a message. tokens_free ends the list. */
int chat_model_tokens(const viva_model *model, const viva_chat_message *messages, size_t count, const char *variables,
                      token_list *tokens);

#endif
