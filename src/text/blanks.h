/* text/blanks.h: tokenizers of SentencePiece's kind, which write ' ' as a mark and cut nowhere: words of a text that merge as
 * if they were alone, found in the text as it is given.
 *
 * A word is a run of spaces and what follows up to the next one. Where no token of the vocabulary lies across the place
 * between two words (joints.h), nothing merges across it; so neither the text with marks is written, nor its joints looked
 * for: a word is remembered as it is given, and written with marks once.
 */
#ifndef TEXT_BLANKS_H
#define TEXT_BLANKS_H

#include "text/joints.h"
#include "text/normalize.h"
#include "text/pretokenize.h"

typedef struct blanks {
  token_text mark;   /* what a space is written as; text NULL: the tokenizer's rules are others */
  int prepends;      /* the mark is put in front of a text */
  uint32_t first;    /* the mark's character */
  uint8_t ends[128]; /* 1: no token lies across this character and the mark */
} blanks;

void blanks_find(const normalizer *normal, const pretokenizer *pre, const bpe *model, const joints *j, blanks *out);

/* The end of the word that begins at `at`, below end. */
size_t blanks_word(const blanks *b, const joints *j, const uint8_t *text, size_t at, size_t end);

#endif
