/* text/regex_parse.h: the tree of an expression, between regex_parse.c and regex_compile.c. */
#ifndef TEXT_REGEX_PARSE_H
#define TEXT_REGEX_PARSE_H

#include "text/regex_inner.h"

typedef enum regex_node_kind {
  NODE_CLASS,        /* set */
  NODE_TEST,         /* op, how, set: a place, not a character */
  NODE_SEQUENCE,     /* of the children; none: empty */
  NODE_ALTERNATIVES, /* of the children */
  NODE_REPEAT,       /* child, least to most times, how */
  NODE_AHEAD,        /* child; how 1: must not match */
  NODE_ATOMIC        /* child */
} regex_node_kind;

typedef struct regex_node {
  regex_node_kind kind;
  struct regex_node *next, *child;
  const regex_class *set;
  regex_op op;
  uint32_t how, least, most;
} regex_node;

/* text is valid UTF-8. Errors: E_UNSUPPORTED (what, and at which byte), E_MEMORY. */
viva_status regex_parse(arena *a, const char *text, size_t bytes, regex_node **out, viva_error *error);

#endif
