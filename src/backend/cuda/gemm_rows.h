/* gemm_rows.h: rows of activations as the large products take them. */
#ifndef CUDA_GEMM_ROWS_H
#define CUDA_GEMM_ROWS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum rows_type { ROWS_F16 = 0, ROWS_BF16 = 1, ROWS_F32 = 2 } rows_type;

/* What becomes of a row: code = nearest even of x / scale.
 *
 *   E4M3  scale = absmax / 448      INT8  absmax / 127      INT4  absmax / 7, in bytes      1 for a row of zeros
 *   F16   scale 1, or for a row that F16 cannot hold the power of two that brings its absmax below 2^15
 *
 * A row with a NaN or an infinity gets the scale NaN and zeros, so that every output of it is NaN. */
typedef enum rows_codes { ROWS_TO_E4M3 = 0, ROWS_TO_INT8 = 1, ROWS_TO_F16 = 2, ROWS_TO_INT4 = 3 } rows_codes;

/* x [m][k], rows stride elements apart; codes [m][k], contiguous; scales [m]. Device memory. Queues on a stream
 * (cudaStream_t). 0, or a cudaError_t. */
int gemm_rows(rows_type type, const void *x, size_t stride, int m, int k, rows_codes to, void *codes, float *scales,
              void *stream);

/* The same as a programmatic dependent launch (sm_90 on), which may start while the kernel before it ends. */
int gemm_rows_dependent(rows_type type, const void *x, size_t stride, int m, int k, rows_codes to, void *codes,
                        float *scales, void *stream);

#ifdef __cplusplus
}
#endif
#endif
