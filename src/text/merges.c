#include "text/merges.h"

#include <string.h>

#define QUOTE_SIZE 80

int split_merge(token_text text, token_text parts[2]) {
  const char *space = text.bytes ? memchr(text.text, ' ', text.bytes) : NULL;
  if (!space) return 1;
  size_t left = (size_t)(space - text.text), right = text.bytes - left - 1;
  if (right > 0 && memchr(space + 1, ' ', right)) return 1;
  parts[0] = (token_text){text.text, left};
  parts[1] = (token_text){space + 1, right};
  return 0;
}

static viva_status absent(size_t index, const char *role, token_text text, viva_error *error) {
  char quoted[QUOTE_SIZE];
  return error_set(error, VIVA_E_FORMAT, "merge %zu names %s '%s', which is not in the vocabulary", index, role,
                   error_quote(quoted, sizeof quoted, text.text, text.bytes));
}

/* Is token id the left part followed by the right one? */
static int is_joined(const vocab *v, uint32_t id, token_text left, token_text right) {
  if (!vocab_has(v, id)) return 0;
  token_text t = vocab_text(v, id);
  return t.bytes == left.bytes + right.bytes && bytes_same(t.text, left.text, left.bytes) &&
         bytes_same(t.text + left.bytes, right.text, right.bytes);
}

/* The token of both together, by its text. */
static viva_status find_joined(merge_list *list, token_text left, token_text right, uint32_t *id, viva_error *error) {
  size_t bytes = left.bytes + right.bytes; /* both in memory: no overflow */
  if (bytes > list->joined_room) {
    char *joined = mem_resize(list->mem, list->joined, 2 * bytes);
    if (!joined) return error_set(error, VIVA_E_MEMORY, "no memory for a merge of %zu bytes", bytes);
    list->joined = joined;
    list->joined_room = 2 * bytes;
  }
  if (left.bytes) memcpy(list->joined, left.text, left.bytes);
  if (right.bytes) memcpy(list->joined + left.bytes, right.text, right.bytes);
  token_text both = {bytes ? list->joined : "", bytes};
  int64_t found = vocab_find(list->vocab, both.text, bytes);
  if (found < 0) return absent(list->count, "the result", both, error);
  *id = (uint32_t)found;
  return VIVA_OK;
}

static viva_status find_result(merge_list *list, token_text left, token_text right, uint32_t *id, viva_error *error) {
  size_t skip = list->prefix.bytes < right.bytes ? list->prefix.bytes : 0;
  right = (token_text){right.text + skip, right.bytes - skip};
  uint32_t guess = list->count ? list->merges[list->count - 1].result : 0;
  *id = guess;
  if (is_joined(list->vocab, guess, left, right)) return VIVA_OK;
  *id = guess + 1;
  if (is_joined(list->vocab, guess + 1, left, right)) return VIVA_OK;
  return find_joined(list, left, right, id, error);
}

static viva_status look_up(merge_list *list, viva_error *error) {
  int64_t ids[VOCAB_AT_ONCE];
  vocab_find_many(list->vocab, list->waiting, list->waiting_count, ids);
  for (size_t i = 0; i < list->waiting_count; i += 2) {
    token_text left = list->waiting[i], right = list->waiting[i + 1];
    uint32_t result;
    if (ids[i] < 0) return absent(list->count, "the left part", left, error);
    if (ids[i + 1] < 0) return absent(list->count, "the right part", right, error);
    TRY(find_result(list, left, right, &result, error));
    TRY(merges_add_ids(list, (merge_ids){(uint32_t)ids[i], (uint32_t)ids[i + 1], result}, error));
  }
  list->waiting_count = 0;
  return VIVA_OK;
}

viva_status merges_add(merge_list *list, token_text left, token_text right, viva_error *error) {
  list->waiting[list->waiting_count++] = left;
  list->waiting[list->waiting_count++] = right;
  return list->waiting_count < VOCAB_AT_ONCE ? VIVA_OK : look_up(list, error);
}

viva_status merges_add_ids(merge_list *list, merge_ids m, viva_error *error) {
  if (list->count == list->room) {
    size_t room = list->room + list->room / 2 + 1024;
    merge_ids *merges =
        room > SIZE_MAX / sizeof *merges ? NULL : mem_resize(list->mem, list->merges, room * sizeof *merges);
    if (!merges) return error_set(error, VIVA_E_MEMORY, "no memory for a list of %zu merges", room);
    list->merges = merges;
    list->room = room;
  }
  list->merges[list->count++] = m;
  return VIVA_OK;
}

viva_status merges_end(merge_list *list, viva_error *error) { return look_up(list, error); }

void merges_free(merge_list *list) {
  mem_free(list->mem, list->merges);
  mem_free(list->mem, list->joined);
  list->merges = NULL;
  list->joined = NULL;
  list->count = list->room = list->joined_room = list->waiting_count = 0;
}
