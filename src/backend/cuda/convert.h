/* backend/cuda/convert.h: the small kernels around products: weights into the order of pack/gemv_order.h, codes of rows into
 * FP16, what is left to do with sums that a product's kernel has written. Each queues on a stream (cudaStream_t) and
 * returns 0 or a cudaError_t. Pointers are the device's. */
#ifndef CUDA_CONVERT_H
#define CUDA_CONVERT_H

#include "backend/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* w (a host struct, the device's data; not F32) to gemv_order_of(w).bytes at to, as gemv_order_tiles makes it. */
int convert_order_weight(const weight *w, void *to, void *stream);

/* scales[r] = what the sums of row r are multiplied with, as weight_row_scale gives it, as FP32 [rows]. */
int convert_row_scales(const weight *w, float *scales, void *stream);

typedef enum convert_codes { CONVERT_E4M3 = 0, CONVERT_INT8 = 1 } convert_codes;

/* to [m][to_stride] FP16 = the codes [m][k], contiguous. to_stride ≥ k. */
int convert_codes_to_f16(convert_codes type, const void *codes, int m, int k, void *to, size_t to_stride, void *stream);

typedef struct convert_finish_args {
  const float *sums; /* [m][n], contiguous */
  int m, n;
  activation act;
  const float *residual; /* [m][y_stride] or NULL */
  float *y;              /* [m][y_stride]; may be residual, not sums */
  size_t y_stride;
} convert_finish_args;

/* y = act(sums) + residual */
int convert_finish(const convert_finish_args *args, void *stream);

/* Reads bytes (whole words of 16) once, as fast as the memory gives them; their exclusive or to sink [16 bytes]. */
int convert_read_memory(int blocks, const void *dev, size_t bytes, void *sink, void *stream);

/* One thread reads so many words, each the index of the next, from words[0] on; the last to sink [8 bytes]. */
int convert_chase(const uint64_t *words, size_t reads, void *sink, void *stream);

/* Words of 16 bytes from the host's pinned memory to the device's: the beginning of a captured step. */
int convert_fetch(const void *host, void *dev, size_t words, void *stream);

/* logits [rows][n], each row to where to[row] (in the device's memory) says: the end of a captured step. n a multiple of 4, all
 * places 16-byte aligned, or slower. */
int convert_put(const float *logits, float *const *to, size_t rows, size_t n, void *stream, int dependent);

#ifdef __cplusplus
}
#endif
#endif
