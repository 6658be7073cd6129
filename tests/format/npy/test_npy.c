/* tests/format/npy/test_npy.c: .npy and .npz: what is written is read again; every cut and changed byte is refused
 * or read the same; failing memory and files. NumPy's own files are compared in tests/python/test_npy.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/npy/npy.h"
#include "lib/fail_alloc.h"
#include "lib/memory_io.h"

#define PATH "/m/x"

static const float values[6] = {0, 1, -2, 3.5f, 4, 5};
static const uint16_t shorts[4] = {1, 2, 3, 0xffff};

static const viva_tensor_data two[2] = {
    {.name = "a/weights", .dtype = VIVA_F32, .rank = 2, .shape = {2, 3}, .data = values, .bytes = sizeof values},
    {.name = "b", .dtype = VIVA_U16, .rank = 1, .shape = {4}, .data = shorts, .bytes = sizeof shorts}};

typedef struct kit {
  memory_io *io;
  runtime *rt;
} kit;

static kit begin(void) {
  kit k = {.io = memory_io_create()};
  k.rt = runtime_create(NULL, memory_io_table(k.io), NULL, NULL, VIVA_LOG_WARN);
  assert_non_null(k.rt);
  return k;
}

static void end(kit *k) {
  runtime_release(k->rt);
  assert_int_equal(memory_io_open_count(k->io), 0);
  memory_io_free(k->io);
}

static void refused(kit *k, const void *bytes, size_t count, viva_status code, const char *text) {
  viva_npy *f;
  viva_error error = {0};
  memory_io_put(k->io, PATH, bytes, count);
  const viva_status status = npy_open(k->rt, PATH, &f, &error);
  if (status != code || !strstr(error.message, text))
    fail_msg("%s \"%s\"; expected %s \"%s\"", viva_status_name(status), error.message, viva_status_name(code), text);
  assert_null(f);
}

static void writes_and_reads(void **state) {
  (void)state;
  kit k = begin();
  viva_npy *f;
  viva_stored_tensor info = {.size = sizeof info};
  viva_error error = {0};
  float out[6];
  size_t index;
  assert_int_equal(npz_write(k.rt, PATH, two, 2, NULL), VIVA_OK);
  assert_int_equal(npy_open(k.rt, PATH, &f, &error), VIVA_OK);
  assert_int_equal(viva_npy_count(f), 2);
  assert_int_equal(viva_npy_info(f, 0, &info, NULL), VIVA_OK);
  assert_string_equal(info.name, "a/weights");
  assert_string_equal(info.type_name, "<f4");
  assert_true(info.rank == 2 && info.shape[0] == 2 && info.shape[1] == 3 && info.bytes == sizeof values);
  assert_int_equal(viva_npy_find(f, "b", &index, NULL), VIVA_OK);
  assert_int_equal(index, 1);
  assert_int_equal(viva_npy_find(f, "c", &index, &error), VIVA_E_NOT_FOUND);
  assert_int_equal(viva_npy_info(f, 2, &info, &error), VIVA_E_NOT_FOUND);
  assert_int_equal(viva_npy_read(f, 0, out, 8, &error), VIVA_E_SIZE);
  assert_int_equal(viva_npy_read(f, 0, out, sizeof out, &error), VIVA_OK);
  assert_memory_equal(out, values, sizeof out);
  viva_npy_close(f);
  assert_int_equal(npy_write(k.rt, PATH, &two[0], NULL), VIVA_OK);
  assert_int_equal(npy_open(k.rt, PATH, &f, &error), VIVA_OK);
  assert_int_equal(viva_npy_read(f, 0, out, sizeof out, &error), VIVA_OK);
  assert_memory_equal(out, values, sizeof out);
  viva_npy_close(f);
  viva_npy_close(NULL);
  assert_int_equal(viva_npy_count(NULL), 0);
  assert_int_equal(npz_write(k.rt, PATH, NULL, 0, NULL), VIVA_OK);
  assert_int_equal(npy_open(k.rt, PATH, &f, &error), VIVA_OK);
  assert_int_equal(viva_npy_count(f), 0);
  viva_npy_close(f);
  end(&k);
}

/* Opens and reads everything; 1 when all went well and the values are those of `two`. */
static int reads_the_same(kit *k) {
  viva_npy *f;
  viva_error error = {0};
  float out[6];
  uint16_t small[4];
  if (npy_open(k->rt, PATH, &f, &error) != VIVA_OK) {
    assert_true(error.message[0] != 0 && f == NULL);
    return 0;
  }
  const size_t count = viva_npy_count(f);
  int same = count > 0 && viva_npy_read(f, 0, out, sizeof out, NULL) == VIVA_OK && !memcmp(out, values, sizeof out);
  if (count > 1)
    same = same && viva_npy_read(f, 1, small, sizeof small, NULL) == VIVA_OK && !memcmp(small, shorts, sizeof small);
  viva_npy_close(f);
  return same;
}

