/* compress/statistics.c: how far a compressed tensor is from its original. */
#include <math.h>

#include "base/error.h"
#include "base/options.h"
#include "compress/compress_inner.h"
#include "engine/engine.h"
#include "number/math_f64.h"
#include "number/number.h"
#include "tensor/tensor.h"

#define LN_10 2.302585092994045684

double decibels(double signal, double noise) {
  if (!(noise > 0)) return noise == 0 ? INFINITY : NAN;
  if (!(signal > 0)) return -INFINITY;
  return 10 / LN_10 * (math_log(signal) - math_log(noise));
}

static viva_status same_shape(const viva_tensor *t, const viva_compressed *c, viva_error *error) {
  int same = t->rank == c->rank && t->elements == c->elements;
  for (uint32_t i = 0; same && i < t->rank; i++) same = t->shape[i] == c->shape[i];
  if (same) return VIVA_OK;
  return error_set(error, VIVA_E_SIZE,
                   "the original has rank %u and %zu values, the compressed tensor rank %u and %llu", (unsigned)t->rank,
                   t->elements, (unsigned)c->rank, (unsigned long long)c->elements);
}

/* Segments differ in their units: sums are brought to values, or (squares of very large and small ones) to the tensor's own
 * unit. */
static viva_status sum_errors(const viva_compressed *c, const coder *tools, const float *values, float unit,
                              error_sums *all, viva_error *error) {
  *all = (error_sums){0};
  for (size_t i = 0; i < c->count; i++) {
    const segment *s = &c->segments[i];
    error_sums sums;
    int nonfinite = 0;
    const float own =
        error_unit(f32_absmax_n(values, s->grid.values, &nonfinite)); /* a given scale may be far from it */
    TRY(segment_errors(s, tools, values, own, &sums, error));
    const double factor = (double)own / (double)unit;
    all->absolute += sums.absolute * factor;
    all->square += sums.square * factor * factor;
    all->signal += sums.signal * factor * factor;
    if (sums.largest * factor > all->largest) all->largest = sums.largest * factor;
    values += s->grid.values;
  }
  return VIVA_OK;
}

static void fill_errors(const error_sums *sums, size_t count, float unit, float absmax, viva_compression_stats *to) {
  if (count == 0) return;
  const double u = (double)unit, n = (double)count;
  to->mean_error = u * (sums->absolute / n);
  to->max_error = u * sums->largest;
  to->rms_error = u * sqrt(sums->square / n);
  to->sqnr_db = decibels(sums->signal, sums->square);
  to->mean_error_pct = error_percent(sums, count, unit, absmax, VIVA_MEASURE_MEAN);
  to->max_error_pct = error_percent(sums, count, unit, absmax, VIVA_MEASURE_LARGEST);
  to->rms_error_pct = error_percent(sums, count, unit, absmax, VIVA_MEASURE_RMS);
}

viva_status viva_compression_statistics(viva_engine *engine, const viva_tensor *original,
                                        const viva_compressed *compressed, viva_compression_stats *stats,
                                        viva_error *error) {
  if (!engine || !original || !compressed)
    return error_set(error, VIVA_E_ARGUMENT, "%s is NULL", !engine ? "engine" : !original ? "original" : "compressed");
  TRY(same_shape(original, compressed, error));
  viva_compressed_desc info = {.size = sizeof info};
  viva_compression_stats filled = {.size = sizeof filled};
  coder tools = {.rt = engine->rt, .pool = engine->pool, .kernels = compress_kernels_best()};
  flat_values flat;
  error_sums sums;
  TRY(viva_compressed_info(compressed, &info, error));
  filled.original_bytes = 4 * info.num_elements;
  filled.compressed_bytes = info.memory_bytes;
  filled.compression_ratio = info.compression_ratio;
  filled.blocks_processed = info.blocks;
  filled.sqnr_db = INFINITY;
  TRY(flat_open(original, engine->rt, &flat, error));
  int nonfinite = 0;
  const float absmax = f32_absmax_n(flat.values, flat.count, &nonfinite), unit = error_unit(absmax);
  const viva_status status = sum_errors(compressed, &tools, flat.values, unit, &sums, error);
  if (status == VIVA_OK) fill_errors(&sums, flat.count, unit, absmax, &filled);
  flat_close(&flat);
  return status == VIVA_OK ? options_fill(stats, &filled, "viva_compression_stats", error) : status;
}
