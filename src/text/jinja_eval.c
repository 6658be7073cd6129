/* text/jinja_eval.c: expressions. What Python would raise is an error with its line. */
#include <math.h>
#include <string.h>

#include "base/ck.h"
#include "text/jinja.h"

static jinja_value nothing(void) { return (jinja_value){.kind = J_UNDEFINED}; }

static jinja_value fail_undefined(jinja *j, const jinja_value *v) {
  char quoted[64];
  if (v->as.string)
    jinja_fail(j, VIVA_E_ARGUMENT, "'%s' is undefined",
               error_quote(quoted, sizeof quoted, v->as.string->text, v->as.string->bytes));
  else
    jinja_fail(j, VIVA_E_ARGUMENT, "a value is undefined");
  return nothing();
}

/* ---- members */

/* A negative index counts from the end; SIZE_MAX: there is no such item. */
static size_t place_of(const jinja_value *index, size_t count) {
  int64_t i = index->kind == J_BOOL ? index->as.boolean : index->as.integer;
  if (i < 0) i += (int64_t)count;
  return i >= 0 && (uint64_t)i < count ? (size_t)i : SIZE_MAX;
}

jinja_value jinja_item(jinja *j, const jinja_value *of, const jinja_value *index) {
  int by_number = index->kind == J_INT || index->kind == J_BOOL;
  if (of->kind == J_UNDEFINED) return fail_undefined(j, of);
  if (of->kind == J_LIST && by_number) {
    size_t at = place_of(index, of->as.list->count);
    return at != SIZE_MAX ? of->as.list->items[at] : nothing();
  }
  if (of->kind == J_STRING && by_number) {
    jinja_text t = *of->as.string;
    size_t at = place_of(index, jinja_length(j, of));
    if (at == SIZE_MAX) return nothing();
    size_t begin = jinja_character_at(t, at);
    return jinja_string(j, jinja_part(t, begin, jinja_character_at(jinja_part(t, begin, t.bytes), 1) + begin));
  }
  if (of->kind == J_DICT || of->kind == J_NAMESPACE) {
    const jinja_value *found = jinja_dict_get(j, of->as.dict, index);
    if (found) return *found;
  }
  if (index->kind != J_STRING) return nothing();
  jinja_value method = jinja_method_find(j, of, *index->as.string);
  return method.kind != J_UNDEFINED ? method : jinja_undefined(j, *index->as.string);
}

static jinja_value loop_attribute(jinja *j, const jinja_loop *loop, jinja_text name) {
  size_t count = loop->items->count, at = loop->at;
  if (jinja_text_is(name, "index")) return jinja_int((int64_t)at + 1);
  if (jinja_text_is(name, "index0")) return jinja_int((int64_t)at);
  if (jinja_text_is(name, "revindex")) return jinja_int((int64_t)(count - at));
  if (jinja_text_is(name, "revindex0")) return jinja_int((int64_t)(count - at) - 1);
  if (jinja_text_is(name, "first")) return jinja_bool(at == 0);
  if (jinja_text_is(name, "last")) return jinja_bool(at + 1 == count);
  if (jinja_text_is(name, "length")) return jinja_int((int64_t)count);
  if (jinja_text_is(name, "depth")) return jinja_int(1); /* it counts recursive loops only */
  if (jinja_text_is(name, "depth0")) return jinja_int(0);
  if (jinja_text_is(name, "previtem") && at > 0) return loop->items->items[at - 1];
  if (jinja_text_is(name, "nextitem") && at + 1 < count) return loop->items->items[at + 1];
  jinja_value of = {.kind = J_LOOP, .as.loop = (jinja_loop *)(uintptr_t)loop};
  jinja_value method = jinja_method_find(j, &of, name);
  return method.kind != J_UNDEFINED ? method : jinja_undefined(j, name);
}

jinja_value jinja_attribute(jinja *j, const jinja_value *of, jinja_text name) {
  if (of->kind == J_UNDEFINED) return fail_undefined(j, of);
  if (of->kind == J_LOOP) return loop_attribute(j, of->as.loop, name);
  jinja_value method = of->kind == J_NAMESPACE ? nothing() : jinja_method_find(j, of, name);
  if (method.kind != J_UNDEFINED) return method;
  if (of->kind == J_DICT || of->kind == J_NAMESPACE) {
    const jinja_value *found = jinja_dict_find(j, of->as.dict, name);
    if (found) return *found;
  }
  return jinja_undefined(j, name);
}

