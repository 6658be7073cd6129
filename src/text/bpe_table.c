/* The tables of merging: pairs, and the first symbols of a piece. */
#include <string.h>

#include "base/num.h"
#include "text/bpe_lane.h"
#include "text/bpe_pairs.h"
#include "text/bpe_tree.h"
#include "text/unicode.h"

#define QUOTE_SIZE 80

/* An id of the model's own vocabulary: merges do not see tokens that were only added. */
static int64_t find_in_model(const vocab *v, const char *text, size_t bytes) {
  int64_t id = vocab_find(v, text, bytes);
  return id >= 0 && (v->flags[id] & VOCAB_MODEL) ? id : -1;
}

/* ---- first symbols ---- */

static uint32_t id_of(const vocab *v, const char *text, size_t bytes) {
  int64_t id = find_in_model(v, text, bytes);
  return id < 0 ? BPE_NO_ID : (uint32_t)id;
}

static void find_byte_ids(bpe *b) {
  static const char digits[] = "0123456789ABCDEF";
  for (uint32_t byte = 0; byte < 256; byte++) {
    char text[4], fallback[6] = "<0x00>";
    uint32_t code = b->rules.byte_level ? byte_alphabet_char((uint8_t)byte) : byte;
    b->byte_ids[byte] = code < 0x80 || b->rules.byte_level ? id_of(b->vocab, text, utf8_encode(code, text)) : BPE_NO_ID;
    fallback[3] = digits[byte >> 4];
    fallback[4] = digits[byte & 15];
    b->fallback_ids[byte] = b->rules.byte_fallback ? id_of(b->vocab, fallback, sizeof fallback) : BPE_NO_ID;
    b->near_ids[byte] = b->byte_ids[byte] != BPE_NO_ID ? b->byte_ids[byte] : b->fallback_ids[byte];
  }
}

/* The one character that a token is, or BPE_NO_ID. */
static uint32_t only_character(token_text t) {
  uint32_t code;
  if (t.bytes == 0 || t.bytes > 4) return BPE_NO_ID;
  return unicode_read((const uint8_t *)t.text, &code) == t.bytes ? code : BPE_NO_ID;
}

#define PAGES (0x110000 >> 8)

/* A table of two levels: no hash, so no collisions. */
static viva_status create_characters(mem *m, bpe *b, viva_error *error) {
  const vocab *v = b->vocab;
  size_t count = 1;
  b->pages = mem_array(m, PAGES, sizeof *b->pages);
  if (!b->pages) return error_set(error, VIVA_E_MEMORY, "no memory for a table of characters");
  for (uint32_t id = 0; id < v->count; id++) {
    uint32_t code = v->flags[id] & VOCAB_MODEL ? only_character(vocab_text(v, id)) : BPE_NO_ID;
    if (code != BPE_NO_ID && !b->pages[code >> 8]) b->pages[code >> 8] = (uint16_t)count++;
  }
  b->page_ids = mem_alloc(m, count * 256 * sizeof *b->page_ids);
  if (!b->page_ids) return error_set(error, VIVA_E_MEMORY, "no memory for a table of characters");
  memset(b->page_ids, 0xff, count * 256 * sizeof *b->page_ids);
  for (uint32_t id = 0; id < v->count; id++) {
    uint32_t code = v->flags[id] & VOCAB_MODEL ? only_character(vocab_text(v, id)) : BPE_NO_ID;
    if (code != BPE_NO_ID) b->page_ids[(size_t)b->pages[code >> 8] << 8 | (code & 255)] = id;
  }
  return VIVA_OK;
}

/* Symbols that are being collected, with the reference's rule for unknown ones: an unknown waits until a known symbol
 * follows it (or the end), and bytes do not count as one. */
typedef struct symbol_list {
  uint32_t *ids, *lengths;
  size_t count;
  size_t waiting; /* bytes of the unknown that waits; 0: none */
} symbol_list;

static void put(symbol_list *list, uint32_t id, size_t length) {
  if (list->lengths) list->lengths[list->count] = (uint32_t)length;
  list->ids[list->count++] = id;
}

static void put_waiting(const bpe *b, symbol_list *list) {
  if (list->waiting) put(list, b->unknown, list->waiting);
  list->waiting = 0;
}

