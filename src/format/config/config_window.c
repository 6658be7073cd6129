/* format/config/config_window.c: which layers attend to a sliding window only.
 *
 * Mistral: all of them, unless sliding_window is null. Qwen: those from max_window_layers on, when use_sliding_window
 * says so. layer_types, where it is given, says it of each layer.
 */
#include <inttypes.h>

#include "format/config/config_values.h"

/* What the families' configurations have when a key is absent (transformers 5.23). */
#define DEFAULT_WINDOW      4096
#define DEFAULT_FULL_LAYERS 28

typedef struct layer_types {
  const config_file *file;
  uint64_t count, first_sliding;
  int full_after_sliding;
} layer_types;

static viva_status visit_layer_type(void *arg, const config_value *element) {
  layer_types *l = arg;
  json_string name = {0};
  char quoted[64];
  if (element->kind != VALUE_STRING) return config_wrong_kind(l->file, element, "a list of strings");
  TRY(config_string(l->file, element, &name));
  if (json_string_is(name, "sliding_attention")) {
    if (l->first_sliding == UINT64_MAX) l->first_sliding = l->count;
  } else if (json_string_is(name, "full_attention") ||
             json_string_is(name, "attention")) { /* the second: an old name */
    l->full_after_sliding |= l->first_sliding != UINT64_MAX;
  } else {
    return config_fail(l->file, element, VIVA_E_UNSUPPORTED,
                       "viva runs full_attention and sliding_attention, not \"%s\"",
                       error_quote(quoted, sizeof quoted, name.text, name.bytes));
  }
  l->count++;
  return VIVA_OK;
}

/* layer_types says which layers slide. window: sliding_window, 0 when it is not set. */
static viva_status read_layer_types(const config_file *file, const config_value *list, uint64_t window,
                                    viva_model_config *c) {
  layer_types l = {.file = file, .first_sliding = UINT64_MAX};
  if (list->kind != VALUE_LIST) return config_wrong_kind(file, list, "a list of strings");
  TRY(config_read_list(file, list, visit_layer_type, &l));
  if (l.count != c->num_layers)
    return config_fail(file, list, VIVA_E_FORMAT, "it has %" PRIu64 " entries for %" PRIu64 " layers", l.count,
                       c->num_layers);
  if (l.first_sliding == UINT64_MAX) return VIVA_OK; /* all full */
  if (window == 0)
    return config_fail(file, list, VIVA_E_FORMAT, "layers slide, but sliding_window is not set or not in use");
  if (l.full_after_sliding)
    return config_fail(
        file, list, VIVA_E_UNSUPPORTED,
        "layers with full attention follow layers with a sliding window; viva runs full ones first, or one kind");
  c->sliding_window = window;
  c->sliding_from_layer = l.first_sliding;
  return VIVA_OK;
}

viva_status config_window(const config_file *file, const window_source *source, viva_model_config *config) {
  int32_t switched = 0;
  int none = source->window->kind != VALUE_ABSENT && config_unset(source->window);
  uint64_t window = none ? 0 : DEFAULT_WINDOW, from = DEFAULT_FULL_LAYERS;
  if (!none) TRY(config_integer(file, source->window, &window));
  TRY(config_boolean(file, source->in_use, &switched));
  TRY(config_integer(file, source->full_layers, &from));
  if (source->rule == WINDOW_NEVER) return VIVA_OK; /* a Llama's layers are all full, whatever the keys say */
  int in_use = source->rule == WINDOW_ALL || switched;
  if (in_use && window == 0 && !none)
    runtime_log(file->rt, VIVA_LOG_WARN, "%s: sliding_window is 0, which no layer could attend with: read as null",
                file->path);
  if (!in_use) window = 0;
  if (config_given(source->layer_types)) return read_layer_types(file, source->layer_types, window, config);
  if (source->rule == WINDOW_ALL) from = 0;
  if (window == 0 || from >= config->num_layers) return VIVA_OK;
  config->sliding_window = window;
  config->sliding_from_layer = from;
  return VIVA_OK;
}
