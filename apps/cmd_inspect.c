/* cmd_inspect.c: viva inspect: what is in a model's files, and what it needs; also for models that cannot be run. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "inspect.h"
#include "json_out.h"
#include "model_args.h"
#include "units.h"

typedef struct inspect_args {
  model_args model;
  int layers, tensors, metadata, json;
} inspect_args;

#define AT(field) offsetof(inspect_args, field)

static const option part_options[] = {
    {0, OPTION_SET, "layers", NULL, AT(layers), "the tables too, in front: metadata and tensors", 0, 0},
    {0, OPTION_SET, "tensors", NULL, AT(tensors), "only the table of tensors", 0, 0},
    {0, OPTION_SET, "metadata", NULL, AT(metadata), "only the metadata", 0, 0},
    {0, OPTION_SET, "json", NULL, AT(json), "print one JSON object, with the tables", 0, 0},
};

static const option plan_options[] = {
    {'c', OPTION_COUNT, "ctx-size", "N", AT(model.context), "plan for this context; 0: the model's own", 0, 0},
};

static const option_group groups[] = {
    OPTION_GROUP("Model", model_path_options, AT(model)),
    OPTION_GROUP("What to print", part_options, 0),
    OPTION_GROUP("Memory plan", plan_options, 0),
    OPTION_GROUP("How the model would be held", model_hold_options, AT(model)),
    {"Device", model_device_options, MODEL_WHICH_DEVICE_OPTIONS, AT(model)},
};

static void defaults(void *values) {
  inspect_args *args = values;
  memset(args, 0, sizeof *args);
  model_args_defaults(&args->model);
}

/* Is the status about the model itself, so that the rest can still be shown? */
static int is_about_model(viva_status status) { return message_code(status) == CODE_INPUT; }

/* The log of the checkpoint. user: 1 when it is to be silent. */
static void log_unless(void *user, viva_log_level level, const char *message) {
  if (!*(const int *)user) message_log(NULL, level, message);
}

/* Configuration and quantisation. What is wrong or strange with the latter is for the plan to say. Returns 0, or the exit
 * code after a message. */
static int inspect_checkpoint(inspection *in, int *silent) {
  quantised_forms *q = &in->quantised;
  in->config.size = sizeof in->config;
  q->what.size = sizeof q->what;
  viva_status status = viva_checkpoint_config(in->checkpoint, &in->config, &in->config_error);
  in->has_config = status == VIVA_OK;
  if (status != VIVA_OK && !is_about_model(status)) return message_error(&in->config_error);
  *silent = 1;
  if (viva_checkpoint_quantization(in->checkpoint, &q->what, inspect_form, q, NULL) != VIVA_OK) memset(q, 0, sizeof *q);
  return 0;
}

/* The plan, or why there is none. It opens the files itself: in front of the checkpoint, so that one of the two is in
 * memory at a time. Returns 0, or the exit code after a message. */
static int inspect_plan(const model_args *args, inspection *in) {
  in->plan.size = sizeof in->plan;
  int32_t devices[COUNT_LIST_MAX];
  viva_engine_options engine_options = model_args_engine(args, devices);
  viva_model_options model_options = model_args_model(args);
  viva_engine *engine = NULL;
  viva_status status = viva_engine_open(&engine_options, &engine, &in->plan_error);
  if (status == VIVA_OK) status = viva_model_plan(engine, args->path, &model_options, &in->plan, &in->plan_error);
  viva_engine_release(engine);
  in->has_plan = status == VIVA_OK;
  in->weights = model_args_weights(args);
  return status == VIVA_OK || is_about_model(status) ? 0 : message_error(&in->plan_error);
}

/* Without an option the summary for people, and all for machines. */
static void print(output *out, const inspect_args *args, const inspection *in) {
  int model = args->layers || (!args->tensors && !args->metadata);
  int tables = args->layers || (model && args->json);
  inspect_parts parts = {model, tables || args->metadata, tables || args->tensors};
  if (args->json) {
    inspect_print_json(out, in, &parts);
  } else {
    inspect_print_text(out, in, &parts);
  }
}

static int run(output *out, void *values, const operands *rest) {
  inspect_args *args = values;
  if (rest->count > 0 && args->model.path != NULL)
    return message_usage("inspect", "two models: '%s' and, with --model, '%s': give one of them", rest->items[0],
                         args->model.path);
  if (rest->count > 0) args->model.path = rest->items[0];
  int code = model_args_need_path(&args->model, "inspect");
  if (code != 0) return code;
  viva_error error = {0};
  int silent = 0;
  inspection in = {.path = args->model.path};
  viva_checkpoint_options options = viva_checkpoint_options_default();
  options.log = log_unless;
  options.log_user = &silent;
  code = inspect_plan(&args->model, &in);
  if (code != 0) return code;
  if (viva_checkpoint_open(args->model.path, &options, &in.checkpoint, &error) != VIVA_OK) return message_error(&error);
  code = inspect_checkpoint(&in, &silent);
  if (code == 0) print(out, args, &in);
  viva_checkpoint_close(in.checkpoint);
  return code;
}

const command command_inspect = {
    .name = "inspect",
    .synopsis = "MODEL [OPTIONS]",
    .summary = "Shows a model's configuration, types and memory needs",
    .details =
        "\nMODEL is a GGUF file, a safetensors file or index, or a folder with one. A model that cannot be run is\n"
        "shown all the same, with the reason; the exit code is then 0 too. Nothing but headers is read.\n",
    .examples = "  viva inspect model.gguf\n"
                "  viva inspect folder --weights f32 -c 4096\n"
                "  viva inspect model.gguf --layers | less\n"
                "  viva inspect model.gguf --tensors --json\n",
    COMMAND_GROUPS(groups),
    .max_operands = 1,
    .values_size = sizeof(inspect_args),
    .defaults = defaults,
    .run = run,
};
