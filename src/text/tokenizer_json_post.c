/* What the post_processor of a tokenizer.json means: tokens around a text, and offsets without white space. */
#include <string.h>

#include "text/tokenizer_json_parts.h"

#define QUOTE_SIZE 80

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory to read tokenizer.json");
}

static const template_special *special_find(const component *c, json_string name) {
  for (const template_special *s = c->specials; s; s = s->next)
    if (s->name.bytes == name.bytes && memcmp(s->name.text, name.text, name.bytes) == 0) return s;
  return NULL;
}

/* The ids of the pieces from `from` up to `to` (exclusive), behind those in old: a new list in a. */
static viva_status join_ids(const component *c, const template_piece *from, const template_piece *to,
                            const int64_t *before, size_t before_count, const int64_t *behind, size_t behind_count,
                            arena *a, const int64_t **out, size_t *out_count, viva_error *error) {
  size_t count = before_count + behind_count;
  for (const template_piece *p = from; p != to; p = p->next) {
    if (!p->name.text) return error_set(error, VIVA_E_FORMAT, "a SpecialToken of the template has no id");
    const template_special *s = special_find(c, p->name);
    char quoted[QUOTE_SIZE];
    if (!s)
      return error_set(error, VIVA_E_FORMAT, "the template names '%s', which is not among its special_tokens",
                       error_quote(quoted, sizeof quoted, p->name.text, p->name.bytes));
    count += s->count;
  }
  int64_t *ids = arena_alloc(a, count * sizeof *ids);
  if (!ids) return no_memory(error);
  size_t at = before_count;
  if (before_count) memcpy(ids, before, before_count * sizeof *ids);
  for (const template_piece *p = from; p != to; p = p->next) {
    const template_special *s = special_find(c, p->name);
    for (size_t i = 0; i < s->count; i++) ids[at++] = s->ids[i];
  }
  if (behind_count) memcpy(ids + at, behind, behind_count * sizeof *ids);
  *out = ids;
  *out_count = count;
  return VIVA_OK;
}

/* Templates in a row wrap each other: the later one is outside. */
static viva_status template_apply(const component *c, arena *a, tokenizer_spec *spec, viva_error *error) {
  const template_piece *text = NULL;
  for (const template_piece *p = c->pieces; p; p = p->next) {
    if (!p->is_text) continue;
    if (text || !json_string_is(p->name, "A"))
      return error_set(error, VIVA_E_UNSUPPORTED, "a template is supported only with the text ($A) in it once");
    text = p;
  }
  if (!text) return error_set(error, VIVA_E_UNSUPPORTED, "a template without the text ($A) is not supported");
  TRY(join_ids(c, c->pieces, text, NULL, 0, spec->prefix, spec->prefix_count, a, &spec->prefix, &spec->prefix_count,
               error));
  return join_ids(c, text->next, NULL, spec->suffix, spec->suffix_count, NULL, 0, a, &spec->suffix, &spec->suffix_count,
                  error);
}

/* Room for one more way to trim offsets. */
static viva_status add_trim(const component *c, tokenizer_spec *spec, viva_error *error) {
  if (!c->trim_offsets) return VIVA_OK;
  if (spec->trim_count == TRIMS_MAX)
    return error_set(error, VIVA_E_UNSUPPORTED,
                     "a post_processor that trims offsets more than %d times is not supported", TRIMS_MAX);
  spec->trim_prefix_space[spec->trim_count++] = c->add_prefix_space != 0; /* not given: yes */
  return VIVA_OK;
}

/* <s> text </s> */
static viva_status roberta_apply(const component *c, arena *a, tokenizer_spec *spec, viva_error *error) {
  if (c->cls < 0 || c->sep < 0)
    return error_set(error, VIVA_E_FORMAT, "a RobertaProcessing needs cls and sep with ids");
  int64_t *prefix = arena_alloc(a, (spec->prefix_count + 1) * sizeof *prefix);
  int64_t *suffix = arena_alloc(a, (spec->suffix_count + 1) * sizeof *suffix);
  if (!prefix || !suffix) return no_memory(error);
  prefix[0] = c->cls;
  if (spec->prefix_count) memcpy(prefix + 1, spec->prefix, spec->prefix_count * sizeof *prefix);
  if (spec->suffix_count) memcpy(suffix, spec->suffix, spec->suffix_count * sizeof *suffix);
  suffix[spec->suffix_count] = c->sep;
  spec->prefix = prefix;
  spec->suffix = suffix;
  spec->prefix_count++;
  spec->suffix_count++;
  return add_trim(c, spec, error);
}

viva_status postprocessor_apply(const tokenizer_json_parts *c, arena *a, tokenizer_spec *spec, viva_error *error) {
  for (const component *part = c->first; part; part = part->next) {
    if (component_is(part, "ByteLevel"))
      TRY(add_trim(part, spec, error));
    else if (component_is(part, "TemplateProcessing"))
      TRY(template_apply(part, a, spec, error));
    else if (component_is(part, "RobertaProcessing"))
      TRY(roberta_apply(part, a, spec, error));
    else
      return component_refuse("post_processor", part, "null, ByteLevel, TemplateProcessing, RobertaProcessing", error);
  }
  /* What stands first before a text is its BOS, what stands first behind it its EOS. */
  spec->bos = spec->prefix_count ? spec->prefix[0] : -1;
  spec->eos = spec->suffix_count ? spec->suffix[0] : -1;
  spec->add_bos = spec->prefix_count > 0;
  return VIVA_OK;
}
