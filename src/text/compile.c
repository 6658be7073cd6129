#include "text/compile.h"

#include <string.h>

#include "text/tokenizer_files.h"
#include "text/unicode.h"

#define QUOTE_SIZE 80

static const char *quote(char buffer[QUOTE_SIZE], token_text t) {
  return error_quote(buffer, QUOTE_SIZE, t.text, t.bytes);
}

viva_status spec_take_vocab(runtime *rt, tokenizer_spec *spec, vocab_entry *entries, size_t count, viva_error *error) {
  for (size_t i = 0; i < count; i++) entries[i].flags |= VOCAB_MODEL;
  TRY(vocab_create(&rt->mem, entries, count, &spec->vocab, error));
  spec->merges.mem = &rt->mem;
  spec->merges.vocab = &spec->vocab;
  return VIVA_OK;
}

void spec_free(runtime *rt, tokenizer_spec *spec) {
  vocab_destroy(&rt->mem, &spec->vocab);
  merges_free(&spec->merges);
  arena_free(spec->parts);
}

/* The usual case: no holes, so what the model's vocabulary lacks goes behind it. */
static viva_status append_added(runtime *rt, tokenizer_spec *spec, vocab *v, size_t missing, size_t bytes,
                                viva_error *error) {
  TRY(vocab_reserve(&rt->mem, v, missing, bytes, error));
  for (size_t i = 0; i < spec->added_count; i++) {
    spec_added *a = &spec->added[i];
    if (a->text.bytes == 0 || a->place >= 0) continue;
    a->place = vocab_find(v, a->text.text, a->text.bytes); /* it may be described twice */
    if (a->place >= 0) continue;
    a->place = (int64_t)v->count;
    vocab_append(v, a->text);
  }
  return VIVA_OK;
}

/* A vocabulary with holes is made anew. */
static viva_status insert_added(runtime *rt, tokenizer_spec *spec, vocab *v, size_t missing, viva_error *error) {
  vocab_entry *entries = mem_array(&rt->mem, v->tokens + missing, sizeof *entries);
  if (!entries) return error_set(error, VIVA_E_MEMORY, "no memory for %zu tokens", v->tokens + missing);
  size_t count = 0;
  for (uint32_t id = 0; id < v->count; id++)
    if (v->flags[id] & VOCAB_EXISTS) entries[count++] = (vocab_entry){vocab_text(v, id), id, v->flags[id]};
  for (size_t i = 0; i < spec->added_count; i++) {
    spec_added *a = &spec->added[i];
    if (a->text.bytes == 0 || a->place >= 0) continue;
    a->place = (int64_t)count;
    entries[count] = (vocab_entry){a->text, (uint32_t)count, 0};
    count++;
  }
  vocab all;
  viva_status status = vocab_create(&rt->mem, entries, count, &all, error);
  mem_free(&rt->mem, entries);
  if (status != VIVA_OK) return status;
  vocab_destroy(&rt->mem, v);
  *v = all;
  return VIVA_OK;
}

/* Added tokens that the model's vocabulary has keep their id there; the others get the next ids in order of appearance, as
 * the reference gives them whatever the file says. It counts on from the number of tokens in the model, not from the largest
 * id. */
static viva_status place_added(runtime *rt, tokenizer_spec *spec, vocab *v, viva_error *error) {
  char quoted[QUOTE_SIZE];
  size_t missing = 0, bytes = 0;
  for (size_t i = 0; i < spec->added_count; i++) {
    spec_added *a = &spec->added[i];
    if (a->text.bytes == 0) continue;
    a->place = vocab_find(v, a->text.text, a->text.bytes);
    missing += a->place < 0;
    bytes += a->place < 0 ? a->text.bytes : 0;
  }
  if (v->count + missing > INT32_MAX)
    return error_set(error, VIVA_E_FORMAT, "%zu tokens: ids would not fit 31 bits", v->count + missing);
  if (missing && v->count == v->tokens) TRY(append_added(rt, spec, v, missing, bytes, error));
  if (missing && v->count != v->tokens) TRY(insert_added(rt, spec, v, missing, error));
  for (size_t i = 0; i < spec->added_count; i++) {
    const spec_added *a = &spec->added[i];
    if (a->text.bytes > 0 && a->id >= 0 && a->place != a->id)
      runtime_log(rt, VIVA_LOG_WARN,
                  "%s: added token '%s' has id %lld in the file; its place in the vocabulary is %lld", spec->path,
                  quote(quoted, a->text), (long long)a->id, (long long)a->place);
  }
  return VIVA_OK;
}

