/* text/jinja_method.c: methods of strings, mappings, lists and loops, as Python's. Those that would change a value are
 * refused, as in Jinja's sandbox.
 */
#include <string.h>

#include "text/jinja.h"

static jinja_value nothing(void) { return (jinja_value){.kind = J_UNDEFINED}; }

typedef jinja_value (*method_fn)(jinja *j, const jinja_value *self, const jinja_arguments *a);

/* ---- strings */

static jinja_text need_text(jinja *j, const jinja_arguments *a, size_t at) {
  const jinja_value *v = jinja_argument(a, at, NULL);
  if (v && v->kind == J_STRING) return *v->as.string;
  jinja_fail(j, VIVA_E_ARGUMENT, "the method needs a string as argument %zu", at + 1);
  return jinja_literal("");
}

static int64_t integer_or(const jinja_arguments *a, size_t at, const char *name, int64_t missing) {
  const jinja_value *v = jinja_argument(a, at, name);
  return v && v->kind == J_INT ? v->as.integer : missing;
}

static jinja_value strip(jinja *j, const jinja_value *self, const jinja_arguments *a, int left, int right) {
  const jinja_value *chars = jinja_argument(a, 0, NULL);
  int given = chars && chars->kind != J_NONE;
  jinja_text which = given ? need_text(j, a, 0) : jinja_literal("");
  return jinja_string(j, jinja_strip(*self->as.string, given ? &which : NULL, left, right));
}

static jinja_value str_strip(jinja *j, const jinja_value *s, const jinja_arguments *a) { return strip(j, s, a, 1, 1); }
static jinja_value str_lstrip(jinja *j, const jinja_value *s, const jinja_arguments *a) { return strip(j, s, a, 1, 0); }
static jinja_value str_rstrip(jinja *j, const jinja_value *s, const jinja_arguments *a) { return strip(j, s, a, 0, 1); }

static size_t space_run(jinja_text t, size_t at, int space) {
  while (at < t.bytes) {
    uint32_t code;
    size_t invalid, n = utf8_decode(t.text + at, t.bytes - at, &code, &invalid);
    if (n == 0 || jinja_is_space(code) != space) break;
    at += n;
  }
  return at;
}

/* split() without a separator: words between white space. */
static void split_words(jinja *j, jinja_list *list, jinja_text t, int64_t most) {
  size_t at = space_run(t, 0, 1);
  for (int64_t n = 0; at < t.bytes && !j->status; n++) {
    size_t end = most >= 0 && n == most ? t.bytes : space_run(t, at, 0);
    jinja_text part = jinja_part(t, at, end);
    if (end == t.bytes && most >= 0 && n == most) part = jinja_strip(part, NULL, 0, 1);
    jinja_list_add(j, list, jinja_string(j, part));
    at = space_run(t, end, 1);
  }
}

static jinja_value str_split(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  const jinja_value *sep = jinja_argument(a, 0, "sep");
  int64_t most = integer_or(a, 1, "maxsplit", -1);
  jinja_list *list;
  jinja_text t = *self->as.string;
  jinja_value result = jinja_list_new(j, &list);
  if (!sep || sep->kind == J_NONE) {
    split_words(j, list, t, most);
    return result;
  }
  if (sep->kind != J_STRING || sep->as.string->bytes == 0) {
    jinja_fail(j, VIVA_E_ARGUMENT, "split needs a separator that is not empty");
    return nothing();
  }
  size_t at = 0;
  for (int64_t n = 0; !j->status && (most < 0 || n < most); n++) {
    size_t found = jinja_find(j, t, *sep->as.string, at);
    if (found == SIZE_MAX) break;
    jinja_list_add(j, list, jinja_string(j, jinja_part(t, at, found)));
    at = found + sep->as.string->bytes;
  }
  jinja_list_add(j, list, jinja_string(j, jinja_part(t, at, t.bytes)));
  return result;
}

/* The last place of what in t[0, end). */
static size_t find_last(jinja *j, jinja_text t, jinja_text what, size_t end) {
  if (what.bytes > end) return SIZE_MAX;
  for (size_t at = end - what.bytes + 1; at-- > 0 && jinja_step(j, 1 + what.bytes / 32);)
    if (memcmp(t.text + at, what.text, what.bytes) == 0) return at;
  return SIZE_MAX;
}

