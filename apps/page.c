/* page.c: a page of HTML as a file that appears whole or not at all. */
#include "page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "messages.h"
#include "utf8.h"

void page_text(output *out, const char *text) {
  size_t left = strlen(text);
  while (left > 0) {
    size_t length = utf8_length(text, left);
    if (*text == '&')
      output_text(out, "&amp;");
    else if (*text == '<')
      output_text(out, "&lt;");
    else if (*text == '>')
      output_text(out, "&gt;");
    else if (*text == '"')
      output_text(out, "&quot;");
    else if (length == 0 || (unsigned char)*text < 0x20)
      output_text(out, "\xef\xbf\xbd");
    else
      output_bytes(out, text, length);
    text += length > 0 ? length : 1;
    left -= length > 0 ? length : 1;
  }
}

void page_begin(output *out, const char *title, const char *more) {
  output_format(out,
                "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s</title>\n<style>"
                "body{font:15px system-ui,sans-serif;margin:2em}table{border-collapse:collapse;margin-bottom:1em}"
                "th{text-align:left;font-weight:600;padding:3px 9px}td{padding:3px 9px}",
                title);
  output_format(out, "%s</style></head><body>\n<h1>%s</h1>\n", more, title);
}

static int fail(const char *path, const char *action, int number) {
  return message_fail(CODE_IO, "%s: cannot %s: %s", path, action, strerror(number));
}

/* The page to the disk, then its name. */
static int publish(int fd, const char *temporary, const char *path, page_fn put, const void *what) {
  output *out = malloc(sizeof *out);
  if (out == NULL) return message_fail(CODE_LIMIT, "no memory for the page");
  output_open(out, fd);
  put(out, what);
  int failure = output_flush(out);
  free(out);
  if (failure == 0 && fsync(fd) != 0 && errno != EINVAL) failure = errno;
  if (failure == 0 && rename(temporary, path) != 0) failure = errno;
  return failure == 0 ? 0 : fail(path, "write the page", failure);
}

int page_write(const char *path, page_fn put, const void *what) {
  static const char suffix[] = ".viva.tmp";
  size_t bytes = strlen(path) + sizeof suffix;
  char *temporary = malloc(bytes);
  if (temporary == NULL) return message_fail(CODE_LIMIT, "no memory for a path");
  snprintf(temporary, bytes, "%s%s", path, suffix);
  int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666), code = 0;
  if (fd < 0) {
    code = fail(temporary, "create the file", errno);
  } else if (put != NULL) {
    code = publish(fd, temporary, path, put, what);
  }
  if (fd >= 0) close(fd);
  if (fd >= 0 && (put == NULL || code != 0)) unlink(temporary);
  free(temporary);
  return code;
}

int page_try(const char *path) {
  struct stat found;
  if (stat(path, &found) == 0 && S_ISDIR(found.st_mode)) return fail(path, "write the page", EISDIR);
  return page_write(path, NULL, NULL);
}
