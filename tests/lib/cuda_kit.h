/* tests/lib/cuda_kit.h: the CUDA backend beside the CPU's plain reference, and a step that both can run. */
#ifndef TESTS_CUDA_KIT_H
#define TESTS_CUDA_KIT_H

#include "lib/paged_kit.h"

/* NULL in a build without CUDA. */
extern const backend_ops backend_cuda __attribute__((weak));

enum { CUDA_KIT_BLOCKS = 64 };

typedef struct cuda_kit {
  cpu_kit cpu; /* the reference table */
  backend *b;
  const backend_ops *ops;
  void *blocks[CUDA_KIT_BLOCKS]; /* the device's, since the last drop */
  size_t block_count;
} cuda_kit;

/* 77 (after the reason on stderr) when there is no CUDA backend or device, else 0. Steps of up to `rows` rows, `context`
 * positions and `width` features then need no more memory. */
int cuda_kit_open(cuda_kit *k, size_t rows, size_t context, size_t width);
void cuda_kit_close(cuda_kit *k);

/* The device's copy of bytes (host NULL: its bytes are 0xff), until the next drop. */
void *cuda_kit_put(cuda_kit *k, const void *host, size_t bytes);
void cuda_kit_get(cuda_kit *k, void *host, const void *dev, size_t bytes);
void cuda_kit_drop(cuda_kit *k);

/* A weight of the host's memory on the device. */
weight cuda_kit_weight(cuda_kit *k, const weight *w);

/* Fails unless every value has the same bits, or is NaN on both sides. */
void cuda_kit_same(const char *what, const float *cpu, const float *gpu, size_t count);
/* Fails unless |cpu − gpu| ≤ bound(i), or both are NaN, or equal. Returns the largest share of its bound that a difference
 * takes. */
double cuda_kit_near(const char *what, const float *cpu, const float *gpu, size_t count,
                     double (*bound)(const void *arg, size_t i), const void *arg);

/* -- steps: pages of both sides, which begin with the same bytes; the device's lie in memory in falling order */

typedef struct cuda_step {
  paged_kit pages; /* the host's */
  size_t rotary;
  batch cpu, host, gpu; /* the CPU's; the device's before and after step_begin */
  char *far;            /* dev: all pages */
  char *blocks[2];      /* what cpu and host lie in */
} cuda_step;

/* The last half of each span's rows is kept. cos_sin: of angles position / (i + 1). fill: the pages' positions up to the rows'
 * last hold values; else, and beyond, NaN. Ends with cuda_kit_step_end, before the next drop. */
cuda_step cuda_kit_step_begin(cuda_kit *k, head_shape h, kv_type type, size_t layers, size_t rotary,
                              const kit_range *ranges, size_t count, int fill);
void cuda_kit_step_end(cuda_kit *k, cuda_step *s);
size_t cuda_step_page_bytes(const cuda_step *s);

#endif
