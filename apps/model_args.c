#include "model_args.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "messages.h"
#include "progress.h"
#include "signals.h"
#include "units.h"

const option model_path_options[MODEL_PATH_OPTIONS] = {
    {'m', OPTION_TEXT, "model", "PATH", offsetof(model_args, path),
     "a GGUF file, a folder with config.json and safetensors, or a safetensors file or index in one", 0, 0},
};

const option model_tokenizer_options[MODEL_TOKENIZER_OPTIONS] = {
    {0, OPTION_TEXT, "tokenizer", "PATH", offsetof(model_args, tokenizer),
     "tokenizer.json, or a GGUF file or folder that has one; when not given: the model's own", 0, 0},
};

const option model_hold_options[MODEL_HOLD_OPTIONS] = {
    {0, OPTION_TEXT, "weights", "RULE", offsetof(model_args, weights),
     "hold every matrix as f32, bf16, f16, fp8, fp8-b16, -b32, -b64, -b128, nvfp4, int8-24, int4-24, or by a rule such "
     "as fp8,mlp.down_proj=bf16,layers.0-1=bf16 (viva(1), WEIGHT FORMATS, has every word and suffix); when not given: "
     "as "
     "stored, GGUF's block types as bf16",
     0, 0},
    {0, OPTION_CHOICE, "act", "auto|16|fp8|int8", offsetof(model_args, act),
     "how activations enter packed weights: in 16 or more bits, or quantised row by row; auto is 16", 0, 0},
    {0, OPTION_CHOICE, "kv", "f16|f32|fp8", offsetof(model_args, kv), "type of the KV cache", 0, 0},
    {0, OPTION_CHOICE, "load", "read|mmap", offsetof(model_args, load), "read the files into memory, or map them", 0,
     0},
    {0, OPTION_COUNT, "num-layers", "N", offsetof(model_args, num_layers),
     "use only the first N layers, for debugging; 0: all", 0, 0},
};

const option model_device_options[MODEL_DEVICE_OPTIONS] = {
    {0, OPTION_CHOICE, "device", "auto|cpu|cuda", offsetof(model_args, device), "what to run on", 0, 0},
    {0, OPTION_COUNTS, "devices", "N,...", offsetof(model_args, devices),
     "which devices of the kind: 1, or 0,1 for several GPUs that share the model", 0, 255},
    {0, OPTION_CHOICE, "kernels", "auto|reference|avx2|avx512|avx512-bf16", offsetof(model_args, kernels),
     "which CPU kernels to use", 0, 0},
    {0, OPTION_CHOICE, "decode", "auto|plain|graph|persistent", offsetof(model_args, decode),
     "how tokens are decoded: an operation at a time, as one captured graph (CUDA), or in that with all layers as one "
     "kernel; auto is the last of them that the device has",
     0, 0},
};

const option model_talk_options[MODEL_TALK_OPTIONS] = {
    {'q', OPTION_SET, "quiet", NULL, offsetof(model_args, quiet), "only errors on standard error", 0, 0},
    {'v', OPTION_SET, "verbose", NULL, offsetof(model_args, verbose), "also tell what the library does", 0, 0},
};

void model_args_defaults(model_args *args) { memset(args, 0, sizeof *args); }

viva_engine_options model_args_engine(const model_args *args, int32_t devices[COUNT_LIST_MAX]) {
  static const viva_device_kind kinds[] = {VIVA_DEVICE_AUTO, VIVA_DEVICE_CPU, VIVA_DEVICE_CUDA};
  static const viva_cpu_kernels kernels[] = {VIVA_KERNELS_AUTO, VIVA_KERNELS_REFERENCE, VIVA_KERNELS_AVX2,
                                             VIVA_KERNELS_AVX512, VIVA_KERNELS_AVX512_BF16};
  viva_engine_options options = viva_engine_options_default();
  options.device = kinds[args->device];
  for (size_t i = 0; i < args->devices.count; i++) devices[i] = (int32_t)args->devices.items[i];
  options.devices = args->devices.count ? devices : NULL;
  options.device_count = args->devices.count;
  options.kernels = kernels[args->kernels];
  options.threads = (int32_t)args->threads;
  options.log = message_log;
  options.log_level = args->quiet ? VIVA_LOG_ERROR : args->verbose ? VIVA_LOG_DEBUG : VIVA_LOG_WARN;
  return options;
}

viva_model_options model_args_model(const model_args *args) {
  static const viva_activation_mode act[] = {VIVA_ACT_AUTO, VIVA_ACT_16, VIVA_ACT_FP8, VIVA_ACT_INT8};
  static const viva_dtype kv[] = {VIVA_F16, VIVA_F32, VIVA_E4M3};
  static const viva_decode_path decode[] = {VIVA_DECODE_AUTO, VIVA_DECODE_PLAIN, VIVA_DECODE_GRAPH,
                                            VIVA_DECODE_PERSISTENT};
  static const viva_load_mode load[] = {VIVA_LOAD_READ, VIVA_LOAD_MMAP};
  viva_model_options options = viva_model_options_default();
  options.weights = args->weights;
  options.act = act[args->act];
  options.tokenizer_path = args->tokenizer;
  options.context = args->context;
  options.num_layers = args->num_layers;
  options.kv = kv[args->kv];
  options.load = load[args->load];
  options.decode = decode[args->decode];
  return options;
}

