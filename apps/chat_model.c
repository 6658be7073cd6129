#include "chat_model.h"

#include <stdlib.h>
#include <time.h>

#include "messages.h"

int chat_model_has_template(const viva_model *model) {
  const char *text;
  return viva_model_chat_template(model, &text, NULL, NULL) == VIVA_OK;
}

int chat_model_no_template(void) {
  return message_fail(CODE_INPUT,
                      "the model has no chat template: it was not trained for conversations, or its files lack "
                      "tokenizer_config.json; viva generate continues plain text");
}

/* Local time, as templates that say the date want it. */
static int64_t local_now(void) {
  time_t now = time(NULL);
  struct tm local;
  return localtime_r(&now, &local) != NULL ? (int64_t)now + local.tm_gmtoff : (int64_t)now;
}

int chat_model_tokens(const viva_model *model, const viva_chat_message *messages, size_t count, const char *variables,
                      token_list *tokens) {
  viva_error error = {0};
  viva_chat_options options = viva_chat_options_default();
  *tokens = (token_list){NULL, 0};
  options.messages = messages;
  options.message_count = count;
  options.variables_json = variables;
  options.now = local_now();
  size_t size = 0;
  viva_status status = viva_chat_tokens(model, &options, NULL, 0, &size, &error);
  if (status != VIVA_OK && status != VIVA_E_SIZE) {
    int code = message_error(&error);
    return status == VIVA_E_ARGUMENT ? CODE_INPUT : code; /* the template refuses the messages: no wrong flag */
  }
  tokens->ids = malloc((size + 1) * sizeof *tokens->ids);
  if (tokens->ids == NULL) return message_fail(CODE_LIMIT, "no memory for %zu tokens", size);
  status = viva_chat_tokens(model, &options, tokens->ids, size, &tokens->count, &error);
  return status == VIVA_OK ? 0 : message_error(&error);
}
