/* model/model.c: the model's handle: plan, load, what it tells about itself. */
#include "model/model.h"

#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "engine/packed.h"
#include "load/chat_load.h"
#include "load/load.h"
#include "load/tokenizer_load.h"

viva_model_options viva_model_options_default(void) {
  return (viva_model_options){.size = sizeof(viva_model_options), .kv = VIVA_F16, .load = VIVA_LOAD_READ};
}

decoder_layers_as model_layers_as(viva_decode_path path) {
  return path == VIVA_DECODE_GRAPH        ? LAYERS_AS_STAGES
         : path == VIVA_DECODE_PERSISTENT ? LAYERS_AS_ONE
                                          : LAYERS_AS_CHOSEN;
}

viva_status model_decode_option(const viva_engine *engine, viva_decode_path path, viva_decode_path *out,
                                viva_error *error) {
  const backend *b = engine->ranks ? engine->ranks->each[0].b : engine->backend;
  *out = path;
  if (path < VIVA_DECODE_AUTO || path > VIVA_DECODE_PERSISTENT) {
    error_set(error, VIVA_E_ARGUMENT, "decode can be VIVA_DECODE_AUTO, _PLAIN, _GRAPH or _PERSISTENT, not %d",
              (int)path);
    return error_option(error, VIVA_E_ARGUMENT, "decode");
  }
  if (path == VIVA_DECODE_AUTO || path == VIVA_DECODE_PLAIN || b->ops->decode_step) return VIVA_OK;
  error_set(error, VIVA_E_UNSUPPORTED,
            "this device (%s) runs no captured steps; leave it to the library, or ask for plain ones", b->ops->name);
  return error_option(error, VIVA_E_UNSUPPORTED, "decode");
}

