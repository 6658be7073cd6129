/* compare_html.c: the result as one page of HTML: nothing in it comes from outside the file. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "compare_charts.h"
#include "page.h"
#include "units.h"

static const char style[] =
    ":root{--back:#fff;--text:#1c1d1f;--soft:#666b73;--line:#d9dce1;--one:#2a72b5;--two:#c2601f}"
    "body{background:var(--back);color:var(--text);max-width:1320px;margin:2em auto;padding:0 1.5em}"
    "h2{margin:1.6em 0 .3em}p,figcaption{color:var(--soft);margin:.2em 0 .6em;max-width:46em}"
    ".facts{display:block;overflow-x:auto}" /* a narrow window scrolls; numbers stay whole, paths do not */
    ".facts th,.facts td{border-bottom:1px solid var(--line);vertical-align:top}.facts td{max-width:26em}"
    ".facts tr:nth-child(-n+2) td{overflow-wrap:anywhere;min-width:9em}"
    ".facts td,.map td,.map th{font-variant-numeric:tabular-nums}.facts thead th.side0,.facts thead "
    "th.side1{border-bottom-width:3px}"
    ".side0{--bar:var(--one)}.side1{--bar:var(--two)}.facts thead .side0,.facts thead .side1{border-color:var(--bar)}"
    ".sides{display:flex;flex-wrap:wrap;gap:1em 2em}figure{margin:0;flex:1 1 420px;max-width:640px;overflow-x:auto}"
    "figcaption{border-left:.8em solid var(--bar);padding-left:.5em}"
    "svg{width:100%;height:auto}svg text{font-size:11px;fill:var(--soft)}svg line{stroke:var(--line)}"
    "svg rect{fill:var(--bar)}svg path{stroke:var(--text);stroke-width:1.2}"
    ".map{font-size:13px}.map th,.map td{text-align:right;padding:2px 7px}"
    ".map td{background:hsl(12 85% calc(97% - 57%*var(--p)));color:#1c1d1f}.map td.hot{color:#fff}"
    "@media(prefers-color-scheme:dark){"
    ":root{--back:#17181a;--text:#e4e6e9;--soft:#9aa0a8;--line:#34373c;--one:#5aa5e8;--two:#ec9457}"
    ".map td{background:hsl(12 70% calc(13% + 42%*var(--p)));color:#e4e6e9}}";

/* One row: its name, then a cell for the reference and one for each comparison. put writes a cell's text. */
typedef void (*cell_fn)(const comparison *c, int which, char *text, size_t size); /* which: 0 reference, 1 model */

static void put_cell(output *out, const comparison *c, int which, cell_fn put) {
  char text[512] = "";
  put(c, which, text, sizeof text);
  output_text(out, "<td>");
  page_text(out, text);
  output_text(out, "</td>");
}

static void put_row(output *out, const comparison *first, const char *name, cell_fn put) {
  output_format(out, "<tr><th>%s</th>", name);
  put_cell(out, first, 0, put);
  for (const comparison *one = first; one != NULL; one = one->next) put_cell(out, one, 1, put);
  output_text(out, "</tr>\n");
}

static void file_cell(const comparison *c, int which, char *text, size_t size) {
  text_format(text, size, "%s", which ? c->model : c->reference);
}

static void held_cell(const comparison *c, int which, char *text, size_t size) {
  text_format(text, size, "%s", which ? c->model_text : c->reference_text);
}

static void mode_cell(const comparison *c, int which, char *text, size_t size) {
  if (which) text_format(text, size, "%s", c->mode);
}

static void size_cell(const comparison *c, int which, char *text, size_t size) {
  char bytes[32];
  units_bytes(c->bytes[which], bytes, sizeof bytes);
  text_format(text, size, "%s", bytes);
}

static void bits_cell(const comparison *c, int which, char *text, size_t size) {
  if (c->parameters[which] > 0)
    text_format(text, size, "%.2f", 8 * (double)c->bytes[which] / (double)c->parameters[which]);
}

static void perplexity_cell(const comparison *c, int which, char *text, size_t size) {
  text_format(text, size, "%.4f \xc2\xb1 %.4f", score_perplexity(&c->score, which),
              score_perplexity_error(&c->score, which));
}

