/* How each token is made: its last merge, and what it begins with. */
#include "text/bpe_tree.h"

#include <string.h>

#include "text/bpe_prefix.h"
#include "text/unicode.h"

/* What it is made from. */
typedef struct tree_build {
  bpe *b;
  bpe_token *tokens;
  uint64_t *merges; /* [merge_count] slots of the table of merges, the shortest results first */
  size_t merge_count;
  uint32_t rank_bits;
  bpe_prefixes prefixes;
  bpe_scratch scratch;
} tree_build;

typedef struct tree_merge {
  uint32_t left, right, rank, result;
} tree_merge;

static tree_merge merge_of(const tree_build *t, uint64_t slot) {
  uint64_t pair = slot >> t->rank_bits, ids = ((uint64_t)1 << t->b->id_bits) - 1;
  uint32_t rank = (uint32_t)(slot & (((uint64_t)1 << t->rank_bits) - 1));
  return (tree_merge){(uint32_t)(pair >> t->b->id_bits), (uint32_t)(pair & ids), rank, t->b->results[rank]};
}

/* ---- merges, the shortest results first ---- */

static viva_status sort_merges(mem *m, tree_build *t, viva_error *error) {
  const bpe *b = t->b;
  size_t slots = (size_t)b->line_count * BPE_LINE, *begins = mem_array(m, b->vocab->longest + 2, sizeof *begins);
  if (!begins) return error_set(error, VIVA_E_MEMORY, "no memory for a tokenizer");
  for (size_t i = 0; i < slots; i++) {
    if (b->slots[i] == BPE_FREE) continue;
    begins[bpe_token_bytes(b, merge_of(t, b->slots[i]).result) + 1]++;
    t->merge_count++;
  }
  t->merges = mem_array(m, t->merge_count, sizeof *t->merges);
  for (size_t i = 1; i < b->vocab->longest + 2; i++) begins[i] += begins[i - 1];
  for (size_t i = 0; t->merges && i < slots; i++)
    if (b->slots[i] != BPE_FREE) t->merges[begins[bpe_token_bytes(b, merge_of(t, b->slots[i]).result)]++] = b->slots[i];
  mem_free(m, begins);
  return t->merges ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for %zu merges", t->merge_count);
}

/* ---- last merges ---- */

/* The token merges to itself. */
static viva_status put_token(tree_build *t, uint32_t id, viva_error *error) {
  t->tokens[id].bytes = (uint32_t)bpe_token_bytes(t->b, id);
  return bpe_prefixes_put(&t->prefixes, id, bpe_token_text(t->b, id), error);
}

static int is_character(const bpe *b, uint32_t id) {
  token_text text = vocab_text(b->vocab, id);
  uint32_t code;
  if (!(b->vocab->flags[id] & VOCAB_MODEL) || text.bytes == 0 || text.bytes > 4) return 0;
  return unicode_read((const uint8_t *)text.text, &code) == text.bytes && bpe_character(b, code) == id;
}

/* Tokens of one symbol. */
static viva_status put_symbols(tree_build *t, viva_error *error) {
  const bpe *b = t->b;
  for (uint32_t byte = 0; byte < 256 && b->rules.byte_level; byte++)
    if (b->byte_ids[byte] != BPE_NO_ID) TRY(put_token(t, b->byte_ids[byte], error));
  for (uint32_t id = 0; id < b->vocab->count && !b->rules.byte_level; id++)
    if (is_character(b, id)) TRY(put_token(t, id, error));
  return VIVA_OK;
}

/* Is the token made by this merge, of parts whose own merges come in the order of their ranks and before it? */
static viva_status put_merge(tree_build *t, tree_merge merge, viva_error *error) {
  bpe_token *token = &t->tokens[merge.result], *left = &t->tokens[merge.left], *right = &t->tokens[merge.right];
  uint32_t time = merge.rank + 1;
  if (token->bytes || !left->bytes || !right->bytes) return VIVA_OK; /* a part that is odd has the last time of all */
  if (left->time >= time || right->time >= time) return VIVA_OK;
  const uint8_t *text = bpe_token_text(t->b, merge.result);
  if (!bpe_apart_until_whole(t->b, merge.left, merge.right, text + left->bytes)) return VIVA_OK;
  token->left = merge.left;
  token->right = merge.right;
  token->time = time;
  token->head = left->time ? left->head : time;
  token->tail = right->time ? right->tail : time;
  return put_token(t, merge.result, error);
}