/* One symbol: its id, or its spelling (with affixes) when the vocabulary lacks it. */
static void put_symbol(const bpe *b, symbol_list *list, uint32_t id, const char *text, size_t bytes, size_t length) {
  if (id != BPE_NO_ID) {
    put_waiting(b, list);
    put(list, id, length);
    return;
  }
  if (b->rules.byte_fallback) {
    size_t known = 0;
    while (known < bytes && b->fallback_ids[(uint8_t)text[known]] != BPE_NO_ID) known++;
    if (known == bytes) {
      for (size_t i = 0; i < bytes; i++) put(list, b->fallback_ids[(uint8_t)text[i]], 1);
      return;
    }
  }
  if (b->unknown == BPE_NO_ID) return;
  if (!b->rules.fuse_unknown) put_waiting(b, list);
  list->waiting += length;
}

#define AFFIX_MOST 64 /* bytes of prefix and suffix together */

/* Symbols with affixes are looked up by their text. */
static void put_affixed(const bpe *b, symbol_list *list, const char *text, size_t bytes, int is_first, int is_last) {
  char whole[AFFIX_MOST + 4];
  size_t n = 0;
  if (!is_first && b->rules.prefix.bytes > 0) { /* an affix that is not there has no text */
    memcpy(whole, b->rules.prefix.text, b->rules.prefix.bytes);
    n = b->rules.prefix.bytes;
  }
  memcpy(whole + n, text, bytes);
  n += bytes;
  if (is_last && b->rules.suffix.bytes > 0) {
    memcpy(whole + n, b->rules.suffix.text, b->rules.suffix.bytes);
    n += b->rules.suffix.bytes;
  }
  put_symbol(b, list, id_of(b->vocab, whole, n), whole, n, bytes);
}

size_t bpe_symbols(const bpe *b, const uint8_t *piece, size_t bytes, uint32_t *ids, uint32_t *lengths) {
  symbol_list list = {ids, lengths, 0, 0};
  int affixed = b->rules.prefix.bytes || b->rules.suffix.bytes;
  if (b->rules.byte_level && b->complete && !lengths && !affixed) {
    for (size_t i = 0; i < bytes; i++) ids[i] = b->byte_ids[piece[i]];
    return bytes;
  }
  for (size_t at = 0, n = 1; at < bytes; at += n) {
    char spelled[4];
    const char *text = (const char *)piece + at;
    size_t length;
    uint32_t code, id = BPE_NO_ID;
    if (b->rules.byte_level) {
      length = utf8_encode(byte_alphabet_char(piece[at]), spelled);
      text = spelled;
      id = b->byte_ids[piece[at]];
    } else {
      length = n = unicode_read(piece + at, &code);
      if (!affixed) id = code < 0x80 ? b->byte_ids[code] : bpe_character(b, code);
    }
    if (affixed)
      put_affixed(b, &list, text, length, at == 0, at + n == bytes);
    else
      put_symbol(b, &list, id, text, length, length);
  }
  put_waiting(b, &list);
  return list.count;
}

/* Is there a token for whatever a piece may hold? *complete: and just one for each byte (byte-level) or character of ASCII. */
static int find_complete(const bpe *b, int *complete) {
  int bytes = 1, fallback = 1, affixed = b->rules.prefix.bytes || b->rules.suffix.bytes;
  for (int byte = 0; byte < 256; byte++) {
    bytes &= b->byte_ids[byte] != BPE_NO_ID;
    fallback &= b->fallback_ids[byte] != BPE_NO_ID;
  }
  *complete = !affixed && (b->rules.byte_level ? bytes : fallback);
  return !affixed && (fallback || *complete);
}

static viva_status find_unknown(bpe *b, viva_error *error) {
  char quoted[QUOTE_SIZE];
  token_text unknown = b->rules.unknown;
  b->unknown = unknown.text ? id_of(b->vocab, unknown.text, unknown.bytes) : BPE_NO_ID;
  int none_unknown = find_complete(b, &b->complete);
  if (!unknown.text || b->unknown != BPE_NO_ID || none_unknown) return VIVA_OK;
  return error_set(error, VIVA_E_FORMAT, "the unknown token '%s' is not in the vocabulary, which lacks single %s",
                   error_quote(quoted, sizeof quoted, unknown.text, unknown.bytes),
                   b->rules.byte_level ? "bytes" : "characters");
}