static jinja_value str_rsplit(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  const jinja_value *sep = jinja_argument(a, 0, "sep");
  int64_t most = integer_or(a, 1, "maxsplit", -1);
  if (most < 0) return str_split(j, self, a);
  if (!sep || sep->kind != J_STRING || sep->as.string->bytes == 0) {
    jinja_fail(j, VIVA_E_UNSUPPORTED, "rsplit with a maximum needs a separator");
    return nothing();
  }
  jinja_text t = *self->as.string;
  size_t end = t.bytes, cuts[256];
  jinja_list *list;
  int64_t n = 0;
  for (; n < most && n < 256 && !j->status; n++) {
    size_t found = find_last(j, t, *sep->as.string, end);
    if (found == SIZE_MAX) break;
    end = cuts[n] = found;
  }
  if (n == 256) jinja_fail(j, VIVA_E_UNSUPPORTED, "rsplit with a maximum above 255 is not supported");
  jinja_value result = jinja_list_new(j, &list);
  size_t at = 0;
  for (; n > 0; n--) {
    jinja_list_add(j, list, jinja_string(j, jinja_part(t, at, cuts[n - 1])));
    at = cuts[n - 1] + sep->as.string->bytes;
  }
  jinja_list_add(j, list, jinja_string(j, jinja_part(t, at, t.bytes)));
  return result;
}

static jinja_value partition(jinja *j, jinja_text t, jinja_text what, size_t found, int last) {
  jinja_list *list;
  jinja_value result = jinja_list_new(j, &list);
  jinja_text none = jinja_literal("");
  int there = found != SIZE_MAX;
  result.tuple = 1;
  jinja_list_add(j, list, jinja_string(j, there ? jinja_part(t, 0, found) : last ? none : t));
  jinja_list_add(j, list, jinja_string(j, there ? jinja_part(t, found, found + what.bytes) : none));
  jinja_list_add(j, list, jinja_string(j, there ? jinja_part(t, found + what.bytes, t.bytes) : last ? t : none));
  return result;
}

static jinja_value str_partition(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  jinja_text what = need_text(j, a, 0);
  return partition(j, *self->as.string, what, jinja_find(j, *self->as.string, what, 0), 0);
}

static jinja_value str_rpartition(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  jinja_text what = need_text(j, a, 0);
  return partition(j, *self->as.string, what, find_last(j, *self->as.string, what, self->as.string->bytes), 1);
}

static jinja_value str_splitlines(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  const jinja_value *keep = jinja_argument(a, 0, "keepends");
  return jinja_split_lines(j, *self->as.string, keep && jinja_true(keep));
}

static int begins(jinja_text t, jinja_text with) {
  return t.bytes >= with.bytes && memcmp(t.text, with.text, with.bytes) == 0;
}
static int ends(jinja_text t, jinja_text with) {
  return t.bytes >= with.bytes && memcmp(t.text + t.bytes - with.bytes, with.text, with.bytes) == 0;
}

/* The argument is a string, or a tuple of which one fits. */
static jinja_value fits(jinja *j, const jinja_value *self, const jinja_arguments *a,
                        int (*test)(jinja_text, jinja_text)) {
  const jinja_value *v = jinja_argument(a, 0, NULL);
  if (!v || v->kind != J_LIST) return jinja_bool(test(*self->as.string, need_text(j, a, 0)));
  for (size_t i = 0; i < v->as.list->count && jinja_step(j, 1); i++)
    if (v->as.list->items[i].kind == J_STRING && test(*self->as.string, *v->as.list->items[i].as.string))
      return jinja_bool(1);
  return jinja_bool(0);
}

static jinja_value str_startswith(jinja *j, const jinja_value *s, const jinja_arguments *a) {
  return fits(j, s, a, begins);
}
static jinja_value str_endswith(jinja *j, const jinja_value *s, const jinja_arguments *a) {
  return fits(j, s, a, ends);
}

