/* base/checksum.c: xxHash, compiled in. */
#include "base/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t checksum_bytes(const void *bytes, size_t count) { return XXH3_64bits(bytes, count); }
