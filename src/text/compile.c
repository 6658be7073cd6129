#include "text/compile.h"

#include <string.h>

#include "text/unicode.h"

#define QUOTE_SIZE 80

static const char *quote(char buffer[QUOTE_SIZE], token_text t) {
  return error_quote(buffer, QUOTE_SIZE, t.text, t.bytes);
}

int split_merge(token_text merge, token_text parts[2]) {
  const char *space = merge.bytes ? memchr(merge.text, ' ', merge.bytes) : NULL;
  if (!space) return 1;
  size_t left = (size_t)(space - merge.text), right = merge.bytes - left - 1;
  if (right > 0 && memchr(space + 1, ' ', right)) return 1;
  parts[0] = (token_text){merge.text, left};
  parts[1] = (token_text){space + 1, right};
  return 0;
}

/* The later ones of added tokens with one text are left out, as the reference leaves them out. */
static viva_status drop_doubles(runtime *rt, tokenizer_spec *spec, viva_error *error) {
  mem *m = &rt->mem;
  char quoted[QUOTE_SIZE];
  size_t count = spec->added_count, kept = 0;
  added_set set = {0};
  added_token *tokens = mem_array(m, count, sizeof *tokens);
  unsigned char *doubles = mem_array(m, count + 1, 1);
  if (!tokens || !doubles) {
    mem_free(m, tokens);
    mem_free(m, doubles);
    return error_set(error, VIVA_E_MEMORY, "no memory for %zu added tokens", count);
  }
  for (size_t i = 0; i < count; i++)
    tokens[i] = (added_token){(const uint8_t *)spec->added[i].text.text, spec->added[i].text.bytes, (viva_token)i, 0};
  added_create(&set, tokens, count);
  /* Equal texts lie beside each other now, in any order: of each run the one that came first in the file stays. */
  for (size_t i = 1, first = 0; i < count; i++) {
    const added_token *a = &set.tokens[i - 1], *b = &set.tokens[i];
    int same = a->bytes == b->bytes && memcmp(a->text, b->text, a->bytes) == 0;
    if (!same) first = i;
    if (!same || b->bytes == 0) continue;
    viva_token keep = set.tokens[first].id < b->id ? set.tokens[first].id : b->id;
    doubles[keep == b->id ? set.tokens[first].id : b->id] = 1;
    set.tokens[first].id = keep;
  }
  for (size_t i = 0; i < count; i++) {
    if (doubles[i])
      runtime_log(rt, VIVA_LOG_WARN, "%s: added token '%s' is there twice; the first counts", spec->path,
                  quote(quoted, spec->added[i].text));
    else
      spec->added[kept++] = spec->added[i];
  }
  spec->added_count = kept;
  mem_free(m, doubles);
  added_destroy(m, &set);
  return VIVA_OK;
}

/* Puts the added tokens into the list of entries: those that the model's vocabulary (known) has keep their id there;
 * the others get the next ids in order of appearance, as the reference gives them whatever the file says. */
