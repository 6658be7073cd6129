/* compare_html.c: the result as one page of HTML: nothing in it comes from outside the file. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "compare.h"
#include "page.h"

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

static void put_row(output *out, const char *name, const char *text) {
  output_format(out, "<tr><th>%s</th><td>", name);
  page_text(out, text);
  output_text(out, "</td></tr>\n");
}

void compare_page(output *out, const void *what) {
  const comparison *c = what;
  score *s = c->score;
  char text[160];
  double tokens = s->kl.count > 0 ? (double)s->kl.count : 1;
  page_begin(out, "viva compare", ".map td,.map th{text-align:right;font-variant-numeric:tabular-nums}");
  output_text(out, "<table>\n");
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