static void kl_cell(const comparison *c, int which, char *text, size_t size) {
  if (which) text_format(text, size, "%.6f \xc2\xb1 %.6f", c->score.kl.mean, score_kl_error(&c->score));
}

static void median_cell(const comparison *c, int which, char *text, size_t size) {
  if (which) text_format(text, size, "%.6f, %.6f", score_kl_at(&c->score, 0.5), score_kl_at(&c->score, 0.99));
}

static void top_cell(const comparison *c, int which, char *text, size_t size) {
  const score *s = &c->score;
  const double tokens = s->kl.count > 0 ? (double)s->kl.count : 1;
  if (which)
    text_format(text, size, "%.2f%%, %.2f%%", 100 * (double)s->same_top / tokens,
                20 * (double)s->shared_top_5 / tokens);
}

static void error_cell(const comparison *c, int which, char *text, size_t size) {
  if (which && c->has_errors) text_format(text, size, "%.4f%%", 100 * c->errors.all);
}

static void put_facts(output *out, const comparison *first) {
  output_text(out, "<table class=\"facts\"><thead><tr><th></th><th>reference</th><th class=\"side0\">model</th>");
  output_text(out, first->next != NULL ? "<th class=\"side1\">beside it</th></tr></thead>\n" : "</tr></thead>\n");
  put_row(out, first, "file", file_cell);
  put_row(out, first, "held as", held_cell);
  put_row(out, first, "activations", mode_cell);
  put_row(out, first, "size of the weights", size_cell);
  put_row(out, first, "bits a weight", bits_cell);
  put_row(out, first, "perplexity \xc2\xb1 standard error", perplexity_cell);
  put_row(out, first, "KL(reference || model), mean \xc2\xb1 standard error", kl_cell);
  put_row(out, first, "KL, median and what 99% are below", median_cell);
  put_row(out, first, "same top token, top-5 overlap", top_cell);
  put_row(out, first, "relative error of the weights", error_cell);
  output_text(out, "</table>\n");
}

static void put_text_and_date(output *out, const comparison *c) {
  const score *s = &c->score;
  time_t now = time(NULL);
  struct tm parts;
  output_text(out, "<p>Text: ");
  page_text(out, c->input);
  output_format(out, "; %" PRIu64 " tokens scored in %" PRIu64 " window%s of %" PRIu64 ".", s->kl.count, s->done,
                s->done == 1 ? "" : "s", s->context);
  if (gmtime_r(&now, &parts) != NULL)
    output_format(out, " Written %04d-%02d-%02d %02d:%02d UTC by viva %s.", parts.tm_year + 1900, parts.tm_mon + 1,
                  parts.tm_mday, parts.tm_hour, parts.tm_min, viva_version());
  output_text(out, "</p>\n");
}

void compare_page(output *out, const void *what) {
  const comparison *first = what;
  int layers = 1, errors = 0;
  for (const comparison *one = first; one != NULL; one = one->next) {
    layers &= one->damage.layers > 0;
    errors |= one->has_errors;
  }
  page_begin(out, "viva compare", style);
  put_facts(out, first);
  put_text_and_date(out, first);
  output_text(out, "<h2>KL by position in the window</h2>\n<p>Damage that grows with the position is in long ranges of "
                   "attention, or in the KV cache. All charts of a kind have one scale.</p>\n");
  charts_positions(out, first);
  if (layers) {
    output_format(
        out,
        "<h2>KL by layer</h2>\n<p>The reference with one layer of the model in place of its own, over the text's "
        "first %" PRIu64 " tokens: where the damage arises. The last bar: with the model's embedding, "
        "last norm and head. Lines: the standard error.</p>\n",
        first->damage.context);
    charts_layers(out, first);
  }
  if (errors) {
    output_text(out, "<h2>Relative error of the weights, in percent</h2>\n<p>The root of the squared differences over "
                     "the squared weights of the reference. A cell's format is shown when it is pointed at.</p>\n");
    charts_weights(out, first);
  }
  output_text(out, "</body></html>\n");
}
