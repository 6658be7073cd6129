/* cmd_quantize.c: viva quantize: writes a model in few bits as a Hugging Face folder. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "json_out.h"
#include "model_args.h"
#include "progress.h"
#include "signals.h"
#include "terminal.h"
#include "units.h"
#include "visible.h"

enum { WORST = 5, NO_LAYER = -1 };

typedef struct quantize_args {
  model_args model;
  const char *format;
  uint64_t shard_megabytes;
  int overwrite, force, layers, json;
} quantize_args;

#define AT(field) offsetof(quantize_args, field)

static const option format_options[] = {
    {0, OPTION_TEXT, "format", "RULE", AT(format),
     "what to write: fp8, fp8-b16 to fp8-b128, nvfp4, int8-24, int4-24, bf16, f16, f32, with exceptions as in "
     "'fp8,mlp.down_proj=bf16' (viva(1), WEIGHT FORMATS, has every word and suffix); or dense, to go back",
     0, 0},
    {0, OPTION_TEXT, "to", "RULE", AT(format), "another name of --format", 0, 0},
    {0, OPTION_COUNT, "shard-size", "MB", AT(shard_megabytes), "no file of weights grows beyond this", 1, 1e9},
    {0, OPTION_SET, "overwrite", NULL, AT(overwrite), "replace the folder OUT when it is there", 0, 0},
    {0, OPTION_SET, "force", NULL, AT(force), "write 2:4 formats without asking: they prune half of the weights", 0, 0},
    {'t', OPTION_COUNT, "threads", "N", AT(model.threads),
     "threads to compute with; 0: physical cores within affinity and cgroup quota", 0, 1024},
};

static const option output_options[] = {
    {0, OPTION_SET, "layers", NULL, AT(layers), "also print a table of the layers", 0, 0},
    {0, OPTION_SET, "json", NULL, AT(json), "print one JSON object", 0, 0},
};

static const option_group groups[] = {
    OPTION_GROUP("Format", format_options, 0),
    OPTION_GROUP("Output", output_options, 0),
    OPTION_GROUP("Messages", model_talk_options, AT(model)),
};

static void defaults(void *values) {
  quantize_args *args = values;
  memset(args, 0, sizeof *args);
  model_args_defaults(&args->model);
  args->shard_megabytes = 5000;
}

/* A matrix that has been written. */
typedef struct matrix {
  char name[96], format[32];
  uint64_t rows, cols, before, after;
  double error, norm;
} matrix;

typedef struct job {
  progress bar;
  matrix *list;
  size_t count, capacity;
  int no_memory;
  char sizes[192]; /* what the model will take: told when the work begins; "": told, or not known */
} job;

static int on_tensor(void *user, const viva_quantize_tensor *t) {
  job *j = user;
  if (j->count == j->capacity) {
    size_t capacity = j->capacity > 0 ? 2 * j->capacity : 64;
    matrix *list = realloc(j->list, capacity * sizeof *list);
    if (list == NULL) return j->no_memory = 1;
    j->list = list;
    j->capacity = capacity;
  }
  matrix *m = &j->list[j->count++];
  *m = (matrix){.rows = t->out_features, .cols = t->in_features, .before = t->bytes_before, .after = t->bytes_after};
  m->error = t->error;
  m->norm = t->norm;
  text_format(m->name, sizeof m->name, "%s", t->name);
  text_format(m->format, sizeof m->format, "%s", t->format);
  return signals_stopped();
}

/* The first call comes when everything was checked and the output is begun. */
static int on_progress(void *user, uint64_t done, uint64_t total) {
  job *j = user;
  if (j->sizes[0] != 0) message_note("%s", j->sizes);
  j->sizes[0] = 0;
  return progress_callback(&j->bar, done, total);
}

/* The layer that a name speaks of, "model.layers.3.mlp…", or NO_LAYER. */
static int64_t layer_of(const matrix *m) {
  static const char mark[] = ".layers.";
  const char *found = strstr(m->name, mark);
  return found != NULL ? strtoll(found + strlen(mark), NULL, 10) : NO_LAYER;
}

/* All matrices of one layer together. */
typedef struct layer_sum {
  uint64_t before, after;
  double error2, norm2;
} layer_sum;

static layer_sum sum_layer(const job *j, int64_t layer) {
  layer_sum sum = {0};
  for (size_t i = 0; i < j->count; i++) {
    const matrix *m = &j->list[i];
    if (layer_of(m) != layer) continue;
    sum.before += m->before;
    sum.after += m->after;
    sum.error2 += m->error * m->norm * (m->error * m->norm);
    sum.norm2 += m->norm * m->norm;
  }
  return sum;
}

static double sum_error(const layer_sum *sum) { return sum->norm2 > 0 ? sqrt(sum->error2 / sum->norm2) : 0; }

static int64_t last_layer(const job *j) {
  int64_t last = NO_LAYER;
  for (size_t i = 0; i < j->count; i++) last = layer_of(&j->list[i]) > last ? layer_of(&j->list[i]) : last;
  return last;
}