static jinja_value str_removeprefix(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  jinja_text t = *self->as.string, what = need_text(j, a, 0);
  return begins(t, what) ? jinja_string(j, jinja_part(t, what.bytes, t.bytes)) : *self;
}

static jinja_value str_removesuffix(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  jinja_text t = *self->as.string, what = need_text(j, a, 0);
  return ends(t, what) ? jinja_string(j, jinja_part(t, 0, t.bytes - what.bytes)) : *self;
}

static jinja_value change(jinja *j, const jinja_value *self, jinja_case how) {
  return jinja_string(j, jinja_change_case(j, *self->as.string, how));
}

static jinja_value str_upper(jinja *j, const jinja_value *s, const jinja_arguments *a) {
  return (void)a, change(j, s, CASE_UPPER);
}
static jinja_value str_lower(jinja *j, const jinja_value *s, const jinja_arguments *a) {
  return (void)a, change(j, s, CASE_LOWER);
}
static jinja_value str_title(jinja *j, const jinja_value *s, const jinja_arguments *a) {
  return (void)a, change(j, s, CASE_TITLE);
}
static jinja_value str_capitalize(jinja *j, const jinja_value *s, const jinja_arguments *a) {
  return (void)a, change(j, s, CASE_CAPITAL);
}

static jinja_value str_replace(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  jinja_text from = need_text(j, a, 0), to = need_text(j, a, 1);
  return jinja_string(j, jinja_replace(j, *self->as.string, from, to, integer_or(a, 2, "count", -1)));
}

static jinja_value found_at(jinja *j, jinja_text t, size_t at, int must) {
  if (at != SIZE_MAX) return jinja_int((int64_t)jinja_characters(jinja_part(t, 0, at)));
  if (must) jinja_fail(j, VIVA_E_ARGUMENT, "the string does not hold what index looks for");
  return jinja_int(-1);
}

static jinja_value str_find(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  jinja_text t = *self->as.string;
  int64_t from = integer_or(a, 1, NULL, 0);
  size_t begin = from > 0 ? jinja_character_at(t, (size_t)from) : 0;
  return found_at(j, t, jinja_find(j, t, need_text(j, a, 0), begin), 0);
}

static jinja_value str_rfind(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  return found_at(j, *self->as.string, find_last(j, *self->as.string, need_text(j, a, 0), self->as.string->bytes), 0);
}

static jinja_value str_index(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  return found_at(j, *self->as.string, jinja_find(j, *self->as.string, need_text(j, a, 0), 0), 1);
}

static jinja_value str_count(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  jinja_text t = *self->as.string, what = need_text(j, a, 0);
  int64_t count = 0;
  if (what.bytes == 0) return jinja_int((int64_t)jinja_characters(t) + 1);
  for (size_t at = 0; (at = jinja_find(j, t, what, at)) != SIZE_MAX && !j->status; at += what.bytes) count++;
  return jinja_int(count);
}

static jinja_value str_join(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  const jinja_value *of = jinja_argument(a, 0, NULL);
  jinja_list *items = of ? jinja_iterate(j, of) : NULL;
  jinja_output out = {0};
  if (!of) jinja_fail(j, VIVA_E_ARGUMENT, "join needs a sequence");
  for (size_t i = 0; items && i < items->count && !j->status; i++) {
    if (items->items[i].kind != J_STRING) jinja_fail(j, VIVA_E_ARGUMENT, "join needs strings");
    if (i > 0) jinja_output_add(j, &out, *self->as.string);
    if (!j->status) jinja_output_add(j, &out, *items->items[i].as.string);
  }
  return jinja_string(j, jinja_output_text(&out));
}