static uint8_t *copy_of_file(kit *k, size_t *bytes) {
  const void *written = memory_io_get(k->io, PATH, bytes);
  uint8_t *copy = malloc(*bytes);
  assert_non_null(copy);
  memcpy(copy, written, *bytes);
  return copy;
}

/* A change of a member's bytes is seen by its checksum; of a .npz every cut is refused. */
static void cuts_and_changes(void **state) {
  (void)state;
  kit k = begin();
  size_t bytes;
  assert_int_equal(npz_write(k.rt, PATH, two, 2, NULL), VIVA_OK);
  uint8_t *copy = copy_of_file(&k, &bytes);
  for (size_t i = 0; i < bytes; i++) {
    memory_io_put(k.io, PATH, copy, i);
    assert_false(reads_the_same(&k));
  }
  const size_t first_data = 30 + strlen("a/weights.npy"), first_bytes = 128 + sizeof values;
  for (size_t i = 0; i < bytes; i++) {
    copy[i] ^= 0x21;
    memory_io_put(k.io, PATH, copy, bytes);
    if (reads_the_same(&k) && i >= first_data && i < first_data + first_bytes) fail_msg("byte %zu is not checked", i);
    copy[i] ^= 0x21;
  }
  free(copy);
  end(&k);
}

/* Two bytes of a copy become this number, and the file is refused, or read. */
static void with_number(kit *k, uint8_t *copy, size_t bytes, size_t at, unsigned number, viva_status code,
                        const char *text) {
  const uint8_t before[2] = {copy[at], copy[at + 1]};
  copy[at] = (uint8_t)(number & 255), copy[at + 1] = (uint8_t)(number >> 8);
  if (code != VIVA_OK) {
    refused(k, copy, bytes, code, text);
  } else {
    memory_io_put(k->io, PATH, copy, bytes);
    assert_true(reads_the_same(k));
  }
  memcpy(copy + at, before, 2);
}

/* The directory, its end and the members' own headers say the same, in a version that is known. */
static void directory_and_members(void **state) {
  (void)state;
  kit k = begin();
  char name[600];
  memset(name, 'n', sizeof name - 1), name[sizeof name - 1] = 0;
  viva_tensor_data both[2] = {two[0], two[1]};
  both[1].name = name;
  size_t bytes;
  assert_int_equal(npz_write(k.rt, PATH, both, 2, NULL), VIVA_OK);
  uint8_t *copy = copy_of_file(&k, &bytes);
  const uint8_t *end_record = copy + bytes - 22;
  const size_t entry = (size_t)(end_record[16] | end_record[17] << 8), second = bytes - 22 - strlen(name) - 4;
  assert_memory_equal(copy + entry, "PK\1\2", 4);
  assert_memory_equal(copy + second, name, strlen(name));
  with_number(&k, copy, bytes, bytes - 12, 2, VIVA_OK, "");
  with_number(&k, copy, bytes, bytes - 12, 1, VIVA_E_FORMAT, "more entries than it says");
  with_number(&k, copy, bytes, bytes - 12, 0, VIVA_E_FORMAT, "more entries than it says");
  with_number(&k, copy, bytes, bytes - 12, 3, VIVA_E_FORMAT, "fewer entries than it says");
  with_number(&k, copy, bytes, entry + 46, 'b' | '/' << 8, VIVA_E_FORMAT, "name is another one in its directory");
  with_number(&k, copy, bytes, 30, 'b' | '/' << 8, VIVA_E_FORMAT, "name is another one in its directory");
  with_number(&k, copy, bytes, 26, 12, VIVA_E_FORMAT, "name is another one in its directory");
  with_number(&k, copy, bytes, second + 500, 'm' | 'n' << 8, VIVA_E_FORMAT, "name is another one in its directory");
  with_number(&k, copy, bytes, entry + 6, 3 << 8 | 63, VIVA_OK, ""); /* as Unix has it */
  with_number(&k, copy, bytes, entry + 6, 64, VIVA_E_UNSUPPORTED, "newer version");
  with_number(&k, copy, bytes, entry + 8, 0x1, VIVA_E_UNSUPPORTED, "encrypted");
  with_number(&k, copy, bytes, entry + 8, 0x20, VIVA_E_UNSUPPORTED, "patch");
  free(copy);
  end(&k);
}

