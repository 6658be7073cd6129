/* load/plan.c: options, and which tensor becomes what. */
#include "load/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "engine/linear.h"
#include "format/config/config.h"
#include "format/gguf/gguf.h"
#include "load/budget.h"
#include "load/missing.h"

static viva_status read_options(plan *p, const viva_model_options *o, viva_error *error) {
  viva_model_config *c = &p->config;
  TRY(rule_read(o->weights, &p->rule, error));
  TRY(decoder_act_option(o->act, &p->act, error));
  TRY(linear_accumulation(o->accumulate, &p->accumulate, error));
  TRY(options_reserved(o->reserved, "viva_model_options", error));
  TRY(decoder_kv_option(o->kv, &p->kv, error));
  if (o->num_layers > c->num_layers) {
    error_set(error, VIVA_E_ARGUMENT, "%llu layers are asked for, but the model has %llu",
              (unsigned long long)o->num_layers, (unsigned long long)c->num_layers);
    return error_option(error, VIVA_E_ARGUMENT, "num_layers");
  }
  if (o->context > BUDGET_CONTEXT_MOST) {
    error_set(error, VIVA_E_ARGUMENT, "a context of %llu tokens is asked for; the most is %llu",
              (unsigned long long)o->context, (unsigned long long)BUDGET_CONTEXT_MOST);
    return error_option(error, VIVA_E_ARGUMENT, "context");
  }
  if (o->num_layers) c->num_layers = o->num_layers;
  p->context = o->context ? o->context : c->max_position_embeddings;
  if (p->context > BUDGET_CONTEXT_MOST) p->context = BUDGET_CONTEXT_MOST;
  if (p->context > c->max_position_embeddings && c->rope_type != VIVA_ROPE_DYNAMIC)
    runtime_log(p->engine->rt, VIVA_LOG_WARN, "a context of %llu tokens is asked for, but the model was made for %llu",
                (unsigned long long)p->context, (unsigned long long)c->max_position_embeddings);
  return VIVA_OK;
}

/* What a model is that is none of the families, by a part of its architecture's name; "" when the name does not say. */
static const char *describe_other_kind(const char *architecture) {
  static const struct {
    const char *part, *what;
  } kinds[] = {{"ViT", " (an image model)"}, /* with whatever head */
               {"ImageClassification", " (an image model)"},
               {"CLIP", " (an image encoder)"},
               {"Siglip", " (an image encoder)"},
               {"Classification", " (a classifier: its head gives no next token)"},
               {"QuestionAnswering", " (a classifier: its head gives no next token)"},
               {"RewardModel", " (a classifier: its head gives no next token)"},
               {"Bert", " (an encoder)"},
               {"bert", " (an encoder)"},
               {"XLMRoberta", " (an encoder)"},
               {"Electra", " (an encoder)"},
               {"T5", " (an encoder with a decoder)"},
               {"t5", " (an encoder with a decoder)"},
               {"Bart", " (an encoder with a decoder)"},
               {"Marian", " (an encoder with a decoder)"},
               {"Whisper", " (a model of speech)"},
               {"whisper", " (a model of speech)"},
               {"clip", " (an image encoder, the \"mmproj\" beside a model: give the language model's file)"},
               {"Llava", " (a model of images and text)"},
               {"VL", " (a model of images and text)"},
               {"vl", " (a model of images and text)"},
               {"Mllama", " (a model of images and text)"},
               {"ForConditionalGeneration", " (a model of images, sound or an encoder's text)"}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strstr(architecture, kinds[i].part)) return kinds[i].what;
  return "";
}

