/* engine/exchange_host.h: an exchange through the host's memory: for CPUs, for tests, and for devices that have no way of
 * their own to each other. */
#ifndef ENGINE_EXCHANGE_HOST_H
#define ENGINE_EXCHANGE_HOST_H

#include "backend/exchange.h"
#include "base/mem.h"

/* patience_ms: how long a rank waits for the others. m outlives the exchange. Errors: E_MEMORY. */
viva_status exchange_host_open(mem *m, size_t ranks, unsigned patience_ms, exchange **out, viva_error *error);

#endif
