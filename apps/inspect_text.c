/* inspect_text.c: viva inspect for people. */
#include <inttypes.h>
#include <string.h>

#include "inspect.h"
#include "terminal.h"
#include "units.h"

enum { LABEL = 25, VALUE_LENGTH = 100, VALUE_LEAST = 20, NARROW = 66, ROW_TENSOR = 55 };

static int is_narrow(const output *out, int columns) {
  int there = terminal_columns(out->fd);
  return there > 0 && there < columns;
}

static void label(output *out, const char *name) { output_format(out, "  %-*s", LABEL, name); }

static void print_field(output *out, const field *f, const void *base) {
  const char *at = (const char *)base + f->offset;
  label(out, f->name);
  switch (f->kind) {
  case FIELD_UNSIGNED: output_format(out, "%" PRIu64 "\n", *(const uint64_t *)(const void *)at); break;
  case FIELD_REAL: output_format(out, "%g\n", *(const double *)(const void *)at); break;
  case FIELD_FLAG: output_text(out, *(const int32_t *)(const void *)at ? "yes\n" : "no\n"); break;
  }
}

/* Numbers that are not there, and those of a rope type that the model does not use. */
static int is_noise(const field *f, const viva_model_config *config) {
  const char *at = (const char *)config + f->offset;
  int rope = strncmp(f->name, "rope_", 5) == 0 && strcmp(f->name, "rope_theta") != 0;
  if (rope && config->rope_type == VIVA_ROPE_DEFAULT) return 1;
  if (f->kind == FIELD_REAL) return !(*(const double *)(const void *)at > 0);
  return f->kind == FIELD_UNSIGNED && *(const uint64_t *)(const void *)at == 0;
}

static void print_config(output *out, const inspection *in) {
  const viva_model_config *c = &in->config;
  char message[1400];
  output_text(out, "Configuration\n");
  if (!in->has_config) {
    viva_error_format(&in->config_error, message, sizeof message);
    output_sentence(out, 2, "  none: %s", message);
    return;
  }
  if (c->name[0] != 0) label(out, "name"), output_visible(out, c->name, strlen(c->name)), output_text(out, "\n");
  const char *architecture = c->architecture[0] != 0 ? c->architecture : "(none)";
  label(out, "architecture"), output_visible(out, architecture, strlen(architecture)), output_text(out, "\n");
  label(out, "runs as"), output_format(out, "%s\n", c->model_type[0] != 0 ? c->model_type : "(cannot be run)");
  for (size_t i = 0; i < CONFIG_FIELDS; i++)
    if (!is_noise(&config_fields[i], c)) print_field(out, &config_fields[i], c);
  label(out, "rope_type"), output_format(out, "%s\n", inspect_rope_name(c->rope_type));
  if (c->bos_token >= 0) label(out, "bos_token"), output_format(out, "%" PRId32 "\n", c->bos_token);
  if (c->num_eos > 0) label(out, "eos_tokens");
  for (uint32_t i = 0; i < c->num_eos; i++)
    output_format(out, "%" PRId32 "%s", c->eos_tokens[i], i + 1 < c->num_eos ? ", " : "\n");
}

static void print_bytes(output *out, const char *name, uint64_t bytes) {
  char text[32];
  units_bytes(bytes, text, sizeof text);
  label(out, name);
  output_format(out, is_narrow(out, NARROW) ? "%11s\n" : "%11s   (%" PRIu64 ")\n", text, bytes);
}

static void print_plan(output *out, const inspection *in) {
  const viva_memory_plan *p = &in->plan;
  char text[1400];
  if (!in->has_plan) {
    viva_error_format(&in->plan_error, text, sizeof text);
    output_text(out, "\nCannot be run\n");
    output_sentence(out, 2, "  %s", text);
    return;
  }
  output_format(out, "\nMemory needed for a context of %" PRIu64 " tokens\n", p->context);
  print_bytes(out, "weights", p->weight_bytes);
  print_bytes(out, "KV cache", p->kv_bytes);
  print_bytes(out, "work", p->work_bytes);
  print_bytes(out, "together", p->needed_bytes);
  if (p->available_bytes > 0) print_bytes(out, "available now", p->available_bytes);
  if (p->devices > 0) {
    label(out, "devices"), output_format(out, " %" PRIu64 "\n", p->devices);
    print_bytes(out, "on each of them", p->device_bytes);
    if (p->device_available_bytes > 0) print_bytes(out, "available there", p->device_available_bytes);
  }
  print_bytes(out, "read for each token", p->bytes_per_token);
  label(out, "largest context that fits");
  output_format(out, " %" PRIu64 "\n", p->largest_context);
  units_count(p->parameters, text, sizeof text);
  label(out, "parameters");
  output_format(out, "%11s   (%" PRIu64 ")\n", text, p->parameters);
}

static void print_quantised(output *out, const quantised_forms *q) {
  if (q->what.dialect[0] == 0) return;
  output_text(out, "\nQuantisation\n");
  label(out, "dialect"), output_format(out, "%s\n", q->what.dialect);
  if (q->what.scheme[0] != 0) label(out, "scheme"), output_visible(out, q->what.scheme, strlen(q->what.scheme));
  if (q->what.scheme[0] != 0) output_text(out, "\n");
  for (size_t i = 0; i < q->count; i++)
    label(out, q->rows[i].form),
        output_format(out, "%" PRIu64 " matri%s\n", q->rows[i].matrices, q->rows[i].matrices == 1 ? "x" : "ces");
  if (q->what.unused == 0) return;
  label(out, "not used"), output_format(out, "%" PRIu64 " tensor%s\n", q->what.unused, q->what.unused == 1 ? "" : "s");
  for (size_t i = 0; i < q->unused_count; i++)
    output_text(out, "    "), output_visible(out, q->unused[i], strlen(q->unused[i])), output_text(out, "\n");
  if (q->what.unused > q->unused_count) output_text(out, "    ...\n");
}

