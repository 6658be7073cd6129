/* The table of types: names and ids lead back to their row, and sizes are exact or refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "format/types.h"
#include "number/mix.h"

static void test_every_row_is_found_by_its_names(void **state) {
  (void)state;
  for (int i = 0; i < TYPE_COUNT; i++) {
    const type_info *info = type_get((file_type)i);
    file_type found;
    assert_true(info->safetensors_name != NULL || info->gguf_name != NULL);
    assert_true(info->block_elements >= 1 && info->block_bits >= 4);
    assert_int_equal(info->gguf_name == NULL, info->gguf_id < 0);
    if (info->safetensors_name != NULL) {
      assert_int_equal(type_from_safetensors(info->safetensors_name, strlen(info->safetensors_name), &found), 1);
      assert_int_equal(found, i);
    }
    if (info->gguf_id >= 0) {
      assert_int_equal(type_from_gguf((uint32_t)info->gguf_id, &found), 1);
      assert_int_equal(found, i);
    }
  }
}

static void test_unknown_names_are_not_found(void **state) {
  (void)state;
  file_type found;
  assert_int_equal(type_from_safetensors("F7", 2, &found), 0);
  assert_int_equal(type_from_safetensors("F32 ", 4, &found), 0);
  assert_int_equal(type_from_safetensors("F3", 2, &found), 0);
  assert_int_equal(type_from_safetensors("", 0, &found), 0);
  assert_int_equal(type_from_safetensors("Q4_1", 4, &found), 0);
  static const uint32_t unknown[] = {4, 5, 31, 32, 33, 36, 37, 38, 42, 255, UINT32_MAX};
  for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) assert_int_equal(type_from_gguf(unknown[i], &found), 0);
}

/* ggml's block sizes, as the gguf package's GGML_QUANT_SIZES has them. */
static void test_block_sizes_are_ggmls(void **state) {
  (void)state;
  static const struct {
    uint32_t id, elements, bytes;
  } expected[] = {
      {0, 1, 4},      {1, 1, 2},     {2, 32, 18},    {3, 32, 20},    {6, 32, 22},    {7, 32, 24},    {8, 32, 34},
      {9, 32, 40},    {10, 256, 84}, {11, 256, 110}, {12, 256, 144}, {13, 256, 176}, {14, 256, 210}, {15, 256, 292},
      {16, 256, 66},  {17, 256, 74}, {18, 256, 98},  {19, 256, 50},  {20, 32, 18},   {21, 256, 110}, {22, 256, 82},
      {23, 256, 136}, {24, 1, 1},    {25, 1, 2},     {26, 1, 4},     {27, 1, 8},     {28, 1, 8},     {29, 256, 56},
      {30, 1, 2},     {34, 256, 54}, {35, 256, 66},  {39, 32, 17},   {40, 64, 36},   {41, 128, 18},
  };
  size_t known = 0;
  for (int i = 0; i < TYPE_COUNT; i++) known += type_get((file_type)i)->gguf_id >= 0;
  assert_int_equal(known, sizeof expected / sizeof *expected);
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
    file_type type;
    uint64_t bytes;
    assert_int_equal(type_from_gguf(expected[i].id, &type), 1);
    assert_int_equal(type_get(type)->block_elements, expected[i].elements);
    assert_int_equal(type_bytes(type, expected[i].elements, &bytes), 0);
    assert_int_equal(bytes, expected[i].bytes);
  }
}

static void test_sizes_that_do_not_fit_are_refused(void **state) {
  (void)state;
  uint64_t bytes = 77;
  assert_int_equal(type_bytes(TYPE_F32, UINT64_MAX / 4 + 1, &bytes), 1);
  assert_int_equal(type_bytes(TYPE_F64, (uint64_t)1 << 61, &bytes), 1);
  assert_int_equal(type_bytes(TYPE_Q4_0, 33, &bytes), 1);
  assert_int_equal(type_bytes(TYPE_F4, 3, &bytes), 1); /* 12 bits are no whole bytes */
  assert_int_equal(type_bytes(TYPE_F4, UINT64_MAX / 2, &bytes), 1);
  assert_int_equal(bytes, 77);
  assert_int_equal(type_bytes(TYPE_F6_E2M3, 4, &bytes), 0);
  assert_int_equal(bytes, 3);
  assert_int_equal(type_bytes(TYPE_F32, 0, &bytes), 0);
  assert_int_equal(bytes, 0);
  assert_int_equal(type_bytes(TYPE_I8, UINT64_MAX, &bytes), 0);
  assert_true(bytes == UINT64_MAX);
}

/* Property (reliability.md A2): a million random element counts, most of them near an overflow, against 128-bit
 * arithmetic. */
static void test_sizes_equal_128_bit_arithmetic(void **state) {
  (void)state;
  for (uint64_t i = 0; i < 1000000; i++) {
    file_type type = (file_type)(mix64(2 * i) % TYPE_COUNT);
    uint64_t random = mix64(2 * i + 1);
    uint64_t elements = random >> (mix64(random) % 64);
    const type_info *info = type_get(type);
    if (random % 3 == 0) elements -= elements % info->block_elements;
    unsigned __int128 bits = (unsigned __int128)(elements / info->block_elements) * info->block_bits;
    int expected = elements % info->block_elements != 0 || bits % 8 != 0 || bits / 8 > UINT64_MAX;
    uint64_t bytes = 0;
    int refused = type_bytes(type, elements, &bytes);
    if (refused && !expected) assert_true(info->block_bits % 8 != 0 && bits > UINT64_MAX); /* 4 and 6 bits: 2^64 bits */
    if (!refused) {
      assert_int_equal(expected, 0);
      assert_true(bytes == (uint64_t)(bits / 8));
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_row_is_found_by_its_names), cmocka_unit_test(test_unknown_names_are_not_found),
      cmocka_unit_test(test_block_sizes_are_ggmls),           cmocka_unit_test(test_sizes_that_do_not_fit_are_refused),
      cmocka_unit_test(test_sizes_equal_128_bit_arithmetic),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
