/* A tokenizer from Mistral's tekken.json.
 *
 *   { "config": { "pattern", "default_vocab_size", "default_num_special_tokens", "version" },
 *     "vocab": [{ "rank": 0, "token_bytes": base64, "token_str" }, ...] in the order of their ranks,
 *     "special_tokens": [{ "rank": 0, "token_str": "<unk>", "is_control" }, ...]; files before version 7 may lack it }
 *
 * Special tokens come first, filled up with <SPECIAL_n>; rank r of vocab has id default_num_special_tokens + r, and what
 * lies beyond default_vocab_size is left out. A piece that is a token is taken whole; else two neighbours merge when
 * their bytes together are a token, the lowest rank first: as merges, each way to cut a token in two tokens, in the order
 * of the token's rank, then of the left part's and the right part's (transformers' MistralConverter).
 */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "text/tokenizer_files.h"

#define QUOTE_SIZE   80
#define TOKEN_MOST   512 /* bytes of a token: each of its cuts is looked up; the longest in use has 128 */
#define SPECIAL_MOST 65536

typedef struct tekken {
  runtime *rt;
  arena *arena;
  json j;
  json_string pattern;
  int64_t vocab_size, special_count; /* -1: not said */
  json_tokens ranks;                 /* entries: vocab, spelled in the byte alphabet; ids are ranks */
  json_tokens special;               /* entries, by rank */
  int has_special;
  token_text *merges; /* [2 · merge_count] */
  size_t merge_count, merge_room;
  vocab by_rank;
  tokenizer_spec spec;
} tekken;

/* Special tokens of files that do not list them (mistral_common, DEPRECATED_SPECIAL_TOKENS). */
static const char *const early_special[] = {"<unk>",
                                            "<s>",
                                            "</s>",
                                            "[INST]",
                                            "[/INST]",
                                            "[AVAILABLE_TOOLS]",
                                            "[/AVAILABLE_TOOLS]",
                                            "[TOOL_RESULTS]",
                                            "[/TOOL_RESULTS]",
                                            "[TOOL_CALLS]",
                                            "[IMG]",
                                            "<pad>",
                                            "[IMG_BREAK]",
                                            "[IMG_END]",
                                            "[PREFIX]",
                                            "[MIDDLE]",
                                            "[SUFFIX]",
                                            "[SYSTEM_PROMPT]",
                                            "[/SYSTEM_PROMPT]",
                                            "[TOOL_CONTENT]"};

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory to read tekken.json");
}

static int base64_value(char c) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char *at = c ? strchr(digits, c) : NULL;
  return at ? (int)(at - digits) : -1;
}

/* Whole groups of four, padded with '='; unused bits are zero. Returns the number of bytes, 0 when it is not base64. out
 * has room for 3 · (bytes / 4). */
static size_t base64_decode(json_string s, uint8_t *out) {
  size_t count = 0, padding = 0;
  if (s.bytes == 0 || s.bytes % 4) return 0;
  while (padding < 2 && s.text[s.bytes - 1 - padding] == '=') padding++;
  for (size_t at = 0; at < s.bytes; at += 4) {
    uint32_t bits = 0;
    size_t digits = at + 4 == s.bytes ? 4 - padding : 4;
    for (size_t i = 0; i < 4; i++) {
      int value = i < digits ? base64_value(s.text[at + i]) : 0;
      if (value < 0) return 0;
      bits = bits << 6 | (uint32_t)value;
    }
    if ((digits == 3 && bits & 0xff) || (digits == 2 && bits & 0xffff)) return 0;
    for (size_t i = 0; i + 1 < digits; i++) out[count++] = (uint8_t)(bits >> (16 - 8 * i));
  }
  return count;
}

/* token_bytes in the byte alphabet. */
static viva_status spell(tekken *k, json_string encoded, token_text *out, viva_error *error) {
  uint8_t bytes[TOKEN_MOST];
  char spelled[2 * TOKEN_MOST];
  if (encoded.bytes / 4 > sizeof bytes / 3)
    return error_set(error, VIVA_E_UNSUPPORTED, "a token of more than %zu bytes is not supported",
                     sizeof bytes / 3 * 3);
  size_t count = base64_decode(encoded, bytes), at = 0;
  if (count == 0) return json_fail(&k->j, error, "token_bytes is not base64 of at least one byte");
  for (size_t i = 0; i < count; i++) at += utf8_encode(byte_alphabet_char(bytes[i]), spelled + at);
  *out = (token_text){arena_text(k->arena, spelled, at), at};
  return out->text ? VIVA_OK : no_memory(error);
}

