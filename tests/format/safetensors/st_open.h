/* tests/format/st_open.h: opening safetensors files that lie in memory. */
#ifndef TESTS_ST_OPEN_H
#define TESTS_ST_OPEN_H

#include <string.h>
#include <time.h>

#include "format/gguf/gguf_open.h"

#define ST_FOLDER "/m"
#define ST_PATH   "/m/model.safetensors"
#define ST_INDEX  "/m/model.safetensors.index.json"

static inline viva_status st_load(gguf_world *w, const void *data, size_t bytes, viva_checkpoint **ck,
                                  viva_error *error) {
  memory_io_put(w->io, ST_PATH, data, bytes);
  return checkpoint_open(w->rt, ST_PATH, VIVA_LOAD_READ, ck, error);
}

/* Puts a file of tests/golden/safetensors at path. */
static inline void st_put_golden(gguf_world *w, const char *name, const char *path) {
  size_t bytes;
  uint8_t *data = source_file("tests/golden/safetensors", name, &bytes);
  assert_non_null(data);
  memory_io_put(w->io, path, data, bytes);
  free(data);
}

/* A header with its length in front and data bytes behind it, as a new file at path. Data byte i is i. */
static inline void st_put(gguf_world *w, const char *path, const char *header, size_t data_bytes) {
  size_t n = strlen(header), total = 8 + n + data_bytes;
  uint8_t *file = malloc(total);
  for (size_t i = 0; i < 8; i++) file[i] = (uint8_t)(n >> (8 * i));
  memcpy(file + 8, header, n);
  for (size_t i = 0; i < data_bytes; i++) file[8 + n + i] = (uint8_t)i;
  memory_io_put(w->io, path, file, total);
  free(file);
}

/* Time this process has worked, so that a busy machine fails no test. */
static inline double st_now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Calls check(name, status, fragment) for each line of tests/hostile/FOLDER/expected.tsv; returns their number. */
static inline size_t st_each_hostile(const char *folder,
                                     void (*check)(const char *name, const char *status, const char *fragment)) {
  char path[64];
  size_t bytes, count = 0;
  snprintf(path, sizeof path, "tests/hostile/%s", folder);
  char *list = (char *)source_file(path, "expected.tsv", &bytes), *rest = list, *line;
  assert_non_null(list);
  list[bytes] = 0;
  for (; (line = strsep(&rest, "\n")) != NULL && *line != 0; count++) {
    char *name = strsep(&line, "\t"), *status = strsep(&line, "\t");
    check(name, status, line);
  }
  free(list);
  return count;
}

/* The promise about a refused file: its status, its message, its place, little time and little memory. */
static inline void st_check_refusal(const gguf_world *w, const char *name, viva_status status, const viva_error *error,
                                    const char *status_name, const char *fragment, double took_ms, size_t bytes) {
  char text[1300];
  viva_error_format(error, text, sizeof text);
  if (strcmp(viva_status_name(status), status_name) != 0 || strstr(text, fragment) == NULL)
    print_message("%s: expected %s \"%s\", got %s: %s\n", name, status_name, fragment, viva_status_name(status), text);
  assert_string_equal(viva_status_name(status), status_name);
  assert_int_equal(error->code, status);
  assert_non_null(strstr(text, fragment));
  assert_true(error->file[0] != 0);
  assert_true(took_ms <= 100);
  assert_true(w->rt->mem.peak <= ((size_t)64 << 20) + 2 * bytes);
  assert_int_equal(memory_io_open_count(w->io), 0);
}

#endif
