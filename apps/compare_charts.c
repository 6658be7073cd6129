/* compare_charts.c: the pictures of the page: bars by position and by layer, and the map of the weights' errors.
 *
 * Each kind is drawn once for each comparison, side by side, on one scale.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "compare_charts.h"
#include "page.h"
#include "units.h"

enum { WIDTH = 620, HEIGHT = 190, LEFT = 62, RIGHT = 6, TOP = 14, BOTTOM = 20, MOST_BARS = 64 };

typedef struct bar {
  double value, error; /* error: the standard one, 0: none is drawn */
  char title[96];
} bar;

/* What one chart shows; labels: below its first and last bar. */
typedef struct chart {
  bar *bars;
  size_t count;
  double most;
  char first[24], last[24];
} chart;

static double height_of(const chart *c, double value) { return (HEIGHT - TOP - BOTTOM) * value / c->most; }

static void put_line(output *out, const chart *c, double value) {
  const double y = HEIGHT - BOTTOM - height_of(c, value);
  output_format(out,
                "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.3g"
                "</text>",
                LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4, value);
}

static void put_bar(output *out, const chart *c, size_t i) {
  const bar *b = &c->bars[i];
  const double step = (double)(WIDTH - LEFT - RIGHT) / (double)c->count, x = LEFT + (double)i * step,
               high = height_of(c, b->value);
  output_format(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>%s</title></rect>", x,
                HEIGHT - BOTTOM - high, step * 0.82, high, b->title);
  if (b->error > 0)
    output_format(out, "<path d=\"M%.1f %.1fV%.1f\"/>", x + step * 0.41,
                  HEIGHT - BOTTOM - height_of(c, b->value + b->error),
                  HEIGHT - BOTTOM - height_of(c, fmax(b->value - b->error, 0)));
}

static void put_chart(output *out, const chart *c) {
  output_format(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\">", WIDTH, HEIGHT);
  for (int i = 0; i <= 2; i++) put_line(out, c, c->most * i / 2);
  for (size_t i = 0; i < c->count; i++) put_bar(out, c, i);
  output_format(out, "<text x=\"%d\" y=\"%d\">%s</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text></svg>",
                LEFT, HEIGHT - 4, c->first, WIDTH - RIGHT, HEIGHT - 4, c->last);
}

/* ---- by position */

static double mean_at(const score *s, uint64_t from, uint64_t to) {
  double sum = 0;
  for (uint64_t i = from; i < to; i++) sum += s->at_position[i];
  return to > from ? sum / (double)(to - from) : 0;
}

static void by_position(const comparison *one, chart *c) {
  const score *s = &one->score;
  const uint64_t first = s->context - s->scored - 1; /* the first of the window that is scored predicts the next */
  c->count = s->scored < MOST_BARS ? (size_t)s->scored : MOST_BARS;
  for (size_t i = 0; i < c->count; i++) {
    const uint64_t from = i * s->scored / c->count, to = (i + 1) * s->scored / c->count;
    c->bars[i] = (bar){.value = mean_at(s, from, to)};
    char places[64];
    if (to - from < 2)
      text_format(places, sizeof places, "position %" PRIu64, first + from);
    else
      text_format(places, sizeof places, "positions %" PRIu64 " to %" PRIu64, first + from, first + to - 1);
    text_format(c->bars[i].title, sizeof c->bars[i].title, "%s: %.4g", places, c->bars[i].value);
  }
  text_format(c->first, sizeof c->first, "position %" PRIu64, first);
  text_format(c->last, sizeof c->last, "%" PRIu64, first + s->scored - 1);
}

/* ---- by layer */

static void by_layer(const comparison *one, chart *c) {
  const layer_damage *d = &one->damage;
  c->count = (size_t)d->layers + 1;
  for (size_t i = 0; i < c->count; i++) {
    bar *b = &c->bars[i];
    *b = (bar){.value = d->kl[i], .error = d->error[i]};
    if (i < d->layers)
      text_format(b->title, sizeof b->title, "layer %zu: %.4g +- %.2g", i, b->value, b->error);
    else
      text_format(b->title, sizeof b->title, "embedding, last norm and head: %.4g +- %.2g", b->value, b->error);
  }
  text_format(c->first, sizeof c->first, "layer 0");
  text_format(c->last, sizeof c->last, "%" PRIu64 ", and the ends", d->layers - 1);
}

