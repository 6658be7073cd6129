/* backend/cuda/persist.h: all layers of a step of one row as one kernel that stays on the GPU: a block on every
 * multiprocessor goes through the stages of every layer (q k v; attention; o; gate and up; down), and of the head where
 * its weights are of the layers' form and every block has a tile of a layer. Weights wait for no stage: they stream through a
 * ring of each block in the order in which it uses them. Values go from block to block as words by which it is seen that they
 * are there (persist_words.cuh), so no block waits for more than the words that it needs.
 *
 *   persist_product, persist_attention    a stage as the kernel reads it, written to the host's memory
 *   persist_launch                        the program, whose stages lie in the device's memory
 *
 * Numbers: the bits of gemv.h and of step_turn_attention, stage by stage; of several GPUs, of step_exchange.
 *
 * A thread that waits longer than PERSIST_SECONDS for a word sets program.failed and goes on without it: the kernel ends, and
 * what it wrote is worthless. Of several GPUs, the warp that waits for the others does that for peers.failed, after
 * EXCHANGE_PATIENCE_NS, and the threads behind it have that much more. */
#ifndef BACKEND_CUDA_PERSIST_H
#define BACKEND_CUDA_PERSIST_H

#include "backend/cuda/gemv.h"
#include "backend/cuda/step.h"
#include "backend/cuda/step_exchange.h"

#ifdef __cplusplus
extern "C" {
#endif

#define PERSIST_MOST_ROWS 1   /* with 2, x takes a third of the ring: the graph is 6 % faster */
#define PERSIST_MOST_DIM  128 /* of heads */
#define PERSIST_SECONDS   2

typedef struct persist_program {
  weight w;            /* format, block, scales_type and pairs are used: those of all products */
  size_t rows;         /* 1 … PERSIST_MOST_ROWS */
  int multiprocessors; /* blocks */
  size_t hidden, ffn, layers;
  head_shape heads;
  const void *stages; /* dev: [stage_count], persist_stage_bytes each, 16-byte aligned */
  /* dev: [run_count], persist_run_bytes each, 8-byte aligned: of the products, in their order; last of the head, if there
   * is one */
  const void *runs;
  size_t stage_count, run_count;
  void *work;           /* dev: persist_work_bytes, all bits set before the first launch, 16-byte aligned */
  const uint32_t *turn; /* dev: how often the program has been launched */
  uint32_t *failed;     /* the host's pinned memory, or dev: becomes 1 when blocks did not meet */
  /* Of several GPUs: what o and down make is then a part, and becomes the sum, exchange 2 · layer and 2 · layer + 1 of the
   * step. ranks 0: one GPU. */
  step_exchange_group peers;
} persist_program;

size_t persist_stage_bytes(void);
size_t persist_run_bytes(void);
size_t persist_work_bytes(const persist_program *p);

/* The products of a layer. The head, if the program has it, is the first of one more: its results go to y. */
typedef enum persist_role { PERSIST_QKV, PERSIST_OUT, PERSIST_UP, PERSIST_DOWN } persist_role;
#define PERSIST_ROLES 4

/* stage and run: room for one each. The problem's rows are those of the program, whose work is there. */
int persist_product(const persist_program *p, size_t layer, persist_role role, const gemv_problem *problem, void *stage,
                    void *run);

/* As step_turn_attention's; caches of F16 whose outputs are FP16. */
int persist_attention(const persist_program *p, const rope_append_args *turn, const float *q_norm, const float *k_norm,
                      float eps, const attention_args *a, const step_half_rows *half, void *stage);

/* 1 when the device can run it: else the layers are launched stage by stage. shared_most: bytes that one block may have. */
int persist_fits(const persist_program *p, size_t shared_most);

/* 1 when the program may have the head: every block then has a tile of every layer. One that had none would wait for nothing
 * before it looks for the head's x, whose words are cleared in the layers (persist_words.cuh). */
int persist_may_have_head(const persist_program *p);

int persist_launch(const persist_program *p, size_t shared_most, void *stream);

#ifdef __cplusplus
}
#endif
#endif
