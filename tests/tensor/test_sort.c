/* tests/tensor/test_sort.c: sorting by vectors gives what sorting by digits gives, bit for bit, and that is in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tensor/dtype.h"
#include "tensor/radix.h"
#include "tensor/tensor.h"

enum { MOST = 5000, KINDS = 5 };

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state * 0x2545f4914f6cdd1du;
}

/* Random bits (NaN, infinities and both zeros among them), few values, rising, falling, upper halves that are the same. */
static uint64_t bits_of(int kind, size_t i, size_t n, viva_dtype t, uint64_t *state) {
  const uint64_t r = next_random(state), sign = (uint64_t)1 << (8 * tensor_element_bytes(t) - 1);
  const uint64_t nan = t == VIVA_F64 ? 0xfff0000000000001u : t == VIVA_F32 ? 0x7fffffffu : 0xffffu;
  switch (kind) {
  case 0: return r;
  case 1: return r % 5 == 0 ? nan : r % 5 == 1 ? sign : r % 5 == 2 ? 0 : r % 5;
  case 2: return i;
  case 3: return n - i;
  default: return (r & 0xffff) | (uint64_t)0x40 << (8 * tensor_element_bytes(t) - 8);
  }
}

static void fill(char *to, int kind, size_t n, viva_dtype t) {
  uint64_t state = 88172645463325252u + n;
  for (size_t i = 0; i < n; i++) {
    const uint64_t bits = bits_of(kind, i, n, t, &state); /* little-endian: the low bytes */
    memcpy(to + i * tensor_element_bytes(t), &bits, tensor_element_bytes(t));
  }
}

static void *take(size_t bytes) {
  void *memory = malloc(bytes);
  assert_non_null(memory);
  return memory;
}

/* Sorted elements stand at the places; equal ones rise. */
static void check_places(const char *from, const char *sorted, size_t n, const int64_t *places, size_t size) {
  for (size_t i = 0; i < n; i++) {
    assert_in_range((uint64_t)places[i], 0, n - 1);
    if (i > 0 && memcmp(sorted + i * size, sorted + (i - 1) * size, size) == 0) assert_true(places[i] > places[i - 1]);
    assert_memory_equal(from + (size_t)places[i] * size, sorted + i * size, size);
  }
}

static void vectors_sort_as_digits_do(void **state) {
  static const size_t lengths[] = {150, 200, 256, 257, 300, 1000, MOST};
  static const int rounds[] = {RADIX_ROUNDS, 0, 1, 2}; /* fewer: large parts are left to the digits */
  (void)state;
  for (int t = VIVA_F64; t <= VIVA_BOOL; t++) {
    const viva_dtype type = (viva_dtype)t;
    const size_t size = tensor_element_bytes(type);
    for (size_t l = 0; l < 140 + sizeof lengths / sizeof *lengths; l++)
      for (int kind = 0; kind < KINDS; kind++) {
        const size_t n = l < 140 ? l : lengths[l - 140];
        char *from = take(n * size + 1), *sorted = take(n * size + 1), *other = take(n * size + 1);
        int64_t *places = take((n + 1) * sizeof *places), *same = take((n + 1) * sizeof *places);
        void *scratch = take(radix_sort_scratch(type, n)), *pairs = take(radix_argsort_scratch(n));
        fill(from, kind, n, type);
        radix_sort(type, RADIX_ALONE, from, n, sorted, scratch);
        for (int falling = 0; falling < 2; falling++) {
          radix_argsort(type, RADIX_ALONE, falling, from, n, places, pairs);
          if (!dtype_is_float(type) && type != VIVA_BOOL && !falling) check_places(from, sorted, n, places, size);
          for (int r = 0; r < 4; r++) {
            if (r > 0 && n < 140) continue;
            radix_argsort(type, rounds[r], falling, from, n, same, pairs);
            if (memcmp(same, places, n * sizeof *places) != 0)
              fail_msg("argsort of %s, kind %d, %zu elements, %d rounds", viva_dtype_name(type), kind, n, rounds[r]);
          }
        }
        for (int r = 0; r < 4; r++) {
          radix_sort(type, rounds[r], from, n, other, scratch);
          if (memcmp(other, sorted, n * size) != 0)
            fail_msg("sort of %s, kind %d, %zu elements, %d rounds", viva_dtype_name(type), kind, n, rounds[r]);
        }
        radix_sort(type, RADIX_ROUNDS, from, n, from, scratch); /* in place */
        assert_memory_equal(from, sorted, n * size);
        free(from), free(sorted), free(other), free(places), free(same), free(scratch), free(pairs);
      }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(vectors_sort_as_digits_do)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