static viva_status open_checkpoint(viva_engine *engine, const char *path, const viva_model_options *options,
                                   viva_model_options *o, viva_checkpoint **ck, viva_error *error) {
  *o = viva_model_options_default();
  if (!engine) return error_set(error, VIVA_E_ARGUMENT, "engine is NULL; open one with viva_engine_open");
  if (!path) return error_set(error, VIVA_E_ARGUMENT, "path is NULL; give a GGUF file or a folder with safetensors");
  TRY(options_read(o, options, "viva_model_options", error));
  if (o->load != VIVA_LOAD_READ && o->load != VIVA_LOAD_MMAP) {
    error_set(error, VIVA_E_ARGUMENT, "load can be VIVA_LOAD_READ or VIVA_LOAD_MMAP, not %d", (int)o->load);
    return error_option(error, VIVA_E_ARGUMENT, "load");
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

void model_begin_pools(viva_model *model, uint64_t cache_bytes) {
  viva_engine *e = model->engine;
  const budget_case sizes = {.backend = e->backend,
                             .config = &model->config,
                             .layers = model->dec.layer_count,
                             .kv = model->kv,
                             .act = model->act};
  for (int type = 0; type < KV_TYPES; type++)
    kv_pool_begin(&model->pages[type], e, kv_layout_of((kv_type)type, model->dec.heads), model->dec.layer_count,
                  cache_bytes);
  work_pool_begin(&model->work, &sizes, &e->rt->mem);
  model->work.ranks = e->ranks;
  model->has_pools = 1;
}

viva_status model_place(viva_model *model, viva_error *error) {
  viva_engine *e = model->engine;
  if (!e->ranks) return decoder_prepare(e->backend, &model->dec, &model->prepared, error);
  return shards_make(e, &model->dec, &model->config, model->kv, model->act, model->decode == VIVA_DECODE_PLAIN,
                     &model->shards, error);
}

size_t model_chunk(const viva_model *model, uint64_t capacity, uint32_t asked) {
  const viva_engine *e = model->engine;
  if (!e->ranks) return budget_chunk(&model->config, e->backend, capacity, asked);
  const viva_model_config share = cut_config(&model->config, 0, e->ranks->count);
  return budget_chunk(&share, e->ranks->each[0].b, capacity, asked);
}

static void end_pools(viva_model *model) {
  if (!model->has_pools) return;
  for (int type = 0; type < KV_TYPES; type++) kv_pool_end(&model->pages[type]);
  work_pool_end(&model->work);
}

void viva_model_trim(viva_model *model) {
  if (!model) return;
  for (int type = 0; type < KV_TYPES; type++) kv_pool_trim(&model->pages[type]);
  work_pool_trim(&model->work);
}

viva_status viva_model_cache_info(const viva_model *model, viva_cache_info *info, viva_error *error) {
  if (!model) return error_set(error, VIVA_E_ARGUMENT, "model is NULL");
  viva_cache_info found = {.size = sizeof found,
                           .page_tokens = KV_PAGE,
                           .page_bytes = model->pages[model->kv].page_bytes,
                           .limit_bytes = model->cache_bytes,
                           .slab_pages = model->pages[model->kv].grain};
  for (int type = 0; type < KV_TYPES; type++) {
    kv_pool *p = (kv_pool *)&model->pages[type]; /* locking is all that changes */
    pthread_mutex_lock(&p->lock);
    found.pages += p->total;
    found.pages_in_use += p->total - p->free_count;
    found.pages_shared += p->shared;
    found.pages_promised += p->promised;
    found.bytes += p->total * p->page_bytes;
    pthread_mutex_unlock(&p->lock);
  }
  return options_fill(info, &found, "viva_cache_info", error);
}

static int uses_mapping(const plan *p) {
  for (size_t i = 0; i < p->item_count; i++)
    if (p->items[i].in_place) return 1;
  return 0;
}

/* Text may give ids that the model has no row for: fine-tuned models are about whose added tokens nobody uses. So it is
 * told here, and refused in a prompt that holds one. */
static void check_ids(const viva_model *model, const viva_checkpoint *ck, const viva_model_options *o) {
  size_t ids = model->tokenizer ? viva_tokenizer_vocab_size(model->tokenizer) : 0;
  if (ids <= model->config.vocab_size) return;
  runtime_log(
      model->engine->rt, VIVA_LOG_WARN,
      "%s: the tokenizer%s has ids up to %zu, but the model has rows for 0 to %llu: a text that gives one of the "
      "others is refused",
      o->tokenizer_path ? o->tokenizer_path : ck->path,
      o->tokenizer_path || ck->container == CONTAINER_GGUF ? "" : " (tokenizer.json)", ids - 1,
      (unsigned long long)model->config.vocab_size - 1);
}

static viva_status keep_path(viva_model *model, const char *path, viva_error *error) {
  size_t bytes = strlen(path) + 1;
  model->path = mem_alloc(&model->engine->rt->mem, bytes);
  if (!model->path) return error_set(error, VIVA_E_MEMORY, "no memory for a path");
  memcpy(model->path, path, bytes);
  return VIVA_OK;
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
  model->cache_bytes = o->cache_bytes;
  TRY(model_decode_option(engine, o->decode, &model->decode, error));
  TRY(decoder_make(&model->dec, &model->config, &engine->rt->mem, error));
  model->dec.layers_as = model_layers_as(model->decode);
  model->dec.accumulate = p->accumulate;
  model_begin_pools(model, o->cache_bytes);
  TRY(tokenizer_load(engine->rt, p->ck, o->tokenizer_path, &model->tokenizer, &model->tokenizer_problem, error));
  check_ids(model, p->ck, o);
  TRY(keep_path(model, p->ck->path, error));
  TRY(chat_load(p->ck, &model->chat, error));
  TRY(load_weights(&model->dec, &model->block, p, o->progress, o->progress_user, error));
  TRY(model_place(model, error));
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
  shards_free(model->shards);
  end_pools(model);
  if (engine->backend->ops->decode_forget) engine->backend->ops->decode_forget(engine->backend, &model->dec);
  engine->backend->ops->free(engine->backend, model->prepared, NULL);
  engine->backend->ops->free(engine->backend, model->block, NULL);
  for (size_t i = 0; i < model->part_count; i++) viva_packed_weight_release(model->parts[i]);
  mem_free(m, model->parts);
  decoder_end(&model->dec, m);
  chat_source_free(engine->rt, model->chat);
  mem_free(m, model->tokenizer_problem);
  mem_free(m, model->path);
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

viva_status model_no_tokenizer(const viva_model *model, viva_error *error) {
  return error_set(error, VIVA_E_STATE, "the model has no tokenizer%s%s",
                   model->tokenizer_problem ? ": " : "; give the path of one when it is loaded, or ids",
                   model->tokenizer_problem ? model->tokenizer_problem : "");
}

const char *viva_model_description(const viva_model *model) { return model ? model->description : ""; }

viva_tokenizer *viva_model_tokenizer(const viva_model *model) { return model ? model->tokenizer : NULL; }
