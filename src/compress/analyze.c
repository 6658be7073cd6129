/* compress/analyze.c: chooses a format: the smallest candidate whose error is within the bound.
 *
 * A candidate's error is predicted by compressing a sample with it (sample.h), with the tensor's own global scale. Nothing here
 * depends on the data's scale but through its largest magnitude, by which everything is divided.
 */
#include <math.h>

#include "base/error.h"
#include "base/options.h"
#include "compress/sample.h"
#include "engine/engine.h"
#include "number/number.h"
#include "tensor/tensor.h"

#define SAMPLE_VALUES ((size_t)1 << 18)
#define GLANCE_VALUES ((size_t)1 << 15)
#define GLANCE_SURE   1.25 /* times the bound: 128 runs give the mean error of data in one piece to a few percent */
#define SEED_SPARSE   0.5
#define SEED_RANGE    1000
#define SCALE_BITS    64 /* of an affine block: scale and zero point */

/* With rising bits for each value. */
static const struct {
  const char *name;
  viva_codec codec;
  uint32_t block, bits;
  int symmetric;
} table[VIVA_FORMAT_CANDIDATES] = {
    {"affine 2 bits / 128", VIVA_CODEC_AFFINE, 128, 2, 0},
    {"affine 3 bits / 128", VIVA_CODEC_AFFINE, 128, 3, 0},
    {"nvfp4", VIVA_CODEC_NVFP4, 16, 4, 0},
    {"affine 4 bits / 64", VIVA_CODEC_AFFINE, 64, 4, 0},
    {"affine 5 bits / 64", VIVA_CODEC_AFFINE, 64, 5, 0},
    {"affine 6 bits / 64", VIVA_CODEC_AFFINE, 64, 6, 0},
    {"affine 7 bits / 64", VIVA_CODEC_AFFINE, 64, 7, 0},
    {"affine 8 bits / 64", VIVA_CODEC_AFFINE, 64, 8, 0},
    {"int8 / 32", VIVA_CODEC_AFFINE, 32, 8, 1},
};

static double bits_per_value(size_t i) {
  const double scale = table[i].codec == VIVA_CODEC_NVFP4 ? 8 : SCALE_BITS;
  return table[i].bits + scale / table[i].block;
}

viva_analyze_options viva_analyze_options_default(void) {
  return (viva_analyze_options){.size = sizeof(viva_analyze_options), .max_error_pct = 2.0};
}

static viva_status read_options(const viva_analyze_options *given, viva_analyze_options *o, viva_error *error) {
  *o = viva_analyze_options_default();
  TRY(options_read(o, given, "viva_analyze_options", error));
  const char *bad = NULL;
  if (o->rule != VIVA_ANALYZE_BOUND && o->rule != VIVA_ANALYZE_SEED_RULE) bad = "rule";
  if (o->error < VIVA_MEASURE_MEAN || o->error > VIVA_MEASURE_RMS) bad = "error";
  if (!(o->max_error_pct > 0) || isinf(o->max_error_pct)) bad = "max_error_pct";
  if (!bad) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "%s is out of range; the error bound must be a finite number above 0", bad);
  return error_option(error, VIVA_E_ARGUMENT, bad);
}

/* -- prediction */

static viva_compression_config candidate_config(size_t i, const viva_analyze_options *o) {
  viva_compression_config config = viva_nvfp4_config();
  config.codec = table[i].codec;
  config.block_size = table[i].block;
  config.bits_per_value = table[i].bits;
  config.symmetric = table[i].symmetric;
  config.max_error_pct = o->max_error_pct;
  config.error = o->error;
  return config;
}

/* Adds the errors of count values, `times` over, to *sums. */
static viva_status add_errors(const coder *c, const float *values, size_t count, double times, error_sums *sums,
                              viva_error *error) {
  const float unit = error_unit(c->config.global_scale); /* the tensor's largest magnitude */
  segment s;
  error_sums part;
  if (count == 0) return VIVA_OK;
  TRY(segment_encode(c, values, count, 0, NULL, &s, error));
  const viva_status status = segment_errors(&s, c, values, unit, &part, error);
  sums->absolute += times * part.absolute;
  sums->square += times * part.square;
  sums->signal += times * part.signal;
  if (part.largest > sums->largest) sums->largest = part.largest;
  mem_free(&c->rt->mem, s.data);
  return status;
}

