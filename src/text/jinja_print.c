/* text/jinja_print.c: values as text: Python's str() and repr(), and json.dumps as transformers' tojson calls it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja.h"

static void put(jinja *j, jinja_output *out, const char *text) { jinja_output_add(j, out, jinja_literal(text)); }

/* ---- numbers */

/* Python's repr of a float: the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on. */
static void print_real(jinja *j, jinja_output *out, double value, int as_json) {
  char plain[32], digits[32], text[64];
  size_t count = 0, point = 0, at = 0;
  int seen_point = 0;
  long exponent = 0;
  if (!isfinite(value)) {
    const char *name = as_json ? (isnan(value) ? "NaN" : "Infinity") : isnan(value) ? "nan" : "inf";
    if (isinf(value) && value < 0) put(j, out, "-");
    put(j, out, name);
    return;
  }
  num_format_double(plain, value);
  const char *p = plain;
  if (signbit(value)) text[at++] = '-';
  if (*p == '-') p++;
  for (; *p && *p != 'e' && *p != 'E'; p++) { /* digits, and how many stand before the point */
    if (*p == '.') {
      seen_point = 1;
    } else {
      if (count > 0 || *p != '0')
        digits[count++] = *p;
      else if (seen_point)
        exponent--;
      if (!seen_point && count > 0) point = count;
    }
  }
  if (*p) {
    int64_t power = 0;
    p++;
    if (*p == '+') p++;
    if (num_i64(p, strlen(p), &power) == 0) exponent += (long)power;
  }
  while (count > 1 && digits[count - 1] == '0') count--;
  if (count == 0) digits[count++] = '0', point = 1;
  exponent += (long)point - 1; /* of the first digit */
  if (exponent >= 16 || exponent < -4) {
    text[at++] = digits[0];
    if (count > 1) text[at++] = '.';
    for (size_t i = 1; i < count; i++) text[at++] = digits[i];
    snprintf(text + at, sizeof text - at, "e%c%02ld", exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
    put(j, out, text);
    return;
  }
  if (exponent < 0) {
    text[at++] = '0', text[at++] = '.';
    for (long i = -1; i > exponent; i--) text[at++] = '0';
  }
  for (size_t i = 0; i < count || (exponent >= 0 && (long)i <= exponent); i++) {
    if (exponent >= 0 && (long)i == exponent + 1) text[at++] = '.';
    text[at++] = i < count ? digits[i] : '0';
  }
  if (exponent >= 0 && (long)count <= exponent + 1) text[at++] = '.', text[at++] = '0';
  text[at] = 0;
  put(j, out, text);
}

static void print_integer(jinja *j, jinja_output *out, int64_t value) {
  char text[32];
  snprintf(text, sizeof text, "%lld", (long long)value);
  put(j, out, text);
}

/* ---- strings */

/* Puts a character's escape in place of t[at, at + bytes), with its mark. */
static void put_escape(jinja *j, jinja_output *out, jinja_text t, size_t at, const char *escape) {
  uint8_t marks[16];
  size_t n = strlen(escape);
  memset(marks, t.marks ? t.marks[at] : 0, sizeof marks);
  jinja_output_add(j, out, (jinja_text){escape, marks, n});
}

/* An approximation of str.isprintable: controls, formats, separators but the space, private use. */
static int is_printable(uint32_t c) {
  if (c < 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0xad) return 0;
  if (c != ' ' && jinja_is_space(c)) return 0;
  return !((c >= 0x200b && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) ||
           c == 0xfeff || (c >= 0xfff0 && c <= 0xfffb) || (c >= 0xe000 && c <= 0xf8ff) || c >= 0xe0000);
}

static const char *repr_escape(uint32_t c, char quote, char buffer[16]) {
  if (c == '\n') return "\\n";
  if (c == '\r') return "\\r";
  if (c == '\t') return "\\t";
  if (c == '\\') return "\\\\";
  if (c == (uint32_t)quote) return quote == '\'' ? "\\'" : "\\\"";
  if (is_printable(c)) return NULL;
  snprintf(buffer, 16, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
  return buffer;
}

/* ascii: what lies beyond ASCII too, in halves as UTF-16 has them. */
static const char *json_escape(uint32_t c, int ascii, char buffer[16]) {
  switch (c) {
  case '"': return "\\\"";
  case '\\': return "\\\\";
  case '\n': return "\\n";
  case '\r': return "\\r";
  case '\t': return "\\t";
  case '\f': return "\\f";
  case '\b': return "\\b";
  default: break;
  }
  if (c >= 0x20 && (!ascii || c < 0x7f)) return NULL;
  if (c < 0x10000)
    snprintf(buffer, 16, "\\u%04x", (unsigned)c);
  else
    snprintf(buffer, 16, "\\u%04x\\u%04x", 0xd7c0 + (unsigned)(c >> 10), 0xdc00 + (unsigned)(c & 0x3ff));
  return buffer;
}

/* quote: ' or " for repr; JSON, JSON_ASCII. */
enum { JSON = 0, JSON_ASCII = 1 };
static void print_quoted(jinja *j, jinja_output *out, jinja_text t, char quote) {
  int is_json = quote == JSON || quote == JSON_ASCII;
  const char mark[2] = {is_json ? '"' : quote, 0};
  size_t plain = 0;
  put(j, out, mark);
  for (size_t at = 0, n; at < t.bytes && jinja_step(j, 1); at += n) {
    uint32_t code;
    size_t invalid;
    char buffer[16];
    n = utf8_decode(t.text + at, t.bytes - at, &code, &invalid);
    if (n == 0) n = invalid;
    const char *escape = is_json ? json_escape(code, quote == JSON_ASCII, buffer) : repr_escape(code, quote, buffer);
    if (!escape) continue;
    jinja_output_add(j, out, jinja_part(t, plain, at));
    put_escape(j, out, t, at, escape);
    plain = at + n;
  }
  jinja_output_add(j, out, jinja_part(t, plain, t.bytes));
  put(j, out, mark);
}

static void print_repr_string(jinja *j, jinja_output *out, jinja_text t) {
  int single = t.bytes > 0 && memchr(t.text, '\'', t.bytes) != NULL;
  int both = single && memchr(t.text, '"', t.bytes) != NULL;
  print_quoted(j, out, t, single && !both ? '"' : '\'');
}

/* ---- Python */

static void print_members(jinja *j, jinja_output *out, const jinja_value *v) {
  if (v->kind == J_LIST) {
    const jinja_list *list = v->as.list;
    put(j, out, v->tuple ? "(" : "[");
    for (size_t i = 0; i < list->count && !j->status; i++) {
      if (i > 0) put(j, out, ", ");
      jinja_print_repr(j, out, &list->items[i]);
    }
    put(j, out, v->tuple ? (list->count == 1 ? ",)" : ")") : "]");
    return;
  }
  put(j, out, "{");
  for (size_t i = 0; i < v->as.dict->count && !j->status; i++) {
    if (i > 0) put(j, out, ", ");
    jinja_print_repr(j, out, &v->as.dict->members[i].key);
    put(j, out, ": ");
    jinja_print_repr(j, out, &v->as.dict->members[i].value);
  }
  put(j, out, "}");
}

void jinja_print_repr(jinja *j, jinja_output *out, const jinja_value *v) {
  if (!jinja_enter(j)) return;
  switch (v->kind) {
  case J_NONE: put(j, out, "None"); break;
  case J_BOOL: put(j, out, v->as.boolean ? "True" : "False"); break;
  case J_INT: print_integer(j, out, v->as.integer); break;
  case J_FLOAT: print_real(j, out, v->as.real, 0); break;
  case J_STRING: print_repr_string(j, out, *v->as.string); break;
  case J_LIST:
  case J_DICT: print_members(j, out, v); break;
  case J_UNDEFINED: put(j, out, "Undefined"); break;
  default: jinja_fail(j, VIVA_E_UNSUPPORTED, "a value of type %s cannot be printed", jinja_kind_name(v)); break;
  }
  jinja_leave(j);
}

jinja_text jinja_to_text(jinja *j, const jinja_value *v) {
  jinja_output out = {0};
  if (v->kind == J_STRING) return *v->as.string;
  if (v->kind == J_UNDEFINED) return jinja_literal("");
  jinja_print_repr(j, &out, v);
  return jinja_output_text(&out);
}

/* ---- JSON */

static void print_indent(jinja *j, jinja_output *out, const jinja_value *indent, unsigned level) {
  put(j, out, "\n");
  for (unsigned i = 0; i < level && !j->status; i++) {
    if (indent->kind == J_STRING) jinja_output_add(j, out, *indent->as.string);
    for (int64_t k = 0; indent->kind == J_INT && k < indent->as.integer && !j->status; k++) put(j, out, " ");
  }
}

static void print_key(jinja *j, jinja_output *out, const jinja_value *key, const jinja_json *form) {
  jinja_output text = {0};
  if (key->kind == J_STRING) {
    print_quoted(j, out, *key->as.string, form->ascii ? JSON_ASCII : JSON);
    return;
  }
  if (key->kind != J_INT && key->kind != J_BOOL && key->kind != J_NONE && key->kind != J_FLOAT)
    jinja_fail(j, VIVA_E_ARGUMENT, "a key of type %s is none of JSON's", jinja_kind_name(key));
  jinja_print_json(j, &text, key, form, 0);
  put(j, out, "\"");
  jinja_output_add(j, out, jinja_output_text(&text));
  put(j, out, "\"");
}

static void print_json_members(jinja *j, jinja_output *out, const jinja_value *v, const jinja_json *form,
                               unsigned level) {
  const jinja_value *indent = form->indent;
  int is_list = v->kind == J_LIST;
  size_t count = is_list ? v->as.list->count : v->as.dict->count;
  put(j, out, is_list ? "[" : "{");
  for (size_t i = 0; i < count && !j->status; i++) {
    if (i > 0) jinja_output_add(j, out, form->between_items);
    if (indent) print_indent(j, out, indent, level + 1);
    if (!is_list) {
      print_key(j, out, &v->as.dict->members[i].key, form);
      jinja_output_add(j, out, form->behind_key);
    }
    jinja_print_json(j, out, is_list ? &v->as.list->items[i] : &v->as.dict->members[i].value, form, level + 1);
  }
  if (indent && count > 0) print_indent(j, out, indent, level);
  put(j, out, is_list ? "]" : "}");
}

void jinja_print_json(jinja *j, jinja_output *out, const jinja_value *v, const jinja_json *form, unsigned level) {
  if (!jinja_enter(j)) return;
  switch (v->kind) {
  case J_NONE: put(j, out, "null"); break;
  case J_BOOL: put(j, out, v->as.boolean ? "true" : "false"); break;
  case J_INT: print_integer(j, out, v->as.integer); break;
  case J_FLOAT: print_real(j, out, v->as.real, 1); break;
  case J_STRING: print_quoted(j, out, *v->as.string, form->ascii ? JSON_ASCII : JSON); break;
  case J_LIST:
  case J_DICT: print_json_members(j, out, v, form, level); break;
  default: jinja_fail(j, VIVA_E_ARGUMENT, "a value of type %s is none of JSON's", jinja_kind_name(v)); break;
  }
  jinja_leave(j);
}
