/* tests/lib/far_decode.c: a whole step in one call: what the forward pass does, with a work space of its own. (Apart from
 * far_device.c, which tests below model/ use.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/far_device.h"
#include "model/step.h"
#include "model/workspace.h"

static viva_status decode_rows(backend *b, const decoder *d, const batch *step, input_mode mode, workspace *w,
                               float *const *places, viva_token *best, float *values, uint8_t *nan, viva_error *error) {
  TRY(forward_layers(b, d, mode, w, step, 1, NULL, error));
  TRY(forward_head(b, d, mode, w, 0, step->kept, w->logits, NULL, error));
  for (size_t r = 0; r < step->kept; r++)
    TRY(b->ops->copy(b, places[r], w->logits + r * d->vocab, d->vocab * sizeof(float), error));
  return b->ops->top(b, w->logits, step->kept, d->vocab, 1, best, values, nan, error);
}

static viva_status decode_step(backend *b, const decoder *d, const batch *host, input_mode mode, float *const *logits,
                               viva_token *best, float *values, uint8_t *nan, viva_error *error) {
  far_device *far = far_of(b);
  viva_model_config c = {.hidden_size = d->hidden,
                         .intermediate_size = d->ffn,
                         .num_heads = d->heads.q_heads,
                         .num_kv_heads = d->heads.kv_heads,
                         .head_dim = d->heads.head_dim,
                         .vocab_size = d->vocab};
  workspace w = {.rows = far->ops.decode_rows, .layout = budget_rows(&c)};
  const budget_case sizes = {.backend = b, .config = &c, .act = mode};
  const size_t quantized = (size_t)budget_quantized(&sizes, w.rows);
  void *memory, *place = NULL, *made = NULL;
  batch step;
  assert_true(host->rows <= far->ops.decode_rows && host->kept > 0);
  if (host->rows == 3) return VIVA_E_UNSUPPORTED; /* then the operations do it */
  TRY(b->ops->alloc(b, w.layout.floats * w.rows * sizeof(float), &memory, error));
  w.activations = memory;
  viva_status status = b->ops->alloc(b, host->block_bytes, &place, error);
  if (!status) status = b->ops->alloc(b, host->kept * d->vocab * sizeof(float), &made, error);
  w.logits = made;
  if (!status && quantized) status = b->ops->alloc(b, quantized, &w.quantized, error);
  if (!status) status = b->ops->step_begin(b, host, place, &step, error);
  if (!status) {
    status = decode_rows(b, d, &step, mode, &w, logits, best, values, nan, error);
    const viva_status ended = b->ops->step_end(b, status ? NULL : error);
    if (!status) status = ended;
  }
  b->ops->free(b, w.activations, NULL);
  b->ops->free(b, w.quantized, NULL);
  b->ops->free(b, place, NULL);
  b->ops->free(b, w.logits, NULL);
  return status;
}

void far_add_decode(far_device *far) { far->ops.decode_step = decode_step, far->ops.decode_rows = 4; }
