/* backend/cuda/cuda_kernels.h: every kernel that the host's side launches, as a table: those that were compiled, or a test's.
 * The launchers queue on a stream and return a cudaError_t as int. */
#ifndef CUDA_CUDA_KERNELS_H
#define CUDA_CUDA_KERNELS_H

#include "backend/cuda/convert.h"
#include "backend/cuda/gemm.h"
#include "backend/cuda/gemm_expand.h"
#include "backend/cuda/gemm_rows.h"
#include "backend/cuda/gemv.h"
#include "backend/cuda/pack_units.h"
#include "backend/cuda/persist.h"
#include "backend/cuda/step.h"
#include "backend/cuda/step_exchange.h"
#include "backend/cuda/step_row_angles.h"
#include "backend/cuda/step_tiles.h"

typedef struct cuda_gpu {
  int major, minor; /* compute capability */
  int multiprocessors;
  size_t shared_most; /* bytes that one block may have */
} cuda_gpu;

typedef struct cuda_kernels {
  /* convert.h */
  int (*order_weight)(const weight *w, void *to, void *stream);
  int (*row_scales)(const weight *w, float *scales, void *stream);
  int (*pack_rows)(const pack_units_args *a, void *stream);
  int (*codes_to_f16)(convert_codes type, const void *codes, int m, int k, void *to, size_t to_stride, void *stream);
  int (*finish)(const convert_finish_args *args, void *stream);
  int (*read_memory)(const cuda_gpu *gpu, const void *dev, size_t bytes, void *sink, void *stream);
  int (*chase)(const uint64_t *words, size_t reads, void *sink, void *stream);
  int (*fetch)(const void *host, void *dev, size_t words, void *stream);
  int (*put)(const float *logits, float *const *to, size_t rows, size_t n, void *stream, int dependent);
  /* products */
  int (*gemv)(const gemv_problem *p, const cuda_gpu *gpu, int dependent, void *stream); /* plan and launch */
  int (*gemv_norm_rows)(step_queue q, const gemv_norm *norm, int m, int k, uint16_t *rows);
  int (*gemv_exchange_rows)(step_queue q, const gemv_norm *norm, const step_exchange_args *e, int m, int k,
                            uint16_t *rows);
  int (*gemm)(const gemm_problem *p, const gemm_operands *o, int count, void *stream);
  int (*expand)(const weight *from, const expand_target *target, void *stream);
  int (*rows)(rows_type type, const void *x, size_t stride, int m, int k, rows_codes to, void *codes, float *scales,
              void *stream);
  int (*product)(step_queue q, const linear_args *a);
  /* step.h */
  int (*embed)(step_queue q, const weight *table, const viva_token *tokens, size_t m, float *out);
  int (*rmsnorm)(step_queue q, const step_rmsnorm_args *a);
  int (*silu_mul)(step_queue q, const step_silu_args *a);
  int (*take_rows)(step_queue q, const float *from, const uint32_t *rows, size_t count, size_t n, size_t stride,
                   float *to);
  int (*load_rows)(step_queue q, const outer_rows *from, size_t rows, size_t cols, float *to, size_t to_stride,
                   uint8_t *bad);
  int (*store_rows)(step_queue q, const step_store_args *a);
  int (*count_infinite)(step_queue q, viva_dtype dtype, const void *values, size_t count, unsigned long long *found);
  int (*rope_append)(step_queue q, const rope_append_args *a, const float *q_norm, const float *k_norm, float eps);
  int (*angles)(step_queue q, const batch_span *span, const batch_turn *turn, float *cos_sin);
  int (*row_angles)(step_queue q, const step_row_angles_args *a);
  int (*attention)(step_queue q, const attention_args *a, const step_half_rows *half, const step_work *work);
  int (*turn_attention)(step_queue q, const rope_append_args *turn, const float *q_norm, const float *k_norm, float eps,
                        const attention_args *a, const step_half_rows *half, const step_work *work);
  int (*turn_tiles)(step_queue q, const rope_append_args *turn, const attention_args *a, const step_half_rows *half,
                    const step_work *work, int *taken);
  int (*top)(step_queue q, const step_top_args *a, const step_work *work);
  int (*exchange)(step_queue q, const step_exchange_args *a);
  int (*exchange_sum)(step_queue q, const step_exchange_sum_args *a);
  int (*exchange_norm)(step_queue q, const step_exchange_sum_args *a, const exchange_norm *norm, size_t first);
  int (*exchange_wait)(step_queue q, const step_exchange_sum_args *a);
  /* persist.h */
  size_t (*persist_stage_bytes)(void);
  size_t (*persist_run_bytes)(void);
  size_t (*persist_work_bytes)(const persist_program *p);
  int (*persist_product)(const persist_program *p, size_t layer, persist_role role, const gemv_problem *problem,
                         void *stage, void *run);
  int (*persist_attention)(const persist_program *p, const rope_append_args *turn, const float *q_norm,
                           const float *k_norm, float eps, const attention_args *a, const step_half_rows *half,
                           void *stage);
  int (*persist_fits)(const persist_program *p, size_t shared_most);
  int (*persist_may_have_head)(const persist_program *p);
  int (*persist_launch)(const persist_program *p, const cuda_gpu *gpu, void *stream);
  int (*quantize_rows)(step_queue q, input_mode mode, const float *x, size_t x_stride, size_t m, size_t k, void *to);
  int (*rmsnorm_codes)(step_queue q, const step_rmsnorm_args *a, input_mode mode, void *to);
  int (*silu_codes)(step_queue q, const step_silu_args *a, input_mode mode, void *to);
} cuda_kernels;

extern const cuda_kernels cuda_kernels_compiled;

#endif
