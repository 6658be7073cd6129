/* model/model.c: the model's handle: plan, load, what it tells about itself. */
#include "model/model.h"

#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "engine/packed.h"
#include "model/load.h"
#include "model/plan.h"

viva_model_options viva_model_options_default(void) {
  return (viva_model_options){.size = sizeof(viva_model_options), .kv = VIVA_F16, .load = VIVA_LOAD_READ};
}

heads model_heads(const viva_model_config *config) {
  return (heads){.q_heads = (size_t)config->num_heads,
                 .kv_heads = (size_t)config->num_kv_heads,
                 .head_dim = (size_t)config->head_dim};
}

viva_status model_option_error(viva_error *error, const char *option) {
  error_at(error, NULL, option, -1, VIVA_NO_OFFSET);
  return VIVA_E_ARGUMENT;
}

viva_status model_kv_option(viva_dtype dtype, kv_type *kv, viva_error *error) {
  *kv = dtype == VIVA_F32 ? KV_F32 : KV_F16;
  if (dtype == VIVA_F16 || dtype == VIVA_F32) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "the KV cache can be F16 or F32, not %s", viva_dtype_name(dtype));
  return model_option_error(error, "kv");
}

viva_status model_act_option(viva_activation_mode act, input_mode *mode, viva_error *error) {
  switch (act) {
  case VIVA_ACT_AUTO: /* docs/numerics.md: 16 bits are what is safe */
  case VIVA_ACT_16: *mode = INPUT_FLOAT; return VIVA_OK;
  case VIVA_ACT_FP8: *mode = INPUT_E4M3; return VIVA_OK;
  case VIVA_ACT_INT8: *mode = INPUT_INT8; return VIVA_OK;
  case VIVA_ACT_INT4: break;
  }
  error_set(error, VIVA_E_ARGUMENT, "the activations of a model can be VIVA_ACT_AUTO, 16, FP8 or INT8, not %d%s",
            (int)act, act == VIVA_ACT_INT4 ? " (INT4, which the linear calls have)" : "");
  return model_option_error(error, "act");
}

static viva_status open_checkpoint(viva_engine *engine, const char *path, const viva_model_options *options,
                                   viva_model_options *o, viva_checkpoint **ck, viva_error *error) {
  *o = viva_model_options_default();
  if (!engine) return error_set(error, VIVA_E_ARGUMENT, "engine is NULL; open one with viva_engine_open");
  if (!path) return error_set(error, VIVA_E_ARGUMENT, "path is NULL; give a GGUF file or a folder with safetensors");
  TRY(options_read(o, options, "viva_model_options", error));
  if (o->load != VIVA_LOAD_READ && o->load != VIVA_LOAD_MMAP) {
    error_set(error, VIVA_E_ARGUMENT, "load can be VIVA_LOAD_READ or VIVA_LOAD_MMAP, not %d", (int)o->load);
    return model_option_error(error, "load");
  }
  return checkpoint_open(engine->rt, path, o->load, ck, error);
}

viva_status viva_model_plan(viva_engine *engine, const char *path, const viva_model_options *options,
                            viva_memory_plan *memory, viva_error *error) {
  viva_model_options o;
  viva_checkpoint *ck;
  plan p;
  TRY(open_checkpoint(engine, path, options, &o, &ck, error));
  viva_status status = plan_begin(&p, engine, ck, &o, error);
  if (!status) {
    status = options_fill(memory, &p.memory, "viva_memory_plan", error);
    plan_end(&p);
  }
  viva_checkpoint_close(ck);
  return status;
}

static int uses_mapping(const plan *p) {
  for (size_t i = 0; i < p->item_count; i++)
    if (p->items[i].in_place) return 1;
  return 0;
}

