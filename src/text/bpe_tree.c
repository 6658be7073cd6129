/* How each token is made: its last merge, and what it begins with. */
#include "text/bpe_tree.h"

#include <string.h>

#include "text/bpe_prefix.h"
#include "text/unicode.h"

/* What it is made from. */
typedef struct tree_build {
  bpe *b;
  bpe_token *tokens;
  const merge_ids *merges; /* by rank */
  uint32_t *ranks;         /* [merge_count] the shortest results first */
  size_t merge_count;
  bpe_prefixes prefixes;
  bpe_scratch scratch;
} tree_build;

/* ---- merges, the shortest results first ---- */

static viva_status sort_merges(mem *m, tree_build *t, viva_error *error) {
  const bpe *b = t->b;
  size_t *begins = mem_array(m, b->vocab->longest + 2, sizeof *begins);
  t->ranks = mem_alloc(m, t->merge_count * sizeof *t->ranks); /* fewer than INT32_MAX */
  viva_status status =
      begins && t->ranks ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for %zu merges", t->merge_count);
  for (size_t i = 0; status == VIVA_OK && i < t->merge_count; i++)
    begins[bpe_token_bytes(b, t->merges[i].result) + 1]++;
  for (size_t i = 1; status == VIVA_OK && i < b->vocab->longest + 2; i++) begins[i] += begins[i - 1];
  for (size_t i = 0; status == VIVA_OK && i < t->merge_count; i++)
    t->ranks[begins[bpe_token_bytes(b, t->merges[i].result)]++] = (uint32_t)i;
  mem_free(m, begins);
  return status;
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
static viva_status put_merge(tree_build *t, uint32_t rank, viva_error *error) {
  merge_ids merge = t->merges[rank];
  bpe_token *token = &t->tokens[merge.result], *left = &t->tokens[merge.left], *right = &t->tokens[merge.right];
  uint32_t time = rank + 1;
  if (token->bytes || !left->bytes || !right->bytes || left->time >= time || right->time >= time) return VIVA_OK;
  const uint8_t *text = bpe_token_text(t->b, merge.result);
  if (!bpe_apart_until_whole(t->b, merge.left, merge.right, text + left->bytes)) return VIVA_OK;
  if (t->b->has_doubles && bpe_rank(t->b, merge.left, merge.right) != rank) return VIVA_OK;
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

#define AHEAD 8 /* merges whose tokens are on their way */

/* Tokens of one length after those of all shorter ones. */
static viva_status put_merges(tree_build *t, viva_error *error) {
  for (size_t begin = 0, end; begin < t->merge_count; begin = end) {
    size_t bytes = bpe_token_bytes(t->b, t->merges[t->ranks[begin]].result);
    for (end = begin; end < t->merge_count; end++) {
      if (end + AHEAD < t->merge_count) {
        const merge_ids *soon = &t->merges[t->ranks[end + AHEAD]];
        __builtin_prefetch(&t->tokens[soon->left]);
        __builtin_prefetch(&t->tokens[soon->right]);
      }
      if (bpe_token_bytes(t->b, t->merges[t->ranks[end]].result) != bytes) break;
      TRY(put_merge(t, t->ranks[end], error));
    }
    for (size_t i = begin; i < end; i++) TRY(put_odd(t, t->merges[t->ranks[i]].result, error));
  }
  return VIVA_OK;
}

/* Does a merge make or take a token that stands for a single byte of a character? */
static int merges_bytes(const tree_build *t) {
  const bpe *b = t->b;
  if (b->rules.byte_level || !b->rules.byte_fallback) return 0;
  for (int byte = 0; byte < 256; byte++)
    if (b->fallback_ids[byte] != BPE_NO_ID) t->tokens[b->fallback_ids[byte]].time = 1;
  int found = 0;
  for (size_t i = 0; i < t->merge_count && !found; i++) {
    merge_ids merge = t->merges[i];
    found = t->tokens[merge.left].time || t->tokens[merge.right].time || t->tokens[merge.result].time;
  }
  for (int byte = 0; byte < 256; byte++)
    if (b->fallback_ids[byte] != BPE_NO_ID) t->tokens[b->fallback_ids[byte]].time = 0;
  return found;
}

static viva_status build(tree_build *t, int *usable, viva_error *error) {
  *usable = !merges_bytes(t);
  if (!*usable) return VIVA_OK;
  TRY(put_symbols(t, error));
  return put_merges(t, error);
}

static viva_status create(mem *m, bpe *b, const merge_ids *merges, size_t merge_count, viva_error *error) {
  size_t count = b->vocab->count;
  int usable = 0;
  if (b->rules.prefix.bytes || b->rules.suffix.bytes || count >= BPE_PLACES_MOST) return VIVA_OK;
  tree_build t = {.b = b, .merges = merges, .merge_count = merge_count, .scratch = {.mem = m}};
  b->tree.tokens = t.tokens = mem_array(m, count, sizeof *t.tokens);
  if (!t.tokens) return error_set(error, VIVA_E_MEMORY, "no memory for %zu tokens", count);
  for (size_t id = 0; id < count; id++)
    t.tokens[id] = (bpe_token){
        .left = BPE_NO_ID, .right = BPE_NO_ID, .prefix = BPE_NO_ID, .head = BPE_NO_RANK, .tail = BPE_NO_RANK};
  viva_status status = sort_merges(m, &t, error);
  if (status == VIVA_OK) status = bpe_prefixes_begin(m, b, &t.prefixes, error);
  if (status == VIVA_OK) status = build(&t, &usable, error);
  mem_free(m, t.ranks);
  if (status == VIVA_OK && usable) status = bpe_prefixes_end(&t.prefixes, error);
  bpe_prefixes_free(&t.prefixes);
  bpe_scratch_free(&t.scratch);
  if (!usable) bpe_tree_destroy(m, &b->tree);
  return status;
}

/* A vocabulary without weights beside it, as files of tokenizers alone are, may not pay for the tree's memory (base/allowance.h):
 * its pieces are then merged in other ways. */
viva_status bpe_tree_create(mem *m, bpe *b, const merge_ids *merges, size_t merge_count, viva_error *error) {
  viva_error refused = {0};
  const viva_status status = create(m, b, merges, merge_count, &refused);
  if (status == VIVA_OK) return VIVA_OK;
  bpe_tree_destroy(m, &b->tree);
  if (status == VIVA_E_MEMORY && atomic_load(&m->was_limited)) return VIVA_OK;
  if (error) *error = refused;
  return status;
}

void bpe_tree_destroy(mem *m, bpe_tree *tree) {
  mem_free(m, tree->tokens);
  mem_free(m, tree->pairs);
  mem_free(m, tree->edges);
  *tree = (bpe_tree){.tokens = NULL};
}
