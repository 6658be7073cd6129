/* output.h: standard output, written with write(2): nothing is lost silently, and a closed pipe is told from a full
 * disk.
 *
 * The first failed write is remembered and everything after it is dropped, so that callers may print a whole table and
 * look once. A long job looks at output_failed between its steps and ends early.
 */
#ifndef APPS_OUTPUT_H
#define APPS_OUTPUT_H

#include <viva/viva.h>

typedef struct output {
  int fd;
  viva_file *file;  /* instead of fd, when it is not NULL */
  viva_error error; /* of file */
  int failure;      /* errno of the first failed write, or 0 */
  int terminal;     /* 1: fd is a terminal */
  size_t used;
  char buffer[1 << 14];
} output;

void output_open(output *out, int fd);
void output_bytes(output *out, const void *bytes, size_t count);
void output_text(output *out, const char *text);
/* What viva_visible refuses is shown as \xNN, but for line ends and tabs. */
void output_format(output *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes what is buffered. Returns 0, or the errno of the first failure. */
int output_flush(output *out);

/* A file that appears under its name when it is complete. output_begin says before the work whether it can be written;
 * inputs: files and folders that it must not replace, nor what standard input reads. Then viva_file_abort, or
 * output_open_file, writes, and output_commit. Those that return a code: 0, or the exit code after a message. */
int output_begin(const char *path, const char *const *inputs, size_t count, viva_file **file);
int output_try(const char *path, const char *const *inputs, size_t count); /* begins, and leaves everything as it was */
void output_open_file(output *out, viva_file *file);
int output_commit(output *out);

/* 1 when a write has failed: what follows will not be seen. */
int output_failed(const output *out);

/* A line, which a terminal gets in as many as it needs, those behind the first indented. */
void output_sentence(output *out, int indent, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Text for people: backslashes and what viva_visible refuses are shown as \n, \t, \\ or \xNN. */
void output_visible(output *out, const char *text, size_t bytes);

#endif
