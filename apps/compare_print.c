/* compare_print.c: the result as text, with a heat map on a terminal, and as JSON. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "compare.h"
#include "json_out.h"
#include "terminal.h"

static double share(uint64_t part, uint64_t all) { return all > 0 ? (double)part / (double)all : 0; }

static const char *plural(uint64_t count) { return count == 1 ? "" : "s"; }

/* From no error to 100 %, two characters to each factor of about 10: a blank is below 0.01 %. */
static char heat(double error) {
  static const char ramp[] = " .:-=+*#%@";
  enum { STEPS = sizeof ramp - 2 };
  const double lowest = -4; /* log10 */
  double place = error > 0 ? (log10(error) - lowest) / -lowest * STEPS : 0;
  return ramp[place < 0 ? 0 : place > STEPS ? STEPS : (int)place];
}

enum { MAP_LEAST = 5, MAP_USUAL = 5, MAP_MOST = 12 }; /* the longest name has 4 letters */

/* As wide as the terminal lets it be. */
static void print_map(output *out, const weight_errors *e) {
  const int width =
      terminal_fit(out->fd, 7, 7 * MAP_LEAST, 7 * MAP_MOST, 7 * MAP_USUAL) / 7; /* of a cell, with its blank */
  output_text(out, "\nlayer  ");
  for (int p = 0; p < COMPARE_PROJECTIONS; p++) output_format(out, "%-*s", width, compare_projections[p]);
  const char *legend = "' ' < 0.01%  ':' 0.1%  '=' 0.6%  '*' 4%  '@' 100%";
  int columns = terminal_columns(out->fd), beside = columns == 0 || 10 + 7 * width + (int)strlen(legend) <= columns;
  output_format(out, beside ? "   %s\n" : "\n%s\n", legend);
  for (uint64_t l = 0; l < e->layers; l++) {
    output_format(out, "%5" PRIu64 " ", l);
    for (int p = 0; p < COMPARE_PROJECTIONS; p++) {
      char cell[MAP_MOST];
      memset(cell, heat(e->layer[l][p]), sizeof cell);
      output_format(out, " %.*s", width - 1, cell);
    }
    output_text(out, "\n");
  }
}

enum { CELL_LEAST = 6, CELL_USUAL = 9 }; /* " 2.5%" and " 2.5236" with room for 100 */

static void print_table(output *out, const weight_errors *e) {
  /* Seven columns; a narrow terminal gets fewer digits. */
  const int width = terminal_fit(out->fd, 5, 7 * CELL_LEAST, 7 * CELL_USUAL, 7 * CELL_USUAL) / 7;
  output_text(out, "relative error of the weights, in percent\nlayer");
  for (int p = 0; p < COMPARE_PROJECTIONS; p++) output_format(out, " %*s", width - 1, compare_projections[p]);
  output_text(out, "\n");
  for (uint64_t l = 0; l < e->layers; l++) {
    output_format(out, "%5" PRIu64, l);
    for (int p = 0; p < COMPARE_PROJECTIONS; p++)
      output_format(out, " %*.*f", width - 1, width - CELL_LEAST + 1, 100 * e->layer[l][p]);
    output_text(out, "\n");
  }
}

static void print_damage(output *out, const layer_damage *d) {
  output_sentence(out, 0, "KL of the reference with one layer of the model (%" PRIu64 " tokens)", d->context);
  output_text(out, "layer   KL\n");
  for (uint64_t l = 0; l < d->layers; l++)
    output_format(out, "%5" PRIu64 "   %.6f +- %.6f\n", l, d->kl[l], d->error[l]);
  output_sentence(out, 8, " ends   %.6f +- %.6f   (embedding, last norm, head)", d->kl[d->layers], d->error[d->layers]);
}

static void print_layers(output *out, const comparison *c) {
  if (c->has_errors) {
    print_table(out, &c->errors);
    if (out->terminal) print_map(out, &c->errors);
    output_text(out, "\n");
  }
  if (c->damage.layers == 0) return;
  print_damage(out, &c->damage);
  output_text(out, "\n");
}

static void print_summary(output *out, const comparison *c) {
  const score *s = &c->score;
  const weight_errors *e = &c->errors;
  enum { BEHIND = 17 };
  output_sentence(out, 11, "reference: %s", c->reference_text);
  output_sentence(out, 11, "model:     %s%s%s", c->model_text, c->mode[0] ? ", " : "", c->mode);
  output_text(out, "\n");
  output_sentence(out, BEHIND, "perplexity       %.4f -> %.4f (%+.2f%%)", score_perplexity(s, 0),
                  score_perplexity(s, 1), 100 * (score_perplexity(s, 1) / score_perplexity(s, 0) - 1));
  output_sentence(out, BEHIND, "KL(ref||model)   mean %.6f, median %.6f, 99%% below %.6f", s->kl.mean,
                  score_kl_at(s, 0.5), score_kl_at(s, 0.99));
  output_format(out, "same top token   %.2f%%\ntop-5 overlap    %.2f%%\n", 100 * share(s->same_top, s->kl.count),
                100 * share(s->shared_top_5, 5 * s->kl.count));
  output_sentence(out, 1, "(%" PRIu64 " token%s scored in %" PRIu64 " window%s of %" PRIu64 ")", s->kl.count,
                  plural(s->kl.count), s->done, plural(s->done), s->context);
  if (!c->has_errors)
    output_sentence(out, BEHIND, "weights          not compared: the models have different shapes");
  else
    output_sentence(out, BEHIND, "weights' error   %.4f%%; embedding %.4f%% (%s), head %.4f%% (%s)", 100 * e->all,
                    100 * e->embedding, e->embedding_format, 100 * e->head, e->head_format);
}

