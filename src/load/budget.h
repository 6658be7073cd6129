/* load/budget.h: how much memory a session and its steps take. All sums saturate: a plan that overflows never fits. */
#ifndef LOAD_BUDGET_H
#define LOAD_BUDGET_H

#include "load/decoder_make.h"

/* The longest context of any model: sizes stay far from overflow below it. */
#define BUDGET_CONTEXT_MOST ((uint64_t)1 << 31)

/* Rows of logits that the head makes at once. */
#define BUDGET_LOGIT_ROWS 64

/* Saturating arithmetic on sizes. */
uint64_t budget_add(uint64_t a, uint64_t b);
uint64_t budget_mul(uint64_t a, uint64_t b);

/* What the memory of a session depends on. */
typedef struct budget_case {
  backend *backend;
  const viva_model_config *config;
  size_t layers;
  kv_type kv;
  input_mode act;
} budget_case;

/* Where the activations of a step lie: offsets in floats for one row; a buffer of m rows begins at offset · m. Every
 * row is padded to 64 bytes. q, k, v and out share their place with gate and up: they are never alive together. */
typedef struct row_layout {
  size_t hidden, q, kv, ffn;       /* strides */
  size_t x_at, norm_at;            /* residual stream, its norm */
  size_t q_at, k_at, v_at, out_at; /* attention */
  size_t gate_at, up_at;           /* MLP */
  size_t floats;                   /* in all */
} row_layout;

row_layout budget_rows(const viva_model_config *config);

/* Widest input of a linear layer, for the backend's scratch memory. */
size_t budget_width(const viva_model_config *config);

/* Tokens that a prefill step processes at once. asked 0: as many as the backend likes. */
size_t budget_chunk(const viva_model_config *config, const backend *b, uint64_t capacity, uint32_t asked);

uint64_t budget_kv(const viva_model_config *config, size_t layers, uint64_t capacity, kv_type kv);

/* Everything but the KV cache that a session of this capacity takes, the backend's scratch memory included. */
uint64_t budget_work(const budget_case *c, uint64_t capacity, size_t chunk);

/* Bytes for the form in which chunk rows enter products; 0 where they enter as they are. */
uint64_t budget_quantized(const budget_case *c, size_t chunk);

/* Largest context ≤ limit with fixed + work + KV ≤ available; limit when available is 0 (unknown); 0: none. */
uint64_t budget_context(const budget_case *c, uint64_t fixed, uint64_t available, uint64_t limit);

uint64_t budget_available(backend *b);

/* "270.1 MiB" */
const char *budget_text(uint64_t bytes, char buffer[32]);

#endif
