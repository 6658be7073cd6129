/* Files that appear whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/commit.h"
#include "lib/fail_alloc.h"
#include "lib/memory_io.h"

enum { BIG = 200000 }; /* more than the writer gathers */

static viva_status write_file(runtime *rt, const char *path, size_t bytes, size_t piece, viva_error *error) {
  io_writer *w;
  viva_status status = writer_open(rt, path, NULL, &w, error);
  if (status != VIVA_OK) {
    assert_null(w);
    return status;
  }
  char data[BIG];
  for (size_t i = 0; i < bytes; i++) data[i] = (char)(i * 31 + i / 97);
  for (size_t at = 0; at < bytes; at += piece) {
    size_t n = bytes - at < piece ? bytes - at : piece;
    status = writer_write(w, data + at, n, error);
    if (status != VIVA_OK) {
      writer_abort(w);
      return status;
    }
  }
  return writer_commit(w, error);
}

static void assert_contents(memory_io *m, const char *path, size_t bytes) {
  size_t found;
  const char *data = memory_io_get(m, path, &found);
  assert_int_equal(found, bytes);
  for (size_t i = 0; i < bytes; i++)
    if (data[i] != (char)(i * 31 + i / 97)) fail_msg("byte %zu is wrong", i);
}

static runtime *runtime_on(memory_io *m) {
  runtime *rt = runtime_create(NULL, memory_io_table(m), NULL, NULL, VIVA_LOG_WARN);
  assert_non_null(rt);
  return rt;
}

static void pieces_of_any_size_are_joined(void **state) {
  (void)state;
  const size_t pieces[] = {1, 1000, 65535, 65536, 65537, BIG};
  const size_t shorts[] = {0, 7777, 100000};
  for (size_t i = 0; i < 6; i++) {
    for (size_t s = 0; s < 3; s++) {
      memory_io *m = memory_io_create();
      runtime *rt = runtime_on(m);
      memory_io_short(m, shorts[s]);
      assert_int_equal(write_file(rt, "/d/out", BIG, pieces[i], NULL), VIVA_OK);
      assert_contents(m, "/d/out", BIG);
      assert_int_equal(memory_io_file_count(m), 1);
      assert_int_equal(memory_io_open_count(m), 0);
      assert_int_equal(rt->mem.current, sizeof *rt);
      runtime_release(rt);
      memory_io_free(m);
    }
  }
}

static void an_empty_file_can_be_written(void **state) {
  (void)state;
  memory_io *m = memory_io_create();
  runtime *rt = runtime_on(m);
  assert_int_equal(write_file(rt, "out", 0, 1, NULL), VIVA_OK);
  assert_int_equal(memory_io_file_count(m), 1);
  viva_error e = {0};
  assert_int_equal(write_file(rt, "", 1, 1, &e), VIVA_E_IO);
  assert_string_equal(e.message, "the path of the output is empty");
  runtime_release(rt);
  memory_io_free(m);
}

static void the_old_file_stays_until_the_commit(void **state) {
  (void)state;
  memory_io *m = memory_io_create();
  runtime *rt = runtime_on(m);
  memory_io_put_text(m, "/out", "old");
  io_writer *w;
  char data[BIG] = {0};
  assert_int_equal(writer_open(rt, "/out", NULL, &w, NULL), VIVA_OK);
  assert_int_equal(writer_write(w, data, BIG, NULL), VIVA_OK);
  assert_memory_equal(memory_io_get(m, "/out", NULL), "old", 3);
  writer_abort(w);
  assert_memory_equal(memory_io_get(m, "/out", NULL), "old", 3);
  assert_int_equal(memory_io_file_count(m), 1);
  writer_abort(NULL);
  runtime_release(rt);
  memory_io_free(m);
}

static void two_writers_do_not_meet(void **state) {
  (void)state;
  memory_io *m = memory_io_create();
  runtime *rt = runtime_on(m);
  memory_io_put_text(m, "/out.viva-0.tmp", "left by a killed writer");
  io_writer *a, *b;
  assert_int_equal(writer_open(rt, "/out", NULL, &a, NULL), VIVA_OK);
  assert_int_equal(writer_open(rt, "/out", NULL, &b, NULL), VIVA_OK);
  assert_int_equal(writer_write(a, "first", 5, NULL), VIVA_OK);
  assert_int_equal(writer_write(b, "second", 6, NULL), VIVA_OK);
  assert_int_equal(writer_commit(a, NULL), VIVA_OK);
  assert_memory_equal(memory_io_get(m, "/out", NULL), "first", 5);
  assert_int_equal(writer_commit(b, NULL), VIVA_OK);
  assert_memory_equal(memory_io_get(m, "/out", NULL), "second", 6);
  assert_memory_equal(memory_io_get(m, "/out.viva-0.tmp", NULL), "left", 4); /* not ours: it stays */
  assert_int_equal(memory_io_file_count(m), 2);
  runtime_release(rt);
  memory_io_free(m);
}

