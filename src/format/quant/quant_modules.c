/* format/quant/quant_modules.c: finds the quantised matrices of a checkpoint, and what its configuration says about each.
 *
 * A matrix is found by the tensor that holds its codes; quant_matrix.c looks up the rest beside it. At the end no tensor
 * may be left that only has a meaning beside such codes.
 */
#include <string.h>

#include "format/quant/quant_inner.h"

/* Of activations and of KV caches, which are not quantised by what a file says. */
static const char *const ignored[] = {"input_scale",
                                      "input_zero_point",
                                      "input_global_scale",
                                      "output_scale",
                                      "output_zero_point",
                                      "output_global_scale",
                                      "activation_scale",
                                      "input_scale_ub",
                                      "q_scale",
                                      "k_scale",
                                      "v_scale",
                                      "kv_scale",
                                      "prob_scale",
                                      "q_zero_point",
                                      "k_zero_point",
                                      "v_zero_point",
                                      "k_global_scale",
                                      "v_global_scale",
                                      "q_global_scale",
                                      "act_scale",
                                      "qscale_act",
                                      "input_scale_inv",
                                      "in_scale",
                                      "scale_input",
                                      "input_activation_scale",
                                      "activation_scaling_factor",
                                      "kv_cache_scaling_factor"};

/* Tensors that mean something only beside codes. */
static const char *const parts[] = {"weight_scale",
                                    "weight_scale_inv",
                                    "weight_scale_2",
                                    "weight_global_scale",
                                    "weight_packed",
                                    "weight_shape",
                                    "weight_zero_point",
                                    "weight_g_idx",
                                    "pre_quant_scale",
                                    "scale_packed",
                                    "compressed",
                                    "bitmask",
                                    "scale_weight",
                                    "qscale_weight",
                                    "weight_scaling_factor",
                                    "weights_scaling_factor",
                                    "row_offsets",
                                    "qweight",
                                    "qzeros",
                                    "scales",
                                    "absmax",
                                    "SCB",
                                    "W_q",
                                    "codebooks"};

static int is_one_of(const char *word, const char *const *list, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (strcmp(word, list[i]) == 0) return 1;
  return 0;
}

/* "model.layers.0.mlp.down_proj.weight" -> "weight", and the length of what is before its point. */
static const char *last_part(const char *name, size_t *module_bytes) {
  const char *dot = strrchr(name, '.');
  *module_bytes = dot ? (size_t)(dot - name) : 0;
  return dot ? dot + 1 : name;
}

/* ---- which scheme a module has */

/* *best: NULL when there is none. */
static viva_status find_group(quant *q, const char *module, const quant_group **best, viva_error *error) {
  const quant_group *groups = (const quant_group *)(const void *)q->groups.items;
  name_match most = MATCH_NONE, found;
  *best = NULL;
  for (size_t i = 0; i < q->groups.count; i++) {
    TRY(names_match(q, &groups[i].targets, module, &found, error));
    if (found > most) *best = &groups[i], most = found;
  }
  return VIVA_OK;
}