/* An id of the file that was not followed must not be another token's: then the file contradicts itself. */
static viva_status check_places(const tokenizer_spec *spec, const vocab *v, viva_error *error) {
  for (size_t i = 0; i < spec->added_count; i++) {
    const spec_added *a = &spec->added[i];
    if (a->text.bytes == 0 || a->place == a->id || !vocab_has(v, a->id) || (v->flags[a->place] & VOCAB_MODEL)) continue;
    char quoted[QUOTE_SIZE], other[QUOTE_SIZE];
    return error_set(error, VIVA_E_FORMAT, "added token '%s' has id %lld, which is that of '%s'",
                     quote(quoted, a->text), (long long)a->id, quote(other, vocab_text(v, (uint32_t)a->id)));
  }
  return VIVA_OK;
}

/* Of an added token that is described more than once the last description counts, as in the reference: marks the others
 * with an empty text. */
static viva_status drop_repeated(viva_tokenizer *t, tokenizer_spec *spec, viva_error *error) {
  uint32_t *last = mem_array(&t->rt->mem, t->vocab.count, sizeof *last);
  if (!last) return error_set(error, VIVA_E_MEMORY, "no memory for %zu added tokens", spec->added_count);
  for (size_t i = 0; i < spec->added_count; i++) {
    spec_added *a = &spec->added[i];
    if (a->text.bytes == 0) continue;
    uint32_t before = last[a->place];
    last[a->place] = (uint32_t)i + 1;
    if (before) spec->added[before - 1].text.bytes = 0;
  }
  mem_free(&t->rt->mem, last);
  return VIVA_OK;
}

/* What an added token is looked for as: its text, normalized when it is marked so. */
static viva_status added_text(viva_tokenizer *t, const spec_added *a, token_text *out, viva_error *error) {
  mem *m = &t->rt->mem;
  *out = vocab_text(&t->vocab, (uint32_t)a->place);
  if (!(a->flags & ADDED_NORMALIZED) || t->normal.count == 0) return VIVA_OK;
  regex_memory memory = {.mem = m};
  mapped buffers[2] = {{.mem = m}, {.mem = m}};
  text_view text;
  regex_allow(&memory, out->bytes);
  viva_status status =
      normalize(&t->normal, &memory, (text_view){(const uint8_t *)out->text, NULL, out->bytes}, buffers, &text, error);
  if (!status)
    status = allowance_work(&t->rt->allowed, regex_spent(&memory), "the patterns of its normalizer", NULL, error);
  int same = !status && text.count == out->bytes && memcmp(text.bytes, out->text, text.count) == 0;
  if (!status && !same) {
    const char *kept = arena_text(t->parts, text.count ? (const char *)text.bytes : "", text.count);
    if (!kept) status = error_set(error, VIVA_E_MEMORY, "no memory for an added token of %zu bytes", text.count);
    char quoted[QUOTE_SIZE];
    if (text.count == 0)
      status = error_set(error, VIVA_E_FORMAT, "added token '%s' is marked normalized, and nothing is left of it",
                         quote(quoted, *out));
    *out = (token_text){kept, text.count};
  }
  mapped_free(&buffers[0]);
  mapped_free(&buffers[1]);
  regex_memory_free(&memory);
  return status;
}

