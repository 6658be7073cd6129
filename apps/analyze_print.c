/* analyze_print.c: an analysis for people at a terminal, and for programs. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "analyze.h"
#include "terminal.h"

enum { BARS = 32, BAR_LEAST = 10, BAR_USUAL = 50, BAR_MOST = 100, BAR_BESIDE = 36 /* its number, and its count */ };

int analysis_choice(const analysis *a) {
  for (int i = 0; a->predicted && i < VIVA_FORMAT_CANDIDATES; i++)
    if (a->candidates[i].error_pct <= a->max_error) return i;
  return -1;
}

/* Two bins of the library's to a bar; its length is the root of its share of the fullest, so that tails are seen. */
static void print_histogram(output *out, const viva_distribution_stats *d) {
  const int per_bar = VIVA_HISTOGRAM_BINS / BARS;
  uint64_t bars[BARS] = {0}, most = 1;
  for (int i = 0; i < VIVA_HISTOGRAM_BINS; i++) bars[i / per_bar] += d->histogram[i];
  for (int i = 0; i < BARS; i++) most = bars[i] > most ? bars[i] : most;
  const double width = (d->max_val - d->min_val) / BARS;
  const int longest = terminal_fit(out->fd, BAR_BESIDE, BAR_LEAST, BAR_MOST, BAR_USUAL);
  char marks[BAR_MOST];
  memset(marks, '#', sizeof marks);
  output_text(out, "  histogram (length: root of the share)\n");
  for (int i = 0; i < BARS; i++) {
    const int length = (int)(longest * sqrt((double)bars[i] / (double)most) + 0.5);
    output_format(out, "  %11.4g |%.*s%*s %" PRIu64 "\n", d->min_val + (i + 0.5) * width, length, marks,
                  longest - length, "", bars[i]);
  }
}

static void print_candidates(output *out, const analysis *a) {
  const int chosen = analysis_choice(a);
  output_format(out, "  %-22s %12s %10s %9s\n", "candidate", "bits a value", "error %", "SQNR dB");
  for (int i = 0; i < VIVA_FORMAT_CANDIDATES; i++) {
    const viva_format_candidate *c = &a->candidates[i];
    output_format(out, "  %-22s %12.3f %10.4f %9.2f%s\n", c->name, c->bits_per_value, c->error_pct, c->sqnr_db,
                  i == chosen ? "  <- the smallest within the bound" : "");
  }
  if (chosen < 0) output_format(out, "  none is within %g %%: 16 or 32 bits would be taken\n", a->max_error);
}

void analysis_print(output *out, const analysis *a) {
  const viva_distribution_stats *d = &a->d;
  output_visible(out, a->name[0] != 0 ? a->name : "(array)", strlen(a->name[0] != 0 ? a->name : "(array)"));
  output_format(out, "  %s %s\n", a->type_name, a->shape);
  output_format(out, "  mean %.6g, std %.6g, min %.6g, max %.6g, kurtosis %.4g\n", d->mean, d->std, d->min_val,
                d->max_val, d->kurtosis);
  output_format(out, "  sparsity %.4f (|x| < 0.001), %.4f (|x| < absmax / 1000), zeros %" PRIu64 "\n", d->sparsity,
                d->relative_sparsity, d->zeros);
  output_format(out, "  dynamic range %.6g (max / min), %.6g (absmax / low magnitude %.4g)\n", d->dynamic_range,
                d->magnitude_range, d->low_magnitude);
  if (d->nonfinite > 0)
    output_format(out,
                  "  %" PRIu64 " values are NaN or infinite: no candidates, as no format is chosen for such data\n",
                  d->nonfinite);
  if (d->count > 0) print_histogram(out, d);
  if (a->predicted) print_candidates(out, a);
  output_text(out, "\n");
}

void analysis_json(json_out *json, const analysis *a) {
  const viva_distribution_stats *d = &a->d;
  const int chosen = analysis_choice(a);
  json_begin(json, '{');
  json_key(json, "name"), json_text(json, a->name);
  json_key(json, "type"), json_text(json, a->type_name);
  json_key(json, "count"), json_unsigned(json, d->count);
  json_key(json, "nonfinite"), json_unsigned(json, d->nonfinite);
  json_key(json, "zeros"), json_unsigned(json, d->zeros);
  json_key(json, "mean"), json_double(json, d->mean);
  json_key(json, "std"), json_double(json, d->std);
  json_key(json, "min"), json_double(json, d->min_val);
  json_key(json, "max"), json_double(json, d->max_val);
  json_key(json, "dynamic_range"), json_double(json, d->dynamic_range);
  json_key(json, "sparsity"), json_double(json, d->sparsity);
  json_key(json, "relative_sparsity"), json_double(json, d->relative_sparsity);
  json_key(json, "low_magnitude"), json_double(json, d->low_magnitude);
  json_key(json, "magnitude_range"), json_double(json, d->magnitude_range);
  json_key(json, "kurtosis"), json_double(json, d->kurtosis);
  json_key(json, "histogram"), json_begin(json, '[');
  for (int i = 0; i < VIVA_HISTOGRAM_BINS; i++) json_unsigned(json, d->histogram[i]);
  json_end(json, ']');
  json_key(json, "candidates"), json_begin(json, '[');
  for (int i = 0; a->predicted && i < VIVA_FORMAT_CANDIDATES; i++) {
    const viva_format_candidate *c = &a->candidates[i];
    json_begin(json, '{');
    json_key(json, "name"), json_text(json, c->name);
    json_key(json, "bits_per_value"), json_double(json, c->bits_per_value);
    json_key(json, "error_percent"), json_double(json, c->error_pct);
    json_key(json, "sqnr_db"), json_double(json, c->sqnr_db);
    json_end(json, '}');
  }
  json_end(json, ']');
  json_key(json, "choice"), json_text(json, chosen < 0 ? "" : a->candidates[chosen].name);
  json_end(json, '}');
}
