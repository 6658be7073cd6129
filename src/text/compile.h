/* text/compile.h: from a description of a tokenizer to the tokenizer. tokenizer_json.c and tokenizer_source.c fill a
 * description; tokenizer_compile checks it and makes the immutable tables.
 */
#ifndef TEXT_COMPILE_H
#define TEXT_COMPILE_H

#include "text/added.h"
#include "text/bpe.h"
#include "text/split.h"
#include "text/vocab.h"

struct viva_tokenizer {
  runtime *rt;
  _Atomic uint32_t references;
  vocab vocab;
  bpe bpe;
  pretokenizer pre;
  int nfc;
  added_set as_written; /* looked for first, in the text as it is */
  added_set normalized; /* then these, in what is left, after normalization */
  viva_token *prefix;   /* what add_special puts before a text ... */
  size_t prefix_count;
  viva_token *suffix; /* ... and behind it */
  size_t suffix_count;
  viva_token bos, eos; /* -1: none */
  int add_bos;
};

/* An added token as described. */
typedef struct spec_added {
  token_text text;
  int64_t id;     /* the file's */
  int64_t place;  /* the id it gets; set by tokenizer_compile */
  uint32_t flags; /* ADDED_* */
} spec_added;

typedef struct tokenizer_spec {
  const char *path;
  vocab_entry *entries; /* [entry_count] the model's vocabulary; room for added_count more behind it; a block of rt */
  size_t entry_count;
  const token_text *merges; /* [2 · merge_count] left, right */
  size_t merge_count;
  spec_added *added;
  size_t added_count;
  pretokenizer pre;
  int nfc;
  int ignore_merges;
  token_text unknown; /* text NULL: none */
  int fuse_unknown;
  int byte_fallback;
  const int64_t *prefix; /* checked against the vocabulary */
  size_t prefix_count;
  const int64_t *suffix;
  size_t suffix_count;
  int64_t bos, eos; /* -1: none */
  int add_bos;
} tokenizer_spec;

/* "left right" → its two parts. Returns 1 unless there is exactly one space. */
int split_merge(token_text merge, token_text parts[2]);

viva_status tokenizer_compile(runtime *rt, tokenizer_spec *spec, viva_tokenizer **out, viva_error *error);

#endif