/* ---- side by side */

static size_t room_for(const comparison *first) {
  size_t room = MOST_BARS;
  for (const comparison *one = first; one != NULL; one = one->next)
    if (one->damage.layers + 1 > room) room = (size_t)one->damage.layers + 1;
  return room;
}

static double highest(const chart *c) {
  double most = 0;
  for (size_t i = 0; i < c->count; i++) most = fmax(most, c->bars[i].value + c->bars[i].error);
  return most;
}

/* fill: one of the two above. Nothing is drawn where there is nothing, or no memory. */
static void put_charts(output *out, const comparison *first, void (*fill)(const comparison *, chart *)) {
  chart c = {.bars = calloc(room_for(first), sizeof *c.bars)};
  if (c.bars == NULL) return;
  for (const comparison *one = first; one != NULL; one = one->next) {
    fill(one, &c);
    c.most = fmax(c.most, highest(&c));
  }
  if (!(c.most > 0)) c.most = 1; /* no difference anywhere */
  output_text(out, "<div class=\"sides\">\n");
  int side = 0;
  for (const comparison *one = first; one != NULL; one = one->next) {
    fill(one, &c);
    output_format(out, "<figure class=\"side%d\"><figcaption>", side++);
    page_text(out, one->model_text);
    output_text(out, "</figcaption>");
    put_chart(out, &c);
    output_text(out, "</figure>\n");
  }
  output_text(out, "</div>\n");
  free(c.bars);
}

void charts_positions(output *out, const comparison *first) {
  if (first->score.scored > 0 && first->score.kl.count > 0) put_charts(out, first, by_position);
}

void charts_layers(output *out, const comparison *first) { put_charts(out, first, by_layer); }

/* ---- the map */

/* --p: 0 for 0.01 % and less, 1 for 100 %. */
static void put_cell(output *out, double error, const char *format) {
  double place = error > 0 ? (log10(error) + 4) / 4 : 0;
  place = place < 0 ? 0 : place > 1 ? 1 : place;
  output_format(out, "<td style=\"--p:%.2f\"%s title=\"", place, place > 0.7 ? " class=\"hot\"" : "");
  page_text(out, format);
  output_format(out, "\">%.3f</td>", 100 * error);
}

static void put_map(output *out, const weight_errors *e) {
  output_text(out, "<table class=\"map\"><tr><th>layer</th>");
  for (int p = 0; p < COMPARE_PROJECTIONS; p++) output_format(out, "<th>%s</th>", compare_projections[p]);
  output_text(out, "</tr>\n");
  for (uint64_t l = 0; l < e->layers; l++) {
    output_format(out, "<tr><th>%" PRIu64 "</th>", l);
    for (int p = 0; p < COMPARE_PROJECTIONS; p++) put_cell(out, e->layer[l][p], e->format[l][p]);
    output_text(out, "</tr>\n");
  }
  output_text(out, "<tr><th>embedding</th>");
  put_cell(out, e->embedding, e->embedding_format);
  output_text(out, "<th colspan=\"5\">head</th>");
  put_cell(out, e->head, e->head_format);
  output_text(out, "</tr></table>\n");
}

void charts_weights(output *out, const comparison *first) {
  static const double errors[] = {0.0001, 0.001, 0.01, 0.1, 1};
  int side = 0;
  output_text(out, "<div class=\"sides\">\n");
  for (const comparison *one = first; one != NULL; one = one->next) {
    output_format(out, "<figure class=\"side%d\"><figcaption>", side++);
    page_text(out, one->model_text);
    output_text(out, "</figcaption>");
    if (one->has_errors) put_map(out, &one->errors);
    output_text(out, "</figure>\n");
  }
  output_text(out, "</div>\n<table class=\"map\"><tr><th>colours, percent</th>");
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) put_cell(out, errors[i], "percent");
  output_text(out, "</tr></table>\n");
}
