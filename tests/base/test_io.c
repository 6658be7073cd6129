/* Reading through the I/O table: the system's own, one that fails, and one that is short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "lib/memory_io.h"

static char folder[64];

static int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/viva-test-io-XXXXXX");
  return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  return system(command);
}

static const char *in_folder(const char *name) {
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void put(const char *path, const char *text) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
  fclose(f);
}

static void expect_error(const char *path, const char *message) {
  io_file file;
  viva_error e = {0};
  assert_int_equal(io_open(&io_system, path, &file, &e), VIVA_E_IO);
  assert_int_equal(e.code, VIVA_E_IO);
  assert_string_equal(e.message, message);
  assert_string_equal(e.file, path);
  io_close(&file); /* allowed after a failed open */
}

static void what_is_no_file_is_refused(void **state) {
  (void)state;
  expect_error("/nowhere/at/all", "cannot open the file: no such file or folder; check the path");
  expect_error("/etc/passwd/x", "cannot open the file: a part of the path is not a folder; check the path");
  expect_error(folder, "expected a file, found a folder; give the path of a regular file");
  expect_error("/dev/zero", "expected a file, found a device, pipe or socket; give the path of a regular file");
  const char *pipe = in_folder("pipe");
  assert_int_equal(mkfifo(pipe, 0600), 0);
  expect_error(pipe, "expected a file, found a device, pipe or socket; give the path of a regular file"); /* at once */
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int length = snprintf(address.sun_path, sizeof address.sun_path, "%s", in_folder("socket"));
  assert_true(length > 0 && (size_t)length < sizeof address.sun_path);
  int s = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof address), 0);
  expect_error(address.sun_path,
               "cannot open the file: it is a socket or a pipe without a reader; give the path of a regular file");
  close(s);
  const char *loop = in_folder("loop");
  assert_int_equal(symlink(loop, loop), 0);
  expect_error(loop, "cannot open the file: the path goes through too many symbolic links");

  io_file file;
  viva_error e = {0};
  assert_int_equal(io_open(&io_system, "", &file, &e), VIVA_E_ARGUMENT);
  assert_string_equal(e.message, "the path of the file to read is empty");
  assert_int_equal(io_open(&io_system, "/nowhere", &file, NULL), VIVA_E_IO);
}

