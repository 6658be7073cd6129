/* quantize/quantize_gguf.c: what a GGUF file says of its model, as config.json, generation_config.json and tokenizer.json. */
#include <string.h>

#include "format/config/config.h"
#include "load/tokenizer_load.h"
#include "quantize/quantize.h"
#include "text/gguf_pre.h"
#include "text/score_merges.h"

/* ---- config.json */

static const struct {
  const char *model_type, *architecture;
} families[] = {{"llama", "LlamaForCausalLM"},
                {"mistral", "MistralForCausalLM"},
                {"qwen2", "Qwen2ForCausalLM"},
                {"qwen3", "Qwen3ForCausalLM"}};

static void put_integer(json_text *t, const char *key, uint64_t value) {
  json_text_put(t, ",\n  \"");
  json_text_put(t, key);
  json_text_put(t, "\": ");
  json_text_u64(t, value);
}

static void put_number(json_text *t, const char *key, double value) {
  json_text_put(t, ",\n  \"");
  json_text_put(t, key);
  json_text_put(t, "\": ");
  json_text_double(t, value);
}

static void put_flag(json_text *t, const char *key, int value) {
  json_text_put(t, ",\n  \"");
  json_text_put(t, key);
  json_text_put(t, value ? "\": true" : "\": false");
}