const char *model_args_weights(const model_args *args) { return args->weights != NULL ? args->weights : "as stored"; }

int model_args_need_path(const model_args *args, const char *command) {
  if (args->path != NULL) return 0;
  return message_usage(command, "no model: give one with -m PATH (a GGUF file, or a folder with safetensors)");
}

static int is_packed(const viva_model *model, uint64_t layer, viva_projection projection) {
  viva_packed_weight *weight;
  viva_packed_info info = {.size = sizeof info};
  if (viva_model_weight(model, layer, projection, &weight, NULL) != VIVA_OK) return 0;
  viva_status status = viva_packed_weight_info(weight, &info, NULL);
  viva_packed_weight_release(weight);
  return status == VIVA_OK && info.format > VIVA_WEIGHT_F16;
}

/* The activation mode, which means something where a matrix is packed. */
static const char *find_act(const viva_model *model) {
  viva_model_config config = {.size = sizeof config};
  int packed = is_packed(model, 0, VIVA_PROJ_HEAD);
  if (viva_model_get_config(model, &config, NULL) != VIVA_OK) return NULL;
  for (uint64_t l = 0; l < config.num_layers && !packed; l++)
    for (int p = VIVA_PROJ_Q; p <= VIVA_PROJ_DOWN && !packed; p++) packed = is_packed(model, l, (viva_projection)p);
  if (!packed) return NULL;
  switch (viva_model_act(model)) {
  case VIVA_ACT_FP8: return "fp8";
  case VIVA_ACT_INT8: return "int8";
  default: return "16";
  }
}

const char *model_mode(const loaded *what) {
  if (what->act == NULL) return "";
  return what->act[0] == 'f' ? "activations fp8" : what->act[0] == 'i' ? "activations int8" : "activations 16 bits";
}

static void say_what_is_open(const loaded *what) {
  char weights[32];
  units_bytes(what->plan.weight_bytes, weights, sizeof weights);
  message_note("%s%s%s, %s of weights, context %" PRIu64 ", %s, %" PRId32 " thread%s, %s kernels",
               viva_model_description(what->model), what->act ? ", " : "", model_mode(what), weights,
               what->plan.context, what->device.kind == VIVA_DEVICE_CUDA ? "cuda" : "cpu", what->device.threads,
               what->device.threads == 1 ? "" : "s", what->device.kernels);
}

int model_open(const model_args *args, const char *command, loaded *what) {
  return model_open_on(args, command, NULL, what);
}

int model_open_on(const model_args *args, const char *command, viva_engine *engine, loaded *what) {
  memset(what, 0, sizeof *what);
  int code = model_args_need_path(args, command);
  if (code != 0) return code;
  double start = progress_clock();
  viva_error error = {0};
  progress bar;
  progress_start(&bar, "loading", args->quiet);
  int32_t devices[COUNT_LIST_MAX];
  viva_engine_options engine_options = model_args_engine(args, devices);
  viva_model_options model_options = model_args_model(args);
  model_options.progress = progress_callback;
  model_options.progress_user = &bar;
  if (args->load == VIVA_LOAD_MMAP) signals_mapped(args->path, "use --load read");
  what->device.size = sizeof what->device;
  what->plan.size = sizeof what->plan;
  viva_status status = VIVA_OK;
  if (engine != NULL)
    what->engine = viva_engine_retain(engine);
  else
    status = viva_engine_open(&engine_options, &what->engine, &error);
  if (status == VIVA_OK) status = viva_engine_info(what->engine, &what->device, &error);
  if (status == VIVA_OK) status = viva_model_load(what->engine, args->path, &model_options, &what->model, &error);
  if (status == VIVA_OK) status = viva_model_get_plan(what->model, &what->plan, &error);
  progress_end(&bar);
  what->seconds = progress_clock() - start;
  if (status != VIVA_OK) {
    model_close(what);
    if (args->weights_flag != NULL) message_rename(&error, "weights", args->weights_flag);
    return message_error(&error);
  }
  what->weights = model_args_weights(args);
  what->act = find_act(what->model);
  if (!args->quiet) say_what_is_open(what);
  if (!args->quiet && what->act == NULL && viva_model_act(what->model) != VIVA_ACT_16)
    message_note("--act changes nothing here: no matrix is held in a packed format");
  return 0;
}

void model_close(loaded *what) {
  viva_model_release(what->model);
  viva_engine_release(what->engine);
  what->model = NULL;
  what->engine = NULL;
}

int model_open_tokenizer(const char *path, viva_tokenizer **tokenizer) {
  viva_error error = {0};
  viva_tokenizer_options options = viva_tokenizer_options_default();
  options.log = message_log;
  viva_status status = viva_tokenizer_load(path, &options, tokenizer, &error);
  return status == VIVA_OK ? 0 : message_error(&error);
}
