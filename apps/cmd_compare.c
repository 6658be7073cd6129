/* cmd_compare.c: viva compare: how far a model is from a reference. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "compare.h"
#include "input.h"
#include "model_args.h"
#include "page.h"

typedef struct compare_args {
  model_args model; /* of the second; the first has its own path and weights */
  input_args input;
  const char *reference_weights, *html;
  uint64_t chunks;
  int layers, json;
} compare_args;

#define AT(field) offsetof(compare_args, field)

static const option reference_options[] = {
    {0, OPTION_TEXT, "ref-weights", "RULE", AT(reference_weights),
     "how the reference's matrices are held, as --weights; when not given: as stored", 0, 0},
};

static const option window_options[] = {
    {'c', OPTION_COUNT, "ctx-size", "N", AT(model.context), "tokens in a window", 3, 0},
    {0, OPTION_COUNT, "chunks", "N", AT(chunks), "only the first N windows; 0: all", 0, 0},
    {'t', OPTION_COUNT, "threads", "N", AT(model.threads),
     "threads to compute with; 0: physical cores within affinity and cgroup quota", 0, 1024},
};

static const option output_options[] = {
    {0, OPTION_TEXT, "html", "FILE", AT(html), "also write a picture of the result, one HTML file", 0, 0},
    {0, OPTION_SET, "layers", NULL, AT(layers), "also print a table of the errors by layer", 0, 0},
    {0, OPTION_SET, "json", NULL, AT(json), "print one JSON object", 0, 0},
};

