#include "text/known.h"

static uint64_t *line_of(const known_tokens *k, uint64_t hash) {
  return k->lines + (size_t)((hash >> 32) * k->line_count >> 32) * KNOWN_LINE;
}

void known_find(const known_tokens *k, const word_id *pieces, size_t count, int64_t *ids) {
  uint64_t hashes[KNOWN_AT_ONCE];
  for (size_t i = 0; i < count; i++) {
    hashes[i] = word_hash(pieces[i].low, pieces[i].high);
    __builtin_prefetch(line_of(k, hashes[i]));
  }
  for (size_t i = 0; i < count; i++) {
    const uint64_t *line = line_of(k, hashes[i]);
    uint64_t found = 0;
    for (int s = 0; s < KNOWN_LINE; s++) found = line[s] >> 32 == (uint32_t)hashes[i] ? line[s] : found;
    ids[i] = (int64_t)(uint32_t)found - 1;
    if (ids[i] >= 0) __builtin_prefetch(&k->words[ids[i]]);
  }
  for (size_t i = 0; i < count; i++) {
    int may_be_left_out = line_of(k, hashes[i])[KNOWN_LINE - 1] != 0;
    if (ids[i] < 0) {
      ids[i] = may_be_left_out ? KNOWN_UNSURE : KNOWN_NOT;
      continue;
    }
    const word_id *word = &k->words[ids[i]];
    if (word->low != pieces[i].low || word->high != pieces[i].high) ids[i] = KNOWN_UNSURE;
  }
}

/* Two tokens of a line with the same half of the hash would hide each other: the second one is left out, as is one that finds
 * the line full. */
static void put(known_tokens *k, word_id word, uint32_t id) {
  uint64_t hash = word_hash(word.low, word.high), *line = line_of(k, hash);
  for (int s = 0; s < KNOWN_LINE; s++) {
    if (line[s] && line[s] >> 32 == (uint32_t)hash) return;
    if (line[s]) continue;
    line[s] = hash << 32 | (id + 1);
    k->words[id] = word;
    return;
  }
}

/* Tokens that wait until their lines have come. */
typedef struct waiting_tokens {
  word_id words[KNOWN_AT_ONCE];
  uint32_t ids[KNOWN_AT_ONCE];
  size_t count;
} waiting_tokens;

static void put_waiting(known_tokens *k, waiting_tokens *w) {
  for (size_t i = 0; i < w->count; i++) put(k, w->words[i], w->ids[i]);
  w->count = 0;
}

static void put_soon(known_tokens *k, waiting_tokens *w, word_id word, uint32_t id) {
  __builtin_prefetch(line_of(k, word_hash(word.low, word.high)), 1);
  w->words[w->count] = word;
  w->ids[w->count++] = id;
  if (w->count == KNOWN_AT_ONCE) put_waiting(k, w);
}

static word_id word_of(const uint8_t *text, size_t bytes) {
  uint64_t key[2] = {0, 0};
  memcpy(key, text, bytes);
  return (word_id){key[0], key[1] | (uint64_t)bytes << 56};
}

/* A token's text as pieces have it; returns its bytes, or 0: no piece is written so, or it is too long. */
static size_t as_written(token_text text, token_text blank, uint8_t out[WORD_BYTES]) {
  size_t count = 0;
  char first = blank.text ? blank.text[0] : 0;
  for (size_t at = 0; at < text.bytes;) {
    int is_blank = blank.text && text.text[at] == first && text.bytes - at >= blank.bytes &&
                   memcmp(text.text + at, blank.text, blank.bytes) == 0;
    if (count == WORD_BYTES || (blank.text && text.text[at] == ' ')) return 0;
    out[count++] = is_blank ? ' ' : (uint8_t)text.text[at];
    at += is_blank ? blank.bytes : 1;
  }
  return count;
}

static token_text merged_text(const bpe *b, uint32_t id) {
  const vocab *v = b->vocab;
  if (!b->rules.byte_level) return vocab_text(v, id);
  return (token_text){(const char *)v->bytes + v->bytes_at[id], v->bytes_at[id + 1] - v->bytes_at[id]};
}

static viva_status put_all(const bpe *b, token_text blank, bpe_scratch *scratch, known_tokens *k, viva_error *error) {
  waiting_tokens waiting = {.count = 0};
  for (uint32_t id = 0; id < b->vocab->count; id++) {
    uint8_t written[WORD_BYTES];
    if (!(b->vocab->flags[id] & VOCAB_MODEL)) continue;
    token_text text = merged_text(b, id);
    size_t bytes = as_written(text, blank, written);
    if (bytes == 0) continue;
    viva_token ids[2] = {(viva_token)id, -1};
    id_sink sink = {ids, 2, b->rules.ignore_merges != 0, NULL}; /* then its text is taken whole, by the rule */
    if (!sink.count && b->tree.tokens) sink.count = b->tree.tokens[id].bytes ? 1 : 2;
    if (!sink.count) TRY(bpe_merge_piece(b, scratch, (const uint8_t *)text.text, text.bytes, &sink, error));
    if (sink.count == 1 && (uint32_t)ids[0] == id) put_soon(k, &waiting, word_of(written, bytes), id);
  }
  put_waiting(k, &waiting);
  return VIVA_OK;
}

viva_status known_create(mem *m, const bpe *b, token_text blank, known_tokens *out, viva_error *error) {
  size_t count = b->vocab->count;
  bpe_scratch scratch = {.mem = m};
  *out = (known_tokens){.line_count = 2 * count / KNOWN_LINE + 1}; /* about half full */
  out->lines = mem_array(m, out->line_count * KNOWN_LINE, sizeof *out->lines);
  out->words = mem_array(m, count, sizeof *out->words);
  viva_status status = VIVA_OK;
  if (!out->lines || !out->words) status = error_set(error, VIVA_E_MEMORY, "no memory for a table of %zu words", count);
  if (status == VIVA_OK) status = put_all(b, blank, &scratch, out, error);
  bpe_scratch_free(&scratch);
  if (status != VIVA_OK) known_destroy(m, out);
  return status;
}

void known_destroy(mem *m, known_tokens *k) {
  mem_free(m, k->lines);
  mem_free(m, k->words);
  *k = (known_tokens){.line_count = 0};
}
