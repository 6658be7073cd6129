/* format/quant/quant_describe.c: viva_checkpoint_quantization: what is quantised, in words. */
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "format/quant/quant_inner.h"

/* "FP8 block 128x128", "INT4 2:4 group 64", "NVFP4", "BF16 2:4" */
static void name_form(const quant_matrix *m, char *text, size_t size) {
  const char *kind = "";
  char sparse[32];
  switch (m->kind) {
  case QUANT_DENSE: kind = type_name(m->codes->type); break;
  case QUANT_FP8: kind = "FP8"; break;
  case QUANT_NVFP4: kind = "NVFP4"; break;
  case QUANT_INT8_24: kind = "INT8 2:4"; break;
  case QUANT_INT4_24: kind = "INT4 2:4"; break;
  case QUANT_SPARSE:
    snprintf(sparse, sizeof sparse, "%.20s 2:4", m->scales ? "FP8" : type_name(m->codes->type));
    kind = sparse;
    break;
  }
  if (!m->scales || m->kind == QUANT_NVFP4)
    snprintf(text, size, "%s", kind);
  else if (!m->grouped && m->block_rows > 1)
    snprintf(text, size, "%s tensor", kind);
  else if (!m->grouped)
    snprintf(text, size, "%s channel", kind);
  else if (m->block_rows == 1)
    snprintf(text, size, "%s group %llu", kind, (unsigned long long)m->block_cols);
  else
    snprintf(text, size, "%s block %llux%llu", kind, (unsigned long long)m->block_rows,
             (unsigned long long)m->block_cols);
}

/* "compressed-tensors float-quantized" */
static void split_scheme(const char *scheme, viva_quantization *q) {
  size_t word = strcspn(scheme, " ");
  snprintf(q->dialect, sizeof q->dialect, "%.*s", (int)word, scheme);
  snprintf(q->scheme, sizeof q->scheme, "%s", scheme[word] ? scheme + word + 1 : "");
}

static void tell(const quant *q, viva_quantization_fn on_tensor, void *user, viva_quantization *found) {
  const quant_module *const *modules = (const quant_module *const *)(const void *)q->modules.items;
  char form[96];
  split_scheme(quant_scheme(q), found);
  found->matrices = q->modules.count;
  for (size_t i = 0; i < q->modules.count && on_tensor; i++) {
    name_form(&modules[i]->m, form, sizeof form);
    on_tensor(user, modules[i]->name, form);
  }
  for (size_t i = 0; i < q->ck->tensor_count; i++) {
    if (quant_tensor_role(q, &q->ck->tensors[i]) != QUANT_ROLE_IGNORED) continue;
    found->unused++;
    if (on_tensor) on_tensor(user, q->ck->tensors[i].name, NULL);
  }
}

viva_status viva_checkpoint_quantization(const viva_checkpoint *checkpoint, viva_quantization *quantization,
                                         viva_quantization_fn on_tensor, void *user, viva_error *error) {
  viva_quantization full = {.size = sizeof full};
  quant *q;
  if (!checkpoint)
    return error_set(error, VIVA_E_ARGUMENT, "checkpoint is NULL; expected what viva_checkpoint_open gave");
  TRY(options_fill(quantization, &full, "viva_quantization", error)); /* a wrong size, before anyone is told */
  TRY(quant_open(checkpoint, &q, error));
  tell(q, on_tensor, user, &full);
  quant_close(q);
  return options_fill(quantization, &full, "viva_quantization", error);
}
