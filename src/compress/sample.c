/* compress/sample.c: which runs of a tensor's values stand for all. */
#include "compress/sample.h"

#include "base/error.h"
#include "number/number.h"

#define BINS 65536 /* 16 bits of a magnitude */

/* Bits of the largest magnitude of each run: they rise with it. */
typedef struct loudness {
  const float *values;
  uint32_t *of_run; /* [runs] */
  uint32_t *bins;   /* [BINS] */
  size_t runs;
} loudness;

static void measure_body(void *arg, size_t begin, size_t end, size_t t) {
  const loudness *l = arg;
  (void)t;
  for (size_t r = begin; r < end; r++) {
    int nonfinite = 0;
    l->of_run[r] = f32_bits(f32_absmax_n(l->values + r * SAMPLE_RUN, SAMPLE_RUN, &nonfinite));
  }
}

/* What `most` runs are above; fewer where some are equal. The upper 16 bits are found first. */
static uint32_t find_threshold(const loudness *l, size_t most) {
  uint32_t found = 0;
  size_t above = 0;
  for (int shift = 16; shift >= 0; shift -= 16) {
    memset(l->bins, 0, BINS * sizeof *l->bins);
    for (size_t r = 0; r < l->runs; r++)
      if (shift == 16 || l->of_run[r] >> 16 == found) l->bins[l->of_run[r] >> shift & (BINS - 1)]++;
    uint32_t bin = BINS - 1;
    while (bin > 0 && above + l->bins[bin] <= most) above += l->bins[bin--];
    found = found << 16 | bin;
  }
  return found;
}

/* Runs above the threshold, in their order. Returns where the next one goes. */
static float *copy_loud(const loudness *l, uint32_t threshold, float *to) {
  for (size_t r = 0; r < l->runs; r++)
    if (l->of_run[r] > threshold) {
      memcpy(to, l->values + r * SAMPLE_RUN, SAMPLE_RUN * sizeof *to);
      to += SAMPLE_RUN;
    }
  return to;
}

/* `wanted` of the `others` runs that are not above it: number i · others / wanted for each i. */
static void copy_even(const loudness *l, uint32_t threshold, size_t others, size_t wanted, float *to) {
  size_t copied = 0, passed = 0;
  for (size_t r = 0; r < l->runs && copied < wanted; r++) {
    if (l->of_run[r] > threshold) continue;
    if (passed++ != (size_t)((double)copied * (double)others / (double)wanted)) continue;
    memcpy(to + copied++ * SAMPLE_RUN, l->values + r * SAMPLE_RUN, SAMPLE_RUN * sizeof *to);
  }
}

/* The values after the last whole run are always there, as the end of the loud ones. */
static void choose(const loudness *l, size_t runs, size_t loud, float *to, sample *s) {
  const uint32_t threshold = loud > 0 ? find_threshold(l, loud) : UINT32_MAX;
  const size_t left = s->of % SAMPLE_RUN, above = (size_t)(copy_loud(l, threshold, to) - to),
               rest = runs - above / SAMPLE_RUN;
  memcpy(to + above, l->values + (s->of - left), left * sizeof *to);
  s->loud = above + left;
  copy_even(l, threshold, l->runs - above / SAMPLE_RUN, rest, to + s->loud);
  s->weight = (double)(s->of - s->loud) / (double)(rest * SAMPLE_RUN);
}

viva_status sample_take(const flat_values *flat, size_t wanted, size_t loud, pool *threads, sample *s,
                        viva_error *error) {
  const size_t runs = wanted / SAMPLE_RUN + 1, left = flat->count % SAMPLE_RUN;
  mem *m = &flat->rt->mem;
  *s = (sample){{flat->rt, flat->values, NULL, flat->count}, flat->count, 1, flat->count};
  loudness l = {.values = flat->values, .runs = flat->count / SAMPLE_RUN};
  if (l.runs <= runs) return VIVA_OK;
  l.of_run = mem_array(m, l.runs + BINS, sizeof *l.of_run);
  float *to = mem_array(m, runs * SAMPLE_RUN + left, sizeof *to);
  if (l.of_run && to) {
    l.bins = l.of_run + l.runs;
    if (loud > 0) pool_for(threads, l.runs, GRAIN_VALUES / SAMPLE_RUN, measure_body, &l);
    choose(&l, runs, loud / SAMPLE_RUN, to, s);
    s->values = (flat_values){flat->rt, to, to, runs * SAMPLE_RUN + left};
  } else {
    mem_free(m, to);
  }
  mem_free(m, l.of_run);
  if (s->values.owned) return VIVA_OK;
  return error_set(error, VIVA_E_MEMORY, "no memory for a sample of %zu values", runs * SAMPLE_RUN);
}

void sample_release(sample *s) { flat_close(&s->values); }
