/* From an expression's text to a tree. Groups nest at most DEPTH_MAX deep, so that recursion is bounded. */
#include "text/regex_parse.h"

#include <string.h>

#include "text/unicode.h"

#define DEPTH_MAX  32
#define REPEAT_MAX 1000 /* of {n,m} */

typedef struct parser {
  arena *a;
  const uint8_t *text;
  size_t bytes, at;
  int fold; /* (?i) */
  uint32_t depth;
  viva_error *error;
} parser;

static viva_status no_memory(parser *p) { return error_set(p->error, VIVA_E_MEMORY, "no memory to compile a pattern"); }

static viva_status refuse(parser *p, const char *what) {
  char quoted[160];
  return error_set(p->error, VIVA_E_UNSUPPORTED, "the pattern '%s' is not supported: %s at byte %zu",
                   error_quote(quoted, sizeof quoted, (const char *)p->text, p->bytes), what, p->at);
}

static int more(const parser *p) { return p->at < p->bytes; }
static int next_is(const parser *p, char c) { return more(p) && p->text[p->at] == (uint8_t)c; }

static int accept_text(parser *p, const char *text) {
  size_t n = strlen(text);
  if (n > p->bytes - p->at || memcmp(p->text + p->at, text, n) != 0) return 0;
  p->at += n;
  return 1;
}

static regex_node *node_new(parser *p, regex_node_kind kind) {
  regex_node *n = arena_alloc(p->a, sizeof *n);
  if (n) *n = (regex_node){.kind = kind};
  return n;
}

static regex_class *class_new(parser *p) {
  regex_class *set = arena_alloc(p->a, sizeof *set);
  if (set) *set = (regex_class){.negated = 0};
  return set;
}

static viva_status add(parser *p, regex_class *set, uint32_t first, uint32_t last) {
  int problem = regex_class_add(p->a, set, first, last, p->fold);
  if (problem > 0) return no_memory(p);
  return problem ? refuse(p, "letters beyond ASCII under (?i)") : VIVA_OK;
}

static uint32_t hex_digit(uint8_t c) {
  uint8_t lower = c | 0x20;
  if (c >= '0' && c <= '9') return (uint32_t)(c - '0');
  return lower >= 'a' && lower <= 'f' ? (uint32_t)(lower - 'a' + 10) : 16;
}

/* Two hexadecimal digits at most, or any number up to a brace. */
static viva_status hex(parser *p, uint32_t *code) {
  int braced = accept_text(p, "{");
  size_t digits = 0;
  *code = 0;
  for (; more(p); p->at++, digits++) {
    uint32_t digit = hex_digit(p->text[p->at]);
    if (digit == 16 || (!braced && digits == 2)) break;
    *code = *code << 4 | digit;
    if (*code > 0x10ffff) return refuse(p, "a character beyond U+10FFFF");
  }
  if (digits == 0 || (braced && !accept_text(p, "}"))) return refuse(p, "a damaged \\x");
  return VIVA_OK;
}

static viva_status unicode_escape(parser *p, uint32_t *code) {
  size_t begin = p->at;
  if (p->bytes - begin < 4) return refuse(p, "a damaged \\u");
  *code = 0;
  for (; p->at < begin + 4; p->at++) {
    uint32_t digit = hex_digit(p->text[p->at]);
    if (digit == 16) return refuse(p, "a damaged \\u");
    *code = *code << 4 | digit;
  }
  return VIVA_OK;
}

static viva_status property(parser *p, regex_class *set, int negated) {
  if (!accept_text(p, "{")) return refuse(p, "\\p without a brace");
  if (accept_text(p, "^")) negated = !negated;
  size_t begin = p->at;
  while (more(p) && p->text[p->at] != '}') p->at++;
  int problem = regex_class_property(p->a, set, (const char *)p->text + begin, p->at - begin, negated);
  if (problem < 0) return no_memory(p);
  if (problem) return refuse(p, "this property");
  p->at++;
  return VIVA_OK;
}

