#include "text/score_merges.h"

#include <string.h>

#include "text/unicode.h"

/* One way to cut a token. */
typedef struct cut {
  float score;
  uint32_t left_length;         /* characters */
  uint32_t left, right, result; /* ids */
  uint32_t order;               /* among the cuts as they were found */
} cut;

typedef struct cut_list {
  mem *mem;
  cut *cuts;
  size_t count, room;
} cut_list;

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory for the merges of a vocabulary");
}

static viva_status add(cut_list *list, cut c, viva_error *error) {
  if (list->count == UINT32_MAX) return error_set(error, VIVA_E_LIMIT, "the vocabulary has too many merges");
  if (list->count == list->room) {
    size_t room = 2 * list->room + 1024;
    cut *cuts = room > SIZE_MAX / sizeof *cuts ? NULL : mem_resize(list->mem, list->cuts, room * sizeof *cuts);
    if (!cuts) return no_memory(error);
    list->cuts = cuts;
    list->room = room;
  }
  c.order = (uint32_t)list->count;
  list->cuts[list->count++] = c;
  return VIVA_OK;
}

/* The higher score first; the longer left part; and as they were found. A token's cuts have different left parts, so
 * what generate_merges orders by ids within a token never decides. */
static int comes_after(const cut *a, const cut *b, const uint32_t *lengths) {
  if (a->score != b->score) return a->score < b->score;
  if (a->left_length != b->left_length) return a->left_length < b->left_length;
  if (lengths[a->right] != lengths[b->right]) return lengths[a->right] < lengths[b->right];
  return a->order > b->order;
}

static void sift_down(cut *cuts, size_t at, size_t count, const uint32_t *lengths) {
  cut moved = cuts[at];
  for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
    if (child + 1 < count && comes_after(&cuts[child + 1], &cuts[child], lengths)) child++;
    if (!comes_after(&cuts[child], &moved, lengths)) break;
    cuts[at] = cuts[child];
    at = child;
  }
  cuts[at] = moved;
}

/* Heap sort: n·log n for every order, in place. */
static void sort(cut *cuts, size_t count, const uint32_t *lengths) {
  for (size_t i = count / 2; i-- > 0;) sift_down(cuts, i, count, lengths);
  for (size_t end = count; end > 1; end--) {
    cut last = cuts[end - 1];
    cuts[end - 1] = cuts[0];
    cuts[0] = last;
    sift_down(cuts, 0, end - 1, lengths);
  }
}

static viva_status cut_token(const vocab *v, uint32_t id, float score, cut_list *list, viva_error *error) {
  token_text t = vocab_text(v, id);
  if (t.bytes > SCORE_TOKEN_MOST)
    return error_set(error, VIVA_E_UNSUPPORTED, "token %u has %zu bytes; with scores at most %d are possible", id,
                     t.bytes, SCORE_TOKEN_MOST);
  uint32_t code, length = 0;
  for (size_t at = 0; at < t.bytes;) {
    at += unicode_read((const uint8_t *)t.text + at, &code);
    length++;
    if (at == t.bytes) break;
    int64_t left = vocab_find(v, t.text, at);
    int64_t right = left < 0 ? -1 : vocab_find(v, t.text + at, t.bytes - at);
    if (right >= 0) TRY(add(list, (cut){score, length, (uint32_t)left, (uint32_t)right, id, 0}, error));
  }
  return VIVA_OK;
}

static viva_status list_cuts(const vocab *v, const float *scores, uint32_t *lengths, cut_list *list,
                             viva_error *error) {
  for (uint32_t id = 0; id < v->count; id++) {
    token_text t = vocab_text(v, id);
    for (size_t i = 0; i < t.bytes; i++) lengths[id] += ((uint8_t)t.text[i] & 0xc0) != 0x80;
    if (scores[id] != scores[id]) return error_set(error, VIVA_E_FORMAT, "the score of token %u is not a number", id);
    if (t.bytes) TRY(cut_token(v, id, scores[id], list, error));
  }
  sort(list->cuts, list->count, lengths);
  return VIVA_OK;
}

static viva_status make(const vocab *v, const float *scores, uint32_t *lengths, cut_list *list, merge_list *merges,
                        viva_error *error) {
  TRY(list_cuts(v, scores, lengths, list, error));
  for (size_t i = 0; i < list->count; i++) {
    const cut *c = &list->cuts[i];
    TRY(merges_add_ids(merges, (merge_ids){c->left, c->right, c->result}, error));
  }
  return VIVA_OK;
}

viva_status score_merges(mem *m, const vocab *v, const float *scores, merge_list *merges, viva_error *error) {
  cut_list list = {.mem = m};
  uint32_t *lengths = mem_array(m, v->count, sizeof *lengths);
  viva_status status = lengths ? make(v, scores, lengths, &list, merges, error) : no_memory(error);
  mem_free(m, list.cuts);
  mem_free(m, lengths);
  return status;
}

viva_status score_merges_of(mem *m, const token_text *tokens, const float *scores, size_t count, merge_list *merges,
                            viva_error *error) {
  vocab v = {0};
  vocab_entry *entries = mem_array(m, count, sizeof *entries);
  if (!entries) return no_memory(error);
  size_t filled = 0;
  for (size_t i = 0; i < count; i++)
    if (tokens[i].bytes) entries[filled++] = (vocab_entry){tokens[i], (uint32_t)i, 0};
  viva_status status = vocab_create(m, entries, filled, &v, error);
  if (status == VIVA_OK) status = score_merges(m, &v, scores, merges, error);
  vocab_destroy(m, &v);
  mem_free(m, entries);
  return status;
}
