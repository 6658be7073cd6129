/* backend/cuda/cuda.h: what the CUDA backend is inside. One engine, one GPU, one stream: operations are queued in the order
 * of the calls, whichever thread makes them, and the host waits only where it is given something (download, top, what a
 * store or packing found) or says so (upload_wait).
 *
 *   cuda_backend.c   devices, opening and closing, errors
 *   cuda_memory.c    memory and copies
 *   cuda_weights.c   second forms of weights: the order of pack/gemv_order.h
 *   cuda_pack.c      rows of weights packed there
 *   cuda_linear.c    products: which kernel runs which
 *   cuda_lt.c        large products by cuBLASLt
 *   cuda_outer.c     whole linear layers, from rows of the outside to rows of the outside
 *   cuda_step.c      the other operations
 *   cuda_decode.c    a whole step of few rows as one launch of a captured graph
 *
 * Everything that happens on the device goes through two tables, the runtime's (cuda_api.h) and the kernels'
 * (cuda_kernels.h), so that the host's side is tested where there is no GPU. */
#ifndef CUDA_CUDA_H
#define CUDA_CUDA_H

#include <pthread.h>

#include "backend/backend.h"
#include "backend/cuda/cuda_api.h"
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/cuda_lt.h"
#include "base/ck.h"
#include "base/error.h"
#include "base/runtime.h"

typedef struct decode_plan decode_plan; /* cuda_decode.c: of one decoder */

/* Device memory that grows: work space of operations. In-order, so one is enough for all threads. */
typedef struct cuda_room {
  void *dev;
  size_t bytes;
} cuda_room;

struct cuda_backend {
  backend base;
  runtime *rt;
  const cuda_api *api;
  const cuda_kernels *kernels;
  const library_loader *libraries; /* where cuBLASLt comes from */
  int device;
  cuda_gpu gpu;
  cudaStream_t stream;
  cudaMemPool_t pool;
  cudaEvent_t begin, end; /* of read_pass */

  pthread_mutex_t lock; /* held by each call while it queues */
  /* The rest is the lock's. */
  cudaError_t lost;    /* the first error that ended the device; cudaSuccess: it lives */
  char lost_where[32]; /* the call that met it */
  cuda_room rows;      /* F16 rows of the product under way, and their scales */
  cuda_room product;   /* its results before they are finished; parts of attention; candidates of top; packing's NaN */
  cuda_room expanded;  /* its weights in another form */
  cuda_room meet;      /* where parts of a product of few rows meet: gemm_operands.meet */
  cuda_room split;     /* counters, and what attention and top split over blocks */
  void *answers;       /* pinned, for what goes to the host */
  size_t answers_bytes;
  decode_plan *plans;
  cuda_lt lt;
  cuda_room lt_workspace;
};

static inline cuda_backend *cuda_of(backend *b) { return (cuda_backend *)(void *)b; }

/* Takes the lock and makes the device current. E_DEVICE when it is lost; then the lock is not held. */
viva_status cuda_enter(cuda_backend *c, viva_error *error);
/* Gives the lock back; returns status. */
viva_status cuda_leave(cuda_backend *c, viva_status status);

/* VIVA_OK, or the error of a call named where: E_MEMORY; E_DEVICE when the device is lost by it; else E_INTERNAL. With the
 * lock held. */
viva_status cuda_check(cuda_backend *c, cudaError_t status, const char *where, viva_error *error);

/* All operations go through this: body runs between enter and leave. */
#define CUDA_CALL(b, expression)                                                                                       \
  do {                                                                                                                 \
    TRY(cuda_enter(cuda_of(b), error));                                                                                \
    return cuda_leave(cuda_of(b), (expression));                                                                       \
  } while (0)

/* Grows a room to bytes; what it held is lost. E_MEMORY. With the lock held. */
viva_status cuda_room_fit(cuda_backend *c, cuda_room *room, size_t bytes, viva_error *error);
/* Pinned memory of the host's for answers. With the lock held. */
viva_status cuda_answers_fit(cuda_backend *c, size_t bytes, viva_error *error);

static inline size_t cuda_align(size_t bytes) { return (bytes + 255) & ~(size_t)255; }

/* The entries of the table. */
viva_status cuda_alloc(backend *b, size_t bytes, void **dev, viva_error *error);
viva_status cuda_free(backend *b, void *dev, viva_error *error);
viva_status cuda_upload(backend *b, void *dev, const void *host, size_t bytes, viva_error *error);
viva_status cuda_host_alloc(backend *b, size_t bytes, void **host, viva_error *error);
void cuda_host_free(backend *b, void *host);
viva_status cuda_upload_wait(backend *b, viva_error *error);
viva_status cuda_download(backend *b, void *host, const void *dev, size_t bytes, viva_error *error);
viva_status cuda_copy(backend *b, void *to, const void *from, size_t bytes, viva_error *error);
viva_status cuda_read_pass(backend *b, const void *dev, size_t bytes, double *seconds, viva_error *error);
viva_status cuda_chase(backend *b, const uint64_t *words, size_t reads, double *seconds, viva_error *error);
size_t cuda_weight_bytes(backend *b, const weight *group, size_t count);
viva_status cuda_weight_prepare(backend *b, weight *group, size_t count, void *dev, viva_error *error);
viva_status cuda_pack_rows(backend *b, const pack_spec *spec, size_t all_rows, size_t cols, void *to, size_t row,
                           size_t rows, const outer_rows *values, pack_place *bad, viva_error *error);
