/* text/tokenizer_files.h: the files of a folder that a tokenizer may be in, and what each of them becomes.
 *
 *   tokenizer.json              all of it                                                    tokenizer_json.c
 *   tokenizer.model             SentencePiece's pieces and scores                            sentencepiece.c
 *   tekken.json                 Mistral's: bytes in the order of their ranks, and a pattern  tekken.c
 *   vocab.json and merges.txt   GPT-2's form: the rules go by tokenizer_class                vocab_merges.c
 *
 * Beside each of them: tokenizer_config.json, special_tokens_map.json, added_tokens.json (tokenizer_config.c).
 */
#ifndef TEXT_TOKENIZER_FILES_H
#define TEXT_TOKENIZER_FILES_H

#include "text/json_tokens.h"

typedef struct text_file {
  const char *path; /* for messages */
  const char *text; /* NULL: there is no such file */
  size_t bytes;
} text_file;

typedef struct tokenizer_files {
  text_file json, sentencepiece, tekken, vocab, merges, config, special_map, added_tokens;
} tokenizer_files;

typedef enum named_token {
  NAMED_BOS,
  NAMED_EOS,
  NAMED_UNK,
  NAMED_SEP,
  NAMED_PAD,
  NAMED_CLS,
  NAMED_MASK,
  NAMED_COUNT
} named_token;

/* What the files beside say. Texts lie in the files or in the arena that tokenizer_config_read was given. */
typedef struct tokenizer_config {
  token_text class_name;              /* tokenizer_class without "Fast" at its end; text NULL: not said */
  token_text named[NAMED_COUNT];      /* text NULL: not said, or null */
  int is_said[NAMED_COUNT];           /* null is said */
  int add_bos, add_eos, prefix_space; /* TOKEN_UNSAID */
  json_tokens tokens; /* added: in the order in which transformers adds them; ids are -1 where none is said */
} tokenizer_config;

/* Reads what is there of the three. *out is ended by json_tokens_free(&out->tokens), whatever is returned. Errors:
 * E_FORMAT (no valid JSON; an entry without content), E_MEMORY. */
viva_status tokenizer_config_read(runtime *rt, arena *a, const tokenizer_files *files, tokenizer_config *out,
                                  viva_error *error);
/* Adds the named tokens that are not among the added ones yet. */
viva_status tokenizer_config_add_named(tokenizer_config *c, viva_error *error);

/* The first of the four forms that is there, with what lies beside it. E_NOT_FOUND: none of them. */
viva_status tokenizer_from_files(runtime *rt, const tokenizer_files *files, viva_tokenizer **out, viva_error *error);

/* One form each. config may be NULL, but for list, which is vocab.json. Errors: E_FORMAT, E_UNSUPPORTED (named), E_MEMORY. */
viva_status tokenizer_from_json_file(runtime *rt, text_file file, const tokenizer_config *config, viva_tokenizer **out,
                                     viva_error *error);
viva_status tokenizer_from_sentencepiece(runtime *rt, text_file file, const tokenizer_config *config,
                                         viva_tokenizer **out, viva_error *error);
viva_status tokenizer_from_tekken(runtime *rt, text_file file, const tokenizer_config *config, viva_tokenizer **out,
                                  viva_error *error);
viva_status tokenizer_from_vocab(runtime *rt, text_file list, text_file merges, tokenizer_config *config,
                                 viva_tokenizer **out, viva_error *error);

#endif