/* ---- slices */

static int64_t clamp(int64_t i, int64_t low, int64_t high) { return i < low ? low : i > high ? high : i; }

/* One end of a slice as Python has it; missing: what it is when it is left out. */
static int64_t slice_end(jinja *j, const jinja_node *node, int64_t count, int64_t step, int64_t missing) {
  if (!node) return missing;
  jinja_value v = jinja_eval(j, node);
  if (v.kind == J_NONE) return missing;
  if (v.kind != J_INT && v.kind != J_BOOL) {
    jinja_fail(j, VIVA_E_ARGUMENT, "a slice's ends are integers, not %s", jinja_kind_name(&v));
    return 0;
  }
  int64_t i = v.kind == J_INT ? clamp(v.as.integer, -count - 1, count + 1) : v.as.boolean;
  if (i < 0) i += count;
  return step > 0 ? clamp(i, 0, count) : clamp(i, -1, count - 1);
}

static jinja_value slice_text(jinja *j, jinja_text t, int64_t from, int64_t to, int64_t step) {
  jinja_output out = {0};
  if (step == 1) {
    size_t begin = jinja_character_at(t, (size_t)from);
    size_t end = to > from ? jinja_character_at(t, (size_t)to) : begin;
    return jinja_string(j, jinja_part(t, begin, end));
  }
  for (int64_t i = from; (step > 0 ? i < to : i > to) && jinja_step(j, 1 + t.bytes / 16); i += step) {
    size_t begin = jinja_character_at(t, (size_t)i);
    size_t end = begin + jinja_character_at(jinja_part(t, begin, t.bytes), 1);
    jinja_output_add(j, &out, jinja_part(t, begin, end));
  }
  return jinja_string(j, jinja_output_text(&out));
}

static jinja_value slice(jinja *j, const jinja_value *of, const jinja_node *node) {
  if (of->kind == J_UNDEFINED) return fail_undefined(j, of);
  if (of->kind != J_LIST && of->kind != J_STRING) {
    jinja_fail(j, VIVA_E_ARGUMENT, "a value of type %s cannot be sliced", jinja_kind_name(of));
    return nothing();
  }
  int64_t count = (int64_t)jinja_length(j, of), step = 1;
  if (node->c) {
    jinja_value v = jinja_eval(j, node->c);
    if (v.kind == J_INT) step = clamp(v.as.integer, -count - 1, count + 1);
    if ((v.kind != J_INT && v.kind != J_NONE) || step == 0)
      jinja_fail(j, VIVA_E_ARGUMENT, "a slice's step is an integer that is not 0");
  }
  int64_t from = slice_end(j, node->a, count, step, step > 0 ? 0 : count - 1);
  int64_t to = slice_end(j, node->b, count, step, step > 0 ? count : -1);
  if (j->status) return nothing();
  if (of->kind == J_STRING) return slice_text(j, *of->as.string, from, to, step);
  jinja_list *list;
  jinja_value result = jinja_list_new(j, &list);
  result.tuple = of->tuple;
  for (int64_t i = from; (step > 0 ? i < to : i > to) && !j->status; i += step)
    jinja_list_add(j, list, of->as.list->items[i]);
  return result;
}

/* ---- operators */

static int is_number(const jinja_value *v) { return v->kind == J_INT || v->kind == J_FLOAT || v->kind == J_BOOL; }
static int64_t integer_of(const jinja_value *v) { return v->kind == J_INT ? v->as.integer : v->as.boolean; }
static double real_of(const jinja_value *v) { return v->kind == J_FLOAT ? v->as.real : (double)integer_of(v); }

static jinja_value fail_operands(jinja *j, const jinja_value *a, const jinja_value *b) {
  if (a->kind == J_UNDEFINED) return fail_undefined(j, a);
  if (b->kind == J_UNDEFINED) return fail_undefined(j, b);
  jinja_fail(j, VIVA_E_ARGUMENT, "this operator does not take %s and %s", jinja_kind_name(a), jinja_kind_name(b));
  return nothing();
}