viva_status cuda_linear(backend *b, const linear_args *args, size_t count, viva_error *error);
viva_status cuda_linear_gated(backend *b, const linear_args *args, viva_error *error);
viva_status cuda_linear_outer(backend *b, const linear_outer_args *args, viva_error *error);
int cuda_takes_f16(backend *b, const linear_args *args, size_t count);
size_t cuda_quantized_bytes(backend *b, input_mode mode, size_t m, size_t k);
viva_status cuda_quantize_rows(backend *b, input_mode mode, const float *x, size_t x_stride, size_t m, size_t k,
                               void *to, viva_error *error);
viva_status cuda_step_begin(backend *b, const batch *host, void *place, batch *dev, viva_error *error);
viva_status cuda_step_end(backend *b, viva_error *error);
viva_status cuda_embed(backend *b, const weight *table, const viva_token *tokens, size_t m, float *out,
                       viva_error *error);
viva_status cuda_rmsnorm(backend *b, const float *x, float *y, size_t rows, size_t stride, size_t groups, size_t n,
                         const float *gain, float eps, viva_error *error);
viva_status cuda_load_rows(backend *b, const outer_rows *from, size_t rows, size_t cols, float *to, size_t to_stride,
                           uint8_t *bad, viva_error *error);
viva_status cuda_store_rows(backend *b, const float *from, size_t from_stride, size_t rows, size_t cols,
                            const float *bias, const uint8_t *bad, const outer_rows *to, uint64_t *overflows,
                            viva_error *error);
viva_status cuda_rope_append(backend *b, const rope_append_args *args, viva_error *error);
viva_status cuda_attention(backend *b, const attention_args *args, viva_error *error);
viva_status cuda_turn_attention(backend *b, const rope_append_args *turn, const attention_args *args,
                                viva_error *error);
viva_status cuda_silu_mul(backend *b, const float *gate, const float *up, float *out, size_t rows, size_t n,
                          size_t stride, viva_error *error);
viva_status cuda_rmsnorm_codes(backend *b, const float *x, size_t rows, size_t n, const float *gain, float eps,
                               input_mode mode, void *to, viva_error *error);
viva_status cuda_silu_mul_codes(backend *b, const float *gate, const float *up, size_t rows, size_t n, input_mode mode,
                                void *to, viva_error *error);
viva_status cuda_take_rows(backend *b, const float *from, const uint32_t *rows, size_t count, size_t n, size_t stride,
                           float *to, viva_error *error);
viva_status cuda_top(backend *b, const float *logits, size_t rows, size_t n, size_t k, viva_token *ids, float *values,
                     uint8_t *nan, viva_error *error);
size_t cuda_scratch_bytes(backend *b, size_t m, size_t context, size_t width);
viva_status cuda_reserve(backend *b, size_t m, size_t context, size_t width, viva_error *error);

/* cuda_linear's products by gemm.h, of up to 128 rows, for steps that are captured, whose rows are FP16 already (scales NULL:
 * 1). args: as cuda_linear's; gated: as cuda_linear_gated's, of which queue is told y's type. taken: they run there, and need
 * no memory once prepare has been called. */
int cuda_many_taken(const cuda_backend *c, const linear_args *args, size_t count, int gated);
viva_status cuda_many_prepare(cuda_backend *c, viva_error *error);
viva_status cuda_many_queue(cuda_backend *c, const linear_args *args, size_t count, const gemm_output *gated,
                            const uint16_t *rows, const float *scales, viva_error *error);

#define CUDA_DECODE_ROWS     64 /* of a captured step */
#define CUDA_ANGLE_SEQUENCES 4  /* whose angles cost the host, 1.6 us each, more than a kernel of the captured step */
viva_status cuda_decode_step(backend *b, const decoder *d, const batch *host, input_mode mode, float *const *logits,
                             viva_token *best, float *values, uint8_t *nan, viva_error *error);
void cuda_decode_forget(backend *b, const decoder *d);
/* All of them; the stream is idle. */
void cuda_decode_end(cuda_backend *c);

extern const backend_ops backend_cuda;

/* As backend_cuda's open with other tables: for tests. */
viva_status cuda_open_with(runtime *rt, const cuda_api *api, const cuda_kernels *kernels, int device_index,
                           backend **out, viva_error *error);

#endif
