/* text/jinja_filter.c: the filters, as Jinja2's filters.py has them; tojson is transformers'. */
#include <math.h>
#include <string.h>

#include "text/jinja.h"

typedef jinja_value (*filter_fn)(jinja *j, jinja_value of, const jinja_arguments *a);

static jinja_value nothing(void) { return (jinja_value){.kind = J_UNDEFINED}; }

static int flag(const jinja_arguments *a, size_t at, const char *name) {
  const jinja_value *v = jinja_argument(a, at, name);
  return v && jinja_true(v);
}

static jinja_text text_argument(jinja *j, const jinja_arguments *a, size_t at, const char *name, const char *missing) {
  const jinja_value *v = jinja_argument(a, at, name);
  return v ? jinja_to_text(j, v) : jinja_literal(missing);
}

/* ---- of any value */

static jinja_value filter_default(jinja *j, jinja_value of, const jinja_arguments *a) {
  const jinja_value *other = jinja_argument(a, 0, "default_value");
  if (of.kind != J_UNDEFINED && !(flag(a, 1, "boolean") && !jinja_true(&of))) return of;
  return other ? *other : jinja_string(j, jinja_literal(""));
}

static jinja_value filter_length(jinja *j, jinja_value of, const jinja_arguments *a) {
  (void)a;
  return jinja_int((int64_t)jinja_length(j, &of));
}

static jinja_value filter_string(jinja *j, jinja_value of, const jinja_arguments *a) {
  (void)a;
  return jinja_string(j, jinja_to_text(j, &of));
}

static jinja_value filter_safe(jinja *j, jinja_value of, const jinja_arguments *a) { return filter_string(j, of, a); }

static int by_key(jinja *j, const jinja_member *a, const jinja_member *b) { return jinja_compare(j, &a->key, &b->key); }

/* Members of every dict in order of their keys. */
static jinja_value sorted_keys(jinja *j, jinja_value v) {
  if (!jinja_enter(j)) return nothing();
  jinja_value result = v;
  if (v.kind == J_LIST) {
    jinja_list *list;
    result = jinja_list_new(j, &list);
    for (size_t i = 0; i < v.as.list->count && !j->status; i++)
      jinja_list_add(j, list, sorted_keys(j, v.as.list->items[i]));
  } else if (v.kind == J_DICT) {
    jinja_dict *dict;
    result = jinja_dict_new(j, &dict);
    for (size_t i = 0; i < v.as.dict->count && !j->status; i++) { /* insertion: dicts are small */
      jinja_member m = {v.as.dict->members[i].key, sorted_keys(j, v.as.dict->members[i].value)};
      jinja_dict_append(j, dict, m.key, m.value);
      for (size_t k = dict->count; k-- > 1 && !j->status && by_key(j, &dict->members[k - 1], &dict->members[k]) > 0;) {
        jinja_member swap = dict->members[k];
        dict->members[k] = dict->members[k - 1];
        dict->members[k - 1] = swap;
      }
    }
  }
  jinja_leave(j);
  return result;
}

/* separators=(',', ':') */
static void read_separators(jinja *j, const jinja_value *v, jinja_json *form) {
  const jinja_list *pair = v->kind == J_LIST ? v->as.list : NULL;
  if (!pair || pair->count != 2 || pair->items[0].kind != J_STRING || pair->items[1].kind != J_STRING) {
    jinja_fail(j, VIVA_E_ARGUMENT, "tojson's separators are two strings");
    return;
  }
  form->between_items = *pair->items[0].as.string;
  form->behind_key = *pair->items[1].as.string;
}

static jinja_value filter_tojson(jinja *j, jinja_value of, const jinja_arguments *a) {
  jinja_output out = {0};
  const jinja_value *indent = jinja_argument(a, 1, "indent"), *separators = jinja_argument(a, 2, "separators");
  if (indent && indent->kind == J_NONE) indent = NULL;
  if (indent && indent->kind != J_INT && indent->kind != J_STRING)
    jinja_fail(j, VIVA_E_ARGUMENT, "tojson's indent is a number or a string");
  jinja_json form = {.indent = indent,
                     .between_items = jinja_literal(indent ? "," : ", "),
                     .behind_key = jinja_literal(": "),
                     .ascii = flag(a, 0, "ensure_ascii")};
  if (separators && separators->kind != J_NONE) read_separators(j, separators, &form);
  if (flag(a, 3, "sort_keys")) of = sorted_keys(j, of);
  jinja_print_json(j, &out, &of, &form, 0);
  return jinja_string(j, jinja_output_text(&out));
}

