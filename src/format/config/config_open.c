/* format/config/config_open.c: viva_checkpoint_config: the configuration beside the weights, or inside them. */
#include <string.h>

#include "base/options.h"
#include "format/checkpoint_build.h"
#include "format/config/config.h"
#include "format/gguf/gguf.h"

#define MAX_CONFIG_BYTES ((uint64_t)16 << 20) /* the largest real ones, with long lists of labels, have some 100 KB */

static viva_status no_config(const viva_checkpoint *ck, arena *a, const char *path, viva_error *error) {
  const char *adapter = path_join(a, ck->folder, "adapter_config.json");
  int is_adapter = 0;
  if (adapter) (void)path_exists(ck->rt, adapter, &is_adapter, NULL);
  error_set(error, VIVA_E_NOT_FOUND,
            is_adapter ? "the folder holds a LoRA adapter (adapter_config.json) and no model: merge it into its model "
                         "first (peft: merge_and_unload)"
                       : "there is no config.json beside the weights; it says how the model is built: fetch it too");
  error_at(error, path, NULL, 0, VIVA_NO_OFFSET);
  return VIVA_E_NOT_FOUND;
}

static viva_status read_folder(const viva_checkpoint *ck, arena *a, viva_model_config *config, viva_error *error) {
  const char *path = path_join(a, ck->folder, "config.json");
  const char *generation_path = path_join(a, ck->folder, "generation_config.json");
  const char *text = NULL, *generation = NULL;
  size_t bytes = 0, generation_bytes = 0;
  allowance left = ck->allowance;
  uint64_t charged;
  int exists;
  if (!path || !generation_path) return checkpoint_build_no_memory(ck->path, "a path", error);
  viva_status status = file_read_all(ck->rt, a, path, MAX_CONFIG_BYTES, &text, &bytes, error);
  if (status == VIVA_E_NOT_FOUND) return no_config(ck, a, path, error);
  TRY(status);
  TRY(checkpoint_build_charge_json(&left, bytes, path, &charged, error));
  TRY(path_exists(ck->rt, generation_path, &exists, error));
  if (exists) TRY(file_read_all(ck->rt, a, generation_path, MAX_CONFIG_BYTES, &generation, &generation_bytes, error));
  TRY(checkpoint_build_charge_json(&left, generation_bytes, generation_path, &charged, error));
  return config_parse(ck->rt, path, text, bytes, generation_path, generation, generation_bytes, config, error);
}

viva_status viva_checkpoint_config(const viva_checkpoint *checkpoint, viva_model_config *config, viva_error *error) {
  viva_model_config full;
  if (!checkpoint)
    return error_set(error, VIVA_E_ARGUMENT, "checkpoint is NULL; expected what viva_checkpoint_open gave");
  viva_status status;
  if (checkpoint->container == CONTAINER_GGUF) {
    status = gguf_config(checkpoint, &full, error);
  } else {
    arena *a = arena_create(&checkpoint->rt->mem, 16384);
    status = a ? read_folder(checkpoint, a, &full, error)
               : checkpoint_build_no_memory(checkpoint->path, "the configuration", error);
    arena_free(a);
  }
  return status == VIVA_OK ? options_fill(config, &full, "viva_model_config", error) : status;
}
