#include "model_check.h"

#include <stdlib.h>

#include "chat_model.h"
#include "messages.h"
#include "tokens.h"

/* Does the template compile, and take a question? Its tokens are none here: what it does with them is not looked at. */
static int check_template(const char *text) {
  static const viva_chat_message question = {"user", "x"};
  viva_error error = {0};
  viva_chat_options options = viva_chat_options_default();
  size_t bytes;
  options.chat_template = text;
  options.messages = &question;
  options.message_count = 1;
  options.now = 1;
  options.variables_json = "{\"bos_token\": \"\", \"eos_token\": \"\", \"unk_token\": \"\", \"pad_token\": \"\"}";
  viva_status status = viva_chat_render(NULL, &options, NULL, 0, &bytes, &error);
  if (status == VIVA_OK || status == VIVA_E_SIZE || status == VIVA_E_ARGUMENT)
    return 0; /* the last: not this question */
  return message_error(&error);
}

static int check_chat(const viva_checkpoint *checkpoint) {
  viva_error error = {0};
  size_t bytes = 0;
  viva_status status = viva_checkpoint_chat_template(checkpoint, NULL, 0, &bytes, &error);
  if (status == VIVA_E_NOT_FOUND) return chat_model_no_template();
  if (status != VIVA_E_SIZE) return status == VIVA_OK ? 0 : message_error(&error);
  char *text = malloc(bytes + 1);
  if (text == NULL) return message_fail(CODE_LIMIT, "no memory for a template of %zu bytes", bytes);
  status = viva_checkpoint_chat_template(checkpoint, text, bytes + 1, &bytes, &error);
  int code = status == VIVA_OK ? check_template(text) : message_error(&error);
  free(text);
  return code;
}

static int check_stops(const viva_tokenizer *tokenizer, const text_list *words) {
  token_list stops;
  int code = tokens_stop(tokenizer, words, &stops);
  tokens_free(&stops);
  return code;
}

static int check_open(const model_args *model, const viva_checkpoint *checkpoint, const text_list *stop_tokens,
                      int chat, model_seen *seen) {
  viva_error error = {0};
  viva_model_config config = {.size = sizeof config};
  viva_status status = viva_checkpoint_config(checkpoint, &config, NULL);
  if (status != VIVA_OK || config.model_type[0] == 0) return 0; /* no model that could be run */
  seen->context = model->context > 0 ? model->context : config.max_position_embeddings;
  /* No log: what is to be said of the tokenizer is said when the model is loaded. */
  status =
      viva_tokenizer_load(model->tokenizer != NULL ? model->tokenizer : model->path, NULL, &seen->tokenizer, &error);
  if (status != VIVA_OK) return message_error(&error);
  int code = check_stops(seen->tokenizer, stop_tokens);
  return code == 0 && chat ? check_chat(checkpoint) : code;
}

int model_check(const model_args *model, const text_list *stop_tokens, int chat, model_seen *seen) {
  viva_checkpoint *checkpoint;
  *seen = (model_seen){NULL, 0};
  if (viva_checkpoint_open(model->path, NULL, &checkpoint, NULL) != VIVA_OK) return 0;
  int code = check_open(model, checkpoint, stop_tokens, chat, seen);
  viva_checkpoint_close(checkpoint);
  return code;
}

void model_check_free(model_seen *seen) {
  viva_tokenizer_release(seen->tokenizer);
  seen->tokenizer = NULL;
}