/* ---- of strings */

static jinja_value filter_trim(jinja *j, jinja_value of, const jinja_arguments *a) {
  const jinja_value *chars = jinja_argument(a, 0, "chars");
  int given = chars && chars->kind == J_STRING;
  return jinja_string(j, jinja_strip(jinja_to_text(j, &of), given ? chars->as.string : NULL, 1, 1));
}

static jinja_value filter_upper(jinja *j, jinja_value of, const jinja_arguments *a) {
  (void)a;
  return jinja_string(j, jinja_change_case(j, jinja_to_text(j, &of), CASE_UPPER));
}

static jinja_value filter_lower(jinja *j, jinja_value of, const jinja_arguments *a) {
  (void)a;
  return jinja_string(j, jinja_change_case(j, jinja_to_text(j, &of), CASE_LOWER));
}

static jinja_value filter_title(jinja *j, jinja_value of, const jinja_arguments *a) {
  (void)a;
  return jinja_string(j, jinja_change_case(j, jinja_to_text(j, &of), CASE_WORDS));
}

static jinja_value filter_capitalize(jinja *j, jinja_value of, const jinja_arguments *a) {
  (void)a;
  return jinja_string(j, jinja_change_case(j, jinja_to_text(j, &of), CASE_CAPITAL));
}

static jinja_value filter_replace(jinja *j, jinja_value of, const jinja_arguments *a) {
  const jinja_value *count = jinja_argument(a, 2, "count");
  if (!jinja_argument(a, 1, "new")) jinja_fail(j, VIVA_E_ARGUMENT, "replace needs what to replace, and by what");
  jinja_text from = text_argument(j, a, 0, "old", ""), to = text_argument(j, a, 1, "new", "");
  int64_t most = count && count->kind == J_INT ? count->as.integer : -1;
  return jinja_string(j, jinja_replace(j, jinja_to_text(j, &of), from, to, most));
}

static jinja_value filter_indent(jinja *j, jinja_value of, const jinja_arguments *a) {
  const jinja_value *width = jinja_argument(a, 0, "width");
  int first = flag(a, 1, "first"), blank = flag(a, 2, "blank");
  jinja_output out = {0}, spaces = {0};
  int64_t count = width && width->kind == J_INT ? width->as.integer : 4;
  jinja_text with_end = jinja_concat(j, jinja_to_text(j, &of), jinja_literal("\n"));
  jinja_value lines = jinja_split_lines(j, with_end, 0);
  if (width && width->kind == J_STRING) jinja_output_add(j, &spaces, *width->as.string);
  for (int64_t i = 0; !(width && width->kind == J_STRING) && i < count && !j->status; i++)
    jinja_output_add(j, &spaces, jinja_literal(" "));
  if (first) jinja_output_add(j, &out, jinja_output_text(&spaces));
  for (size_t i = 0; !j->status && i < lines.as.list->count; i++) {
    jinja_text line = *lines.as.list->items[i].as.string;
    if (i > 0) jinja_output_add(j, &out, jinja_literal("\n"));
    if (i > 0 && (blank || line.bytes > 0)) jinja_output_add(j, &out, jinja_output_text(&spaces));
    jinja_output_add(j, &out, line);
  }
  return jinja_string(j, jinja_output_text(&out));
}

static jinja_value filter_wordcount(jinja *j, jinja_value of, const jinja_arguments *a) {
  jinja_value text = jinja_string(j, jinja_to_text(j, &of));
  (void)a;
  if (j->status) return nothing();
  jinja_value split = jinja_method_find(j, &text, jinja_literal("split"));
  const jinja_arguments none = {0};
  jinja_value words = j->status ? nothing() : jinja_method_call(j, split.as.method, &none);
  return j->status ? nothing() : jinja_int((int64_t)words.as.list->count);
}

