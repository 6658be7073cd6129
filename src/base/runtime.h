/* base/runtime.h: what every module needs of the outside world: memory, files, log. Made once per engine, checkpoint or
 * tokenizer and passed down; counted, so that what was made with it may outlive who made it. Thread-safe.
 */
#ifndef BASE_RUNTIME_H
#define BASE_RUNTIME_H

#include "base/allowance.h"
#include "base/count.h"
#include "base/io.h"
#include "base/mem.h"

typedef struct runtime {
  mem mem;
  const io_table *io; /* must outlive the runtime */
  viva_log_fn log;    /* may be NULL */
  void *log_user;
  viva_log_level log_level;
  allowance allowed; /* while files are opened with a runtime of their own: what that may cost */
  struct pool *pool; /* NULL until an engine gives its threads; freed with the runtime, whose tensors may use them */
  _Atomic uint32_t references;
} runtime;

/* NULL: no memory. allocator NULL: the C library's; io NULL: io_system. The runtime's own block comes from allocator.
 */
runtime *runtime_create(const viva_allocator *allocator, const io_table *io, viva_log_fn log, void *log_user,
                        viva_log_level level);
void runtime_end(runtime *rt); /* nobody holds it */

/* Here, not behind calls: each tensor holds the runtime. */
static inline runtime *runtime_retain(runtime *rt) {
  (void)count_references(&rt->references, 1, memory_order_relaxed);
  return rt;
}
static inline void runtime_release(runtime *rt) { /* NULL is allowed */
  if (rt && count_references(&rt->references, 0u - 1, memory_order_acq_rel) == 1) runtime_end(rt);
}

void runtime_log(runtime *rt, viva_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
