/* A tokenizer from a vocabulary and its kind, as GGUF and SentencePiece files have them. */
#include <string.h>

#include "base/num.h"
#include "base/token_text.h"
#include "text/compile.h"
#include "text/gguf_pre.h"
#include "text/opening.h"
#include "text/score_merges.h"
#include "text/sentencepiece_rules.h"
#include "text/tokenizer_files.h"

#define QUOTE_SIZE 80

/* What is taken from the runtime while a source is turned into a description. */
typedef struct source_parts {
  vocab_entry *entries;
  spec_added *added;
} source_parts;

static void parts_free(mem *m, source_parts *p) {
  mem_free(m, p->entries);
  mem_free(m, p->added);
}

static viva_status refuse(const token_source *s, const char *item, const char *what, const char *name,
                          const char *known, viva_error *error) {
  char quoted[QUOTE_SIZE];
  error_set(error, VIVA_E_UNSUPPORTED, "%s '%s' is not supported; known: %s", what,
            error_quote(quoted, sizeof quoted, name, strlen(name)), known);
  error_at(error, s->path, item, -1, VIVA_NO_OFFSET);
  return VIVA_E_UNSUPPORTED;
}

/* What the file leaves unsaid is decided by the kind. */
static int said(int value, int otherwise) { return value == TOKEN_UNSAID ? otherwise : value; }

static viva_status settle_gpt2(token_source *s, const gguf_pre **pre, viva_error *error) {
  char known[1024];
  const char *name = s->pre ? s->pre : "";
  *pre = gguf_pre_find(name);
  if (!*pre) {
    gguf_pre_list(known, sizeof known);
    return refuse(s, "tokenizer.ggml.pre", "pre-tokenizer", name, known, error);
  }
  s->add_bos = said(s->add_bos, (*pre)->add_bos && s->bos >= 0);
  if (strcmp((*pre)->stages[0], PRE_SENTENCEPIECE) == 0) *pre = NULL;
  return VIVA_OK;
}

/* Ids that SentencePiece models have when the file does not name them. */
static int64_t id_said(int64_t id, int64_t otherwise, size_t count) {
  return id == -1 && (uint64_t)otherwise < count ? otherwise : id;
}

void token_source_default_ids(token_source *s) {
  if (!s->model || strcmp(s->model, "llama") != 0) return;
  s->unk = id_said(s->unk, 0, s->token_count);
  s->bos = id_said(s->bos, 1, s->token_count);
  s->eos = id_said(s->eos, 2, s->token_count);
}

static void settle_llama(token_source *s) {
  token_source_default_ids(s);
  s->add_bos = said(s->add_bos, s->bos >= 0);
  s->add_space_prefix = said(s->add_space_prefix, 1);
}

static void settle_gemma4(token_source *s) {
  s->add_bos = s->bos >= 0; /* also where the file says no: converters got it wrong (llama.cpp, pull request 21500) */
  s->add_space_prefix = said(s->add_space_prefix, 0);
}

viva_status token_source_settle(token_source *s, const gguf_pre **pre, viva_error *error) {
  const char *model = s->model ? s->model : "";
  *pre = NULL;
  if (strcmp(model, "gpt2") == 0)
    TRY(settle_gpt2(s, pre, error));
  else if (strcmp(model, "llama") == 0)
    settle_llama(s);
  else if (strcmp(model, "gemma4") == 0)
    settle_gemma4(s);
  else
    return refuse(s, "tokenizer.ggml.model", "tokenizer model", model, "gpt2, llama, gemma4", error);
  s->add_eos = said(s->add_eos, 0);
  s->add_space_prefix = said(s->add_space_prefix, 0);
  return VIVA_OK;
}

static viva_status read_rule(token_source *s, tokenizer_spec *spec, viva_error *error) {
  static const decode_op byte_level[] = {{.kind = DECODE_BYTE_LEVEL}};
  const gguf_pre *pre;
  TRY(token_source_settle(s, &pre, error));
  if (!pre) {
    sentencepiece_rules(s->add_space_prefix, spec);
    return VIVA_OK;
  }
  spec->decode_ops = byte_level;
  spec->decode_count = 1;
  return gguf_pre_apply(pre, spec, error);
}

/* Control tokens are special; user-defined ones are added. Both are matched as written. Unknown is special too, as
 * programs that read GGUF treat it; the other kinds are ordinary. */
int token_source_added(const token_source *s, size_t i, int *special) {
  if (!s->kinds || s->tokens[i].bytes == 0) return 0;
  unsigned said = token_text_find(s->tokens[i].text, s->tokens[i].bytes);
  int32_t kind = said & TOKEN_TEXT_SPECIAL ? TOKEN_CONTROL : s->kinds[i];
  *special = kind != TOKEN_USER;
  return kind == TOKEN_USER || kind == TOKEN_CONTROL || kind == TOKEN_UNKNOWN;
}

static viva_status read_tokens(runtime *rt, const token_source *s, source_parts *p, tokenizer_spec *spec,
                               viva_error *error) {
  char quoted[QUOTE_SIZE];
  size_t count = 0;
  size_t empty = SIZE_MAX; /* of the tokens without a text the last keeps its place; the others are holes */
  for (size_t i = 0; i < s->token_count; i++)
    if (s->tokens[i].bytes == 0) empty = i;
  for (size_t i = 0; i < s->token_count; i++) {
    token_text t = s->tokens[i];
    if (!utf8_valid(t.text, t.bytes))
      return error_set(error, VIVA_E_FORMAT, "token %zu is not UTF-8: '%s'", i,
                       error_quote(quoted, sizeof quoted, t.text, t.bytes));
    /* What pads a vocabulary to a round size is no text, also when a model says it. */
    uint8_t hidden = s->kinds && s->kinds[i] == TOKEN_UNUSED ? VOCAB_SPECIAL : 0;
    if (t.bytes > 0 || i == empty) p->entries[count++] = (vocab_entry){t, (uint32_t)i, hidden};
    int special;
    if (!token_source_added(s, i, &special)) continue;
    p->added[spec->added_count++] = (spec_added){t, (int64_t)i, (int64_t)i, special ? ADDED_SPECIAL : 0};
  }
  for (size_t i = 0; s->config && i < s->config->tokens.added_count; i++)
    p->added[spec->added_count++] = s->config->tokens.added[i];
  spec->added = p->added;
  return spec_take_vocab(rt, spec, p->entries, count, error);
}