/* GGUF files that are no model say so in general.type. */
static viva_status check_kind(const plan *p, viva_error *error) {
  static const struct {
    const char *type, *what;
  } kinds[] = {{"adapter", "a LoRA adapter: merge it into its model first"},
               {"mmproj", "an image encoder, the \"mmproj\" beside a model: give the language model's file"},
               {"vocab", "a vocabulary without a model: give the model's file"},
               {"imatrix", "an importance matrix, which helps to quantise a model: give the model's file"}};
  const gguf_value *type = p->ck->container == CONTAINER_GGUF ? gguf_find(p->ck->gguf, "general.type") : NULL;
  const char *text;
  size_t bytes;
  if (!type || gguf_string(type, &text, &bytes) != 0) return VIVA_OK;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strlen(kinds[i].type) != bytes || memcmp(kinds[i].type, text, bytes) != 0) continue;
    error_set(error, VIVA_E_UNSUPPORTED, "the file is %s", kinds[i].what);
    error_at(error, p->ck->path, "general.type", -1, VIVA_NO_OFFSET);
    return VIVA_E_UNSUPPORTED;
  }
  return VIVA_OK;
}

static viva_status check_architecture(const plan *p, viva_error *error) {
  TRY(check_kind(p, error));
  if (p->config.model_type[0]) return VIVA_OK;
  char quoted[96];
  if (!p->config.architecture[0]) {
    error_set(error, VIVA_E_FORMAT,
              "the file does not say what its model's architecture is; the families that can be "
              "run are %s",
              config_supported());
    error_at(error, p->ck->path, p->ck->container == CONTAINER_GGUF ? "general.architecture" : "architectures", -1,
             VIVA_NO_OFFSET);
    return VIVA_E_FORMAT;
  }
  error_set(error, VIVA_E_UNSUPPORTED,
            "models of the architecture \"%s\"%s cannot be run; the families that can are %s",
            error_quote(quoted, sizeof quoted, p->config.architecture, strlen(p->config.architecture)),
            describe_other_kind(p->config.architecture), config_supported());
  error_at(error, p->ck->path, "architecture", -1, VIVA_NO_OFFSET);
  return VIVA_E_UNSUPPORTED;
}

/* ---- one tensor */

static size_t print_shape(char *text, size_t size, const uint64_t *shape, uint32_t rank) {
  size_t at = (size_t)snprintf(text, size, "[");
  for (uint32_t i = 0; i < rank && at < size; i++)
    at += (size_t)snprintf(text + at, size - at, "%s%llu", i ? ", " : "", (unsigned long long)shape[i]);
  if (at < size) snprintf(text + at, size - at, "]");
  return at;
}

static viva_status check_shape(const plan *p, const slot *s, const tensor_view *view, const quant_matrix *m,
                               viva_error *error) {
  static const char *const words[DIMS] = {
      [DIM_VOCAB] = "vocab_size",           [DIM_HIDDEN] = "hidden_size",    [DIM_Q] = "num_heads * head_dim",
      [DIM_KV] = "num_kv_heads * head_dim", [DIM_FFN] = "intermediate_size", [DIM_HEAD] = "head_dim",
      [DIM_PAIRS] = "rotary_dim / 2",
  };
  uint64_t expected[2] = {names_dim(s->rows, &p->config), names_dim(s->cols, &p->config)};
  uint32_t rank = s->rows == DIM_NONE ? 1 : 2;
  const uint64_t *shape = expected + (2 - rank), packed[2] = {m->rows, m->cols};
  const uint64_t *has = m->kind == QUANT_DENSE ? view->shape : packed;
  uint32_t has_rank = m->kind == QUANT_DENSE ? view->rank : 2;
  if (has_rank == rank && memcmp(has, shape, rank * sizeof *shape) == 0) return VIVA_OK;
  char found[192], wanted[64];
  print_shape(found, sizeof found, has, has_rank);
  print_shape(wanted, sizeof wanted, shape, rank);
  return checkpoint_fail(p->ck, view, error, VIVA_E_FORMAT,
                         "the tensor has shape %s, but the configuration gives %s (%s%s%s); the file and its "
                         "configuration do not belong together, or one is damaged",
                         found, wanted, rank == 2 ? words[s->rows] : "", rank == 2 ? ", " : "", words[s->cols]);
}

