/* analyze_html.c: analyses as one page of HTML: nothing in it comes from outside the file. */
#include <inttypes.h>
#include <math.h>

#include "analyze.h"
#include "page.h"

enum { WIDTH = 640, HEIGHT = 160, BAR = WIDTH / VIVA_HISTOGRAM_BINS };

/* Bars as high as the root of their share of the fullest, so that tails are seen. */
static void put_histogram(output *out, const viva_distribution_stats *d) {
  uint64_t most = 1;
  for (int i = 0; i < VIVA_HISTOGRAM_BINS; i++) most = d->histogram[i] > most ? d->histogram[i] : most;
  output_format(out, "<svg width=\"%d\" height=\"%d\" role=\"img\">", WIDTH, HEIGHT + 20);
  for (int i = 0; i < VIVA_HISTOGRAM_BINS; i++) {
    const double high = HEIGHT * sqrt((double)d->histogram[i] / (double)most);
    output_format(
        out, "<rect x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%.1f\" fill=\"#36c\"><title>%" PRIu64 "</title></rect>",
        i * BAR, HEIGHT - high, BAR - 1, high, d->histogram[i]);
  }
  output_format(out,
                "<text x=\"0\" y=\"%d\">%.4g</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.4g</text></svg>\n",
                HEIGHT + 16, d->min_val, WIDTH, HEIGHT + 16, d->max_val);
}

static void put_candidates(output *out, const analysis *a) {
  const int chosen = analysis_choice(a);
  double most = a->max_error;
  for (int i = 0; i < VIVA_FORMAT_CANDIDATES; i++) most = fmax(most, a->candidates[i].error_pct);
  output_text(
      out,
      "<table class=\"n\"><tr><th>candidate</th><th>bits a value</th><th>error %</th><th>SQNR dB</th><th></th></tr>\n");
  for (int i = 0; i < VIVA_FORMAT_CANDIDATES; i++) {
    const viva_format_candidate *c = &a->candidates[i];
    output_format(out, "<tr%s><th>%s</th><td>%.3f</td><td>%.4f</td><td>%.2f</td>", i == chosen ? " class=\"on\"" : "",
                  c->name, c->bits_per_value, c->error_pct, c->sqnr_db);
    output_format(
        out, "<td><svg width=\"200\" height=\"12\"><rect width=\"%.1f\" height=\"12\" fill=\"%s\"/></svg></td></tr>\n",
        most > 0 ? 200 * c->error_pct / most : 0, c->error_pct <= a->max_error ? "#2a7" : "#c33");
  }
  output_text(out, "</table>\n");
}

static void put_number(output *out, const char *name, double value) {
  output_format(out, "<tr><th>%s</th><td>%.6g</td></tr>", name, value);
}

static void put_analysis(output *out, const analysis *a) {
  const viva_distribution_stats *d = &a->d;
  output_text(out, "<h2>");
  page_text(out, a->name[0] != 0 ? a->name : "(array)");
  output_text(out, "</h2>\n<p>");
  page_text(out, a->type_name);
  output_format(out, " %s</p>\n", a->shape);
  if (d->count > 0) put_histogram(out, d);
  output_text(out, "<table class=\"n\">");
  put_number(out, "mean", d->mean), put_number(out, "std", d->std);
  put_number(out, "sparsity, |x| &lt; 0.001", d->sparsity);
  put_number(out, "sparsity, |x| &lt; absmax / 1000", d->relative_sparsity);
  put_number(out, "absmax / low magnitude", d->magnitude_range), put_number(out, "kurtosis", d->kurtosis);
  put_number(out, "NaN or infinite", (double)d->nonfinite);
  output_text(out, "</table>\n");
  if (a->predicted)
    put_candidates(out, a);
  else
    output_text(out, "<p>No candidates: no format is chosen for values that are NaN or infinite.</p>\n");
}

void analysis_page(output *out, const void *all) {
  const analyses *list = all;
  page_begin(out, "viva analyze", ".n td{text-align:right;font-variant-numeric:tabular-nums}.on{background:#dfd}");
  output_text(out, "<p>");
  page_text(out, list->file);
  output_text(out, "</p>\n");
  for (size_t i = 0; i < list->count; i++) put_analysis(out, &list->list[i]);
  output_text(out, "</body></html>\n");
}