/* The item of that name in a list of pointers to structs that begin with their name, sorted by it; or NULL. */
static const void *find_named(void *const *list, size_t count, const char *name) {
  size_t low = 0, high = count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    const char *found;
    memcpy(&found, list[middle], sizeof found);
    int compared = strcmp(found, name);
    if (compared == 0) return list[middle];
    if (compared < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}

static const viva_module *find_viva(const quant *q, const char *module) {
  return find_named((void *const *)(const void *)q->viva.items, q->viva.count, module);
}

typedef enum anchor { ANCHOR_NONE, ANCHOR_WEIGHT, ANCHOR_PACKED, ANCHOR_COMPRESSED } anchor;

/* Whether a tensor holds codes. */
static anchor find_anchor(const quant *q, const tensor_view *view, const char *last) {
  const quant_group *groups = (const quant_group *)(const void *)q->groups.items;
  int nvfp4 = 0;
  for (size_t i = 0; q->method == METHOD_MODELOPT && i < q->groups.count; i++)
    nvfp4 |= groups[i].args.layout == LAYOUT_NVFP4;
  if (strcmp(last, "weight") == 0 && q->method != METHOD_VIVA && view->rank == 2)
    return view->type == TYPE_F8_E4M3 || (nvfp4 && view->type == TYPE_U8) ? ANCHOR_WEIGHT : ANCHOR_NONE;
  if (strcmp(last, "weight_packed") == 0 && (q->method == METHOD_COMPRESSED_TENSORS || q->method == METHOD_VIVA))
    return ANCHOR_PACKED;
  return strcmp(last, "compressed") == 0 && q->sparse ? ANCHOR_COMPRESSED : ANCHOR_NONE;
}

static viva_status find_args(quant_making *k, anchor kind) {
  quant *q = k->q;
  const tensor_view *codes = k->m.codes;
  if (q->method == METHOD_VIVA) {
    const viva_module *found = find_viva(q, k->module);
    if (!found) return quant_fail(k, codes, "the list of modules in quantization_config does not have this one");
    k->args = found->args;
    return VIVA_OK;
  }
  if (kind == ANCHOR_COMPRESSED && codes->type != TYPE_F8_E4M3) return VIVA_OK; /* has no scales */
  name_match ignored_as;
  const quant_group *g;
  TRY(names_match(q, &q->ignore, k->module, &ignored_as, k->error));
  if (ignored_as != MATCH_NONE)
    return quant_fail(k, codes,
                      "is stored in few bits, but the configuration lists its module among those that are not");
  TRY(find_group(q, k->module, &g, k->error));
  if (g && g->unread) {
    if (k->error) *k->error = *g->unread;
    return g->unread->code;
  }
  if (!g || g->args.layout == LAYOUT_DENSE)
    return quant_fail(k, codes, "is stored in few bits, but no group of the configuration says how");
  k->args = g->args;
  int nvfp4 = kind == ANCHOR_PACKED || codes->type == TYPE_U8;
  if (nvfp4 != (g->args.layout == LAYOUT_NVFP4))
    return quant_fail(k, codes,
                      nvfp4 ? "holds packed codes, but the configuration says FP8 for its module"
                            : "holds FP8 codes, but the configuration says NVFP4 for its module");
  return VIVA_OK;
}

static viva_status add_module(quant *q, const tensor_view *codes, anchor kind, size_t module_bytes, viva_error *error) {
  quant_making k = {.q = q, .module_bytes = module_bytes, .error = error};
  k.m = (quant_matrix){.codes = codes, .global = 1, .value_type = TYPE_F32, .scale_type = TYPE_F32};
  TRY(allowance_memory(&q->allowance, sizeof(quant_module) + module_bytes + 64, "the list of quantised matrices",
                       q->ck->path, error));
  char *name = arena_text(q->arena, codes->name, module_bytes);
  quant_module *module = arena_alloc(q->arena, sizeof *module);
  quant_module **item = name && module ? grow_add(&q->ck->rt->mem, &q->modules) : NULL;
  if (!item) return checkpoint_build_no_memory(q->ck->path, "the list of quantised matrices", error);
  *item = module;
  k.module = module->name = name;
  if (codes->rank != 2 || codes->elements == 0) return quant_fail(&k, codes, "expected a matrix that is not empty");
  if (kind != ANCHOR_WEIGHT) q->roles[codes - q->ck->tensors] = QUANT_ROLE_PART;
  if (kind != ANCHOR_WEIGHT && quant_part(q->ck, name, module_bytes, ".weight"))
    return checkpoint_fail(q->ck, codes, error, VIVA_E_FORMAT,
                           "there is also a tensor %.200s.weight: which of the two is the matrix?", name);
  TRY(find_args(&k, kind));
  viva_status status = kind == ANCHOR_COMPRESSED       ? quant_make_sparse(&k)
                       : q->method == METHOD_VIVA      ? quant_make_viva(&k)
                       : k.args.layout == LAYOUT_NVFP4 ? quant_make_nvfp4(&k)
                                                       : quant_make_fp8(&k);
  module->m = k.m;
  return status;
}

/* ---- all of them */

/* Does this tensor only make sense in a quantised checkpoint? Integers are codes, or masks, or zero points. */
static int is_quantised(const tensor_view *view) {
  size_t module_bytes;
  const char *last = last_part(view->name, &module_bytes);
  if (module_bytes == 0) return 0;
  if (is_one_of(last, parts, sizeof parts / sizeof *parts)) return 1;
  return view->rank == 2 && view->type != TYPE_F32 && view->type != TYPE_F16 && view->type != TYPE_BF16 &&
         view->type != TYPE_F64;
}

/* Who quantises in a way of his own, by the tensors that only he writes. NULL: nobody who is known. */
static const char *other_writer(const viva_checkpoint *ck) {
  static const struct {
    const char *part, *writer;
  } others[] = {{"biases", "MLX"},          {"qzeros", "GPTQ or AWQ"}, {"qweight", "GPTQ or AWQ"},
                {"absmax", "bitsandbytes"}, {"SCB", "bitsandbytes"},   {"W_q", "HQQ"},
                {"codebooks", "AQLM"}};
  size_t module_bytes;
  for (size_t i = 0; i < ck->tensor_count; i++) {
    const char *last = last_part(ck->tensors[i].name, &module_bytes);
    for (size_t k = 0; module_bytes > 0 && k < sizeof others / sizeof *others; k++)
      if (strcmp(last, others[k].part) == 0) return others[k].writer;
  }
  return NULL;
}

static viva_status quantised_by(const quant *q, const tensor_view *view, const char *writer, viva_error *error) {
  return checkpoint_fail(q->ck, view, error, VIVA_E_UNSUPPORTED,
                         "the weights are quantised by %s, which viva does not read; it reads %s, and GGUF files",
                         writer, quant_dialects);
}

/* The configuration has a scheme that viva does not read. Without a quantised tensor it is a stale one. */
static viva_status judge_unread(const quant *q, viva_error *error) {
  for (size_t i = 0; i < q->ck->tensor_count; i++) {
    if (!is_quantised(&q->ck->tensors[i])) continue;
    const char *writer = q->unread.code == VIVA_E_FORMAT ? other_writer(q->ck) : NULL; /* the section names none */
    if (writer) return quantised_by(q, &q->ck->tensors[i], writer, error);
    if (error) *error = q->unread;
    return q->unread.code;
  }
  runtime_log(q->ck->rt, VIVA_LOG_WARN,
              "%s: no tensor is quantised; the configuration's section about it is left out (%s)", q->ck->path,
              q->unread.message);
  return VIVA_OK;
}

static viva_status orphan(const quant *q, const tensor_view *view, size_t module_bytes, viva_error *error) {
  const quant_group *groups = (const quant_group *)(const void *)q->groups.items;
  for (size_t i = 0; i < q->groups.count; i++) { /* most likely its own */
    if (!groups[i].unread) continue;
    if (error) *error = *groups[i].unread;
    return groups[i].unread->code;
  }
  const tensor_view *weight = quant_part(q->ck, view->name, module_bytes, ".weight");
  const char *writer = q->method == METHOD_NONE ? other_writer(q->ck) : NULL;
  if (writer) return quantised_by(q, view, writer, error);
  if (q->method == METHOD_NONE)
    return checkpoint_fail(q->ck, view, error, VIVA_E_UNSUPPORTED,
                           "belongs to quantised weights, but there is no quantization_config in config.json (and no "
                           "hf_quant_config.json) that says how; fetch the model's folder again");
  if (weight)
    return checkpoint_fail(q->ck, view, error, VIVA_E_FORMAT,
                           "has no meaning here: %.200s has type %s, and is not what \"%s\" keeps beside such a "
                           "tensor",
                           weight->name, type_name(weight->type), q->scheme);
  return checkpoint_fail(q->ck, view, error, VIVA_E_FORMAT, "has no meaning here: \"%s\" has no codes for it",
                         q->scheme);
}

static viva_status check_rest(quant *q, viva_error *error) {
  size_t module_bytes;
  for (size_t i = 0; i < q->ck->tensor_count; i++) {
    const tensor_view *view = &q->ck->tensors[i];
    const char *last = last_part(view->name, &module_bytes);
    if (q->roles[i] != QUANT_ROLE_PLAIN || module_bytes == 0) continue;
    if (is_one_of(last, parts, sizeof parts / sizeof *parts)) return orphan(q, view, module_bytes, error);
    if (is_one_of(last, ignored, sizeof ignored / sizeof *ignored)) q->roles[i] = QUANT_ROLE_IGNORED;
  }
  return VIVA_OK;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const quant_module *)a)->name, ((const quant_module *)b)->name);
}

