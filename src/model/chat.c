/* model/chat.c: the calls of viva/chat.h. */
#include "viva/chat.h"

#include <string.h>

#include "base/options.h"
#include "load/chat_load.h"
#include "model/model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

viva_chat_options viva_chat_options_default(void) {
  return (viva_chat_options){.size = sizeof(viva_chat_options), .add_generation_prompt = 1};
}

static viva_status no_template(viva_error *error) {
  return error_set(error, VIVA_E_NOT_FOUND,
                   "the model has no chat template: it was not trained for conversations, or its files lack "
                   "tokenizer_config.json; give a template, or plain text");
}

viva_status viva_model_chat_template(const viva_model *model, const char **text, size_t *bytes, viva_error *error) {
  if (!text) return error_set(error, VIVA_E_ARGUMENT, "text is NULL; give a place for the template");
  *text = NULL;
  if (!model) return error_set(error, VIVA_E_ARGUMENT, "model is NULL");
  const chat_named *found = chat_source_template(model->chat, "default");
  if (!found) return no_template(error);
  *text = found->text;
  if (bytes) *bytes = found->bytes;
  return VIVA_OK;
}

viva_status viva_checkpoint_chat_template(const viva_checkpoint *checkpoint, char *text, size_t capacity, size_t *bytes,
                                          viva_error *error) {
  chat_source *source;
  if (!checkpoint || !bytes || (!text && capacity > 0))
    return error_set(error, VIVA_E_ARGUMENT, "checkpoint, text and bytes must not be NULL");
  *bytes = 0;
  TRY(chat_load(checkpoint, &source, error));
  const chat_named *found = chat_source_template(source, "default");
  viva_status status = found ? VIVA_OK : no_template(error);
  if (found) *bytes = found->bytes;
  if (found && found->bytes >= capacity)
    status = error_set(error, VIVA_E_SIZE, "the template has %zu bytes and a zero; there is room for %zu", found->bytes,
                       capacity);
  if (status == VIVA_OK) memcpy(text, found->text, found->bytes + 1);
  chat_source_free(checkpoint->rt, source);
  return status;
}

static chat_message *plain_messages(mem *m, const viva_chat_options *o) {
  chat_message *list = mem_array(m, o->message_count, sizeof *list);
  for (size_t i = 0; list && i < o->message_count; i++)
    list[i] = (chat_message){o->messages[i].role, o->messages[i].content, strlen(o->messages[i].role),
                             strlen(o->messages[i].content)};
  return list;
}

static viva_status check_options(const viva_model *model, const viva_chat_options *o, viva_error *error) {
  if (!model && !o->chat_template)
    return error_set(error, VIVA_E_ARGUMENT, "model is NULL; give a model, or a chat_template");
  if ((o->messages != NULL) == (o->messages_json != NULL))
    return error_set(error, VIVA_E_ARGUMENT, "give the messages either as messages or as messages_json");
  for (size_t i = 0; o->messages && i < o->message_count; i++)
    if (!o->messages[i].role || !o->messages[i].content)
      return error_set(error, VIVA_E_ARGUMENT, "message %zu has no role or no content", i);
  return VIVA_OK;
}

/* The runtime is the model's, or one for this call. */
static viva_status render(runtime *rt, const viva_model *model, const viva_chat_options *o, chat_text *out,
                          viva_error *error) {
  const chat_source *source = model ? model->chat : NULL;
  const chat_named *own = chat_source_template(source, o->tools_json ? "tool_use" : "default");
  if (!o->chat_template && !own) return no_template(error);
  chat_template_input in = {.text = o->chat_template ? o->chat_template : own->text,
                            .bytes = o->chat_template ? strlen(o->chat_template) : own->bytes,
                            .count = o->messages ? o->message_count : 0,
                            .messages = o->messages_json,
                            .tools = o->tools_json,
                            .documents = o->documents_json,
                            .variables = o->variables_json,
                            .tokens = source ? source->tokens : NULL,
                            .token_count = source ? source->token_count : 0,
                            .add_generation_prompt = o->add_generation_prompt != 0,
                            .now = o->now};
  chat_message *list = plain_messages(&rt->mem, o);
  if (!list) return error_set(error, VIVA_E_MEMORY, "no memory for %zu messages", o->message_count);
  in.list = list;
  viva_status status = chat_template_render(rt, &in, out, error);
  mem_free(&rt->mem, list);
  return status;
}

static viva_status render_options(const viva_model *model, const viva_chat_options *options, runtime **rt,
                                  chat_text *out, viva_error *error) {
  viva_chat_options o = viva_chat_options_default();
  TRY(options_read(&o, options, "viva_chat_options", error));
  TRY(options_reserved(o.reserved, "viva_chat_options", error));
  TRY(check_options(model, &o, error));
  *rt = model ? runtime_retain(model->engine->rt) : runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  if (!*rt) return error_set(error, VIVA_E_MEMORY, "no memory for a conversation");
  viva_status status = render(*rt, model, &o, out, error);
  if (status) runtime_release(*rt);
  return status;
}

viva_status viva_chat_render(const viva_model *model, const viva_chat_options *options, char *text, size_t capacity,
                             size_t *bytes, viva_error *error) {
  runtime *rt;
  chat_text rendered;
  if (!bytes || (!text && capacity > 0)) return error_set(error, VIVA_E_ARGUMENT, "text and bytes must not be NULL");
  *bytes = 0;
  TRY(render_options(model, options, &rt, &rendered, error));
  size_t fits = rendered.bytes < capacity ? rendered.bytes : capacity;
  if (fits > 0) memcpy(text, rendered.text, fits);
  *bytes = rendered.bytes;
  chat_text_free(rt, &rendered);
  runtime_release(rt);
  if (*bytes <= capacity) return VIVA_OK;
  return error_set(error, VIVA_E_SIZE, "the text has %zu bytes; there is room for %zu", *bytes, capacity);
}

viva_status viva_chat_tokens(const viva_model *model, const viva_chat_options *options, viva_token *tokens,
                             size_t capacity, size_t *count, viva_error *error) {
  runtime *rt;
  chat_text rendered;
  if (!model || !count || (!tokens && capacity > 0))
    return error_set(error, VIVA_E_ARGUMENT, "model, tokens and count must not be NULL");
  *count = 0;
  if (!model->tokenizer)
    return error_set(error, VIVA_E_STATE, "the model has no tokenizer%s%s", model->tokenizer_problem ? ": " : "",
                     model->tokenizer_problem ? model->tokenizer_problem : "");
  TRY(render_options(model, options, &rt, &rendered, error));
  viva_status status = tokenizer_encode_marked(model->tokenizer, rendered.text, rendered.bytes, rendered.marks, tokens,
                                               capacity, count, error);
  chat_text_free(rt, &rendered);
  runtime_release(rt);
  return status;
}
