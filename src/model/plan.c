/* model/plan.c */
#include "model/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/ck.h"
#include "format/config.h"
#include "model/budget.h"

#define BLOCK_ALIGN 64 /* of each weight in the block */

/* Values converted at once: their FP32 form stays in the second-level cache. */
#define PIECE_VALUES ((size_t)64 << 10)

static viva_status read_weights_option(plan *p, const char *text, viva_error *error) {
  static const char *const names[WEIGHT_FORMATS] = {[WEIGHT_F32] = "f32", [WEIGHT_BF16] = "bf16", [WEIGHT_F16] = "f16"};
  char quoted[64];
  if (!text) return VIVA_OK;
  for (int f = 0; f < WEIGHT_FORMATS; f++) {
    if (strcmp(text, names[f]) != 0) continue;
    p->weights = (weight_format)f;
    p->weights_given = 1;
    return VIVA_OK;
  }
  error_set(error, VIVA_E_ARGUMENT, "weights can be f32, bf16 or f16, not \"%s\"; leave it out to keep the stored type",
            error_quote(quoted, sizeof quoted, text, strlen(text)));
  return model_option_error(error, "weights");
}

static viva_status read_options(plan *p, const viva_model_options *o, viva_error *error) {
  viva_model_config *c = &p->config;
  TRY(read_weights_option(p, o->weights, error));
  TRY(model_kv_option(o->kv, &p->kv, error));
  if (o->num_layers > c->num_layers) {
    error_set(error, VIVA_E_ARGUMENT, "%llu layers are asked for, but the model has %llu",
              (unsigned long long)o->num_layers, (unsigned long long)c->num_layers);
    return model_option_error(error, "num_layers");
  }
  if (o->context > MODEL_CONTEXT_MOST) {
    error_set(error, VIVA_E_ARGUMENT, "a context of %llu tokens is asked for; the most is %llu",
              (unsigned long long)o->context, (unsigned long long)MODEL_CONTEXT_MOST);
    return model_option_error(error, "context");
  }
  if (o->num_layers) c->num_layers = o->num_layers;
  p->context = o->context ? o->context : c->max_position_embeddings;
  if (p->context > MODEL_CONTEXT_MOST) p->context = MODEL_CONTEXT_MOST;
  if (p->context > c->max_position_embeddings && c->rope_type != VIVA_ROPE_DYNAMIC)
    runtime_log(p->engine->rt, VIVA_LOG_WARN, "a context of %llu tokens is asked for, but the model was made for %llu",
                (unsigned long long)p->context, (unsigned long long)c->max_position_embeddings);
  return VIVA_OK;
}