/* A token that no such merge makes: its text is merged. */
static viva_status put_odd(tree_build *t, uint32_t id, viva_error *error) {
  bpe_token *token = &t->tokens[id];
  if (token->bytes || token->time == BPE_ODD) return VIVA_OK;
  viva_token ids[2];
  id_sink sink = {ids, 2, 0, NULL};
  TRY(bpe_merge_stepwise(t->b, &t->scratch, bpe_token_text(t->b, id), bpe_token_bytes(t->b, id), &sink, error));
  token->time = BPE_ODD;
  return sink.count == 1 ? put_token(t, id, error) : VIVA_OK;
}

/* Tokens of one length after those of all shorter ones. */
static viva_status put_merges(tree_build *t, viva_error *error) {
  for (size_t begin = 0, end; begin < t->merge_count; begin = end) {
    size_t bytes = bpe_token_bytes(t->b, merge_of(t, t->merges[begin]).result);
    for (end = begin; end < t->merge_count; end++) {
      tree_merge merge = merge_of(t, t->merges[end]);
      if (bpe_token_bytes(t->b, merge.result) != bytes) break;
      TRY(put_merge(t, merge, error));
    }
    for (size_t i = begin; i < end; i++) TRY(put_odd(t, merge_of(t, t->merges[i]).result, error));
  }
  return VIVA_OK;
}

/* Does a merge make or take a token that stands for a single byte of a character? */
static int merges_bytes(tree_build *t) {
  const bpe *b = t->b;
  for (size_t i = 0; i < t->merge_count; i++) {
    tree_merge merge = merge_of(t, t->merges[i]);
    t->tokens[merge.left].time = t->tokens[merge.right].time = t->tokens[merge.result].time = 1;
  }
  for (int byte = 0; byte < 256 && !b->rules.byte_level; byte++) {
    const bpe_token *fallback = b->fallback_ids[byte] == BPE_NO_ID ? NULL : &t->tokens[b->fallback_ids[byte]];
    if (fallback && fallback->time) return 1;
  }
  for (uint32_t id = 0; id < b->vocab->count; id++) t->tokens[id].time = 0;
  return 0;
}

static viva_status build(tree_build *t, int *usable, viva_error *error) {
  *usable = !merges_bytes(t);
  if (!*usable) return VIVA_OK;
  TRY(put_symbols(t, error));
  return put_merges(t, error);
}

viva_status bpe_tree_create(mem *m, bpe *b, viva_error *error) {
  size_t count = b->vocab->count;
  int usable = 0;
  if (b->rules.prefix.bytes || b->rules.suffix.bytes || count >= BPE_PLACES_MOST) return VIVA_OK;
  tree_build t = {.b = b, .rank_bits = 64 - 2 * b->id_bits, .scratch = {.mem = m}};
  b->tree.tokens = t.tokens = mem_array(m, count, sizeof *t.tokens);
  if (!t.tokens) return error_set(error, VIVA_E_MEMORY, "no memory for %zu tokens", count);
  for (size_t id = 0; id < count; id++)
    t.tokens[id] = (bpe_token){
        .left = BPE_NO_ID, .right = BPE_NO_ID, .prefix = BPE_NO_ID, .head = BPE_NO_RANK, .tail = BPE_NO_RANK};
  viva_status status = sort_merges(m, &t, error);
  if (status == VIVA_OK) status = bpe_prefixes_begin(m, b, &t.prefixes, error);
  if (status == VIVA_OK) status = build(&t, &usable, error);
  mem_free(m, t.merges);
  if (status == VIVA_OK && usable) status = bpe_prefixes_end(&t.prefixes, error);
  bpe_prefixes_free(&t.prefixes);
  bpe_scratch_free(&t.scratch);
  if (!usable) bpe_tree_destroy(m, &b->tree);
  return status;
}

void bpe_tree_destroy(mem *m, bpe_tree *tree) {
  mem_free(m, tree->tokens);
  mem_free(m, tree->pairs);
  mem_free(m, tree->edges);
  *tree = (bpe_tree){.tokens = NULL};
}
