/* The safetensors writer: the reference writer's bytes, whole files or none, and nothing wrong written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#include "format/safetensors/safetensors.h"
#include "format/safetensors/st_open.h"
#include "lib/fail_alloc.h"

#define OUT "/m/out.safetensors"

static const char *const pt[] = {"format", "pt"};
static uint8_t counting[64]; /* 1, 2, 3 ... */

/* The tensors of tests/mk/mkgolden_hf.py, in another order. */
static const viva_tensor_data reference[] = {
    {"A", VIVA_F32, 2, {0, 7}, NULL, 0},
    {"bool", VIVA_BOOL, 2, {2, 3}, counting, 6},
    {"uint8", VIVA_U8, 2, {2, 3}, counting, 6},
    {"int8", VIVA_I8, 2, {2, 3}, counting, 6},
    {"float8_e5m2", VIVA_E5M2, 2, {2, 3}, counting, 6},
    {"float8_e4m3fn", VIVA_E4M3, 2, {2, 3}, counting, 6},
    {"float8_e8m0fnu", VIVA_E8M0, 2, {2, 3}, counting, 6},
    {"B \"quoted\" \\ \t\n\x01 \xc3\xa9\xf0\x9f\x98\x80", VIVA_F32, 0, {0}, counting, 4},
    {"int16", VIVA_I16, 2, {2, 3}, counting, 12},
    {"uint16", VIVA_U16, 2, {2, 3}, counting, 12},
    {"float16", VIVA_F16, 2, {2, 3}, counting, 12},
    {"bfloat16", VIVA_BF16, 2, {2, 3}, counting, 12},
    {"int32", VIVA_I32, 2, {2, 3}, counting, 24},
    {"uint32", VIVA_U32, 2, {2, 3}, counting, 24},
    {"float32", VIVA_F32, 2, {2, 3}, counting, 24},
    {"complex64", VIVA_C64, 2, {2, 3}, counting, 48},
    {"float64", VIVA_F64, 2, {2, 3}, counting, 48},
    {"int64", VIVA_I64, 2, {2, 3}, counting, 48},
    {"uint64", VIVA_U64, 2, {2, 3}, counting, 48},
};
#define REFERENCE (sizeof reference / sizeof *reference)

static void fill_counting(void) {
  for (size_t i = 0; i < sizeof counting; i++) counting[i] = (uint8_t)(i + 1);
}

static void test_equals_the_reference_writer(void **state) {
  (void)state;
  fill_counting();
  gguf_world w = world_open(NULL);
  size_t bytes, expected_bytes;
  uint8_t *expected = source_file("tests/golden/safetensors", "reference.safetensors", &expected_bytes);
  assert_int_equal(safetensors_write(w.rt, OUT, reference, REFERENCE, pt, 1, NULL), VIVA_OK);
  const void *written = memory_io_get(w.io, OUT, &bytes);
  assert_int_equal(bytes, expected_bytes);
  assert_memory_equal(written, expected, bytes);
  assert_int_equal(memory_io_file_count(w.io), 1);
  free(expected);
  world_close(&w);
}

static void test_reads_back(void **state) {
  (void)state;
  fill_counting();
  gguf_world w = world_open(NULL);
  static const viva_tensor_data tensors[] = {
      {"f4", VIVA_E2M1, 1, {6}, counting, 3},
      {"f6", VIVA_E2M3, 1, {4}, counting, 3},
      {"f6b", VIVA_E3M2, 2, {2, 2}, counting, 3},
      {"fnuz", VIVA_E4M3_FNUZ, 8, {1, 1, 1, 1, 1, 1, 1, 2}, counting, 2},
      {"fnuz5", VIVA_E5M2_FNUZ, 1, {2}, counting, 2},
      {"f32", VIVA_F32, 1, {3}, counting, 12},
  };
  const size_t count = sizeof tensors / sizeof *tensors;
  static const char *const metadata[] = {"a", "line\nbreak \"q\"", "", "", "\xc3\xa9", "\x7f"};
  assert_int_equal(safetensors_write(w.rt, OUT, tensors, count, metadata, 3, NULL), VIVA_OK);
  viva_checkpoint *ck;
  viva_error error = {0};
  if (checkpoint_open(w.rt, OUT, VIVA_LOAD_READ, &ck, &error) != VIVA_OK) fail_msg("%s", error.message);
  assert_int_equal(viva_checkpoint_tensor_count(ck), count);
  assert_int_equal(viva_checkpoint_metadata_count(ck), 3);
  for (size_t i = 0; i < count; i++) {
    viva_stored_tensor info = {.size = sizeof info};
    uint8_t data[16];
    assert_int_equal(viva_checkpoint_find(ck, tensors[i].name, &info, NULL), VIVA_OK);
    assert_int_equal(info.dtype, tensors[i].dtype);
    assert_int_equal(info.rank, tensors[i].rank);
    assert_memory_equal(info.shape, tensors[i].shape, tensors[i].rank * sizeof *info.shape);
    assert_int_equal(viva_checkpoint_read(ck, tensors[i].name, data, tensors[i].bytes, NULL), VIVA_OK);
    assert_memory_equal(data, counting, tensors[i].bytes);
  }
  viva_stored_tensor first = {.size = sizeof first};
  assert_int_equal(viva_checkpoint_find(ck, "f32", &first, NULL), VIVA_OK);
  assert_int_equal(first.offset % 8, 0); /* the data is aligned */
  viva_checkpoint_close(ck);
  assert_int_equal(safetensors_write(w.rt, OUT, NULL, 0, NULL, 0, NULL), VIVA_OK);
  assert_int_equal(checkpoint_open(w.rt, OUT, VIVA_LOAD_READ, &ck, NULL), VIVA_OK);
  assert_int_equal(viva_checkpoint_tensor_count(ck), 0);
  viva_checkpoint_close(ck);
  world_close(&w);
}