/* One element of vocab (key "token_bytes") or special_tokens (key "token_str"): its rank and the text under the key. */
static viva_status take_token(json *j, const char *text_key, uint64_t *rank, json_string *text, viva_error *error) {
  json_string key;
  *rank = UINT64_MAX;
  *text = (json_string){0};
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    if (json_string_is(key, "rank"))
      TRY(json_take_u64(j, rank, error));
    else if (json_string_is(key, text_key))
      TRY(json_take_string(j, text, error));
    else
      TRY(json_skip(j, error));
  }
  TRY(json_leave(j, error));
  if (*rank == UINT64_MAX || !text->text) return json_fail(j, error, "a token needs rank and %s", text_key);
  return VIVA_OK;
}

static viva_status read_vocab(tekken *k, viva_error *error) {
  json *j = &k->j;
  TRY(json_enter_array(j, error));
  while (json_next_element(j)) {
    uint64_t rank;
    json_string encoded;
    TRY(take_token(j, "token_bytes", &rank, &encoded, error));
    if (rank != k->ranks.entry_count)
      return json_fail(j, error, "expected rank %zu, found %llu", k->ranks.entry_count, (unsigned long long)rank);
    vocab_entry entry = {.id = (uint32_t)rank};
    TRY(spell(k, encoded, &entry.text, error));
    TRY(json_tokens_entry(&k->ranks, entry, error));
  }
  return json_leave(j, error);
}

static viva_status read_special(tekken *k, viva_error *error) {
  json *j = &k->j;
  if (json_peek(j) == JSON_NULL) return json_take_null(j, error);
  k->has_special = 1;
  TRY(json_enter_array(j, error));
  while (json_next_element(j)) {
    uint64_t rank;
    json_string text;
    TRY(take_token(j, "token_str", &rank, &text, error));
    if (rank >= SPECIAL_MOST || text.bytes == 0)
      return json_fail(j, error, "a special token needs a text and a rank below %d", SPECIAL_MOST);
    TRY(json_tokens_entry(&k->special, (vocab_entry){json_text(text), (uint32_t)rank, 0}, error));
  }
  return json_leave(j, error);
}

static viva_status read_config(tekken *k, viva_error *error) {
  json *j = &k->j;
  json_string key;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    int is_size = json_string_is(key, "default_vocab_size");
    if (json_string_is(key, "pattern")) {
      TRY(json_take_string(j, &k->pattern, error));
    } else if ((is_size || json_string_is(key, "default_num_special_tokens")) && json_peek(j) != JSON_NULL) {
      uint64_t value;
      TRY(json_take_u64(j, &value, error));
      if (value > INT32_MAX) return json_fail(j, error, "%llu tokens are too many", (unsigned long long)value);
      *(is_size ? &k->vocab_size : &k->special_count) = (int64_t)value;
    } else {
      TRY(json_skip(j, error));
    }
  }
  return json_leave(j, error);
}

static viva_status read_file(tekken *k, viva_error *error) {
  json *j = &k->j;
  json_string key;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    if (json_string_is(key, "config"))
      TRY(read_config(k, error));
    else if (json_string_is(key, "vocab"))
      TRY(read_vocab(k, error));
    else if (json_string_is(key, "special_tokens"))
      TRY(read_special(k, error));
    else
      TRY(json_skip(j, error));
  }
  TRY(json_leave(j, error));
  TRY(json_finish(j, error));
  if (k->pattern.text && k->ranks.entry_count) return VIVA_OK;
  return error_set(error, VIVA_E_FORMAT, "expected a tekken.json, found no config with a pattern or no vocab in it");
}

