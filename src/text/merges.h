/* text/merges.h: the merges of a model as ids, found from their texts while a file is read.
 *
 * Nothing of the texts is kept, so a list is 12 bytes a merge. Merges are looked up some at once (vocab_find_many); what a
 * pair becomes is first compared with the token of the merge before and the one behind that: in the order of ranks it is
 * one of them nearly always, and its text need not be put together.
 *
 *   merge_list list = {.mem = m, .vocab = &v, .prefix = prefix};
 *   TRY(merges_add(&list, left, right, error));   for each, in the order of their ranks
 *   TRY(merges_end(&list, error));
 */
#ifndef TEXT_MERGES_H
#define TEXT_MERGES_H

#include "text/vocab.h"

typedef struct merge_ids {
  uint32_t left, right, result; /* ids */
} merge_ids;

#define MERGES_AT_ONCE (VOCAB_AT_ONCE / 2)

/* Zeroed but for mem, vocab and prefix at first; ended by merges_free. */
typedef struct merge_list {
  mem *mem;
  const vocab *vocab;
  token_text prefix; /* continuing_subword_prefix, which a right part loses; text may be NULL */
  merge_ids *merges;
  size_t count, room;
  token_text waiting[VOCAB_AT_ONCE]; /* left and right of merges that are not looked up yet */
  size_t waiting_count;              /* of texts */
  char *joined;                      /* [joined_room] */
  size_t joined_room;
} merge_list;

/* The texts must stay until merges_end, or until the list is freed. Errors: E_FORMAT (this merge or one before it names an
 * absent token: which, and its index), E_MEMORY. */
viva_status merges_add(merge_list *list, token_text left, token_text right, viva_error *error);
viva_status merges_add_ids(merge_list *list, merge_ids m, viva_error *error); /* not mixed with merges_add */
viva_status merges_end(merge_list *list, viva_error *error);
void merges_free(merge_list *list);

/* "left right" → its two parts. Returns 1 unless there is exactly one space. */
int split_merge(token_text text, token_text parts[2]);

#endif
