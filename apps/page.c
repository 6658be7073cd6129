/* page.c: a page of HTML as a file that appears whole or not at all. */
#include "page.h"

#include <stdlib.h>
#include <string.h>

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
    else if (viva_visible(text, left) == 0)
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
  output_text(out, more); /* longer than output_format's buffer */
  output_format(out, "</style></head><body>\n<h1>%s</h1>\n", title);
}

int page_write(viva_file *file, page_fn put, const void *what) {
  output *out = malloc(sizeof *out);
  if (out == NULL) {
    viva_file_abort(file);
    return message_fail(CODE_LIMIT, "no memory for the page");
  }
  output_open_file(out, file);
  put(out, what);
  int code = output_commit(out);
  free(out);
  return code;
}