static viva_status predict(const coder *like, const sample *from, float absmax, viva_format_candidate *to,
                           viva_error *error) {
  coder c;
  error_sums sums = {0};
  viva_compression_config config = to->config;
  config.global_scale = absmax;
  config.max_error_pct = 0; /* add_errors measures */
  TRY(coder_make(&config, 0, like->rt, like->pool, &c, error));
  TRY(add_errors(&c, from->values.values, from->loud, 1, &sums, error));
  TRY(add_errors(&c, from->values.values + from->loud, from->values.count - from->loud, from->weight, &sums, error));
  to->error_pct = error_percent(&sums, from->of, error_unit(absmax), absmax, to->config.error);
  to->sqnr_db = decibels(sums.signal, sums.square);
  return VIVA_OK;
}

static void describe_candidate(size_t i, const viva_analyze_options *o, viva_format_candidate *to) {
  *to = (viva_format_candidate){.size = sizeof *to,
                                .name = table[i].name,
                                .config = candidate_config(i, o),
                                .bits_per_value = bits_per_value(i),
                                .sqnr_db = INFINITY};
}

/* What all predictions share. */
typedef struct prediction {
  coder c;
  sample sample;
  float absmax;
} prediction;

static viva_status predict_open(viva_engine *engine, const flat_values *flat, const viva_analyze_options *o,
                                prediction *p, viva_error *error) {
  int nonfinite = 0;
  p->sample = (sample){.values.rt = engine->rt};
  p->c = (coder){.rt = engine->rt, .pool = engine->pool, .kernels = compress_kernels_best()};
  p->absmax = f32_absmax_n(flat->values, flat->count, &nonfinite);
  if (nonfinite)
    return error_set(error, VIVA_E_NUMERIC, "value %zu is NaN or infinite: no format is chosen for such data",
                     f32_find_nonfinite_n(flat->values, flat->count));
  const size_t wanted = o->error == VIVA_MEASURE_LARGEST ? SIZE_MAX : o->sample ? (size_t)o->sample : SAMPLE_VALUES;
  return sample_take(flat, wanted, wanted / 2, engine->pool, &p->sample, error);
}

static viva_status predict_one(const prediction *p, size_t i, const viva_analyze_options *o, viva_format_candidate *to,
                               viva_error *error) {
  describe_candidate(i, o, to);
  return p->absmax == 0 ? VIVA_OK : predict(&p->c, &p->sample, p->absmax, to, error);
}

static viva_status need(const viva_engine *engine, const viva_tensor *tensor, viva_error *error) {
  if (engine && tensor) return VIVA_OK;
  return error_set(error, VIVA_E_ARGUMENT, "%s is NULL", engine ? "tensor" : "engine");
}

viva_status viva_analyze_candidates(viva_engine *engine, const viva_tensor *tensor, const viva_analyze_options *options,
                                    viva_format_candidate *candidates, viva_error *error) {
  viva_analyze_options o;
  flat_values flat;
  prediction p;
  TRY(need(engine, tensor, error));
  if (!candidates) return error_set(error, VIVA_E_ARGUMENT, "candidates is NULL");
  TRY(read_options(options, &o, error));
  const size_t size = candidates[0].size; /* of each: they lie that far apart in a client of another age */
  TRY(flat_open(tensor, engine->rt, &flat, error));
  viva_status status = predict_open(engine, &flat, &o, &p, error);
  for (size_t i = 0; i < VIVA_FORMAT_CANDIDATES && status == VIVA_OK; i++) {
    viva_format_candidate one;
    status = predict_one(&p, i, &o, &one, error);
    if (status == VIVA_OK) status = options_fill((char *)candidates + i * size, &one, "viva_format_candidate", error);
  }
  sample_release(&p.sample);
  flat_close(&flat);
  return status;
}

/* -- choice */

static viva_status by_seed_rule(const coder *c, const flat_values *flat, const viva_tensor *tensor,
                                viva_compressed **out, viva_error *error) {
  viva_distribution_stats d;
  coder chosen;
  TRY(distribution_of(c, flat->values, flat->count, &d, error));
  const int wide = !(d.sparsity > SEED_SPARSE) && d.dynamic_range > SEED_RANGE;
  const viva_compression_config config = wide ? viva_int8_config() : viva_nvfp4_config();
  TRY(coder_make(&config, 0, c->rt, c->pool, &chosen, error));
  return compress_flat(&chosen, flat, tensor->rank, tensor->shape, out, error);
}