/* \s and the like: adds to set. *is_class 0: it is one character, *code. The backslash was taken. */
static viva_status escape(parser *p, regex_class *set, int *is_class, uint32_t *code) {
  static const char plain[] = "r\rn\nt\tf\fv\va\ae\x1b";
  if (!more(p)) return refuse(p, "a backslash at the end");
  uint8_t c = p->text[p->at++];
  *is_class = 1;
  switch (c) {
  case 's': set->flags |= CLASS_SPACE; return VIVA_OK;
  case 'S': set->flags |= CLASS_NOT_SPACE; return VIVA_OK;
  case 'w': set->flags |= CLASS_WORD; return VIVA_OK;
  case 'W': set->flags |= CLASS_NOT_WORD; return VIVA_OK;
  case 'd':
  case 'D': return regex_class_property(p->a, set, "Nd", 2, c == 'D') ? no_memory(p) : VIVA_OK;
  case 'p':
  case 'P': return property(p, set, c == 'P');
  default: break;
  }
  *is_class = 0;
  if (c == 'x') return hex(p, code);
  if (c == 'u') return unicode_escape(p, code);
  for (size_t i = 0; i + 1 < sizeof plain; i += 2)
    if (c == (uint8_t)plain[i]) {
      *code = (uint8_t)plain[i + 1];
      return VIVA_OK;
    }
  if (c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) {
    p->at--;
    return refuse(p, "this escape");
  }
  *code = c;
  return VIVA_OK;
}

/* One character of a class, or a set such as \s (then *is_class). */
static viva_status class_item(parser *p, regex_class *set, int *is_class, uint32_t *code) {
  *is_class = 0;
  if (accept_text(p, "\\")) {
    set->flags |= CLASS_BRACKETS;
    return escape(p, set, is_class, code);
  }
  if (next_is(p, '[')) return refuse(p, "a class inside a class");
  p->at += unicode_read(p->text + p->at, code);
  return VIVA_OK;
}

/* [...], whose bracket was taken. */
static viva_status class_body(parser *p, regex_class *set) {
  int is_class, first = 1;
  uint32_t low, high;
  set->negated = (uint8_t)accept_text(p, "^");
  for (;; first = 0) {
    if (!more(p)) return refuse(p, "a class without an end");
    if (!first && accept_text(p, "]")) break;
    if (accept_text(p, "&&")) {
      regex_class *also = class_new(p);
      if (!also) return no_memory(p);
      /* What follows up to the bracket is the other side; a bracketed one may be negated of its own. */
      if (accept_text(p, "[")) {
        TRY(class_body(p, also));
        if (!accept_text(p, "]")) return refuse(p, "more than one class behind &&");
      } else {
        TRY(class_body(p, also));
      }
      if (set->negated) return refuse(p, "a negated class with &&");
      set->also = also;
      break;
    }
    TRY(class_item(p, set, &is_class, &low));
    if (is_class) continue;
    high = low;
    if (next_is(p, '-') && p->at + 1 < p->bytes && p->text[p->at + 1] != ']') {
      p->at++;
      TRY(class_item(p, set, &is_class, &high));
      if (is_class || high < low) return refuse(p, "a range without an order");
    }
    TRY(add(p, set, low, high));
  }
  regex_class_end(set);
  return VIVA_OK;
}

static viva_status class_node(parser *p, regex_class *set, regex_node **out) {
  regex_class_end(set);
  *out = node_new(p, NODE_CLASS);
  if (!*out) return no_memory(p);
  (*out)->set = set;
  return VIVA_OK;
}

static viva_status test_node(parser *p, regex_op op, uint32_t how, regex_node **out) {
  *out = node_new(p, NODE_TEST);
  if (!*out) return no_memory(p);
  (*out)->op = op;
  (*out)->how = how;
  return VIVA_OK;
}

static viva_status alternatives(parser *p, regex_node **out);

