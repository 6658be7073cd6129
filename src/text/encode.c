/* Encoding: text → (added tokens | pieces) → ids.
 *
 *   text ─ invalid UTF-8 replaced ─ added tokens as written ─ normalizer ─ normalized added tokens ─ pre-tokenizer ─ BPE
 *
 * Each stage sees only what the one before left over, as in the reference.
 */
#include "text/encode.h"

#include <string.h>

#include "base/num.h"
#include "base/options.h"
#include "text/unicode.h"

viva_encode_options viva_encode_options_default(void) {
  return (viva_encode_options){.size = sizeof(viva_encode_options)};
}

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory to encode a text");
}

/* The pieces of blocks, as far as those go. */
static viva_status encode_block(word_run *run, split_block block, text_view text, size_t *at, viva_error *error) {
  const uint8_t *from = text.bytes + *at;
  /* A block goes up to the first character beyond ASCII: one that is near makes it a waste. */
  const uint64_t starts = text.count - *at >= SPLIT_BLOCK && !bytes16_beyond_ascii(from) ? block(from) : 0;
  if (!starts) return VIVA_OK;
  *at += (size_t)(63 - __builtin_clzll(starts));
  return words_next_block(run, from, starts, error);
}

static inline size_t find_word(const split_rule *rule, const uint8_t *text, size_t at, size_t end) {
  if (rule->words == WORDS_PLAIN) return split_word(text, at, end);
  return rule->words == WORDS_CASED ? split_cased_word(text, at, end) : 0;
}

/* Pieces one after the other, as a rule of scanners cuts them. */
static viva_status encode_split(encoding *e, text_view text, viva_error *error) {
  const split_rule *rule = &e->t->pre.rule;
  split_scanner only = rule->stage_count == 1 ? rule->stages[0] : NULL;
  word_run run;
  words_begin(&run, &e->words, text.bytes + text.count);
  split_pieces pieces;
  split_begin(&pieces, rule, text.bytes, text.count);
  for (size_t at = 0, end, begin; at < text.count; at = end) {
    if (rule->block) {
      begin = at;
      TRY(encode_block(&run, rule->block, text, &at, error));
      if ((end = at) > begin) continue;
    }
    end = find_word(rule, text.bytes, at, text.count);
    if (end)
      split_skip(&pieces, end);
    else if (only)
      end = only(text.bytes, at, text.count);
    else
      (void)split_next(&pieces, &begin, &end);
    TRY(words_next(&run, text.bytes + at, end - at, error));
  }
  return words_flush(&run, error);
}

/* Pieces that were cut before. */
static viva_status encode_list(encoding *e, text_view text, const text_piece *list, size_t count, viva_error *error) {
  word_run run;
  words_begin(&run, &e->words, text.bytes + text.count);
  for (size_t i = 0; i < count; i++)
    TRY(words_next(&run, text.bytes + list[i].begin, list[i].end - list[i].begin, error));
  return words_flush(&run, error);
}

/* Text without added tokens. begins: it begins the whole text. */
static viva_status encode_plain(encoding *e, text_view text, int begins, viva_error *error) {
  const pretokenizer *pre = &e->t->pre;
  size_t begin, end, count;
  if (pre->only_scanners) {
    if (!e->offsets && pre->rule.stage_count > 0) return encode_split(e, text, error);
    split_pieces pieces;
    split_begin(&pieces, &pre->rule, text.bytes, text.count);
    if (!e->offsets) return encode_list(e, text, &(text_piece){0, text.count}, 1, error);
    while (split_next(&pieces, &begin, &end)) TRY(encode_piece_offsets(e, view_part(text, begin, end), error));
    return VIVA_OK;
  }
  const text_piece *list;
  encode_memory *memory = e->memory;
  regex_allow(&memory->regexes, text.count);
  TRY(pretokenize(pre, &memory->pre, &memory->regexes, text, begins, &text, &list, &count, error));
  if (!e->offsets) return encode_list(e, text, list, count, error);
  for (size_t i = 0; i < count; i++) TRY(encode_piece_offsets(e, view_part(text, list[i].begin, list[i].end), error));
  return VIVA_OK;
}

static viva_status put_added(encoding *e, text_view text, const added_match *match, viva_error *error) {
  if (e->blanks) return words_put_token(e->blanks, (uint32_t)match->id, error);
  if (e->offsets) encode_added_offsets(e, view_part(text, match->token_begin, match->token_end));
  id_put(&e->sink, (uint32_t)match->id);
  return VIVA_OK;
}