static size_t put_header(char *file, const char *dict) {
  const size_t length = strlen(dict);
  memcpy(file, "\x93NUMPY\1\0", 8);
  file[8] = (char)(length & 255), file[9] = (char)(length >> 8);
  memcpy(file + 10, dict, length);
  return 10 + length;
}

static void headers(void **state) {
  (void)state;
  static const struct {
    const char *dict;
    viva_status code;
    const char *text;
  } cases[] = {
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", VIVA_E_FORMAT, "expected ',' or '}'"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2)}", VIVA_E_FORMAT, "expected ','"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", VIVA_E_FORMAT, "each of descr"},
      {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", VIVA_E_FORMAT, "each of descr"},
      {"{'descr': '<f4', 'shape': (2,)}", VIVA_E_FORMAT, "expected descr, fortran_order and shape"},
      {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}", VIVA_E_FORMAT, "neither True nor False"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", VIVA_E_FORMAT, "no number"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': [2]}", VIVA_E_FORMAT, "no tuple"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}", VIVA_E_UNSUPPORTED, "8 dimensions"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296,4294967296)}", VIVA_E_LIMIT, "more elements"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296,4294967296,0)}", VIVA_E_LIMIT, "more elements"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", VIVA_E_FORMAT, "needs 12 bytes"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", VIVA_E_FORMAT, "bytes after the array"},
      {"{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", VIVA_E_UNSUPPORTED, "'|O'"},
      {"{'descr': '<U4', 'fortran_order': False, 'shape': (2,)}", VIVA_E_UNSUPPORTED, "'<U4'"},
      {"{'descr': '<V2', 'fortran_order': False, 'shape': (2,)}", VIVA_E_UNSUPPORTED, "'<V2'"},
      {"{'descr': '|f4', 'fortran_order': False, 'shape': (2,)}", VIVA_E_UNSUPPORTED, "'|f4'"},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", VIVA_E_UNSUPPORTED, "records"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", VIVA_E_FORMAT, "nothing after them"},
      {"[1]", VIVA_E_FORMAT, "expected '{'"},
  };
  kit k = begin();
  char file[256];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const size_t bytes = put_header(file, cases[i].dict);
    memset(file + bytes, 0, 8);
    refused(&k, file, bytes + 8, cases[i].code, cases[i].text);
  }
  refused(&k, "", 0, VIVA_E_FORMAT, "this is no .npy");
  refused(&k, "PK\3\4", 4, VIVA_E_FORMAT, "no end record");
  refused(&k, "\x93NUMPY\4\0\0\0\0\0", 12, VIVA_E_UNSUPPORTED, "version");
  refused(&k, "\x93NUMPY\2\0\xff\xff\xff\xff", 12, VIVA_E_LIMIT, "longer than");
  end(&k);
}

