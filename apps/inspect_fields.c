/* inspect_fields.c: the numbers of a configuration and of a plan by name, and the totals of tensors by type. */
#include <string.h>

#include "inspect.h"
#include "units.h"

#define CONFIG(kind, name)                                                                                             \
  { #name, kind, offsetof(viva_model_config, name) }
#define PLAN(name)                                                                                                     \
  { #name, FIELD_UNSIGNED, offsetof(viva_memory_plan, name) }

const field config_fields[CONFIG_FIELDS] = {
    CONFIG(FIELD_UNSIGNED, hidden_size),
    CONFIG(FIELD_UNSIGNED, intermediate_size),
    CONFIG(FIELD_UNSIGNED, num_layers),
    CONFIG(FIELD_UNSIGNED, num_heads),
    CONFIG(FIELD_UNSIGNED, num_kv_heads),
    CONFIG(FIELD_UNSIGNED, head_dim),
    CONFIG(FIELD_UNSIGNED, rotary_dim),
    CONFIG(FIELD_UNSIGNED, vocab_size),
    CONFIG(FIELD_UNSIGNED, max_position_embeddings),
    CONFIG(FIELD_UNSIGNED, sliding_window),
    CONFIG(FIELD_UNSIGNED, sliding_from_layer),
    CONFIG(FIELD_REAL, rms_norm_eps),
    CONFIG(FIELD_REAL, rope_theta),
    CONFIG(FIELD_REAL, rope_factor),
    CONFIG(FIELD_REAL, rope_low_freq_factor),
    CONFIG(FIELD_REAL, rope_high_freq_factor),
    CONFIG(FIELD_REAL, rope_beta_fast),
    CONFIG(FIELD_REAL, rope_beta_slow),
    CONFIG(FIELD_REAL, rope_attention_factor),
    CONFIG(FIELD_UNSIGNED, rope_original_context),
    CONFIG(FIELD_FLAG, tie_word_embeddings),
    CONFIG(FIELD_FLAG, qkv_bias),
    CONFIG(FIELD_FLAG, o_bias),
    CONFIG(FIELD_FLAG, mlp_bias),
    CONFIG(FIELD_FLAG, qk_norm),
};

const field plan_fields[PLAN_FIELDS] = {
    PLAN(parameters),      PLAN(weight_bytes), PLAN(bytes_per_token), PLAN(kv_bytes),
    PLAN(work_bytes),      PLAN(needed_bytes), PLAN(available_bytes), PLAN(context),
    PLAN(largest_context), PLAN(devices),      PLAN(device_bytes),    PLAN(device_available_bytes),
};

const char *inspect_rope_name(viva_rope_type type) {
  static const char *const names[] = {"default", "linear", "dynamic", "llama3", "yarn"};
  size_t index = (size_t)type;
  return index < sizeof names / sizeof names[0] ? names[index] : "unknown";
}

void inspect_tensor(const viva_checkpoint *checkpoint, size_t index, viva_stored_tensor *info) {
  memset(info, 0, sizeof *info);
  info->size = sizeof *info;
  (void)viva_checkpoint_tensor(checkpoint, index, info, NULL); /* fails only past the last one */
}

static void add(type_total *total, const viva_stored_tensor *info) {
  total->tensors++;
  total->elements += info->elements;
  total->bytes += info->bytes;
}

void inspect_totals(const viva_checkpoint *checkpoint, type_totals *totals) {
  memset(totals, 0, sizeof *totals);
  totals->all.type_name = "all";
  size_t count = viva_checkpoint_tensor_count(checkpoint);
  for (size_t i = 0; i < count; i++) {
    viva_stored_tensor info;
    inspect_tensor(checkpoint, i, &info);
    size_t t = 0;
    while (t < totals->count && strcmp(totals->rows[t].type_name, info.type_name) != 0) t++;
    if (t == totals->count && t < TYPE_TOTALS_MAX) totals->rows[totals->count++].type_name = info.type_name;
    if (t < TYPE_TOTALS_MAX) add(&totals->rows[t], &info);
    add(&totals->all, &info);
  }
}

void inspect_form(void *user, const char *name, const char *form) {
  quantised_forms *q = user;
  if (form == NULL) {
    if (q->unused_count < UNUSED_SHOWN) text_format(q->unused[q->unused_count++], sizeof q->unused[0], "%s", name);
    return;
  }
  size_t i = 0;
  while (i < q->count && strcmp(q->rows[i].form, form) != 0) i++;
  if (i == FORMS_MAX) text_format(q->rows[--i].form, sizeof q->rows[i].form, "others");
  if (i == q->count) text_format(q->rows[q->count++].form, sizeof q->rows[i].form, "%s", form);
  q->rows[i].matrices++;
}