/* The vocabulary has the entries, and few tokens are added ones: what else was asked for is needed for other tables. */
static viva_status give_back(mem *m, source_parts *p, tokenizer_spec *spec, viva_error *error) {
  mem_free(m, p->entries);
  p->entries = NULL;
  spec_added *added = mem_resize(m, p->added, spec->added_count * sizeof *added);
  if (!added) return error_set(error, VIVA_E_MEMORY, "no memory for %zu added tokens", spec->added_count);
  spec->added = p->added = added;
  return VIVA_OK;
}

static viva_status read_merges(runtime *rt, const token_source *s, tokenizer_spec *spec, viva_error *error) {
  if (s->scores && s->merge_count == 0) {
    for (size_t i = 0; i < s->token_count; i++) {
      uint64_t bytes = s->tokens[i].bytes < SCORE_TOKEN_MOST ? s->tokens[i].bytes : 0;
      TRY(allowance_work(&rt->allowed, bytes * bytes / 4, "cutting tokens in two", NULL, error));
    }
    return score_merges(&rt->mem, &spec->vocab, s->scores, &spec->merges, error);
  }
  for (size_t i = 0; i < s->merge_count; i++) {
    token_text parts[2];
    if (split_merge(s->merges[i], parts)) {
      char quoted[QUOTE_SIZE];
      return error_set(error, VIVA_E_FORMAT, "merge %zu is not two tokens with one space between them: '%s'", i,
                       error_quote(quoted, sizeof quoted, s->merges[i].text, s->merges[i].bytes));
    }
    TRY(merges_add(&spec->merges, parts[0], parts[1], error));
  }
  return merges_end(&spec->merges, error);
}

static viva_status check_source(const token_source *s, viva_error *error) {
  if (s->token_count > INT32_MAX)
    return error_set(error, VIVA_E_FORMAT, "%zu tokens: ids would not fit 31 bits", s->token_count);
  if (s->unk != -1 && (s->unk < 0 || (uint64_t)s->unk >= s->token_count))
    return error_set(error, VIVA_E_FORMAT, "the unknown token is id %lld; the vocabulary has %zu tokens",
                     (long long)s->unk, s->token_count);
  if ((s->add_bos == 1 && s->bos == -1) || (s->add_eos == 1 && s->eos == -1))
    return error_set(error, VIVA_E_FORMAT, "the file asks for a %s token before or behind each text but names none",
                     s->add_bos == 1 && s->bos == -1 ? "bos" : "eos");
  return VIVA_OK;
}

static viva_status from_source(runtime *rt, token_source *s, source_parts *p, tokenizer_spec *spec,
                               viva_tokenizer **out, viva_error *error) {
  spec->parts = arena_create(&rt->mem, 1024);
  if (!spec->parts) return error_set(error, VIVA_E_MEMORY, "no memory for a tokenizer");
  TRY(read_rule(s, spec, error));
  TRY(check_source(s, error));
  spec->config = s->config;
  size_t most = s->token_count + (s->config ? s->config->tokens.added_count : 0);
  p->entries = mem_array(&rt->mem, s->token_count, sizeof *p->entries);
  p->added = mem_array(&rt->mem, most, sizeof *p->added);
  if (!p->entries || !p->added)
    return error_set(error, VIVA_E_MEMORY, "no memory for %zu tokens and %zu merges", s->token_count, s->merge_count);
  TRY(read_tokens(rt, s, p, spec, error));
  TRY(give_back(&rt->mem, p, spec, error));
  TRY(read_merges(rt, s, spec, error));
  if (s->unk >= 0 && spec->rules.byte_fallback) spec->rules.unknown = s->tokens[s->unk];
  spec->bos = s->bos;
  spec->eos = s->eos;
  spec->add_bos = s->add_bos == 1 && s->bos >= 0;
  spec->prefix = &s->bos;
  spec->prefix_count = s->add_bos == 1 ? 1 : 0;
  spec->suffix = &s->eos;
  spec->suffix_count = s->add_eos == 1 ? 1 : 0;
  return tokenizer_compile(rt, spec, out, error);
}

static viva_status open_source(runtime *rt, const token_source *source, viva_tokenizer **out, viva_error *error) {
  source_parts p = {0};
  token_source s = *source;
  tokenizer_spec spec = {.path = source->path, .bos = -1, .eos = -1};
  viva_status status = from_source(rt, &s, &p, &spec, out, error);
  parts_free(&rt->mem, &p);
  spec_free(rt, &spec);
  if (status != VIVA_OK) error_at(error, source->path, NULL, 0, VIVA_NO_OFFSET);
  return status;
}

viva_status tokenizer_from_source(runtime *rt, const token_source *source, viva_tokenizer **out, viva_error *error) {
  runtime *own;
  *out = NULL;
  TRY(opening_begin(rt, source->allowed, &own, error));
  return opening_end(own, source->path, open_source(own, source, out, error), error);
}
