/* tests/lib/fail_alloc.h: an allocator that counts, and that fails when told to.
 *
 *   fail_alloc f;
 *   for (uint64_t k = 1;; k++) {
 *     fail_alloc_init(&f, k, persistent);
 *     status = operation(&f.table);
 *     assert_int_equal(f.live, 0);
 *     if (!f.failed) break;      // the operation needed fewer than k allocations
 *   }
 */
#ifndef TESTS_FAIL_ALLOC_H
#define TESTS_FAIL_ALLOC_H

#include <stdatomic.h>

#include "viva/types.h"

typedef struct fail_alloc {
  viva_allocator table;
  _Atomic uint64_t calls; /* of alloc and realloc */
  _Atomic int64_t live;   /* blocks not yet freed */
  _Atomic int failed;     /* a call has returned NULL on purpose */
  uint64_t fail_at;       /* the call that fails (1 = the first); 0: none */
  int persistent;         /* and all that follow */
} fail_alloc;

/* f must stay where it is while its table is in use. */
void fail_alloc_init(fail_alloc *f, uint64_t fail_at, int persistent);

#endif
