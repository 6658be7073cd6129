/* text/tokenizer.h: building tokenizers, for model/ (which connects them with files).
 *
 * text/ knows the formats that hold nothing but a tokenizer (tokenizer_files.h); a GGUF file's vocabulary arrives here as
 * a token_source.
 */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#include "base/runtime.h"
#include "viva/tokenizer.h"

/* From the text of a tokenizer.json. path is for messages. The runtime is retained. */
viva_status tokenizer_from_json(runtime *rt, const char *path, const char *text, size_t bytes, viva_tokenizer **out,
                                viva_error *error);

/* The ids of a text of which some bytes are marked (marks[i] is 1): special tokens are matched where no byte is. No frame is
 * added. Errors: as viva_tokenizer_encode, and E_FORMAT (not UTF-8). */
viva_status tokenizer_encode_marked(const viva_tokenizer *t, const char *text, size_t bytes, const uint8_t *marks,
                                    viva_token *ids, size_t capacity, size_t *count, viva_error *error);

typedef struct token_text {
  const char *text;
  size_t bytes;
} token_text;

/* GGUF's tokenizer.ggml.token_type */
typedef enum token_kind {
  TOKEN_NORMAL = 1,
  TOKEN_UNKNOWN = 2,
  TOKEN_CONTROL = 3,
  TOKEN_USER = 4,
  TOKEN_UNUSED = 5,
  TOKEN_BYTE = 6
} token_kind;

/* A GGUF vocabulary. Arrays and texts must live until tokenizer_from_source returns. */
typedef struct token_source {
  const char *path;         /* for messages */
  const char *model;        /* tokenizer.ggml.model: "gpt2", "llama", "gemma4"; others are refused by name */
  const char *pre;          /* of gpt2, tokenizer.ggml.pre: "smollm" ... unknown: E_UNSUPPORTED listing the known */
  const token_text *tokens; /* [token_count]; id = index */
  const int32_t *kinds;     /* [token_count] of token_kind, or NULL: all normal */
  size_t token_count;
  const token_text *merges; /* [merge_count], "left right" */
  size_t merge_count;
  const float
      *scores; /* [token_count], of "llama": the merge that makes the token of highest score comes first; NULL */
  int64_t bos, eos, unk;                 /* as in the file; -1: absent. Outside the vocabulary: E_FORMAT */
  int add_bos, add_eos;                  /* 0 or 1; TOKEN_UNSAID: the file does not say, the kind's rule counts */
  int add_space_prefix;                  /* the same */
  const struct tokenizer_config *config; /* what lies beside it (tokenizer_files.h), or NULL */
  allowance allowed;                     /* what the file paid for and reading it has spent */
} token_source;

#define TOKEN_UNSAID (-1)

/* Ids that a SentencePiece vocabulary's unknown, bos and eos tokens have when nothing names them. */
void token_source_default_ids(token_source *s);

viva_status tokenizer_from_source(runtime *rt, const token_source *source, viva_tokenizer **out, viva_error *error);

/* The stream goes on behind a text that was there before (a prompt): what only the first token of a text loses, its space,
 * stays. */
void decoder_continue(viva_decoder *decoder);

#endif
