/* compress/distribution.c: what values are like: the original's statistics, and ones that do not depend on their scale.
 *
 * FP64, two passes as in the original: the first for sums and extremes, the second for what needs the mean. Each piece of PIECE
 * values is summed alone and the pieces in pairs, so that the result is the same for any number of threads and rounding stays
 * far below 1e-12. A third counts: what needs the range or absmax.
 */
#include <math.h>

#include "base/error.h"
#include "base/options.h"
#include "compress/compress_inner.h"
#include "engine/engine.h"
#include "number/number.h"
#include "tensor/tensor.h"

#define PIECE          ((size_t)1 << 12)
#define SPARSE_BELOW   0.001 /* the original's */
#define RELATIVE_BELOW 1000  /* a magnitude below absmax / this counts as sparse */
#define LOW_SHARE      100   /* 1 / this of the magnitudes is below low_magnitude */
#define BINS           32768 /* magnitudes by their exponent and 7 leading bits of the significand */
#define BIN_SHIFT      16

typedef struct piece {
  double sum, second, fourth; /* second and fourth: central, of the second pass */
  float least, most;
  uint64_t finite, zeros, sparse;
} piece;

typedef struct survey {
  const float *values;
  size_t count;
  piece *pieces;
  size_t piece_count;
  double mean;
} survey;

static int is_finite(float v) { return (f32_bits(v) & 0x7fffffffu) < 0x7f800000u; }

static void first_pass(const float *v, size_t count, piece *p) {
  *p = (piece){.least = INFINITY, .most = -INFINITY};
  for (size_t i = 0; i < count; i++) {
    if (!is_finite(v[i])) continue;
    p->finite++;
    p->sum += (double)v[i];
    p->zeros += v[i] == 0;
    p->sparse += fabs((double)v[i]) < SPARSE_BELOW;
    p->least = v[i] < p->least ? v[i] : p->least;
    p->most = v[i] > p->most ? v[i] : p->most;
  }
}

static void second_pass(const float *v, size_t count, double mean, piece *p) {
  for (size_t i = 0; i < count; i++) {
    if (!is_finite(v[i])) continue;
    const double d = (double)v[i] - mean, square = d * d;
    p->second += square;
    p->fourth += square * square;
  }
}

static void first_body(void *arg, size_t begin, size_t end, size_t t) {
  const survey *s = arg;
  (void)t;
  for (size_t at = begin; at < end; at += PIECE)
    first_pass(s->values + at, end - at < PIECE ? end - at : PIECE, &s->pieces[at / PIECE]);
}

static void second_body(void *arg, size_t begin, size_t end, size_t t) {
  const survey *s = arg;
  (void)t;
  for (size_t at = begin; at < end; at += PIECE)
    second_pass(s->values + at, end - at < PIECE ? end - at : PIECE, s->mean, &s->pieces[at / PIECE]);
}

/* Adds b to a: in pairs, then pairs of pairs. */
static void merge(piece *a, const piece *b) {
  a->sum += b->sum;
  a->second += b->second;
  a->fourth += b->fourth;
  a->finite += b->finite;
  a->zeros += b->zeros;
  a->sparse += b->sparse;
  a->least = b->least < a->least ? b->least : a->least;
  a->most = b->most > a->most ? b->most : a->most;
}

static piece fold(const piece *pieces, size_t count) {
  if (count == 1) return pieces[0];
  piece left = fold(pieces, count / 2), right = fold(pieces + count / 2, count - count / 2);
  merge(&left, &right);
  return left;
}

/* Once absmax and the range are known: shares and places. */
typedef struct bins {
  uint64_t magnitudes[BINS], relative_sparse;
} bins;

