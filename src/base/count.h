/* base/count.h: counters, and pointers, that threads share. While the process has one thread, which glibc tells, an addition is a plain one: a
 * locked instruction takes 4 ns, and a small tensor makes five of them.
 */
#ifndef BASE_COUNT_H
#define BASE_COUNT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__has_include)
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define BASE_COUNT_ALONE (__libc_single_threaded != 0)
#endif
#endif
#ifndef BASE_COUNT_ALONE
#define BASE_COUNT_ALONE 0
#endif

/* The old value; of unsigned types: by may be 0 - n. Who starts a thread does so after what it has counted. */
#define COUNT(name, T)                                                                                                 \
  static inline T name(_Atomic T *counter, T by, memory_order order) {                                                 \
    if (!BASE_COUNT_ALONE) return atomic_fetch_add_explicit(counter, by, order);                                       \
    const T old = atomic_load_explicit(counter, memory_order_relaxed);                                                 \
    atomic_store_explicit(counter, (T)(old + by), memory_order_relaxed);                                               \
    return old;                                                                                                        \
  }
COUNT(count_bytes, size_t)
COUNT(count_references, uint32_t)
#undef COUNT

static inline void *count_exchange(_Atomic(void *) *place, void *pointer) {
  if (!BASE_COUNT_ALONE) return atomic_exchange_explicit(place, pointer, memory_order_acq_rel);
  void *const old = atomic_load_explicit(place, memory_order_relaxed);
  atomic_store_explicit(place, pointer, memory_order_relaxed);
  return old;
}

#endif