/* The decoder sees an added token as it is looked for. */
static viva_status rename_token(viva_tokenizer *t, uint32_t id, token_text text, viva_error *error) {
  if (!t->renamed) {
    t->renamed = mem_array(&t->rt->mem, t->vocab.count, sizeof *t->renamed);
    if (!t->renamed) return error_set(error, VIVA_E_MEMORY, "no memory for %zu tokens", t->vocab.count);
    for (uint32_t i = 0; i < t->vocab.count; i++) t->renamed[i] = vocab_text(&t->vocab, i);
  }
  t->renamed[id] = text;
  return VIVA_OK;
}

/* The reference skips special tokens by what the decoder sees of a token: the text of one of them. */
static void mark_special(viva_tokenizer *t, const tokenizer_spec *spec) {
  for (size_t i = 0; i < spec->added_count; i++)
    if (spec->added[i].text.bytes > 0 && (spec->added[i].flags & ADDED_SPECIAL))
      t->vocab.flags[spec->added[i].place] |= VOCAB_SKIPPED_TEXT;
  for (size_t i = 0; i < spec->added_count; i++) {
    if (spec->added[i].text.bytes == 0) continue;
    uint32_t id = (uint32_t)spec->added[i].place;
    token_text text = tokenizer_decoded_text(t, id);
    int64_t of = vocab_find(&t->vocab, text.text, text.bytes);
    if (of >= 0 && (t->vocab.flags[of] & VOCAB_SKIPPED_TEXT)) t->vocab.flags[id] |= VOCAB_SPECIAL;
  }
}

/* Sorts the added tokens into the two sets and marks the special ones. */
static viva_status compile_added(viva_tokenizer *t, tokenizer_spec *spec, viva_error *error) {
  mem *m = &t->rt->mem;
  size_t count[2] = {0, 0}, at[2] = {0, 0};
  TRY(drop_repeated(t, spec, error));
  for (size_t i = 0; i < spec->added_count; i++)
    if (spec->added[i].text.bytes > 0) count[(spec->added[i].flags & ADDED_NORMALIZED) != 0]++;
  added_token *tokens[2] = {mem_array(m, count[0], sizeof **tokens), mem_array(m, count[1], sizeof **tokens)};
  t->as_written.tokens = tokens[0]; /* owned from here on, whatever happens */
  t->normalized.tokens = tokens[1];
  if (!tokens[0] || !tokens[1])
    return error_set(error, VIVA_E_MEMORY, "no memory for %zu added tokens", spec->added_count);
  for (size_t i = 0; i < spec->added_count; i++) {
    const spec_added *a = &spec->added[i];
    if (a->text.bytes == 0) continue; /* never matches; the reference leaves it out */
    uint32_t id = (uint32_t)a->place;
    token_text text;
    int second = (a->flags & ADDED_NORMALIZED) != 0;
    TRY(added_text(t, a, &text, error));
    if (text.text != vocab_text(&t->vocab, id).text) TRY(rename_token(t, id, text, error));
    tokens[second][at[second]++] = (added_token){(const uint8_t *)text.text, text.bytes, (viva_token)id, a->flags};
  }
  mark_special(t, spec);
  TRY(added_create(m, &t->as_written, count[0], error));
  TRY(added_create(m, &t->normalized, count[1], error));
  for (int s = 0; s < 2; s++)
    for (size_t i = 1; i < count[s]; i++) {
      const added_token *a = &tokens[s][i - 1], *b = &tokens[s][i];
      char quoted[QUOTE_SIZE];
      if (a->bytes == b->bytes && memcmp(a->text, b->text, a->bytes) == 0)
        return error_set(error, VIVA_E_FORMAT, "two added tokens are looked for as '%s': ids %d and %d",
                         quote(quoted, (token_text){(const char *)a->text, a->bytes}), a->id, b->id);
    }
  return VIVA_OK;
}