static void place_added(runtime *rt, tokenizer_spec *spec, const vocab *known) {
  char quoted[QUOTE_SIZE];
  /* The reference counts on from the number of tokens in the model, not from the largest id. */
  int64_t next = (int64_t)spec->entry_count;
  for (size_t i = 0; i < spec->added_count; i++) {
    spec_added *a = &spec->added[i];
    if (a->text.bytes == 0) continue;
    a->place = vocab_find(known, a->text.text, a->text.bytes);
    if (a->place < 0) {
      a->place = next++;
      spec->entries[spec->entry_count++] = (vocab_entry){a->text, (uint32_t)a->place, 0};
    }
    if (a->place != a->id)
      runtime_log(rt, VIVA_LOG_WARN,
                  "%s: added token '%s' has id %lld in the file; its place in the vocabulary is %lld", spec->path,
                  quote(quoted, a->text), (long long)a->id, (long long)a->place);
  }
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

/* The model's vocabulary is compiled first, to look the added tokens up; when all are in it, it is the vocabulary. */
static viva_status compile_vocab(runtime *rt, tokenizer_spec *spec, vocab *out, viva_error *error) {
  size_t model_count = spec->entry_count;
  TRY(drop_doubles(rt, spec, error));
  TRY(vocab_create(&rt->mem, spec->entries, model_count, out, error));
  place_added(rt, spec, out);
  if (spec->entry_count > model_count) {
    vocab_destroy(&rt->mem, out);
    TRY(vocab_create(&rt->mem, spec->entries, spec->entry_count, out, error));
  }
  return check_places(spec, out, error);
}

/* A token that is looked for after normalization would have to be normalized itself; none that changes is known. */
static viva_status check_normal(mem *m, token_text text, viva_error *error) {
  const uint8_t *normal;
  size_t bytes;
  if (unicode_nfc(m, (const uint8_t *)text.text, text.bytes, &normal, &bytes))
    return error_set(error, VIVA_E_MEMORY, "no memory to normalize a token of %zu bytes", text.bytes);
  int same = bytes == text.bytes && memcmp(normal, text.text, bytes) == 0;
  if (normal != (const uint8_t *)text.text) mem_free(m, (void *)(uintptr_t)normal);
  char quoted[QUOTE_SIZE];
  return same ? VIVA_OK
              : error_set(error, VIVA_E_UNSUPPORTED, "added token '%s' is marked normalized, and NFC changes it",
                          quote(quoted, text));
}

/* Sorts the added tokens into the two sets and marks the special ones. */
static viva_status compile_added(viva_tokenizer *t, tokenizer_spec *spec, viva_error *error) {
  mem *m = &t->rt->mem;
  size_t count[2] = {0, 0}, at[2] = {0, 0};
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
    token_text text = vocab_text(&t->vocab, id);
    int second = (a->flags & ADDED_NORMALIZED) != 0;
    if (second && spec->nfc) TRY(check_normal(m, text, error));
    if (a->flags & ADDED_SPECIAL) t->vocab.flags[id] |= VOCAB_SPECIAL;
    tokens[second][at[second]++] = (added_token){(const uint8_t *)text.text, text.bytes, (viva_token)id, a->flags};
  }
  added_create(&t->as_written, tokens[0], count[0]);
  added_create(&t->normalized, tokens[1], count[1]);
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

/* The token for bytes that the vocabulary lacks. It matters, and must exist, only when there are such bytes. */
static viva_status compile_unknown(viva_tokenizer *t, const tokenizer_spec *spec, viva_error *error) {
  int complete = 1;
  for (int byte = 0; byte < 256; byte++) complete &= t->bpe.byte_ids[byte] != BPE_NO_ID;
  if (complete) return VIVA_OK;
  if (spec->byte_fallback)
    return error_set(error, VIVA_E_UNSUPPORTED,
                     "model: byte_fallback with a vocabulary that lacks single bytes is not supported");
  if (!spec->unknown.text) return VIVA_OK;
  int64_t id = vocab_find(&t->vocab, spec->unknown.text, spec->unknown.bytes);
  char quoted[QUOTE_SIZE];
  if (id < 0 || !(t->vocab.flags[id] & VOCAB_MODEL))
    return error_set(error, VIVA_E_FORMAT, "the unknown token '%s' is not in the vocabulary, which lacks single bytes",
                     quote(quoted, spec->unknown));
  t->bpe.unknown = (uint32_t)id;
  t->bpe.fuse_unknown = spec->fuse_unknown;
  return VIVA_OK;
}

static viva_status compile_parts(viva_tokenizer *t, tokenizer_spec *spec, viva_error *error) {
  for (size_t i = 0; i < spec->entry_count; i++) spec->entries[i].flags |= VOCAB_MODEL;
  TRY(compile_vocab(t->rt, spec, &t->vocab, error));
  if (spec->ignore_merges) TRY(vocab_index_bytes(&t->rt->mem, &t->vocab, error));
  TRY(bpe_create(&t->rt->mem, &t->vocab, spec->merges, spec->merge_count, &t->bpe, error));
  t->bpe.ignore_merges = spec->ignore_merges;
  TRY(compile_unknown(t, spec, error));
  TRY(compile_added(t, spec, error));
  TRY(compile_frame(t, spec->prefix, spec->prefix_count, &t->prefix, &t->prefix_count, error));
  TRY(compile_frame(t, spec->suffix, spec->suffix_count, &t->suffix, &t->suffix_count, error));
  TRY(check_id(t, "bos", spec->bos, error));
  TRY(check_id(t, "eos", spec->eos, error));
  t->pre = spec->pre;
  t->nfc = spec->nfc;
  t->bos = (viva_token)spec->bos;
  t->eos = (viva_token)spec->eos;
  t->add_bos = spec->add_bos;
  return VIVA_OK;
}

viva_status tokenizer_compile(runtime *rt, tokenizer_spec *spec, viva_tokenizer **out, viva_error *error) {
  *out = NULL;
  viva_tokenizer *t = mem_zalloc(&rt->mem, sizeof *t);
  if (!t) return error_set(error, VIVA_E_MEMORY, "no memory for a tokenizer");
  t->rt = runtime_retain(rt);
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