static viva_status group_node(parser *p, regex_node_kind kind, uint32_t how, regex_node **out) {
  int fold = p->fold;
  regex_node *body;
  if (p->depth == DEPTH_MAX) return refuse(p, "groups so deep");
  p->depth++;
  TRY(alternatives(p, &body));
  p->depth--;
  p->fold = fold;
  if (!accept_text(p, ")")) return refuse(p, "a group without an end");
  if (kind == NODE_SEQUENCE) {
    *out = body;
    return VIVA_OK;
  }
  *out = node_new(p, kind);
  if (!*out) return no_memory(p);
  (*out)->child = body;
  (*out)->how = how;
  return VIVA_OK;
}

static viva_status behind(parser *p, uint32_t how, regex_node **out) {
  regex_node *body;
  TRY(group_node(p, NODE_SEQUENCE, 0, &body));
  while (body->kind == NODE_SEQUENCE && body->child && !body->child->next) body = body->child;
  if (body->kind != NODE_CLASS) return refuse(p, "a lookbehind of more than one character");
  TRY(test_node(p, REGEX_BEHIND, how, out));
  (*out)->set = body->set;
  return VIVA_OK;
}

/* What follows an opening parenthesis. */
static viva_status group(parser *p, regex_node **out) {
  int fold = p->fold;
  if (!next_is(p, '?')) return group_node(p, NODE_SEQUENCE, 0, out);
  if (accept_text(p, "?:")) return group_node(p, NODE_SEQUENCE, 0, out);
  if (accept_text(p, "?=")) return group_node(p, NODE_AHEAD, 0, out);
  if (accept_text(p, "?!")) return group_node(p, NODE_AHEAD, 1, out);
  if (accept_text(p, "?<=")) return behind(p, 0, out);
  if (accept_text(p, "?<!")) return behind(p, 1, out);
  if (accept_text(p, "?>")) return group_node(p, NODE_ATOMIC, 0, out);
  if (accept_text(p, "?i:")) {
    p->fold = 1;
    viva_status status = group_node(p, NODE_SEQUENCE, 0, out);
    p->fold = fold;
    return status;
  }
  if (accept_text(p, "?i)")) { /* up to the end of the group around it, which resets fold */
    p->fold = 1;
    *out = node_new(p, NODE_SEQUENCE);
    return *out ? VIVA_OK : no_memory(p);
  }
  return refuse(p, "this kind of group");
}

static viva_status atom(parser *p, regex_node **out) {
  static const struct {
    const char *text;
    regex_op op;
    uint32_t how;
  } tests[] = {{"^", REGEX_LINE_BEGIN, 0}, {"$", REGEX_LINE_END, 0},    {"\\A", REGEX_TEXT_BEGIN, 0},
               {"\\z", REGEX_TEXT_END, 0}, {"\\Z", REGEX_TEXT_LAST, 0}, {"\\b", REGEX_WORD_EDGE, 0},
               {"\\B", REGEX_WORD_EDGE, 1}};
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
    if (accept_text(p, tests[i].text)) return test_node(p, tests[i].op, tests[i].how, out);
  if (accept_text(p, "(")) return group(p, out);
  regex_class *set = class_new(p);
  if (!set) return no_memory(p);
  int is_class = 0;
  uint32_t code = 0;
  if (accept_text(p, "[")) {
    TRY(class_body(p, set));
    return class_node(p, set, out);
  }
  if (accept_text(p, ".")) {
    set->negated = 1;
    TRY(add(p, set, '\n', '\n'));
    return class_node(p, set, out);
  }
  if (next_is(p, '*') || next_is(p, '+') || next_is(p, '?')) return refuse(p, "a repetition of nothing");
  if (accept_text(p, "\\"))
    TRY(escape(p, set, &is_class, &code));
  else
    p->at += unicode_read(p->text + p->at, &code);
  if (!is_class) TRY(add(p, set, code, code));
  return class_node(p, set, out);
}

static int number(parser *p, uint32_t *value) {
  size_t begin = p->at;
  *value = 0;
  for (; more(p) && p->text[p->at] >= '0' && p->text[p->at] <= '9'; p->at++)
    if (*value <= REPEAT_MAX) *value = *value * 10 + (p->text[p->at] - '0');
  return p->at > begin;
}

