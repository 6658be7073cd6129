/* text/jinja_lex.c: a template cut into tokens, with the white space around tags gone as Jinja's lexer takes it away
 * (trim_blocks and lstrip_blocks are set, as in transformers; one line end at the end of the template does not count).
 */
#include <string.h>

#include "text/jinja.h"

int jinja_is_operator(const jinja_token *t, unsigned code) { return t->type == TOKEN_OPERATOR && t->code == code; }
int jinja_is_name(const jinja_token *t, const char *name) {
  return t->type == TOKEN_NAME && jinja_text_is(t->text, name);
}

static int begins(const jinja_parser *p, size_t at, const char *what) {
  size_t bytes = strlen(what);
  return at + bytes <= p->bytes && memcmp(p->text + at, what, bytes) == 0;
}

static void count_lines(jinja_parser *p, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) p->line += p->text[i] == '\n';
}

/* ---- between tags */

/* The next "{{", "{%" or "{#" from at on; p->bytes: none. */
static size_t find_tag(const jinja_parser *p, size_t at) {
  while (at < p->bytes) {
    const char *brace = memchr(p->text + at, '{', p->bytes - at);
    if (!brace) return p->bytes;
    at = (size_t)(brace - p->text);
    if (at + 1 < p->bytes && strchr("{%#", p->text[at + 1]) != NULL && p->text[at + 1] != 0) return at;
    at++;
  }
  return p->bytes;
}

static size_t space_end(const jinja_parser *p, size_t at) {
  uint32_t code;
  size_t n, invalid;
  while (at < p->bytes && (n = utf8_decode(p->text + at, p->bytes - at, &code, &invalid)) > 0 && jinja_is_space(code))
    at += n;
  return at;
}

/* What of text[begin, end), which stands before the tag at end, is kept. */
static size_t data_end(const jinja_parser *p, size_t begin, size_t end) {
  char sign = end + 2 < p->bytes ? p->text[end + 2] : 0;
  jinja_text data = {p->text + begin, NULL, end - begin};
  if (end == p->bytes) return end;
  if (sign == '-') return begin + jinja_strip(data, NULL, 0, 1).bytes;
  if (sign == '+' || p->text[end + 1] == '{') return end;
  size_t line = end; /* lstrip_blocks: white space between the line's begin and the tag goes */
  while (line > begin && p->text[line - 1] != '\n') line--;
  if (line == begin && !p->line_start) return end;
  data = (jinja_text){p->text + line, NULL, end - line};
  return jinja_strip(data, NULL, 1, 0).bytes == 0 ? line : end;
}

/* Behind the end of a block or a comment, whose sign is that before it. */
static size_t after_block(const jinja_parser *p, size_t at, char sign) {
  if (sign == '-') return space_end(p, at);
  return sign != '+' && at < p->bytes && p->text[at] == '\n' ? at + 1 : at;
}

/* Past the end of something that ends at text[end - 2, end) and began at `from`. */
static void move_past(jinja_parser *p, size_t from, size_t end, int trims) {
  char sign = end - 2 > from ? p->text[end - 3] : 0;
  if (sign != '-' && sign != '+') sign = 0;
  size_t next = trims ? after_block(p, end, sign) : sign == '-' ? space_end(p, end) : end;
  count_lines(p, from, next);
  p->line_start = next > 0 && p->text[next - 1] == '\n';
  p->at = next;
}

static size_t find(const jinja_parser *p, size_t at, const char *what) {
  while (at < p->bytes && !begins(p, at, what)) at++;
  return at;
}

static void skip_comment(jinja_parser *p) {
  size_t end = find(p, p->at + 2, "#}");
  if (end == p->bytes) {
    p->j->line = p->line;
    jinja_fail(p->j, VIVA_E_FORMAT, "the comment has no #}");
    p->at = p->bytes;
    return;
  }
  move_past(p, p->at, end + 2, 1);
}

/* "{% raw %}": past the tag, and where it ended in *end; 0: it is another tag. */
static int is_tag(const jinja_parser *p, size_t at, const char *name, size_t *end) {
  if (!begins(p, at, "{%")) return 0;
  at += 2;
  if (at < p->bytes && (p->text[at] == '-' || p->text[at] == '+')) at++;
  at = space_end(p, at);
  if (!begins(p, at, name)) return 0;
  at = space_end(p, at + strlen(name));
  if (at < p->bytes && (p->text[at] == '-' || p->text[at] == '+')) at++;
  *end = at + 2;
  return begins(p, at, "%}");
}

