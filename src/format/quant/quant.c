/* format/quant/quant.c: opening and closing. */
#include "format/quant/quant_inner.h"

static viva_status read_all(quant *q, viva_error *error) {
  mem *m = &q->ck->rt->mem;
  q->arena = arena_create(m, 4096);
  q->roles = mem_array(m, q->ck->tensor_count + 1, 1);
  if (!q->arena || !q->roles) return checkpoint_build_no_memory(q->ck->path, "the quantised matrices", error);
  if (q->ck->container == CONTAINER_GGUF) return VIVA_OK; /* its block types say all */
  TRY(quant_config_read(q, error));
  return quant_find_modules(q, error);
}

viva_status quant_open(const viva_checkpoint *ck, quant **out, viva_error *error) {
  *out = NULL;
  quant *q = mem_zalloc(&ck->rt->mem, sizeof *q);
  if (!q) return checkpoint_build_no_memory(ck->path, "the quantised matrices", error);
  q->ck = ck;
  q->scheme = "";
  q->allowance = ck->allowance; /* what is left of it */
  q->groups.item_bytes = sizeof(quant_group);
  q->viva.item_bytes = sizeof(viva_module *);
  q->modules.item_bytes = sizeof(quant_module *);
  viva_status status = read_all(q, error);
  if (status != VIVA_OK) {
    quant_close(q);
    return status;
  }
  *out = q;
  return VIVA_OK;
}

void quant_close(quant *q) {
  if (!q) return;
  mem *m = &q->ck->rt->mem;
  quant_group *groups = (quant_group *)(void *)q->groups.items;
  for (size_t i = 0; i < q->groups.count; i++) names_free(m, &groups[i].targets);
  names_free(m, &q->ignore);
  grow_free(m, &q->groups);
  grow_free(m, &q->viva);
  grow_free(m, &q->modules);
  mem_free(m, q->roles);
  arena_free(q->arena);
  mem_free(m, q);
}

const char *quant_scheme(const quant *q) { return q->scheme; }
