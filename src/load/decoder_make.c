/* load/decoder_make.c */
#include "load/decoder_make.h"

#include <math.h>

#include "base/ck.h"
#include "base/error.h"

viva_status decoder_make(decoder *d, const viva_model_config *config, mem *m, viva_error *error) {
  *d = (decoder){.hidden = (size_t)config->hidden_size,
                 .ffn = (size_t)config->intermediate_size,
                 .vocab = (size_t)config->vocab_size,
                 .rotary_dim = (size_t)config->rotary_dim,
                 .heads = {.q_heads = (size_t)config->num_heads,
                           .kv_heads = (size_t)config->num_kv_heads,
                           .head_dim = (size_t)config->head_dim},
                 .eps = (float)config->rms_norm_eps,
                 .attention_scale = (float)(1 / sqrt((double)config->head_dim))};
  size_t count = (size_t)config->num_layers;
  d->layers = mem_array(m, count, sizeof *d->layers);
  if (!d->layers) return error_set(error, VIVA_E_MEMORY, "no memory for %zu layers", count);
  d->layer_count = count;
  for (size_t i = 0; i < count; i++)
    d->layers[i].window = i >= config->sliding_from_layer ? (size_t)config->sliding_window : 0;
  return VIVA_OK;
}

/* ---- second forms: matrices that read the same rows are one group */

enum { GROUP_MOST = 3, GROUPS = 4 }; /* of a layer */

typedef struct group {
  weight *matrices[GROUP_MOST];
  size_t count;
} group;

static group group_of(decoder_layer *l, size_t i) {
  const group groups[GROUPS] = {{{&l->q, &l->k, &l->v}, 3}, {{&l->o}, 1}, {{&l->gate, &l->up}, 2}, {{&l->down}, 1}};
  return groups[i];
}

static uint64_t group_bytes(backend *b, const group *g) {
  weight together[GROUP_MOST];
  uint64_t bytes;
  for (size_t i = 0; i < g->count; i++) together[i] = *g->matrices[i];
  return ck_align(b->ops->weight_bytes(b, together, g->count), MEM_ALIGN, &bytes) ? UINT64_MAX : bytes;
}

/* Calls `each` for every group of the model, until it fails. */
typedef struct group_walk {
  backend *b;
  uint64_t bytes; /* so far */
  uint8_t *block; /* NULL: they are only counted */
} group_walk;

static viva_status visit(group_walk *walk, const group *g, viva_error *error) {
  const uint64_t bytes = group_bytes(walk->b, g);
  if (walk->block && bytes) {
    weight together[GROUP_MOST];
    for (size_t i = 0; i < g->count; i++) together[i] = *g->matrices[i];
    TRY(walk->b->ops->weight_prepare(walk->b, together, g->count, walk->block + walk->bytes, error));
    for (size_t i = 0; i < g->count; i++) g->matrices[i]->prepared = together[i].prepared;
  }
  if (ck_add(walk->bytes, bytes, &walk->bytes)) walk->bytes = UINT64_MAX;
  return VIVA_OK;
}

static viva_status walk_groups(group_walk *walk, decoder *d, viva_error *error) {
  const group head = {{&d->head}, 1};
  for (size_t i = 0; i < d->layer_count; i++)
    for (size_t j = 0; j < GROUPS; j++) {
      const group g = group_of(&d->layers[i], j);
      TRY(visit(walk, &g, error));
    }
  return visit(walk, &head, error);
}

uint64_t decoder_prepared_bytes(backend *b, const decoder *d) {
  group_walk walk = {.b = b};
  if (!b->ops->weight_bytes) return 0;
  walk_groups(&walk, (decoder *)(uintptr_t)d, NULL); /* without a block nothing changes and nothing fails */
  return walk.bytes;
}

viva_status decoder_prepare(backend *b, decoder *d, void **block, viva_error *error) {
  const uint64_t bytes = decoder_prepared_bytes(b, d);
  *block = NULL;
  if (bytes == 0) return VIVA_OK;
  TRY(b->ops->alloc(b, (size_t)bytes, block, error));
  group_walk walk = {.b = b, .block = *block};
  return walk_groups(&walk, d, error);
}

void decoder_end(decoder *d, mem *m) {
  mem_free(m, d->layers);
  mem_free(m, (void *)d->rope_factors); /* const for everyone else */
  d->layers = NULL;
  d->rope_factors = NULL;
}

viva_status decoder_kv_option(viva_dtype dtype, kv_type *kv, viva_error *error) {
  *kv = dtype == VIVA_F32 ? KV_F32 : dtype == VIVA_E4M3 ? KV_FP8 : KV_F16;
  if (dtype == VIVA_F16 || dtype == VIVA_F32 || dtype == VIVA_E4M3) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "the KV cache can be F16, F32 or E4M3 (FP8), not %s", viva_dtype_name(dtype));
  return error_option(error, VIVA_E_ARGUMENT, "kv");
}

viva_status decoder_act_option(viva_activation_mode act, input_mode *mode, viva_error *error) {
  switch (act) {
  case VIVA_ACT_AUTO: /* docs/numerics.md: 16 bits are what is safe */
  case VIVA_ACT_16: *mode = INPUT_FLOAT; return VIVA_OK;
  case VIVA_ACT_FP8: *mode = INPUT_E4M3; return VIVA_OK;
  case VIVA_ACT_INT8: *mode = INPUT_INT8; return VIVA_OK;
  case VIVA_ACT_INT4: break;
  }
  error_set(error, VIVA_E_ARGUMENT, "the activations of a model can be VIVA_ACT_AUTO, 16, FP8 or INT8, not %d%s",
            (int)act, act == VIVA_ACT_INT4 ? " (INT4, which the linear calls have)" : "");
  return error_option(error, VIVA_E_ARGUMENT, "act");
}
