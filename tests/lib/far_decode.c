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

static viva_status decode_step(backend *b, const decoder *d, const batch *step, input_mode mode, float *logits,
                               viva_error *error) {
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
  void *memory;
  far_check_batch(far, step);
  assert_true(step->rows <= far->ops.decode_rows && step->kept > 0);
  TRY(far->ops.alloc(b, w.layout.floats * w.rows * sizeof(float), &memory, error));
  w.activations = memory;
  if (quantized) TRY(far->ops.alloc(b, quantized, &w.quantized, error));
  viva_status status = forward_layers(b, d, mode, &w, step, error);
  if (!status) status = forward_head(b, d, mode, &w, 0, step->kept, far_dev(far, logits), error);
  far->ops.free(b, w.activations, NULL);
  far->ops.free(b, w.quantized, NULL);
  return status;
}

void far_add_decode(far_device *far) { far->ops.decode_step = decode_step, far->ops.decode_rows = 4; }