static void too_many_leftovers_are_reported(void **state) {
  (void)state;
  memory_io *m = memory_io_create();
  runtime *rt = runtime_on(m);
  for (int n = 0; n < 100; n++) {
    char name[32];
    snprintf(name, sizeof name, "/out.viva-%d.tmp", n);
    memory_io_put_text(m, name, "x");
  }
  viva_error e = {0};
  assert_int_equal(write_file(rt, "/out", 1, 1, &e), VIVA_E_IO);
  assert_non_null(strstr(e.message, "delete those"));
  assert_string_equal(e.file, "/out");
  assert_int_equal(memory_io_file_count(m), 100);
  assert_int_equal(rt->mem.current, sizeof *rt);
  runtime_release(rt);
  memory_io_free(m);
}

/* Any one call of the table fails: the old file is there unchanged, or the new one whole; nothing else is left. */
static void every_single_fault_leaves_a_whole_file(void **state) {
  (void)state;
  const int errors[] = {EIO, ENOSPC, EINTR};
  for (size_t i = 0; i < 3; i++) {
    for (uint64_t at = 1;; at++) {
      memory_io *m = memory_io_create();
      runtime *rt = runtime_on(m);
      memory_io_put_text(m, "/out", "old");
      memory_io_short(m, 50000);
      memory_io_fail(m, at, errors[i], 0);
      viva_error e = {0};
      viva_status status = write_file(rt, "/out", BIG, 30000, &e);
      int failed = memory_io_failed(m);
      int folder_sync = failed && status != VIVA_OK && strstr(e.message, "power cut") != NULL;
      if (status == VIVA_OK || folder_sync) {
        assert_contents(m, "/out", BIG);
      } else {
        assert_int_equal(status, VIVA_E_IO);
        assert_int_equal(strncmp(e.file, "/out", 4), 0);
        size_t bytes;
        assert_memory_equal(memory_io_get(m, "/out", &bytes), "old", 3);
        assert_int_equal(bytes, 3);
      }
      memory_io_fail(m, 0, 0, 0);
      if (memory_io_file_count(m) > 1) { /* the removal itself failed: the next run does it */
        assert_true(failed);
        assert_int_equal(write_file(rt, "/out", BIG, 30000, &e), VIVA_OK);
      }
      assert_int_equal(memory_io_file_count(m), 1);
      assert_int_equal(memory_io_open_count(m), 0);
      assert_int_equal(rt->mem.current, sizeof *rt);
      runtime_release(rt);
      memory_io_free(m);
      if (!failed) break;
      assert_true(at < 60);
    }
  }
}

static void a_failed_writer_stays_failed(void **state) {
  (void)state;
  memory_io *m = memory_io_create();
  runtime *rt = runtime_on(m);
  io_writer *w;
  char data[BIG] = {0};
  viva_error e = {0};
  assert_int_equal(writer_open(rt, "/out", NULL, &w, NULL), VIVA_OK);
  memory_io_fail(m, 1, ENOSPC, 0);
  assert_int_equal(writer_write(w, data, BIG, &e), VIVA_E_IO);
  assert_string_equal(e.message,
                      "cannot write the file: no space is left on the device; free some space and try again");
  e = (viva_error){0};
  assert_int_equal(writer_write(w, data, 1, &e), VIVA_E_IO);
  assert_int_equal(e.code, VIVA_E_IO);
  assert_int_equal(writer_commit(w, &e), VIVA_E_IO);
  assert_int_equal(memory_io_file_count(m), 0);
  runtime_release(rt);
  memory_io_free(m);
}

/* Zero bytes written without an error would loop forever. */
static int64_t write_nothing(void *user, int handle, const void *data, size_t bytes, uint64_t offset) {
  (void)user, (void)handle, (void)data, (void)bytes, (void)offset;
  return 0;
}