static void put_rope(const viva_model_config *c, json_text *t) {
  put_number(t, "rope_theta", c->rope_theta);
  if (c->rotary_dim != c->head_dim) put_number(t, "partial_rotary_factor", (double)c->rotary_dim / (double)c->head_dim);
  if (c->rope_type == VIVA_ROPE_LINEAR) {
    json_text_put(t, ",\n  \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": ");
    json_text_double(t, c->rope_factor);
    json_text_put(t, "}");
  } else if (c->rope_type == VIVA_ROPE_LLAMA3) {
    json_text_put(t, ",\n  \"rope_scaling\": {\n    \"rope_type\": \"llama3\",\n    \"factor\": ");
    json_text_double(t, c->rope_factor);
    json_text_put(t, ",\n    \"low_freq_factor\": ");
    json_text_double(t, c->rope_low_freq_factor);
    json_text_put(t, ",\n    \"high_freq_factor\": ");
    json_text_double(t, c->rope_high_freq_factor);
    json_text_put(t, ",\n    \"original_max_position_embeddings\": ");
    json_text_u64(t, c->rope_original_context);
    json_text_put(t, "\n  }");
  } else if (c->rope_type == VIVA_ROPE_YARN) {
    json_text_put(t, ",\n  \"rope_scaling\": {\n    \"rope_type\": \"yarn\",\n    \"factor\": ");
    json_text_double(t, c->rope_factor);
    json_text_put(t, ",\n    \"original_max_position_embeddings\": ");
    json_text_u64(t, c->rope_original_context);
    json_text_put(t, ",\n    \"beta_fast\": ");
    json_text_double(t, c->rope_beta_fast);
    json_text_put(t, ",\n    \"beta_slow\": ");
    json_text_double(t, c->rope_beta_slow);
    json_text_put(t, ",\n    \"attention_factor\": ");
    json_text_double(t, c->rope_attention_factor);
    json_text_put(t, "\n  }");
  }
}

static void put_eos(const viva_model_config *c, json_text *t) {
  if (c->num_eos == 0) return;
  json_text_put(t, "[");
  for (uint32_t i = 0; i < c->num_eos; i++) {
    if (i) json_text_put(t, ", ");
    json_text_u64(t, (uint64_t)c->eos_tokens[i]);
  }
  json_text_put(t, "]");
}

/* The model alone, or with what was made of its weights. */
static void put_config(const quantize_job *j, int quantized, json_text *t) {
  const viva_model_config *c = &j->p.config;
  size_t family = 0;
  while (family + 1 < sizeof families / sizeof *families && strcmp(families[family].model_type, c->model_type) != 0)
    family++;
  json_text_put(t, "{\n  \"architectures\": [");
  json_text_quoted(t, families[family].architecture);
  json_text_put(t, "],\n  \"model_type\": ");
  json_text_quoted(t, c->model_type);
  put_integer(t, "hidden_size", c->hidden_size);
  put_integer(t, "intermediate_size", c->intermediate_size);
  put_integer(t, "num_hidden_layers", c->num_layers);
  put_integer(t, "num_attention_heads", c->num_heads);
  put_integer(t, "num_key_value_heads", c->num_kv_heads);
  put_integer(t, "head_dim", c->head_dim);
  put_integer(t, "vocab_size", c->vocab_size);
  put_integer(t, "max_position_embeddings", c->max_position_embeddings);
  put_number(t, "rms_norm_eps", c->rms_norm_eps);
  put_rope(c, t);
  json_text_put(t, ",\n  \"hidden_act\": \"silu\"");
  put_flag(t, "attention_bias", c->qkv_bias);
  put_flag(t, "mlp_bias", c->mlp_bias);
  put_flag(t, "tie_word_embeddings", c->tie_word_embeddings && !j->head);
  if (c->sliding_window) {
    put_integer(t, "sliding_window", c->sliding_window);
    put_flag(t, "use_sliding_window", 1);
    put_integer(t, "max_window_layers", c->sliding_from_layer);
  } else {
    json_text_put(t, ",\n  \"sliding_window\": null");
  }
  if (c->bos_token >= 0) put_integer(t, "bos_token_id", (uint64_t)c->bos_token);
  if (c->num_eos) json_text_put(t, ",\n  \"eos_token_id\": ");
  put_eos(c, t);
  json_text_put(t, ",\n  \"torch_dtype\": ");
  json_text_put(t, quantize_dtype(j));
  if (quantized) quantize_put_config(j, t);
  json_text_put(t, "\n}\n");
}

/* 1 when both describe the same computation. */
static int same_model(const viva_model_config *a, const viva_model_config *b) {
  int sizes = a->hidden_size == b->hidden_size && a->intermediate_size == b->intermediate_size &&
              a->num_layers == b->num_layers && a->num_heads == b->num_heads && a->num_kv_heads == b->num_kv_heads &&
              a->head_dim == b->head_dim && a->rotary_dim == b->rotary_dim && a->vocab_size == b->vocab_size;
  int parts = a->qkv_bias == b->qkv_bias && a->o_bias == b->o_bias && a->mlp_bias == b->mlp_bias &&
              a->qk_norm == b->qk_norm && a->sliding_window == b->sliding_window &&
              (!a->sliding_window || a->sliding_from_layer == b->sliding_from_layer);
  int scaled = a->rope_type != VIVA_ROPE_DEFAULT,
      trained = a->rope_type == VIVA_ROPE_YARN || a->rope_type == VIVA_ROPE_LLAMA3;
  int rope = a->rope_type == b->rope_type && !(a->rope_theta < b->rope_theta) && !(a->rope_theta > b->rope_theta) &&
             (!scaled || !(a->rope_factor < b->rope_factor || a->rope_factor > b->rope_factor)) &&
             (!trained || a->rope_original_context == b->rope_original_context);
  return sizes && parts && rope && !(a->rms_norm_eps < b->rms_norm_eps) && !(a->rms_norm_eps > b->rms_norm_eps);
}

/* What is written is read again: a model that Hugging Face's keys cannot describe is refused, not bent. */
static viva_status check_config(quantize_job *j, const char *folder, viva_error *error) {
  viva_model_config back;
  json_text t = json_text_begin(&j->engine->rt->mem);
  put_config(j, 0, &t);
  viva_status status = t.no_memory ? checkpoint_build_no_memory(folder, "config.json", error) : VIVA_OK;
  if (!status) status = config_parse(j->engine->rt, folder, t.text.items, t.text.count, NULL, NULL, 0, &back, error);
  json_text_free(&t);
  if (status || same_model(&j->p.config, &back)) return status;
  error_set(
      error, VIVA_E_UNSUPPORTED,
      "the keys of config.json cannot describe this model (its biases or its positions); quantize the Hugging Face "
      "folder that the file was made from");
  error_at(error, j->ck->path, NULL, 0, VIVA_NO_OFFSET);
  return VIVA_E_UNSUPPORTED;
}

static viva_status write_config(quantize_job *j, const char *folder, viva_error *error) {
  TRY(check_config(j, folder, error));
  json_text t = json_text_begin(&j->engine->rt->mem);
  put_config(j, 1, &t);
  viva_status status = t.no_memory ? checkpoint_build_no_memory(folder, "config.json", error) : VIVA_OK;
  if (!status) status = quantize_file(j, folder, "config.json", t.text.items, t.text.count, error);
  json_text_free(&t);
  return status;
}

static viva_status write_generation(quantize_job *j, const char *folder, viva_error *error) {
  const viva_model_config *c = &j->p.config;
  if (c->num_eos == 0) return VIVA_OK;
  json_text t = json_text_begin(&j->engine->rt->mem);
  json_text_put(&t, "{\n  \"eos_token_id\": ");
  put_eos(c, &t);
  if (c->bos_token >= 0) put_integer(&t, "bos_token_id", (uint64_t)c->bos_token);
  json_text_put(&t, "\n}\n");
  viva_status status = t.no_memory
                           ? checkpoint_build_no_memory(folder, "generation_config.json", error)
                           : quantize_file(j, folder, "generation_config.json", t.text.items, t.text.count, error);
  json_text_free(&t);
  return status;
}

/* ---- tokenizer.json */

#define BYTE_LEVEL "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": "

static void put_added(const token_source *s, json_text *t) {
  int listed = 0;
  json_text_put(t, "  \"added_tokens\": [");
  for (size_t i = 0; i < s->token_count; i++) {
    int special;
    if (!token_source_added(s, i, &special)) continue;
    json_text_put(t, listed++ ? ",\n    {\"id\": " : "\n    {\"id\": ");
    json_text_u64(t, i);
    json_text_put(t, ", \"content\": ");
    json_text_string(t, s->tokens[i].text, s->tokens[i].bytes);
    json_text_put(
        t, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": ");
    json_text_put(t, special ? "true}" : "false}");
  }
  json_text_put(t, "\n  ],\n");
}

static int is_gpt2(const char *stage) { return split_pattern_find(stage, strlen(stage)) == split_gpt2; }

static void put_stage(const char *stage, json_text *t) {
  if (strcmp(stage, PRE_DIGITS) == 0) {
    json_text_put(t, "{\"type\": \"Digits\", \"individual_digits\": true}");
  } else if (strcmp(stage, PRE_DIGIT_RUNS) == 0) {
    json_text_put(t, "{\"type\": \"Digits\", \"individual_digits\": false}");
  } else if (strcmp(stage, PRE_PUNCTUATION) == 0) {
    json_text_put(t, "{\"type\": \"Punctuation\", \"behavior\": \"Contiguous\"}");
  } else {
    json_text_put(t, "{\"type\": \"Split\", \"pattern\": {\"Regex\": ");
    json_text_quoted(t, stage);
    json_text_put(t, "}, \"behavior\": \"Isolated\", \"invert\": false}");
  }
}

/* The stages of the file's pre-tokenizer as components; GPT-2's pattern in front of ByteLevel is ByteLevel's own. */
static void put_splits(const gguf_pre *pre, json_text *t) {
  enum { MOST = sizeof pre->stages / sizeof *pre->stages };
  json_text_put(t, "  \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [");
  int spelled = 0;
  for (size_t i = 0; i < MOST && pre->stages[i]; i++) {
    const char *next = i + 1 < MOST ? pre->stages[i + 1] : NULL;
    int before = next ? strcmp(next, PRE_ALPHABET) == 0 : !spelled;
    if (i) json_text_put(t, ", ");
    if (strcmp(pre->stages[i], PRE_ALPHABET) == 0 || (before && is_gpt2(pre->stages[i]))) {
      json_text_put(t, is_gpt2(pre->stages[i]) ? BYTE_LEVEL "true}" : BYTE_LEVEL "false}");
      spelled = 1;
      if (is_gpt2(pre->stages[i]) && next) i++; /* the alphabet's own place is taken */
    } else {
      put_stage(pre->stages[i], t);
    }
  }
  if (!spelled) json_text_put(t, ", " BYTE_LEVEL "false}");
  json_text_put(t, "]},\n");
}

static void put_special(const token_source *s, int64_t id, json_text *t) {
  json_text_put(t, "{\"SpecialToken\": {\"id\": ");
  json_text_string(t, s->tokens[id].text, s->tokens[id].bytes);
  json_text_put(t, ", \"type_id\": 0}}");
}

static void put_special_entry(const token_source *s, int64_t id, json_text *t) {
  const token_text *text = &s->tokens[id];
  json_text_string(t, text->text, text->bytes);
  json_text_put(t, ": {\"id\": ");
  json_text_string(t, text->text, text->bytes);
  json_text_put(t, ", \"ids\": [");
  json_text_u64(t, (uint64_t)id);
  json_text_put(t, "], \"tokens\": [");
  json_text_string(t, text->text, text->bytes);
  json_text_put(t, "]}");
}

static void put_template(const token_source *s, json_text *t) {
  int bos = s->add_bos && s->bos >= 0, eos = s->add_eos && s->eos >= 0;
  if (!bos && !eos) {
    json_text_put(t, "  \"post_processor\": null,\n");
    return;
  }
  json_text_put(t, "  \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [");
  if (bos) put_special(s, s->bos, t), json_text_put(t, ", ");
  json_text_put(t, "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}");
  if (eos) json_text_put(t, ", "), put_special(s, s->eos, t);
  json_text_put(t, "], \"pair\": [{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"B\", "
                   "\"type_id\": 1}}], \"special_tokens\": {");
  if (bos) put_special_entry(s, s->bos, t);
  if (bos && eos && s->bos != s->eos) json_text_put(t, ", ");
  if (eos && !(bos && s->bos == s->eos)) put_special_entry(s, s->eos, t);
  json_text_put(t, "}},\n");
}

#define MARK "\\u2581" /* what SentencePiece writes for a space */

static void put_sentencepiece_rules(const token_source *s, json_text *t) {
  json_text_put(t, "  \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [");
  if (s->add_space_prefix) json_text_put(t, "{\"type\": \"Prepend\", \"prepend\": \"" MARK "\"}, ");
  json_text_put(
      t, "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"" MARK "\"}]},\n"
         "  \"pre_tokenizer\": null,\n  \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", "
         "\"pattern\": {\"String\": \"" MARK "\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, "
         "{\"type\": \"Fuse\"}");
  if (s->add_space_prefix) json_text_put(t, ", {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}");
  json_text_put(t, "]},\n");
}

static void put_rules(const token_source *s, const gguf_pre *pre, json_text *t) {
  if (pre) {
    json_text_put(t, pre->nfc ? "  \"normalizer\": {\"type\": \"NFC\"},\n" : "  \"normalizer\": null,\n");
    put_splits(pre, t);
    json_text_put(t, "  \"decoder\": " BYTE_LEVEL "true},\n");
  } else {
    put_sentencepiece_rules(s, t);
  }
}

static void put_model(const token_source *s, const gguf_pre *pre, json_text *t) {
  json_text_put(t, "  \"model\": {\n    \"type\": \"BPE\", \"dropout\": null, \"unk_token\": ");
  if (!pre && s->unk >= 0)
    json_text_string(t, s->tokens[s->unk].text, s->tokens[s->unk].bytes);
  else
    json_text_put(t, "null");
  json_text_put(t, ", \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null,\n    \"fuse_unk\": ");
  json_text_put(t, pre ? "false, \"byte_fallback\": false" : "true, \"byte_fallback\": true");
  json_text_put(t, ", \"ignore_merges\": ");
  json_text_put(t, pre && pre->ignore_merges ? "true,\n    \"vocab\": {" : "false,\n    \"vocab\": {");
  for (size_t i = 0, listed = 0; i < s->token_count; i++) {
    if (s->tokens[i].bytes == 0) continue;
    json_text_put(t, listed++ ? ",\n      " : "\n      ");
    json_text_string(t, s->tokens[i].text, s->tokens[i].bytes);
    json_text_put(t, ": ");
    json_text_u64(t, i);
  }
  json_text_put(t, "\n    },\n    \"merges\": [");
}

static void put_merges(const token_source *s, json_text *t) {
  for (size_t i = 0; i < s->merge_count; i++) {
    json_text_put(t, i ? ",\n      " : "\n      ");
    json_text_string(t, s->merges[i].text, s->merges[i].bytes);
  }
}

static viva_status put_scores(mem *m, const token_source *s, json_text *t, viva_error *error) {
  merge_list list = {.mem = m};
  viva_status status = score_merges_of(m, s->tokens, s->scores, s->token_count, &list, error);
  for (size_t i = 0; status == VIVA_OK && i < list.count; i++) {
    token_text left = s->tokens[list.merges[i].left], right = s->tokens[list.merges[i].right];
    json_text_put(t, i ? ",\n      [" : "\n      [");
    json_text_string(t, left.text, left.bytes);
    json_text_put(t, ", ");
    json_text_string(t, right.text, right.bytes);
    json_text_put(t, "]");
  }
  merges_free(&list);
  return status;
}

static viva_status put_tokenizer(token_source *s, json_text *t, mem *m, viva_error *error) {
  const gguf_pre *pre;
  TRY(token_source_settle(s, &pre, error));
  json_text_put(t, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
  put_added(s, t);
  put_rules(s, pre, t);
  put_template(s, t);
  put_model(s, pre, t);
  if (s->scores && s->merge_count == 0)
    TRY(put_scores(m, s, t, error));
  else
    put_merges(s, t);
  json_text_put(t, "\n    ]\n  }\n}\n");
  return VIVA_OK;
}

/* A vocabulary that viva cannot use would make a tokenizer.json that lies. */
static viva_status write_tokenizer(quantize_job *j, const char *folder, arena *a, viva_error *error) {
  viva_error problem = {0};
  token_source s;
  viva_tokenizer *checked = NULL;
  viva_status status = tokenizer_read_source(j->ck, a, &s, &problem);
  if (!status) status = tokenizer_from_source(j->engine->rt, &s, &checked, &problem);
  viva_tokenizer_release(checked);
  if (status == VIVA_E_NOT_FOUND || status == VIVA_E_UNSUPPORTED) {
    runtime_log(j->engine->rt, VIVA_LOG_WARN, "%s: no tokenizer.json is written: %s", j->ck->path, problem.message);
    return VIVA_OK;
  }
  if (status) {
    if (error) *error = problem;
    return status;
  }
  json_text t = json_text_begin(&j->engine->rt->mem);
  status = put_tokenizer(&s, &t, &j->engine->rt->mem, error);
  if (status) {
    json_text_free(&t);
    return status;
  }
  status = t.no_memory ? checkpoint_build_no_memory(folder, "tokenizer.json", error)
                       : quantize_file(j, folder, "tokenizer.json", t.text.items, t.text.count, error);
  json_text_free(&t);
  return status;
}

viva_status quantize_write_gguf_files(quantize_job *j, const char *folder, viva_error *error) {
  TRY(write_config(j, folder, error));
  TRY(write_generation(j, folder, error));
  TRY(quantize_write_chat(j, folder, error));
  arena *a = arena_create(&j->engine->rt->mem, (size_t)64 << 10);
  if (!a) return checkpoint_build_no_memory(folder, "tokenizer.json", error);
  viva_status status = write_tokenizer(j, folder, a, error);
  arena_free(a);
  return status;
}