static viva_status check_width(const plan *p, const plan_item *item, viva_error *error) {
  if (p->act != INPUT_INT8 || weight_dense(item->spec.format) || item->cols <= INPUT_INT8_MOST_K) return VIVA_OK;
  return checkpoint_fail(p->ck, item->view, error, VIVA_E_LIMIT,
                         "with INT8 activations a layer can have %zu inputs, this one has %zu; use act 16 or FP8",
                         INPUT_INT8_MOST_K, item->cols);
}

static viva_status add_item(plan *p, const slot *s, size_t number, const quant_matrix *source, plan_item **out,
                            viva_error *error) {
  plan_item *item = &p->items[p->item_count];
  *item =
      (plan_item){.slot = s, .layer = number, .view = source->codes, .source = *source, .vector = s->rows == DIM_NONE};
  TRY(check_shape(p, s, item->view, source, error));
  item->rows = item->vector ? 1 : (size_t)names_dim(s->rows, &p->config);
  item->cols = (size_t)names_dim(s->cols, &p->config);
  TRY(plan_choose(p, item, error));
  if (s->rotated && p->config.permuted_qk) {
    item->head_rows = (size_t)p->config.head_dim;
    if (item->vector) item->rows = item->cols, item->cols = 1;
  }
  plan_size(p, item);
  p->item_count++;
  *out = item;
  return check_width(p, item, error);
}

/* ---- all tensors */

static viva_status missing(const plan *p, const char *name, viva_error *error) {
  char cause[160];
  missing_cause(p->ck, cause, sizeof cause);
  error_set(error, VIVA_E_FORMAT,
            "a model of type %s with %llu layers needs this tensor, but the file has none of that name; %s",
            p->config.model_type, (unsigned long long)p->config.num_layers, cause);
  error_at(error, p->ck->path, name, -1, VIVA_NO_OFFSET);
  return VIVA_E_FORMAT;
}

/* The tensor, or the quantised matrix, of a slot. source->codes NULL: there is none. */
static viva_status find(const plan *p, const slot *s, char *name, quant_matrix *source, viva_error *error) {
  *source = (quant_matrix){.codes = checkpoint_find(p->ck, name)};
  if (s->rows == DIM_NONE || p->ck->container == CONTAINER_GGUF) return VIVA_OK;
  if (source->codes && source->codes->rank != 2) return VIVA_OK; /* check_shape says so */
  char *end = name + strlen(name) - strlen(".weight");
  *end = 0;
  viva_status status = quant_find(p->quant, name, source, error);
  *end = '.';
  source->value_type = TYPE_F32; /* the values that kernels on the file's own codes compute with */
  if (status == VIVA_E_NOT_FOUND) *source = (quant_matrix){.codes = NULL};
  return status == VIVA_E_NOT_FOUND ? VIVA_OK : status;
}

static viva_status add_slots(plan *p, const slot *slots, size_t count, size_t number, viva_error *error) {
  for (size_t i = 0; i < count; i++) {
    char name[NAMES_BYTES];
    plan_item *item;
    quant_matrix source;
    int optional = slots[i].need == NEED_EITHER || slots[i].need == NEED_IF_THERE;
    if (!names_needed(&slots[i], &p->config) && !optional) continue;
    if (names_in_file(&p->names, &slots[i], number, name, sizeof name)) continue;
    TRY(find(p, &slots[i], name, &source, error));
    if (!source.codes && optional) continue;
    if (!source.codes) return missing(p, name, error);
    TRY(add_item(p, &slots[i], number, &source, &item, error));
    if (&slots[i] == &names_global[NAMES_EMBEDDING]) p->embedding = item;
    if (&slots[i] == &names_global[NAMES_HEAD]) p->head = item;
    if (&slots[i] == &names_global[NAMES_ROPE_FACTORS]) p->rope_factors = item;
  }
  return VIVA_OK;
}

