/* tensor/radix.h: sorting of rows by their digits. */
#ifndef TENSOR_RADIX_H
#define TENSOR_RADIX_H

#include <stddef.h>
#include <stdint.h>

#include "viva/types.h"

/* Sorting gives every element a key, an unsigned number of its size that stands in the same order: NaN last (as one
 * NaN), −0 before 0. All compute types. */

/* Partitions by vectors (quick.h), on the way of one key, before the rest is left to its digits: more than twice what random
 * keys need. For tests: fewer, or RADIX_ALONE: no vectors. */
enum { RADIX_ROUNDS = 64, RADIX_ALONE = -1 };

/* to[n] = the sorted elements of from; scratch: radix_sort_scratch bytes. to and from may be the same. */
void radix_sort(viva_dtype type, int rounds, const void *from, size_t n, void *to, void *scratch);
size_t radix_sort_scratch(viva_dtype type, size_t n);

/* places[n] = where the sorted elements are; equal ones (−0 and 0 too) in their order. falling: from large to small, NaN
 * first. scratch: radix_argsort_scratch bytes; SIZE_MAX: too many. */
void radix_argsort(viva_dtype type, int rounds, int falling, const void *from, size_t n, int64_t *places,
                   void *scratch);
size_t radix_argsort_scratch(size_t n);

#endif
