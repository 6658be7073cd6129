/* viva/debug.h: looks into a step: what every stage of every layer made. For finding where two devices, formats or versions begin
 * to differ; viva debug-decode is made of it. UNSTABLE: names of stages, and what is a stage, follow the implementation and
 * may change in any version. viva.h does not include it.
 *
 *   static int print(void *user, const viva_debug_stage *s) {
 *     printf("%lld %s: %zu x %zu, begins with %g\n", (long long)s->layer, s->name, s->rows, s->cols, s->values[0]);
 *     return 0;
 *   }
 *   viva_debug_step(session, &token, 1, print, NULL, &error);
 */
#ifndef VIVA_DEBUG_H
#define VIVA_DEBUG_H

#include "viva/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a stage made. In the order of the calls:
 *
 *   layer −1   embedding
 *   layer i    attention_norm, q, k, v (with biases and norms of heads), q_turned (by RoPE), attention, attention_sum (o and
 *              the rows before the layer), mlp_norm, gate, up, product (silu(gate) · up), mlp_sum
 *   layer −1   output_norm, logits
 *
 * From the last layer's attention on there is one row, the last token's. */
typedef struct viva_debug_stage {
  const char *name;
  int64_t layer;
  size_t rows, cols;
  const float *values; /* [rows][cols] in the host's memory, valid during the call */
  double seconds;      /* from the stage before until the device had made this one */
} viva_debug_stage;

/* Return 0 to go on, anything else to stop with E_CANCELLED. Must not call the session. */
typedef int (*viva_debug_fn)(void *user, const viva_debug_stage *stage);

/* As viva_session_prefill of these tokens, one operation at a time (never by a captured or fused step), telling on_stage what
 * each made. More tokens than a prefill's chunk are several passes, each with its rows. Afterwards the session stands
 * behind the tokens; after an error or a stop it is as it was. Errors: those of viva_session_prefill; E_CANCELLED.
 *
 * tokens, count: at least one */
VIVA_API viva_status viva_debug_step(viva_session *session, const viva_token *tokens, size_t count,
                                     viva_debug_fn on_stage, void *user, viva_error *error);

#ifdef __cplusplus
}
#endif

#endif
