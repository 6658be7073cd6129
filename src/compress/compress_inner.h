/* compress/compress_inner.h: what the files of this folder share: flat values, and compressing them. */
#ifndef COMPRESS_INNER_H
#define COMPRESS_INNER_H

#include "backend/backend.h"
#include "compress/compressed.h"

/* A tensor's values in FP32, row-major: the tensor's own memory where it is so, else a copy. */
typedef struct flat_values {
  runtime *rt;
  const float *values;
  float *owned; /* the copy, or NULL */
  size_t count;
} flat_values;

/* The tensor must outlive flat. Errors: E_DTYPE, E_MEMORY. */
viva_status flat_open(const viva_tensor *tensor, runtime *rt, flat_values *flat, viva_error *error);
void flat_close(flat_values *flat);

viva_status compress_flat(const coder *c, const flat_values *flat, uint32_t rank, const uint64_t *shape,
                          viva_compressed **out, viva_error *error);

viva_status distribution_of(const coder *c, const float *values, size_t count, viva_distribution_stats *d,
                            viva_error *error);

/* One ring of count words, step apart, in random order: a word is the index of the next. */
void memory_make_ring(uint64_t *words, size_t count, size_t step);
/* viva_measure_device_memory over so many bytes (a multiple of 128), of a backend whose memory is not the host's. */
viva_status memory_measure_device(backend *b, runtime *rt, size_t bytes,
                                  viva_measured_level levels[VIVA_MEASURED_DEVICE_LEVELS], viva_error *error);

/* 10 · log10(signal / noise): infinite without noise. */
double decibels(double signal, double noise);

#endif
