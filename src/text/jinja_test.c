/* text/jinja_test.c: the tests, as Jinja2's tests.py has them. */
#include "text/jinja.h"

typedef int (*test_fn)(jinja *j, const jinja_value *v, const jinja_arguments *a);

static int need_argument(jinja *j, const jinja_arguments *a) {
  return a->count > 0 || jinja_fail(j, VIVA_E_ARGUMENT, "the test needs a value to compare with");
}

static int64_t integer_of(jinja *j, const jinja_value *v) {
  if (v->kind == J_INT) return v->as.integer;
  if (v->kind == J_BOOL) return v->as.boolean;
  jinja_fail(j, VIVA_E_ARGUMENT, "the test needs an integer, not %s", jinja_kind_name(v));
  return 0;
}

#define TEST(name, holds)                                                                                              \
  static int test_##name(jinja *j, const jinja_value *v, const jinja_arguments *a) {                                   \
    (void)j, (void)v, (void)a;                                                                                         \
    return holds;                                                                                                      \
  }

TEST(defined, v->kind != J_UNDEFINED)
TEST(undefined, v->kind == J_UNDEFINED)
TEST(none, v->kind == J_NONE)
TEST(string, v->kind == J_STRING)
TEST(mapping, v->kind == J_DICT)
TEST(iterable,
     v->kind == J_STRING || v->kind == J_DICT || v->kind == J_LIST || v->kind == J_UNDEFINED || v->kind == J_LOOP)
TEST(sequence, v->kind == J_STRING || v->kind == J_DICT || v->kind == J_LIST)
TEST(number, v->kind == J_INT || v->kind == J_FLOAT || v->kind == J_BOOL)
TEST(integer, v->kind == J_INT)
TEST(float, v->kind == J_FLOAT)
TEST(boolean, v->kind == J_BOOL)
TEST(true, v->kind == J_BOOL && v->as.boolean)
TEST(false, v->kind == J_BOOL && !v->as.boolean)
TEST(callable, v->kind == J_MACRO || v->kind == J_FUNCTION || v->kind == J_METHOD || v->kind == J_LOOP ||
                   v->kind == J_UNDEFINED) /* as in Python: each has a __call__, which may fail */
TEST(odd, (integer_of(j, v) & 1) != 0)
TEST(even, (integer_of(j, v) & 1) == 0)
TEST(eq, need_argument(j, a) && jinja_equal(j, v, &a->items[0]))
TEST(ne, need_argument(j, a) && !jinja_equal(j, v, &a->items[0]))
TEST(lt, need_argument(j, a) && jinja_compare(j, v, &a->items[0]) < 0)
TEST(le, need_argument(j, a) && jinja_compare(j, v, &a->items[0]) <= 0)
TEST(gt, need_argument(j, a) && jinja_compare(j, v, &a->items[0]) > 0)
TEST(ge, need_argument(j, a) && jinja_compare(j, v, &a->items[0]) >= 0)
TEST(in, need_argument(j, a) && jinja_contains(j, &a->items[0], v))

static int test_divisibleby(jinja *j, const jinja_value *v, const jinja_arguments *a) {
  int64_t by = need_argument(j, a) ? integer_of(j, &a->items[0]) : 0, value = integer_of(j, v);
  if (j->status) return 0;
  if (by == 0) return jinja_fail(j, VIVA_E_ARGUMENT, "division by zero");
  return by == -1 || value % by == 0;
}

/* The same object: of what has no identity here, the same value of the same type. */
static int test_sameas(jinja *j, const jinja_value *v, const jinja_arguments *a) {
  return need_argument(j, a) && v->kind == a->items[0].kind && jinja_equal(j, v, &a->items[0]);
}

static int in_case(jinja *j, const jinja_value *v, jinja_case how) {
  jinja_text t = jinja_to_text(j, v), changed = jinja_change_case(j, t, how);
  jinja_text other = jinja_change_case(j, t, how == CASE_UPPER ? CASE_LOWER : CASE_UPPER);
  return jinja_text_equal(t, changed) && !jinja_text_equal(t, other); /* as str.isupper: some letter has a case */
}

TEST(upper, in_case(j, v, CASE_UPPER))
TEST(lower, in_case(j, v, CASE_LOWER))

static const struct {
  const char *name;
  test_fn run;
} tests[] = {{"defined", test_defined},
             {"undefined", test_undefined},
             {"none", test_none},
             {"string", test_string},
             {"mapping", test_mapping},
             {"iterable", test_iterable},
             {"sequence", test_sequence},
             {"number", test_number},
             {"integer", test_integer},
             {"float", test_float},
             {"boolean", test_boolean},
             {"true", test_true},
             {"false", test_false},
             {"callable", test_callable},
             {"odd", test_odd},
             {"even", test_even},
             {"divisibleby", test_divisibleby},
             {"eq", test_eq},
             {"equalto", test_eq},
             {"==", test_eq},
             {"ne", test_ne},
             {"!=", test_ne},
             {"lt", test_lt},
             {"lessthan", test_lt},
             {"<", test_lt},
             {"le", test_le},
             {"<=", test_le},
             {"gt", test_gt},
             {"greaterthan", test_gt},
             {">", test_gt},
             {"ge", test_ge},
             {">=", test_ge},
             {"in", test_in},
             {"sameas", test_sameas},
             {"upper", test_upper},
             {"lower", test_lower}};

int jinja_test_find(jinja_text name, unsigned *which) {
  for (unsigned i = 0; i < sizeof tests / sizeof *tests; i++)
    if (jinja_text_is(name, tests[i].name)) return *which = i, 1;
  return 0;
}

int jinja_test(jinja *j, unsigned which, const jinja_value *of, const jinja_arguments *a) {
  return !j->status && tests[which].run(j, of, a);
}