static void print_total(output *out, const type_total *t) {
  char bytes[32], elements[32];
  units_bytes(t->bytes, bytes, sizeof bytes);
  units_count(t->elements, elements, sizeof elements);
  output_format(out,
                is_narrow(out, NARROW) ? "  %-10s %6" PRIu64 "  %11s  %12s\n"
                                       : "  %-12s %6" PRIu64 " tensors  %11s elements  %12s\n",
                t->type_name, t->tensors, elements, bytes);
}

static void print_totals(output *out, const inspection *in) {
  type_totals totals;
  inspect_totals(in->checkpoint, &totals);
  output_text(out, is_narrow(out, NARROW) ? "\nTypes     tensors     elements         bytes\n" : "\nTypes\n");
  for (size_t i = 0; i < totals.count; i++) print_total(out, &totals.rows[i]);
  print_total(out, &totals.all);
}

/* Cuts at a character's beginning. */
static void print_cut(output *out, int taken, const char *text) {
  size_t length = strlen(text), shown = length;
  size_t most = (size_t)terminal_fit(out->fd, taken + 3, VALUE_LEAST, VALUE_LENGTH, VALUE_LENGTH);
  if (length > most) {
    shown = most;
    while (shown > 0 && ((unsigned char)text[shown] & 0xC0) == 0x80) shown--;
  }
  for (size_t at = 0, part; at < shown; at += part + 1) { /* a backslash is the library's own */
    part = strcspn(text + at, "\\");
    if (part > shown - at) part = shown - at;
    output_visible(out, text + at, part);
    if (at + part < shown) output_text(out, "\\");
  }
  output_text(out, shown < length ? "...\n" : "\n");
}

static void print_metadata(output *out, const inspection *in) {
  size_t count = viva_checkpoint_metadata_count(in->checkpoint);
  output_format(out, "Metadata (%zu)\n", count);
  for (size_t i = 0; i < count && !output_failed(out); i++) {
    viva_metadata m = {.size = sizeof m};
    if (viva_checkpoint_metadata(in->checkpoint, i, &m, NULL) != VIVA_OK) continue;
    output_text(out, "  ");
    output_visible(out, m.key, strlen(m.key));
    output_format(out, " (%s", m.type_name);
    if (m.count != 1) output_format(out, ", %" PRIu64, m.count);
    int taken = (int)(strlen(m.key) + strlen(m.type_name)) + 16, below = is_narrow(out, taken + VALUE_LEAST);
    output_text(out, below ? ") =\n    " : ") = ");
    print_cut(out, below ? 4 : taken, m.text);
  }
}

static void shape_text(const viva_stored_tensor *info, char *text, size_t size) {
  size_t used = 0;
  text_format(text, size, "(one)");
  for (uint32_t d = 0; d < info->rank; d++)
    used += text_format(text + used, size - used, "%s%" PRIu64, d > 0 ? " x " : "", info->shape[d]);
}

static void print_tensors(output *out, const inspection *in) {
  size_t count = viva_checkpoint_tensor_count(in->checkpoint), width = 4;
  viva_stored_tensor info;
  for (size_t i = 0; i < count; i++) {
    inspect_tensor(in->checkpoint, i, &info);
    if (strlen(info.name) > width) width = strlen(info.name);
  }
  if (width > 64) width = 64;                          /* longer names push their row to the right */
  int apart = is_narrow(out, (int)width + ROW_TENSOR); /* the name on a line of its own */
  if (apart) width = 0;
  output_format(out, "Tensors (%zu)\n", count);
  if (!apart) output_format(out, "  %-*s  %-11s  %-20s  %14s\n", (int)width, "name", "type", "shape", "bytes");
  for (size_t i = 0; i < count && !output_failed(out); i++) {
    char shape[200];
    inspect_tensor(in->checkpoint, i, &info);
    shape_text(&info, shape, sizeof shape);
    size_t length = strlen(info.name);
    output_text(out, "  ");
    output_visible(out, info.name, length);
    if (apart) output_text(out, "\n  ");
    output_format(out, apart ? "%*s%-8s %-16s %14" PRIu64 "\n" : "%*s  %-11s  %-20s  %14" PRIu64 "\n",
                  (int)(length < width ? width - length : 0), "", info.type_name, shape, info.bytes);
  }
}

/* What a person looks for, the memory, comes last: it stays on the screen. */
static void print_model(output *out, const inspection *in, const inspect_parts *parts) {
  output_text(out, "File\n");
  label(out, "path"), output_visible(out, in->path, strlen(in->path)), output_text(out, "\n");
  label(out, "format"), output_format(out, "%s\n", viva_checkpoint_format(in->checkpoint));
  if (!parts->metadata)
    label(out, "metadata"), output_format(out, "%zu (--metadata)\n", viva_checkpoint_metadata_count(in->checkpoint));
  if (!parts->tensors)
    label(out, "tensors"), output_format(out, "%zu (--tensors)\n", viva_checkpoint_tensor_count(in->checkpoint));
  output_text(out, "\n");
  print_config(out, in);
  print_quantised(out, &in->quantised);
  print_totals(out, in);
  print_plan(out, in);
}

void inspect_print_text(output *out, const inspection *in, const inspect_parts *parts) {
  if (parts->metadata) print_metadata(out, in);
  if (parts->metadata && parts->tensors) output_text(out, "\n");
  if (parts->tensors) print_tensors(out, in);
  if (!parts->model) return;
  if (parts->metadata || parts->tensors) output_text(out, "\n");
  print_model(out, in, parts);
}
