/* text/tokenizer_json_parts.h: the normalizer, pre_tokenizer, post_processor and decoder of a tokenizer.json.
 *
 * All four are objects with a "type"; a Sequence holds others, and one inside another counts as its members. They are
 * read into a flat list of structs that have room for every option known here (this file), and then turned into a part
 * of the description (tokenizer_json_rules.c, tokenizer_json_post.c), where every type that is not known is refused by name. To
 * support another type: its options go into `component`, its meaning into the table of its section.
 */
#ifndef TEXT_TOKENIZER_JSON_PARTS_H
#define TEXT_TOKENIZER_JSON_PARTS_H

#include "base/json.h"
#include "text/compile.h"

typedef struct template_piece {
  struct template_piece *next;
  int is_text;      /* the sequence itself, else a special token */
  json_string name; /* "A" for the first text; the special token's name */
} template_piece;

typedef struct template_special {
  struct template_special *next;
  json_string name;
  int64_t *ids;
  size_t count;
} template_special;

typedef struct component {
  struct component *next;
  json_string type;
  int individual_digits, add_prefix_space, use_regex, trim_offsets, invert, split, strip_left, strip_right;
  uint64_t start, stop;
  json_string behavior, content, prepend, replacement, prepend_scheme, suffix;
  json_string regex, literal; /* a pattern's; text NULL: not given */
  int64_t cls, sep;           /* Roberta's; -1: not given */
  template_piece *pieces;     /* TemplateProcessing's "single" */
  template_special *specials;
} component;

#define COMPONENT_UNSET (-1) /* of add_prefix_space and split, whose default differs from type to type */

typedef struct tokenizer_json_parts {
  component *first; /* a Sequence's members, or the one component; NULL: null */
  size_t count;
} tokenizer_json_parts;

/* Reads the value at hand: null, a component, or a Sequence whose members are under list_key ("normalizers" ...).
 * section is for messages. Errors: E_FORMAT, E_UNSUPPORTED (too many members), E_MEMORY. */
viva_status tokenizer_json_parts_read(json *j, const char *section, const char *list_key, tokenizer_json_parts *out,
                                      viva_error *error);

int component_is(const component *c, const char *type);

/* "SECTION type 'X' is not supported; known: ..." (E_UNSUPPORTED) */
viva_status component_refuse(const char *section, const component *c, const char *known, viva_error *error);

/* Each sets its part of spec, or refuses what it does not know by name (E_UNSUPPORTED). What they make lies in
 * spec->parts. */
viva_status normalizer_apply(const tokenizer_json_parts *c, tokenizer_spec *spec, viva_error *error);
viva_status pretokenizer_apply(const tokenizer_json_parts *c, tokenizer_spec *spec, viva_error *error);
viva_status decoder_apply(const tokenizer_json_parts *c, tokenizer_spec *spec, viva_error *error);
/* Sets prefix, suffix, bos, eos, add_bos and the trims of offsets; the lists lie in a. */
viva_status postprocessor_apply(const tokenizer_json_parts *c, arena *a, tokenizer_spec *spec, viva_error *error);

#endif
