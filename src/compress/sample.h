/* compress/sample.h: a tensor's sample, from which errors are predicted. */
#ifndef COMPRESS_SAMPLE_H
#define COMPRESS_SAMPLE_H

#include "compress/compress_inner.h"

#define SAMPLE_RUN 256 /* whole blocks of every candidate */

/* Whole runs of values, and those after the last whole one. With heavy tails a few runs have most of the signal and of the error: those are all there, first. */
typedef struct sample {
  flat_values values;
  size_t loud;   /* values that stand for themselves */
  double weight; /* how many of the tensor's values each of the others stands for */
  size_t of;     /* the tensor's values */
} sample;

/* About `wanted` values: the runs with the largest magnitudes, up to `loud` values, and others spread evenly over the rest; the
 * data themselves when there are not more. Errors: E_MEMORY. */
viva_status sample_take(const flat_values *flat, size_t wanted, size_t loud, pool *threads, sample *s,
                        viva_error *error);
void sample_release(sample *s);

#endif