/* "{} and {name}", without conversions and formats. */
static jinja_value str_format(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  jinja_text t = *self->as.string;
  jinja_output out = {0};
  size_t next = 0;
  for (size_t at = 0; at < t.bytes && jinja_step(j, 1);) {
    char c = t.text[at];
    int doubled = at + 1 < t.bytes && t.text[at + 1] == c;
    if ((c != '{' && c != '}') || doubled) {
      jinja_output_add(j, &out, jinja_part(t, at, at + 1));
      at += doubled && (c == '{' || c == '}') ? 2 : 1;
      continue;
    }
    size_t end = at + 1;
    while (end < t.bytes && t.text[end] != '}') end++;
    jinja_text field = jinja_part(t, at + 1, end < t.bytes ? end : at + 1);
    int64_t number;
    const jinja_value *value = field.bytes == 0 ? jinja_argument(a, next++, NULL)
                               : num_i64(field.text, field.bytes, &number) == 0
                                   ? jinja_argument(a, (size_t)number, NULL)
                                   : jinja_dict_find(j, &a->named, field);
    if (c == '}' || end == t.bytes || !value)
      jinja_fail(j, VIVA_E_UNSUPPORTED, "format understands {}, {0} and {name} that are given");
    else
      jinja_output_add(j, &out, jinja_to_text(j, value));
    at = end + 1;
  }
  return jinja_string(j, jinja_output_text(&out));
}

static jinja_value all_between(const jinja_value *self, char low, char high) {
  jinja_text t = *self->as.string;
  int all = t.bytes > 0;
  for (size_t i = 0; i < t.bytes && all; i++) all = t.text[i] >= low && t.text[i] <= high;
  return jinja_bool(all);
}

static jinja_value str_isdigit(jinja *j, const jinja_value *s, const jinja_arguments *a) {
  return (void)j, (void)a, all_between(s, '0', '9');
}

static jinja_value str_isspace(jinja *j, const jinja_value *s, const jinja_arguments *a) {
  (void)j, (void)a;
  return jinja_bool(s->as.string->bytes > 0 && space_run(*s->as.string, 0, 1) == s->as.string->bytes);
}

static jinja_value in_case(jinja *j, const jinja_value *self, const char *name) {
  unsigned which;
  const jinja_arguments none = {0};
  return jinja_bool(jinja_test_find(jinja_literal(name), &which) && jinja_test(j, which, self, &none));
}

static jinja_value str_isupper(jinja *j, const jinja_value *s, const jinja_arguments *a) {
  return (void)a, in_case(j, s, "upper");
}
static jinja_value str_islower(jinja *j, const jinja_value *s, const jinja_arguments *a) {
  return (void)a, in_case(j, s, "lower");
}

/* ---- mappings */

static jinja_value members(jinja *j, const jinja_value *self, int keys, int values) {
  jinja_list *list, *pair;
  jinja_value result = jinja_list_new(j, &list);
  const jinja_dict *dict = self->as.dict;
  for (size_t i = 0; i < dict->count && !j->status; i++) {
    jinja_value item = keys ? dict->members[i].key : dict->members[i].value;
    if (keys && values) {
      item = jinja_list_new(j, &pair);
      item.tuple = 1;
      jinja_list_add(j, pair, dict->members[i].key);
      jinja_list_add(j, pair, dict->members[i].value);
    }
    jinja_list_add(j, list, item);
  }
  return result;
}

static jinja_value dict_items(jinja *j, const jinja_value *s, const jinja_arguments *a) {
  return (void)a, members(j, s, 1, 1);
}
static jinja_value dict_keys(jinja *j, const jinja_value *s, const jinja_arguments *a) {
  return (void)a, members(j, s, 1, 0);
}
static jinja_value dict_values(jinja *j, const jinja_value *s, const jinja_arguments *a) {
  return (void)a, members(j, s, 0, 1);
}
static jinja_value dict_copy(jinja *j, const jinja_value *s, const jinja_arguments *a) { return (void)j, (void)a, *s; }

static jinja_value dict_get(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  const jinja_value *key = jinja_argument(a, 0, "key"), *other = jinja_argument(a, 1, "default");
  const jinja_value *found = key ? jinja_dict_get(j, self->as.dict, key) : NULL;
  if (!key) jinja_fail(j, VIVA_E_ARGUMENT, "get needs a key");
  return found ? *found : other ? *other : jinja_none();
}

/* ---- lists, loops */

