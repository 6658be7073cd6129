/* base/ck.h: the only arithmetic allowed on numbers that came from a file.
 *
 * Each returns 0 and writes the result, or returns 1 on overflow (or when alignment is not a power of two): the result is
 * then not to be used. Compare ranges as `size <= total && offset <= total - size`, or with ck_range.
 */
#ifndef BASE_CK_H
#define BASE_CK_H

#include <stddef.h>
#include <stdint.h>

static inline int ck_add(uint64_t a, uint64_t b, uint64_t *sum) { return __builtin_add_overflow(a, b, sum); }
static inline int ck_mul(uint64_t a, uint64_t b, uint64_t *product) { return __builtin_mul_overflow(a, b, product); }

/* Rounds value up to a multiple of alignment (a power of two). */
static inline int ck_align(uint64_t value, uint64_t alignment, uint64_t *aligned) {
  uint64_t sum;
  if (alignment == 0 || (alignment & (alignment - 1)) != 0) return 1;
  if (ck_add(value, alignment - 1, &sum)) return 1;
  *aligned = sum & ~(alignment - 1);
  return 0;
}

/* 1 when [offset, offset + size) lies within [0, total). */
static inline int ck_range(uint64_t offset, uint64_t size, uint64_t total) {
  return size <= total && offset <= total - size;
}

/* A number from a file as a size_t; 1 when it does not fit. */
static inline int ck_size(uint64_t value, size_t *size) {
  if (value > SIZE_MAX) return 1;
  *size = (size_t)value;
  return 0;
}

#endif
