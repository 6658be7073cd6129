/* Damaged and hostile GGUF files: each is refused, at once, with little memory and a message that names the place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/ck.h"
#include "format/gguf/gguf_build.h"
#include "format/gguf/gguf_open.h"
#include "lib/fail_alloc.h"
#include "number/mix.h"

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* how long one waits depends on what else runs */
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Opens and asks for the configuration, as every program does. */
static viva_status use(gguf_world *w, const void *data, size_t bytes, viva_error *error) {
  viva_checkpoint *ck;
  viva_status status = world_load(w, data, bytes, &ck, error);
  if (status != VIVA_OK) {
    assert_null(ck);
    return status;
  }
  viva_model_config config = {.size = sizeof config};
  status = gguf_config(ck, &config, error);
  viva_checkpoint_close(ck);
  return status;
}

static void check_refusal(const char *name, const char *status_name, const char *fragment) {
  char text[1300];
  size_t bytes;
  viva_error error = {0};
  uint8_t *data = source_file("tests/hostile/gguf", name, &bytes);
  assert_non_null(data);
  gguf_world w = world_open(NULL);
  double start = now_ms();
  viva_status status = use(&w, data, bytes, &error);
  double took = now_ms() - start;
  viva_error_format(&error, text, sizeof text);
  if (strcmp(viva_status_name(status), status_name) != 0 || strstr(text, fragment) == NULL) {
    print_message("%s: expected %s \"%s\", got %s: %s\n", name, status_name, fragment, viva_status_name(status), text);
  }
  assert_string_equal(viva_status_name(status), status_name);
  assert_int_equal(error.code, status);
  assert_non_null(strstr(text, fragment));
  assert_string_equal(error.file, GGUF_TEST_PATH);
  assert_true(took <= 100);
  assert_true(w.rt->mem.peak <= ((size_t)64 << 20) + 2 * bytes);
  assert_int_equal(memory_io_open_count(w.io), 0);
  world_close(&w);
  free(data);
}

static void test_every_hostile_file_is_refused(void **state) {
  (void)state;
  size_t bytes, count = 0;
  char *list = (char *)source_file("tests/hostile/gguf", "expected.tsv", &bytes), *rest = list, *line;
  assert_non_null(list);
  list[bytes] = 0;
  for (; (line = strsep(&rest, "\n")) != NULL && *line != 0; count++) {
    char *name = strsep(&line, "\t"), *status = strsep(&line, "\t");
    check_refusal(name, status, line);
  }
  assert_true(count >= 100);
  free(list);
}

static const char *const valid_files[] = {"tiny_llama.gguf", "every_type.gguf",  "empty.gguf",
                                          "version_2.gguf",  "alignment_8.gguf", "alignment_64.gguf"};
#define VALID_FILES (sizeof valid_files / sizeof *valid_files)

/* The first length at which the file is whole: the end of its last tensor, or of its header. */
static uint64_t whole_length(gguf_world *w, const void *data, size_t bytes) {
  viva_checkpoint *ck;
  assert_int_equal(world_load(w, data, bytes, &ck, NULL), VIVA_OK);
  uint64_t end = ck->gguf->header_bytes;
  for (size_t i = 0; i < ck->tensor_count; i++) {
    uint64_t last = ck->tensors[i].offset + ck->tensors[i].bytes;
    if (last > end) end = last;
  }
  viva_checkpoint_close(ck);
  return end;
}

static void test_every_truncation_is_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < VALID_FILES; i++) {
    size_t bytes;
    uint8_t *data = source_file("tests/golden/gguf", valid_files[i], &bytes);
    gguf_world w = world_open(NULL);
    uint64_t whole = whole_length(&w, data, bytes);
    for (size_t length = 0; length <= bytes; length++) {
      viva_error error = {0};
      viva_checkpoint *ck;
      viva_status status = world_load(&w, data, length, &ck, &error);
      if ((status == VIVA_OK) != (length >= whole)) print_message("%s cut at %zu\n", valid_files[i], length);
      assert_int_equal(status, length >= whole ? VIVA_OK : VIVA_E_FORMAT);
      if (status != VIVA_OK) assert_string_equal(error.file, GGUF_TEST_PATH);
      viva_checkpoint_close(ck);
    }
    world_close(&w);
    free(data);
  }
}

