/* format/sort.h: sorting without memory and without bad cases.
 *
 * The C library's qsort may take memory behind the allocator's back, and its fallback can be made quadratic by a file.
 */
#ifndef FORMAT_SORT_H
#define FORMAT_SORT_H

#include <stddef.h>

/* Negative, 0 or positive, as for qsort, but given the items themselves. */
typedef int (*sort_compare)(const void *a, const void *b);

/* Sorts count pointers, rising. Not stable: compare must break ties where that matters. */
void sort_pointers(const void **items, size_t count, sort_compare compare);

#endif
