/* tensor/quick.h: quicksort in vectors: partitions, and sorting networks for what is small. */
#ifndef TENSOR_QUICK_H
#define TENSOR_QUICK_H

#include <stddef.h>

#include "viva/types.h"

enum { QUICK_SLACK = 8 /* elements behind the n of `other`, which are written */ };

/* Sorts n signed keys, as wide as the elements, of a part that quicksort cuts badly. */
typedef void (*quick_fallback)(void *arg, void *keys, size_t n);

/* to[n] = the sorted elements of from, as radix_sort has them; the two may be the same. other: scratch of n + QUICK_SLACK
 * elements. rounds: partitions of one key's way before the rest is left to fallback. 0: nothing was done: not for this type,
 * or not in this build. */
int quick_sort_avx2(viva_dtype type, const void *from, size_t n, void *to, void *other, int rounds,
                    quick_fallback fallback, void *arg);

#endif
