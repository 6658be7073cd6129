/* text/chat_template.h: messages as the text that a model was trained on, by the model's own chat template.
 *
 *   chat_template_input in = {.text = template, .bytes = n, .messages = "[{\"role\": \"user\", \"content\": \"Hi\"}]",
 *   ...}; chat_text rendered;
 *   TRY(chat_template_render(rt, &in, &rendered, error));
 *   ... rendered.text, rendered.marks ...
 *   chat_text_free(rt, &rendered);
 *
 * The text is that of transformers' apply_chat_template, byte for byte. A template is a stranger's program: it sees
 * messages, tools, documents, variables, the names of special tokens and the date; its time and memory are bounded
 * (jinja.h).
 */
#ifndef TEXT_CHAT_TEMPLATE_H
#define TEXT_CHAT_TEMPLATE_H

#include "base/runtime.h"

#define CHAT_TEMPLATE_MOST ((size_t)256 << 10) /* bytes of a template; the largest known has 30 KB */

typedef struct chat_message {
  const char *role, *content;
  size_t role_bytes, content_bytes;
} chat_message;

/* JSON texts are UTF-8, zero-ended; NULL: none. */
typedef struct chat_template_input {
  const char *text; /* of the template */
  size_t bytes;
  const chat_message *list; /* messages, when they have a role and a content only */
  size_t count;
  const char *messages;      /* a JSON array of them; not together with list */
  const char *tools;         /* a JSON array */
  const char *documents;     /* a JSON array */
  const char *variables;     /* a JSON object: further names, such as enable_thinking */
  const char *const *tokens; /* [2 · token_count]: "bos_token", "<s>", ... as tokenizer_config.json names them */
  size_t token_count;
  int add_generation_prompt;
  int64_t now; /* local time in seconds since 1970, for templates that ask for the date; 0: not told */
} chat_template_input;

/* marks[i] is 1 where byte i comes from a message, a tool, a document or a variable: no special token is meant there.
 * (A role that is a plain word is the template's.) */
typedef struct chat_text {
  char *text; /* zero-ended */
  uint8_t *marks;
  size_t bytes;
} chat_text;

/* Errors: E_LIMIT (template too long, too many steps, too much memory), E_FORMAT (syntax of the template, JSON),
 * E_UNSUPPORTED (a construct that is not known), E_ARGUMENT (the template refuses the messages, or they do not fit
 * it), E_MEMORY. What concerns the template names its line. */
viva_status chat_template_render(runtime *rt, const chat_template_input *input, chat_text *out, viva_error *error);
void chat_text_free(runtime *rt, chat_text *text); /* a zeroed one is allowed */

#endif
