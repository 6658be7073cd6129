/* base/allowance.c */
#include "base/allowance.h"

#include <inttypes.h>

/* a + b, or the largest number. */
static uint64_t add(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

static uint64_t most(uint64_t paid, uint64_t each, uint64_t free) {
  return paid > (UINT64_MAX - free) / each ? UINT64_MAX : paid * each + free;
}

void allowance_pay(allowance *b, uint64_t file_bytes) { b->paid = add(b->paid, file_bytes); }

uint64_t allowance_memory_left(const allowance *b) {
  uint64_t all = most(b->paid, ALLOWANCE_BYTE_MEMORY, ALLOWANCE_FREE_MEMORY);
  return b->memory < all ? all - b->memory : 0;
}

viva_status allowance_memory(allowance *b, uint64_t bytes, const char *what, const char *path, viva_error *error) {
  b->memory = add(b->memory, bytes);
  if (b->memory <= most(b->paid, ALLOWANCE_BYTE_MEMORY, ALLOWANCE_FREE_MEMORY)) return VIVA_OK;
  error_set(error, VIVA_E_LIMIT,
            "%s would need more memory than files of %" PRIu64 " bytes are given: %d MiB and %d bytes for each byte",
            what, b->paid, (int)(ALLOWANCE_FREE_MEMORY >> 20), ALLOWANCE_BYTE_MEMORY);
  error_at(error, path, NULL, 0, VIVA_NO_OFFSET);
  return VIVA_E_LIMIT;
}

viva_status allowance_work(allowance *b, uint64_t units, const char *what, const char *path, viva_error *error) {
  b->work = add(b->work, units);
  if (b->work <= most(b->paid, ALLOWANCE_BYTE_WORK, ALLOWANCE_FREE_WORK)) return VIVA_OK;
  error_set(error, VIVA_E_LIMIT,
            "%s would take longer than files of %" PRIu64 " bytes are given: 0.1 s for each MB and 0.1 s beside", what,
            b->paid);
  error_at(error, path, NULL, 0, VIVA_NO_OFFSET);
  return VIVA_E_LIMIT;
}
