/* tensor/quick.h: long rows of unsigned keys are cut into parts by quicksort's partitions, in vectors: radix passes over all of
 * them would miss the caches. */
#ifndef TENSOR_QUICK_H
#define TENSOR_QUICK_H

#include <stddef.h>

enum { QUICK_SLACK = 8 /* elements behind the n of `other`, which are written */ };

/* Parts of this size are left to the fallback, whose passes stay in the second cache. */
enum { QUICK_PART = 16384 };

/* Sorts a part: a small one, or one that quicksort cuts badly. */
typedef void (*quick_fallback)(void *arg, void *keys, size_t n);

/* keys: n unsigned numbers of 4 or 8 bytes; other: scratch of n + QUICK_SLACK. */
typedef void (*quick_sort)(void *keys, void *other, size_t n, quick_fallback fallback, void *arg);
quick_sort quick_sort_avx2(size_t element); /* NULL: not for this size, or not in this build */

#endif
