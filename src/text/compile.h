/* text/compile.h: from a description of a tokenizer to the tokenizer. tokenizer_json.c and tokenizer_source.c fill a
 * description; tokenizer_compile checks it and makes the immutable tables.
 */
#ifndef TEXT_COMPILE_H
#define TEXT_COMPILE_H

#include "text/added.h"
#include "text/blanks.h"
#include "text/bpe.h"
#include "text/cuts.h"
#include "text/decode_table.h"
#include "text/joints.h"
#include "text/known.h"
#include "text/normalize.h"
#include "text/pretokenize.h"
#include "text/vocab.h"

#define TOKENIZER_IDLE 8 /* calls at a time that find their memory ready */
#define TRIMS_MAX      4 /* processors that take white space out of offsets */

struct viva_tokenizer {
  runtime *rt;
  _Atomic uint32_t references;
  vocab vocab;
  bpe bpe;
  joints joints;
  known_tokens known;
  normalizer normal;
  pretokenizer pre;
  decode_table decode;
  arena *parts;         /* what the normalizer, the pre-tokenizer and the decoder point to */
  token_text *renamed;  /* [vocab.count] what each id is to the decoder; NULL: its text in the vocabulary */
  added_set as_written; /* looked for first, in the text as it is */
  added_set normalized; /* then these, in what is left, after normalization */
  viva_token *prefix;   /* what add_special puts before a text ... */
  size_t prefix_count;
  viva_token *suffix; /* ... and behind it */
  size_t suffix_count;
  viva_token bos, eos; /* -1: none */
  int add_bos;
  int trim_prefix_space[TRIMS_MAX]; /* of each trimming of offsets: a first space is left */
  size_t trim_count;
  cuts cuts;
  blanks blanks;
  _Atomic(struct encode_memory *) idle[TOKENIZER_IDLE]; /* memory of calls that are over, for those to come */
};

static inline token_text tokenizer_decoded_text(const viva_tokenizer *t, uint32_t id) {
  return t->renamed ? t->renamed[id] : vocab_text(&t->vocab, id);
}

/* An added token as described. */
typedef struct spec_added {
  token_text text;
  int64_t id;     /* the file's; -1: it says none */
  int64_t place;  /* the id it gets; set by tokenizer_compile */
  uint32_t flags; /* ADDED_* */
} spec_added;

typedef struct tokenizer_spec {
  const char *path;
  vocab vocab;       /* the model's; memory of rt. tokenizer_compile takes it over and leaves it empty */
  merge_list merges; /* of that vocabulary; ended by whoever made it */
  spec_added *added;
  size_t added_count;
  arena *parts; /* what the parts below point to; tokenizer_compile takes it over and leaves NULL */
  normalizer normal;
  const pre_stage *stages;
  size_t stage_count;
  const decode_op *decode_ops;
  size_t decode_count;
  bpe_rules rules;       /* but byte_level, which follows from the stages; texts need not outlive the call */
  const int64_t *prefix; /* checked against the vocabulary */
  size_t prefix_count;
  const int64_t *suffix;
  size_t suffix_count;
  int64_t bos, eos; /* -1: none */
  int add_bos;
  int trim_prefix_space[TRIMS_MAX];
  size_t trim_count;
  const struct tokenizer_config
      *config; /* what it says comes before bos, eos, prefix and suffix above; NULL: nothing */
} tokenizer_spec;

/* An operation that writes a normal form; its marks lie in a. Errors: E_MEMORY. */
viva_status normal_form_op(arena *a, normal_form form, normal_op *op, viva_error *error);

/* The entries become spec->vocab, all of them the model's, and spec->merges is made ready for its merges. */
viva_status spec_take_vocab(runtime *rt, tokenizer_spec *spec, vocab_entry *entries, size_t count, viva_error *error);

/* Frees what tokenizer_compile has not taken over. */
void spec_free(runtime *rt, tokenizer_spec *spec);

viva_status tokenizer_compile(runtime *rt, tokenizer_spec *spec, viva_tokenizer **out, viva_error *error);

#endif