/* Every byte of the headers set to five values: refused or read, never anything else (the sanitizers look on). */
static void test_every_byte_changed(void **state) {
  (void)state;
  static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
  for (size_t i = 0; i < VALID_FILES; i++) {
    size_t bytes;
    uint8_t *data = source_file("tests/golden/gguf", valid_files[i], &bytes);
    gguf_world w = world_open(NULL);
    for (size_t at = 0; at < bytes; at++) {
      uint8_t kept = data[at];
      for (size_t v = 0; v < sizeof values; v++) {
        viva_error error = {0};
        data[at] = values[v];
        viva_status status = use(&w, data, bytes, &error);
        assert_true(status == VIVA_OK || status == VIVA_E_FORMAT || status == VIVA_E_UNSUPPORTED);
        assert_int_equal(error.code, status);
      }
      data[at] = kept;
    }
    world_close(&w);
    free(data);
  }
}

static void test_trailing_bytes_are_allowed(void **state) {
  (void)state;
  size_t bytes;
  uint8_t *data = source_file("tests/golden/gguf", "tiny_llama.gguf", &bytes);
  uint8_t *longer = calloc(bytes + 5000, 1);
  memcpy(longer, data, bytes);
  gguf_world w = world_open(NULL);
  assert_int_equal(use(&w, longer, bytes + 5000, NULL), VIVA_OK);
  world_close(&w);
  free(longer);
  free(data);
}

/* Property (reliability.md A2, A4, A5, A10): random shapes and types, most of them near an overflow, against 128-bit
 * arithmetic. */
static void test_size_plan_equals_128_bit_arithmetic(void **state) {
  (void)state;
  enum { ROUNDS = 200000, DATA = 4096 };
  static gguf_build b;
  gguf_world w = world_open(NULL);
  size_t accepted = 0;
  for (uint64_t round = 0; round < ROUNDS; round++) {
    uint64_t ne[4], random = mix64(round), offset = (random >> 48) % 4 * 32;
    file_type type = (file_type)(random % TYPE_COUNT);
    const type_info *info = type_get(type);
    if (info->gguf_id < 0) continue;
    for (uint64_t i = 0; i < 4; i++) {
      uint64_t side = mix64(round * 4 + i + 1);
      ne[i] = (random >> 32) % 2 ? side % 4 : side >> side % 64;
    }
    if (random >> 40 & 1) ne[0] = (ne[0] / 4 + 1) * info->block_elements; /* else few block types would pass */
    unsigned __int128 elements = 1;
    int expected = ne[0] % info->block_elements == 0;
    for (int i = 0; i < 4; i++) {
      expected = expected && ne[i] != 0;
      if (elements <= UINT64_MAX) elements *= ne[i];
    }
    unsigned __int128 size = elements / info->block_elements * (info->block_bits / 8);
    expected = expected && elements <= UINT64_MAX && size <= UINT64_MAX && size <= DATA - offset;
    gb_begin(&b);
    gb_tensor(&b, "t", 4, ne, (uint32_t)info->gguf_id, offset);
    gb_end(&b, DATA);
    viva_checkpoint *ck;
    viva_status status = world_load(&w, b.bytes, b.at, &ck, NULL);
    assert_int_equal(status, expected ? VIVA_OK : VIVA_E_FORMAT);
    if (status == VIVA_OK) assert_true(ck->tensors[0].bytes == (uint64_t)size);
    accepted += status == VIVA_OK;
    viva_checkpoint_close(ck);
  }
  assert_true(accepted > ROUNDS / 50); /* both verdicts are tried */
  world_close(&w);
}

