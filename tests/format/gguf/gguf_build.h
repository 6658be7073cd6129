/* tests/format/gguf_build.h: GGUF files in memory, for tests that vary one thing. */
#ifndef TESTS_GGUF_BUILD_H
#define TESTS_GGUF_BUILD_H

#include <stdint.h>
#include <string.h>

typedef struct gguf_build {
  uint8_t bytes[16384];
  size_t at;
  uint64_t values, tensors;
} gguf_build;

static inline void gb_raw(gguf_build *b, const void *data, size_t bytes) {
  memcpy(b->bytes + b->at, data, bytes);
  b->at += bytes;
}

static inline void gb_u32(gguf_build *b, uint32_t value) { gb_raw(b, &value, sizeof value); }
static inline void gb_u64(gguf_build *b, uint64_t value) { gb_raw(b, &value, sizeof value); }

static inline void gb_string(gguf_build *b, const char *text) {
  gb_u64(b, strlen(text));
  gb_raw(b, text, strlen(text));
}

static inline void gb_begin(gguf_build *b) {
  b->at = 0;
  b->values = b->tensors = 0;
  gb_raw(b, "GGUF", 4);
  gb_u32(b, 3);
  gb_u64(b, 0); /* counts: written by gb_end */
  gb_u64(b, 0);
}

/* The value's encoded bytes follow. All values come before the first tensor. */
static inline void gb_key(gguf_build *b, const char *key, uint32_t type) {
  gb_string(b, key);
  gb_u32(b, type);
  b->values++;
}

static inline void gb_tensor(gguf_build *b, const char *name, uint32_t rank, const uint64_t *ne, uint32_t type,
                             uint64_t offset) {
  gb_string(b, name);
  gb_u32(b, rank);
  for (uint32_t i = 0; i < rank; i++) gb_u64(b, ne[i]);
  gb_u32(b, type);
  gb_u64(b, offset);
  b->tensors++;
}

/* Pads the header to 32 and adds data_bytes zeros. */
static inline void gb_end(gguf_build *b, size_t data_bytes) {
  memcpy(b->bytes + 8, &b->tensors, 8);
  memcpy(b->bytes + 16, &b->values, 8);
  size_t padded = (b->at + 31) / 32 * 32;
  memset(b->bytes + b->at, 0, padded - b->at + data_bytes);
  b->at = padded + data_bytes;
}

#endif
