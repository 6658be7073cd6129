/* Option structs of older and newer clients. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/options.h"

typedef struct settings { /* as this version knows it */
  size_t size;
  int32_t a, b;
  int64_t c;
} settings;

typedef struct older {
  size_t size;
  int32_t a, b;
} older;

typedef struct newer {
  settings now;
  int64_t d;
} newer;

static const settings defaults = {sizeof defaults, 1, 2, 3};

static void nothing_given_leaves_the_defaults(void **state) {
  (void)state;
  settings o = defaults;
  assert_int_equal(options_read(&o, NULL, "settings", NULL), VIVA_OK);
  assert_memory_equal(&o, &defaults, sizeof o);
}

static void clients_of_all_ages(void **state) {
  (void)state;
  settings o = defaults, same = {sizeof same, 7, 8, 9};
  assert_int_equal(options_read(&o, &same, "settings", NULL), VIVA_OK);
  assert_true(o.size == sizeof o && o.a == 7 && o.b == 8 && o.c == 9);
  o = defaults;
  older old = {sizeof old, 7, 8};
  assert_int_equal(options_read(&o, &old, "settings", NULL), VIVA_OK);
  assert_true(o.size == sizeof o && o.a == 7 && o.b == 8 && o.c == 3); /* the field it does not know: the default */
  o = defaults;
  newer new = {{sizeof new, 7, 8, 9}, 0};
  assert_int_equal(options_read(&o, &new, "settings", NULL), VIVA_OK);
  assert_true(o.size == sizeof o && o.a == 7 && o.c == 9);
  o = defaults;
  new.d = 1;
  viva_error e = {0};
  assert_int_equal(options_read(&o, &new, "settings", &e), VIVA_E_ARGUMENT);
  assert_non_null(strstr(e.message, "settings has fields that this version of viva does not know"));
  assert_memory_equal(&o, &defaults, sizeof o); /* left alone */
}

static void a_size_that_was_never_set(void **state) {
  (void)state;
  const size_t wrong[] = {0, 1, sizeof(size_t), 20, 4097, SIZE_MAX};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    settings o = defaults, given = {wrong[i], 0, 0, 0};
    viva_error e = {0};
    assert_int_equal(options_read(&o, &given, "settings", &e), VIVA_E_ARGUMENT);
    assert_non_null(strstr(e.message, "settings says it is"));
    assert_non_null(strstr(e.message, "bytes long; set its size member to sizeof(settings)"));
    assert_string_equal(e.item, "size");
    assert_memory_equal(&o, &defaults, sizeof o);
    assert_int_equal(options_fill(&given, &defaults, "settings", NULL), VIVA_E_ARGUMENT);
    assert_true(given.a == 0 && given.c == 0);
  }
}

/* Whatever the size says, what is taken over is whole: no pointer of which a part is the caller's. */
static void every_size(void **state) {
  (void)state;
  typedef struct pointers {
    size_t size;
    int32_t a, b;
    const char *p;
    int64_t *q;
  } pointers;
  const pointers first = {sizeof first, 1, 2, "p", &(int64_t){3}}, second = {sizeof second, 4, 5, "q", &(int64_t){6}};
  for (size_t size = 0; size <= sizeof first + 16; size++) {
    struct {
      pointers known;
      size_t later[2]; /* 0 */
    } given = {.known = second};
    given.known.size = size;
    pointers o = first;
    const int right = size >= 2 * sizeof size && size % sizeof size == 0;
    assert_int_equal(options_read(&o, &given, "pointers", NULL), right ? VIVA_OK : VIVA_E_ARGUMENT);
    assert_true(o.size == sizeof o);
    assert_true(o.a == (right ? 4 : 1) && o.b == (right ? 5 : 2));
    assert_ptr_equal(o.p, right && size >= offsetof(pointers, q) ? second.p : first.p);
    assert_ptr_equal(o.q, right && size >= sizeof o ? second.q : first.q);
    assert_int_equal(options_fill(&given, &first, "pointers", NULL), right ? VIVA_OK : VIVA_E_ARGUMENT);
    assert_ptr_equal(given.known.q, right && size >= sizeof o ? first.q : second.q);
    assert_true(given.known.size == size && given.later[0] == 0 && given.later[1] == 0);
  }
}

static void structs_to_be_filled(void **state) {
  (void)state;
  settings given = {.size = sizeof given};
  assert_int_equal(options_fill(&given, &defaults, "settings", NULL), VIVA_OK);
  assert_memory_equal(&given, &defaults, sizeof given);
  struct {
    older old;
    int32_t guard;
  } short_one = {{.size = sizeof(older)}, 42};
  assert_int_equal(options_fill(&short_one, &defaults, "settings", NULL), VIVA_OK);
  assert_true(short_one.old.size == sizeof(older) && short_one.old.b == 2 && short_one.guard == 42);
  newer long_one = {{.size = sizeof long_one}, 42};
  assert_int_equal(options_fill(&long_one, &defaults, "settings", NULL), VIVA_OK);
  assert_true(long_one.now.size == sizeof long_one && long_one.now.c == 3 && long_one.d == 42);
  viva_error e = {0};
  assert_int_equal(options_fill(NULL, &defaults, "settings", &e), VIVA_E_ARGUMENT);
  assert_string_equal(e.message, "settings is NULL; give a struct whose size member is set");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_given_leaves_the_defaults),
      cmocka_unit_test(clients_of_all_ages),
      cmocka_unit_test(a_size_that_was_never_set),
      cmocka_unit_test(every_size),
      cmocka_unit_test(structs_to_be_filled),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