/* Fills a model that has its engine. What was made before a failure is freed with the model. */
static viva_status fill(viva_model *model, plan *p, const viva_model_options *o, viva_error *error) {
  viva_engine *engine = model->engine;
  TRY(load_tie(p, error));
  TRY(plan_refuse(p, error));
  TRY(load_survey(p, o->progress, o->progress_user, error));
  if (p->surveyed_bytes) TRY(plan_refuse(p, error));
  model->config = p->config;
  model->plan = p->memory;
  model->context = p->context;
  model->kv = p->kv;
  model->act = p->act;
  model->layer_count = (size_t)p->config.num_layers;
  model->layers = mem_array(&engine->rt->mem, model->layer_count, sizeof *model->layers);
  if (!model->layers) return error_set(error, VIVA_E_MEMORY, "no memory for %zu layers", model->layer_count);
  TRY(model_tokenizer(engine->rt, p->ck, o->tokenizer_path, &model->tokenizer, &model->tokenizer_problem, error));
  TRY(load_weights(model, p, o->progress, o->progress_user, error));
  model_describe(model);
  runtime_log(engine->rt, VIVA_LOG_INFO, "%s: %s", p->ck->path, model->description);
  return VIVA_OK;
}

static viva_status load(viva_engine *engine, viva_checkpoint *ck, const viva_model_options *o, viva_model **out,
                        viva_error *error) {
  plan p;
  TRY(plan_begin(&p, engine, ck, o, error));
  viva_model *model = mem_zalloc(&engine->rt->mem, sizeof *model);
  if (!model) {
    plan_end(&p);
    return error_set(error, VIVA_E_MEMORY, "no memory for a model");
  }
  model->references = 1;
  model->engine = viva_engine_retain(engine);
  viva_status status = fill(model, &p, o, error);
  if (!status && uses_mapping(&p)) model->checkpoint = ck;
  plan_end(&p);
  if (status)
    viva_model_release(model);
  else
    *out = model;
  return status;
}

viva_status viva_model_load(viva_engine *engine, const char *path, const viva_model_options *options,
                            viva_model **model, viva_error *error) {
  viva_model_options o;
  viva_checkpoint *ck;
  if (!model) return error_set(error, VIVA_E_ARGUMENT, "model is NULL; give a place for the handle");
  *model = NULL;
  TRY(open_checkpoint(engine, path, options, &o, &ck, error));
  viva_status status = load(engine, ck, &o, model, error);
  if (status || !(*model)->checkpoint) viva_checkpoint_close(ck);
  return status;
}

viva_model *viva_model_retain(viva_model *model) {
  if (!model) return NULL;
  if (model) atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
  return model;
}

void viva_model_release(viva_model *model) {
  if (!model || atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) != 1) return;
  viva_engine *engine = model->engine;
  mem *m = &engine->rt->mem;
  if (model->block) engine->backend->ops->free(engine->backend, model->block);
  for (size_t i = 0; i < model->part_count; i++) viva_packed_weight_release(model->parts[i]);
  mem_free(m, model->parts);
  mem_free(m, model->layers);
  mem_free(m, model->rope_factors);
  mem_free(m, model->tokenizer_problem);
  viva_tokenizer_release(model->tokenizer);
  viva_checkpoint_close(model->checkpoint);
  mem_free(m, model);
  viva_engine_release(engine);
}

viva_status viva_model_get_config(const viva_model *model, viva_model_config *config, viva_error *error) {
  if (!model) return error_set(error, VIVA_E_ARGUMENT, "model is NULL");
  return options_fill(config, &model->config, "viva_model_config", error);
}

viva_status viva_model_get_plan(const viva_model *model, viva_memory_plan *memory, viva_error *error) {
  if (!model) return error_set(error, VIVA_E_ARGUMENT, "model is NULL");
  return options_fill(memory, &model->plan, "viva_memory_plan", error);
}

const char *viva_model_description(const viva_model *model) { return model ? model->description : ""; }

viva_tokenizer *viva_model_tokenizer(const viva_model *model) { return model ? model->tokenizer : NULL; }
