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
  mem_free(m, b->near_pairs);
  mem_free(m, b->pages);
  mem_free(m, b->page_ids);
  bpe_tree_destroy(m, &b->tree);
  b->near_pairs = NULL;
  b->pages = NULL;
  b->page_ids = NULL;
}

/* ---- pairs of first symbols ---- */

#define ROW_NONE BPE_ROWS

static int is_blank(const uint8_t *text, size_t bytes) {
  return bytes >= 3 && text[0] == 0xe2 && text[1] == 0x96 && text[2] == 0x81; /* BPE_BLANK_CODE */
}

/* Of the symbol that a token is by itself; ROW_NONE: none, or any other character. */
static uint32_t row_of(const bpe *b, uint32_t id) {
  const uint8_t *text = bpe_token_text(b, id);
  size_t bytes = bpe_token_bytes(b, id);
  if (bytes == 1 && text[0] < b->near_bytes) return b->byte_ids[text[0]] == id ? text[0] : ROW_NONE;
  if (b->rules.byte_level || bytes != 3 || !is_blank(text, bytes)) return ROW_NONE;
  return bpe_character(b, BPE_BLANK_CODE) == id ? BPE_BLANK_ROW : ROW_NONE;
}

/* Of a text's first symbol. */
static uint32_t begin_row(const bpe *b, const uint8_t *text, size_t bytes) {
  if (text[0] < b->near_bytes) return text[0];
  return is_blank(text, bytes) ? BPE_BLANK_ROW : BPE_OTHER_ROW;
}

static uint32_t first_row(const bpe *b, uint32_t id) {
  return begin_row(b, bpe_token_text(b, id), bpe_token_bytes(b, id));
}

static uint32_t last_row(const bpe *b, uint32_t id) {
  const uint8_t *text = bpe_token_text(b, id);
  size_t bytes = bpe_token_bytes(b, id), at = bytes - 1;
  while (!b->rules.byte_level && at > 0 && (text[at] & 0xc0) == 0x80) at--;
  return begin_row(b, text + at, bytes - at);
}

/* Is the token's text <0xNN>? */
static int is_byte_name(const bpe *b, uint32_t id) {
  return bpe_token_bytes(b, id) == 6 && memcmp(bpe_token_text(b, id), "<0x", 3) == 0;
}

/* The table while it is made. */
typedef struct near_build {
  bpe *b;
  const merge_ids *merges;
  size_t merge_count;
  bpe_near_pair **made; /* [vocab count] the pair that becomes a token; NULL: none of this table */
} near_build;

static void put_ranks(near_build *n) {
  bpe *b = n->b;
  for (size_t i = 0; i < n->merge_count; i++) {
    const merge_ids *merge = &n->merges[i];
    const uint32_t left = row_of(b, merge->left), right = left < ROW_NONE ? row_of(b, merge->right) : ROW_NONE;
    if (right == ROW_NONE) continue;
    bpe_near_pair *pair = &b->near_pairs[left * BPE_ROWS + right];
    pair->rank = (uint32_t)i;
    pair->merged = merge->result;
    n->made[merge->result] = pair;
  }
}

static void bound(uint32_t *least, uint32_t rank) {
  if (rank < *least) *least = rank;
}

/* A merge bounds the pairs that begin in its left one's last symbol, and end in its right one's first: when it takes a first
 * symbol there, or what a pair of two becomes before that pair has come, as lists have it that were made of tokens. */
static void put_bounds(near_build *n) {
  const bpe *b = n->b;
  for (uint32_t i = 0; i < n->merge_count; i++) {
    const uint32_t left = n->merges[i].left, right = n->merges[i].right;
    if (bpe_token_bytes(b, left) == 0 || bpe_token_bytes(b, right) == 0) continue;
    const bpe_near_pair *made_left = n->made[left], *made_right = n->made[right];
    bpe_near_pair *between = &b->near_pairs[last_row(b, left) * BPE_ROWS + first_row(b, right)];
    if (row_of(b, right) < ROW_NONE || (made_right && made_right->rank > i)) bound(&between->left, i);
    if (row_of(b, left) < ROW_NONE || (made_left && made_left->rank > i)) bound(&between->right, i);
  }
}

/* Words begin as pairs of bytes, of which those of one script fit a near cache. Where a character of ASCII is no token, the one
 * for its byte takes its place: so none of those may merge. */
static viva_status create_near_pairs(mem *m, bpe *b, const merge_ids *merges, size_t merge_count, viva_error *error) {
  if (!b->complete || merge_count > BPE_NEAR_RANKS) return VIVA_OK;
  b->near_bytes = b->rules.byte_level ? 256 : 128;
  for (size_t i = 0; i < merge_count && !b->rules.byte_level; i++)
    if (is_byte_name(b, merges[i].left) || is_byte_name(b, merges[i].right)) return VIVA_OK;
  near_build n = {b, merges, merge_count, mem_array(m, b->vocab->count, sizeof(const bpe_near_pair *))};
  b->near_pairs = mem_alloc(m, (size_t)BPE_ROWS * BPE_ROWS * sizeof *b->near_pairs);
  if (!b->near_pairs || !n.made) {
    mem_free(m, n.made);
    return error_set(error, VIVA_E_MEMORY, "no memory for a table of pairs");
  }
  for (size_t i = 0; i < (size_t)BPE_ROWS * BPE_ROWS; i++)
    b->near_pairs[i] = (bpe_near_pair){BPE_NEAR_NONE, 0, BPE_NEAR_NONE, BPE_NEAR_NONE};
  put_ranks(&n);
  put_bounds(&n);
  mem_free(m, n.made);
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
  TRY(create_near_pairs(m, b, merges, merge_count, error));
  b->lanes = lane_usable(b);
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