/* Compresses with a configuration; *out stays NULL when the bound is missed. */
static viva_status try_config(const coder *c, const viva_compression_config *config, const flat_values *flat,
                              const viva_tensor *tensor, viva_compressed **out, viva_error *error) {
  coder chosen;
  viva_compressed_desc info = {.size = sizeof info};
  TRY(coder_make(config, 0, c->rt, c->pool, &chosen, error));
  TRY(compress_flat(&chosen, flat, tensor->rank, tensor->shape, out, error));
  TRY(viva_compressed_info(*out, &info, error));
  if (info.bound_met) return VIVA_OK;
  viva_compressed_release(*out);
  *out = NULL;
  return VIVA_OK;
}

/* A few values first: most candidates are far from the bound on one side or the other. */
typedef struct glance {
  prediction few;
  int helps; /* 0: the mean is not what is bounded, and what is hangs on single blocks; or the data are few anyway */
} glance;

static viva_status glance_open(const prediction *p, const flat_values *flat, const viva_analyze_options *o, glance *g,
                               viva_error *error) {
  *g = (glance){*p, o->error == VIVA_MEASURE_MEAN && p->sample.values.count > 2 * GLANCE_VALUES};
  g->few.sample = (sample){.values.rt = p->c.rt};
  return g->helps ? sample_take(flat, GLANCE_VALUES, 0, NULL, &g->few.sample, error) : VIVA_OK;
}

/* one->error_pct: good enough to tell whether it is within the bound. */
static viva_status predict_bound(const prediction *p, const glance *g, size_t i, const viva_analyze_options *o,
                                 viva_format_candidate *one, viva_error *error) {
  if (g->helps) {
    TRY(predict_one(&g->few, i, o, one, error));
    if (one->error_pct > o->max_error_pct * GLANCE_SURE || one->error_pct < o->max_error_pct / GLANCE_SURE)
      return VIVA_OK;
  }
  return predict_one(p, i, o, one, error);
}

static viva_status first_within(const prediction *p, const glance *g, const viva_analyze_options *o,
                                const flat_values *flat, const viva_tensor *tensor, viva_compressed **out,
                                viva_error *error) {
  viva_format_candidate one;
  for (size_t i = 0; i < VIVA_FORMAT_CANDIDATES; i++) {
    TRY(predict_bound(p, g, i, o, &one, error));
    if (one.error_pct > o->max_error_pct) continue;
    TRY(try_config(&p->c, &one.config, flat, tensor, out, error));
    if (*out) return VIVA_OK;
  }
  viva_compression_config widest = candidate_config(VIVA_FORMAT_CANDIDATES - 2, o); /* 8 bits, then more */
  widest.bound = VIVA_COMPRESS_FIT;
  return try_config(&p->c, &widest, flat, tensor, out, error);
}

static viva_status by_bound(const prediction *p, const viva_analyze_options *o, const flat_values *flat,
                            const viva_tensor *tensor, viva_compressed **out, viva_error *error) {
  glance g;
  TRY(glance_open(p, flat, o, &g, error));
  const viva_status status = first_within(p, &g, o, flat, tensor, out, error);
  sample_release(&g.few.sample);
  return status;
}

viva_status viva_analyze_and_compress(viva_engine *engine, const viva_tensor *tensor,
                                      const viva_analyze_options *options, viva_compressed **compressed,
                                      viva_error *error) {
  viva_analyze_options o;
  flat_values flat;
  prediction p;
  if (!compressed) return error_set(error, VIVA_E_ARGUMENT, "compressed is NULL; expected a place for the handle");
  *compressed = NULL;
  TRY(need(engine, tensor, error));
  TRY(read_options(options, &o, error));
  TRY(flat_open(tensor, engine->rt, &flat, error));
  viva_status status = predict_open(engine, &flat, &o, &p, error);
  if (status == VIVA_OK && o.rule == VIVA_ANALYZE_SEED_RULE)
    status = by_seed_rule(&p.c, &flat, tensor, compressed, error);
  else if (status == VIVA_OK)
    status = by_bound(&p, &o, &flat, tensor, compressed, error);
  sample_release(&p.sample);
  flat_close(&flat);
  return status;
}
