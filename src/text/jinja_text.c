/* text/jinja_text.c: strings of the interpreter: UTF-8 with a mark for each byte. Positions are those of characters,
 * as in Python, wherever a template can see them.
 */
#include <string.h>

#include "text/jinja.h"

jinja_text jinja_literal(const char *text) { return (jinja_text){text, NULL, strlen(text)}; }

int jinja_text_is(jinja_text t, const char *text) {
  return strlen(text) == t.bytes && memcmp(t.text, text, t.bytes) == 0;
}

int jinja_text_equal(jinja_text a, jinja_text b) {
  return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.text, b.text, a.bytes) == 0);
}

jinja_text jinja_part(jinja_text t, size_t begin, size_t end) {
  return (jinja_text){t.text + begin, t.marks ? t.marks + begin : NULL, end - begin};
}

void jinja_output_add(jinja *j, jinja_output *out, jinja_text text) {
  if (j->status || text.bytes == 0 || !jinja_step(j, text.bytes / 16)) return;
  if (text.bytes > out->capacity - out->bytes) {
    size_t capacity = 2 * (out->bytes + text.bytes) + 64; /* far below SIZE_MAX: j->room bounds it */
    char *grown = jinja_alloc(j, 2 * capacity);
    if (!grown) return;
    if (out->bytes > 0) {
      memcpy(grown, out->text, out->bytes);
      memcpy(grown + capacity, out->marks, out->bytes);
    }
    out->text = grown;
    out->marks = (uint8_t *)grown + capacity;
    out->capacity = capacity;
  }
  memcpy(out->text + out->bytes, text.text, text.bytes);
  if (text.marks)
    memcpy(out->marks + out->bytes, text.marks, text.bytes);
  else
    memset(out->marks + out->bytes, 0, text.bytes);
  out->bytes += text.bytes;
}

jinja_text jinja_output_text(const jinja_output *out) {
  return out->bytes > 0 ? (jinja_text){out->text, out->marks, out->bytes} : (jinja_text){"", NULL, 0};
}

jinja_text jinja_concat(jinja *j, jinja_text a, jinja_text b) {
  jinja_output out = {0};
  if (a.bytes == 0) return b;
  if (b.bytes == 0) return a;
  jinja_output_add(j, &out, a);
  jinja_output_add(j, &out, b);
  return jinja_output_text(&out);
}

size_t jinja_find(jinja *j, jinja_text in, jinja_text what, size_t from) {
  if (what.bytes > in.bytes) return SIZE_MAX;
  for (size_t at = from; at + what.bytes <= in.bytes; at++) {
    if (what.bytes == 0) return at;
    const char *first = memchr(in.text + at, what.text[0], in.bytes - what.bytes - at + 1);
    if (!first) return SIZE_MAX;
    if (!jinja_step(j, 1 + ((size_t)(first - in.text) - at) / 32 + what.bytes / 32)) return SIZE_MAX;
    at = (size_t)(first - in.text);
    if (memcmp(first, what.text, what.bytes) == 0) return at;
  }
  return SIZE_MAX;
}

static int begins_character(char c) { return ((unsigned char)c & 0xc0) != 0x80; }

size_t jinja_characters(jinja_text t) {
  size_t count = 0;
  for (size_t i = 0; i < t.bytes; i++) count += (size_t)begins_character(t.text[i]);
  return count;
}

size_t jinja_character_at(jinja_text t, size_t index) {
  size_t at = 0;
  for (; at < t.bytes; at++)
    if (begins_character(t.text[at]) && index-- == 0) return at;
  return at;
}

/* Python's str.isspace. */
int jinja_is_space(uint32_t code) {
  return (code >= 9 && code <= 13) || (code >= 0x1c && code <= 0x20) || code == 0x85 || code == 0xa0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f ||
         code == 0x205f || code == 0x3000;
}

static uint32_t code_at(jinja_text t, size_t at, size_t *bytes) {
  uint32_t code;
  size_t invalid;
  *bytes = utf8_decode(t.text + at, t.bytes - at, &code, &invalid);
  if (*bytes == 0) *bytes = invalid; /* templates and messages are UTF-8: does not happen */
  return code;
}

static int is_stripped(uint32_t code, const jinja_text *characters) {
  if (!characters) return jinja_is_space(code);
  for (size_t at = 0, bytes; at < characters->bytes; at += bytes)
    if (code_at(*characters, at, &bytes) == code) return 1;
  return 0;
}

jinja_text jinja_strip(jinja_text t, const jinja_text *characters, int left, int right) {
  size_t begin = 0, end = t.bytes, bytes;
  while (left && begin < end && is_stripped(code_at(t, begin, &bytes), characters)) begin += bytes;
  while (right && end > begin) {
    size_t last = end - 1;
    while (last > begin && !begins_character(t.text[last])) last--;
    if (!is_stripped(code_at(t, last, &bytes), characters)) break;
    end = last;
  }
  return jinja_part(t, begin, end);
}

