/* load/rule.h: which matrix is held in which format, as a text (viva/model.h has the grammar).
 *
 *   rule r;
 *   TRY(rule_read(options.weights, &r, error));
 *   pack_spec spec;
 *   if (rule_format(&r, "model.layers.3.mlp.down_proj", &spec)) ... in this format
 *   else                                                        ... as the file has it
 *
 * A rule borrows its text and allocates nothing: each question walks through the entries again.
 */
#ifndef LOAD_RULE_H
#define LOAD_RULE_H

#include "base/error.h"
#include "pack/pack.h"

typedef struct rule {
  const char *text; /* NULL: everything as stored */
} rule;

/* One entry of a rule that was read. */
typedef struct rule_entry {
  const char *pattern; /* not zero-ended; NULL: every matrix */
  size_t pattern_bytes;
  int stored;     /* as the file has it; spec says nothing then */
  pack_spec spec; /* global is not set */
} rule_entry;

/* Checks all of text, which must outlive the rule. Errors: E_ARGUMENT with the item "weights"; the message quotes the entry
 * and lists the words that may stand there. text may be NULL. */
viva_status rule_read(const char *text, rule *r, viva_error *error);

/* Entry by entry: *at is NULL before the first. Returns 0 when there are no more. */
int rule_next(const rule *r, const char **at, rule_entry *entry);

/* 1 when the pattern fits a name ("model.layers.3.mlp.down_proj", "lm_head"). */
int rule_fits(const rule_entry *entry, const char *name);

/* 1: *spec is the format of the matrix of this name. 0: it is held as stored. */
int rule_format(const rule *r, const char *name, pack_spec *spec);

/* The same for what the rule says of every matrix. */
int rule_default(const rule *r, pack_spec *spec);

#endif
