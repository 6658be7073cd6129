/* gemm_expand.h: weights as number/layout.h has them, made into what the large products take (gemm.h). On the device;
 * once, when the copy is kept, or before each product.
 *
 *   from                        EXPAND_F16                 EXPAND_INT8_24                        EXPAND_FP8
 *   FP8, a scale for a channel  codes, exact               –                                     –
 *   FP8 in blocks               code · scale / 2^e         –                                     –
 *   NVFP4                       code · scale, exact        –                                     requantised
 *   INT8 2:4                    codes, exact               codes and index apart, exact          –
 *   INT4 2:4, a scale for a ch. codes, exact               codes and index apart, exact          –
 *   INT4 2:4 in groups          code · scale / 2^e         requantised: one scale for a channel  –
 *
 * channel_scale is what a channel's sums are multiplied with afterwards: the channel's own scale, 2^e (the same for a
 * row, so that F16 holds its largest value), or the scale that requantising chose (largest magnitude / 127 or / 448).
 * NVFP4's number of the matrix is gemm_operands.scale. 2:4 chosen by pairs (weight.pairs) keeps its order of columns: x
 * follows it.
 */
#ifndef CUDA_GEMM_EXPAND_H
#define CUDA_GEMM_EXPAND_H

#include "pack/weight.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum expand_to {
  EXPAND_F16 = 0,     /* codes [rows][cols] F16 */
  EXPAND_INT8_24 = 1, /* codes [rows][cols/2] INT8, index [rows][cols/8]; cols a multiple of 64 */
  EXPAND_FP8 = 2      /* codes [rows][cols] E4M3 */
} expand_to;

typedef struct expand_target {
  expand_to to;
  void *codes;
  void *index;          /* EXPAND_INT8_24 */
  float *channel_scale; /* [rows] */
} expand_target;

/* Why a pair is refused, in words that complete "the expansion needs ..."; NULL when it runs. */
const char *gemm_expand_refusal(const weight *from, expand_to to);

/* from's pointers and target's are the device's. Queues on a stream (cudaStream_t). 0, or a cudaError_t. */
int gemm_expand(const weight *from, const expand_target *target, void *stream);

#ifdef __cplusplus
}
#endif
#endif