/* The file has one table for both ends. The other end is the same matrix when it is held in the same format, else an item
 * of its own from the same tensor. A head that is "stored" is the table, however that is held. */
static viva_status add_other_end(plan *p, viva_error *error) {
  pack_spec spec;
  const plan_item *only = p->embedding ? p->embedding : p->head;
  plan_item *item;
  if (!only || (p->embedding && p->head) || !rule_format(&p->rule, "lm_head", &spec)) return VIVA_OK;
  const slot *s = &names_global[p->embedding ? NAMES_HEAD : NAMES_EMBEDDING];
  TRY(add_item(p, s, PLAN_GLOBAL, &only->source, &item, error));
  if (plan_same_format(item, only)) {
    p->item_count--;
    return VIVA_OK;
  }
  item->copy = 1;
  *(p->embedding ? &p->head : &p->embedding) = item;
  return VIVA_OK;
}

/* Both, one, or none of embedding and head (the rule of transformers 5: see docs/formats-read.md). */
static viva_status check_embedding(const plan *p, viva_error *error) {
  char name[NAMES_BYTES];
  if (!p->embedding && !p->head) {
    names_in_file(&p->names, &names_global[NAMES_EMBEDDING], 0, name, sizeof name);
    return missing(p, name, error);
  }
  if ((!p->embedding || !p->head) && !p->config.tie_word_embeddings)
    runtime_log(p->engine->rt, VIVA_LOG_WARN,
                "%s: the model has one embedding table and says that it is not tied; it is used for input and output",
                p->ck->path);
  return VIVA_OK;
}

/* Tensors that nothing uses: harmless ones are passed over, scales would change the weights, others are told. */
static viva_status check_leftovers(const plan *p, unsigned char *used, viva_error *error) {
  const char *first = NULL;
  size_t count = 0, ignored = 0;
  for (size_t i = 0; i < p->item_count; i++) used[p->items[i].view - p->ck->tensors] = 1;
  for (size_t i = 0; i < p->ck->tensor_count; i++) {
    const tensor_view *view = &p->ck->tensors[i];
    if (used[i]) continue;
    switch (quant_tensor_role(p->quant, view)) {
    case QUANT_ROLE_PART: continue;
    case QUANT_ROLE_IGNORED: ignored++; continue;
    case QUANT_ROLE_PLAIN: break;
    }
    switch (names_leftover(p->ck, view->name)) {
    case LEFTOVER_HARMLESS: continue;
    case LEFTOVER_SCALE:
      return checkpoint_fail(p->ck, view, error, VIVA_E_UNSUPPORTED,
                             "the weights are quantized with scales in tensors of their own, which this version does "
                             "not apply; use the unquantized model or a GGUF file");
    case LEFTOVER_UNKNOWN: break;
    }
    if (!first) first = view->name;
    count++;
  }
  if (ignored)
    runtime_log(p->engine->rt, VIVA_LOG_INFO, "%s: %zu scales for quantised activations or caches are not used",
                p->ck->path, ignored);
  if (count && p->config.num_layers == p->ck_layers)
    runtime_log(p->engine->rt, VIVA_LOG_WARN, "%s: %zu tensor%s not used by a %s model, first \"%s\"", p->ck->path,
                count, count == 1 ? " is" : "s are", p->config.model_type, first);
  return VIVA_OK;
}