void bpe_destroy(mem *m, bpe *b) {
  bpe_pairs_destroy(m, b);
  mem_free(m, b->symbol_ranks);
  mem_free(m, b->pages);
  mem_free(m, b->page_ids);
  bpe_tree_destroy(m, &b->tree);
  b->symbol_ranks = NULL;
  b->pages = NULL;
  b->page_ids = NULL;
}

/* The byte that is a token of its own, by its id; BYTE_NONE: several or none. */
#define BYTE_NONE 256
static uint32_t byte_of(const bpe *b, uint32_t id) {
  const uint8_t *text = bpe_token_text(b, id);
  size_t bytes = bpe_token_bytes(b, id);
  if (bytes != 1 || text[0] >= b->near_bytes) return BYTE_NONE;
  return b->byte_ids[text[0]] == id ? text[0] : BYTE_NONE;
}

/* Is the token's text <0xNN>? */
static int is_byte_name(const bpe *b, uint32_t id) {
  return bpe_token_bytes(b, id) == 6 && memcmp(bpe_token_text(b, id), "<0x", 3) == 0;
}

/* Words begin as pairs of bytes, of which those of one script fit a near cache. Where a character of ASCII is no token, the one
 * for its byte takes its place: so none of those may merge. */
static viva_status create_symbol_ranks(mem *m, bpe *b, const merge_ids *merges, size_t merge_count, viva_error *error) {
  if (!b->complete) return VIVA_OK;
  b->near_bytes = b->rules.byte_level ? 256 : 128;
  for (size_t i = 0; i < merge_count && !b->rules.byte_level; i++)
    if (is_byte_name(b, merges[i].left) || is_byte_name(b, merges[i].right)) return VIVA_OK;
  b->symbol_ranks = mem_alloc(m, 256 * 256 * sizeof *b->symbol_ranks);
  if (!b->symbol_ranks) return error_set(error, VIVA_E_MEMORY, "no memory for a table of pairs");
  memset(b->symbol_ranks, 0xff, 256 * 256 * sizeof *b->symbol_ranks); /* BPE_NO_RANK */
  for (size_t i = 0; i < merge_count; i++) {
    uint32_t left = byte_of(b, merges[i].left);
    uint32_t right = left < BYTE_NONE ? byte_of(b, merges[i].right) : BYTE_NONE;
    if (right < BYTE_NONE) b->symbol_ranks[left << 8 | right] = (uint32_t)i;
  }
  return VIVA_OK;
}

static viva_status create(mem *m, bpe *b, const merge_ids *merges, size_t merge_count, viva_error *error) {
  if (b->rules.prefix.bytes + b->rules.suffix.bytes > AFFIX_MOST)
    return error_set(error, VIVA_E_UNSUPPORTED,
                     "a continuing_subword_prefix and end_of_word_suffix of more than %d bytes", AFFIX_MOST);
  TRY(bpe_pairs_create(m, b, merges, merge_count, error));
  if (!b->rules.byte_level) TRY(create_characters(m, b, error));
  find_byte_ids(b);
  /* Where a symbol's bytes each become a token, a byte of the alphabet can be two, and an affix some more on each. */
  b->most_symbols = 1;
  if (b->rules.byte_fallback && b->rules.byte_level) b->most_symbols = 2;
  if (b->rules.byte_fallback) b->most_symbols += b->rules.prefix.bytes;
  TRY(find_unknown(b, error));
  TRY(create_symbol_ranks(m, b, merges, merge_count, error));
  b->lanes = lane_usable(b, merge_count);
  TRY(bpe_tree_create(m, b, merges, merge_count, error));
  bpe_find_whole(b);
  return VIVA_OK;
}

viva_status bpe_create(mem *m, const vocab *v, const bpe_rules *rules, const merge_ids *merges, size_t merge_count,
                       bpe *out, viva_error *error) {
  *out = (bpe){.vocab = v, .rules = *rules};
  viva_status status = create(m, out, merges, merge_count, error);
  if (status != VIVA_OK) bpe_destroy(m, out);
  return status;
}