/* Whether special tokens are matched in text, which normalization made of before; *marks: where they are not. Where bytes
 * have moved, marks no longer say where: then one mark keeps all of before from being a special token. */
static int special_in(const encoding *e, text_view text, text_view before, const uint8_t **marks) {
  const uint8_t *whole = (const uint8_t *)e->text;
  if (!e->marks) return e->match_special;
  int same = text.bytes >= before.bytes && text.bytes + text.count <= before.bytes + before.count;
  if (same) *marks = e->marks + (text.bytes - whole);
  return e->match_special && (same || memchr(e->marks + (before.bytes - whole), 1, before.count) == NULL);
}

/* Text without added tokens as written, normalized. */
static viva_status encode_normalized(encoding *e, text_view text, text_view before, int begins, viva_error *error) {
  added_scan scan;
  added_match match;
  const uint8_t *marks = NULL;
  added_begin(&scan, &e->t->normalized, &e->memory->added[1], text.bytes, text.count,
              special_in(e, text, before, &marks));
  scan.marks = marks;
  do {
    TRY(added_next(&scan, &match, error));
    if (match.end > match.begin)
      TRY(encode_plain(e, view_part(text, match.begin, match.end), begins && match.begin == 0, error));
    if (match.id >= 0) TRY(put_added(e, text, &match, error));
  } while (match.id >= 0);
  return VIVA_OK;
}

/* A word of more bytes than are remembered: written with marks, and cut at joints. */
static viva_status encode_long_blank(encoding *e, normalizer n, const uint8_t *from, size_t bytes, viva_error *error) {
  text_view text;
  TRY(normalize(&n, &e->memory->regexes, (text_view){from, NULL, bytes}, e->memory->normal, &text, error));
  e->words.blank = (token_text){NULL, 0};
  viva_status status = encode_list(e, text, &(text_piece){0, text.count}, 1, error);
  e->words.blank = e->t->blanks.mark;
  return status;
}

/* The first word of a text, which the mark is put in front of: a space there is written as the mark is. */
static viva_status encode_first_blank(encoding *e, const uint8_t *from, size_t bytes, viva_error *error) {
  uint8_t spaced[BLANK_WORD_BYTES] = " ";
  if (bytes >= BLANK_WORD_BYTES) return encode_long_blank(e, e->t->normal, from, bytes, error);
  memcpy(spaced + 1, from, bytes);
  text_view text = {spaced, NULL, sizeof spaced};
  return encode_list(e, text, &(text_piece){0, bytes + 1}, 1, error);
}

/* A word's bytes as it is written, if it is of more than a word that is remembered may have, but may be gathered; else 0. */
static size_t written_bytes(const word_run *run, const uint8_t *from, size_t bytes) {
  size_t written = bytes, more = run->w->blank.bytes - 1;
  if (bytes > GATHERED_BYTES || run->most < BLANK_WORD_BYTES) return 0;
  for (size_t i = 0; i < bytes; i++) written += from[i] == ' ' ? more : 0;
  return written <= GATHERED_BYTES ? written : 0;
}

/* Text without added tokens, word by word as it is given. */
static viva_status encode_blanks(encoding *e, text_view text, int prepends, viva_error *error) {
  const normalizer marks = {e->t->normal.ops + e->t->normal.count - 1, 1};
  const blanks *b = &e->t->blanks;
  word_run *run = e->blanks;
  for (size_t at = 0, end; at < text.count; at = end) {
    const uint8_t *from = text.bytes + at;
    end = blanks_word(b, &e->t->joints, text.bytes, at, text.count);
    if (end - at <= BLANK_WORD_BYTES && !prepends) {
      TRY(words_next(run, from, end - at, error));
      continue;
    }
    if (!prepends && written_bytes(run, from, end - at)) {
      TRY(words_put(run, from, end - at, error));
      continue;
    }
    TRY(words_flush(run, error));
    TRY(prepends ? encode_first_blank(e, from, end - at, error) : encode_long_blank(e, marks, from, end - at, error));
    prepends = 0;
  }
  return VIVA_OK;
}

/* May words be taken from a text that is not normalized? */
static int has_blanks(const encoding *e) {
  const added_set *normalized = &e->t->normalized;
  int none_match = normalized->count == 0 || (normalized->all_special && !e->match_special);
  return e->t->blanks.mark.text && !e->offsets && e->memory->words.words && none_match;
}