static void a_write_without_progress_ends(void **state) {
  (void)state;
  memory_io *m = memory_io_create();
  io_table table = *memory_io_table(m);
  table.write_at = write_nothing;
  runtime *rt = runtime_create(NULL, &table, NULL, NULL, VIVA_LOG_WARN);
  assert_int_equal(write_file(rt, "/out", BIG, BIG, NULL), VIVA_E_IO);
  assert_int_equal(memory_io_file_count(m), 0);
  runtime_release(rt);
  memory_io_free(m);
}

static void without_memory_nothing_is_created(void **state) {
  (void)state;
  fail_alloc f;
  fail_alloc_init(&f, 2, 1); /* the first is the runtime's */
  memory_io *m = memory_io_create();
  runtime *rt = runtime_create(&f.table, memory_io_table(m), NULL, NULL, VIVA_LOG_WARN);
  assert_int_equal(write_file(rt, "/out", 1, 1, NULL), VIVA_E_MEMORY);
  assert_int_equal(memory_io_file_count(m), 0);
  runtime_release(rt);
  assert_int_equal(f.live, 0);
  memory_io_free(m);
}

static char folder[64];

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/viva-test-writer-XXXXXX");
  return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  return system(command);
}

static long read_file(const char *path, char *data, size_t size) {
  FILE *f = fopen(path, "rb");
  if (f == NULL) return -1;
  size_t n = fread(data, 1, size, f);
  fclose(f);
  return (long)n;
}

static void a_killed_writer_leaves_the_old_file(void **state) {
  (void)state;
  char path[128], data[16];
  snprintf(path, sizeof path, "%s/out", folder);
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  io_writer *w;
  assert_int_equal(writer_open(rt, path, NULL, &w, NULL), VIVA_OK);
  assert_int_equal(writer_write(w, "old", 3, NULL), VIVA_OK);
  assert_int_equal(writer_commit(w, NULL), VIVA_OK);
  pid_t child = fork();
  if (child == 0) {
    static char zeros[BIG];
    if (writer_open(rt, path, NULL, &w, NULL) == VIVA_OK && writer_write(w, zeros, BIG, NULL) == VIVA_OK)
      raise(SIGKILL);
    _exit(1);
  }
  int how;
  assert_int_equal(waitpid(child, &how, 0), child);
  assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
  assert_int_equal(read_file(path, data, sizeof data), 3);
  assert_memory_equal(data, "old", 3);
  /* What the killed one left does not stop the next. */
  assert_int_equal(writer_open(rt, path, NULL, &w, NULL), VIVA_OK);
  assert_int_equal(writer_write(w, "newer", 5, NULL), VIVA_OK);
  assert_int_equal(writer_commit(w, NULL), VIVA_OK);
  assert_int_equal(read_file(path, data, sizeof data), 5);
  runtime_release(rt);
}

static void the_system_explains_what_it_refuses(void **state) {
  (void)state;
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  viva_error e = {0};
  assert_int_equal(write_file(rt, "/nowhere/out", 1, 1, &e), VIVA_E_IO);
  assert_string_equal(e.message, "cannot create the file: no such file or folder; check the path");
  assert_int_equal(write_file(rt, folder, 1, 1, &e), VIVA_E_IO); /* a folder cannot be replaced by a file */
  assert_string_equal(e.message, "expected the name of a file, found a folder: choose another name");
  char left[128];
  snprintf(left, sizeof left, "%s.viva-0.tmp", folder);
  assert_int_equal(access(left, F_OK), -1);
  assert_int_equal(chdir(folder), 0);
  assert_int_equal(write_file(rt, "here", 10, 10, &e), VIVA_OK); /* the folder is "." */
  char data[16];
  assert_int_equal(read_file("here", data, sizeof data), 10);
  assert_int_equal(chdir("/"), 0);
  assert_int_equal(write_file(rt, "/viva-test-writer-in-root/../out", 1, 1, &e), VIVA_E_IO);
  runtime_release(rt);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pieces_of_any_size_are_joined),       cmocka_unit_test(an_empty_file_can_be_written),
      cmocka_unit_test(the_old_file_stays_until_the_commit), cmocka_unit_test(two_writers_do_not_meet),
      cmocka_unit_test(too_many_leftovers_are_reported),     cmocka_unit_test(every_single_fault_leaves_a_whole_file),
      cmocka_unit_test(a_failed_writer_stays_failed),        cmocka_unit_test(a_write_without_progress_ends),
      cmocka_unit_test(without_memory_nothing_is_created),   cmocka_unit_test(a_killed_writer_leaves_the_old_file),
      cmocka_unit_test(the_system_explains_what_it_refuses),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
