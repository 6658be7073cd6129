/* cmd_compare.c: viva compare: how far a model is from a reference. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "compare.h"
#include "input.h"
#include "model_args.h"
#include "page.h"
#include "units.h"

typedef struct compare_args {
  model_args model; /* of the second; the first has its own path and weights */
  input_args input;
  const char *reference_weights, *beside, *html;
  uint64_t chunks;
  int layers, json;
} compare_args;

#define AT(field) offsetof(compare_args, field)

static const option reference_options[] = {
    {0, OPTION_TEXT, "ref-weights", "RULE", AT(reference_weights),
     "how the reference's matrices are held, as --weights; when not given: as stored", 0, 0},
    {0, OPTION_TEXT, "beside", "RULE", AT(beside),
     "measure a second form too: OTHER, or MODEL, held by this rule; both are shown side by side", 0, 0},
};

static const option window_options[] = {
    {'c', OPTION_COUNT, "ctx-size", "N", AT(model.context), "tokens in a window", 3, 0},
    {0, OPTION_COUNT, "chunks", "N", AT(chunks), "only the first N windows; 0: all", 0, 0},
    {'t', OPTION_COUNT, "threads", "N", AT(model.threads),
     "threads to compute with; 0: physical cores within affinity and cgroup quota", 0, 1024},
};

static const option output_options[] = {
    {0, OPTION_TEXT, "html", "FILE", AT(html), "also write a picture of the result, one HTML file", 0, 0},
    {0, OPTION_SET, "layers", NULL, AT(layers),
     "also measure what each layer does alone, as --html does, and print tables by layer", 0, 0},
    {0, OPTION_SET, "json", NULL, AT(json), "print one JSON object", 0, 0},
};

static const option_group groups[] = {
    OPTION_GROUP("Text", input_options, AT(input)),
    OPTION_GROUP("Windows", window_options, 0),
    OPTION_GROUP("Output", output_options, 0),
    OPTION_GROUP("Messages", model_talk_options, AT(model)),
    OPTION_GROUP("The reference, and a second form", reference_options, 0),
    OPTION_GROUP("How the model is held", model_hold_options, AT(model)),
    OPTION_GROUP("Tokenizer", model_tokenizer_options, AT(model)),
    OPTION_GROUP("Device", model_device_options, AT(model)),
};

static void defaults(void *values) {
  compare_args *args = values;
  memset(args, 0, sizeof *args);
  model_args_defaults(&args->model);
  args->model.context = 512;
}

enum { SIDES = 2 };

/* The reference stays; each model is loaded on its engine, measured, and closed. */
typedef struct run_state {
  const compare_args *args;
  const operands *rest;
  loaded reference;
  viva_model_config config; /* of the reference */
  token_list tokens;
  comparison sides[SIDES];
  size_t count;
  viva_file *page; /* NULL: none, or it has been written */
} run_state;

static int open_reference(run_state *r) {
  model_args reference = r->args->model;
  viva_error error = {0};
  reference.path = r->rest->items[0];
  reference.weights = r->args->reference_weights;
  reference.act = 0;
  reference.weights_flag = "--ref-weights";
  int code = model_open(&reference, "compare", &r->reference);
  if (code != 0) return code;
  r->config.size = sizeof r->config;
  if (viva_model_get_config(r->reference.model, &r->config, &error) != VIVA_OK) return message_error(&error);
  if (viva_model_tokenizer(r->reference.model) == NULL)
    return message_fail(CODE_INPUT, "%s: no tokenizer beside the model: give one with --tokenizer", r->rest->items[0]);
  return 0;
}

static int same_shapes(const viva_model_config *a, const viva_model_config *b) {
  return a->num_layers == b->num_layers && a->hidden_size == b->hidden_size &&
         a->intermediate_size == b->intermediate_size && a->num_heads == b->num_heads &&
         a->num_kv_heads == b->num_kv_heads && a->head_dim == b->head_dim;
}