static viva_status encode_rest(encoding *e, text_view text, int begins, viva_error *error) {
  encode_memory *memory = e->memory;
  text_view before = text;
  if (e->blanks) return encode_blanks(e, text, e->t->blanks.prepends && !(e->continues && begins), error);
  regex_allow(&memory->regexes, text.count);
  normalizer n = e->t->normal;
  if (e->continues && begins && n.count > 0 && n.ops[0].kind == NORMAL_PREPEND)
    n = (normalizer){n.ops + 1, n.count - 1};
  TRY(normalize(&n, &memory->regexes, text, memory->normal, &text, error));
  begins = begins && !e->continues;
  return text.count ? encode_normalized(e, text, before, begins, error) : VIVA_OK;
}

static viva_status encode_parts(encoding *e, text_view text, viva_error *error) {
  added_scan scan;
  added_match match;
  added_begin(&scan, &e->t->as_written, &e->memory->added[0], text.bytes, text.count, e->match_special);
  scan.marks = e->marks; /* then the text is valid, and is what they are for */
  do {
    TRY(added_next(&scan, &match, error));
    if (match.end > match.begin) TRY(encode_rest(e, view_part(text, match.begin, match.end), match.begin == 0, error));
    if (match.id >= 0) TRY(put_added(e, text, &match, error));
  } while (match.id >= 0);
  return VIVA_OK;
}

static viva_status encode_valid(encoding *e, text_view text, viva_error *error) {
  word_run run;
  if (!has_blanks(e)) return encode_parts(e, text, error);
  e->words.blank = e->t->blanks.mark;
  words_begin(&run, &e->words, text.bytes + text.count);
  e->blanks = &run;
  viva_status status = encode_parts(e, text, error);
  e->blanks = NULL;
  return status == VIVA_OK ? words_flush(&run, error) : status;
}

#define REPLACED_AT_ONCE 65536 /* bytes */

/* Where the last character of text[0 .. bytes) begins, if it may go on behind it; else bytes. */
static size_t before_cut(const char *text, size_t bytes) {
  for (size_t back = 1; back < 4 && back <= bytes; back++)
    if (((uint8_t)text[bytes - back] & 0xc0) == 0xc0) return bytes - back;
  return bytes;
}

/* Copies text with U+FFFD for each maximal invalid part. */
static viva_status replace_plain(const char *text, size_t bytes, mapped *out, viva_error *error) {
  for (size_t at = 0, end; at < bytes; at = end) {
    end = bytes - at <= REPLACED_AT_ONCE ? bytes : at + before_cut(text + at, REPLACED_AT_ONCE);
    if (mapped_reserve(out, 3 * (end - at) + 1)) return no_memory(error);
    out->count += utf8_replace(text + at, end - at, (char *)out->bytes + out->count);
  }
  return VIVA_OK;
}

/* The same with origins. */
static viva_status replace_mapped(const char *text, size_t bytes, mapped *out, viva_error *error) {
  for (size_t at = 0; at < bytes;) {
    size_t invalid, valid = utf8_valid_bytes(text + at, bytes - at, &invalid);
    if (mapped_reserve(out, valid + 3)) return no_memory(error);
    mapped_identity((const uint8_t *)text + at, valid, at, out->origins + out->count);
    memcpy(out->bytes + out->count, text + at, valid);
    out->count += valid;
    at += valid;
    if (at == bytes) break;
    if (mapped_put(out, UTF8_REPLACEMENT, 3, (origin){at, at + invalid})) return no_memory(error);
    at += invalid;
  }
  return VIVA_OK;
}

#define NOISE_SHARE 4 /* of a text of which so much grows, by bytes that are replaced, no words come back */

static viva_status encode_any(encoding *e, const char *text, size_t bytes, viva_error *error) {
  mapped *whole = &e->memory->whole;
  text_view view = {(const uint8_t *)text, NULL, bytes};
  whole->count = 0;
  if (!utf8_valid(text, bytes)) {
    TRY(whole->with_origins ? replace_mapped(text, bytes, whole, error) : replace_plain(text, bytes, whole, error));
    view = mapped_view(whole);
    e->words.is_noise = whole->count - bytes >= bytes / NOISE_SHARE;
  } else if (whole->with_origins) {
    if (mapped_reserve(whole, bytes)) return no_memory(error);
    mapped_identity(view.bytes, bytes, 0, whole->origins);
    view.origins = whole->origins;
  }
  return encode_valid(e, view, error);
}