/* "%s and %d": %s %d %i %r %%. */
static jinja_value filter_format(jinja *j, jinja_value of, const jinja_arguments *a) {
  jinja_text t = jinja_to_text(j, &of);
  jinja_output out = {0};
  size_t at = 0, plain = 0, next = 0;
  for (; at + 1 < t.bytes && !j->status; at++) {
    if (t.text[at] != '%') continue;
    char kind = t.text[at + 1];
    jinja_output_add(j, &out, jinja_part(t, plain, at));
    if (kind == '%') {
      jinja_output_add(j, &out, jinja_part(t, at, at + 1));
    } else if (kind == 0 || !strchr("sdir", kind)) {
      jinja_fail(j, VIVA_E_UNSUPPORTED, "of the conversions of format, %%s %%d %%i %%r and %%%% are supported");
    } else if (next == a->count) {
      jinja_fail(j, VIVA_E_ARGUMENT, "format has too few values");
    } else if (kind == 'r') {
      jinja_print_repr(j, &out, &a->items[next++]);
    } else {
      jinja_output_add(j, &out, jinja_to_text(j, &a->items[next++]));
    }
    plain = ++at + 1;
  }
  if (plain < t.bytes) jinja_output_add(j, &out, jinja_part(t, plain, t.bytes));
  return jinja_string(j, jinja_output_text(&out));
}

/* ---- of numbers */

/* A number as Python's int() and float() read it from text. */
static int read_number(jinja_value of, double *real, int64_t *integer) {
  if (of.kind == J_INT || of.kind == J_BOOL) {
    *integer = of.kind == J_INT ? of.as.integer : of.as.boolean;
    return *real = (double)*integer, 1;
  }
  if (of.kind == J_STRING) {
    jinja_text t = jinja_strip(*of.as.string, NULL, 1, 1);
    if (num_i64(t.text, t.bytes, integer) == 0) return *real = (double)*integer, 1;
    if (num_double(t.text, t.bytes, real)) return 0;
  } else if (of.kind == J_FLOAT) {
    *real = of.as.real;
  } else {
    return 0;
  }
  if (!(*real > -9e18 && *real < 9e18)) return 2;
  *integer = (int64_t)*real;
  return 1;
}

static jinja_value filter_int(jinja *j, jinja_value of, const jinja_arguments *a) {
  const jinja_value *other = jinja_argument(a, 0, "default");
  double real;
  int64_t integer;
  (void)j;
  return read_number(of, &real, &integer) == 1 ? jinja_int(integer) : other ? *other : jinja_int(0);
}

static jinja_value filter_float(jinja *j, jinja_value of, const jinja_arguments *a) {
  const jinja_value *other = jinja_argument(a, 0, "default");
  double real;
  int64_t integer;
  (void)j;
  return read_number(of, &real, &integer) ? jinja_real(real) : other ? *other : jinja_real(0);
}

static jinja_value filter_round(jinja *j, jinja_value of, const jinja_arguments *a) {
  const jinja_value *precision = jinja_argument(a, 0, "precision"), *method = jinja_argument(a, 1, "method");
  int up = method && method->kind == J_STRING && jinja_text_is(*method->as.string, "ceil");
  int down = method && method->kind == J_STRING && jinja_text_is(*method->as.string, "floor");
  if (precision && !(precision->kind == J_INT && precision->as.integer == 0)) {
    jinja_fail(j, VIVA_E_UNSUPPORTED, "round with a precision is not supported");
    return nothing();
  }
  if (of.kind == J_INT && !up && !down) return of;
  if (of.kind != J_INT && of.kind != J_FLOAT) jinja_fail(j, VIVA_E_ARGUMENT, "round needs a number");
  double value = of.kind == J_INT ? (double)of.as.integer : of.as.real;
  return jinja_real(up ? ceil(value) : down ? floor(value) : rint(value));
}

static jinja_value filter_abs(jinja *j, jinja_value of, const jinja_arguments *a) {
  (void)a;
  if (of.kind == J_INT)
    return of.as.integer == INT64_MIN ? of : jinja_int(of.as.integer < 0 ? -of.as.integer : of.as.integer);
  if (of.kind != J_FLOAT) jinja_fail(j, VIVA_E_ARGUMENT, "abs needs a number");
  return jinja_real(fabs(of.as.real));
}

/* ---- of sequences */

