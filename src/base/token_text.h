/* base/token_text.h: what a token's text alone says about it.
 *
 * First files of many models name the end of text only, and give the tokens that end a turn an ordinary type. llama.cpp
 * goes by their texts then (llama-vocab.cpp, special_eog_ids and the tokens around it); so does viva.
 */
#ifndef BASE_TOKEN_TEXT_H
#define BASE_TOKEN_TEXT_H

#include <stddef.h>

enum {
  TOKEN_TEXT_SPECIAL = 1, /* whatever type a converter gave it */
  TOKEN_TEXT_ENDS = 2,    /* generation stops at it */
  /* Some end nothing in company: token_text_ends decides. */
  TOKEN_TEXT_STRIKE = 4, /* </s>: ends a text, or in Gemma's vocabulary text struck through */
  TOKEN_TEXT_END = 8,
  TOKEN_TEXT_RETURN = 16,
  TOKEN_TEXT_CALL = 32,
  TOKEN_TEXT_FLUSH = 64,
  TOKEN_TEXT_RESPONSE = 128
};

/* The TOKEN_TEXT_* that the text has; 0: a text as others. */
unsigned token_text_find(const char *text, size_t bytes);

/* Does generation stop at a token with these, in a vocabulary that has those of all its tokens? */
int token_text_ends(unsigned found, unsigned all);

#endif
