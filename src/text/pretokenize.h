/* text/pretokenize.h: pre-tokenizers: where text is cut before merging, and what is written anew on the way.
 *
 * A pre-tokenizer is a list of stages, each working on the pieces that the one before left. When all of them only cut,
 * by scanners, the pieces are found one after the other without memory (split.h); this file is the general way.
 */
#ifndef TEXT_PRETOKENIZE_H
#define TEXT_PRETOKENIZE_H

#include "text/mapped.h"
#include "text/pattern.h"

typedef enum stage_kind {
  STAGE_SPLIT,        /* at the matches of pattern, by behavior */
  STAGE_METASPACE,    /* ' ' becomes replacement, one is put in front by scheme; cut in front of each when `cut` */
  STAGE_PREFIX_SPACE, /* a space in front of a piece that does not begin with one */
  STAGE_ALPHABET      /* each byte becomes its character of the byte alphabet */
} stage_kind;

/* What becomes of the matches of a Split. */
typedef enum split_behavior {
  SPLIT_ISOLATED,
  SPLIT_REMOVED,
  SPLIT_MERGED_WITH_PREVIOUS,
  SPLIT_MERGED_WITH_NEXT,
  SPLIT_CONTIGUOUS
} split_behavior;

typedef enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER } prepend_scheme;

typedef struct pre_stage {
  stage_kind kind;
  pattern pattern;
  split_behavior behavior;
  int invert;
  token_text replacement; /* one character */
  prepend_scheme scheme;
  int cut;
} pre_stage;

typedef struct pretokenizer {
  const pre_stage *stages;
  size_t count;
  int byte_level;    /* merging begins with bytes, not with characters */
  int only_scanners; /* then rule is all of it */
  int needs_first;   /* a stage asks whether a piece begins the text */
  split_rule rule;
} pretokenizer;

typedef struct text_piece {
  size_t begin, end;
} text_piece;

/* Memory for pretokenize, kept from call to call. Zeroed but for the mems at first. */
typedef struct pre_memory {
  mapped texts[2];
  text_piece *pieces[2];
  size_t room[2];
} pre_memory;

void pre_memory_free(pre_memory *memory);

/* Cuts `in` (valid UTF-8, not empty). begins: `in` begins at the begin of the whole text (used where origins are not
 * kept). *text is what the pieces are pieces of. No piece is empty. Errors: E_MEMORY, E_LIMIT. */
viva_status pretokenize(const pretokenizer *pre, pre_memory *memory, regex_memory *regexes, text_view in, int begins,
                        text_view *text, const text_piece **pieces, size_t *count, viva_error *error);

#endif
