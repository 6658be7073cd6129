/* tests/text/golden.h: reading tests/golden/tokenizer/ (tests/mk/mkgolden_tokenizer.py says what is in it). */
#ifndef TESTS_TEXT_GOLDEN_H
#define TESTS_TEXT_GOLDEN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"

/* A whole file of the golden folder, zero-ended, to be freed; ends the test program when it is not there. */
static inline char *golden_read(const char *name, size_t *bytes) {
  const char *root = getenv("VIVA_SOURCE_DIR");
  char path[4096];
  snprintf(path, sizeof path, "%s/tests/golden/tokenizer/%s", root ? root : ".", name);
  FILE *file = fopen(path, "rb");
  if (!file) {
    fprintf(stderr, "cannot open %s\n", path);
    exit(1);
  }
  fseek(file, 0, SEEK_END);
  *bytes = (size_t)ftell(file);
  rewind(file);
  char *text = malloc(*bytes + 1);
  if (fread(text, 1, *bytes, file) != *bytes) exit(1);
  text[*bytes] = 0;
  fclose(file);
  return text;
}

/* Cuts the next line off *text into its columns (tab-separated, "" when missing); 0 at the end. Changes the text. */
static inline int golden_line(char **text, char **columns, size_t count) {
  if (**text == 0) return 0;
  char *end = strchr(*text, '\n'), *line = *text;
  *text = end ? end + 1 : *text + strlen(*text);
  if (end) *end = 0;
  for (size_t i = 0; i < count; i++) {
    columns[i] = line;
    char *tab = strchr(line, '\t');
    line = tab ? tab + 1 : line + strlen(line);
    if (tab) *tab = 0;
  }
  return 1;
}

/* Turns hexadecimal into bytes in place; returns how many. */
static inline size_t golden_hex(char *text) {
  size_t count = 0;
  for (; text[2 * count]; count++) {
    const char pair[3] = {text[2 * count], text[2 * count + 1], 0};
    text[count] = (char)strtol(pair, NULL, 16);
  }
  return count;
}

/* The numbers of "1,2,3"; a new array, to be freed. */
static inline int32_t *golden_numbers(const char *text, size_t *count) {
  int32_t *numbers = malloc((strlen(text) + 1) * sizeof *numbers);
  *count = 0;
  while (*text) {
    char *end;
    numbers[(*count)++] = (int32_t)strtol(text, &end, 10);
    text = *end ? end + 1 : end;
  }
  return numbers;
}

/* splitmix64's finaliser of total + value. */
static inline uint64_t golden_mix(uint64_t total, uint64_t value) {
  uint64_t z = total + value;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

/* A tokenizer of the golden folder, on a runtime of its own. */
static inline viva_tokenizer *golden_tokenizer(const char *name) {
  size_t bytes;
  char *text = golden_read(name, &bytes);
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  viva_tokenizer *t = NULL;
  viva_error error = {0};
  if (tokenizer_from_json(rt, name, text, bytes, &t, &error)) {
    fprintf(stderr, "%s: %s\n", name, error.message);
    exit(1);
  }
  runtime_release(rt);
  free(text);
  return t;
}

#endif