/* Python rounds down, C towards zero. */
static int64_t floor_quotient(int64_t a, int64_t b) { return a / b - ((a % b != 0) && ((a < 0) != (b < 0))); }

static jinja_value power(jinja *j, int64_t base, int64_t exponent) {
  enum { WHOLE = 53 }; /* bits of an integer that a real number holds */
  int64_t result = 1;
  int inverse = exponent < 0;
  if (inverse && base == 0) {
    jinja_fail(j, VIVA_E_ARGUMENT, "0 has no negative power");
    return nothing();
  }
  if (inverse) exponent = exponent == INT64_MIN ? INT64_MAX : -exponent;
  for (; exponent > 0 && jinja_step(j, 1); exponent--)
    if (__builtin_mul_overflow(result, base, &result)) {
      jinja_fail(j, VIVA_E_UNSUPPORTED, "an integer beyond 64 bits");
      return nothing();
    }
  if (!inverse) return jinja_int(result);
  if (result <= (int64_t)1 << WHOLE && result >= -((int64_t)1 << WHOLE)) return jinja_real(1.0 / (double)result);
  jinja_fail(j, VIVA_E_UNSUPPORTED, "a negative power of more than 53 bits");
  return nothing();
}

static jinja_value integers(jinja *j, jinja_op op, int64_t a, int64_t b) {
  int64_t result = 0;
  int overflow = 0;
  if ((op == OP_DIV || op == OP_FLOOR || op == OP_MOD) && b == 0) {
    jinja_fail(j, VIVA_E_ARGUMENT, "division by zero");
    return nothing();
  }
  switch (op) {
  case OP_ADD: overflow = __builtin_add_overflow(a, b, &result); break;
  case OP_SUB: overflow = __builtin_sub_overflow(a, b, &result); break;
  case OP_MUL: overflow = __builtin_mul_overflow(a, b, &result); break;
  case OP_DIV: return jinja_real((double)a / (double)b);
  case OP_FLOOR:
  case OP_MOD:
    overflow = a == INT64_MIN && b == -1;
    if (!overflow) result = op == OP_FLOOR ? floor_quotient(a, b) : a - b * floor_quotient(a, b);
    break;
  default: return power(j, a, b);
  }
  if (!overflow) return jinja_int(result);
  jinja_fail(j, VIVA_E_UNSUPPORTED, "an integer beyond 64 bits");
  return nothing();
}

static jinja_value reals(jinja *j, jinja_op op, double a, double b) {
  if ((op == OP_DIV || op == OP_FLOOR || op == OP_MOD) && b == 0) {
    jinja_fail(j, VIVA_E_ARGUMENT, "division by zero");
    return nothing();
  }
  switch (op) {
  case OP_ADD: return jinja_real(a + b);
  case OP_SUB: return jinja_real(a - b);
  case OP_MUL: return jinja_real(a * b);
  case OP_DIV: return jinja_real(a / b);
  case OP_FLOOR: return jinja_real(floor(a / b));
  case OP_MOD: return jinja_real(a - b * floor(a / b));
  default: jinja_fail(j, VIVA_E_UNSUPPORTED, "powers of real numbers are not supported"); return nothing();
  }
}

static jinja_value repeat(jinja *j, const jinja_value *what, int64_t times) {
  jinja_output out = {0};
  jinja_list *list;
  if (what->kind == J_STRING) {
    for (int64_t i = 0; i < times && jinja_step(j, 1); i++) jinja_output_add(j, &out, *what->as.string);
    return jinja_string(j, jinja_output_text(&out));
  }
  jinja_value result = jinja_list_new(j, &list);
  result.tuple = what->tuple;
  for (int64_t i = 0; i < times && jinja_step(j, 1); i++)
    for (size_t k = 0; k < what->as.list->count && !j->status; k++) jinja_list_add(j, list, what->as.list->items[k]);
  return result;
}

static jinja_value join_lists(jinja *j, const jinja_value *a, const jinja_value *b) {
  jinja_list *list;
  jinja_value result = jinja_list_new(j, &list);
  result.tuple = a->tuple;
  for (size_t i = 0; i < a->as.list->count && !j->status; i++) jinja_list_add(j, list, a->as.list->items[i]);
  for (size_t i = 0; i < b->as.list->count && !j->status; i++) jinja_list_add(j, list, b->as.list->items[i]);
  return result;
}

