/* text/gguf_pre.h: what GGUF's tokenizer.ggml.pre stands for: the rules that the models which carry a name have in their
 * tokenizer.json. One table (gguf_pre.c); to add a name, add its row there.
 */
#ifndef TEXT_GGUF_PRE_H
#define TEXT_GGUF_PRE_H

#include "text/compile.h"

/* Stages that are not patterns. */
#define PRE_DIGITS      "digits"      /* Digits(individual_digits = true) */
#define PRE_DIGIT_RUNS  "digit runs"  /* Digits(individual_digits = false) */
#define PRE_PUNCTUATION "punctuation" /* Punctuation(Contiguous) */
#define PRE_ALPHABET    "alphabet"    /* the byte alphabet here already, not after the last stage */
/* Alone: no pre-tokenizer, and the vocabulary is of SentencePiece's kind, whatever tokenizer.ggml.model says. */
#define PRE_SENTENCEPIECE "sentencepiece"

typedef struct gguf_pre {
  const char *names;     /* separated by spaces: the name and its aliases */
  const char *stages[6]; /* in order: a pattern for Split (Isolated), or one of the PRE_* words */
  int ignore_merges;     /* a piece that is a token is taken whole */
  int nfc;               /* text is normalized first */
  int add_bos;           /* when the file does not say */
} gguf_pre;

const gguf_pre *gguf_pre_find(const char *name); /* NULL: not known */
void gguf_pre_list(char *buffer, size_t size);   /* the known rules' names, for a message */

/* Sets the normalizer, the stages (ByteLevel last) and ignore_merges. Errors: E_MEMORY, E_UNSUPPORTED. */
viva_status gguf_pre_apply(const gguf_pre *pre, tokenizer_spec *spec, viva_error *error);

/* Settles what a source leaves unsaid by the rules of its kind. *pre: of gpt2; NULL: a kind of SentencePiece. Errors:
 * E_UNSUPPORTED (a kind or a name that is not known: named, with those that are). */
viva_status token_source_settle(token_source *s, const gguf_pre **pre, viva_error *error);

/* Is token i looked for in the text itself (an added token)? */
int token_source_added(const token_source *s, size_t i, int *special);

#endif