/* The windows of viva perplexity with its default stride. */
static int plan_windows(const compare_args *args, const token_list *tokens, score *s) {
  s->context = args->model.context;
  s->scored = s->context - s->context / 2 - 1;
  s->windows = tokens->count / s->context;
  if (args->chunks > 0 && args->chunks < s->windows) s->windows = args->chunks;
  if (s->windows > 0) return 0;
  return message_fail(CODE_INPUT,
                      "the text has %zu token%s, a window needs %" PRIu64 ": give a longer text, or a smaller -c",
                      tokens->count, tokens->count == 1 ? "" : "s", s->context);
}

static int measure_text(const run_state *r, const loaded *model, comparison *c) {
  viva_error error = {0};
  int code = plan_windows(r->args, &r->tokens, &c->score);
  if (code != 0) return code;
  progress_start(&c->score.bar, "comparing", r->args->model.quiet);
  viva_status status =
      score_text(r->reference.model, model->model, &r->tokens, (size_t)model->device.threads, &c->score, &error);
  progress_end(&c->score.bar);
  return status == VIVA_OK ? 0 : message_error(&error);
}

static int measure_weights(const run_state *r, const loaded *model, comparison *c) {
  viva_error error = {0};
  progress bar;
  progress_start(&bar, "weights", r->args->model.quiet);
  viva_status status = errors_measure(r->reference.model, model->model, r->config.num_layers, &bar, &c->errors, &error);
  progress_end(&bar);
  c->has_errors = status == VIVA_OK;
  return status == VIVA_OK ? 0 : message_error(&error);
}

static int measure_layers(const run_state *r, const loaded *model, comparison *c) {
  viva_error error = {0};
  progress bar;
  progress_start(&bar, "layers", r->args->model.quiet);
  viva_status status =
      damage_measure(r->reference.model, model->model, &r->tokens, r->args->model.context, &bar, &c->damage, &error);
  progress_end(&bar);
  if (status == VIVA_OK) return 0;
  c->damage.layers = 0;
  if (status == VIVA_E_ARGUMENT || status == VIVA_E_SIZE) { /* no layer of one fits into the other */
    message_note("the layers are not measured one by one: %s", error.message);
    return 0;
  }
  return message_error(&error);
}

/* What is said of a model once it is closed. */
static void describe(const run_state *r, const loaded *model, comparison *c) {
  const input_args *given = &r->args->input;
  c->reference = r->rest->items[0];
  c->reference_text = viva_model_description(r->reference.model);
  c->reference_weights = r->reference.weights;
  text_format(c->model_text, sizeof c->model_text, "%s", viva_model_description(model->model));
  text_format(c->weights, sizeof c->weights, "%s", model->weights);
  text_format(c->mode, sizeof c->mode, "%s", model_mode(model));
  c->input = given->text != NULL ? "-p" : given->file != NULL ? given->file : "standard input";
  c->bytes[0] = r->reference.plan.weight_bytes;
  c->bytes[1] = model->plan.weight_bytes;
  c->parameters[0] = r->reference.plan.parameters;
  c->parameters[1] = model->plan.parameters;
}

static int measure(const run_state *r, const loaded *model, comparison *c) {
  viva_model_config config = {.size = sizeof config};
  viva_error error = {0};
  if (viva_model_get_config(model->model, &config, &error) != VIVA_OK) return message_error(&error);
  if (r->config.vocab_size != config.vocab_size)
    return message_fail(
        CODE_INPUT, "the vocabularies have %" PRIu64 " and %" PRIu64 " tokens: compare models with the same tokenizer",
        r->config.vocab_size, config.vocab_size);
  describe(r, model, c);
  int code = measure_text(r, model, c);
  if (code != 0 || !same_shapes(&r->config, &config)) return code;
  code = measure_weights(r, model, c);
  if (code == 0 && (r->args->layers || r->args->html != NULL)) code = measure_layers(r, model, c);
  return code;
}

/* The model of one side: MODEL, then OTHER or MODEL by another rule. */
static int measure_side(run_state *r, size_t side) {
  model_args args = r->args->model;
  comparison *c = &r->sides[side];
  loaded model = {0};
  args.path = c->model = r->rest->items[side > 0 && r->rest->count > 2 ? 2 : 1];
  if (side > 0) args.weights = r->args->beside;
  if (side > 0) args.weights_flag = "--beside";
  int code = model_open_on(&args, "compare", r->reference.engine, &model);
  if (code == 0) code = measure(r, &model, c);
  model_close(&model);
  if (code == 0 && side > 0) r->sides[side - 1].next = c;
  return code;
}

