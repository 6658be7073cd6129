/* base/runtime.c: the counted bundle of memory, files and log. */
#include "base/runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/pool.h"

#define LOG_BYTES 1024 /* a longer message is cut with "..." */

runtime *runtime_create(const viva_allocator *allocator, const io_table *io, viva_log_fn log, void *log_user,
                        viva_log_level level) {
  mem first;
  mem_init(&first, allocator);
  runtime *rt = mem_zalloc(&first, sizeof *rt);
  if (!rt) return NULL;
  mem_init(&rt->mem, allocator);
  /* The runtime's own block was counted by `first`; go on from there. */
  atomic_store(&rt->mem.current, atomic_load(&first.current));
  atomic_store(&rt->mem.peak, atomic_load(&first.peak));
  atomic_store(&rt->mem.allocations, atomic_load(&first.allocations));
  rt->io = io ? io : &io_system;
  rt->log = log;
  rt->log_user = log_user;
  rt->log_level = level;
  atomic_init(&rt->references, 1);
  return rt;
}

void runtime_end(runtime *rt) {
  pool_free(rt->pool);
  mem_drop_spare(&rt->mem);
  mem last; /* outlives the block that holds rt->mem */
  mem_init(&last, &rt->mem.table);
  mem_free(&last, rt);
}

void runtime_log(runtime *rt, viva_log_level level, const char *format, ...) {
  if (!rt->log || level > rt->log_level) return;
  char raw[LOG_BYTES + 16], message[LOG_BYTES]; /* raw is longer, so that error_quote does the cutting */
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(raw, sizeof raw, format, arguments);
  va_end(arguments);
  if (length < 0) return;
  rt->log(rt->log_user, level, error_quote(message, sizeof message, raw, strlen(raw)));
}
