/* text/decode_table.h: the decoder of a tokenizer: from tokens to text.
 *
 * The reference runs a chain of operations over the list of all tokens' strings. Nearly all chains in use have one form:
 * operations on each string alone; then bytes are put together (ByteLevel or ByteFallback); then all is fused and a
 * first character may be stripped. Those become a table: what each token gives, worked out once. Any other chain is run
 * as the reference runs it, on lists of strings, when the whole text is there.
 */
#ifndef TEXT_DECODE_TABLE_H
#define TEXT_DECODE_TABLE_H

#include "text/normalize.h"
#include "text/pretokenize.h"

typedef enum decode_kind {
  DECODE_REPLACE,       /* pattern by content, in each string */
  DECODE_STRIP,         /* up to start copies of content off the front of each string, and stop off its end */
  DECODE_BYTE_FALLBACK, /* runs of <0xNN> become their bytes, or a U+FFFD for each when the run is not UTF-8 */
  DECODE_FUSE,          /* all strings become one */
  DECODE_BYTE_LEVEL,    /* all strings become one, the byte alphabet's characters their bytes */
  DECODE_METASPACE,     /* content becomes a space; in the first string nothing, unless scheme is never */
  DECODE_SUFFIX         /* content becomes a space, in the last string nothing */
} decode_kind;

typedef struct decode_op {
  decode_kind kind;
  pattern pattern;
  token_text content;
  size_t start, stop;
  prepend_scheme scheme;
} decode_op;

typedef enum decode_join {
  JOIN_PLAIN,    /* tokens' texts follow each other */
  JOIN_SPACE,    /* with a space between them: a tokenizer without a decoder */
  JOIN_BYTES,    /* tokens are bytes, together UTF-8 or not */
  JOIN_FALLBACK, /* runs of byte tokens count as bytes */
  JOIN_CHAIN     /* the chain is run on the whole list */
} decode_join;

/* A token that gives up to QUICK_BYTES bytes of whole characters, whatever stands beside it: copied at a fixed size. */
#define QUICK_BYTES 15
#define QUICK_NOT   0xff /* in bytes: the token is not of this kind */
typedef struct quick_token {
  uint8_t text[QUICK_BYTES];
  uint8_t bytes;
} quick_token;
_Static_assert(sizeof(quick_token) == 16, "one copy");

typedef struct decode_table {
  const decode_op *ops;
  size_t count;
  decode_join join;
  size_t strip;          /* up to so many copies of strip_text off the front of everything */
  token_text strip_text; /* one character */
  int first_differs;     /* METASPACE: a first token gives something else, worked out when it is met */
  size_t *at;            /* [vocab count + 1]: token id gives bytes[at[id] .. at[id + 1]) */
  uint8_t *bytes;
  uint8_t *is_byte; /* [vocab count] of JOIN_FALLBACK: the token is one byte of a run */
  size_t longest;
  quick_token *quick; /* [vocab count]; NULL: JOIN_SPACE and JOIN_CHAIN have none */
} decode_table;

/* Makes the table, in the memory of rt, whose allowance the patterns' work is charged to. texts: what each id is to the decoder (a vocabulary's text, but for added tokens that normalization
 * changes). Errors: E_MEMORY, E_LIMIT (a pattern's work). */
viva_status decode_table_create(runtime *rt, const decode_op *ops, size_t count, const vocab *v,
                                const token_text *texts, decode_table *out, viva_error *error);
void decode_table_destroy(mem *m, decode_table *t);

/* What one token gives when it is the first of a text (first_differs). Appended to out. Errors: E_MEMORY, E_LIMIT. */
viva_status decode_first(const decode_table *t, token_text text, mapped *out, viva_error *error);

/* Runs the chain on a whole list (JOIN_CHAIN). Appended to out. Errors: E_MEMORY, E_LIMIT. */
viva_status decode_chain(const decode_table *t, const token_text *texts, size_t count, mapped *out, viva_error *error);

/* The byte that a token stands for under ByteFallback, -1: none. As the reference reads it: <0x, two characters that
 * Rust's u8::from_str_radix takes (a plus sign and one digit, too), >. */
int decode_byte_token(const char *text, size_t bytes);

/* The byte alphabet's characters of text as bytes, or text itself when another is in it. Writes at most bytes bytes. */
size_t decode_alphabet(const char *text, size_t bytes, uint8_t *out, int *all_bytes);

#endif