static jinja_value filter_list(jinja *j, jinja_value of, const jinja_arguments *a) {
  jinja_list *items = jinja_iterate(j, &of), *list;
  (void)a;
  jinja_value result = jinja_list_new(j, &list);
  for (size_t i = 0; items && i < items->count && !j->status; i++) jinja_list_add(j, list, items->items[i]);
  return result;
}

static jinja_value filter_first(jinja *j, jinja_value of, const jinja_arguments *a) {
  jinja_list *items = jinja_iterate(j, &of);
  (void)a;
  return items && items->count > 0 ? items->items[0] : nothing();
}

static jinja_value filter_last(jinja *j, jinja_value of, const jinja_arguments *a) {
  jinja_list *items = jinja_iterate(j, &of);
  (void)a;
  return items && items->count > 0 ? items->items[items->count - 1] : nothing();
}

static jinja_value filter_reverse(jinja *j, jinja_value of, const jinja_arguments *a) {
  jinja_list *items = jinja_iterate(j, &of), *list;
  jinja_output out = {0};
  (void)a;
  if (!items) return nothing();
  if (of.kind == J_STRING) {
    for (size_t i = items->count; i-- > 0 && !j->status;) jinja_output_add(j, &out, *items->items[i].as.string);
    return jinja_string(j, jinja_output_text(&out));
  }
  jinja_value result = jinja_list_new(j, &list);
  for (size_t i = items->count; i-- > 0 && !j->status;) jinja_list_add(j, list, items->items[i]);
  return result;
}

static jinja_value filter_join(jinja *j, jinja_value of, const jinja_arguments *a) {
  const jinja_value *attribute = jinja_argument(a, 1, "attribute");
  jinja_text between = text_argument(j, a, 0, "d", "");
  jinja_output out = {0};
  if (attribute && attribute->kind == J_STRING) {
    jinja_arguments by = {.named = {0}};
    jinja_dict_append(j, &by.named, jinja_string(j, jinja_literal("attribute")), *attribute);
    of = jinja_map(j, &of, &by);
  }
  jinja_list *items = j->status ? NULL : jinja_iterate(j, &of);
  for (size_t i = 0; items && i < items->count && !j->status; i++) {
    if (i > 0) jinja_output_add(j, &out, between);
    jinja_output_add(j, &out, jinja_to_text(j, &items->items[i]));
  }
  return jinja_string(j, jinja_output_text(&out));
}

static jinja_value pairs_of(jinja *j, const jinja_dict *dict) {
  jinja_list *list, *pair;
  jinja_value result = jinja_list_new(j, &list);
  for (size_t i = 0; i < dict->count && !j->status; i++) {
    jinja_value item = jinja_list_new(j, &pair);
    item.tuple = 1;
    jinja_list_add(j, pair, dict->members[i].key);
    jinja_list_add(j, pair, dict->members[i].value);
    jinja_list_add(j, list, item);
  }
  return result;
}

static jinja_value filter_items(jinja *j, jinja_value of, const jinja_arguments *a) {
  static const jinja_dict empty = {0};
  (void)a;
  if (of.kind != J_DICT && of.kind != J_UNDEFINED)
    jinja_fail(j, VIVA_E_ARGUMENT, "items needs a mapping, not %s", jinja_kind_name(&of));
  return pairs_of(j, of.kind == J_DICT ? of.as.dict : &empty);
}

static jinja_value filter_attr(jinja *j, jinja_value of, const jinja_arguments *a) {
  jinja_text name = text_argument(j, a, 0, "name", "");
  return of.kind == J_LOOP ? jinja_attribute(j, &of, name) : jinja_method_find(j, &of, name);
}

static jinja_value filter_sum(jinja *j, jinja_value of, const jinja_arguments *a) {
  const jinja_value *start = jinja_argument(a, 1, "start");
  if (jinja_argument(a, 0, "attribute")) of = jinja_map(j, &of, a);
  jinja_list *items = j->status ? NULL : jinja_iterate(j, &of);
  jinja_value total = start ? *start : jinja_int(0);
  jinja_node left = {.kind = N_CONST}, right = {.kind = N_CONST},
             add = {.kind = N_BINARY, .op = OP_ADD, .line = j->line};
  add.a = &left;
  add.b = &right;
  for (size_t i = 0; items && i < items->count && !j->status; i++) {
    left.value = total;
    right.value = items->items[i];
    total = jinja_eval(j, &add);
  }
  return total;
}

