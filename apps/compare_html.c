/* compare_html.c: the result as one page of HTML: nothing in it comes from outside the file. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compare.h"
#include "messages.h"
#include "utf8.h"

/* Text between tags: markup and bytes that are no UTF-8 lose their meaning. */
static void put_text(output *out, const char *text) {
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

/* White for 0.01 % and less, dark red for 100 %. */
static void put_cell(output *out, double error, const char *format) {
  double place = error > 0 ? (log10(error) + 4) / 4 : 0;
  place = place < 0 ? 0 : place > 1 ? 1 : place;
  output_format(out, "<td style=\"background:hsl(12,85%%,%.0f%%)%s\" title=\"", 98 - 58 * place,
                place > 0.75 ? ";color:#fff" : "");
  put_text(out, format);
  output_format(out, "\">%.3f</td>", 100 * error);
}

static void put_errors(output *out, const weight_errors *e) {
  output_text(out, "<h2>Relative error of the weights, in percent</h2>\n<table class=\"map\"><tr><th>layer</th>");
  for (int p = 0; p < COMPARE_PROJECTIONS; p++) output_format(out, "<th>%s</th>", compare_projections[p]);
  output_text(out, "</tr>\n");
  for (uint64_t l = 0; l < e->layers; l++) {
    output_format(out, "<tr><th>%" PRIu64 "</th>", l);
    for (int p = 0; p < COMPARE_PROJECTIONS; p++) put_cell(out, e->layer[l][p], e->format[l][p]);
    output_text(out, "</tr>\n");
  }
  output_text(out, "</table>\n<table class=\"map\"><tr><th>embedding</th><th>head</th></tr><tr>");
  put_cell(out, e->embedding, e->embedding_format);
  put_cell(out, e->head, e->head_format);
  output_text(out, "</tr></table>\n");
}

static void put_row(output *out, const char *name, const char *text) {
  output_format(out, "<tr><th>%s</th><td>", name);
  put_text(out, text);
  output_text(out, "</td></tr>\n");
}

static void put_page(output *out, const comparison *c) {
  score *s = c->score;
  char text[160];
  double tokens = s->kl.count > 0 ? (double)s->kl.count : 1;
  output_text(out,
              "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>viva compare</title>\n<style>"
              "body{font:15px system-ui,sans-serif;margin:2em}table{border-collapse:collapse;margin-bottom:1em}"
              "th{text-align:left;font-weight:600;padding:3px 9px}td{padding:3px 9px}"
              ".map td,.map th{text-align:right;font-variant-numeric:tabular-nums}</style></head><body>\n"
              "<h1>viva compare</h1>\n<table>\n");
  put_row(out, "reference", c->reference);
  put_row(out, "", c->reference_text);
  put_row(out, "model", c->model);
  put_row(out, "", c->model_text);
  if (c->mode[0]) put_row(out, "", c->mode);
  snprintf(text, sizeof text, "%.4f, reference %.4f", score_perplexity(s, 1), score_perplexity(s, 0));
  put_row(out, "perplexity", text);
  snprintf(text, sizeof text, "mean %.6f, median %.6f, 99%% below %.6f", s->kl.mean, score_kl_at(s, 0.5),
           score_kl_at(s, 0.99));
  put_row(out, "KL(reference || model)", text);
  snprintf(text, sizeof text, "%.2f%%", 100 * (double)s->same_top / tokens);
  put_row(out, "same top token", text);
  snprintf(text, sizeof text, "%.2f%%", 20 * (double)s->shared_top_5 / tokens);
  put_row(out, "top-5 overlap", text);
  snprintf(text, sizeof text, "%" PRIu64 " in %" PRIu64 " window%s of %" PRIu64, s->kl.count, s->done,
           s->done == 1 ? "" : "s", s->context);
  put_row(out, "tokens scored", text);
  output_text(out, "</table>\n");
  if (c->errors != NULL) put_errors(out, c->errors);
  output_text(out, "</body></html>\n");
}

static int fail(const char *path, const char *action, int number) {
  return message_fail(CODE_IO, "%s: cannot %s: %s", path, action, strerror(number));
}

/* The page to the disk, then its name. */
static int publish(int fd, const char *temporary, const char *path, const comparison *c) {
  output *out = malloc(sizeof *out);
  if (out == NULL) return message_fail(CODE_LIMIT, "no memory for the page");
  output_open(out, fd);
  put_page(out, c);
  int failure = output_flush(out);
  free(out);
  if (failure == 0 && fsync(fd) != 0 && errno != EINVAL) failure = errno;
  if (failure == 0 && rename(temporary, path) != 0) failure = errno;
  return failure == 0 ? 0 : fail(path, "write the page", failure);
}

/* c NULL: only tries. */
static int write_page(const char *path, const comparison *c) {
  static const char suffix[] = ".viva.tmp";
  size_t bytes = strlen(path) + sizeof suffix;
  char *temporary = malloc(bytes);
  if (temporary == NULL) return message_fail(CODE_LIMIT, "no memory for a path");
  snprintf(temporary, bytes, "%s%s", path, suffix);
  int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666), code = 0;
  if (fd < 0) {
    code = fail(temporary, "create the file", errno);
  } else if (c != NULL) {
    code = publish(fd, temporary, path, c);
  }
  if (fd >= 0) close(fd);
  if (fd >= 0 && (c == NULL || code != 0)) unlink(temporary);
  free(temporary);
  return code;
}

int compare_html_try(const char *path) {
  struct stat found;
  if (stat(path, &found) == 0 && S_ISDIR(found.st_mode)) return fail(path, "write the page", EISDIR);
  return write_page(path, NULL);
}

int compare_html(const char *path, const comparison *c) { return write_page(path, c); }