static viva_status compile_frame(viva_tokenizer *t, const int64_t *ids, size_t count, viva_token **out,
                                 size_t *out_count, viva_error *error) {
  *out = mem_array(&t->rt->mem, count, sizeof **out);
  if (!*out) return error_set(error, VIVA_E_MEMORY, "no memory for %zu ids", count);
  for (size_t i = 0; i < count; i++) {
    if (!vocab_has(&t->vocab, ids[i]))
      return error_set(error, VIVA_E_FORMAT,
                       "the rule for added tokens names id %lld; the vocabulary has ids below %zu", (long long)ids[i],
                       t->vocab.count);
    (*out)[i] = (viva_token)ids[i];
  }
  *out_count = count;
  return VIVA_OK;
}

static viva_status check_id(const viva_tokenizer *t, const char *role, int64_t id, viva_error *error) {
  if (id == -1 || vocab_has(&t->vocab, id)) return VIVA_OK;
  return error_set(error, VIVA_E_FORMAT, "the %s token is id %lld; the vocabulary has ids below %zu", role,
                   (long long)id, t->vocab.count);
}

/* The id of a token that tokenizer_config.json names; -1: none, or not in the vocabulary. */
static int64_t named_id(const viva_tokenizer *t, const tokenizer_spec *spec, named_token which) {
  token_text text = spec->config->named[which];
  char quoted[QUOTE_SIZE];
  if (!text.text) return -1;
  int64_t id = vocab_find(&t->vocab, text.text, text.bytes);
  if (id < 0)
    runtime_log(t->rt, VIVA_LOG_WARN, "%s: tokenizer_config.json names '%s', which is not in the vocabulary",
                spec->path, quote(quoted, text));
  return id;
}

/* tokenizer_config.json names BOS and EOS, and says which of them stand around a text: as transformers 5 has it, when it
 * says so of one of them. */
static void apply_config(const viva_tokenizer *t, tokenizer_spec *spec) {
  const tokenizer_config *c = spec->config;
  if (!c) return;
  int64_t bos = named_id(t, spec, NAMED_BOS), eos = named_id(t, spec, NAMED_EOS);
  if (bos >= 0) spec->bos = bos;
  if (eos >= 0) spec->eos = eos;
  if (c->add_bos == TOKEN_UNSAID && c->add_eos == TOKEN_UNSAID) return;
  spec->prefix = &spec->bos;
  spec->prefix_count = c->add_bos == 1 && spec->bos >= 0;
  spec->suffix = &spec->eos;
  spec->suffix_count = c->add_eos == 1 && spec->eos >= 0;
  spec->add_bos = spec->prefix_count > 0;
}

/* The scanner that does what a stage does, or NULL. */
static split_scanner stage_scanner(const pre_stage *stage) {
  if (stage->kind != STAGE_SPLIT) return NULL;
  if (stage->pattern.kind == PATTERN_NUMERIC && !stage->invert) {
    if (stage->behavior == SPLIT_ISOLATED) return split_each_digit;
    return stage->behavior == SPLIT_CONTIGUOUS ? split_digit_runs : NULL;
  }
  /* The known patterns leave nothing between their matches, so removing what does not match isolates the matches. */
  int isolates = stage->behavior == SPLIT_ISOLATED || (stage->behavior == SPLIT_REMOVED && stage->invert);
  if (stage->pattern.kind == PATTERN_REGEX) return stage->behavior == SPLIT_ISOLATED ? stage->pattern.scanner : NULL;
  return stage->pattern.kind == PATTERN_SCANNER && isolates ? stage->pattern.scanner : NULL;
}

static void compile_pretokenizer(const tokenizer_spec *spec, pretokenizer *pre) {
  size_t count = spec->stage_count;
  pre->byte_level = count > 0 && spec->stages[count - 1].kind == STAGE_ALPHABET;
  if (pre->byte_level) count--;
  pre->stages = spec->stages;
  pre->count = count;
  pre->only_scanners = count <= SPLIT_MAX_STAGES;
  for (size_t i = 0; i < count; i++) {
    const pre_stage *stage = &spec->stages[i];
    split_scanner scanner = stage_scanner(stage);
    pre->only_scanners &= scanner != NULL;
    if (pre->only_scanners) split_add(&pre->rule, scanner);
    pre->needs_first |= stage->kind == STAGE_METASPACE && stage->scheme == PREPEND_FIRST;
  }
}

