/* quantize/quantize_chat.c: the chat template of a GGUF file, as tokenizer_config.json has it. */
#include "load/chat_load.h"
#include "quantize/quantize.h"

static void put_key(json_text *t, const char *key) {
  json_text_put(t, ",\n  ");
  json_text_quoted(t, key);
  json_text_put(t, ": ");
}

static void put_templates(const chat_source *s, json_text *t) {
  if (s->template_count == 0) return;
  put_key(t, "chat_template");
  if (s->template_count == 1) {
    json_text_string(t, s->templates[0].text, s->templates[0].bytes);
    return;
  }
  for (size_t i = 0; i < s->template_count; i++) {
    json_text_put(t, i ? ",\n    {\"name\": " : "[\n    {\"name\": ");
    json_text_quoted(t, s->templates[i].name);
    json_text_put(t, ", \"template\": ");
    json_text_string(t, s->templates[i].text, s->templates[i].bytes);
    json_text_put(t, "}");
  }
  json_text_put(t, "\n  ]");
}

viva_status quantize_write_chat(quantize_job *j, const char *folder, viva_error *error) {
  chat_source *s;
  TRY(chat_load(j->ck, &s, error));
  if (!s) return VIVA_OK;
  json_text t = json_text_begin(&j->engine->rt->mem);
  json_text_put(&t,
                "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n  \"clean_up_tokenization_spaces\": false");
  for (size_t i = 0; i < s->token_count; i++) {
    put_key(&t, s->tokens[2 * i]);
    json_text_quoted(&t, s->tokens[2 * i + 1]);
  }
  put_templates(s, &t);
  json_text_put(&t, "\n}\n");
  viva_status status = t.no_memory
                           ? checkpoint_build_no_memory(folder, "tokenizer_config.json", error)
                           : quantize_file(j, folder, "tokenizer_config.json", t.text.items, t.text.count, error);
  json_text_free(&t);
  chat_source_free(j->engine->rt, s);
  return status;
}
