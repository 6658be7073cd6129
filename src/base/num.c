/* base/num.c: integers and hex digits. */
#include "base/num.h"

int num_u64(const char *text, size_t bytes, uint64_t *value) {
  if (bytes == 0) return 1;
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes; i++) {
    uint8_t digit = (uint8_t)(text[i] - '0');
    if (digit > 9) return 1;
    if (__builtin_mul_overflow(sum, 10, &sum) || __builtin_add_overflow(sum, digit, &sum)) return 1;
  }
  *value = sum;
  return 0;
}

int num_i64(const char *text, size_t bytes, int64_t *value) {
  int negative = bytes > 0 && text[0] == '-';
  uint64_t magnitude;
  if (num_u64(text + negative, bytes - (size_t)negative, &magnitude)) return 1;
  if (magnitude > (uint64_t)INT64_MAX + (uint64_t)negative) return 1;
  /* ~x + 1 is -x, and stays in range for INT64_MIN, whose magnitude does not fit. */
  *value = negative ? (int64_t)(~magnitude + 1) : (int64_t)magnitude;
  return 0;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

int num_hex_byte(const char *text, uint8_t *value) {
  int high = hex_digit(text[0]);
  if (high < 0) return 1;
  int low = hex_digit(text[1]);
  if (low < 0) return 1;
  *value = (uint8_t)(high * 16 + low);
  return 0;
}
