#include "text/json_tokens.h"

#include <string.h>

viva_status list_grow(mem *m, void *list, size_t count, size_t *room, size_t size, viva_error *error) {
  if (count < *room) return VIVA_OK;
  size_t more = *room ? *room * 2 : 64;
  void *old, *grown;
  memcpy(&old, list, sizeof old);
  grown = more > SIZE_MAX / size ? NULL : mem_resize(m, old, more * size);
  if (!grown) return error_set(error, VIVA_E_MEMORY, "no memory for a list of %zu tokens or merges", more);
  memcpy(list, &grown, sizeof grown);
  *room = more;
  return VIVA_OK;
}

void json_tokens_drop_entries(json_tokens *tokens) {
  mem_free(tokens->mem, tokens->entries);
  tokens->entries = NULL;
  tokens->entry_count = tokens->entry_room = 0;
}

void json_tokens_free(json_tokens *tokens) {
  mem_free(tokens->mem, tokens->entries);
  mem_free(tokens->mem, tokens->added);
  *tokens = (json_tokens){.mem = tokens->mem};
}

viva_status json_tokens_entry(json_tokens *tokens, vocab_entry entry, viva_error *error) {
  TRY(list_grow(tokens->mem, &tokens->entries, tokens->entry_count, &tokens->entry_room, sizeof entry, error));
  tokens->entries[tokens->entry_count++] = entry;
  return VIVA_OK;
}

viva_status json_tokens_add(json_tokens *tokens, spec_added a, viva_error *error) {
  TRY(list_grow(tokens->mem, &tokens->added, tokens->added_count, &tokens->added_room, sizeof a, error));
  tokens->added[tokens->added_count++] = a;
  return VIVA_OK;
}

viva_status json_take_vocab(json *j, json_tokens *tokens, int checked, viva_error *error) {
  json_string text;
  TRY(checked ? json_enter_object(j, error) : json_enter_table(j, error));
  while (json_next_key(j, &text)) {
    uint64_t id;
    TRY(json_take_u64(j, &id, error));
    if (id > INT32_MAX) return json_fail(j, error, "id %llu does not fit 31 bits", (unsigned long long)id);
    TRY(json_tokens_entry(tokens, (vocab_entry){json_text(text), (uint32_t)id, 0}, error));
  }
  return json_leave(j, error);
}

viva_status json_take_added(json *j, spec_added *a, viva_error *error) {
  static const struct {
    const char *key;
    uint32_t flag;
  } flags[] = {{"special", ADDED_SPECIAL},
               {"lstrip", ADDED_LSTRIP},
               {"rstrip", ADDED_RSTRIP},
               {"single_word", ADDED_SINGLE_WORD},
               {"normalized", ADDED_NORMALIZED}};
  json_string key, content = {0};
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    size_t f = 0;
    while (f < sizeof flags / sizeof *flags && !json_string_is(key, flags[f].key)) f++;
    if (f < sizeof flags / sizeof *flags) {
      int set;
      TRY(json_take_bool(j, &set, error));
      if (set) a->flags |= flags[f].flag;
    } else if (json_string_is(key, "id")) {
      uint64_t id;
      TRY(json_take_u64(j, &id, error));
      if (id > INT32_MAX) return json_fail(j, error, "id %llu does not fit 31 bits", (unsigned long long)id);
      a->id = (int64_t)id;
    } else if (json_string_is(key, "content")) {
      TRY(json_take_string(j, &content, error));
    } else {
      TRY(json_skip(j, error));
    }
  }
  TRY(json_leave(j, error));
  if (a->id < 0 || !content.text) return json_fail(j, error, "an added token needs id and content");
  a->text = json_text(content);
  return VIVA_OK;
}