/* Text between raw and endraw, as it is. */
static jinja_token raw_text(jinja_parser *p, size_t tag_end) {
  size_t end = 0;
  move_past(p, p->at, tag_end, 1);
  size_t begin = p->at, at = begin;
  while (at < p->bytes && !is_tag(p, at, "endraw", &end)) at++;
  jinja_token token = {.type = TOKEN_DATA, .line = p->line};
  if (at == p->bytes) {
    p->j->line = p->line;
    jinja_fail(p->j, VIVA_E_FORMAT, "raw has no endraw");
  }
  size_t kept = at < p->bytes ? data_end(p, begin, at) : at;
  token.text = (jinja_text){p->text + begin, NULL, kept - begin};
  count_lines(p, begin, at);
  p->at = at;
  if (at < p->bytes) move_past(p, at, end, 1);
  return token;
}

static jinja_token next_outside(jinja_parser *p) {
  for (;;) {
    size_t begin = p->at, tag = find_tag(p, begin), kept = data_end(p, begin, tag), raw;
    jinja_token token = {.type = TOKEN_DATA, .line = p->line};
    count_lines(p, begin, tag);
    p->at = tag;
    if (kept > begin) { /* the tag itself comes with the next call */
      token.text = (jinja_text){p->text + begin, NULL, kept - begin};
      p->line_start = 0;
      return token;
    }
    if (tag == p->bytes) return (jinja_token){.type = TOKEN_END, .line = p->line};
    if (p->text[tag + 1] == '#') {
      skip_comment(p);
      if (p->j->status) return (jinja_token){.type = TOKEN_END, .line = p->line};
      continue;
    }
    if (is_tag(p, tag, "raw", &raw)) return raw_text(p, raw);
    int block = p->text[tag + 1] == '%';
    p->at += 2;
    if (p->at < p->bytes && (p->text[p->at] == '-' || p->text[p->at] == '+')) p->at++;
    p->mode = block ? IN_BLOCK : IN_OUTPUT;
    p->brackets = 0;
    return (jinja_token){.type = block ? TOKEN_BLOCK_BEGIN : TOKEN_OUTPUT_BEGIN, .line = p->line};
  }
}

/* ---- within tags */

static int is_digit(char c) { return c >= '0' && c <= '9'; }
static int is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

static int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* \xhh \uhhhh \Uhhhhhhhh: the character, and past its digits. */
static int take_hex(const jinja_parser *p, size_t *at, int digits, uint32_t *code) {
  *code = 0;
  for (int i = 0; i < digits; i++) {
    int digit = *at + (size_t)i < p->bytes ? hex_value(p->text[*at + (size_t)i]) : -1;
    if (digit < 0) return 0;
    *code = *code << 4 | (uint32_t)digit;
  }
  *at += (size_t)digits;
  return *code <= 0x10ffff && (*code < 0xd800 || *code > 0xdfff);
}

/* What a backslash at *at means, as in Python's strings, into out. 0: not understood. */
static size_t take_escape(const jinja_parser *p, size_t *at, char out[4]) {
  static const char letters[] = "nrtabfv\\'\"", meant[] = "\n\r\t\a\b\f\v\\'\"";
  char c = p->text[*at + 1];
  const char *known = c ? strchr(letters, c) : NULL;
  uint32_t code = 0;
  *at += 2;
  if (known) return out[0] = meant[known - letters], 1;
  if (c == '\n') return 5; /* a line that goes on: nothing */
  if (c >= '0' && c <= '7') {
    code = (uint32_t)(c - '0');
    for (int i = 0; i < 2 && *at < p->bytes && p->text[*at] >= '0' && p->text[*at] <= '7'; i++)
      code = code * 8 + (uint32_t)(p->text[(*at)++] - '0');
    return utf8_encode(code, out);
  }
  if (c == 'x' || c == 'u' || c == 'U')
    return take_hex(p, at, c == 'x' ? 2 : c == 'u' ? 4 : 8, &code) ? utf8_encode(code, out) : 0;
  if (c == 'N') return 0;
  *at -= 1; /* Python keeps the backslash of an escape that it does not know; the character follows as itself */
  return out[0] = '\\', 1;
}

static jinja_token take_string(jinja_parser *p) {
  char quote = p->text[p->at];
  jinja_token token = {.type = TOKEN_STRING, .line = p->line};
  jinja_output out = {0};
  size_t at = p->at + 1, plain = at;
  while (at < p->bytes && p->text[at] != quote && !p->j->status) {
    if (p->text[at] != '\\' || at + 1 == p->bytes) {
      at++;
      continue;
    }
    char escape[8];
    jinja_output_add(p->j, &out, (jinja_text){p->text + plain, NULL, at - plain});
    size_t n = take_escape(p, &at, escape);
    if (n == 0) jinja_fail(p->j, VIVA_E_UNSUPPORTED, "an escape in a string is not understood");
    if (n < 5) jinja_output_add(p->j, &out, (jinja_text){escape, NULL, n});
    plain = at;
  }
  if (at >= p->bytes) {
    jinja_fail(p->j, VIVA_E_FORMAT, "a string has no end");
    p->at = p->bytes;
    return token;
  }
  jinja_text rest = {p->text + plain, NULL, at - plain};
  if (out.bytes == 0) {
    token.text = rest; /* without escapes: where it lies */
  } else {
    jinja_output_add(p->j, &out, rest);
    token.text = jinja_output_text(&out);
    token.text.marks = NULL;
  }
  count_lines(p, p->at, at);
  p->at = at + 1;
  return token;
}