static void what_is_not_written(void **state) {
  (void)state;
  kit k = begin();
  viva_error error = {0};
  viva_tensor_data t = two[0];
  t.dtype = VIVA_BF16;
  assert_int_equal(npy_write(k.rt, PATH, &t, &error), VIVA_E_DTYPE);
  assert_non_null(strstr(error.message, "convert the array to F32"));
  t = two[0], t.bytes = 20;
  assert_int_equal(npy_write(k.rt, PATH, &t, &error), VIVA_E_ARGUMENT);
  t = two[0], t.rank = 9;
  assert_int_equal(npy_write(k.rt, PATH, &t, &error), VIVA_E_ARGUMENT);
  const viva_tensor_data twice[2] = {two[0], two[0]};
  assert_int_equal(npz_write(k.rt, PATH, twice, 2, &error), VIVA_E_ARGUMENT);
  assert_non_null(strstr(error.message, "two arrays"));
  assert_int_equal(memory_io_file_count(k.io), 0);
  assert_int_equal(viva_npy_write(NULL, &t, NULL, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_npz_write("/x", NULL, 1, NULL, &error), VIVA_E_ARGUMENT);
  end(&k);
}

/* One round: written, opened, read. */
static viva_status round_trip(runtime *rt) {
  viva_npy *f;
  float out[6];
  viva_status status = npz_write(rt, PATH, two, 2, NULL);
  if (status == VIVA_OK) status = npy_open(rt, PATH, &f, NULL);
  if (status != VIVA_OK) return status;
  status = viva_npy_read(f, 0, out, sizeof out, NULL);
  viva_npy_close(f);
  return status;
}

static void failing_memory(void **state) {
  (void)state;
  fail_alloc fail;
  for (uint64_t n = 1;; n++) {
    fail_alloc_init(&fail, n, 0);
    memory_io *io = memory_io_create();
    runtime *rt = runtime_create(&fail.table, memory_io_table(io), NULL, NULL, VIVA_LOG_WARN);
    const viva_status status = rt ? round_trip(rt) : VIVA_E_MEMORY;
    runtime_release(rt);
    assert_int_equal(fail.live, 0);
    assert_int_equal(memory_io_open_count(io), 0);
    memory_io_free(io);
    assert_int_equal(status, fail.failed ? VIVA_E_MEMORY : VIVA_OK);
    if (!fail.failed) break;
  }
}

static void failing_files(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    kit k = begin();
    memory_io_fail(k.io, n, EIO, 0);
    const viva_status status = round_trip(k.rt);
    const int failed = memory_io_failed(k.io);
    assert_true(status == VIVA_OK || (failed && status == VIVA_E_IO));
    end(&k);
    if (!failed) break;
  }
}

/* The checksum of zip, and one deflated text of each kind of block (made with zlib). */
static void checksum_and_inflate(void **state) {
  (void)state;
  assert_int_equal(zip_crc(0, "123456789", 9), 0xcbf43926);
  assert_int_equal(zip_crc(zip_crc(0, "1234", 4), "56789", 5), 0xcbf43926);
  static const uint8_t stored[] = {1, 3, 0, 0xfc, 0xff, 'a', 'b', 'c'}, fixed[] = {0x4b, 0x4c, 0x4a, 0x06, 0x00};
  uint8_t out[16];
  size_t made, used;
  assert_int_equal(zip_inflate(stored, sizeof stored, out, 16, &made, &used), INFLATE_END);
  assert_int_equal(made, 3);
  assert_memory_equal(out, "abc", 3);
  assert_int_equal(zip_inflate(fixed, sizeof fixed, out, 16, &made, &used), INFLATE_END);
  assert_int_equal(made, 3);
  assert_memory_equal(out, "abc", 3);
  assert_int_equal(zip_inflate(fixed, 2, out, 16, &made, &used), INFLATE_SHORT);
  assert_int_equal(zip_inflate(fixed, sizeof fixed, out, 2, &made, &used), INFLATE_FULL);
  assert_int_equal(zip_inflate("\7", 1, out, 16, &made, &used), INFLATE_BAD);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(writes_and_reads),      cmocka_unit_test(cuts_and_changes),     cmocka_unit_test(headers),
      cmocka_unit_test(directory_and_members), cmocka_unit_test(what_is_not_written),  cmocka_unit_test(failing_memory),
      cmocka_unit_test(failing_files),         cmocka_unit_test(checksum_and_inflate),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