static jinja_value extreme(jinja *j, jinja_value of, int sign) {
  jinja_list *items = jinja_iterate(j, &of);
  if (!items || items->count == 0) return nothing();
  jinja_value best = items->items[0], best_key = jinja_fold(j, best);
  for (size_t i = 1; i < items->count && !j->status; i++) {
    jinja_value key = jinja_fold(j, items->items[i]);
    if (sign * jinja_compare(j, &key, &best_key) <= 0) continue;
    best = items->items[i];
    best_key = key;
  }
  return best;
}

static jinja_value filter_min(jinja *j, jinja_value of, const jinja_arguments *a) {
  return (void)a, extreme(j, of, -1);
}
static jinja_value filter_max(jinja *j, jinja_value of, const jinja_arguments *a) { return (void)a, extreme(j, of, 1); }
static jinja_value filter_map(jinja *j, jinja_value of, const jinja_arguments *a) { return jinja_map(j, &of, a); }
static jinja_value filter_sort(jinja *j, jinja_value of, const jinja_arguments *a) { return jinja_sort(j, &of, a); }
static jinja_value filter_dictsort(jinja *j, jinja_value of, const jinja_arguments *a) {
  return jinja_dictsort(j, &of, a);
}
static jinja_value filter_unique(jinja *j, jinja_value of, const jinja_arguments *a) { return jinja_unique(j, &of, a); }
static jinja_value filter_groupby(jinja *j, jinja_value of, const jinja_arguments *a) {
  return jinja_groupby(j, &of, a);
}
static jinja_value filter_batch(jinja *j, jinja_value of, const jinja_arguments *a) { return jinja_batch(j, &of, a); }
static jinja_value filter_select(jinja *j, jinja_value of, const jinja_arguments *a) {
  return jinja_select(j, &of, a, 0, 1);
}
static jinja_value filter_reject(jinja *j, jinja_value of, const jinja_arguments *a) {
  return jinja_select(j, &of, a, 0, 0);
}
static jinja_value filter_selectattr(jinja *j, jinja_value of, const jinja_arguments *a) {
  return jinja_select(j, &of, a, 1, 1);
}
static jinja_value filter_rejectattr(jinja *j, jinja_value of, const jinja_arguments *a) {
  return jinja_select(j, &of, a, 1, 0);
}

static const struct {
  const char *name;
  filter_fn run;
} filters[] = {{"abs", filter_abs},
               {"attr", filter_attr},
               {"batch", filter_batch},
               {"capitalize", filter_capitalize},
               {"count", filter_length},
               {"d", filter_default},
               {"default", filter_default},
               {"dictsort", filter_dictsort},
               {"first", filter_first},
               {"float", filter_float},
               {"format", filter_format},
               {"groupby", filter_groupby},
               {"indent", filter_indent},
               {"int", filter_int},
               {"items", filter_items},
               {"join", filter_join},
               {"last", filter_last},
               {"length", filter_length},
               {"list", filter_list},
               {"lower", filter_lower},
               {"map", filter_map},
               {"max", filter_max},
               {"min", filter_min},
               {"reject", filter_reject},
               {"rejectattr", filter_rejectattr},
               {"replace", filter_replace},
               {"reverse", filter_reverse},
               {"round", filter_round},
               {"safe", filter_safe},
               {"select", filter_select},
               {"selectattr", filter_selectattr},
               {"sort", filter_sort},
               {"string", filter_string},
               {"sum", filter_sum},
               {"title", filter_title},
               {"tojson", filter_tojson},
               {"trim", filter_trim},
               {"unique", filter_unique},
               {"upper", filter_upper},
               {"wordcount", filter_wordcount}};

int jinja_filter_find(jinja_text name, unsigned *which) {
  for (unsigned i = 0; i < sizeof filters / sizeof *filters; i++)
    if (jinja_text_is(name, filters[i].name)) return *which = i, 1;
  return 0;
}

jinja_value jinja_filter(jinja *j, unsigned which, jinja_value of, const jinja_arguments *a) {
  if (j->status || !jinja_enter(j)) return nothing();
  jinja_value result = filters[which].run(j, of, a);
  jinja_leave(j);
  return result;
}
