/* What the normalizer, pre_tokenizer and decoder of a tokenizer.json mean. */
#include <string.h>

#include "text/tokenizer_json_parts.h"
#include "text/unicode.h"

#define QUOTE_SIZE 80

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory to read tokenizer.json");
}

/* A copy that lives as long as the tokenizer; "" when it was not given. */
static viva_status keep(arena *a, json_string s, token_text *out, viva_error *error) {
  *out = (token_text){arena_text(a, s.text ? s.text : "", s.bytes), s.bytes};
  return out->text ? VIVA_OK : no_memory(error);
}

/* The one character that an option must be; what it is when not given. */
static viva_status keep_character(arena *a, json_string s, const char *missing, const char *what, token_text *out,
                                  viva_error *error) {
  uint32_t code;
  if (!s.text) s = (json_string){missing, strlen(missing)};
  if (s.bytes == 0 || unicode_read((const uint8_t *)s.text, &code) != s.bytes)
    return error_set(error, VIVA_E_FORMAT, "%s is not one character", what);
  return keep(a, s, out, error);
}

static viva_status read_pattern(const component *c, arena *a, pattern *out, viva_error *error) {
  if (c->regex.text) return pattern_from_regex(a, c->regex.text, c->regex.bytes, out, error);
  if (c->literal.text) return pattern_from_literal(a, c->literal.text, c->literal.bytes, out, error);
  return error_set(error, VIVA_E_FORMAT, "%.*s without a pattern", (int)c->type.bytes, c->type.text);
}

static viva_status read_scheme(const component *c, prepend_scheme *out, viva_error *error) {
  static const char *const names[] = {"always", "first", "never"};
  *out = PREPEND_ALWAYS;
  if (c->prepend_scheme.text) {
    size_t i = 0;
    while (i < 3 && !json_string_is(c->prepend_scheme, names[i])) i++;
    if (i == 3) return error_set(error, VIVA_E_FORMAT, "prepend_scheme is not one of always, first, never");
    *out = (prepend_scheme)i;
  }
  if (c->add_prefix_space == 0) { /* the older name of "never" */
    if (c->prepend_scheme.text && *out != PREPEND_NEVER)
      return error_set(error, VIVA_E_FORMAT, "add_prefix_space does not agree with prepend_scheme");
    *out = PREPEND_NEVER;
  }
  return VIVA_OK;
}

/* ---- normalizer ---- */

viva_status normal_form_op(arena *a, normal_form form, normal_op *op, viva_error *error) {
  uint64_t *marks = arena_alloc(a, NORMAL_FORM_WORDS * sizeof *marks);
  if (!marks) return no_memory(error);
  normal_form_mark(form, marks);
  *op = (normal_op){.kind = NORMAL_FORM, .form = form, .marks = marks};
  return VIVA_OK;
}

static viva_status read_normal(const component *c, arena *a, normal_op *op, viva_error *error) {
  static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
  for (size_t i = 0; i < 4; i++)
    if (component_is(c, forms[i])) return normal_form_op(a, (normal_form)i, op, error);
  *op = (normal_op){.kind = NORMAL_LOWERCASE};
  if (component_is(c, "Lowercase")) return VIVA_OK;
  op->kind = NORMAL_BYTE_LEVEL;
  if (component_is(c, "ByteLevel")) return VIVA_OK;
  op->kind = NORMAL_STRIP;
  op->left = c->strip_left;
  op->right = c->strip_right;
  if (component_is(c, "Strip")) return VIVA_OK;
  op->kind = NORMAL_PREPEND;
  if (component_is(c, "Prepend")) return keep(a, c->prepend, &op->content, error);
  op->kind = NORMAL_REPLACE;
  if (!component_is(c, "Replace"))
    return component_refuse("normalizer", c,
                            "null, NFC, NFD, NFKC, NFKD, Lowercase, Strip, Prepend, Replace, ByteLevel", error);
  TRY(keep(a, c->content, &op->content, error));
  return read_pattern(c, a, &op->pattern, error);
}

viva_status normalizer_apply(const tokenizer_json_parts *c, tokenizer_spec *spec, viva_error *error) {
  normal_op *ops = arena_alloc(spec->parts, (c->count + 1) * sizeof *ops);
  size_t count = 0;
  if (!ops) return no_memory(error);
  for (const component *part = c->first; part; part = part->next)
    TRY(read_normal(part, spec->parts, &ops[count++], error));
  spec->normal = (normalizer){ops, count};
  return VIVA_OK;
}

/* ---- pre_tokenizer ---- */

static viva_status read_behavior(const component *c, split_behavior *out, viva_error *error) {
  static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
  char quoted[QUOTE_SIZE];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (json_string_is(c->behavior, names[i])) {
      *out = (split_behavior)i;
      return VIVA_OK;
    }
  return error_set(error, VIVA_E_UNSUPPORTED,
                   "pre_tokenizer behavior '%s' is not supported; known: Isolated, Removed, MergedWithPrevious, "
                   "MergedWithNext, Contiguous",
                   error_quote(quoted, sizeof quoted, c->behavior.text ? c->behavior.text : "", c->behavior.bytes));
}

static pre_stage class_stage(pattern_kind kind, split_behavior behavior, int invert) {
  return (pre_stage){.kind = STAGE_SPLIT, .pattern = {.kind = kind}, .behavior = behavior, .invert = invert};
}