/* Special tokens of every rank below special_count. */
static viva_status fill_special(tekken *k, viva_error *error) {
  enum { EARLY = sizeof early_special / sizeof *early_special };
  for (size_t i = 0; !k->has_special && i < EARLY; i++)
    TRY(json_tokens_entry(&k->special, (vocab_entry){{early_special[i], strlen(early_special[i])}, (uint32_t)i, 0},
                          error));
  size_t listed = k->special.entry_count;
  if (k->special_count < 0) k->special_count = (int64_t)listed;
  if (listed > (size_t)k->special_count || k->special_count > SPECIAL_MOST)
    return error_set(error, VIVA_E_FORMAT, "default_num_special_tokens is %lld, with %zu special tokens (at most %d)",
                     (long long)k->special_count, listed, SPECIAL_MOST);
  for (size_t i = 0; i < listed; i++)
    if (k->special.entries[i].id >= listed)
      return error_set(error, VIVA_E_FORMAT, "special token rank %u, but there are only %zu", k->special.entries[i].id,
                       listed);
  for (size_t i = listed; i < (size_t)k->special_count; i++) {
    char text[32];
    size_t bytes = (size_t)snprintf(text, sizeof text, "<SPECIAL_%zu>", i);
    token_text kept = {arena_text(k->arena, text, bytes), bytes};
    if (!kept.text) return no_memory(error);
    TRY(json_tokens_entry(&k->special, (vocab_entry){kept, (uint32_t)i, 0}, error));
  }
  return VIVA_OK;
}

static viva_status cut_ranks(tekken *k, viva_error *error) {
  if (k->vocab_size < 0) return VIVA_OK;
  int64_t inner = k->vocab_size - k->special_count;
  if (inner < 0 || (uint64_t)inner > k->ranks.entry_count)
    return error_set(error, VIVA_E_FORMAT,
                     "default_vocab_size is %lld, with %lld special tokens and %zu tokens in vocab",
                     (long long)k->vocab_size, (long long)k->special_count, k->ranks.entry_count);
  k->ranks.entry_count = (size_t)inner;
  return VIVA_OK;
}

typedef struct token_cut {
  uint32_t left, right; /* ranks */
  token_text texts[2];
} token_cut;

static int comes_before(const token_cut *a, const token_cut *b) {
  return a->left != b->left ? a->left < b->left : a->right < b->right;
}

/* The ways to cut a token, sorted. Returns how many. */
static size_t cut_token(const vocab *v, token_text t, token_cut *list) {
  size_t count = 0;
  for (size_t at = 1; at < t.bytes; at++) {
    if (((uint8_t)t.text[at] & 0xc0) == 0x80) continue;
    int64_t left = vocab_find(v, t.text, at);
    int64_t right = left < 0 ? -1 : vocab_find(v, t.text + at, t.bytes - at);
    if (right < 0) continue;
    token_cut c = {(uint32_t)left, (uint32_t)right, {{t.text, at}, {t.text + at, t.bytes - at}}};
    size_t to = count++;
    for (; to > 0 && comes_before(&c, &list[to - 1]); to--) list[to] = list[to - 1];
    list[to] = c;
  }
  return count;
}

static viva_status make_merges(tekken *k, viva_error *error) {
  token_cut list[TOKEN_MOST];
  mem *m = &k->rt->mem;
  TRY(vocab_create(m, k->ranks.entries, k->ranks.entry_count, &k->by_rank, error));
  for (size_t i = 0; i < k->ranks.entry_count; i++) {
    token_text t = k->ranks.entries[i].text;
    TRY(allowance_work(&k->rt->allowed, (uint64_t)t.bytes * t.bytes, "cutting tokens in two", NULL, error));
    size_t count = cut_token(&k->by_rank, t, list);
    for (size_t c = 0; c < count; c++) {
      TRY(list_grow(m, &k->merges, k->merge_count, &k->merge_room, 2 * sizeof *k->merges, error));
      memcpy(&k->merges[2 * k->merge_count++], list[c].texts, sizeof list[c].texts);
    }
  }
  return VIVA_OK;
}