static const option_group groups[] = {
    OPTION_GROUP("Text", input_options, AT(input)),
    OPTION_GROUP("Windows", window_options, 0),
    OPTION_GROUP("Output", output_options, 0),
    OPTION_GROUP("Messages", model_talk_options, AT(model)),
    OPTION_GROUP("The reference", reference_options, 0),
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

/* Both models and what was measured. */
typedef struct pair {
  loaded reference, model;
  viva_model_config config, other;
  score score;
  weight_errors errors;
  viva_file *page; /* NULL: none, or it has been written */
} pair;

static int open_pair(const compare_args *args, const operands *rest, pair *p) {
  model_args reference = args->model, model = args->model;
  viva_error error = {0};
  reference.path = rest->items[0];
  reference.weights = args->reference_weights;
  reference.act = 0;
  reference.weights_flag = "--ref-weights";
  model.path = rest->items[1];
  int code = model_open(&reference, "compare", &p->reference);
  if (code == 0) code = model_open(&model, "compare", &p->model);
  if (code != 0) return code;
  p->config.size = sizeof p->config;
  p->other.size = sizeof p->other;
  if (viva_model_get_config(p->reference.model, &p->config, &error) != VIVA_OK ||
      viva_model_get_config(p->model.model, &p->other, &error) != VIVA_OK)
    return message_error(&error);
  if (p->config.vocab_size != p->other.vocab_size)
    return message_fail(
        CODE_INPUT, "the vocabularies have %" PRIu64 " and %" PRIu64 " tokens: compare models with the same tokenizer",
        p->config.vocab_size, p->other.vocab_size);
  if (viva_model_tokenizer(p->reference.model) == NULL)
    return message_fail(CODE_INPUT, "%s: no tokenizer beside the model: give one with --tokenizer", rest->items[0]);
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

static int measure_weights(const compare_args *args, pair *p, int *measured) {
  viva_error error = {0};
  progress bar;
  *measured = same_shapes(&p->config, &p->other);
  if (!*measured) return 0;
  progress_start(&bar, "weights", args->model.quiet);
  viva_status status =
      errors_measure(p->reference.model, p->model.model, p->config.num_layers, &bar, &p->errors, &error);
  progress_end(&bar);
  return status == VIVA_OK ? 0 : message_error(&error);
}

static int measure_text(const compare_args *args, const input *text, pair *p) {
  token_list tokens = {NULL, 0};
  viva_error error = {0};
  int code = tokens_encode(viva_model_tokenizer(p->reference.model), text->bytes, text->count, 0, 0, &tokens);
  if (code == 0) code = plan_windows(args, &tokens, &p->score);
  if (code == 0) {
    progress_start(&p->score.bar, "comparing", args->model.quiet);
    viva_status status =
        score_text(p->reference.model, p->model.model, &tokens, (size_t)p->model.device.threads, &p->score, &error);
    progress_end(&p->score.bar);
    if (status != VIVA_OK) code = message_error(&error);
  }
  tokens_free(&tokens);
  return code;
}

static int compare(output *out, const compare_args *args, const operands *rest, const input *text, pair *p) {
  int measured = 0;
  double start = progress_clock();
  int code = open_pair(args, rest, p);
  if (code == 0) code = measure_text(args, text, p);
  if (code == 0) code = measure_weights(args, p, &measured);
  if (code != 0) return code;
  comparison c = {.reference = rest->items[0],
                  .model = rest->items[1],
                  .reference_text = viva_model_description(p->reference.model),
                  .model_text = viva_model_description(p->model.model),
                  .reference_weights = p->reference.weights,
                  .weights = p->model.weights,
                  .mode = model_mode(&p->model),
                  .input = args->input.text != NULL   ? "-p"
                           : args->input.file != NULL ? args->input.file
                                                      : "standard input",
                  .bytes = {p->reference.plan.weight_bytes, p->model.plan.weight_bytes},
                  .parameters = p->model.plan.parameters,
                  .score = &p->score,
                  .errors = measured ? &p->errors : NULL};
  if (args->json)
    compare_json(out, &c, progress_clock() - start);
  else
    compare_print(out, &c, args->layers);
  if (p->page == NULL) return 0;
  viva_file *page = p->page;
  p->page = NULL;
  return page_write(page, compare_page, &c);
}

/* Before hours of work it is known whether the page can be written. */
static int begin_page(const compare_args *args, const operands *rest, pair *p) {
  const char *inputs[4] = {rest->items[0], rest->items[1]};
  size_t count = 2;
  if (args->html == NULL) return 0;
  if (args->model.tokenizer != NULL) inputs[count++] = args->model.tokenizer;
  if (args->input.file != NULL && strcmp(args->input.file, "-") != 0) inputs[count++] = args->input.file;
  return output_begin(args->html, inputs, count, &p->page);
}

static int begin(output *out, const compare_args *args, const operands *rest, pair *p) {
  input text;
  int code = begin_page(args, rest, p);
  if (code == 0) code = input_read(&args->input, "compare", "text", args->model.quiet, &text);
  if (code != 0) return code;
  code = compare(out, args, rest, &text, p);
  input_free(&text);
  return code;
}

static int run(output *out, void *values, const operands *rest) {
  const compare_args *args = values;
  if (rest->count < 2)
    return message_usage("compare", "expected two models, as in 'viva compare REF MODEL -f text.txt'");
  pair *p = calloc(1, sizeof *p);
  if (p == NULL) return message_fail(CODE_LIMIT, "no memory to compare");
  int code = begin(out, args, rest, p);
  viva_file_abort(p->page);
  errors_free(&p->errors);
  free(p->score.kls);
  free(p->score.at_position);
  model_close(&p->model);
  model_close(&p->reference);
  free(p);
  return code;
}

const command command_compare = {
    .name = "compare",
    .synopsis = "REF MODEL [-f FILE | -p TEXT] [OPTIONS]",
    .summary = "Measures how far a model is from a reference",
    .details = "\nBoth go over the same windows of the text, as in viva perplexity. Shown are both perplexities, the\n"
               "KL divergence of the model's predictions from the reference's (mean, median, the value that 99% are\n"
               "below), how often the most probable token is the same, how many of the five most probable ones are,\n"
               "and the relative error of each matrix. REF and MODEL may be one file, held differently. Both models\n"
               "are in memory at once.\n",
    .examples = "  viva compare model.gguf model.gguf --ref-weights bf16 --weights fp8 -f wiki.test.raw --chunks 20\n"
                "  viva compare SmolLM2-135M/ SmolLM2-135M-nvfp4/ -f wiki.test.raw --html nvfp4.html\n",
    COMMAND_GROUPS(groups),
    .max_operands = 2,
    .values_size = sizeof(compare_args),
    .defaults = defaults,
    .run = run,
};
