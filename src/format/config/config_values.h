/* format/config/config_values.h: the members of a JSON object that matter, whatever their kind. Private to config*.c, quant*.c.
 *
 * Reading and judging are apart: a file's keys come in any order, and what is right for a key depends on others.
 */
#ifndef FORMAT_CONFIG_CONFIG_VALUES_H
#define FORMAT_CONFIG_CONFIG_VALUES_H

#include "base/json.h"
#include "format/config/config.h"

typedef struct config_file {
  runtime *rt;
  arena *arena;
  const char *path;
  const char *text; /* the whole file */
  size_t bytes;
  viva_error *error;
} config_file;

typedef enum value_kind {
  VALUE_ABSENT = 0,
  VALUE_NULL,
  VALUE_BOOL,
  VALUE_NUMBER,
  VALUE_STRING,
  VALUE_LIST,
  VALUE_OBJECT
} value_kind;

typedef struct config_value {
  const char *key;
  value_kind kind;
  int boolean;
  json_number number;
  json_string text; /* a string's content; a list's or an object's own text */
  uint64_t offset;  /* in the file */
} config_value;

/* Reads the object in raw (the file's text or a part of it): values[i] receives the member called keys[i]. Other
 * members are checked and left out. *others counts them, if wanted. */
viva_status config_read_object(const config_file *file, json_string raw, const char *const *keys, size_t count,
                               config_value *values, size_t *others);

/* Calls visit for each element of a list. */
viva_status config_read_list(const config_file *file, const config_value *list,
                             viva_status (*visit)(void *arg, const config_value *element), void *arg);

/* An error at a value. */
viva_status config_fail(const config_file *file, const config_value *value, viva_status code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* "expected WHAT, found a string". */
viva_status config_wrong_kind(const config_file *file, const config_value *value, const char *expected);

/* 1 when the key is there and not null. */
int config_given(const config_value *value);

/* 1 when the key is missing, null, or -1: writers say "none" in all three ways. */
int config_unset(const config_value *value);

/* A given value of the right kind, or E_FORMAT; *out stays as it is when the value is not given. */
viva_status config_integer(const config_file *file, const config_value *value, uint64_t *out); /* ≥ 0 */
viva_status config_double(const config_file *file, const config_value *value, double *out);
viva_status config_boolean(const config_file *file, const config_value *value, int32_t *out);
viva_status config_string(const config_file *file, const config_value *value, json_string *out);

/* config_rope.c */

/* The keys of config.json that say how positions are rotated. */
typedef struct rope_source {
  const config_value *parameters; /* rope_parameters: transformers 5 */
  const config_value *scaling;    /* rope_scaling: before */
  const config_value *theta;      /* rope_theta, before */
  const config_value *partial;    /* partial_rotary_factor, before */
  const config_value *original;   /* original_max_position_embeddings beside them: comes first */
} rope_source;

/* Fills config's rope_* and rotary_dim; head_dim and max_position_embeddings are there already. */
viva_status config_rope(const config_file *file, const rope_source *source, viva_model_config *config);

/* config_window.c */

typedef enum window_rule {
  WINDOW_NEVER,
  WINDOW_ALL,
  WINDOW_SWITCHED /* by use_sliding_window and max_window_layers */
} window_rule;

/* The keys of config.json that say which layers slide. */
typedef struct window_source {
  window_rule rule;
  const config_value *window;      /* sliding_window */
  const config_value *in_use;      /* use_sliding_window */
  const config_value *full_layers; /* max_window_layers */
  const config_value *layer_types;
} window_source;

/* Fills config's sliding_window and sliding_from_layer; num_layers is there already. */
viva_status config_window(const config_file *file, const window_source *source, viva_model_config *config);

#endif