static int compare(output *out, run_state *r, const input *text) {
  double start = progress_clock();
  int code = open_reference(r);
  if (code == 0)
    code = tokens_encode(viva_model_tokenizer(r->reference.model), text->bytes, text->count, 0, 0, &r->tokens);
  r->count = r->args->beside != NULL || r->rest->count > 2 ? 2 : 1;
  for (size_t side = 0; side < r->count && code == 0; side++) code = measure_side(r, side);
  if (code != 0) return code;
  if (r->args->json)
    compare_json(out, r->sides, progress_clock() - start);
  else
    compare_print(out, r->sides, r->args->layers);
  if (r->page == NULL) return 0;
  viva_file *page = r->page;
  r->page = NULL;
  return page_write(page, compare_page, r->sides);
}

/* Before hours of work it is known whether the page can be written. */
static int begin_page(run_state *r) {
  const compare_args *args = r->args;
  const char *inputs[5];
  size_t count = 0;
  if (args->html == NULL) return 0;
  for (; count < r->rest->count; count++) inputs[count] = r->rest->items[count];
  if (args->model.tokenizer != NULL) inputs[count++] = args->model.tokenizer;
  if (args->input.file != NULL && strcmp(args->input.file, "-") != 0) inputs[count++] = args->input.file;
  return output_begin(args->html, inputs, count, &r->page);
}

static int begin(output *out, run_state *r) {
  input text;
  int code = begin_page(r);
  if (code == 0) code = input_read(&r->args->input, "compare", "text", r->args->model.quiet, &text);
  if (code != 0) return code;
  code = compare(out, r, &text);
  input_free(&text);
  return code;
}

static int run(output *out, void *values, const operands *rest) {
  if (rest->count < 2)
    return message_usage("compare", "expected two models, as in 'viva compare REF MODEL -f text.txt'");
  run_state *r = calloc(1, sizeof *r);
  if (r == NULL) return message_fail(CODE_LIMIT, "no memory to compare");
  r->args = values;
  r->rest = rest;
  int code = begin(out, r);
  viva_file_abort(r->page);
  for (size_t side = 0; side < SIDES; side++) {
    errors_free(&r->sides[side].errors);
    damage_free(&r->sides[side].damage);
    free(r->sides[side].score.kls);
    free(r->sides[side].score.at_position);
  }
  tokens_free(&r->tokens);
  model_close(&r->reference);
  free(r);
  return code;
}

const command command_compare = {
    .name = "compare",
    .synopsis = "REF MODEL [OTHER] [-f FILE | -p TEXT] [OPTIONS]",
    .summary = "Measures how far a model is from a reference",
    .details = "\nBoth go over the same windows of the text, as in viva perplexity. Shown are both perplexities, the\n"
               "KL divergence of the model's predictions from the reference's (mean, median, the value that 99% are\n"
               "below), how often the most probable token is the same, how many of the five most probable ones are,\n"
               "and the relative error of each matrix. REF and MODEL may be one file, held differently. Both models\n"
               "are in memory at once. OTHER, or MODEL held by --beside, is measured after MODEL and shown beside it.\n"
               "--layers and --html also put each layer of the model alone into the reference, over the text's first\n"
               "128 tokens: where the damage arises.\n",
    .examples = "  viva compare model.gguf model.gguf --ref-weights bf16 --weights fp8 -f wiki.test.raw --chunks 20\n"
                "  viva compare SmolLM2-135M/ SmolLM2-135M-nvfp4/ -f wiki.test.raw --html nvfp4.html\n"
                "  viva compare model.gguf model.gguf --weights fp8 --beside nvfp4 -f wiki.test.raw --html both.html\n",
    COMMAND_GROUPS(groups),
    .max_operands = 3,
    .values_size = sizeof(compare_args),
    .defaults = defaults,
    .run = run,
};
