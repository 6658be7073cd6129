/* text/json_tokens.h: tokens as the JSON files of a tokenizer list them, in arrays that grow while they are read. */
#ifndef TEXT_JSON_TOKENS_H
#define TEXT_JSON_TOKENS_H

#include "base/json.h"
#include "text/compile.h"

/* Zeroed but for mem at first; ended by json_tokens_free. Texts lie in the file or in the parser's arena. */
typedef struct json_tokens {
  mem *mem;
  vocab_entry *entries; /* a model's vocabulary */
  size_t entry_count, entry_room;
  spec_added *added;
  size_t added_count, added_room;
} json_tokens;

void json_tokens_free(json_tokens *tokens);
void json_tokens_drop_entries(json_tokens *tokens); /* frees entries alone */

/* Makes room for one more element of size bytes; the array at *list doubles. */
viva_status list_grow(mem *m, void *list, size_t count, size_t *room, size_t size, viva_error *error);

/* Takes { text: id, ... } and appends to entries. checked: 1: a text that is there twice is refused; 0: whoever makes the
 * vocabulary of them does that. */
viva_status json_take_vocab(json *j, json_tokens *tokens, int checked, viva_error *error);

/* Takes { "content", "single_word", "lstrip", "rstrip", "normalized", "special", "id" }; a->id keeps its value where
 * there is no id. */
viva_status json_take_added(json *j, spec_added *a, viva_error *error);

viva_status json_tokens_add(json_tokens *tokens, spec_added a, viva_error *error);
viva_status json_tokens_entry(json_tokens *tokens, vocab_entry entry, viva_error *error);

static inline token_text json_text(json_string s) { return (token_text){s.text, s.bytes}; }

#endif
