/* viva/chat.h: conversations: a model's own chat template, messages as the text and the tokens that the model was
 * trained on.
 *
 *   viva_chat_message messages[] = {{"system", "Answer briefly."}, {"user", "What is a fjord?"}};
 *   viva_chat_options chat = viva_chat_options_default();
 *   chat.messages = messages;
 *   chat.message_count = 2;
 *   viva_chat_tokens(model, &chat, tokens, capacity, &count, &error);
 *   viva_generate_tokens(model, tokens, count, NULL, &result, &error);
 *
 * Templates are small programs in Jinja, kept in tokenizer_config.json, chat_template.jinja or GGUF metadata. They are
 * rendered as transformers' apply_chat_template renders them, byte for byte; time and memory are bounded, and nothing
 * but what is handed over can be reached. docs/chat.md.
 */
#ifndef VIVA_CHAT_H
#define VIVA_CHAT_H

#include "viva/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct viva_chat_message {
  const char *role;    /* "system", "user", "assistant", "tool"; what the template knows */
  const char *content; /* UTF-8, zero-ended */
} viva_chat_message;

/* All texts are UTF-8, zero-ended. JSON is checked strictly; its integers fit 64 bits. */
typedef struct viva_chat_options {
  size_t size; /* sizeof(viva_chat_options) */

  const char *chat_template; /* NULL: the model's own */

  const viva_chat_message *messages; /* message_count, or NULL with messages_json */
  size_t message_count;
  const char *messages_json; /* a JSON array, for messages with more than a role and a content; not with messages */

  const char *tools_json;     /* NULL, or a JSON array of functions that the model may call */
  const char *documents_json; /* NULL, or a JSON array */
  const char *variables_json; /* NULL, or a JSON object of further names: {"enable_thinking": false} */

  int32_t add_generation_prompt; /* 1: end with the begin of an answer */
  int32_t reserved;

  int64_t now; /* local time, seconds since 1970, for templates that say the date; 0: such a template is refused */
} viva_chat_options;

/* add_generation_prompt 1, nothing else. */
VIVA_API viva_chat_options viva_chat_options_default(void);

/* The model's chat template (tokenizer_config.json's one called "default", when it has several). Errors: E_NOT_FOUND
 * (the model has none), E_ARGUMENT.
 *
 * text:  belongs to the model; zero-ended
 * bytes: may be NULL */
VIVA_API viva_status viva_model_chat_template(const viva_model *model, const char **text, size_t *bytes,
                                              viva_error *error);

/* The same of a checkpoint, whose weights need not be read for it. *bytes receives the whole length, also when it does not fit
 * (E_SIZE). Errors: E_NOT_FOUND (it has none), E_ARGUMENT, E_MEMORY.
 *
 * text: capacity bytes, of which a zero behind the template is one */
VIVA_API viva_status viva_checkpoint_chat_template(const viva_checkpoint *checkpoint, char *text, size_t capacity,
                                                   size_t *bytes, viva_error *error);

/* Renders messages as text. With tools_json a template called "tool_use" is taken, when the model has one. *bytes
 * receives the whole length, also when it exceeds capacity (E_SIZE, text is then incomplete). Thread-safe. Errors:
 * E_NOT_FOUND (no template), E_ARGUMENT (the template refuses the messages, or fails on them), E_FORMAT (JSON, or the
 * template's syntax), E_UNSUPPORTED (a construct that is not known), E_LIMIT (a template of more than 256 KiB, one
 * that does not end, too much memory), E_MEMORY. Errors within the template name its line.
 *
 * model: may be NULL when options have a chat_template; special tokens then come from variables_json ("bos_token" ...)
 * text:  capacity bytes; no zero is added */
VIVA_API viva_status viva_chat_render(const viva_model *model, const viva_chat_options *options, char *text,
                                      size_t capacity, size_t *bytes, viva_error *error);

/* Renders messages as tokens. Special tokens are those that the template writes: text of messages, tools and documents
 * that looks like one stays text. No BOS is added, because templates write it where the model wants it. *count as
 * *bytes above. Thread-safe. Errors: as viva_chat_render, and E_STATE (the model has no tokenizer). */
VIVA_API viva_status viva_chat_tokens(const viva_model *model, const viva_chat_options *options, viva_token *tokens,
                                      size_t capacity, size_t *count, viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
