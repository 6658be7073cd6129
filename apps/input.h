/* input.h: texts that come from -p, from a file, or from standard input, byte for byte. */
#ifndef APPS_INPUT_H
#define APPS_INPUT_H

#include <stddef.h>

#include "args.h"

typedef struct input_args {
  const char *text; /* -p TEXT */
  const char *file; /* -f FILE; "-": standard input */
  int drop_newline; /* 1: one line end at the end of standard input is not part of the text */
} input_args;

enum { INPUT_OPTIONS = 2 };
extern const option input_options[INPUT_OPTIONS]; /* -p and -f, in an input_args */
extern const option input_newline_options[1];     /* --keep-newline, where drop_newline is 1 by default */

typedef struct input {
  const char *bytes;
  size_t count;
  char *owned; /* what input_free frees, or NULL */
} input;

/* A descriptor to read path by, or -1 and errno. Opening a named pipe waits for its writer, or for a signal that stops
 * viva (signals_stopped). */
int input_open(const char *path);

/* Reads the text: of -p, else of -f, else of standard input. Returns 0, or the exit code after a message. Bytes are
 * taken as they are; see drop_newline for the line end that echo and its like put behind a text.
 *
 * command, what: for messages, "generate", "prompt"
 * quiet:         no hint when standard input is a terminal */
int input_read(const input_args *args, const char *command, const char *what, int quiet, input *in);
void input_free(input *in);

/* Takes a part of a text; nonzero ends the reading, and is the exit code. */
typedef int (*input_take)(void *arg, const char *bytes, size_t count);

/* As input_read, but a part at a time, in memory that does not grow with the text. */
int input_parts(const input_args *args, const char *command, const char *what, int quiet, input_take take, void *arg);

#endif