/* {n} {n,} {,m} {n,m}; 0 when the brace is an ordinary character. */
static int interval(parser *p, uint32_t *least, uint32_t *most) {
  size_t begin = p->at;
  p->at++;
  int has_least = number(p, least), comma = accept_text(p, ",");
  int has_most = comma ? number(p, most) : 0;
  if (!accept_text(p, "}") || (!has_least && !has_most)) {
    p->at = begin;
    return 0;
  }
  if (!comma) *most = *least;
  if (comma && !has_most) *most = REGEX_ENDLESS;
  return 1;
}

static int can_be_empty(const regex_node *n) {
  switch (n->kind) {
  case NODE_CLASS: return 0;
  case NODE_REPEAT: return n->least == 0 || can_be_empty(n->child);
  case NODE_ATOMIC: return can_be_empty(n->child);
  case NODE_SEQUENCE:
    for (const regex_node *c = n->child; c; c = c->next)
      if (!can_be_empty(c)) return 0;
    return 1;
  case NODE_ALTERNATIVES:
    for (const regex_node *c = n->child; c; c = c->next)
      if (can_be_empty(c)) return 1;
    return 0;
  default: return 1;
  }
}

/* As Ruby's syntax has it: + behind a braced interval repeats it again, and ? behind {n} makes it optional. */
static viva_status repetitions(parser *p, regex_node **node) {
  for (;;) {
    uint32_t least = 0, most = REGEX_ENDLESS, how = LOOP_GREEDY;
    int braced = 0;
    if (accept_text(p, "?"))
      most = 1;
    else if (accept_text(p, "+"))
      least = 1;
    else if (next_is(p, '{') && interval(p, &least, &most))
      braced = 1;
    else if (!accept_text(p, "*"))
      return VIVA_OK;
    if (least > REPEAT_MAX || (most != REGEX_ENDLESS && most > REPEAT_MAX) || most < least)
      return refuse(p, "this number of repetitions");
    if (!(braced && least == most) && accept_text(p, "?"))
      how = LOOP_LAZY;
    else if (!braced && accept_text(p, "+"))
      how = LOOP_POSSESSIVE;
    if (most == REGEX_ENDLESS && can_be_empty(*node)) return refuse(p, "an endless repetition of what can be empty");
    regex_node *repeat = node_new(p, NODE_REPEAT);
    if (!repeat) return no_memory(p);
    repeat->child = *node;
    repeat->least = least;
    repeat->most = most;
    repeat->how = how;
    *node = repeat;
  }
}

static viva_status sequence(parser *p, regex_node **out) {
  *out = node_new(p, NODE_SEQUENCE);
  if (!*out) return no_memory(p);
  regex_node **tail = &(*out)->child;
  while (more(p) && !next_is(p, '|') && !next_is(p, ')')) {
    TRY(atom(p, tail));
    TRY(repetitions(p, tail));
    tail = &(*tail)->next;
  }
  return VIVA_OK;
}

static viva_status alternatives(parser *p, regex_node **out) {
  regex_node *first, **tail;
  TRY(sequence(p, &first));
  if (!next_is(p, '|')) {
    *out = first;
    return VIVA_OK;
  }
  *out = node_new(p, NODE_ALTERNATIVES);
  if (!*out) return no_memory(p);
  (*out)->child = first;
  tail = &first->next;
  while (accept_text(p, "|")) {
    TRY(sequence(p, tail));
    tail = &(*tail)->next;
  }
  return VIVA_OK;
}

viva_status regex_parse(arena *a, const char *text, size_t bytes, regex_node **out, viva_error *error) {
  parser p = {.a = a, .text = (const uint8_t *)text, .bytes = bytes, .error = error};
  TRY(alternatives(&p, out));
  return more(&p) ? refuse(&p, "a parenthesis too many") : VIVA_OK;
}