static void third_pass(const survey *s, const viva_distribution_stats *stats, bins *b, uint64_t *histogram) {
  const double width = (stats->max_val - stats->min_val) / VIVA_HISTOGRAM_BINS;
  const double below = stats->absmax / RELATIVE_BELOW;
  for (size_t i = 0; i < s->count; i++) {
    if (!is_finite(s->values[i])) continue;
    const double v = (double)s->values[i];
    const double at = width > 0 ? (v - stats->min_val) / width : 0;
    histogram[at < VIVA_HISTOGRAM_BINS - 1 ? (size_t)at : VIVA_HISTOGRAM_BINS - 1]++;
    b->magnitudes[(f32_bits(s->values[i]) & 0x7fffffffu) >> BIN_SHIFT] += v != 0;
    b->relative_sparse += fabs(v) < below;
  }
}

/* The low end of the bin in which the share is reached. */
static double low_magnitude(const bins *b, uint64_t nonzero) {
  uint64_t seen = 0;
  for (size_t i = 0; i < BINS; i++) {
    seen += b->magnitudes[i];
    if (seen * LOW_SHARE >= nonzero && seen > 0) return (double)f32_from_bits((uint32_t)(i << BIN_SHIFT | (i == 0)));
  }
  return 0;
}

static void describe(const piece *all, viva_distribution_stats *d) {
  const double n = (double)all->finite;
  d->count = all->finite;
  d->zeros = all->zeros;
  d->mean = all->sum / n;
  d->min_val = (double)all->least;
  d->max_val = (double)all->most;
  d->absmax = fmax(fabs(d->min_val), fabs(d->max_val));
  d->dynamic_range = d->min_val != 0 ? fabs(d->max_val / d->min_val) : fabs(d->max_val);
  d->sparsity = (double)all->sparse / n;
}

static void describe_moments(const piece *all, viva_distribution_stats *d) {
  const double n = (double)all->finite, variance = all->second / n;
  d->std = sqrt(variance);
  d->kurtosis = variance > 0 ? all->fourth / n / (variance * variance) : 0;
}

/* The pieces and the bins have memory. */
static void survey_all(survey *s, pool *threads, bins *b, viva_distribution_stats *d) {
  pool_for(threads, s->count, PIECE, first_body, s);
  piece all = fold(s->pieces, s->piece_count);
  d->nonfinite = s->count - all.finite;
  if (all.finite == 0) return;
  describe(&all, d);
  s->mean = d->mean;
  pool_for(threads, s->count, PIECE, second_body, s);
  all = fold(s->pieces, s->piece_count);
  describe_moments(&all, d);
  third_pass(s, d, b, d->histogram);
  d->relative_sparsity = (double)b->relative_sparse / (double)d->count;
  d->low_magnitude = low_magnitude(b, d->count - d->zeros);
  d->magnitude_range = d->low_magnitude > 0 ? d->absmax / d->low_magnitude : 0;
}

viva_status distribution_of(const coder *c, const float *values, size_t count, viva_distribution_stats *d,
                            viva_error *error) {
  *d = (viva_distribution_stats){.size = sizeof *d};
  survey s = {values, count, NULL, count / PIECE + (count % PIECE != 0), 0};
  if (count == 0) return VIVA_OK;
  bins *b = mem_zalloc(&c->rt->mem, sizeof *b);
  s.pieces = mem_array(&c->rt->mem, s.piece_count, sizeof *s.pieces);
  const int failed = !b || !s.pieces;
  if (!failed) survey_all(&s, c->pool, b, d);
  mem_free(&c->rt->mem, s.pieces);
  mem_free(&c->rt->mem, b);
  return failed ? error_set(error, VIVA_E_MEMORY, "no memory for the statistics of %zu values", count) : VIVA_OK;
}

viva_status viva_analyze(viva_engine *engine, const viva_tensor *tensor, viva_distribution_stats *stats,
                         viva_error *error) {
  if (!engine || !tensor) return error_set(error, VIVA_E_ARGUMENT, "%s is NULL", engine ? "tensor" : "engine");
  const coder c = {.rt = engine->rt, .pool = engine->pool};
  viva_distribution_stats filled;
  flat_values flat;
  TRY(flat_open(tensor, engine->rt, &flat, error));
  const viva_status status = distribution_of(&c, flat.values, flat.count, &filled, error);
  flat_close(&flat);
  return status == VIVA_OK ? options_fill(stats, &filled, "viva_distribution_stats", error) : status;
}
