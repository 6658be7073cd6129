/* cmd_bench.c: viva bench: tokens per second of prefill (pp) and decoding (tg), beside the machine's read bandwidth.
 *
 * Ids are synthetic and always the same; tokenizing and sampling are not in the times. Between the repetitions of a tg
 * row the read bandwidth is measured, so that both have seen the same machine.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "bench_shape.h"
#include "command.h"
#include "model_args.h"
#include "progress.h"
#include "signals.h"

typedef struct bench_args {
  model_args model;
  count_list prompts, generated, threads;
  uint64_t repetitions, depth, sequences;
  uint64_t gaussian; /* compress */
  int form, no_warmup, shape;
} bench_args;

enum { BENCH_SEQUENCES = 64 };

#define AT(field) offsetof(bench_args, field)

static const option test_options[] = {
    {'p', OPTION_COUNTS, "n-prompt", "N,...", AT(prompts), "tokens of a prefill, row ppN; 0: no such row", 0, 0},
    {'n', OPTION_COUNTS, "n-gen", "N,...", AT(generated), "tokens decoded one by one, row tgN; 0: no such row", 0, 0},
    {'d', OPTION_COUNT, "n-depth", "N", AT(depth), "tokens in the cache before a test begins", 0, 1 << 20},
    {0, OPTION_COUNT, "sequences", "N", AT(sequences), "decode so many sessions together; t/s counts the tokens of all",
     1, BENCH_SEQUENCES},
    {'r', OPTION_COUNT, "repetitions", "N", AT(repetitions), "repetitions of each test", 1, BENCH_SAMPLES_MAX},
    {'t', OPTION_COUNTS, "threads", "N,...", AT(threads),
     "threads to compute with; 0: physical cores within affinity and cgroup quota", 0, 1024},
    {0, OPTION_SET, "no-warmup", NULL, AT(no_warmup), "do not run each test once before it is timed", 0, 0},
};

static const option shape_options[] = {
    {0, OPTION_CHOICE, "shape", BENCH_SHAPES, AT(shape), "in place of -m: a model of this shape with random weights", 0,
     0},
};

static const option compress_options[] = {
    {0, OPTION_COUNT, "gaussian", "MB", AT(gaussian), "also so many MB of Gaussian values, which no cache holds", 0,
     1e6},
};

static const option output_options[] = {
    {'o', OPTION_CHOICE, "output", "md|csv|json|jsonl", AT(form), "form of the result", 0, 0},
};

static const option_group groups[] = {
    OPTION_GROUP("Model", model_path_options, AT(model)),
    OPTION_GROUP("Shape", shape_options, 0),
    OPTION_GROUP("Tests", test_options, 0),
    OPTION_GROUP("viva bench compress", compress_options, 0),
    OPTION_GROUP("Output", output_options, 0),
    OPTION_GROUP("Messages", model_talk_options, AT(model)),
    OPTION_GROUP("How the model is held", model_hold_options, AT(model)),
    OPTION_GROUP("Device", model_device_options, AT(model)),
};

static void defaults(void *values) {
  bench_args *args = values;
  memset(args, 0, sizeof *args);
  model_args_defaults(&args->model);
  /* llama-bench's defaults */
  args->prompts = (count_list){{512}, 1};
  args->generated = (count_list){{128}, 1};
  args->threads = (count_list){{0}, 1};
  args->repetitions = 5;
  args->sequences = 1;
}

/* What every test of one engine shares. */
typedef struct bench {
  output *out;
  const bench_args *args;
  loaded what;
  viva_session *sessions[BENCH_SEQUENCES];
  viva_token *ids; /* as many as the longest prompt, or the depth */
  uint64_t vocab_size;
  size_t *rows; /* printed so far, over all engines */
  progress bar;
} bench;

static uint64_t largest(const count_list *list) {
  uint64_t best = 0;
  for (size_t i = 0; i < list->count; i++) best = list->items[i] > best ? list->items[i] : best;
  return best;
}

/* Ids spread over the vocabulary: multiples of a large prime. */
static void fill_ids(viva_token *ids, uint64_t count, uint64_t vocab_size) {
  for (uint64_t i = 0; i < count; i++) ids[i] = (viva_token)((i + 1) * 2654435761u % vocab_size);
}

static int on_prefill(void *user, uint64_t done, uint64_t total) {
  (void)user, (void)done, (void)total;
  return signals_stopped();
}

static viva_status prefill(bench *b, uint64_t count, viva_error *error) {
  viva_prefill_options options = viva_prefill_options_default();
  options.progress = on_prefill;
  return viva_session_prefill(b->sessions[0], b->ids, count, &options, error);
}

