#include "text/opening.h"

viva_status opening_begin(runtime *rt, allowance allowed, runtime **own, viva_error *error) {
  *own = runtime_create(&rt->mem.table, rt->io, rt->log, rt->log_user, rt->log_level);
  if (!*own) return error_set(error, VIVA_E_MEMORY, "no memory to read a tokenizer");
  uint64_t left = allowance_memory_left(&allowed);
  (*own)->allowed = allowed;
  atomic_store(&(*own)->mem.limit, left < SIZE_MAX ? (size_t)left + 1 : SIZE_MAX); /* 0 would be none */
  return VIVA_OK;
}

viva_status opening_end(runtime *own, const char *path, viva_status status, viva_error *error) {
  int was_limited = atomic_load(&own->mem.was_limited);
  atomic_store(&own->mem.limit, 0);
  if (status == VIVA_E_MEMORY && was_limited)
    status = allowance_memory(&own->allowed, UINT64_MAX, "the tokenizer", path, error);
  runtime_release(own);
  return status;
}
