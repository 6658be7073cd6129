/* text/tokenizer_json_parts.h: the normalizer, pre_tokenizer, post_processor and decoder of a tokenizer.json.
 *
 * All four are objects with a "type"; a Sequence holds others. They are read into one flat struct that has room for
 * every option known here, and then turned into a part of the description, where every type that is not known is
 * refused by name. To support another type: its options go into `component`, its meaning into the function of its
 * section.
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
  json_string type;
  int individual_digits, add_prefix_space, use_regex, invert;
  json_string behavior;
  json_string regex;      /* Split's pattern; text NULL: none, or a plain string */
  template_piece *pieces; /* TemplateProcessing's "single" */
  template_special *specials;
} component;

#define COMPONENTS_MAX 16

typedef struct components {
  component list[COMPONENTS_MAX]; /* a Sequence's members, or the one component */
  size_t count;                   /* 0: null */
} components;

/* Reads the value at hand: null, a component, or a Sequence whose members are under list_key ("normalizers" ...).
 * section is for messages. Errors: E_FORMAT, E_UNSUPPORTED (a Sequence in a Sequence, too many members), E_MEMORY. */
viva_status components_read(json *j, const char *section, const char *list_key, components *out, viva_error *error);

/* Each sets its part of spec, or refuses what it does not know by name (E_UNSUPPORTED). */
viva_status normalizer_apply(const components *c, tokenizer_spec *spec, viva_error *error);
viva_status pretokenizer_apply(const components *c, tokenizer_spec *spec, viva_error *error);
viva_status decoder_apply(const components *c, viva_error *error);
/* Sets prefix, suffix, bos, eos and add_bos; the lists lie in a. */
viva_status postprocessor_apply(const components *c, arena *a, tokenizer_spec *spec, viva_error *error);

#endif