/* The whole vocabulary, in ranks.entries: a token that is spelled as a special one gives way to it, in merges too. */
static viva_status join_vocab(tekken *k, viva_error *error) {
  size_t kept = 0;
  for (size_t i = 0; i < k->special.entry_count; i++) {
    token_text t = k->special.entries[i].text;
    int64_t same = vocab_find(&k->by_rank, t.text, t.bytes);
    if (same >= 0) k->ranks.entries[same].text.bytes = 0;
  }
  for (size_t i = 0; i < k->ranks.entry_count; i++) {
    vocab_entry entry = k->ranks.entries[i];
    entry.id += (uint32_t)k->special_count;
    if (entry.text.bytes) k->ranks.entries[kept++] = entry;
  }
  k->ranks.entry_count = kept;
  for (size_t i = 0; i < k->special.entry_count; i++) {
    vocab_entry s = k->special.entries[i];
    TRY(json_tokens_entry(&k->ranks, s, error));
    TRY(json_tokens_add(&k->ranks, (spec_added){.text = s.text, .id = s.id, .flags = ADDED_SPECIAL}, error));
  }
  TRY(spec_take_vocab(k->rt, &k->spec, k->ranks.entries, k->ranks.entry_count, error));
  for (size_t i = 0; i < k->merge_count; i++)
    TRY(merges_add(&k->spec.merges, k->merges[2 * i], k->merges[2 * i + 1], error));
  return merges_end(&k->spec.merges, error);
}

static viva_status set_rules(tekken *k, viva_error *error) {
  static const decode_op byte_level[] = {{.kind = DECODE_BYTE_LEVEL}};
  tokenizer_spec *spec = &k->spec;
  pre_stage *stages = arena_alloc(spec->parts, 2 * sizeof *stages);
  if (!stages) return no_memory(error);
  stages[0] = (pre_stage){.kind = STAGE_SPLIT};
  stages[1] = (pre_stage){.kind = STAGE_ALPHABET};
  TRY(pattern_from_regex(spec->parts, k->pattern.text, k->pattern.bytes, &stages[0].pattern, error));
  spec->stages = stages;
  spec->stage_count = 2;
  spec->rules.ignore_merges = 1;
  spec->decode_ops = byte_level;
  spec->decode_count = 1;
  return VIVA_OK;
}

/* <s> in front of a text, as in the tokenizer.json of Mistral's models. */
static void set_frame(tekken *k) {
  tokenizer_spec *spec = &k->spec;
  for (size_t i = 0; i < k->special.entry_count; i++) {
    token_text t = k->special.entries[i].text;
    if (t.bytes == 3 && memcmp(t.text, "<s>", 3) == 0) spec->bos = k->special.entries[i].id;
    if (t.bytes == 4 && memcmp(t.text, "</s>", 4) == 0) spec->eos = k->special.entries[i].id;
  }
  spec->prefix = &spec->bos;
  spec->prefix_count = spec->bos >= 0;
  spec->add_bos = spec->bos >= 0;
}

static viva_status from_tekken(tekken *k, text_file file, viva_tokenizer **out, viva_error *error) {
  tokenizer_spec *spec = &k->spec;
  k->arena = arena_create(&k->rt->mem, 64 * 1024);
  spec->parts = arena_create(&k->rt->mem, 1024);
  if (!k->arena || !spec->parts) return no_memory(error);
  json_begin(&k->j, k->rt, k->arena, file.path, file.text, file.bytes);
  TRY(read_file(k, error));
  TRY(fill_special(k, error));
  TRY(cut_ranks(k, error));
  TRY(make_merges(k, error));
  TRY(join_vocab(k, error));
  TRY(set_rules(k, error));
  set_frame(k);
  spec->added = k->ranks.added;
  spec->added_count = k->ranks.added_count;
  return tokenizer_compile(k->rt, spec, out, error);
}

viva_status tokenizer_from_tekken(runtime *rt, text_file file, const tokenizer_config *config, viva_tokenizer **out,
                                  viva_error *error) {
  *out = NULL;
  tekken *k = mem_zalloc(&rt->mem, sizeof *k);
  if (!k) return no_memory(error);
  k->rt = rt;
  k->ranks.mem = k->special.mem = &rt->mem;
  k->vocab_size = k->special_count = -1;
  k->spec = (tokenizer_spec){.path = file.path, .bos = -1, .eos = -1, .config = config};
  viva_status status = from_tekken(k, file, out, error);
  if (status != VIVA_OK) error_at(error, file.path, NULL, 0, VIVA_NO_OFFSET);
  vocab_destroy(&rt->mem, &k->by_rank);
  json_tokens_free(&k->ranks);
  json_tokens_free(&k->special);
  mem_free(&rt->mem, k->merges);
  arena_free(k->arena);
  spec_free(rt, &k->spec);
  mem_free(&rt->mem, k);
  return status;
}