static viva_status decode_one(bench *b, uint64_t count, viva_error *error) {
  viva_token token = (viva_token)(1 % b->vocab_size);
  viva_status status = VIVA_OK;
  for (uint64_t i = 0; i < count && status == VIVA_OK; i++) {
    status = viva_session_decode_argmax(b->sessions[0], token, &token, error);
    if (signals_stopped()) status = VIVA_E_CANCELLED;
  }
  return status;
}

/* All sessions together. */
static viva_status decode_all(bench *b, uint64_t count, viva_error *error) {
  viva_token tokens[BENCH_SEQUENCES];
  viva_status status = VIVA_OK;
  for (uint64_t i = 0; i < count && status == VIVA_OK; i++) {
    for (uint64_t j = 0; j < b->args->sequences; j++) tokens[j] = (viva_token)((i * 7 + j + 1) % b->vocab_size);
    status = viva_sessions_decode(b->sessions, tokens, b->args->sequences, error);
    if (signals_stopped()) status = VIVA_E_CANCELLED;
  }
  return status;
}

static viva_status decode(bench *b, uint64_t count, viva_error *error) {
  return b->args->sequences == 1 ? decode_one(b, count, error) : decode_all(b, count, error);
}

/* Every session holds the depth's tokens, no more. */
static viva_status rewind_sessions(bench *b, viva_error *error) {
  viva_status status = VIVA_OK;
  for (uint64_t i = 0; i < b->args->sequences && status == VIVA_OK; i++)
    status = viva_session_truncate(b->sessions[i], b->args->depth, error);
  return status;
}

static viva_status repeat_once(bench *b, const bench_row *row, double *seconds, viva_error *error) {
  viva_status status = rewind_sessions(b, error);
  double start = progress_clock();
  if (status == VIVA_OK)
    status = row->prompt > 0 ? prefill(b, row->prompt, error) : decode(b, row->generated / b->args->sequences, error);
  *seconds = progress_clock() - start;
  return status;
}

static viva_status measure(bench *b, bench_row *row, viva_error *error) {
  uint64_t tokens = row->prompt + row->generated;
  double seconds;
  viva_status status = b->args->no_warmup ? VIVA_OK : repeat_once(b, row, &seconds, error);
  for (uint64_t r = 0; r < b->args->repetitions && status == VIVA_OK; r++) {
    double bytes_per_second = 0;
    progress_update(&b->bar, r, b->args->repetitions, "");
    if (row->generated > 0) status = viva_engine_read_bandwidth(b->what.engine, 0, &bytes_per_second, error);
    if (status == VIVA_OK) status = repeat_once(b, row, &seconds, error);
    if (status != VIVA_OK) break;
    if (row->generated > 0) stats_add(&row->read_rate, bytes_per_second);
    row->samples[r] = (double)tokens / seconds;
    stats_add(&row->rate, row->samples[r]);
    stats_add(&row->nanoseconds, 1e9 * seconds);
  }
  return status;
}

/* One row: a prefill of prompt tokens, or generated tokens. */
static viva_status run_test(bench *b, uint64_t prompt, uint64_t generated, viva_error *error) {
  generated *= b->args->sequences;
  if (prompt + generated == 0 || output_failed(b->out)) return VIVA_OK;
  bench_row *row = calloc(1, sizeof *row);
  if (row == NULL) {
    *error = (viva_error){.code = VIVA_E_MEMORY, .offset = VIVA_NO_OFFSET, .message = "no memory for a row"};
    return VIVA_E_MEMORY;
  }
  row->path = b->args->model.path ? b->args->model.path : "random";
  row->sequences = b->args->sequences;
  row->model = viva_model_description(b->what.model);
  row->mode = model_mode(&b->what);
  row->weights = b->what.weights;
  row->act = b->what.act;
  row->plan = b->what.plan;
  row->device = b->what.device;
  row->prompt = prompt;
  row->generated = generated;
  progress_start(&b->bar, prompt > 0 ? "prefill" : "decode", b->args->model.quiet);
  viva_status status = measure(b, row, error);
  progress_end(&b->bar);
  if (status == VIVA_OK) {
    if (*b->rows == 0) bench_print_begin(b->out, (bench_form)b->args->form, row);
    bench_print_row(b->out, (bench_form)b->args->form, row, (*b->rows)++);
    output_flush(b->out);
  }
  free(row);
  return status;
}