static jinja_token take_number(jinja_parser *p) {
  jinja_token token = {.type = TOKEN_INTEGER, .line = p->line};
  size_t begin = p->at, at = begin;
  while (at < p->bytes && (is_digit(p->text[at]) || p->text[at] == '_')) at++;
  int member = begin > 0 && p->text[begin - 1] == '.'; /* list.0.1 */
  if (!member && at + 1 < p->bytes && p->text[at] == '.' && is_digit(p->text[at + 1])) {
    token.type = TOKEN_REAL;
    for (at++; at < p->bytes && is_digit(p->text[at]);) at++;
  }
  size_t power = at + 1;
  if (power < p->bytes && (p->text[at] == 'e' || p->text[at] == 'E')) {
    if (p->text[power] == '+' || p->text[power] == '-') power++;
    if (power < p->bytes && is_digit(p->text[power])) {
      token.type = TOKEN_REAL;
      for (at = power; at < p->bytes && is_digit(p->text[at]);) at++;
    }
  }
  token.text = (jinja_text){p->text + begin, NULL, at - begin};
  p->at = at;
  return token;
}

static jinja_token take_operator(jinja_parser *p) {
  static const char *const pairs[] = {"==", "!=", "<=", ">=", "//", "**"};
  static const char single[] = "+-*/%~<>=.,:|()[]{};";
  jinja_token token = {.type = TOKEN_OPERATOR, .line = p->line, .text = {p->text + p->at, NULL, 1}};
  char c = p->text[p->at];
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    if (!begins(p, p->at, pairs[i])) continue;
    token.code = OPERATOR2(pairs[i][0], pairs[i][1]);
    token.text.bytes = 2;
    p->at += 2;
    return token;
  }
  if (c == 0 || !strchr(single, c)) {
    char quoted[16];
    jinja_fail(p->j, VIVA_E_FORMAT, "'%s' has no meaning here", error_quote(quoted, sizeof quoted, p->text + p->at, 1));
  }
  p->brackets += strchr("([{", c) != NULL;
  if (strchr(")]}", c) != NULL && p->brackets > 0) p->brackets--;
  token.code = OPERATOR1(c);
  p->at++;
  return token;
}

/* The end of the tag: "%}" or "}}", with a sign before it or not. */
static int take_tag_end(jinja_parser *p, jinja_token *token) {
  const char *end = p->mode == IN_BLOCK ? "%}" : "}}";
  int sign = p->at < p->bytes && (p->text[p->at] == '-' || (p->text[p->at] == '+' && p->mode == IN_BLOCK));
  if (p->brackets > 0 || !begins(p, p->at + (size_t)sign, end)) return 0;
  token->type = p->mode == IN_BLOCK ? TOKEN_BLOCK_END : TOKEN_OUTPUT_END;
  size_t from = p->at, after = p->at + (size_t)sign + 2;
  move_past(p, from, after, p->mode == IN_BLOCK);
  p->mode = IN_DATA;
  return 1;
}

static jinja_token next_inside(jinja_parser *p) {
  size_t begin = p->at;
  p->at = space_end(p, begin);
  count_lines(p, begin, p->at);
  jinja_token token = {.type = TOKEN_END, .line = p->line};
  p->j->line = p->line;
  if (p->at >= p->bytes) {
    jinja_fail(p->j, VIVA_E_FORMAT, "the tag has no end");
    return token;
  }
  if (take_tag_end(p, &token)) return token;
  char c = p->text[p->at];
  if (is_letter(c)) {
    begin = p->at;
    while (p->at < p->bytes && (is_letter(p->text[p->at]) || is_digit(p->text[p->at]))) p->at++;
    return (jinja_token){.type = TOKEN_NAME, .line = p->line, .text = {p->text + begin, NULL, p->at - begin}};
  }
  if (is_digit(c)) return take_number(p);
  return c == '"' || c == '\'' ? take_string(p) : take_operator(p);
}

void jinja_next(jinja_parser *p) {
  p->now = p->ahead;
  if (!jinja_step(p->j, 1)) {
    p->now.type = p->ahead.type = TOKEN_END;
    return;
  }
  p->ahead = p->mode == IN_DATA ? next_outside(p) : next_inside(p);
  if (p->j->status) p->now.type = p->ahead.type = TOKEN_END;
}
