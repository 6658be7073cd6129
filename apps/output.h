/* output.h: standard output, written with write(2): nothing is lost silently, and a closed pipe is told from a full
 * disk.
 *
 * The first failed write is remembered and everything after it is dropped, so that callers may print a whole table and
 * look once. A long job looks at output_failed between its steps and ends early.
 */
#ifndef APPS_OUTPUT_H
#define APPS_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

typedef struct output {
  int fd;
  int failure;  /* errno of the first failed write, or 0 */
  int terminal; /* 1: fd is a terminal */
  size_t used;
  char buffer[1 << 14];
} output;

void output_open(output *out, int fd);
void output_bytes(output *out, const void *bytes, size_t count);
void output_text(output *out, const char *text);
void output_format(output *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes what is buffered. Returns 0, or the errno of the first failure. */
int output_flush(output *out);

/* 1 when a write has failed: what follows will not be seen. */
int output_failed(const output *out);

/* Text for people: control characters, backslashes and bytes that are not UTF-8 are shown as \n, \t, \\ or \xNN. */
void output_visible(output *out, const char *text, size_t bytes);

#endif