static jinja_value combine(jinja *j, jinja_op op, const jinja_value *a, const jinja_value *b) {
  if (op == OP_CONCAT) {
    jinja_text left = jinja_to_text(j, a);
    return jinja_string(j, jinja_concat(j, left, jinja_to_text(j, b)));
  }
  if (is_number(a) && is_number(b))
    return a->kind == J_FLOAT || b->kind == J_FLOAT ? reals(j, op, real_of(a), real_of(b))
                                                    : integers(j, op, integer_of(a), integer_of(b));
  if (op == OP_ADD && a->kind == J_STRING && b->kind == J_STRING)
    return jinja_string(j, jinja_concat(j, *a->as.string, *b->as.string));
  if (op == OP_ADD && a->kind == J_LIST && b->kind == J_LIST && a->tuple == b->tuple) return join_lists(j, a, b);
  int sequence = a->kind == J_STRING || a->kind == J_LIST;
  if (op == OP_MUL && sequence && (b->kind == J_INT || b->kind == J_BOOL)) return repeat(j, a, integer_of(b));
  if (op == OP_MUL && (b->kind == J_STRING || b->kind == J_LIST) && a->kind == J_INT)
    return repeat(j, b, a->as.integer);
  if (op == OP_MOD && a->kind == J_STRING) {
    jinja_fail(j, VIVA_E_UNSUPPORTED, "formatting with %% is not supported; the filter format is");
    return nothing();
  }
  return fail_operands(j, a, b);
}

static jinja_value binary(jinja *j, const jinja_node *node) {
  jinja_value a = jinja_eval(j, node->a);
  if (j->status) return nothing();
  if (node->op == OP_AND) return jinja_true(&a) ? jinja_eval(j, node->b) : a;
  if (node->op == OP_OR) return jinja_true(&a) ? a : jinja_eval(j, node->b);
  jinja_value b = jinja_eval(j, node->b);
  if (j->status) return nothing();
  j->line = node->line;
  return combine(j, node->op, &a, &b);
}

static jinja_value unary(jinja *j, const jinja_node *node) {
  jinja_value a = jinja_eval(j, node->a);
  if (j->status) return nothing();
  if (node->op == OP_NOT) return jinja_bool(!jinja_true(&a));
  if (!is_number(&a)) return fail_operands(j, &a, &a);
  if (node->op == OP_ADD) return a.kind == J_FLOAT ? a : jinja_int(integer_of(&a));
  if (a.kind == J_FLOAT) return jinja_real(-a.as.real);
  return integers(j, OP_SUB, 0, integer_of(&a));
}

static int holds(jinja *j, jinja_op op, const jinja_value *a, const jinja_value *b) {
  switch (op) {
  case OP_EQ: return jinja_equal(j, a, b);
  case OP_NE: return !jinja_equal(j, a, b);
  case OP_IN: return jinja_contains(j, b, a);
  case OP_NOT_IN: return !jinja_contains(j, b, a);
  default: break;
  }
  if (a->kind == J_UNDEFINED || b->kind == J_UNDEFINED) return fail_operands(j, a, b), 0;
  int order = jinja_compare(j, a, b);
  return op == OP_LT ? order < 0 : op == OP_LE ? order <= 0 : op == OP_GT ? order > 0 : order >= 0;
}

static jinja_value compare(jinja *j, const jinja_node *node) {
  jinja_value a = jinja_eval(j, node->a);
  for (const jinja_node *operand = node->b; operand && !j->status; operand = operand->next) {
    jinja_value b = jinja_eval(j, operand->a);
    j->line = node->line;
    if (j->status || !holds(j, operand->op, &a, &b)) return jinja_bool(0);
    a = b;
  }
  return jinja_bool(1);
}

/* ---- calls */

jinja_arguments jinja_eval_arguments(jinja *j, const jinja_node *list) {
  jinja_arguments a = {0};
  jinja_list items = {0};
  for (const jinja_node *node = list; node && !j->status; node = node->next) {
    jinja_value value = jinja_eval(j, node->a);
    if (node->name.bytes > 0)
      jinja_dict_set(j, &a.named, jinja_string(j, node->name), value);
    else
      jinja_list_add(j, &items, value);
  }
  a.items = items.items;
  a.count = items.count;
  return a;
}

