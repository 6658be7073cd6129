/* generate_json.c: the result of viva generate, for programs. */
#include <stdlib.h>

#include "generate.h"
#include "json_out.h"

/* What a token adds to a text behind itself: alone, SentencePiece's decoders would take its space away. */
static void put_text(json_out *json, const viva_tokenizer *tokenizer, viva_token id) {
  const viva_token pair[2] = {id, id};
  viva_decode_options shown = viva_decode_options_default();
  size_t one = 0, two = 0;
  char *text = NULL;
  shown.skip_special = 0;
  viva_status status = viva_tokenizer_decode(tokenizer, pair, 1, &shown, NULL, 0, &one, NULL);
  if (status == VIVA_OK || status == VIVA_E_SIZE)
    status = viva_tokenizer_decode(tokenizer, pair, 2, &shown, NULL, 0, &two, NULL);
  if (status == VIVA_E_SIZE) text = malloc(two);
  if (text != NULL) status = viva_tokenizer_decode(tokenizer, pair, 2, &shown, text, two, &two, NULL);
  json_key(json, "text");
  if (text != NULL && status == VIVA_OK && two >= one)
    json_string(json, text + one, two - one);
  else
    json_text(json, ""); /* an id without a written form */
  free(text);
}

static void print_logprobs(json_out *json, const viva_generate_result *r, const viva_tokenizer *tokenizer) {
  json_key(json, "logprobs");
  json_begin(json, '[');
  for (size_t i = 0; i < r->token_count; i++) {
    json_begin(json, '{');
    json_key(json, "id"), json_integer(json, r->token_logprobs[i].id);
    if (tokenizer != NULL) put_text(json, tokenizer, r->token_logprobs[i].id);
    json_key(json, "logprob"), json_float(json, r->token_logprobs[i].logprob);
    json_key(json, "top"), json_begin(json, '[');
    for (size_t k = 0; k < r->logprobs; k++) {
      const viva_logprob *top = &r->top_logprobs[i * r->logprobs + k];
      json_begin(json, '{');
      json_key(json, "id"), json_integer(json, top->id);
      if (tokenizer != NULL) put_text(json, tokenizer, top->id);
      json_key(json, "logprob"), json_float(json, top->logprob);
      json_end(json, '}');
    }
    json_end(json, ']');
    json_end(json, '}');
  }
  json_end(json, ']');
}

static void print_ids(json_out *json, const char *key, const viva_token *ids, size_t count) {
  json_key(json, key);
  json_begin(json, '[');
  for (size_t i = 0; i < count; i++) json_integer(json, ids[i]);
  json_end(json, ']');
}

void generate_json(output *out, const viva_generate_result *r, const loaded *what) {
  json_out json = {out, 0};
  json_begin(&json, '{');
  print_ids(&json, "prompt_tokens", r->prompt_tokens, r->prompt_count);
  print_ids(&json, "tokens", r->tokens, r->token_count);
  json_key(&json, "text"), json_string(&json, r->text, r->text_bytes);
  json_key(&json, "stop_reason"), json_text(&json, viva_stop_reason_name(r->stop_reason));
  json_key(&json, "load_seconds"), json_double(&json, what->seconds);
  json_key(&json, "prefill_seconds"), json_double(&json, r->prefill_seconds);
  json_key(&json, "decode_seconds"), json_double(&json, r->decode_seconds);
  json_key(&json, "total_tokens"), json_unsigned(&json, r->total_tokens);
  json_key(&json, "ms_per_token"), json_double(&json, r->ms_per_token);
  json_key(&json, "model"), json_text(&json, viva_model_description(what->model));
  json_key(&json, "weights"), json_text(&json, what->weights);
  if (what->act) json_key(&json, "act"), json_text(&json, what->act);
  if (r->token_logprobs != NULL) print_logprobs(&json, r, viva_model_tokenizer(what->model));
  json_end(&json, '}');
  output_text(out, "\n");
}
