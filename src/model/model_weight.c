/* model/model_weight.c: handles on the matrices of a model. */
#include "engine/packed.h"
#include "model/model.h"

static const size_t fields[] = {
    [VIVA_PROJ_Q] = offsetof(decoder_layer, q),       [VIVA_PROJ_K] = offsetof(decoder_layer, k),
    [VIVA_PROJ_V] = offsetof(decoder_layer, v),       [VIVA_PROJ_O] = offsetof(decoder_layer, o),
    [VIVA_PROJ_GATE] = offsetof(decoder_layer, gate), [VIVA_PROJ_UP] = offsetof(decoder_layer, up),
    [VIVA_PROJ_DOWN] = offsetof(decoder_layer, down), [VIVA_PROJ_EMBEDDING] = offsetof(decoder, embedding),
    [VIVA_PROJ_HEAD] = offsetof(decoder, head),
};

static int is_global(viva_projection projection) {
  return projection == VIVA_PROJ_EMBEDDING || projection == VIVA_PROJ_HEAD;
}

static void release_model(void *model) { viva_model_release(model); }

viva_status viva_model_weight(const viva_model *model, uint64_t number, viva_projection projection,
                              viva_packed_weight **out, viva_error *error) {
  if (!out) return error_set(error, VIVA_E_ARGUMENT, "weight is NULL; give a place for the handle");
  *out = NULL;
  if (!model) return error_set(error, VIVA_E_ARGUMENT, "model is NULL");
  if ((unsigned)projection > VIVA_PROJ_HEAD) {
    error_set(error, VIVA_E_ARGUMENT, "projection is %d; expected VIVA_PROJ_Q (0) to VIVA_PROJ_HEAD (8)",
              (int)projection);
    return error_option(error, VIVA_E_ARGUMENT, "projection");
  }
  uint64_t count = is_global(projection) ? 1 : model->dec.layer_count;
  if (number >= count) {
    if (is_global(projection))
      error_set(error, VIVA_E_ARGUMENT, "layer is %llu; the embedding and the head have layer 0",
                (unsigned long long)number);
    else
      error_set(error, VIVA_E_ARGUMENT, "layer is %llu, but the model has %zu layers (0 to %zu)",
                (unsigned long long)number, model->dec.layer_count, model->dec.layer_count - 1);
    return error_option(error, VIVA_E_ARGUMENT, "layer");
  }
  const char *owner = is_global(projection) ? (const char *)&model->dec : (const char *)&model->dec.layers[number];
  const weight *w = (const weight *)(const void *)(owner + fields[projection]);
  viva_model *kept = viva_model_retain((viva_model *)model); /* counting is all that changes */
  viva_status status = packed_view(model->engine, w, release_model, kept, out, error);
  if (status) viva_model_release(kept);
  return status;
}

viva_activation_mode viva_model_act(const viva_model *model) {
  static const viva_activation_mode modes[] = {[INPUT_FLOAT] = VIVA_ACT_16,
                                               [INPUT_E4M3] = VIVA_ACT_FP8,
                                               [INPUT_INT8] = VIVA_ACT_INT8,
                                               [INPUT_INT4] = VIVA_ACT_INT4};
  return model ? modes[model->act] : VIVA_ACT_16;
}
