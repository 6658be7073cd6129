/* lab/lab.h: what the oracles, which are C, and the programs, which are CUDA, share. */
#ifndef LAB_LAB_H
#define LAB_LAB_H

#include "pack/gemv_order.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One way to hold a weight. */
typedef struct lab_format {
  const char *name;
  weight_format format;
  uint32_t block;
  scale_type scale;
  int search; /* NVFP4: nvfp4_search */
  int pairs;
} lab_format;

extern const lab_format lab_formats[];
extern const int lab_format_count;

/* A random weight in all its forms. */
typedef struct lab_weight {
  weight w;     /* into packed */
  void *packed; /* pack_measure's bytes */
  size_t packed_bytes;
  void *ordered; /* gemv_order_of(&w).bytes */
  float *source; /* [n][k] before packing */
  float *values; /* [n][k] what the packed form stands for */
} lab_weight;

lab_weight lab_weight_make(const lab_format *format, size_t n, size_t k, uint64_t seed);
void lab_weight_free(lab_weight *w);

/* Normal deviates, the same for a seed. */
void lab_normal(float *to, size_t count, uint64_t seed);
uint16_t lab_f16(float v);
float lab_from_f16(uint16_t code);

/* Σ w[k] x[k] in FP64, and Σ |w[k] x[k]|. */
double lab_dot(const float *w, const uint16_t *x, size_t k, double *absolute);

#ifdef __cplusplus
}
#endif

#endif