static viva_status run_tests(bench *b, viva_error *error) {
  const bench_args *args = b->args;
  uint64_t longest = largest(&args->prompts) > args->depth ? largest(&args->prompts) : args->depth;
  viva_model_config config = {.size = sizeof config};
  viva_session_options options = viva_session_options_default();
  options.capacity = b->what.plan.context;
  viva_status status = viva_model_get_config(b->what.model, &config, error);
  for (uint64_t i = 0; i < args->sequences && status == VIVA_OK; i++)
    status = viva_session_create(b->what.model, &options, &b->sessions[i], error);
  b->vocab_size = config.vocab_size;
  b->ids = calloc(longest + 1, sizeof *b->ids);
  if (status == VIVA_OK && b->ids == NULL) {
    *error = (viva_error){.code = VIVA_E_MEMORY, .offset = VIVA_NO_OFFSET, .message = "no memory for the prompt"};
    status = VIVA_E_MEMORY;
  }
  if (status == VIVA_OK) fill_ids(b->ids, longest, b->vocab_size);
  for (uint64_t i = 0; i < args->sequences && args->depth > 0 && status == VIVA_OK; i++)
    status = viva_session_prefill(b->sessions[i], b->ids, args->depth, NULL, error);
  for (size_t i = 0; i < args->prompts.count && status == VIVA_OK; i++)
    status = run_test(b, args->prompts.items[i], 0, error);
  for (size_t i = 0; i < args->generated.count && status == VIVA_OK; i++)
    status = run_test(b, 0, args->generated.items[i], error);
  for (uint64_t i = 0; i < args->sequences; i++) viva_session_free(b->sessions[i]);
  free(b->ids);
  return status;
}

/* All tests on one engine. Returns the exit code. */
static int run_engine(output *out, const bench_args *args, uint64_t threads, size_t *rows) {
  bench b = {.out = out, .args = args, .rows = rows};
  uint64_t prompt = largest(&args->prompts), generated = largest(&args->generated);
  model_args model = args->model;
  model.threads = threads;
  model.context = (prompt > generated ? prompt : generated) + args->depth;
  int code = args->shape ? bench_shape_open(&model, args->shape, &b.what) : model_open(&model, "bench", &b.what);
  if (code != 0) return code;
  viva_error error = {0};
  viva_status status = run_tests(&b, &error);
  model_close(&b.what);
  if (status == VIVA_E_CANCELLED) return message_fail(CODE_INTERRUPTED, "stopped after %zu rows", *rows);
  return status == VIVA_OK ? CODE_OK : message_error(&error);
}

static int run(output *out, void *values, const operands *rest) {
  const bench_args *args = values;
  if (rest->count == 1 && strcmp(rest->items[0], "compress") == 0)
    return bench_compress(out, args->model.path, args->gaussian, args->threads.items[0]);
  if (rest->count > 0)
    return message_usage("bench", "expected nothing or the word compress, found '%s'", rest->items[0]);
  int code = args->shape ? 0 : model_args_need_path(&args->model, "bench");
  if (code != 0) return code;
  if (largest(&args->prompts) + largest(&args->generated) == 0)
    return message_usage("bench", "no test: -p and -n are both 0");
  size_t rows = 0;
  for (size_t i = 0; i < args->threads.count && code == 0; i++)
    code = run_engine(out, args, args->threads.items[i], &rows);
  if (rows > 0) bench_print_end(out, (bench_form)args->form);
  return code;
}

const command command_bench = {
    .name = "bench",
    .synopsis = "[compress] (-m MODEL | --shape SHAPE) [OPTIONS]",
    .summary = "Measures tokens per second, beside the read bandwidth",
    .details =
        "\nRows ppN are one prefill of N tokens, rows tgN are N tokens decoded one by one. Lists such as '128,512'\n"
        "give one row each. t/s is the average of the repetitions and their standard deviation. GB/s is what tg\n"
        "reads of the weights; '% of read' compares it with the read bandwidth of the same threads, measured\n"
        "between the repetitions. Tokenizing and sampling are not in the times.\n"
        "\n'viva bench compress' measures the compression engine instead: on uniform data and, with -m, on the\n"
        "largest matrix of a file, or with --gaussian on random values; -t chooses its threads, the other\n"
        "options do not matter.\n",
    .examples = "  viva bench -m model.gguf\n"
                "  viva bench -m model.gguf -p 0 -n 64,128 -t 1,2,4 -o csv\n"
                "  viva bench --shape llama3-8b --weights fp8 --device cuda -p 2048 -d 300\n"
                "  viva bench compress -m model.gguf\n"
                "  viva bench compress --gaussian 512 -t 16\n",
    COMMAND_GROUPS(groups),
    .max_operands = 1,
    .values_size = sizeof(bench_args),
    .defaults = defaults,
    .run = run,
};