/* An entry of the rule that names no matrix is a slip of the pen, which would change nothing without a word. */
static viva_status check_rule(const plan *p, viva_error *error) {
  rule_entry entry;
  for (const char *at = NULL; rule_next(&p->rule, &at, &entry);) {
    int fits = !entry.pattern || rule_fits(&entry, "lm_head") || p->config.num_layers < p->ck_layers;
    for (size_t i = 0; i < p->item_count && !fits; i++) {
      const plan_item *item = &p->items[i];
      char name[96];
      if (item->vector || item == p->embedding) continue;
      names_module(item->slot, item->layer, name, sizeof name);
      fits = rule_fits(&entry, name);
    }
    if (fits) continue;
    char quoted[96];
    error_set(error, VIVA_E_ARGUMENT,
              "\"%s\" fits no matrix of this model, which has model.layers.0-%llu.self_attn.{q,k,v,o}_proj, "
              "mlp.{gate,up,down}_proj and lm_head",
              error_quote(quoted, sizeof quoted, entry.pattern, entry.pattern_bytes),
              (unsigned long long)p->config.num_layers - 1);
    return error_option(error, VIVA_E_ARGUMENT, "weights");
  }
  return VIVA_OK;
}

/* Quantised matrices that the rule leaves as they are, in blocks that no kernel takes: not what the file seems to promise. */
static void warn_unkept(const plan *p) {
  const plan_item *first = NULL;
  size_t count = 0;
  for (size_t i = 0; i < p->item_count; i++) {
    const plan_item *item = &p->items[i];
    char name[96];
    pack_spec spec;
    if (!item->source.scales || item->native || item == p->embedding) continue;
    names_module(item->slot, item->layer, name, sizeof name);
    if (rule_format(&p->rule, name, &spec)) continue;
    if (!first) first = item;
    count++;
  }
  if (!count) return;
  runtime_log(
      p->engine->rt, VIVA_LOG_WARN,
      "%s: %zu quantised matri%s held as BF16, first \"%s\": its scales are for blocks of %llu columns, and FP8 "
      "is kept in blocks of 16, 32, 64 or 128, or whole rows",
      p->ck->path, count, count == 1 ? "x is" : "ces are", first->view->name,
      (unsigned long long)first->source.block_cols);
}

static viva_status collect(plan *p, viva_error *error) {
  mem *m = &p->engine->rt->mem;
  /* Every item is a tensor of its own, and a missing one ends the loop: the configuration's number of layers, which
   * may be anything, decides nothing here. One more is the second form of a tied table. */
  p->items = mem_array(m, p->ck->tensor_count + 2, sizeof *p->items);
  unsigned char *used = mem_array(m, p->ck->tensor_count + 1, 1);
  viva_status status = VIVA_OK;
  if (!p->items || !used)
    status = error_set(error, VIVA_E_MEMORY, "no memory for the list of %zu tensors", p->ck->tensor_count);
  if (!status) status = add_slots(p, names_global, names_global_count, PLAN_GLOBAL, error);
  if (!status) status = check_embedding(p, error);
  if (!status) status = add_other_end(p, error);
  for (size_t l = 0; !status && l < p->config.num_layers; l++)
    status = add_slots(p, names_layer, names_layer_count, l, error);
  if (!status) status = check_rule(p, error);
  if (!status) status = check_leftovers(p, used, error);
  if (!status) warn_unkept(p);
  mem_free(m, used);
  return status;
}

viva_status plan_begin(plan *p, viva_engine *engine, const viva_checkpoint *ck, const viva_model_options *options,
                       viva_error *error) {
  *p = (plan){.engine = engine, .ck = ck, .config = {.size = sizeof p->config}};
  TRY(viva_checkpoint_config(ck, &p->config, error));
  TRY(check_architecture(p, error));
  p->ck_layers = p->config.num_layers;
  TRY(read_options(p, options, error));
  names_find_spelling(ck, &p->names);
  viva_status status = quant_open(ck, &p->quant, error);
  if (!status) status = collect(p, error);
  if (status) {
    plan_end(p);
    return status;
  }
  plan_measure(p);
  status = plan_check_devices(p, error);
  if (status) plan_end(p);
  return status;
}

void plan_end(plan *p) {
  quant_close(p->quant);
  p->quant = NULL;
  mem_free(&p->engine->rt->mem, p->items);
  p->items = NULL;
}
