/* What opening may cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/allowance.h"

static void a_byte_pays_for_two(void **state) {
  (void)state;
  viva_error error;
  allowance b = {0};
  allowance_pay(&b, 1000);
  allowance_pay(&b, 24);
  assert_int_equal(allowance_memory(&b, ALLOWANCE_FREE_MEMORY, "the list", "file", &error), VIVA_OK);
  assert_int_equal(allowance_memory(&b, 2048, "the list", "file", &error), VIVA_OK);
  assert_int_equal(allowance_memory(&b, 1, "the list", "file", &error), VIVA_E_LIMIT);
  assert_string_equal(error.file, "file");
  assert_non_null(strstr(error.message, "the list would need more memory than files of 1024 bytes are given"));
}

static void a_byte_pays_for_work(void **state) {
  (void)state;
  viva_error error;
  allowance b = {0};
  allowance_pay(&b, 10);
  assert_int_equal(allowance_work(&b, ALLOWANCE_FREE_WORK + 10 * ALLOWANCE_BYTE_WORK, "its patterns", "file", &error),
                   VIVA_OK);
  assert_int_equal(allowance_work(&b, 1, "its patterns", "file", &error), VIVA_E_LIMIT);
  assert_non_null(strstr(error.message, "its patterns would take longer than files of 10 bytes are given"));
}

static void sums_do_not_wrap(void **state) {
  (void)state;
  allowance b = {0};
  allowance_pay(&b, 1);
  assert_int_equal(allowance_work(&b, UINT64_MAX, "it", NULL, NULL), VIVA_E_LIMIT);
  assert_int_equal(allowance_work(&b, UINT64_MAX, "it", NULL, NULL), VIVA_E_LIMIT);
  assert_int_equal(allowance_memory(&b, UINT64_MAX, "it", NULL, NULL), VIVA_E_LIMIT);
  assert_int_equal(allowance_memory(&b, 2, "it", NULL, NULL), VIVA_E_LIMIT);
  allowance large = {0};
  allowance_pay(&large, UINT64_MAX);
  allowance_pay(&large, UINT64_MAX);
  assert_int_equal(allowance_memory(&large, UINT64_MAX, "it", NULL, NULL), VIVA_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_byte_pays_for_two),
      cmocka_unit_test(a_byte_pays_for_work),
      cmocka_unit_test(sums_do_not_wrap),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
