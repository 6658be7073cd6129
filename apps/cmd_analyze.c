/* cmd_analyze.c: viva analyze: what the values of tensors are like, and what each format would lose of them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyze.h"
#include "arrays.h"
#include "command.h"
#include "compress_args.h"
#include "page.h"
#include "signals.h"
#include "units.h"

typedef struct args {
  compress_args how; /* max_error, measure, threads, json */
  const char *html;
  text_list tensors;
} args;

#define AT(field)  offsetof(args, field)
#define HOW(field) (offsetof(args, how) + offsetof(compress_args, field))

static const option options[] = {
    {0, OPTION_TEXTS, "tensor", "NAME", AT(tensors), "only this tensor; may be given several times", 0, 0},
    {0, OPTION_REAL, "max-error", "PERCENT", HOW(max_error), "the error allowed, in percent of the largest magnitude",
     0, 0},
    {0, OPTION_CHOICE, "measure", "mean|largest|rms", HOW(measure), "which error that is", 0, 0},
    {0, OPTION_TEXT, "html", "PATH", AT(html), "write a page with pictures as well", 0, 0},
    {0, OPTION_SET, "json", NULL, HOW(json), "print one JSON object", 0, 0},
    {'t', OPTION_COUNT, "threads", "N", HOW(threads),
     "threads to compute with; 0: physical cores within affinity and cgroup quota", 0, 1024},
};

static const option_group groups[] = {OPTION_GROUP("Options", options, 0)};

static void defaults(void *values) {
  args *a = values;
  memset(a, 0, sizeof *a);
  compress_args_defaults(&a->how);
}

static void shape_text(const viva_stored_tensor *info, char *text, size_t size) {
  size_t used = text_format(text, size, "[");
  for (uint32_t i = 0; i < info->rank; i++)
    used += text_format(text + used, size - used, "%s%" PRIu64, i > 0 ? ", " : "", info->shape[i]);
  text_format(text + used, size - used, "]");
}

/* A place for one more; NULL: no memory. */
static analysis *next(analyses *all) {
  if (all->count == all->room) {
    const size_t room = all->room > 0 ? 2 * all->room : 16;
    analysis *list = realloc(all->list, room * sizeof *list);
    if (list == NULL) return NULL;
    all->list = list;
    all->room = room;
  }
  analysis *a = &all->list[all->count++];
  *a = (analysis){.d = {.size = sizeof a->d}};
  for (int i = 0; i < VIVA_FORMAT_CANDIDATES; i++) a->candidates[i].size = sizeof a->candidates[i];
  return a;
}

static viva_status analyze(const args *given, viva_engine *engine, const arrays *from, size_t index, analysis *a,
                           viva_error *error) {
  const viva_analyze_options options_ = compress_args_analyze(&given->how);
  viva_stored_tensor info;
  viva_tensor *tensor = NULL;
  viva_status status = arrays_info(from, index, &info, error);
  if (status != VIVA_OK) return status;
  text_format(a->name, sizeof a->name, "%s", info.name);
  shape_text(&info, a->shape, sizeof a->shape);
  a->type_name = info.type_name;
  a->max_error = given->how.max_error;
  status = arrays_read(from, index, &tensor, error);
  if (status == VIVA_OK) status = viva_analyze(engine, tensor, &a->d, error);
  if (status == VIVA_OK && a->d.nonfinite == 0) {
    status = viva_analyze_candidates(engine, tensor, &options_, a->candidates, error);
    a->predicted = status == VIVA_OK;
  }
  viva_tensor_release(tensor);
  return status;
}

/* Returns 0, or the exit code after a message. Prints each tensor as it comes. */
static int analyze_all(const args *given, viva_engine *engine, const arrays *from, analyses *all, output *out) {
  int code = CODE_OK;
  for (size_t i = 0; i < arrays_count(from) && code == CODE_OK; i++) {
    viva_stored_tensor info;
    viva_error error = {0};
    if (arrays_info(from, i, &info, &error) != VIVA_OK) return message_error(&error);
    if (!arrays_wanted(&given->tensors, info.name) || !arrays_real(&info)) continue;
    analysis *a = next(all);
    if (a == NULL) return message_fail(CODE_LIMIT, "no memory for the results");
    if (analyze(given, engine, from, i, a, &error) != VIVA_OK) return message_error(&error);
    if (!given->how.json) analysis_print(out, a);
    output_flush(out);
    if (signals_stopped()) code = message_fail(CODE_INTERRUPTED, "stopped after %zu tensors", all->count);
  }
  return code;
}

static void print_json(output *out, const analyses *all) {
  json_out json = {out, 0};
  json_begin(&json, '{');
  json_key(&json, "tensors"), json_begin(&json, '[');
  for (size_t i = 0; i < all->count; i++) analysis_json(&json, &all->list[i]);
  json_end(&json, ']');
  json_end(&json, '}');
  output_text(out, "\n");
}

static int run(output *out, void *values, const operands *rest) {
  const args *given = values;
  viva_engine *engine = NULL;
  arrays from = {.engine = NULL};
  if (rest->count != 1) return message_usage("analyze", "expected one file, as in 'viva analyze model.safetensors'");
  if (given->how.max_error <= 0) return message_usage("analyze", "--max-error must be above 0");
  analyses all = {.file = rest->items[0]};
  viva_error error = {0};
  viva_file *page = NULL;
  int code = given->html != NULL ? output_begin(given->html, &all.file, strcmp(all.file, "-") != 0, &page) : CODE_OK;
  if (code == CODE_OK) code = compress_args_engine(&given->how, &engine);
  if (code == CODE_OK && arrays_open(engine, all.file, &from, &error) != VIVA_OK) code = message_error(&error);
  if (code == CODE_OK) code = arrays_check_names(&from, &given->tensors, all.file);
  if (code == CODE_OK) code = analyze_all(given, engine, &from, &all, out);
  if (code == CODE_OK && given->how.json) print_json(out, &all);
  if (code == CODE_OK && page != NULL)
    code = page_write(page, analysis_page, &all);
  else
    viva_file_abort(page);
  arrays_close(&from);
  viva_engine_release(engine);
  free(all.list);
  return code;
}

const command command_analyze = {
    .name = "analyze",
    .synopsis = "FILE [OPTIONS]",
    .summary = "Shows how values are distributed and what each format loses",
    .details =
        "\nFILE is what 'viva compress' reads; '-': floats from standard input, which are all held in memory. For\n"
        "each tensor: statistics, a histogram, and the candidates of --codec adaptive with the error that a\n"
        "sample predicts, the smallest first; none where a value is NaN or infinite.\n",
    .examples = "  viva analyze weights.npy\n"
                "  viva analyze model.safetensors --tensor lm_head.weight --max-error 0.5 --html page.html\n",
    COMMAND_GROUPS(groups),
    .max_operands = 1,
    .values_size = sizeof(args),
    .defaults = defaults,
    .run = run,
};
