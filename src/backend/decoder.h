/* backend/decoder.h: what a backend must know of a model to run a whole token.
 *
 * load/ (from files) and model/ (from handles) fill it once; afterwards it does not change. The forward pass reads it
 * operation by operation, a backend's decode_step all at once. Pointers named dev are in the backend's memory.
 */
#ifndef BACKEND_DECODER_H
#define BACKEND_DECODER_H

#include "pack/weight.h"

typedef struct head_shape {
  size_t q_heads, kv_heads, head_dim; /* q_heads is a multiple of kv_heads */
} head_shape;

/* One layer. Absent biases and norms are NULL. */
typedef struct decoder_layer {
  weight q, k, v, o; /* [heads · head_dim][hidden], [kv_heads · head_dim][hidden] twice, [hidden][heads · head_dim] */
  weight gate, up, down;                          /* [ffn][hidden] twice, [hidden][ffn] */
  const float *attention_norm, *mlp_norm;         /* dev [hidden] */
  const float *q_bias, *k_bias, *v_bias, *o_bias; /* dev, one value for each row of the matrix */
  const float *gate_bias, *up_bias, *down_bias;   /* likewise */
  const float *q_norm, *k_norm;                   /* dev [head_dim] */
  size_t window;                                  /* positions that attention looks back at, its own included; 0: all */
} decoder_layer;

/* How decode_step runs a step's layers. Either gives the same bits. */
typedef enum decoder_layers_as {
  LAYERS_AS_CHOSEN = 0, /* by the backend: what is faster */
  LAYERS_AS_STAGES,     /* a kernel for each stage */
  LAYERS_AS_ONE         /* one kernel, where the backend can */
} decoder_layers_as;

/* How products are added up. FULL: as below. FAST: a device may use sums of fewer bits where that is faster (its header says
 * which); one that has no such sums treats both alike. */
typedef enum accumulation { ACCUMULATE_FULL = 0, ACCUMULATE_FAST = 1 } accumulation;

typedef struct exchange exchange; /* exchange.h */

typedef struct decoder {
  size_t hidden, ffn, vocab;
  size_t rotary_dim; /* of head_dim: the dimensions that turn */
  head_shape heads;
  float eps;             /* of every RMSNorm */
  float attention_scale; /* 1 / √head_dim */

  decoder_layer *layers; /* host [layer_count] */
  size_t layer_count;

  weight embedding, head;      /* [vocab][hidden]; one and the same data when tied */
  const float *output_norm;    /* dev [hidden] */
  const float *rope_factors;   /* host [rotary_dim / 2], or NULL */
  decoder_layers_as layers_as; /* in decode_step */
  accumulation accumulate;     /* of products of codes */

  /* One of several that a decoder was cut into (load/cut.h): sizes and weights are the rank's own. The products of o and down
   * are then parts of a sum, to which rank 0 adds the residual. link NULL: it is whole. */
  exchange *link;
  size_t rank;
} decoder;

#endif