static void test_wrong_arguments(void **state) {
  (void)state;
  fill_counting();
  static const struct {
    viva_tensor_data tensors[2];
    size_t count;
    const char *message;
  } cases[] = {
      {{{"x", VIVA_F32, 1, {2}, counting, 7}}, 1, "bytes is not"},
      {{{"x", VIVA_F32, 1, {2}, counting, 9}}, 1, "bytes is not"},
      {{{"x", VIVA_F32, 2, {1ull << 63, 2}, counting, 0}}, 1, "bytes is not"},
      {{{"x", VIVA_E2M1, 1, {3}, counting, 1}}, 1, "bytes is not"},
      {{{"x", VIVA_E2M1, 1, {3}, counting, 2}}, 1, "bytes is not"},
      {{{"x", VIVA_DTYPE_NONE, 1, {2}, counting, 8}}, 1, "dtype"},
      {{{"x", (viva_dtype)99, 1, {2}, counting, 8}}, 1, "dtype"},
      {{{"x", VIVA_U8, 9, {1}, counting, 1}}, 1, "rank"},
      {{{"x", VIVA_U8, 1, {1}, NULL, 1}}, 1, "data is NULL"},
      {{{NULL, VIVA_U8, 1, {1}, counting, 1}}, 1, "NULL"},
      {{{"\xff", VIVA_U8, 1, {1}, counting, 1}}, 1, "UTF-8"},
      {{{"__metadata__", VIVA_U8, 1, {1}, counting, 1}}, 1, "this name"},
      {{{"x", VIVA_U8, 1, {1}, counting, 1}, {"x", VIVA_F32, 1, {1}, counting, 4}}, 2, "two tensors"},
  };
  static const char *const double_key[] = {"a", "1", "b", "2", "a", "3"}, *const no_value[] = {"a", NULL},
                           *const bad[] = {"a", "\xc0\x80"};
  gguf_world w = world_open(NULL);
  viva_error error = {0};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(safetensors_write(w.rt, OUT, cases[i].tensors, cases[i].count, NULL, 0, &error), VIVA_E_ARGUMENT);
    if (strstr(error.message, cases[i].message) == NULL) fail_msg("%zu: %s", i, error.message);
    assert_string_equal(error.file, OUT);
  }
  assert_int_equal(safetensors_write(w.rt, OUT, NULL, 0, double_key, 3, &error), VIVA_E_ARGUMENT);
  assert_string_equal(error.item, "a");
  assert_int_equal(safetensors_write(w.rt, OUT, NULL, 0, no_value, 1, &error), VIVA_E_ARGUMENT);
  assert_int_equal(safetensors_write(w.rt, OUT, NULL, 0, bad, 1, &error), VIVA_E_ARGUMENT);
  assert_int_equal(safetensors_write(w.rt, OUT, NULL, 0, NULL, 1, &error), VIVA_E_ARGUMENT);
  assert_int_equal(safetensors_write(w.rt, OUT, NULL, 1, NULL, 0, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_safetensors_write(NULL, NULL, 0, NULL, 0, NULL, &error), VIVA_E_ARGUMENT);
  assert_int_equal(memory_io_file_count(w.io), 0);
  assert_int_equal(memory_io_calls(w.io), 0); /* nothing was touched */
  world_close(&w);
}

static const viva_tensor_data two[] = {{"a", VIVA_F32, 1, {2}, counting, 8}, {"b", VIVA_U8, 1, {1}, counting, 1}};

