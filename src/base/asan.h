/* base/asan.h: tells AddressSanitizer which bytes nobody may touch; nothing in other builds. */
#ifndef BASE_ASAN_H
#define BASE_ASAN_H

#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BASE_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define BASE_ASAN 1
#endif

#ifdef BASE_ASAN
#include <sanitizer/asan_interface.h>
static inline void asan_poison(const void *address, size_t bytes) { __asan_poison_memory_region(address, bytes); }
static inline void asan_unpoison(const void *address, size_t bytes) { __asan_unpoison_memory_region(address, bytes); }
#else
static inline void asan_poison(const void *address, size_t bytes) { (void)address, (void)bytes; }
static inline void asan_unpoison(const void *address, size_t bytes) { (void)address, (void)bytes; }
#endif

#endif