static viva_status keep_text(arena *a, token_text *text, viva_error *error) {
  if (!text->text) return VIVA_OK;
  text->text = arena_text(a, text->text, text->bytes);
  return text->text ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for a tokenizer");
}

static viva_status compile_model(viva_tokenizer *t, const tokenizer_spec *spec, viva_error *error) {
  bpe_rules rules = spec->rules;
  rules.byte_level = t->pre.byte_level;
  TRY(keep_text(t->parts, &rules.unknown, error));
  TRY(keep_text(t->parts, &rules.prefix, error));
  TRY(keep_text(t->parts, &rules.suffix, error));
  if (rules.byte_level) TRY(vocab_index_bytes(&t->rt->mem, &t->vocab, error));
  TRY(bpe_create(&t->rt->mem, &t->vocab, &rules, spec->merges.merges, spec->merges.count, &t->bpe, error));
  return joints_create(&t->rt->mem, &t->bpe, &t->joints, error);
}

static viva_status compile_decoder(viva_tokenizer *t, const tokenizer_spec *spec, viva_error *error) {
  mem *m = &t->rt->mem;
  token_text *texts = t->renamed ? t->renamed : mem_array(m, t->vocab.count, sizeof *texts);
  if (!texts) return error_set(error, VIVA_E_MEMORY, "no memory for %zu tokens", t->vocab.count);
  if (!t->renamed)
    for (uint32_t id = 0; id < t->vocab.count; id++) texts[id] = vocab_text(&t->vocab, id);
  viva_status status =
      decode_table_create(t->rt, spec->decode_ops, spec->decode_count, &t->vocab, texts, &t->decode, error);
  if (!t->renamed) mem_free(m, texts);
  return status;
}

static viva_status compile_parts(viva_tokenizer *t, tokenizer_spec *spec, viva_error *error) {
  t->vocab = spec->vocab;
  spec->vocab = (vocab){0};
  TRY(place_added(t->rt, spec, &t->vocab, error));
  TRY(check_places(spec, &t->vocab, error));
  compile_pretokenizer(spec, &t->pre);
  t->normal = spec->normal;
  TRY(compile_model(t, spec, error));
  TRY(compile_added(t, spec, error));
  TRY(compile_decoder(t, spec, error));
  apply_config(t, spec);
  TRY(compile_frame(t, spec->prefix, spec->prefix_count, &t->prefix, &t->prefix_count, error));
  TRY(compile_frame(t, spec->suffix, spec->suffix_count, &t->suffix, &t->suffix_count, error));
  TRY(check_id(t, "bos", spec->bos, error));
  TRY(check_id(t, "eos", spec->eos, error));
  t->bos = (viva_token)spec->bos;
  t->eos = (viva_token)spec->eos;
  t->add_bos = spec->add_bos;
  t->trim_count = spec->trim_count;
  memcpy(t->trim_prefix_space, spec->trim_prefix_space, sizeof t->trim_prefix_space);
  cuts_find(t, &t->cuts);
  blanks_find(&t->normal, &t->pre, &t->bpe, &t->joints, &t->blanks);
  return known_create(&t->rt->mem, &t->bpe, t->blanks.mark, &t->known, error);
}

viva_status tokenizer_compile(runtime *rt, tokenizer_spec *spec, viva_tokenizer **out, viva_error *error) {
  *out = NULL;
  viva_tokenizer *t = mem_zalloc(&rt->mem, sizeof *t);
  if (!t) return error_set(error, VIVA_E_MEMORY, "no memory for a tokenizer");
  t->rt = runtime_retain(rt);
  t->parts = spec->parts;
  spec->parts = NULL;
  atomic_init(&t->references, 1);
  viva_status status = compile_parts(t, spec, error);
  if (status != VIVA_OK) {
    error_at(error, spec->path, NULL, 0, VIVA_NO_OFFSET);
    viva_tokenizer_release(t);
    return status;
  }
  *out = t;
  return VIVA_OK;
}
