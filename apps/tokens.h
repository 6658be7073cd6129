/* tokens.h: token ids of a text, in memory of the right size. */
#ifndef APPS_TOKENS_H
#define APPS_TOKENS_H

#include <viva/viva.h>

#include "args.h"

typedef struct token_list {
  viva_token *ids;
  size_t count;
} token_list;

/* special: special tokens in the text become their ids. bos: BOS comes first. Returns 0, or the exit code after a
 * message. tokens_free ends the list. */
int tokens_encode(const viva_tokenizer *tokenizer, const char *text, size_t bytes, int special, int bos,
                  token_list *tokens);

/* Ids written as a JSON array or separated by white space (the form is not mixed). name: for messages. Returns 0, or
 * the exit code after a message. */
int tokens_parse(const char *text, size_t bytes, const char *name, token_list *tokens);

/* What --stop-token was given, as ids: each word an id, or the text of exactly one token. tokenizer: NULL: ids alone. Returns
 * 0, or the exit code after a message. */
int tokens_stop(const viva_tokenizer *tokenizer, const text_list *words, token_list *tokens);

void tokens_free(token_list *tokens);

#endif
