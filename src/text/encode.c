/* Encoding: text → (added tokens | pieces) → ids.
 *
 *   text ─ invalid UTF-8 replaced ─ added tokens as written ─ NFC ─ normalized added tokens ─ pre-tokenizer ─ BPE
 *
 * Each stage sees only what the one before left over, as in the reference.
 */
#include <string.h>

#include "base/num.h"
#include "text/compile.h"
#include "text/unicode.h"

viva_encode_options viva_encode_options_default(void) {
  return (viva_encode_options){.size = sizeof(viva_encode_options)};
}

/* One call: scratch memory and where the ids go. */
typedef struct encoding {
  const viva_tokenizer *t;
  mem *mem;
  bpe_scratch bpe;
  uint8_t *prefixed; /* a piece with a space in front (ByteLevel's add_prefix_space) */
  size_t prefixed_capacity;
  int match_special;
  const uint8_t *marks; /* NULL, or for each byte of the text whether it can not be a special token's */
  id_sink sink;
} encoding;

/* One piece of the stages, under add_prefix_space. */
static viva_status encode_prefixed(encoding *e, const uint8_t *piece, size_t bytes, viva_error *error) {
  if (bytes + 1 > e->prefixed_capacity) {
    size_t capacity = 2 * bytes + 64;
    uint8_t *grown = mem_resize(e->mem, e->prefixed, capacity);
    if (!grown) return error_set(error, VIVA_E_MEMORY, "no memory to encode a word of %zu bytes", bytes);
    e->prefixed = grown;
    e->prefixed_capacity = capacity;
  }
  size_t length = 0;
  if (piece[0] != ' ') e->prefixed[length++] = ' ';
  memcpy(e->prefixed + length, piece, bytes);
  length += bytes;
  split_scanner scanner = e->t->pre.prefix_scanner;
  for (size_t at = 0; at < length;) {
    size_t end = scanner ? scanner(e->prefixed, at, length) : length;
    TRY(bpe_encode(&e->t->bpe, &e->bpe, e->prefixed + at, end - at, &e->sink, error));
    at = end;
  }
  return VIVA_OK;
}

/* Text without added tokens. */
static viva_status encode_plain(encoding *e, const uint8_t *text, size_t bytes, viva_error *error) {
  const pretokenizer *pre = &e->t->pre;
  split_pieces pieces;
  size_t begin, end;
  split_begin(&pieces, pre, text, bytes);
  while (split_next(&pieces, &begin, &end)) {
    if (pre->prefix_space)
      TRY(encode_prefixed(e, text + begin, end - begin, error));
    else
      TRY(bpe_encode(&e->t->bpe, &e->bpe, text + begin, end - begin, &e->sink, error));
  }
  return VIVA_OK;
}

/* Text without added tokens as written, normalized. */
static viva_status encode_normalized(encoding *e, const uint8_t *text, size_t bytes, const uint8_t *marks,
                                     viva_error *error) {
  added_scan scan;
  size_t begin, end;
  viva_token id;
  added_begin(&scan, &e->t->normalized, text, bytes, e->match_special);
  scan.marks = marks;
  do {
    added_next(&scan, &begin, &end, &id);
    if (end > begin) TRY(encode_plain(e, text + begin, end - begin, error));
    if (id >= 0) id_put(&e->sink, (uint32_t)id);
  } while (id >= 0);
  return VIVA_OK;
}

static viva_status encode_rest(encoding *e, const uint8_t *text, size_t bytes, const uint8_t *marks,
                               viva_error *error) {
  const uint8_t *normal = text;
  size_t normal_bytes = bytes;
  int match_special = e->match_special;
  if (e->t->nfc && unicode_nfc(e->mem, text, bytes, &normal, &normal_bytes))
    return error_set(error, VIVA_E_MEMORY, "no memory to normalize a text of %zu bytes", bytes);
  if (marks && normal != text) { /* bytes have moved: where some are marked, none can be a special token's */
    if (memchr(marks, 1, bytes) != NULL) e->match_special = 0;
    marks = NULL;
  }
  viva_status status = encode_normalized(e, normal, normal_bytes, marks, error);
  e->match_special = match_special;
  if (normal != text) mem_free(e->mem, (void *)(uintptr_t)normal);
  return status;
}

