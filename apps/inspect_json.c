/* inspect_json.c: viva inspect --json. */
#include "inspect.h"
#include "json_out.h"

static void print_fields(json_out *json, const field *fields, size_t count, const void *base) {
  for (size_t i = 0; i < count; i++) {
    const void *at = (const char *)base + fields[i].offset;
    json_key(json, fields[i].name);
    switch (fields[i].kind) {
    case FIELD_UNSIGNED: json_unsigned(json, *(const uint64_t *)at); break;
    case FIELD_REAL: json_double(json, *(const double *)at); break;
    case FIELD_FLAG: json_boolean(json, *(const int32_t *)at); break;
    }
  }
}

static void print_reason(json_out *json, const viva_error *error) {
  char message[1400];
  viva_error_format(error, message, sizeof message);
  json_text(json, message);
}

static void print_config(json_out *json, const inspection *in) {
  const viva_model_config *c = &in->config;
  json_key(json, "config");
  json_begin(json, '{');
  json_key(json, "architecture"), json_text(json, c->architecture);
  json_key(json, "model_type"), json_text(json, c->model_type);
  json_key(json, "name"), json_text(json, c->name);
  print_fields(json, config_fields, CONFIG_FIELDS, c);
  json_key(json, "rope_type"), json_text(json, inspect_rope_name(c->rope_type));
  json_key(json, "bos_token"), json_integer(json, c->bos_token);
  json_key(json, "eos_tokens"), json_begin(json, '[');
  for (uint32_t i = 0; i < c->num_eos; i++) json_integer(json, c->eos_tokens[i]);
  json_end(json, ']');
  json_end(json, '}');
}

static void print_total(json_out *json, const type_total *t) {
  json_begin(json, '{');
  json_key(json, "type"), json_text(json, t->type_name);
  json_key(json, "tensors"), json_unsigned(json, t->tensors);
  json_key(json, "elements"), json_unsigned(json, t->elements);
  json_key(json, "bytes"), json_unsigned(json, t->bytes);
  json_end(json, '}');
}

static void print_quantised(json_out *json, const quantised_forms *q) {
  json_key(json, "quantization"), json_begin(json, '{');
  json_key(json, "dialect"), json_text(json, q->what.dialect);
  json_key(json, "scheme"), json_text(json, q->what.scheme);
  json_key(json, "matrices"), json_begin(json, '[');
  for (size_t i = 0; i < q->count; i++) {
    json_begin(json, '{');
    json_key(json, "form"), json_text(json, q->rows[i].form);
    json_key(json, "count"), json_unsigned(json, q->rows[i].matrices);
    json_end(json, '}');
  }
  json_end(json, ']');
  json_key(json, "unused_tensors"), json_unsigned(json, q->what.unused);
  json_key(json, "unused_names"), json_begin(json, '[');
  for (size_t i = 0; i < q->unused_count; i++) json_text(json, q->unused[i]);
  json_end(json, ']');
  json_end(json, '}');
}

static void print_model(json_out *json, const inspection *in) {
  type_totals totals;
  inspect_totals(in->checkpoint, &totals);
  json_key(json, "path"), json_text(json, in->path);
  json_key(json, "format"), json_text(json, viva_checkpoint_format(in->checkpoint));
  json_key(json, "runnable"), json_boolean(json, in->has_plan);
  if (!in->has_plan) json_key(json, "reason"), print_reason(json, &in->plan_error);
  if (in->has_config) {
    print_config(json, in);
  } else {
    json_key(json, "config_error"), print_reason(json, &in->config_error);
  }
  if (in->quantised.what.dialect[0] != 0) print_quantised(json, &in->quantised);
  if (in->has_plan) {
    json_key(json, "weights"), json_text(json, in->weights);
    json_key(json, "memory"), json_begin(json, '{');
    print_fields(json, plan_fields, PLAN_FIELDS, &in->plan);
    json_end(json, '}');
  }
  json_key(json, "types"), json_begin(json, '[');
  for (size_t i = 0; i < totals.count; i++) print_total(json, &totals.rows[i]);
  json_end(json, ']');
}

static void print_metadata(json_out *json, const inspection *in) {
  json_key(json, "metadata"), json_begin(json, '[');
  size_t count = viva_checkpoint_metadata_count(in->checkpoint);
  for (size_t i = 0; i < count; i++) {
    viva_metadata m = {.size = sizeof m};
    if (viva_checkpoint_metadata(in->checkpoint, i, &m, NULL) != VIVA_OK) continue;
    json_begin(json, '{');
    json_key(json, "key"), json_text(json, m.key);
    json_key(json, "type"), json_text(json, m.type_name);
    json_key(json, "count"), json_unsigned(json, m.count);
    json_key(json, "text"), json_text(json, m.text);
    json_end(json, '}');
  }
  json_end(json, ']');
}

static void print_tensors(json_out *json, const inspection *in) {
  json_key(json, "tensors"), json_begin(json, '[');
  size_t count = viva_checkpoint_tensor_count(in->checkpoint);
  for (size_t i = 0; i < count; i++) {
    viva_stored_tensor info;
    inspect_tensor(in->checkpoint, i, &info);
    json_begin(json, '{');
    json_key(json, "name"), json_text(json, info.name);
    json_key(json, "type"), json_text(json, info.type_name);
    json_key(json, "shape"), json_begin(json, '[');
    for (uint32_t d = 0; d < info.rank; d++) json_unsigned(json, info.shape[d]);
    json_end(json, ']');
    json_key(json, "elements"), json_unsigned(json, info.elements);
    json_key(json, "bytes"), json_unsigned(json, info.bytes);
    json_key(json, "offset"), json_unsigned(json, info.offset);
    json_key(json, "file"), json_text(json, info.file);
    json_end(json, '}');
  }
  json_end(json, ']');
}

void inspect_print_json(output *out, const inspection *in, const inspect_parts *parts) {
  json_out json = {out, 0};
  json_begin(&json, '{');
  if (parts->model) print_model(&json, in);
  if (parts->metadata) print_metadata(&json, in);
  if (parts->tensors) print_tensors(&json, in);
  json_end(&json, '}');
  output_text(out, "\n");
}