static const quant_module *find_module(const quant *q, const char *name) {
  return find_named((void *const *)(const void *)q->modules.items, q->modules.count, name);
}

/* viva's list of modules is complete in both directions. */
static viva_status check_viva(const quant *q, viva_error *error) {
  const viva_module *const *list = (const viva_module *const *)(const void *)q->viva.items;
  for (size_t i = 0; i < q->viva.count; i++) {
    if (find_module(q, list[i]->name)) continue;
    error_set(error, VIVA_E_FORMAT, "the configuration lists this module, but there is no tensor %.200s.weight_packed",
              list[i]->name);
    error_at(error, q->config_path, list[i]->name, -1, VIVA_NO_OFFSET);
    return VIVA_E_FORMAT;
  }
  return VIVA_OK;
}

/* A section that viva reads, about matrices that are all dense: it outlived the quantisation too. */
static void tell_stale(quant *q) {
  if (q->method == METHOD_NONE || q->modules.count > 0 || q->groups.count == 0 || q->algo_null) return;
  runtime_log(q->ck->rt, VIVA_LOG_WARN, "%s: no tensor is quantised; the section about it (%s) is left out",
              q->config_path, q->scheme);
  q->scheme = "";
}

viva_status quant_find_modules(quant *q, viva_error *error) {
  const viva_checkpoint *ck = q->ck;
  size_t module_bytes;
  if (q->unread.code != VIVA_OK) return judge_unread(q, error);
  for (size_t i = 0; q->method != METHOD_NONE && i < ck->tensor_count; i++) {
    const tensor_view *view = &ck->tensors[i];
    anchor kind = find_anchor(q, view, last_part(view->name, &module_bytes));
    if (kind != ANCHOR_NONE && module_bytes > 0) TRY(add_module(q, view, kind, module_bytes, error));
  }
  if (q->modules.count > 1) sort_pointers((const void **)(void *)q->modules.items, q->modules.count, by_name);
  TRY(check_viva(q, error));
  TRY(check_rest(q, error));
  tell_stale(q);
  return VIVA_OK;
}

viva_status quant_find(const quant *q, const char *module, quant_matrix *out, viva_error *error) {
  const quant_module *found = find_module(q, module);
  if (found) return *out = found->m, VIVA_OK;
  const tensor_view *view = quant_part(q->ck, module, strlen(module), ".weight");
  if (!view) {
    error_set(error, VIVA_E_NOT_FOUND, "the checkpoint has no weight of this name");
    error_at(error, q->ck->path, module, -1, VIVA_NO_OFFSET);
    return VIVA_E_NOT_FOUND;
  }
  if (view->rank != 2)
    return checkpoint_fail(q->ck, view, error, VIVA_E_FORMAT, "has rank %u, expected a matrix", view->rank);
  *out = (quant_matrix){.kind = QUANT_DENSE,
                        .rows = view->shape[0],
                        .cols = view->shape[1],
                        .codes = view,
                        .scale_type = TYPE_F32,
                        .global = 1,
                        .value_type = TYPE_F32};
  return VIVA_OK;
}

quant_role quant_tensor_role(const quant *q, const tensor_view *view) {
  return (quant_role)q->roles[view - q->ck->tensors];
}
