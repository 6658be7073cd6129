/* load/load_tie.c: a file that holds one table twice. */
#include <string.h>

#include "load/load.h"

#define COMPARE_BYTES ((size_t)1 << 20)

static viva_status compare(const plan *p, const tensor_view *a, const tensor_view *b, int *equal, viva_error *error) {
  mem *m = &p->engine->rt->mem;
  uint8_t *buffer = mem_alloc(m, 2 * COMPARE_BYTES);
  if (!buffer) return error_set(error, VIVA_E_MEMORY, "no memory to compare the embedding with the head");
  viva_status status = VIVA_OK;
  *equal = a->type == b->type && a->bytes == b->bytes;
  for (uint64_t at = 0; *equal && !status && at < a->bytes; at += COMPARE_BYTES) {
    size_t bytes = a->bytes - at < COMPARE_BYTES ? (size_t)(a->bytes - at) : COMPARE_BYTES;
    status = checkpoint_read_part(p->ck, a, at, buffer, bytes, error);
    if (!status) status = checkpoint_read_part(p->ck, b, at, buffer + COMPARE_BYTES, bytes, error);
    if (!status) *equal = memcmp(buffer, buffer + COMPARE_BYTES, bytes) == 0;
  }
  mem_free(m, buffer);
  return status;
}

viva_status load_tie(plan *p, viva_error *error) {
  int equal = 0;
  if (!p->embedding || !p->head || !p->config.tie_word_embeddings) return VIVA_OK;
  if (!plan_same_format(p->embedding, p->head) || p->head->source.kind != QUANT_DENSE)
    return VIVA_OK; /* two forms, of one tensor or of two */
  TRY(compare(p, p->embedding->view, p->head->view, &equal, error));
  if (equal)
    plan_tie(p);
  else
    runtime_log(p->engine->rt, VIVA_LOG_WARN,
                "%s: the model says that embedding and head are tied, but both are there and differ; both are used",
                p->ck->path);
  return VIVA_OK;
}