static void system_reads_and_maps(void **state) {
  (void)state;
  const char *path = in_folder("ten");
  put(path, "0123456789");
  io_file file;
  viva_error e = {0};
  assert_int_equal(io_open(&io_system, path, &file, &e), VIVA_OK);
  assert_int_equal(file.stat.bytes, 10);
  assert_true(file.stat.is_file && !file.stat.is_folder && file.stat.inode != 0 && file.stat.mtime_ns > 0);
  assert_int_equal(fcntl(file.handle, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  char data[16] = {0};
  assert_int_equal(io_read(&file, data, 4, 3, &e), VIVA_OK);
  assert_memory_equal(data, "3456", 5);
  assert_int_equal(io_read(&file, data, 0, 10, &e), VIVA_OK);
  const void *map;
  assert_int_equal(io_map(&file, &map, &e), VIVA_OK);
  assert_memory_equal(map, "0123456789", 10);
  io_unmap(&io_system, map, 10);
  assert_int_equal(io_read(&file, data, 8, 5, &e), VIVA_E_IO);
  assert_string_equal(e.message, "the file ends at byte 10 but 3 more bytes were expected there: it was truncated; "
                                 "fetch it again");
  assert_true(e.offset == 10);
  assert_string_equal(e.file, path);
  assert_int_equal(io_read(&file, data, 8, UINT64_MAX - 4, &e), VIVA_E_IO);
  assert_int_equal(io_read(&file, data, 8, (uint64_t)INT64_MAX + 1, &e), VIVA_E_IO);
  io_close(&file);
  io_close(&file);

  path = in_folder("empty");
  put(path, "");
  assert_int_equal(io_open(&io_system, path, &file, &e), VIVA_OK);
  map = path;
  assert_int_equal(io_map(&file, &map, &e), VIVA_OK);
  assert_null(map);
  io_unmap(&io_system, map, 0);
  io_close(&file);
}

static int collect(void *arg, const char *name) {
  strcat(arg, name);
  strcat(arg, ";");
  return strcmp(name, "stop") == 0;
}

static void system_lists_and_looks(void **state) {
  (void)state;
  char path[256], names[512] = "";
  snprintf(path, sizeof path, "%s", in_folder("list"));
  assert_int_equal(mkdir(path, 0700), 0);
  assert_int_equal(io_system.list(NULL, path, collect, names), 0);
  assert_string_equal(names, "");
  put(in_folder("list/a"), "a");
  assert_int_equal(io_system.list(NULL, path, collect, names), 0);
  assert_string_equal(names, "a;");
  put(in_folder("list/stop"), "");
  put(in_folder("list/z"), "");
  names[0] = 0;
  assert_int_equal(io_system.list(NULL, path, collect, names), 0);
  assert_non_null(strstr(names, "stop;"));
  assert_string_equal(strstr(names, "stop;"), "stop;"); /* nothing after it */
  assert_int_equal(io_system.list(NULL, "/nowhere", collect, names), -ENOENT);

  io_stat s;
  assert_int_equal(io_system.stat_path(NULL, path, &s), 0);
  assert_true(s.is_folder && !s.is_file);
  assert_int_equal(io_system.stat_path(NULL, in_folder("list/a"), &s), 0);
  assert_true(s.is_file && s.bytes == 1);
  assert_int_equal(io_system.stat_path(NULL, "/nowhere", &s), -ENOENT);
  assert_int_equal(io_system.stat(NULL, 99999, &s), -EBADF);
  assert_int_equal(io_system.close(NULL, 99999), -EBADF);
  assert_int_equal(io_system.sync(NULL, 99999), -EBADF);
  assert_int_equal(io_system.sync_folder(NULL, "/nowhere"), -ENOENT);
  assert_int_equal(io_system.sync_folder(NULL, path), 0);
  assert_int_equal(io_system.remove(NULL, "/nowhere"), -ENOENT);
  assert_int_equal(io_system.rename(NULL, "/nowhere", path), -ENOENT);
  assert_int_equal(io_system.open(NULL, in_folder("list/a"), IO_CREATE_NEW), -EEXIST);
  char byte;
  assert_int_equal(io_system.read_at(NULL, 99999, &byte, 1, 0), -EBADF);
  assert_int_equal(io_system.write_at(NULL, 99999, &byte, 1, 0), -EBADF);
  assert_int_equal(io_system.write_at(NULL, 99999, &byte, 1, UINT64_MAX), -EFBIG);
  void *map;
  assert_int_equal(io_system.map(NULL, 99999, 1, &map), -EBADF);
  assert_int_equal(io_system.unmap(NULL, (void *)1, 1), -EINVAL);
}

static void short_reads_are_joined(void **state) {
  (void)state;
  memory_io *m = memory_io_create();
  memory_io_put_text(m, "/f", "abcdefghijklmnopqrstuvwxyz");
  for (size_t step = 1; step < 28; step++) {
    memory_io_short(m, step);
    io_file file;
    char data[27] = {0};
    assert_int_equal(io_open(memory_io_table(m), "/f", &file, NULL), VIVA_OK);
    assert_int_equal(io_read(&file, data, 26, 0, NULL), VIVA_OK);
    assert_string_equal(data, "abcdefghijklmnopqrstuvwxyz");
    io_close(&file);
  }
  memory_io_free(m);
}

static void every_failing_call_is_reported(void **state) {
  (void)state;
  const int errors[] = {EIO, ENOMEM, EACCES, 3333};
  for (size_t i = 0; i < 4; i++) {
    for (uint64_t at = 1; at <= 5; at++) {
      memory_io *m = memory_io_create();
      memory_io_put_text(m, "/f", "abc");
      memory_io_fail(m, at, errors[i], 0);
      io_file file;
      char data[4] = {0};
      const void *map = NULL;
      viva_error e = {0};
      viva_status status = io_open(memory_io_table(m), "/f", &file, &e); /* open, stat */
      if (status == VIVA_OK) {
        status = io_read(&file, data, 3, 0, &e);
        if (status == VIVA_OK) status = io_map(&file, &map, &e);
        io_unmap(memory_io_table(m), map, 3);
        io_close(&file);
      }
      assert_int_equal(status, at <= 4 ? VIVA_E_IO : VIVA_OK); /* the fifth is unmap's: nothing to be done about it */
      if (at <= 4) {
        static const char *const actions[] = {"open the file", "look at the file", "read the file", "map the file"};
        assert_non_null(strstr(e.message, actions[at - 1]));
        assert_string_equal(e.file, "/f");
      }
      if (at <= 4 && errors[i] == 3333) assert_non_null(strstr(e.message, "system error 3333"));
      assert_int_equal(memory_io_open_count(m), 0);
      memory_io_free(m);
    }
  }
}

static void interruptions_are_repeated(void **state) {
  (void)state;
  for (uint64_t at = 1; at <= 3; at++) {
    memory_io *m = memory_io_create();
    memory_io_put_text(m, "/f", "abc");
    memory_io_fail(m, at, EINTR, 0);
    io_file file;
    char data[4] = {0};
    assert_int_equal(io_open(memory_io_table(m), "/f", &file, NULL), VIVA_OK);
    assert_int_equal(io_read(&file, data, 3, 0, NULL), VIVA_OK);
    assert_string_equal(data, "abc");
    assert_true(memory_io_failed(m));
    io_close(&file);
    memory_io_free(m);
  }
}

static void a_file_that_shrinks_is_noticed(void **state) {
  (void)state;
  memory_io *m = memory_io_create();
  memory_io_put_text(m, "/f", "abcdef");
  io_file file;
  char data[8];
  viva_error e = {0};
  assert_int_equal(io_open(memory_io_table(m), "/f", &file, &e), VIVA_OK);
  memory_io_truncate(m, "/f", 2);
  assert_int_equal(io_read(&file, data, 6, 0, &e), VIVA_E_IO);
  assert_non_null(strstr(e.message, "ends at byte 2 but 4 more bytes"));
  io_close(&file);
  memory_io_free(m);
}

/* A table that claims to have read more than it was asked for must not move the reader out of its buffer. */
static int64_t boastful_read(void *user, int handle, void *data, size_t bytes, uint64_t offset) {
  (void)user, (void)handle, (void)offset;
  memset(data, 'b', bytes);
  return (int64_t)bytes + 100;
}

static void counts_beyond_the_request_are_cut(void **state) {
  (void)state;
  io_table table = io_system;
  table.read_at = boastful_read;
  io_file file = {.io = &table, .handle = 0, .path = "f"};
  char data[4] = "...";
  assert_int_equal(io_read(&file, data, 3, 0, NULL), VIVA_OK);
  assert_string_equal(data, "bbb");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_no_file_is_refused),     cmocka_unit_test(system_reads_and_maps),
      cmocka_unit_test(system_lists_and_looks),         cmocka_unit_test(short_reads_are_joined),
      cmocka_unit_test(every_failing_call_is_reported), cmocka_unit_test(interruptions_are_repeated),
      cmocka_unit_test(a_file_that_shrinks_is_noticed), cmocka_unit_test(counts_beyond_the_request_are_cut),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
