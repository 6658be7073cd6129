#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "messages.h"
#include "signals.h"

const option input_options[INPUT_OPTIONS] = {
    {'p', OPTION_TEXT, "prompt", "TEXT", offsetof(input_args, text), "the text itself", 0, 0},
    {'f', OPTION_TEXT, "file", "PATH", offsetof(input_args, file),
     "read the text from this file; without -p and -f, or with '-f -', from standard input", 0, 0},
};

const option input_newline_options[1] = {
    {0, OPTION_CLEAR, "keep-newline", NULL, offsetof(input_args, drop_newline),
     "standard input's last line end is part of the text; when not given, it is dropped", 0, 0},
};

enum { FIRST_BYTES = 1 << 16 };

/* Why the system refused, and what to do about it: in the library's words, whatever the locale. */
static const char *reason(int number) {
  switch (number) {
  case ENOENT: return "no such file or folder; check the path";
  case ENOTDIR: return "a part of the path is not a folder; check the path";
  case EISDIR: return "it is a folder; give the path of a file";
  case EACCES:
  case EPERM: return "permission denied; check the permissions of the file and of the folders above it";
  case ENAMETOOLONG: return "the path is too long; give a shorter one";
  case EMFILE: return "this process has too many open files; raise the limit with ulimit -n";
  case EIO: return "the device reported an input/output error; check the disk";
  case EBADF: return "it is not open; give the text with -p or -f";
  default: return strerror(number);
  }
}

/* After a read that failed. Returns the exit code after a message. */
static int read_failed(const char *name) {
  if (errno == EINTR) return message_fail(CODE_INTERRUPTED, "stopped");
  return message_fail(CODE_IO, "%s: cannot read: %s", name, reason(errno));
}

int input_open(const char *path) {
  int fd;
  do fd = open(path, O_RDONLY | O_CLOEXEC);
  while (fd < 0 && errno == EINTR && !signals_stopped());
  return fd;
}

/* Reads fd to its end. Returns 0, or the exit code after a message. */
static int read_all(int fd, const char *name, input *in) {
  size_t capacity = 0, used = 0;
  char *bytes = NULL;
  for (;;) {
    if (used == capacity) {
      size_t larger = capacity == 0 ? FIRST_BYTES : 2 * capacity;
      char *moved = larger > capacity ? realloc(bytes, larger) : NULL;
      if (moved == NULL) {
        free(bytes);
        return message_fail(CODE_LIMIT, "%s: no memory for more than %zu bytes of text", name, used);
      }
      bytes = moved;
      capacity = larger;
    }
    ssize_t got = read(fd, bytes + used, capacity - used);
    if (got > 0) {
      used += (size_t)got;
      continue;
    }
    if (got == 0) break;
    if (errno == EINTR && !signals_stopped()) continue;
    int code = read_failed(name);
    free(bytes);
    return code;
  }
  *in = (input){bytes, used, bytes};
  return 0;
}

/* A descriptor for the text, or -1 when it is -p's. Returns 0, or the exit code after a message. */
static int open_input(const input_args *args, const char *command, const char *what, int quiet, int *fd) {
  *fd = -1;
  if (args->text != NULL && args->file != NULL)
    return message_usage(command, "--prompt and --file both give the %s: give one of them", what);
  if (args->text != NULL) return 0;
  if (args->file == NULL || strcmp(args->file, "-") == 0) {
    if (!quiet && isatty(STDIN_FILENO) == 1) message_note("type the %s, then Ctrl-D (or give it with -p or -f)", what);
    *fd = STDIN_FILENO;
    return 0;
  }
  *fd = input_open(args->file);
  if (*fd < 0 && signals_stopped()) return message_fail(CODE_INTERRUPTED, "stopped");
  if (*fd < 0) return message_fail(CODE_IO, "%s: cannot open the %s: %s", args->file, what, reason(errno));
  return 0;
}

static void close_input(int fd) {
  if (fd >= 0 && fd != STDIN_FILENO) close(fd);
}

static const char *input_name(const input_args *args, int fd) {
  return fd == STDIN_FILENO ? "standard input" : args->file;
}

static int drops_newline(const input_args *args, int fd) { return fd == STDIN_FILENO && args->drop_newline; }

int input_read(const input_args *args, const char *command, const char *what, int quiet, input *in) {
  int fd;
  *in = (input){"", 0, NULL};
  int code = open_input(args, command, what, quiet, &fd);
  if (code != 0) return code;
  if (fd < 0) {
    *in = (input){args->text, strlen(args->text), NULL};
    return 0;
  }
  code = read_all(fd, input_name(args, fd), in);
  if (code == 0 && drops_newline(args, fd) && in->count > 0 && in->bytes[in->count - 1] == '\n') in->count--;
  close_input(fd);
  return code;
}

/* Gives on a part, but for a line end at its end, which waits for the next one. */
static int take_lines(input_take take, void *arg, const char *bytes, size_t count, int *waits) {
  int code = *waits ? take(arg, "\n", 1) : 0;
  *waits = bytes[count - 1] == '\n';
  return code ? code : take(arg, bytes, count - (size_t)*waits);
}

/* Reads fd to its end, FIRST_BYTES at a time. drop: the last line end is left out. */
static int read_parts(int fd, const char *name, int drop, input_take take, void *arg) {
  int waits = 0;
  char *bytes = malloc(FIRST_BYTES);
  int code = bytes ? 0 : message_fail(CODE_LIMIT, "no memory for a text");
  while (code == 0) {
    ssize_t got = read(fd, bytes, FIRST_BYTES);
    if (got == 0) break;
    if (got > 0) {
      code = drop ? take_lines(take, arg, bytes, (size_t)got, &waits) : take(arg, bytes, (size_t)got);
    } else if (errno != EINTR || signals_stopped()) {
      code = read_failed(name);
    }
  }
  free(bytes);
  return code;
}

int input_parts(const input_args *args, const char *command, const char *what, int quiet, input_take take, void *arg) {
  int fd, code = open_input(args, command, what, quiet, &fd);
  if (code != 0) return code;
  if (fd < 0) return take(arg, args->text, strlen(args->text));
  code = read_parts(fd, input_name(args, fd), drops_newline(args, fd), take, arg);
  close_input(fd);
  return code;
}

void input_free(input *in) {
  free(in->owned);
  *in = (input){"", 0, NULL};
}