/* ByteLevel: a space in front, GPT-2's pattern, and the byte alphabet; last of all the alphabet is merging's own. */
static void byte_level_stages(const component *c, pre_stage *stages, size_t *count) {
  if (c->add_prefix_space == 1) stages[(*count)++] = (pre_stage){.kind = STAGE_PREFIX_SPACE};
  if (c->use_regex)
    stages[(*count)++] = (pre_stage){.kind = STAGE_SPLIT, .pattern = {.kind = PATTERN_SCANNER, .scanner = split_gpt2}};
  stages[(*count)++] = (pre_stage){.kind = STAGE_ALPHABET};
}

#define STAGES_EACH 3 /* the most that one component becomes */

static viva_status read_stages(const component *c, arena *a, pre_stage *stages, size_t *count, viva_error *error) {
  pre_stage *stage = &stages[*count];
  *stage = (pre_stage){.kind = STAGE_SPLIT};
  if (component_is(c, "ByteLevel")) {
    byte_level_stages(c, stages, count);
    return VIVA_OK;
  }
  (*count)++;
  if (component_is(c, "Split")) {
    stage->invert = c->invert;
    TRY(read_behavior(c, &stage->behavior, error));
    return read_pattern(c, a, &stage->pattern, error);
  }
  if (component_is(c, "Metaspace")) {
    stage->kind = STAGE_METASPACE;
    stage->cut = c->split != 0; /* not given: yes */
    TRY(read_scheme(c, &stage->scheme, error));
    return keep_character(a, c->replacement, "\xe2\x96\x81", "Metaspace's replacement", &stage->replacement, error);
  }
  if (component_is(c, "Punctuation")) {
    *stage = class_stage(PATTERN_PUNCTUATION, SPLIT_ISOLATED, 0);
    return c->behavior.text ? read_behavior(c, &stage->behavior, error) : VIVA_OK;
  }
  if (component_is(c, "Digits"))
    *stage = class_stage(PATTERN_NUMERIC, c->individual_digits ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS, 0);
  else if (component_is(c, "WhitespaceSplit"))
    *stage = class_stage(PATTERN_SPACE, SPLIT_REMOVED, 0);
  else if (component_is(c, "Whitespace"))
    *stage = class_stage(PATTERN_WORDS, SPLIT_REMOVED, 1);
  else
    return component_refuse("pre_tokenizer", c,
                            "null, ByteLevel, Digits, Metaspace, Punctuation, Split, Whitespace, WhitespaceSplit",
                            error);
  return VIVA_OK;
}

viva_status pretokenizer_apply(const tokenizer_json_parts *c, tokenizer_spec *spec, viva_error *error) {
  pre_stage *stages = arena_alloc(spec->parts, (c->count + 1) * STAGES_EACH * sizeof *stages);
  size_t count = 0;
  if (!stages) return no_memory(error);
  for (const component *part = c->first; part; part = part->next)
    TRY(read_stages(part, spec->parts, stages, &count, error));
  spec->stages = stages;
  spec->stage_count = count;
  return VIVA_OK;
}

/* ---- decoder ---- */

static viva_status read_decode(const component *c, arena *a, decode_op *op, viva_error *error) {
  static const struct {
    const char *type;
    decode_kind kind;
  } plain[] = {{"ByteLevel", DECODE_BYTE_LEVEL}, {"ByteFallback", DECODE_BYTE_FALLBACK}, {"Fuse", DECODE_FUSE}};
  *op = (decode_op){.start = (size_t)c->start, .stop = (size_t)c->stop};
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
    if (component_is(c, plain[i].type)) {
      op->kind = plain[i].kind;
      return VIVA_OK;
    }
  if (component_is(c, "Replace")) {
    op->kind = DECODE_REPLACE;
    TRY(keep(a, c->content, &op->content, error));
    return read_pattern(c, a, &op->pattern, error);
  }
  if (component_is(c, "Strip")) {
    op->kind = DECODE_STRIP;
    return keep_character(a, c->content, "", "Strip's content", &op->content, error);
  }
  if (component_is(c, "Metaspace")) {
    op->kind = DECODE_METASPACE;
    TRY(read_scheme(c, &op->scheme, error));
    return keep_character(a, c->replacement, "\xe2\x96\x81", "Metaspace's replacement", &op->content, error);
  }
  if (!component_is(c, "BPEDecoder"))
    return component_refuse("decoder", c, "null, BPEDecoder, ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Strip",
                            error);
  op->kind = DECODE_SUFFIX;
  if (c->suffix.text && c->suffix.bytes == 0)
    return error_set(error, VIVA_E_UNSUPPORTED, "BPEDecoder with an empty suffix");
  return keep(a, c->suffix.text ? c->suffix : (json_string){"</w>", 4}, &op->content, error);
}

viva_status decoder_apply(const tokenizer_json_parts *c, tokenizer_spec *spec, viva_error *error) {
  decode_op *ops = arena_alloc(spec->parts, (c->count + 1) * sizeof *ops);
  size_t count = 0;
  if (!ops) return no_memory(error);
  for (const component *part = c->first; part; part = part->next)
    TRY(read_decode(part, spec->parts, &ops[count++], error));
  spec->decode_ops = ops;
  spec->decode_count = count;
  return VIVA_OK;
}