static void test_allocation_failures(void **state) {
  (void)state;
  for (int persistent = 0; persistent < 2; persistent++) {
    for (uint64_t k = 1;; k++) {
      fail_alloc f;
      viva_error error = {0};
      fail_alloc_init(&f, k, persistent);
      gguf_world w = world_open(&f.table);
      viva_status status = w.rt != NULL ? safetensors_write(w.rt, OUT, two, 2, pt, 1, &error) : VIVA_E_MEMORY;
      int failed = f.failed;
      assert_int_equal(status, failed ? VIVA_E_MEMORY : VIVA_OK);
      assert_int_equal(memory_io_file_count(w.io), failed ? 0 : 1);
      assert_int_equal(memory_io_open_count(w.io), 0);
      world_close(&w);
      assert_int_equal(f.live, 0);
      if (!failed) break;
      assert_true(k < 1000);
    }
  }
}

/* Whatever call fails, the old file is there, or the whole new one; a temporary file only when it could not be removed. */
static void test_io_failures(void **state) {
  (void)state;
  static const int errors[] = {EIO, ENOSPC, EROFS};
  static const char old[] = "the old file";
  for (int mode = 0; mode < 6; mode++) {
    for (uint64_t k = 1;; k++) {
      viva_error error = {0};
      gguf_world w = world_open(NULL);
      size_t bytes;
      memory_io_put(w.io, OUT, old, sizeof old);
      memory_io_short(w.io, 40);
      memory_io_fail(w.io, k, errors[mode / 2], mode & 1);
      viva_status status = safetensors_write(w.rt, OUT, two, 2, pt, 1, &error);
      int failed = memory_io_failed(w.io);
      memory_io_fail(w.io, 0, 0, 0);
      const void *now = memory_io_get(w.io, OUT, &bytes);
      assert_non_null(now);
      int is_old = bytes == sizeof old && memcmp(now, old, bytes) == 0;
      if (status != VIVA_OK) assert_int_equal(status, VIVA_E_IO);
      if (status == VIVA_OK) assert_false(is_old);
      if (!is_old) {
        viva_checkpoint *ck;
        assert_int_equal(checkpoint_open(w.rt, OUT, VIVA_LOAD_READ, &ck, NULL), VIVA_OK);
        assert_int_equal(viva_checkpoint_tensor_count(ck), 2);
        viva_checkpoint_close(ck);
      }
      if (!(mode & 1) && memory_io_file_count(w.io) > 1) /* the removal itself failed: the next run does it */
        assert_int_equal(safetensors_write(w.rt, OUT, two, 2, pt, 1, &error), VIVA_OK);
      if (!(mode & 1)) assert_int_equal(memory_io_file_count(w.io), 1);
      assert_int_equal(memory_io_open_count(w.io), 0);
      world_close(&w);
      if (!failed) break;
      assert_true(k < 100);
    }
  }
}

/* On the real system: written over a file that is mapped by a checkpoint (row I4), and to places that cannot be. */
static void test_real_files(void **state) {
  (void)state;
  fill_counting();
  char folder[] = "/tmp/viva-write-XXXXXX", path[64], bad[80];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  viva_error error = {0};
  assert_int_equal(viva_safetensors_write(path, reference, REFERENCE, pt, 1, NULL, &error), VIVA_OK);
  viva_checkpoint_options options = viva_checkpoint_options_default();
  options.load = VIVA_LOAD_MMAP;
  viva_checkpoint *ck, *again;
  assert_int_equal(viva_checkpoint_open(folder, &options, &ck, &error), VIVA_OK);
  viva_tensor_data tensors[REFERENCE];
  for (size_t i = 0; i < REFERENCE; i++) {
    const tensor_view *view = checkpoint_find(ck, reference[i].name);
    tensors[i] = reference[i];
    tensors[i].data = checkpoint_mapped(ck, view);
  }
  assert_int_equal(viva_safetensors_write(path, tensors, REFERENCE, pt, 1, NULL, &error), VIVA_OK);
  assert_int_equal(viva_checkpoint_open(path, NULL, &again, &error), VIVA_OK);
  for (size_t i = 0; i < REFERENCE; i++) {
    uint8_t data[64];
    assert_int_equal(viva_checkpoint_read(again, reference[i].name, data, reference[i].bytes, &error), VIVA_OK);
    assert_memory_equal(data, counting, reference[i].bytes);
  }
  viva_checkpoint_close(again);
  viva_checkpoint_close(ck);
  snprintf(bad, sizeof bad, "%s/none/model.safetensors", folder);
  assert_int_equal(viva_safetensors_write(bad, reference, REFERENCE, NULL, 0, NULL, &error), VIVA_E_IO);
  assert_true(strncmp(error.file, folder, strlen(folder)) == 0);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(rmdir(folder), 0); /* empty: no temporary file is left */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_equals_the_reference_writer),
      cmocka_unit_test(test_reads_back),
      cmocka_unit_test(test_wrong_arguments),
      cmocka_unit_test(test_allocation_failures),
      cmocka_unit_test(test_io_failures),
      cmocka_unit_test(test_real_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