static jinja_value list_index(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  const jinja_value *what = jinja_argument(a, 0, NULL);
  for (size_t i = 0; what && i < self->as.list->count && !j->status; i++)
    if (jinja_equal(j, &self->as.list->items[i], what)) return jinja_int((int64_t)i);
  jinja_fail(j, VIVA_E_ARGUMENT, "the list does not hold what index looks for");
  return nothing();
}

static jinja_value list_count(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  const jinja_value *what = jinja_argument(a, 0, NULL);
  int64_t count = 0;
  for (size_t i = 0; what && i < self->as.list->count && !j->status; i++)
    count += jinja_equal(j, &self->as.list->items[i], what);
  return jinja_int(count);
}

static jinja_value loop_cycle(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  if (a->count == 0) jinja_fail(j, VIVA_E_ARGUMENT, "cycle needs values");
  return a->count > 0 ? a->items[self->as.loop->at % a->count] : nothing();
}

static jinja_value changes(jinja *j, const jinja_value *self, const jinja_arguments *a) {
  (void)a;
  jinja_fail(j, VIVA_E_UNSUPPORTED, "a template may not change a %s", jinja_kind_name(self));
  return nothing();
}

static const struct {
  jinja_kind kind;
  const char *name;
  method_fn run;
} methods[] = {{J_STRING, "strip", str_strip},
               {J_STRING, "lstrip", str_lstrip},
               {J_STRING, "rstrip", str_rstrip},
               {J_STRING, "split", str_split},
               {J_STRING, "rsplit", str_rsplit},
               {J_STRING, "splitlines", str_splitlines},
               {J_STRING, "partition", str_partition},
               {J_STRING, "rpartition", str_rpartition},
               {J_STRING, "startswith", str_startswith},
               {J_STRING, "endswith", str_endswith},
               {J_STRING, "removeprefix", str_removeprefix},
               {J_STRING, "removesuffix", str_removesuffix},
               {J_STRING, "upper", str_upper},
               {J_STRING, "lower", str_lower},
               {J_STRING, "title", str_title},
               {J_STRING, "capitalize", str_capitalize},
               {J_STRING, "replace", str_replace},
               {J_STRING, "find", str_find},
               {J_STRING, "rfind", str_rfind},
               {J_STRING, "index", str_index},
               {J_STRING, "count", str_count},
               {J_STRING, "join", str_join},
               {J_STRING, "format", str_format},
               {J_STRING, "isdigit", str_isdigit},
               {J_STRING, "isspace", str_isspace},
               {J_STRING, "isupper", str_isupper},
               {J_STRING, "islower", str_islower},
               {J_DICT, "items", dict_items},
               {J_DICT, "keys", dict_keys},
               {J_DICT, "values", dict_values},
               {J_DICT, "get", dict_get},
               {J_DICT, "copy", dict_copy},
               {J_DICT, "update", changes},
               {J_DICT, "pop", changes},
               {J_DICT, "clear", changes},
               {J_DICT, "setdefault", changes},
               {J_LIST, "index", list_index},
               {J_LIST, "count", list_count},
               {J_LIST, "append", changes},
               {J_LIST, "extend", changes},
               {J_LIST, "insert", changes},
               {J_LIST, "pop", changes},
               {J_LIST, "remove", changes},
               {J_LIST, "clear", changes},
               {J_LIST, "reverse", changes},
               {J_LIST, "sort", changes},
               {J_LOOP, "cycle", loop_cycle}};

static method_fn find_method(jinja_kind kind, jinja_text name) {
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
    if (methods[i].kind == kind && jinja_text_is(name, methods[i].name)) return methods[i].run;
  return NULL;
}

jinja_value jinja_method_find(jinja *j, const jinja_value *self, jinja_text name) {
  if (!find_method(self->kind, name)) return nothing();
  jinja_method *method = jinja_alloc(j, sizeof *method);
  if (!method) return nothing();
  *method = (jinja_method){*self, name};
  return (jinja_value){.kind = J_METHOD, .as.method = method};
}

jinja_value jinja_method_call(jinja *j, const jinja_method *method, const jinja_arguments *a) {
  return j->status ? nothing() : find_method(method->self.kind, method->name)(j, &method->self, a);
}
