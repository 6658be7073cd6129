/* text/encode.h: one encode call, between encode.c and encode_offsets.c. */
#ifndef TEXT_ENCODE_H
#define TEXT_ENCODE_H

#include "text/compile.h"
#include "text/word_batch.h"
#include "text/words.h"

/* The ids of one piece and how many bytes each stands for (offsets only). */
typedef struct piece_memory {
  mem *mem;
  viva_token *ids;
  uint32_t *lengths;
  size_t room;
} piece_memory;

void piece_memory_free(piece_memory *memory);

/* What a call needs, kept by the tokenizer from call to call. */
typedef struct encode_memory {
  mapped whole;     /* the text, when it had to be copied or its origins are kept */
  mapped normal[2]; /* normalized text */
  pre_memory pre;
  bpe_scratch bpe;
  regex_memory regexes;
  piece_memory piece;
  word_memory words;
  added_memory added[2]; /* as written, normalized */
  word_batch batch;
} encode_memory;

#define ENCODE_MEMORY_ZEROED (offsetof(encode_memory, batch) + offsetof(word_batch, parts)) /* bytes, at first */

/* Takes memory that lies idle, or makes it. NULL: no memory. */
encode_memory *encode_memory_take(const viva_tokenizer *t, int with_origins);
/* Gives it back; what one large text needed is freed. */
void encode_memory_give(const viva_tokenizer *t, encode_memory *memory);
void encode_memory_free(encode_memory *memory); /* NULL is allowed */

typedef struct encoding {
  const viva_tokenizer *t;
  encode_memory *memory;
  word_encoder words;
  word_run *blanks; /* of a text with blanks.h's words, which goes on across added tokens; NULL: another text */
  int match_special;
  int continues;        /* text goes on behind a cut: nothing is put in front of it */
  const uint8_t *marks; /* NULL, or for each byte of text 1 where it is no special token's */
  id_sink sink;
  viva_span *offsets; /* NULL: not asked for; else as many as the sink's ids */
  const char *text;   /* as it was given, for offsets */
  size_t bytes;
  size_t first; /* of the ids that are the text's own */
} encoding;

/* What a call is asked for. */
typedef struct encode_request {
  int match_special, continues;
  int prefix, suffix; /* with the tokens in front of a text, and those behind it */
  viva_span *offsets; /* NULL, or as many as ids */
} encode_request;

/* Encodes text into ids. *count: how many there are, whatever the capacity. Errors:
 * E_MEMORY, E_LIMIT, E_SIZE. */
viva_status encode_request_run(const viva_tokenizer *t, const encode_request *request, const char *text, size_t bytes,
                               viva_token *ids, size_t capacity, size_t *count, viva_error *error);

/* Options as given, or their defaults. Errors: E_ARGUMENT. */
viva_status encode_options_take(const viva_encode_options *options, encode_request *out, viva_error *error);

/* Encodes one piece and tells where each id comes from. Errors: E_MEMORY, E_LIMIT. */
viva_status encode_piece_offsets(encoding *e, text_view piece, viva_error *error);

/* Stores where the added token that is put next comes from: all of text. */
void encode_added_offsets(encoding *e, text_view text);

#endif