static int compare_errors(const void *a, const void *b) {
  const matrix *x = a, *y = b;
  if (x->error < y->error || x->error > y->error) return x->error < y->error ? 1 : -1;
  return strcmp(x->name, y->name);
}

/* ---- for people */

static void print_row(output *out, const char *name, uint64_t before, uint64_t after, double error) {
  char from[32], to[32], shown[256];
  units_bytes(before, from, sizeof from);
  units_bytes(after, to, sizeof to);
  visible_copy(shown, sizeof shown, name, strlen(name), "");
  output_format(out, "%-12s %12s %12s  %8.4f%%\n", shown, from, to, 100 * error);
}

static void print_layers(output *out, const job *j) {
  char name[32];
  output_format(out, "%-12s %12s %12s  %9s\n", "layer", "before", "after", "error");
  for (int64_t layer = 0; layer <= last_layer(j); layer++) {
    layer_sum sum = sum_layer(j, layer);
    text_format(name, sizeof name, "%" PRId64, layer);
    print_row(out, name, sum.before, sum.after, sum_error(&sum));
  }
  for (size_t i = 0; i < j->count; i++)
    if (layer_of(&j->list[i]) == NO_LAYER) {
      const char *dot = strrchr(j->list[i].name, '.');
      print_row(out, dot != NULL ? dot + 1 : j->list[i].name, j->list[i].before, j->list[i].after, j->list[i].error);
    }
  output_text(out, "\n");
}

enum { NARROW = 66 }; /* columns that a row with a whole name may take */

/* The summary is the last line. */
static void print_text(output *out, job *j, const viva_quantize_result *result, int layers) {
  char from[32], to[32];
  if (layers) print_layers(out, j);
  qsort(j->list, j->count, sizeof *j->list, compare_errors);
  int errors = j->count > 0 && j->list[0].error > 0, columns = terminal_columns(out->fd);
  int narrow = columns > 0 && columns < NARROW;
  if (errors) output_text(out, "largest errors\n");
  for (size_t i = 0; i < j->count && i < WORST && j->list[i].error > 0; i++) {
    output_format(out, narrow ? "%6.2f%% %s " : "%8.4f%%  %-16s ", 100 * j->list[i].error, j->list[i].format);
    output_visible(out, j->list[i].name, strlen(j->list[i].name));
    output_text(out, "\n");
  }
  units_bytes(result->bytes_before, from, sizeof from);
  units_bytes(result->bytes_after, to, sizeof to);
  if (errors) output_text(out, "\n");
  output_sentence(out, 2, "%s -> %s: %" PRIu64 " tensors, %" PRIu64 " packed matrices, %" PRIu64 " files; error %.4f%%",
                  from, to, result->tensors, result->packed, result->files, 100 * result->error);
}

/* ---- for programs */

static void print_json(output *out, const job *j, const viva_quantize_result *result, const char *rule,
                       double seconds) {
  json_out json = {out, 0};
  json_begin(&json, '{');
  json_key(&json, "weights"), json_text(&json, rule);
  json_key(&json, "bytes_before"), json_unsigned(&json, result->bytes_before);
  json_key(&json, "bytes_after"), json_unsigned(&json, result->bytes_after);
  json_key(&json, "tensors"), json_unsigned(&json, result->tensors);
  json_key(&json, "packed"), json_unsigned(&json, result->packed);
  json_key(&json, "files"), json_unsigned(&json, result->files);
  json_key(&json, "error"), json_double(&json, result->error);
  json_key(&json, "seconds"), json_double(&json, seconds);
  json_key(&json, "matrices"), json_begin(&json, '[');
  for (size_t i = 0; i < j->count; i++) {
    const matrix *m = &j->list[i];
    json_begin(&json, '{');
    json_key(&json, "name"), json_text(&json, m->name);
    json_key(&json, "format"), json_text(&json, m->format);
    json_key(&json, "out_features"), json_unsigned(&json, m->rows);
    json_key(&json, "in_features"), json_unsigned(&json, m->cols);
    json_key(&json, "bytes_before"), json_unsigned(&json, m->before);
    json_key(&json, "bytes_after"), json_unsigned(&json, m->after);
    json_key(&json, "error"), json_double(&json, m->error);
    json_end(&json, '}');
  }
  json_end(&json, ']');
  json_end(&json, '}');
  output_text(out, "\n");
}

/* ---- before the work */

/* Bytes of the tensors as they lie in the files; 0: not known here, and the work will say why. */
static uint64_t stored_bytes(const char *path) {
  viva_checkpoint *checkpoint;
  uint64_t bytes = 0;
  if (viva_checkpoint_open(path, NULL, &checkpoint, NULL) != VIVA_OK) return 0;
  for (size_t i = 0; i < viva_checkpoint_tensor_count(checkpoint); i++) {
    viva_stored_tensor info = {.size = sizeof info};
    if (viva_checkpoint_tensor(checkpoint, i, &info, NULL) == VIVA_OK) bytes += info.bytes;
  }
  viva_checkpoint_close(checkpoint);
  return bytes;
}

