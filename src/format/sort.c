/* format/sort.c: heapsort. */
#include "format/sort.h"

/* Moves items[root] down until the subtree below it is a heap again. */
static void sift_down(const void **items, size_t root, size_t count, sort_compare compare) {
  const void *moving = items[root];
  for (size_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
    if (child + 1 < count && compare(items[child], items[child + 1]) < 0) child++;
    if (compare(moving, items[child]) >= 0) break;
    items[root] = items[child];
    root = child;
  }
  items[root] = moving;
}

void sort_pointers(const void **items, size_t count, sort_compare compare) {
  for (size_t root = count / 2; root-- > 0;) sift_down(items, root, count, compare);
  for (size_t end = count; end-- > 1;) {
    const void *largest = items[0];
    items[0] = items[end];
    items[end] = largest;
    sift_down(items, 0, end, compare);
  }
}
