/* A tokenizer from a GGUF file's vocabulary. */
#include <string.h>

#include "base/num.h"
#include "text/compile.h"

#define QUOTE_SIZE 80

/* What is taken from the runtime while a source is turned into a description. */
typedef struct source_parts {
  vocab_entry *entries;
  spec_added *added;
  token_text *merges;
} source_parts;

static void parts_free(mem *m, source_parts *p) {
  mem_free(m, p->entries);
  mem_free(m, p->added);
  mem_free(m, p->merges);
}

static viva_status read_rule(const token_source *s, tokenizer_spec *spec, viva_error *error) {
  char quoted[QUOTE_SIZE], known[256];
  const char *model = s->model ? s->model : "", *pre = s->pre ? s->pre : "";
  if (strcmp(model, "gpt2") != 0) {
    error_set(error, VIVA_E_UNSUPPORTED, "tokenizer model '%s' is not supported; known: gpt2",
              error_quote(quoted, sizeof quoted, model, strlen(model)));
    error_at(error, s->path, "tokenizer.ggml.model", -1, VIVA_NO_OFFSET);
    return VIVA_E_UNSUPPORTED;
  }
  const split_name *name = split_name_find(pre);
  if (!name) {
    split_name_list(known, sizeof known);
    error_set(error, VIVA_E_UNSUPPORTED, "pre-tokenizer '%s' is not supported; known: %s",
              error_quote(quoted, sizeof quoted, pre, strlen(pre)), known);
    error_at(error, s->path, "tokenizer.ggml.pre", -1, VIVA_NO_OFFSET);
    return VIVA_E_UNSUPPORTED;
  }
  for (uint32_t i = 0; i < name->stage_count; i++) spec->pre.stages[i] = name->stages[i];
  spec->pre.stage_count = name->stage_count;
  spec->ignore_merges = name->ignore_merges;
  spec->nfc = name->nfc;
  return VIVA_OK;
}

/* Control tokens are special; user-defined ones are added. Both are matched as written. Unknown is special too, as
 * programs that read GGUF treat it; the other kinds are ordinary. */
static int added_flags(int32_t kind, uint32_t *flags) {
  *flags = kind == TOKEN_USER ? 0 : ADDED_SPECIAL;
  return kind == TOKEN_USER || kind == TOKEN_CONTROL || kind == TOKEN_UNKNOWN;
}

static viva_status read_tokens(const token_source *s, source_parts *p, tokenizer_spec *spec, viva_error *error) {
  char quoted[QUOTE_SIZE];
  for (size_t i = 0; i < s->token_count; i++) {
    token_text t = s->tokens[i];
    if (!utf8_valid(t.text, t.bytes))
      return error_set(error, VIVA_E_FORMAT, "token %zu is not UTF-8: '%s'", i,
                       error_quote(quoted, sizeof quoted, t.text, t.bytes));
    /* What pads a vocabulary to a round size is no text, also when a model says it. */
    uint8_t hidden = s->kinds && s->kinds[i] == TOKEN_UNUSED ? VOCAB_SPECIAL : 0;
    p->entries[i] = (vocab_entry){t, (uint32_t)i, hidden};
    uint32_t flags;
    if (!s->kinds || !added_flags(s->kinds[i], &flags)) continue;
    p->added[spec->added_count++] = (spec_added){t, (int64_t)i, (int64_t)i, flags};
  }
  spec->entries = p->entries;
  spec->entry_count = s->token_count;
  spec->added = p->added;
  return VIVA_OK;
}

static viva_status read_merges(const token_source *s, source_parts *p, tokenizer_spec *spec, viva_error *error) {
  for (size_t i = 0; i < s->merge_count; i++)
    if (split_merge(s->merges[i], &p->merges[2 * i])) {
      char quoted[QUOTE_SIZE];
      return error_set(error, VIVA_E_FORMAT, "merge %zu is not two tokens with one space between them: '%s'", i,
                       error_quote(quoted, sizeof quoted, s->merges[i].text, s->merges[i].bytes));
    }
  spec->merges = p->merges;
  spec->merge_count = s->merge_count;
  return VIVA_OK;
}

static viva_status from_source(runtime *rt, const token_source *s, source_parts *p, viva_tokenizer **out,
                               viva_error *error) {
  tokenizer_spec spec = {.path = s->path, .bos = s->bos, .eos = s->eos, .add_bos = s->add_bos && s->bos >= 0};
  TRY(read_rule(s, &spec, error));
  if (s->token_count > INT32_MAX)
    return error_set(error, VIVA_E_FORMAT, "%zu tokens: ids would not fit 31 bits", s->token_count);
  if (s->unk != -1 && (s->unk < 0 || (uint64_t)s->unk >= s->token_count))
    return error_set(error, VIVA_E_FORMAT, "the unknown token is id %lld; the vocabulary has %zu tokens",
                     (long long)s->unk, s->token_count);
  if ((s->add_bos && s->bos == -1) || (s->add_eos && s->eos == -1))
    return error_set(error, VIVA_E_FORMAT, "the file asks for a %s token before or behind each text but names none",
                     s->add_bos && s->bos == -1 ? "bos" : "eos");
  p->entries = mem_array(&rt->mem, s->token_count, sizeof *p->entries);
  p->added = mem_array(&rt->mem, s->token_count, sizeof *p->added);
  p->merges = mem_array(&rt->mem, s->merge_count, 2 * sizeof *p->merges);
  if (!p->entries || !p->added || !p->merges)
    return error_set(error, VIVA_E_MEMORY, "no memory for %zu tokens and %zu merges", s->token_count, s->merge_count);
  TRY(read_tokens(s, p, &spec, error));
  TRY(read_merges(s, p, &spec, error));
  spec.prefix = &s->bos;
  spec.prefix_count = s->add_bos ? 1 : 0;
  spec.suffix = &s->eos;
  spec.suffix_count = s->add_eos ? 1 : 0;
  return tokenizer_compile(rt, &spec, out, error);
}

viva_status tokenizer_from_source(runtime *rt, const token_source *source, viva_tokenizer **out, viva_error *error) {
  *out = NULL;
  source_parts p = {0};
  viva_status status = from_source(rt, source, &p, out, error);
  parts_free(&rt->mem, &p);
  if (status != VIVA_OK) error_at(error, source->path, NULL, 0, VIVA_NO_OFFSET);
  return status;
}