void compare_print(output *out, const comparison *c, int layers) {
  for (const comparison *one = c; layers && one != NULL; one = one->next) print_layers(out, one);
  for (const comparison *one = c; one != NULL; one = one->next) {
    if (one != c) output_text(out, "\n");
    print_summary(out, one);
  }
}

static void json_errors(json_out *json, const weight_errors *e) {
  json_begin(json, '{');
  json_key(json, "all"), json_double(json, e->all);
  json_key(json, "embedding"), json_double(json, e->embedding);
  json_key(json, "embedding_format"), json_text(json, e->embedding_format);
  json_key(json, "head"), json_double(json, e->head);
  json_key(json, "head_format"), json_text(json, e->head_format);
  json_key(json, "layers"), json_begin(json, '[');
  for (uint64_t l = 0; l < e->layers; l++) {
    json_begin(json, '{');
    for (int p = 0; p < COMPARE_PROJECTIONS; p++)
      json_key(json, compare_projections[p]), json_double(json, e->layer[l][p]);
    json_end(json, '}');
  }
  json_end(json, ']');
  json_end(json, '}');
}

static void json_damage(json_out *json, const layer_damage *d) {
  json_begin(json, '{');
  json_key(json, "context"), json_unsigned(json, d->context);
  json_key(json, "ends"), json_double(json, d->kl[d->layers]);
  json_key(json, "ends_error"), json_double(json, d->error[d->layers]);
  json_key(json, "layers"), json_begin(json, '[');
  for (uint64_t l = 0; l < d->layers; l++) {
    json_begin(json, '{');
    json_key(json, "kl"), json_double(json, d->kl[l]);
    json_key(json, "error"), json_double(json, d->error[l]);
    json_end(json, '}');
  }
  json_end(json, ']');
  json_end(json, '}');
}

static void json_comparison(json_out *json, const comparison *c) {
  const score *s = &c->score;
  json_key(json, "reference"), json_text(json, c->reference);
  json_key(json, "model"), json_text(json, c->model);
  json_key(json, "reference_held"), json_text(json, c->reference_text);
  json_key(json, "model_held"), json_text(json, c->model_text);
  json_key(json, "reference_weights"), json_text(json, c->reference_weights);
  json_key(json, "weights"), json_text(json, c->weights);
  json_key(json, "mode"), json_text(json, c->mode);
  json_key(json, "reference_perplexity"), json_double(json, score_perplexity(s, 0));
  json_key(json, "perplexity"), json_double(json, score_perplexity(s, 1));
  json_key(json, "kl_mean"), json_double(json, s->kl.mean);
  json_key(json, "reference_perplexity_error"), json_double(json, score_perplexity_error(s, 0));
  json_key(json, "perplexity_error"), json_double(json, score_perplexity_error(s, 1));
  json_key(json, "kl_error"), json_double(json, score_kl_error(s));
  json_key(json, "kl_median"), json_double(json, score_kl_at(s, 0.5));
  json_key(json, "kl_99"), json_double(json, score_kl_at(s, 0.99));
  json_key(json, "same_top"), json_double(json, share(s->same_top, s->kl.count));
  json_key(json, "top_5_overlap"), json_double(json, share(s->shared_top_5, 5 * s->kl.count));
  json_key(json, "scored_tokens"), json_unsigned(json, s->kl.count);
  json_key(json, "windows"), json_unsigned(json, s->done);
  json_key(json, "context"), json_unsigned(json, s->context);
  if (c->has_errors) json_key(json, "weight_error"), json_errors(json, &c->errors);
  if (c->damage.layers > 0) json_key(json, "kl_by_layer"), json_damage(json, &c->damage);
}

void compare_json(output *out, const comparison *c, double seconds) {
  json_out json = {out, 0};
  json_begin(&json, '{');
  json_comparison(&json, c);
  json_key(&json, "seconds"), json_double(&json, seconds);
  if (c->next != NULL) {
    json_key(&json, "beside"), json_begin(&json, '{');
    json_comparison(&json, c->next);
    json_end(&json, '}');
  }
  json_end(&json, '}');
  output_text(out, "\n");
}
