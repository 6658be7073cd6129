/* text/normalize.h: what a tokenizer does to text before it looks at it: a list of operations. */
#ifndef TEXT_NORMALIZE_H
#define TEXT_NORMALIZE_H

#include "text/mapped.h"
#include "text/normal_form.h"
#include "text/pattern.h"

typedef enum normal_kind {
  NORMAL_PREPEND,   /* content, in front of a text that is not empty */
  NORMAL_REPLACE,   /* each match of pattern by content */
  NORMAL_FORM,      /* form */
  NORMAL_STRIP,     /* white space off the ends */
  NORMAL_LOWERCASE, /* each character alone */
  NORMAL_BYTE_LEVEL /* each byte becomes its character of the byte alphabet */
} normal_kind;

typedef struct normal_op {
  normal_kind kind;
  token_text content;
  pattern pattern;
  normal_form form;
  const uint64_t *marks; /* of the form */
  int left, right;       /* of STRIP */
} normal_op;

typedef struct normalizer {
  const normal_op *ops;
  size_t count;
} normalizer;

/* Applies all operations to `in` (valid UTF-8). *out is `in` itself or a view of one of the two buffers, which are written
 * over. Errors: E_MEMORY, E_LIMIT (an expression's work). */
viva_status normalize(const normalizer *n, regex_memory *memory, text_view in, mapped buffers[2], text_view *out,
                      viva_error *error);

/* The byte alphabet's spelling of `in`, appended. 1: no memory. */
int normalize_byte_level(text_view in, mapped *out);

/* Replaces each match of p in `in` by content, appended to out; the origins are the reference's. */
viva_status normalize_replace(const pattern *p, token_text content, regex_memory *memory, text_view in, mapped *out,
                              viva_error *error);

/* Puts content in front of `in`, appended to out. 1: no memory. */
int normalize_prepend(token_text content, text_view in, mapped *out);

#endif
