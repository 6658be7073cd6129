/* compare_html.c: the result as one page of HTML: nothing in it comes from outside the file. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "compare.h"
#include "page.h"
#include "units.h"

/* White for 0.01 % and less, dark red for 100 %. */
static void put_cell(output *out, double error, const char *format) {
  double place = error > 0 ? (log10(error) + 4) / 4 : 0;
  place = place < 0 ? 0 : place > 1 ? 1 : place;
  output_format(out, "<td style=\"background:hsl(12,85%%,%.0f%%)%s\" title=\"", 98 - 58 * place,
                place > 0.75 ? ";color:#fff" : "");
  page_text(out, format);
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

/* What the colours of the map mean: a cell for each factor of ten. */
static void put_legend(output *out) {
  static const double errors[] = {0.0001, 0.001, 0.01, 0.1, 1};
  output_text(out, "<table class=\"map\"><tr><th>colours</th>");
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) put_cell(out, errors[i], "percent");
  output_text(out, "</tr></table>\n");
}

enum { CHART_WIDTH = 640, CHART_HEIGHT = 150, CHART_BARS = 64, CHART_LEFT = 70 };

/* The mean of KL over a bar's positions. */
static double bar_mean(const score *s, uint64_t from, uint64_t to) {
  double sum = 0;
  for (uint64_t i = from; i < to; i++) sum += s->at_position[i];
  return to > from ? sum / (double)(to - from) : 0;
}

/* KL along the window: damage that grows with the context is in the cache or in long ranges of attention. */
static void put_positions(output *out, const score *s) {
  uint64_t bars = s->scored < CHART_BARS ? s->scored : CHART_BARS, first = s->context - s->scored;
  double most = 0;
  if (bars == 0 || s->kl.count == 0) return;
  for (uint64_t b = 0; b < bars; b++) most = fmax(most, bar_mean(s, b * s->scored / bars, (b + 1) * s->scored / bars));
  output_format(
      out,
      "<h2>KL by position in the window</h2>\n<svg viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\">"
      "<text x=\"%d\" y=\"12\" text-anchor=\"end\">%.3g</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">0</text>",
      CHART_WIDTH, CHART_HEIGHT, CHART_WIDTH, CHART_LEFT - 6, most, CHART_LEFT - 6, CHART_HEIGHT - 20);
  double width = (double)(CHART_WIDTH - CHART_LEFT) / (double)bars;
  for (uint64_t b = 0; b < bars && most > 0; b++) {
    uint64_t from = b * s->scored / bars, to = (b + 1) * s->scored / bars;
    double mean = bar_mean(s, from, to), height = (CHART_HEIGHT - 20) * mean / most;
    output_format(out,
                  "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>positions %" PRIu64 " to %" PRIu64
                  ": %.4g</title></rect>",
                  CHART_LEFT + (double)b * width, CHART_HEIGHT - 20 - height, width * 0.85, height, first + from,
                  first + to - 1, mean);
  }
  output_format(out,
                "<text x=\"%d\" y=\"%d\">%" PRIu64 "</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">%" PRIu64
                "</text></svg>\n",
                CHART_LEFT, CHART_HEIGHT - 4, first, CHART_WIDTH, CHART_HEIGHT - 4, s->context - 1);
}

static void put_row(output *out, const char *name, const char *text) {
  output_format(out, "<tr><th>%s</th><td>", name);
  page_text(out, text);
  output_text(out, "</td></tr>\n");
}

/* "256.63 MiB, 16.01 bits a weight" */
static void put_size(output *out, const comparison *c, int which) {
  char size[32], text[96];
  units_bytes(c->bytes[which], size, sizeof size);
  text_format(text, sizeof text, "%s, %.2f bits a weight", size,
              c->parameters > 0 ? 8 * (double)c->bytes[which] / (double)c->parameters : 0);
  put_row(out, "", text);
}

static void put_date(output *out) {
  char text[32] = "";
  time_t now = time(NULL);
  struct tm parts;
  if (gmtime_r(&now, &parts) != NULL)
    text_format(text, sizeof text, "%04d-%02d-%02d %02d:%02d UTC", parts.tm_year + 1900, parts.tm_mon + 1,
                parts.tm_mday, parts.tm_hour, parts.tm_min);
  put_row(out, "date", text);
}

void compare_page(output *out, const void *what) {
  const comparison *c = what;
  score *s = c->score;
  char text[160];
  double tokens = s->kl.count > 0 ? (double)s->kl.count : 1;
  page_begin(out, "viva compare",
             ".map td,.map th{text-align:right;font-variant-numeric:tabular-nums}.map td{color:#222}"
             "rect{fill:#2a78c0}svg text{font-size:11px;fill:currentColor}"
             "@media(prefers-color-scheme:dark){body{background:#17181a;color:#ddd}rect{fill:#5aa5e8}}");
  output_text(out, "<table>\n");
  put_row(out, "reference", c->reference);
  put_row(out, "", c->reference_text);
  put_size(out, c, 0);
  put_row(out, "model", c->model);
  put_row(out, "", c->model_text);
  if (c->mode[0]) put_row(out, "", c->mode);
  put_size(out, c, 1);
  put_row(out, "text", c->input);
  put_date(out);
  snprintf(text, sizeof text, "%.4f ± %.4f, reference %.4f ± %.4f", score_perplexity(s, 1),
           score_perplexity_error(s, 1), score_perplexity(s, 0), score_perplexity_error(s, 0));
  put_row(out, "perplexity", text);
  snprintf(text, sizeof text, "mean %.6f ± %.6f, median %.6f, 99%% below %.6f", s->kl.mean, score_kl_error(s),
           score_kl_at(s, 0.5), score_kl_at(s, 0.99));
  put_row(out, "KL(reference || model)", text);
  snprintf(text, sizeof text, "%.2f%%", 100 * (double)s->same_top / tokens);
  put_row(out, "same top token", text);
  snprintf(text, sizeof text, "%.2f%%", 20 * (double)s->shared_top_5 / tokens);
  put_row(out, "top-5 overlap", text);
  snprintf(text, sizeof text, "%" PRIu64 " in %" PRIu64 " window%s of %" PRIu64, s->kl.count, s->done,
           s->done == 1 ? "" : "s", s->context);
  put_row(out, "tokens scored", text);
  output_text(out, "</table>\n");
  put_positions(out, s);
  if (c->errors != NULL) {
    put_errors(out, c->errors);
    put_legend(out);
  }
  output_text(out, "</body></html>\n");
}
