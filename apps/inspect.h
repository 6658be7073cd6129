/* inspect.h: what viva inspect has found out, and its two printed forms. */
#ifndef APPS_INSPECT_H
#define APPS_INSPECT_H

#include <viva/viva.h>

#include "output.h"

/* Quantised matrices by their form, and the names of tensors that no run uses. */
enum { FORMS_MAX = 16, UNUSED_SHOWN = 8 };
typedef struct form_count {
  char form[64]; /* longer than any */
  uint64_t matrices;
} form_count;
typedef struct quantised_forms {
  viva_quantization what;
  form_count rows[FORMS_MAX]; /* the last one is "others" when there are more */
  char unused[UNUSED_SHOWN][128];
  size_t count, unused_count;
} quantised_forms;

typedef struct inspection {
  const char *path;
  viva_checkpoint *checkpoint;
  int has_config; /* else config_error says why */
  int has_plan;   /* the model can be run; else plan_error says why not */
  viva_model_config config;
  viva_memory_plan plan;
  viva_error config_error, plan_error;
  const char *weights;       /* what the plan is for: a rule, or "as stored" */
  quantised_forms quantised; /* dialect "": nothing is */
} inspection;

typedef struct inspect_parts {
  int model; /* configuration, memory, totals */
  int metadata;
  int tensors;
} inspect_parts;

void inspect_print_text(output *out, const inspection *in, const inspect_parts *parts);
void inspect_print_json(output *out, const inspection *in, const inspect_parts *parts);

/* One number of the configuration or the plan. */
typedef enum field_kind { FIELD_UNSIGNED, FIELD_REAL, FIELD_FLAG } field_kind;
typedef struct field {
  const char *name;
  field_kind kind;
  size_t offset;
} field;

enum { CONFIG_FIELDS = 25, PLAN_FIELDS = 12 };
extern const field config_fields[CONFIG_FIELDS]; /* in a viva_model_config */
extern const field plan_fields[PLAN_FIELDS];     /* in a viva_memory_plan */
const char *inspect_rope_name(viva_rope_type type);

/* Fills forms->rows and unused: a viva_quantization_fn. user: a quantised_forms */
void inspect_form(void *user, const char *name, const char *form);

/* Tensors of one type. */
typedef struct type_total {
  const char *type_name;
  uint64_t tensors, elements, bytes;
} type_total;

enum { TYPE_TOTALS_MAX = 64 }; /* both formats together know fewer types */
typedef struct type_totals {
  type_total rows[TYPE_TOTALS_MAX];
  size_t count;
  type_total all;
} type_totals;

void inspect_totals(const viva_checkpoint *checkpoint, type_totals *totals);

/* Fills info for a tensor that exists. */
void inspect_tensor(const viva_checkpoint *checkpoint, size_t index, viva_stored_tensor *info);

#endif
