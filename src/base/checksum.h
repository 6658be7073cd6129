/* base/checksum.h: checksums of bytes: XXH3, 64 bits (xxHash). Against damage, not against somebody who means harm. */
#ifndef BASE_CHECKSUM_H
#define BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint64_t checksum_bytes(const void *bytes, size_t count);

#endif
