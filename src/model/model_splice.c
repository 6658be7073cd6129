/* model/model_splice.c: a model with some layers of another. */
#include <string.h>

#include "engine/packed.h"
#include "model/model.h"

/* What both must have in common: one forward pass runs layers of either. */
static const char *difference(const viva_model *a, const viva_model *b) {
  const viva_model_config *x = &a->config, *y = &b->config;
  const struct {
    const char *name;
    int equal;
  } rules[] = {
      {"num_layers", a->dec.layer_count == b->dec.layer_count},
      {"hidden_size", x->hidden_size == y->hidden_size},
      {"intermediate_size", x->intermediate_size == y->intermediate_size},
      {"vocab_size", x->vocab_size == y->vocab_size},
      {"num_heads", x->num_heads == y->num_heads && x->num_kv_heads == y->num_kv_heads},
      {"head_dim", x->head_dim == y->head_dim && x->rotary_dim == y->rotary_dim},
      {"rms_norm_eps", a->dec.eps <= b->dec.eps && a->dec.eps >= b->dec.eps},
      {"rope_type", x->rope_type == y->rope_type},
      {"rope_theta", x->rope_theta <= y->rope_theta && x->rope_theta >= y->rope_theta},
      {"rope_factor", x->rope_factor <= y->rope_factor && x->rope_factor >= y->rope_factor},
      {"qk_norm", x->qk_norm == y->qk_norm},
      {"biases", x->qkv_bias == y->qkv_bias && x->o_bias == y->o_bias && x->mlp_bias == y->mlp_bias},
  };
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
    if (!rules[i].equal) return rules[i].name;
  return NULL;
}

static int holds_packed(const viva_model *m) {
  int packed = !weight_dense(m->dec.head.format);
  for (size_t i = 0; i < m->dec.layer_count; i++) {
    const decoder_layer *l = &m->dec.layers[i];
    const weight_format all[] = {l->q.format,    l->k.format,  l->v.format,   l->o.format,
                                 l->gate.format, l->up.format, l->down.format};
    for (size_t p = 0; p < sizeof all / sizeof *all; p++) packed |= !weight_dense(all[p]);
  }
  return packed;
}

static viva_status check(const viva_model *base, const viva_model *other, uint64_t first, uint64_t count,
                         viva_error *error) {
  if (base->engine != other->engine)
    return error_set(error, VIVA_E_ARGUMENT, "the models belong to two engines; load both on one");
  const char *what = difference(base, other);
  if (what) {
    error_set(error, VIVA_E_SIZE, "the models differ in %s: their layers do not fit together", what);
    error_at(error, NULL, what, -1, VIVA_NO_OFFSET);
    return VIVA_E_SIZE;
  }
  if (first > base->dec.layer_count || count > base->dec.layer_count - first) {
    error_set(error, VIVA_E_ARGUMENT, "layers %llu and %llu more are asked for, but the models have %zu",
              (unsigned long long)first, (unsigned long long)count, base->dec.layer_count);
    return error_option(error, VIVA_E_ARGUMENT, "count");
  }
  if (base->act == other->act || !holds_packed(base) || !holds_packed(other)) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT,
            "both models hold packed weights, with different activations: load them with one mode");
  return error_option(error, VIVA_E_ARGUMENT, "act");
}

/* A model that other's memory lies in lives as long as this one: by a handle on one of its matrices. */
static viva_status keep(viva_model *m, const viva_model *other, viva_error *error) {
  TRY(viva_model_weight(other, 0, VIVA_PROJ_EMBEDDING, &m->parts[m->part_count], error));
  m->part_count++;
  return VIVA_OK;
}

static viva_status fill(viva_model *m, const viva_model *base, const viva_model *other, uint64_t first, uint64_t count,
                        viva_error *error) {
  mem *memory = &base->engine->rt->mem;
  m->config = base->config;
  m->plan = base->plan;
  m->context = base->context;
  m->kv = base->kv;
  m->cache_bytes = base->cache_bytes;
  m->act = holds_packed(base) ? base->act : other->act;
  m->tokenizer = viva_tokenizer_retain(base->tokenizer);
  TRY(decoder_make(&m->dec, &m->config, memory, error));
  model_begin_pools(m, m->cache_bytes);
  m->parts = mem_array(memory, 2, sizeof(void *));
  if (!m->parts) return error_set(error, VIVA_E_MEMORY, "no memory for a model");
  TRY(keep(m, base, error));
  TRY(keep(m, other, error));
  for (size_t i = 0; i < m->dec.layer_count; i++) {
    const int its_own = i < first || i - first >= count;
    m->dec.layers[i] = its_own ? base->dec.layers[i] : other->dec.layers[i];
  }
  m->dec.embedding = base->dec.embedding;
  m->dec.head = base->dec.head;
  m->dec.output_norm = base->dec.output_norm;
  if (base->dec.rope_factors) {
    const size_t pairs = base->dec.rotary_dim / 2;
    float *factors = mem_array(memory, pairs, sizeof *factors);
    if (!factors) return error_set(error, VIVA_E_MEMORY, "no memory for a model");
    memcpy(factors, base->dec.rope_factors, pairs * sizeof *factors);
    m->dec.rope_factors = factors;
  }
  if (m->engine->ranks) TRY(model_place(m, error));
  model_describe(m);
  return VIVA_OK;
}

viva_status viva_model_splice(const viva_model *base, const viva_model *other, uint64_t first, uint64_t count,
                              viva_model **model, viva_error *error) {
  if (!model) return error_set(error, VIVA_E_ARGUMENT, "model is NULL; give a place for the handle");
  *model = NULL;
  if (!base || !other) return error_set(error, VIVA_E_ARGUMENT, "%s is NULL", base ? "other" : "base");
  TRY(check(base, other, first, count, error));
  viva_model *m = mem_zalloc(&base->engine->rt->mem, sizeof *m);
  if (!m) return error_set(error, VIVA_E_MEMORY, "no memory for a model");
  m->references = 1;
  m->engine = viva_engine_retain(base->engine);
  viva_status status = fill(m, base, other, first, count, error);
  if (status)
    viva_model_release(m);
  else
    *model = m;
  return status;
}