static viva_status check_architecture(const plan *p, viva_error *error) {
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
  error_set(error, VIVA_E_UNSUPPORTED, "models of the architecture \"%s\" cannot be run; the families that can are %s",
            error_quote(quoted, sizeof quoted, p->config.architecture, strlen(p->config.architecture)),
            config_supported());
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

static viva_status check_shape(const plan *p, const slot *s, const tensor_view *view, viva_error *error) {
  static const char *const words[DIMS] = {
      [DIM_VOCAB] = "vocab_size",           [DIM_HIDDEN] = "hidden_size",    [DIM_Q] = "num_heads * head_dim",
      [DIM_KV] = "num_kv_heads * head_dim", [DIM_FFN] = "intermediate_size", [DIM_HEAD] = "head_dim",
      [DIM_PAIRS] = "rotary_dim / 2",
  };
  uint64_t expected[2] = {names_dim(s->rows, &p->config), names_dim(s->cols, &p->config)};
  uint32_t rank = s->rows == DIM_NONE ? 1 : 2;
  const uint64_t *shape = expected + (2 - rank);
  if (view->rank == rank && memcmp(view->shape, shape, rank * sizeof *shape) == 0) return VIVA_OK;
  char found[192], wanted[64];
  print_shape(found, sizeof found, view->shape, view->rank);
  print_shape(wanted, sizeof wanted, shape, rank);
  return checkpoint_fail(p->ck, view, error, VIVA_E_FORMAT,
                         "the tensor has shape %s, but the configuration gives %s (%s%s%s); the file and its "
                         "configuration do not belong together, or one is damaged",
                         found, wanted, rank == 2 ? words[s->rows] : "", rank == 2 ? ", " : "", words[s->cols]);
}

/* The format a tensor will be held in. */
static viva_status choose_format(const plan *p, const tensor_view *view, int vector, weight_format *format,
                                 viva_error *error) {
  const type_info *type = type_get(view->type);
  int block = type->block_elements > 1;
  int plain_float =
      type->dtype == VIVA_F64 || type->dtype == VIVA_F32 || type->dtype == VIVA_BF16 || type->dtype == VIVA_F16;
  if (!type->dequant || (!plain_float && !block) || (block && vector))
    return checkpoint_fail(p->ck, view, error, VIVA_E_UNSUPPORTED,
                           "the tensor is stored as %s, which cannot be run here; %s", type_name(view->type),
                           vector ? "norms and biases can be F64, F32, BF16 or F16"
                                  : "weights can be F64, F32, BF16, F16 or a GGUF block type that viva decodes");
  if (vector)
    *format = WEIGHT_F32;
  else if (p->weights_given)
    *format = p->weights;
  else if (type->dtype == VIVA_F16)
    *format = WEIGHT_F16;
  else if (type->dtype == VIVA_F32 || type->dtype == VIVA_F64)
    *format = WEIGHT_F32;
  else
    *format = WEIGHT_BF16;
  return VIVA_OK;
}

int plan_as_stored(const plan_item *item) {
  static const viva_dtype dtypes[WEIGHT_FORMATS] = {
      [WEIGHT_F32] = VIVA_F32, [WEIGHT_BF16] = VIVA_BF16, [WEIGHT_F16] = VIVA_F16};
  return type_get(item->view->type)->dtype == dtypes[item->format];
}

uint64_t plan_file_row_bytes(const plan_item *item) { return item->view->bytes / item->rows; }

size_t plan_piece_rows(const plan_item *item) {
  size_t rows = PIECE_VALUES / item->cols;
  if (rows == 0) rows = 1;
  if (item->head_rows) rows = (rows + item->head_rows - 1) / item->head_rows * item->head_rows;
  return rows < item->rows ? rows : item->rows;
}

static int usable_in_place(const plan *p, const plan_item *item) {
  if (!p->engine->backend->ops->host_memory || item->head_rows || !plan_as_stored(item)) return 0;
  const void *data = checkpoint_mapped(p->ck, item->view);
  return data && (uintptr_t)data % weight_element_bytes(item->format) == 0;
}

static viva_status add_item(plan *p, const slot *s, size_t number, const tensor_view *view, plan_item **out,
                            viva_error *error) {
  plan_item *item = &p->items[p->item_count];
  *item = (plan_item){.slot = s, .layer = number, .view = view, .vector = s->rows == DIM_NONE};
  TRY(check_shape(p, s, view, error));
  TRY(choose_format(p, view, item->vector, &item->format, error));
  item->rows = item->vector ? 1 : (size_t)view->shape[0];
  item->cols = (size_t)view->shape[view->rank - 1];
  if (s->rotated && p->config.permuted_qk) {
    item->head_rows = (size_t)p->config.head_dim;
    if (item->vector) item->rows = item->cols, item->cols = 1;
  }
  item->bytes = budget_mul(view->elements, weight_element_bytes(item->format));
  item->in_place = usable_in_place(p, item);
  p->item_count++;
  *out = item;
  return VIVA_OK;
}

/* ---- all tensors */

static viva_status missing(const plan *p, const char *name, viva_error *error) {
  error_set(error, VIVA_E_FORMAT,
            "a model of type %s with %llu layers needs this tensor, but the file has none of that name; the file is "
            "incomplete, or its configuration belongs to another model",
            p->config.model_type, (unsigned long long)p->config.num_layers);
  error_at(error, p->ck->path, name, -1, VIVA_NO_OFFSET);
  return VIVA_E_FORMAT;
}

static viva_status add_slots(plan *p, const slot *slots, size_t count, size_t number, viva_error *error) {
  for (size_t i = 0; i < count; i++) {
    char name[96];
    plan_item *item;
    int optional = slots[i].need == NEED_EITHER || slots[i].need == NEED_IF_THERE;
    if (!names_needed(&slots[i], &p->config) && !optional) continue;
    if (names_format(&slots[i], p->ck->container, number, name, sizeof name)) continue;
    const tensor_view *view = checkpoint_find(p->ck, name);
    if (!view && optional) continue;
    if (!view) return missing(p, name, error);
    TRY(add_item(p, &slots[i], number, view, &item, error));
    if (&slots[i] == &names_global[NAMES_EMBEDDING]) p->embedding = item;
    if (&slots[i] == &names_global[NAMES_HEAD]) p->head = item;
    if (&slots[i] == &names_global[NAMES_ROPE_FACTORS]) p->rope_factors = item;
  }
  return VIVA_OK;
}

/* Both, one, or none of embedding and head (the rule of transformers 5: see docs/formats-read.md). */
static viva_status check_embedding(const plan *p, viva_error *error) {
  char name[96];
  if (!p->embedding && !p->head) {
    names_format(&names_global[NAMES_EMBEDDING], p->ck->container, 0, name, sizeof name);
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
  size_t count = 0;
  for (size_t i = 0; i < p->item_count; i++) used[p->items[i].view - p->ck->tensors] = 1;
  for (size_t i = 0; i < p->ck->tensor_count; i++) {
    const tensor_view *view = &p->ck->tensors[i];
    if (used[i]) continue;
    switch (names_leftover(view->name)) {
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
  if (count && p->config.num_layers == p->ck_layers)
    runtime_log(p->engine->rt, VIVA_LOG_WARN, "%s: %zu tensor%s not used by a %s model, first \"%s\"", p->ck->path,
                count, count == 1 ? " is" : "s are", p->config.model_type, first);
  return VIVA_OK;
}

static viva_status collect(plan *p, viva_error *error) {
  mem *m = &p->engine->rt->mem;
  /* Every item is a tensor of its own, and a missing one ends the loop: the configuration's number of layers, which
   * may be anything, decides nothing here. */
  p->items = mem_array(m, p->ck->tensor_count + 1, sizeof *p->items);
  unsigned char *used = mem_array(m, p->ck->tensor_count + 1, 1);
  viva_status status = VIVA_OK;
  if (!p->items || !used)
    status = error_set(error, VIVA_E_MEMORY, "no memory for the list of %zu tensors", p->ck->tensor_count);
  if (!status) status = add_slots(p, names_global, names_global_count, PLAN_GLOBAL, error);
  if (!status) status = check_embedding(p, error);
  for (size_t l = 0; !status && l < p->config.num_layers; l++)
    status = add_slots(p, names_layer, names_layer_count, l, error);
  if (!status) status = check_leftovers(p, used, error);
  mem_free(m, used);
  return status;
}

/* ---- memory */

/* Largest buffers of one thread that loads. */
typedef struct loading {
  size_t piece_bytes, piece_values;
} loading;

static void add_piece(loading *l, const plan_item *item) {
  int convert = !plan_as_stored(item);
  size_t rows = plan_piece_rows(item), values = rows * item->cols;
  size_t bytes = (size_t)plan_file_row_bytes(item) * rows;
  if (item->in_place) return;
  if ((item->head_rows || convert) && bytes > l->piece_bytes) l->piece_bytes = bytes;
  if (convert && values > l->piece_values) l->piece_values = values;
}

static uint64_t loading_bytes(const plan *p, const loading *l) {
  uint64_t thread = budget_add(l->piece_bytes, budget_mul(l->piece_values, sizeof(float)));
  return budget_mul((uint64_t)pool_threads(p->engine->pool), thread);
}

/* Largest context beside these weights, up to the model's own limit, or what is asked for where that is larger. */
static uint64_t largest_context(const plan *p, uint64_t weight_bytes, const loading *l) {
  uint64_t limit = p->config.max_position_embeddings;
  if (limit < p->context) limit = p->context;
  if (limit > MODEL_CONTEXT_MOST) limit = MODEL_CONTEXT_MOST;
  return budget_context(p->engine->backend, &p->config, (size_t)p->config.num_layers, p->kv,
                        budget_add(weight_bytes, loading_bytes(p, l)), p->memory.available_bytes, limit);
}

/* Places every copied weight and fills the numbers. Called again when the head turns out to be the embedding. */
static void measure(plan *p) {
  viva_memory_plan *n = &p->memory;
  backend *b = p->engine->backend;
  n->parameters = n->weight_bytes = n->bytes_per_token = 0;
  p->block_bytes = 0;
  loading l = {0, 0};
  for (size_t i = 0; i < p->item_count; i++) {
    plan_item *item = &p->items[i];
    if (item == p->rope_factors) continue;
    n->parameters = budget_add(n->parameters, item->view->elements);
    n->weight_bytes = budget_add(n->weight_bytes, item->bytes);
    int table_only = item == p->embedding && p->head; /* of an untied embedding a token reads one row */
    n->bytes_per_token = budget_add(n->bytes_per_token, table_only ? item->bytes / item->rows : item->bytes);
    if (item->in_place) continue;
    item->offset = p->block_bytes;
    p->block_bytes = budget_add(p->block_bytes, item->bytes);
    if (ck_align(p->block_bytes, BLOCK_ALIGN, &p->block_bytes)) p->block_bytes = UINT64_MAX;
    add_piece(&l, item);
  }
  p->piece_bytes = l.piece_bytes;
  p->piece_values = l.piece_values;
  size_t chunk = budget_chunk(&p->config, p->context, 0), layers = (size_t)p->config.num_layers;
  n->size = sizeof *n;
  n->context = p->context;
  n->kv_bytes = budget_kv(&p->config, layers, p->context, p->kv);
  n->work_bytes = budget_add(budget_work(b, &p->config, p->context, chunk), loading_bytes(p, &l));
  n->needed_bytes = budget_add(n->weight_bytes, budget_add(n->kv_bytes, n->work_bytes));
  n->available_bytes = budget_available(b);
  n->largest_context = largest_context(p, n->weight_bytes, &l);
}

void plan_tie(plan *p) {
  p->item_count--;
  memmove(p->head, p->head + 1, (size_t)(p->items + p->item_count - p->head) * sizeof *p->head);
  if (p->rope_factors > p->head) p->rope_factors--;
  if (p->embedding > p->head) p->embedding--;
  p->head = NULL;
  measure(p);
}

/* Largest context if every matrix were held as BF16; 0 when that saves nothing. */
static uint64_t context_in_16_bits(const plan *p) {
  uint64_t bytes = 0;
  loading l = {0, 0};
  for (size_t i = 0; i < p->item_count; i++) {
    plan_item item = p->items[i];
    if (&p->items[i] == p->rope_factors) continue;
    if (!item.vector) {
      item.format = WEIGHT_BF16;
      item.bytes = budget_mul(item.view->elements, weight_element_bytes(WEIGHT_BF16));
      item.in_place = usable_in_place(p, &item);
    }
    bytes = budget_add(bytes, item.bytes);
    add_piece(&l, &item);
  }
  return bytes < p->memory.weight_bytes ? largest_context(p, bytes, &l) : 0;
}

static const char *plural(uint64_t count) { return count == 1 ? "" : "s"; }

static void advise(const plan *p, char *advice, size_t size) {
  uint64_t fits = p->memory.largest_context, in_16_bits = context_in_16_bits(p);
  int used = fits ? snprintf(advice, size, "the largest context that fits is %llu token%s", (unsigned long long)fits,
                             plural(fits))
                  : snprintf(advice, size, "no context fits");
  if (in_16_bits >= p->context)
    snprintf(advice + used, size - (size_t)used, "; with weights bf16 all of it fits");
  else if (in_16_bits > fits + fits / 8) /* less is not worth the rounding */
    snprintf(advice + used, size - (size_t)used, "; with weights bf16 a context of %llu token%s fits",
             (unsigned long long)in_16_bits, plural(in_16_bits));
}

viva_status plan_refuse(const plan *p, viva_error *error) {
  const viva_memory_plan *n = &p->memory;
  if (n->available_bytes == 0 || n->needed_bytes <= n->available_bytes) return VIVA_OK;
  char needed[32], available[32], weights[32], kv[32], work[32], advice[160];
  advise(p, advice, sizeof advice);
  error_set(error, VIVA_E_LIMIT,
            "the model needs %s (weights %s, KV cache of %llu token%s %s, work %s), but %s are available; %s",
            budget_text(n->needed_bytes, needed), budget_text(n->weight_bytes, weights), (unsigned long long)n->context,
            plural(n->context), budget_text(n->kv_bytes, kv), budget_text(n->work_bytes, work),
            budget_text(n->available_bytes, available), advice);
  error_at(error, p->ck->path, NULL, 0, VIVA_NO_OFFSET);
  return VIVA_E_LIMIT;
}

viva_status plan_begin(plan *p, viva_engine *engine, const viva_checkpoint *ck, const viva_model_options *options,
                       viva_error *error) {
  *p = (plan){.engine = engine, .ck = ck, .config = {.size = sizeof p->config}};
  TRY(viva_checkpoint_config(ck, &p->config, error));
  TRY(check_architecture(p, error));
  p->ck_layers = p->config.num_layers;
  TRY(read_options(p, options, error));
  viva_status status = collect(p, error);
  if (status) {
    plan_end(p);
    return status;
  }
  measure(p);
  return VIVA_OK;
}

void plan_end(plan *p) {
  mem_free(&p->engine->rt->mem, p->items);
  p->items = NULL;
}