/* Thousands of double keys or names do not take quadratic time. */
static void test_many_entries_are_quick(void **state) {
  (void)state;
  enum { COUNT = 200000, ENTRY = 8 + 6 + 4 + 1 };
  uint8_t *data = calloc(24 + (size_t)COUNT * ENTRY, 1), *at = data + 24;
  uint32_t version = 3;
  uint64_t count = COUNT, length = 6;
  memcpy(data, "GGUF", 4);
  memcpy(data + 4, &version, 4);
  memcpy(data + 16, &count, 8);
  for (int i = 0; i < COUNT; i++, at += ENTRY) {
    char key[8];
    snprintf(key, sizeof key, "%06d", i == COUNT - 1 ? 0 : i);
    memcpy(at, &length, 8);
    memcpy(at + 8, key, 6); /* then the type u8, and a value of 0 */
  }
  viva_error error = {0};
  gguf_world w = world_open(NULL);
  double start = now_ms();
  assert_int_equal(use(&w, data, 24 + (size_t)COUNT * ENTRY, &error), VIVA_E_FORMAT);
  assert_string_equal(error.item, "000000");
  assert_true(now_ms() - start < 2000); /* 0.1 s in a release build; the margin is for sanitizers */
  world_close(&w);
  free(data);
}

/* Appends to a large file; returns the new end. */
static uint8_t *put(uint8_t *at, const void *data, size_t bytes) {
  memcpy(at, data, bytes);
  return at + bytes;
}

static uint8_t *put_u32(uint8_t *at, uint32_t value) { return put(at, &value, sizeof value); }
static uint8_t *put_u64(uint8_t *at, uint64_t value) { return put(at, &value, sizeof value); }

static uint8_t *put_text(uint8_t *at, const char *text) { return put(put_u64(at, strlen(text)), text, strlen(text)); }

/* reliability.md A20: the checks must not make a large valid file slow. */
static void test_large_valid_header_is_quick(void **state) {
  (void)state;
  enum { TOKENS = 150000, TENSORS = 2000, TENSOR_BYTES = 128 };
  size_t capacity = 256 + TOKENS * 32 + TENSORS * (64 + TENSOR_BYTES);
  uint8_t *data = calloc(capacity, 1), *at = put(data, "GGUF", 4);
  char text[32];
  at = put_u64(put_u64(put_u32(at, 3), TENSORS), 1);
  at = put_u64(put_u32(put_u32(put_text(at, "tokenizer.ggml.tokens"), GGUF_ARRAY), GGUF_STRING), TOKENS);
  for (int i = 0; i < TOKENS; i++) {
    snprintf(text, sizeof text, "token %012d", i);
    at = put_text(at, text);
  }
  for (uint64_t i = 0; i < TENSORS; i++) {
    snprintf(text, sizeof text, "blk.%d.weight", (int)(mix64(i) % 100000) * TENSORS + (int)i);
    at = put_u32(put_u64(put_u32(put_text(at, text), 1), TENSOR_BYTES / 4), 0);
    at = put_u64(at, i * TENSOR_BYTES);
  }
  size_t bytes = ((size_t)(at - data) + 31) / 32 * 32 + TENSORS * TENSOR_BYTES;
  assert_true(bytes <= capacity);
  gguf_world w = world_open(NULL);
  double start = now_ms();
  assert_int_equal(use(&w, data, bytes, NULL), VIVA_OK);
  assert_true(now_ms() - start <= 150);
  world_close(&w);
  free(data);
}