static void put_frame(encoding *e, const viva_token *ids, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (e->offsets && e->sink.count < e->sink.capacity) e->offsets[e->sink.count] = (viva_span){0, 0};
    id_put(&e->sink, (uint32_t)ids[i]);
  }
}

#define WORTH_REMEMBERING 512 /* bytes of text from which the memory of words pays */

static viva_status encode_text(encoding *e, const char *text, size_t bytes, const encode_request *request,
                               viva_error *error) {
  const viva_tokenizer *t = e->t;
  /* Where something moved text before a stage that asks for its begin, origins tell where it was. */
  int moves = t->pre.needs_first && (t->normal.count > 0 || t->pre.count > 1);
  e->memory = encode_memory_take(t, e->offsets || moves);
  if (!e->memory) return no_memory(error);
  if (bytes >= WORTH_REMEMBERING && word_memory_create(&e->memory->words)) {
    encode_memory_give(t, e->memory);
    return no_memory(error);
  }
  e->words = (word_encoder){.bpe = &t->bpe,
                            .joints = &t->joints,
                            .known = &t->known,
                            .memory = &e->memory->words,
                            .batch = &e->memory->batch,
                            .scratch = &e->memory->bpe,
                            .sink = &e->sink};
  e->text = text;
  e->bytes = bytes;
  if (request->prefix) put_frame(e, t->prefix, t->prefix_count);
  e->first = e->sink.count;
  viva_status status = bytes ? encode_any(e, text, bytes, error) : VIVA_OK;
  if (request->suffix) put_frame(e, t->suffix, t->suffix_count);
  encode_memory_give(t, e->memory);
  return status;
}

viva_status encode_options_take(const viva_encode_options *options, encode_request *out, viva_error *error) {
  viva_encode_options o = viva_encode_options_default();
  TRY(options_read(&o, options, "viva_encode_options", error));
  *out = (encode_request){.match_special = o.match_special, .prefix = o.add_special, .suffix = o.add_special};
  out->offsets = o.offsets;
  return VIVA_OK;
}

static viva_status run(encoding *e, const encode_request *request, const char *text, size_t bytes, size_t *count,
                       viva_error *error) {
  *count = 0;
  TRY(encode_text(e, text, bytes, request, error));
  *count = e->sink.count;
  if (e->sink.count <= e->sink.capacity) return VIVA_OK;
  return error_set(error, VIVA_E_SIZE, "the text has %zu ids; there is room for %zu", e->sink.count, e->sink.capacity);
}

viva_status encode_request_run(const viva_tokenizer *t, const encode_request *request, const char *text, size_t bytes,
                               viva_token *ids, size_t capacity, size_t *count, viva_error *error) {
  encoding e = {
      .t = t, .match_special = request->match_special, .continues = request->continues, .offsets = request->offsets};
  e.sink = (id_sink){ids, capacity, 0, NULL};
  return run(&e, request, text, bytes, count, error);
}

viva_status viva_tokenizer_encode(const viva_tokenizer *tokenizer, const char *text, size_t bytes,
                                  const viva_encode_options *options, viva_token *ids, size_t capacity, size_t *count,
                                  viva_error *error) {
  encode_request request;
  TRY(encode_options_take(options, &request, error));
  if (!tokenizer || !count || (!text && bytes > 0) || (!ids && capacity > 0))
    return error_set(error, VIVA_E_ARGUMENT, "tokenizer, count, text and ids must not be NULL");
  return encode_request_run(tokenizer, &request, text, bytes, ids, capacity, count, error);
}

viva_status tokenizer_encode_marked(const viva_tokenizer *t, const char *text, size_t bytes, const uint8_t *marks,
                                    viva_token *ids, size_t capacity, size_t *count, viva_error *error) {
  const encode_request request = {.match_special = 1};
  encoding e = {.t = t, .match_special = 1, .marks = marks};
  *count = 0;
  if (!utf8_valid(text, bytes)) return error_set(error, VIVA_E_FORMAT, "the text is not UTF-8");
  e.sink = (id_sink){ids, capacity, 0, NULL};
  return run(&e, &request, text, bytes, count, error);
}
