/* viva/file.h: what clients write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fail_alloc.h"
#include "viva/file.h"

static char folder[] = "/tmp/viva_file_XXXXXX";

static int make_folder(void **state) {
  (void)state;
  return mkdtemp(folder) == NULL || chdir(folder) != 0;
}

static int remove_folder(void **state) {
  (void)state;
  return chdir("/") != 0 || rmdir(folder) != 0; /* fails when a test has left something */
}

static void put(const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  assert_true(fputs(text, f) >= 0);
  assert_int_equal(fclose(f), 0);
}

static void assert_text(const char *path, const char *text) {
  char found[64] = {0};
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  size_t bytes = fread(found, 1, sizeof found - 1, f);
  fclose(f);
  assert_int_equal(bytes, strlen(text));
  assert_string_equal(found, text);
}

static viva_status write_text(const char *path, const char *text, const viva_file_options *options, viva_error *error) {
  viva_file *file = (viva_file *)&file;
  viva_status status = viva_file_open(path, options, &file, error);
  if (status != VIVA_OK) {
    assert_null(file);
    return status;
  }
  status = viva_file_write(file, text, strlen(text), error);
  if (status == VIVA_OK) return viva_file_commit(file, error);
  viva_file_abort(file);
  return status;
}

static void a_file_appears_when_it_is_complete(void **state) {
  (void)state;
  viva_file *file;
  put("out", "old");
  assert_int_equal(viva_file_open("out", NULL, &file, NULL), VIVA_OK);
  assert_int_equal(viva_file_write(file, "new", 3, NULL), VIVA_OK);
  assert_text("out", "old");
  viva_file_abort(file);
  assert_text("out", "old");
  assert_int_equal(write_text("out", "new", NULL, NULL), VIVA_OK);
  assert_text("out", "new");
  unlink("out");
}

static void nothing_is_replaced_unasked(void **state) {
  (void)state;
  viva_file_options options = viva_file_options_default();
  viva_error error;
  viva_file *file;
  options.replace = 0;
  assert_int_equal(viva_file_open("out", &options, &file, NULL), VIVA_OK);
  put("out", "somebody's");
  assert_int_equal(viva_file_commit(file, &error), VIVA_E_IO);
  assert_non_null(strstr(error.message, "exists already"));
  assert_text("out", "somebody's");
  assert_int_equal(write_text("out", "new", &options, &error), VIVA_E_IO);
  unlink("out");
}

static void an_input_is_not_replaced(void **state) {
  (void)state;
  const char *const inputs[] = {"in", "sub"};
  viva_file_options options = viva_file_options_default();
  viva_error error;
  options.inputs = inputs;
  options.input_count = 2;
  assert_int_equal(write_text("out", "", &options, &error), VIVA_E_IO); /* no such input */
  put("in", "input");
  assert_int_equal(mkdir("sub", 0777), 0);
  put("sub/file", "input");
  assert_int_equal(link("in", "other"), 0);
  assert_int_equal(link("sub/file", "third"), 0);
  const char *const refused[] = {"in", "./sub/../in", "other", "third", "sub/file"};
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    assert_int_equal(write_text(refused[i], "new", &options, &error), VIVA_E_ARGUMENT);
    assert_text(refused[i], "input");
  }
  assert_int_equal(write_text("out", "new", &options, &error), VIVA_OK);
  const char *const names[] = {"in", "other", "third", "sub/file", "out"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(names[i]);
  rmdir("sub");
}

static void what_a_caller_gets_wrong(void **state) {
  (void)state;
  viva_file *file;
  viva_file_options options = viva_file_options_default();
  assert_int_equal(viva_file_open("out", NULL, NULL, NULL), VIVA_E_ARGUMENT);
  assert_int_equal(viva_file_open(NULL, NULL, &file, NULL), VIVA_E_ARGUMENT);
  assert_int_equal(viva_file_write(NULL, "", 0, NULL), VIVA_E_ARGUMENT);
  assert_int_equal(viva_file_commit(NULL, NULL), VIVA_E_ARGUMENT);
  viva_file_abort(NULL);
  options.reserved = 1;
  assert_int_equal(viva_file_open("out", &options, &file, NULL), VIVA_E_ARGUMENT);
  options.reserved = 0, options.input_count = 1;
  assert_int_equal(viva_file_open("out", &options, &file, NULL), VIVA_E_ARGUMENT);
  const char *none = NULL;
  options.inputs = &none;
  assert_int_equal(viva_file_open("out", &options, &file, NULL), VIVA_E_ARGUMENT);
  options = viva_file_options_default();
  options.size = 3;
  assert_int_equal(viva_file_open("out", &options, &file, NULL), VIVA_E_ARGUMENT);
  assert_int_equal(viva_file_open("out", NULL, &file, NULL), VIVA_OK);
  assert_int_equal(viva_file_write(file, NULL, 1, NULL), VIVA_E_ARGUMENT);
  viva_file_abort(file);
}

static void no_memory_at_any_place(void **state) {
  (void)state;
  const char *const inputs[] = {"."};
  for (uint64_t k = 1;; k++) {
    fail_alloc f;
    fail_alloc_init(&f, k, 0);
    viva_file_options options = viva_file_options_default();
    options.allocator = &f.table;
    options.inputs = inputs;
    options.input_count = 1;
    viva_error error;
    viva_status status = write_text("out", "new", &options, &error);
    assert_int_equal(f.live, 0);
    unlink("out");
    if (!f.failed) {
      assert_int_equal(status, VIVA_OK);
      break;
    }
    assert_int_equal(status, VIVA_E_MEMORY);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_file_appears_when_it_is_complete),
      cmocka_unit_test(nothing_is_replaced_unasked),
      cmocka_unit_test(an_input_is_not_replaced),
      cmocka_unit_test(what_a_caller_gets_wrong),
      cmocka_unit_test(no_memory_at_any_place),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
