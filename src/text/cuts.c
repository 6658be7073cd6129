#include "text/cuts.h"

#include <string.h>

#include "base/num.h"
#include "text/compile.h"
#include "text/unicode.h"

/* ---- which kinds are safe ---- */

static int is_space_literal(const pattern *p) {
  return p->kind == PATTERN_LITERAL && p->literal.bytes == 1 && p->literal.text[0] == ' ';
}

/* What ' ' is written as when the normalizer does that and, at most, puts something in front of a text; NULL: it does
 * something else. */
static const token_text *space_mark(const normalizer *n) {
  size_t first = n->count > 0 && n->ops[0].kind == NORMAL_PREPEND;
  if (n->count != first + 1 || n->ops[first].kind != NORMAL_REPLACE || !is_space_literal(&n->ops[first].pattern))
    return NULL;
  return &n->ops[first].content;
}

/* Without pieces that end at spaces, joints decide: the space, as it is written, and the character before it. */
static void find_joints(const viva_tokenizer *t, cuts *out) {
  static const token_text space = {" ", 1};
  const pretokenizer *pre = &t->pre;
  const token_text *mark = t->normal.count ? space_mark(&t->normal) : &space;
  if (!mark || mark->bytes == 0 || !t->joints.usable || t->bpe.rules.ignore_merges) return;
  /* Gemma's Split at spaces, of which the normalizer has left none. */
  int splits_nothing = pre->count == 1 && mark != &space && pre->stages[0].kind == STAGE_SPLIT &&
                       is_space_literal(&pre->stages[0].pattern);
  if (pre->count == 1 && mark == &space && pre->stages[0].kind == STAGE_METASPACE)
    mark = &pre->stages[0].replacement;
  else if (pre->count > 0 && !splits_nothing)
    return;
  (void)unicode_read((const uint8_t *)mark->text, &out->mark);
  out->at_joints = out->before_space = 1;
}

/* Scanners that end a piece in front of every space, and know no look behind. Digits go with them, never alone. */
static void find_scanners(const viva_tokenizer *t, cuts *out) {
  const split_rule *rule = &t->pre.rule;
  int words = 0, lines = 1;
  for (uint32_t i = 0; i < rule->stage_count; i++) {
    split_scanner s = rule->stages[i];
    words |= split_ends_words(s);
    lines &= s != split_gpt2; /* which takes a run of white space at the end of a text otherwise than before a word */
  }
  for (size_t i = 0; i < t->normal.count; i++) {
    const normal_op *op = &t->normal.ops[i];
    if (op->kind != NORMAL_FORM && op->kind != NORMAL_LOWERCASE) return;
    out->only_ascii |= op->kind != NORMAL_FORM || op->form != FORM_NFC;
  }
  out->before_space = out->before_newline = words;
  out->after_newline = words && lines;
}

static int is_white(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/* Characters that may stand before a space at a cut: not those that added tokens end with but for a few (which are looked
 * for below). */
static int may_end(uint32_t code) {
  uint8_t class = unicode_class(code);
  return class_is_letter(class) || (code < 0x80 && (class_is_number(class) || code == '.' || code == ','));
}

static int has_mark(const added_token *a, size_t at) {
  return a->bytes - at >= 3 && memcmp(a->text + at, "\xe2\x96\x81", 3) == 0;
}

/* The text behind an added token is a text of its own, so no cut may be where one ends, or may lie across it. */
static void mind_token(const added_token *a, int is_normalized, cuts *out) {
  for (size_t at = 1; at < a->bytes; at++) {
    if (a->text[at] == ' ' && !is_white(a->text[at - 1])) out->before_space = 0;
    if (a->text[at] == '\n' && !is_white(a->text[at - 1])) out->before_newline = 0;
    if (a->text[at - 1] == '\n' && !is_white(a->text[at])) out->after_newline = 0;
    if (is_normalized && has_mark(a, at) && !(at >= 3 && has_mark(a, at - 3))) out->before_space = 0;
  }
  uint32_t first, last;
  size_t bytes;
  (void)unicode_read(a->text, &first);
  (void)unicode_read_class_before(a->text + a->bytes, &bytes);
  (void)unicode_read(a->text + a->bytes - bytes, &last);
  if (may_end(last)) out->before_space = out->before_newline = 0;
  if ((a->flags & ADDED_SINGLE_WORD) && is_white(a->text[0])) out->before_space = out->before_newline = 0;
  if ((a->flags & ADDED_LSTRIP) && may_end(first)) out->after_newline = 0; /* it takes the line feed along */
}

static void mind_added(const added_set *set, int is_normalized, cuts *out) {
  for (size_t i = 0; i < set->count; i++) mind_token(&set->tokens[i], is_normalized, out);
}

void cuts_find(const viva_tokenizer *t, cuts *out) {
  *out = (cuts){0};
  if (t->pre.only_scanners && t->pre.rule.stage_count > 0)
    find_scanners(t, out);
  else
    find_joints(t, out);
  mind_added(&t->as_written, 0, out);
  mind_added(&t->normalized, 1, out);
}

/* ---- where they are ---- */

/* The character that ends at `at`, whole and valid; 0: there is none. */
static int read_before(const char *text, size_t at, uint32_t *code) {
  size_t n = 1, invalid;
  while (n < 4 && n < at && ((uint8_t)text[at - n] & 0xc0) == 0x80) n++;
  return utf8_decode(text + at - n, n, code, &invalid) == n;
}

static int is_letter_at(const char *text, size_t at, size_t bytes) {
  uint32_t code;
  size_t invalid;
  return utf8_decode(text + at, bytes - at, &code, &invalid) > 0 && class_is_letter(unicode_class(code));
}

static int may_cut(const viva_tokenizer *t, const char *text, size_t at, size_t bytes) {
  const cuts *c = &t->cuts;
  uint32_t before;
  char next = text[at];
  if (next == ' ' && c->before_space) {
    if (!read_before(text, at, &before) || !may_end(before) || (c->only_ascii && before >= 0x80)) return 0;
    return !c->at_joints || !joints_joined(&t->joints, before, c->mark);
  }
  if (next == '\n' && c->before_newline)
    return read_before(text, at, &before) && class_is_letter(unicode_class(before)) &&
           !(c->only_ascii && before >= 0x80);
  return c->after_newline && text[at - 1] == '\n' && !(c->only_ascii && (uint8_t)next >= 0x80) &&
         is_letter_at(text, at, bytes);
}

size_t cuts_last(const viva_tokenizer *t, const char *text, size_t from, size_t bytes) {
  const cuts *c = &t->cuts;
  if (!c->before_space && !c->before_newline && !c->after_newline) return 0;
  for (size_t at = bytes; at-- > from + (from == 0);)
    if (at > 0 && may_cut(t, text, at, bytes)) return at;
  return 0;
}