/* Every allocation fails once, then from there on: E_MEMORY, nothing left, and the next try works. */
static void test_allocation_failures(void **state) {
  (void)state;
  size_t bytes;
  uint8_t *data = source_file("tests/golden/gguf", "every_type.gguf", &bytes);
  for (int persistent = 0; persistent < 2; persistent++) {
    uint64_t k = 1;
    for (;; k++) {
      fail_alloc f;
      viva_error error = {0};
      fail_alloc_init(&f, k, persistent);
      gguf_world w = world_open(&f.table);
      viva_status status = w.rt == NULL ? VIVA_E_MEMORY : use(&w, data, bytes, &error);
      if (f.failed) {
        assert_int_equal(status, VIVA_E_MEMORY);
        if (w.rt != NULL) assert_int_equal(error.code, VIVA_E_MEMORY);
      } else {
        assert_int_equal(status, VIVA_OK);
      }
      f.fail_at = 0;
      if (w.rt != NULL) assert_int_equal(use(&w, data, bytes, NULL), VIVA_OK);
      assert_int_equal(memory_io_open_count(w.io), 0);
      int failed = f.failed;
      world_close(&w);
      assert_int_equal(f.live, 0);
      if (!failed) break;
    }
    assert_true(k > 5);
  }
  free(data);
}

/* Every file call fails once, then from there on: E_IO that names the file, nothing left open. */
static void test_io_failures(void **state) {
  (void)state;
  size_t bytes;
  uint8_t *data = source_file("tests/golden/gguf", "every_type.gguf", &bytes);
  gguf_world w = world_open(NULL);
  for (int persistent = 0; persistent < 2; persistent++) {
    for (uint64_t k = 1;; k++) {
      viva_error error = {0};
      memory_io_put(w.io, GGUF_TEST_PATH, data, bytes);
      memory_io_fail(w.io, k, EIO, persistent);
      viva_checkpoint *ck = NULL;
      viva_status status = checkpoint_open(w.rt, GGUF_TEST_PATH, VIVA_LOAD_READ, &ck, &error);
      viva_checkpoint_close(ck);
      int failed = memory_io_failed(w.io);
      memory_io_fail(w.io, 0, 0, 0);
      if (status != VIVA_OK) {
        assert_int_equal(status, VIVA_E_IO);
        assert_string_equal(error.file, GGUF_TEST_PATH);
      }
      assert_int_equal(memory_io_open_count(w.io), 0);
      assert_int_equal(use(&w, data, bytes, NULL), VIVA_OK);
      if (!failed) break;
      assert_true(k < 100);
    }
  }
  world_close(&w);
  free(data);
}

/* A file that has become shorter than the system said: E_IO, "ends at". */
static void test_file_that_shrinks(void **state) {
  (void)state;
  size_t bytes;
  uint8_t *data = source_file("tests/golden/gguf", "tiny_llama.gguf", &bytes);
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck;
  viva_error error = {0};
  float norm[32];
  assert_int_equal(world_load(&w, data, bytes, &ck, NULL), VIVA_OK);
  assert_int_equal(viva_checkpoint_read_f32(ck, "output_norm.weight", norm, 32, &error), VIVA_OK);
  memory_io_truncate(w.io, GGUF_TEST_PATH, bytes - 8);
  assert_int_equal(viva_checkpoint_read_f32(ck, "output_norm.weight", norm, 32, &error), VIVA_E_IO);
  assert_string_equal(error.item, "output_norm.weight");
  viva_checkpoint_close(ck);
  world_close(&w);
  free(data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_hostile_file_is_refused),
      cmocka_unit_test(test_every_truncation_is_refused),
      cmocka_unit_test(test_every_byte_changed),
      cmocka_unit_test(test_trailing_bytes_are_allowed),
      cmocka_unit_test(test_size_plan_equals_128_bit_arithmetic),
      cmocka_unit_test(test_many_entries_are_quick),
      cmocka_unit_test(test_large_valid_header_is_quick),
      cmocka_unit_test(test_allocation_failures),
      cmocka_unit_test(test_io_failures),
      cmocka_unit_test(test_file_that_shrinks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