/* most < 0: all. An empty `from` stands before each character and at the end, as in Python. */
jinja_text jinja_replace(jinja *j, jinja_text t, jinja_text from, jinja_text to, int64_t most) {
  jinja_output out = {0};
  size_t at = 0;
  for (int64_t n = 0; !j->status && (most < 0 || n < most); n++) {
    size_t found = jinja_find(j, t, from, at);
    if (found == SIZE_MAX || j->status) break;
    size_t step = found + from.bytes;
    jinja_output_add(j, &out, jinja_part(t, at, found));
    jinja_output_add(j, &out, to);
    if (from.bytes == 0) {
      if (found == t.bytes) return jinja_output_text(&out);
      code_at(t, found, &step);
      jinja_output_add(j, &out, jinja_part(t, found, found + step));
      step += found;
    }
    at = step;
  }
  jinja_output_add(j, &out, jinja_part(t, at, t.bytes));
  return jinja_output_text(&out);
}

/* ---- upper and lower case: Latin, Greek, Cyrillic and Armenian, whose capitals lie at fixed distances. Other scripts
 * with cases (Georgian, Cherokee, ...) stay as they are. */

static uint32_t to_lower(uint32_t c) {
  if ((c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3ab && c != 0x3a2) ||
      (c >= 0x410 && c <= 0x42f))
    return c + 32;
  if (c >= 0x400 && c <= 0x40f) return c + 80;
  if (c >= 0x531 && c <= 0x556) return c + 48;
  int even = (c >= 0x100 && c <= 0x12f) || (c >= 0x132 && c <= 0x137) || (c >= 0x14a && c <= 0x177) ||
             (c >= 0x460 && c <= 0x481) || (c >= 0x48a && c <= 0x4bf) || (c >= 0x4d0 && c <= 0x52f) ||
             (c >= 0x1e00 && c <= 0x1e95) || (c >= 0x1ea0 && c <= 0x1eff);
  int odd = (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e);
  if (even && c % 2 == 0) return c + 1;
  if (odd && c % 2 == 1) return c + 1;
  return c == 0x178 ? 0xff : c;
}

static uint32_t to_upper(uint32_t c) {
  if ((c >= 'a' && c <= 'z') || (c >= 0xe0 && c <= 0xfe && c != 0xf7) || (c >= 0x3b1 && c <= 0x3cb && c != 0x3c2) ||
      (c >= 0x430 && c <= 0x44f))
    return c - 32;
  if (c >= 0x450 && c <= 0x45f) return c - 80;
  if (c >= 0x561 && c <= 0x586) return c - 48;
  if (c == 0x3c2) return 0x3a3;
  if (c == 0xff) return 0x178;
  return c > 0x100 && to_lower(c - 1) == c ? c - 1 : c;
}

static int has_case(uint32_t c) { return to_lower(c) != c || to_upper(c) != c || c == 0xdf; }

static uint32_t change(uint32_t code, jinja_case how, int first) {
  switch (how) {
  case CASE_UPPER: return to_upper(code);
  case CASE_LOWER: return to_lower(code);
  case CASE_TITLE:
  case CASE_WORDS:
  case CASE_CAPITAL: break;
  }
  return first ? to_upper(code) : to_lower(code);
}

jinja_text jinja_change_case(jinja *j, jinja_text t, jinja_case how) {
  jinja_output out = {0};
  int first = 1;
  for (size_t at = 0, bytes; at < t.bytes && !j->status; at += bytes) {
    char changed[8];
    uint8_t marks[8];
    uint32_t code = code_at(t, at, &bytes);
    size_t n = 0;
    if (code == 0xdf &&
        (how == CASE_UPPER || (first && how != CASE_LOWER))) { /* the sharp s has no capital of its own */
      memcpy(changed, how == CASE_UPPER ? "SS" : "Ss", 2);
      n = 2;
    } else {
      n = utf8_encode(change(code, how, first), changed);
    }
    memset(marks, t.marks ? t.marks[at] : 0, sizeof marks);
    jinja_output_add(j, &out, (jinja_text){changed, marks, n});
    if (how == CASE_WORDS)
      first = jinja_is_space(code) || (code < 128 && code > 0 && strchr("-({[<", (int)code) != NULL);
    else
      first = how == CASE_TITLE && !has_case(code);
  }
  return jinja_output_text(&out);
}

/* Where Python's str.splitlines cuts. */
static int ends_line(uint32_t code) {
  return (code >= 10 && code <= 13) || (code >= 0x1c && code <= 0x1e) || code == 0x85 || code == 0x2028 ||
         code == 0x2029;
}

jinja_value jinja_split_lines(jinja *j, jinja_text t, int keep_ends) {
  jinja_list *lines;
  jinja_value result = jinja_list_new(j, &lines);
  size_t begin = 0;
  for (size_t at = 0, bytes; at < t.bytes && !j->status; at += bytes) {
    if (!ends_line(code_at(t, at, &bytes))) continue;
    if (t.text[at] == '\r' && at + 1 < t.bytes && t.text[at + 1] == '\n') bytes = 2;
    jinja_list_add(j, lines, jinja_string(j, jinja_part(t, begin, keep_ends ? at + bytes : at)));
    begin = at + bytes;
  }
  if (begin < t.bytes) jinja_list_add(j, lines, jinja_string(j, jinja_part(t, begin, t.bytes)));
  return result;
}
