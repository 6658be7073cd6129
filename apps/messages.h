/* messages.h: what the program says on standard error, and its exit codes. */
#ifndef APPS_MESSAGES_H
#define APPS_MESSAGES_H

#include <viva/viva.h>

enum {
  CODE_OK = 0,
  CODE_USAGE = 1,        /* the command line is wrong */
  CODE_INPUT = 2,        /* a file, a text or a list of ids cannot be used */
  CODE_LIMIT = 3,        /* memory, context or device: it does not fit on this machine */
  CODE_IO = 4,           /* the operating system refused to read or write */
  CODE_FAULT = 70,       /* a fault in viva itself (EX_SOFTWARE of sysexits.h) */
  CODE_INTERRUPTED = 130 /* stopped by Ctrl-C before there was a result (128 + SIGINT, as shells say it) */
};

/* The exit code for a status of the library. */
int message_code(viva_status status);

/* "viva: FILE: ITEM: at byte N: MESSAGE". Returns the exit code. */
int message_error(const viva_error *error);

/* An error about the library's option `item` becomes one about the program's option `flag`, where their names differ. */
void message_rename(viva_error *error, const char *item, const char *flag);

/* "viva COMMAND: MESSAGE" and where help is; command may be NULL. Returns CODE_USAGE. */
int message_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "viva: MESSAGE". Returns code. */
int message_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "viva: MESSAGE": a line that is no error. */
void message_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A viva_log_fn: "viva: warning: MESSAGE". */
void message_log(void *user, viva_log_level level, const char *message);

#endif
