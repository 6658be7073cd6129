/* tests/format/gguf_open.h: opening GGUF files that lie in memory. */
#ifndef TESTS_GGUF_OPEN_H
#define TESTS_GGUF_OPEN_H

#include <stdio.h>
#include <stdlib.h>

#include "format/checkpoint.h"
#include "format/gguf/gguf.h"
#include "lib/memory_io.h"

#define GGUF_TEST_PATH "/m.gguf"

typedef struct gguf_world {
  memory_io *io;
  runtime *rt;
} gguf_world;

static inline gguf_world world_open(const viva_allocator *allocator) {
  gguf_world w = {.io = memory_io_create()};
  w.rt = runtime_create(allocator, memory_io_table(w.io), NULL, NULL, VIVA_LOG_WARN);
  return w;
}

static inline void world_close(gguf_world *w) {
  runtime_release(w->rt);
  memory_io_free(w->io);
}

static inline viva_status world_load(gguf_world *w, const void *data, size_t bytes, viva_checkpoint **ck,
                                     viva_error *error) {
  memory_io_put(w->io, GGUF_TEST_PATH, data, bytes);
  return checkpoint_open(w->rt, GGUF_TEST_PATH, VIVA_LOAD_READ, ck, error);
}

/* A file below the source folder; free the result. NULL: cannot be read. */
static inline uint8_t *source_file(const char *folder, const char *name, size_t *bytes) {
  char path[1024];
  snprintf(path, sizeof path, "%s/%s/%s", getenv("VIVA_SOURCE_DIR"), folder, name);
  FILE *file = fopen(path, "rb");
  *bytes = 0;
  if (file == NULL) return NULL;
  fseek(file, 0, SEEK_END);
  *bytes = (size_t)ftell(file);
  rewind(file);
  uint8_t *data = malloc(*bytes + 1);
  if (fread(data, 1, *bytes, file) != *bytes) abort();
  fclose(file);
  return data;
}

#endif
