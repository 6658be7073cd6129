#include "output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "messages.h"
#include "protect.h"
#include "terminal.h"
#include "visible.h"
#include "wrap.h"

void output_open(output *out, int fd) {
  out->fd = fd;
  out->file = NULL;
  out->failure = 0;
  out->terminal = isatty(fd) == 1;
  out->used = 0;
}

static void write_all(output *out, const char *bytes, size_t count) {
  if (out->file != NULL) {
    if (out->failure == 0 && viva_file_write(out->file, bytes, count, &out->error) != VIVA_OK) out->failure = EIO;
    return;
  }
  while (count > 0 && out->failure == 0) {
    ssize_t written = write(out->fd, bytes, count);
    if (written >= 0) {
      bytes += written;
      count -= (size_t)written;
    } else if (errno != EINTR) {
      out->failure = errno;
    }
  }
}

int output_flush(output *out) {
  write_all(out, out->buffer, out->used);
  out->used = 0;
  return out->failure;
}

int output_failed(const output *out) { return out->failure != 0; }

void output_bytes(output *out, const void *bytes, size_t count) {
  if (count > sizeof out->buffer - out->used) output_flush(out);
  if (count > sizeof out->buffer) {
    write_all(out, bytes, count);
    return;
  }
  if (count > 0) memcpy(out->buffer + out->used, bytes, count);
  out->used += count;
}

void output_text(output *out, const char *text) { output_bytes(out, text, strlen(text)); }

void output_format(output *out, const char *format, ...) {
  char line[1024], shown[1024]; /* callers format numbers and short names; long strings go through output_text */
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  if (length <= 0) return;
  size_t bytes = (size_t)length < sizeof line ? (size_t)length : sizeof line - 1;
  output_text(out, visible_copy(shown, sizeof shown, line, bytes, "\n\t"));
}

void output_sentence(output *out, int indent, const char *format, ...) {
  char text[1024], shown[1024], lines[2048];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (length <= 0) return;
  visible_copy(shown, sizeof shown, text, strlen(text), "");
  wrap_text(lines, sizeof lines, shown, out->terminal ? terminal_columns(out->fd) : 0, indent);
  output_text(out, lines);
  output_text(out, "\n");
}

void output_visible(output *out, const char *text, size_t bytes) {
  for (size_t i = 0; i < bytes;) {
    unsigned char c = (unsigned char)text[i];
    size_t length = viva_visible(text + i, bytes - i);
    if (c == '\n') {
      output_text(out, "\\n");
    } else if (c == '\t') {
      output_text(out, "\\t");
    } else if (c == '\\') {
      output_text(out, "\\\\");
    } else if (length == 0) {
      output_format(out, "\\x%02X", c);
    } else {
      output_bytes(out, text + i, length);
    }
    i += length > 0 ? length : 1;
  }
}

/* ---- files */

int output_begin(const char *path, const char *const *inputs, size_t count, viva_file **file) {
  viva_file_options options = viva_file_options_default();
  viva_error error = {0};
  options.inputs = inputs;
  options.input_count = count;
  *file = NULL;
  int code = protect_inputs(path, inputs, count);
  if (code != 0) return code;
  return viva_file_open(path, &options, file, &error) == VIVA_OK ? 0 : message_error(&error);
}

int output_try(const char *path, const char *const *inputs, size_t count) {
  viva_file *file;
  int code = output_begin(path, inputs, count, &file);
  viva_file_abort(file);
  return code;
}

void output_open_file(output *out, viva_file *file) {
  output_open(out, -1);
  out->file = file;
}

int output_commit(output *out) {
  int failed = output_flush(out) != 0;
  if (failed)
    viva_file_abort(out->file);
  else
    failed = viva_file_commit(out->file, &out->error) != VIVA_OK;
  return failed ? message_error(&out->error) : 0;
}