const jinja_value *jinja_argument(const jinja_arguments *a, size_t at, const char *name) {
  if (at < a->count) return &a->items[at];
  for (size_t i = 0; name && i < a->named.count; i++)
    if (jinja_text_is(*a->named.members[i].key.as.string, name)) return &a->named.members[i].value;
  return NULL;
}

static jinja_value call(jinja *j, const jinja_node *node) {
  jinja_value f = jinja_eval(j, node->a);
  jinja_arguments a = jinja_eval_arguments(j, node->b);
  if (j->status) return nothing();
  j->line = node->line;
  switch (f.kind) {
  case J_MACRO: return jinja_call_macro(j, f.as.macro, &a, NULL);
  case J_FUNCTION: return jinja_global_call(j, f.as.function, &a);
  case J_METHOD: return jinja_method_call(j, f.as.method, &a);
  case J_UNDEFINED: return fail_undefined(j, &f);
  default: break;
  }
  jinja_fail(j, VIVA_E_ARGUMENT, "a value of type %s cannot be called", jinja_kind_name(&f));
  return nothing();
}

/* ---- all of them */

static jinja_value list_of(jinja *j, const jinja_node *node) {
  jinja_list *list;
  jinja_value result = jinja_list_new(j, &list);
  result.tuple = node->flag;
  for (const jinja_node *item = node->a; item && !j->status; item = item->next)
    jinja_list_add(j, list, jinja_eval(j, item));
  return result;
}

static jinja_value dict_of(jinja *j, const jinja_node *node) {
  jinja_dict *dict;
  jinja_value result = jinja_dict_new(j, &dict);
  for (const jinja_node *key = node->a; key && key->next && !j->status; key = key->next->next) {
    jinja_value name = jinja_eval(j, key);
    jinja_dict_set(j, dict, name, jinja_eval(j, key->next));
  }
  return result;
}

static jinja_value eval(jinja *j, const jinja_node *node) {
  jinja_value a;
  jinja_arguments arguments;
  switch (node->kind) {
  case N_CONST: return node->value;
  case N_NAME: return jinja_look_up(j, node->name);
  case N_LIST: return list_of(j, node);
  case N_DICT: return dict_of(j, node);
  case N_UNARY: return unary(j, node);
  case N_BINARY: return binary(j, node);
  case N_COMPARE: return compare(j, node);
  case N_CONDITION:
    a = jinja_eval(j, node->b);
    if (j->status) return nothing();
    return jinja_true(&a) ? jinja_eval(j, node->a) : node->c ? jinja_eval(j, node->c) : nothing();
  case N_CALL: return call(j, node);
  case N_ATTRIBUTE:
    a = jinja_eval(j, node->a);
    j->line = node->line;
    return j->status ? nothing() : jinja_attribute(j, &a, node->name);
  case N_ITEM: {
    a = jinja_eval(j, node->a);
    jinja_value index = node->b->kind == N_SLICE ? nothing() : jinja_eval(j, node->b);
    j->line = node->line;
    if (j->status) return nothing();
    return node->b->kind == N_SLICE ? slice(j, &a, node->b) : jinja_item(j, &a, &index);
  }
  case N_FILTER:
    a = jinja_eval(j, node->a);
    arguments = jinja_eval_arguments(j, node->b);
    j->line = node->line;
    return j->status ? nothing() : jinja_filter(j, node->which, a, &arguments);
  case N_TEST:
    a = jinja_eval(j, node->a);
    arguments = jinja_eval_arguments(j, node->b);
    j->line = node->line;
    return j->status ? nothing() : jinja_bool(jinja_test(j, node->which, &a, &arguments) != node->flag);
  default: jinja_fail(j, VIVA_E_INTERNAL, "a statement in an expression"); return nothing();
  }
}

jinja_value jinja_eval(jinja *j, const jinja_node *node) {
  if (!node || !jinja_enter(j)) return nothing();
  jinja_value value = eval(j, node);
  jinja_leave(j);
  return value;
}