/* What it will cost, before hours are spent on it. */
static void find_sizes(const quantize_args *args, viva_engine *engine, const char *path, job *j) {
  int dense = strcmp(args->format, "dense") == 0;
  viva_model_options options = viva_model_options_default();
  viva_memory_plan plan = {.size = sizeof plan};
  char from[32], to[32];
  options.weights = dense ? NULL : args->format;
  uint64_t before = stored_bytes(path);
  if (args->model.quiet || before == 0 || viva_model_plan(engine, path, &options, &plan, NULL) != VIVA_OK) return;
  uint64_t after = dense ? 2 * plan.parameters : plan.weight_bytes;
  units_bytes(before, from, sizeof from);
  units_bytes(after, to, sizeof to);
  text_format(j->sizes, sizeof j->sizes, "%s of weights become about %s%s", from, to,
              after > before ? ": the model grows, for the file holds it in fewer bits than this format" : "");
}

/* Half of the weights go: a person may want to hear that first. Returns 0, or the exit code after a message. */
static int confirm_pruning(const quantize_args *args) {
  char answer[16] = "";
  if (args->force || strstr(args->format, "-24") == NULL) return 0;
  static const char warning[] =
      "2:4 formats prune half of the weights: a model that was not trained for that is destroyed";
  if (isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1)
    return message_usage("quantize", "%s; to write it nevertheless give --force", warning);
  message_note("%s; type yes to go on", warning);
  ssize_t got = read(STDIN_FILENO, answer, sizeof answer - 1);
  if (got > 0 && strcmp(answer, "yes\n") == 0) return 0;
  return message_fail(CODE_INTERRUPTED, "nothing was written");
}

/* ---- the run */

static int quantize(output *out, const quantize_args *args, const char *from, const char *to) {
  job j = {.count = 0};
  viva_error error = {0};
  viva_engine *engine = NULL;
  viva_quantize_result result = {.size = sizeof result};
  viva_quantize_options options = viva_quantize_options_default();
  options.weights = args->format;
  options.shard_bytes = args->shard_megabytes * 1000000;
  options.overwrite = args->overwrite;
  options.progress = on_progress;
  options.progress_user = &j;
  options.on_tensor = on_tensor;
  options.on_tensor_user = &j;
  int32_t devices[COUNT_LIST_MAX];
  viva_engine_options engine_options = model_args_engine(&args->model, devices);
  double start = progress_clock();
  progress_start(&j.bar, "quantizing", args->model.quiet);
  viva_status status = viva_engine_open(&engine_options, &engine, &error);
  if (status == VIVA_OK) find_sizes(args, engine, from, &j);
  if (status == VIVA_OK) status = viva_quantize(engine, from, to, &options, &result, &error);
  progress_end(&j.bar);
  viva_engine_release(engine);
  int code = CODE_OK;
  if (j.no_memory)
    code = message_fail(CODE_LIMIT, "no memory for the table of results; nothing was written");
  else if (status != VIVA_OK)
    message_rename(&error, "weights", "--format"), code = message_error(&error);
  else if (args->json)
    print_json(out, &j, &result, args->format, progress_clock() - start);
  else if (!args->model.quiet)
    print_text(out, &j, &result, args->layers);
  free(j.list);
  return code;
}

static int run(output *out, void *values, const operands *rest) {
  const quantize_args *args = values;
  if (rest->count < 2)
    return message_usage("quantize", "expected the model to read and the folder to write, as in 'viva quantize IN OUT "
                                     "--format fp8'");
  if (args->format == NULL)
    return message_usage("quantize", "no format: give one with --format, such as fp8, nvfp4 or dense");
  int code = confirm_pruning(args);
  return code == 0 ? quantize(out, args, rest->items[0], rest->items[1]) : code;
}

const command command_quantize = {
    .name = "quantize",
    .synopsis = "IN OUT --format RULE [OPTIONS]",
    .summary = "Writes a model in few bits as a Hugging Face folder",
    .details =
        "\nIN is a GGUF file, a folder with config.json and safetensors, or a safetensors file in one. OUT is a\n"
        "new folder: config.json, the tokenizer's files and safetensors in the layouts of compressed-tensors, or\n"
        "in viva's own where that has none (docs/formats.md). It appears whole or not at all; IN is never\n"
        "changed. Loading OUT gives the bits that IN gives with --weights RULE. The error of a matrix is the\n"
        "root of the sum of squared differences over that of squared weights.\n",
    .examples = "  viva quantize SmolLM2-135M/ SmolLM2-135M-fp8/ --format fp8\n"
                "  viva quantize model.gguf model-nvfp4/ --format 'nvfp4,lm_head=fp8'\n"
                "  viva quantize SmolLM2-135M-fp8/ SmolLM2-135M-bf16/ --format dense\n",
    COMMAND_GROUPS(groups),
    .max_operands = 2,
    .values_size = sizeof(quantize_args),
    .defaults = defaults,
    .run = run,
};