static viva_status encode_valid(encoding *e, const uint8_t *text, size_t bytes, viva_error *error) {
  added_scan scan;
  size_t begin, end;
  viva_token id;
  added_begin(&scan, &e->t->as_written, text, bytes, e->match_special);
  scan.marks = e->marks;
  do {
    added_next(&scan, &begin, &end, &id);
    if (end > begin) TRY(encode_rest(e, text + begin, end - begin, e->marks ? e->marks + begin : NULL, error));
    if (id >= 0) id_put(&e->sink, (uint32_t)id);
  } while (id >= 0);
  return VIVA_OK;
}

/* Copies text with U+FFFD for each maximal invalid part; returns the length. out NULL: only counts. */
static size_t replace_invalid(const char *text, size_t bytes, uint8_t *out) {
  size_t length = 0;
  for (size_t at = 0; at < bytes;) {
    uint32_t code;
    size_t invalid, n = utf8_decode(text + at, bytes - at, &code, &invalid);
    if (out) memcpy(out + length, n ? text + at : "\xef\xbf\xbd", n ? n : 3);
    length += n ? n : 3;
    at += n ? n : invalid;
  }
  return length;
}

static viva_status encode_any(encoding *e, const char *text, size_t bytes, viva_error *error) {
  if (utf8_valid(text, bytes)) return encode_valid(e, (const uint8_t *)text, bytes, error);
  size_t length = replace_invalid(text, bytes, NULL);
  uint8_t *valid = mem_alloc(e->mem, length);
  if (!valid) return error_set(error, VIVA_E_MEMORY, "no memory for a copy of a text of %zu bytes", bytes);
  replace_invalid(text, bytes, valid);
  viva_status status = encode_valid(e, valid, length, error);
  mem_free(e->mem, valid);
  return status;
}

static viva_status encode_text(const viva_tokenizer *tokenizer, const char *text, size_t bytes, const uint8_t *marks,
                               const viva_encode_options *o, viva_token *ids, size_t capacity, size_t *count,
                               viva_error *error) {
  encoding e = {.t = tokenizer,
                .mem = &tokenizer->rt->mem,
                .match_special = o->match_special,
                .marks = marks,
                .sink = {ids, capacity, 0}};
  e.bpe.mem = e.mem;
  *count = 0;
  if (o->add_special)
    for (size_t i = 0; i < tokenizer->prefix_count; i++) id_put(&e.sink, (uint32_t)tokenizer->prefix[i]);
  viva_status status = bytes ? encode_any(&e, text, bytes, error) : VIVA_OK;
  if (o->add_special)
    for (size_t i = 0; i < tokenizer->suffix_count; i++) id_put(&e.sink, (uint32_t)tokenizer->suffix[i]);
  bpe_scratch_free(&e.bpe);
  mem_free(e.mem, e.prefixed);
  if (status != VIVA_OK) return status;
  *count = e.sink.count;
  if (e.sink.count > capacity)
    return error_set(error, VIVA_E_SIZE, "the text has %zu ids; there is room for %zu", e.sink.count, capacity);
  return VIVA_OK;
}

viva_status viva_tokenizer_encode(const viva_tokenizer *tokenizer, const char *text, size_t bytes,
                                  const viva_encode_options *options, viva_token *ids, size_t capacity, size_t *count,
                                  viva_error *error) {
  viva_encode_options o = viva_encode_options_default();
  if (options) {
    if (options->size < sizeof o)
      return error_set(error, VIVA_E_ARGUMENT, "options->size is %zu, not %zu", options->size, sizeof o);
    o = *options;
  }
  if (!tokenizer || !count || (!text && bytes > 0) || (!ids && capacity > 0))
    return error_set(error, VIVA_E_ARGUMENT, "tokenizer, count, text and ids must not be NULL");
  return encode_text(tokenizer, text, bytes, NULL, &o, ids, capacity, count, error);
}

viva_status tokenizer_encode_marked(const viva_tokenizer *t, const char *text, size_t bytes, const uint8_t *marks,
                                    viva_token *ids, size_t capacity, size_t *count, viva_error *error) {
  viva_encode_options o = viva_encode_options_default();
  o.match_special = 1;
  if (!utf8_valid(text, bytes)) return error_set(error, VIVA_E_FORMAT, "the text is not UTF-8");
  return encode_text(t, text, bytes, marks, &o, ids, capacity, count, error);
}
