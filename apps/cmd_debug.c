/* cmd_debug.c: viva debug-decode: what each stage of each layer makes of a token, alone or beside a second device. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <viva/debug.h>

#include "command.h"
#include "input.h"
#include "model_args.h"
#include "signals.h"
#include "tokens.h"
#include "units.h"

typedef struct debug_args {
  model_args model;
  input_args input;
  uint64_t count;          /* tokens */
  int64_t token, position; /* -1: not given */
  int beside;              /* --compare: index */
  text_list dumps;
} debug_args;

#define AT(field) offsetof(debug_args, field)

enum { BESIDE_NOTHING, BESIDE_CPU, BESIDE_REFERENCE };

static const option debug_options[] = {
    {'p', OPTION_TEXT, "prompt", "TEXT", AT(input.text), "the prompt; without it and -f it is Hello", 0, 0},
    {'f', OPTION_TEXT, "file", "PATH", AT(input.file), "read the prompt from this file; -: standard input", 0, 0},
    {'n', OPTION_COUNT, "n-predict", "N", AT(count), "tokens to look into, each the likeliest after the one before", 1,
     0},
    {0, OPTION_INTEGER, "token", "ID", AT(token), "look into this token first, in place of the prompt's last; -1: that",
     -1, INT32_MAX},
    {0, OPTION_INTEGER, "position", "P", AT(position),
     "where the first token stands: the prompt is cut or repeated to be P tokens before it; -1: behind the prompt", -1,
     INT32_MAX},
    {0, OPTION_CHOICE, "compare", "none|cpu|reference", AT(beside),
     "run the same tokens beside it on the CPU, with its fastest or with its plain kernels", 0, 0},
    {0, OPTION_TEXTS, "dump", "[LAYER.]STAGE=FILE", AT(dumps),
     "write what the first token's stage made as .npy (F32); may be given several times", 0, 0},
    {'t', OPTION_COUNT, "threads", "N", AT(model.threads),
     "threads to compute with; 0: physical cores within affinity and cgroup quota", 0, 1024},
};

static const option_group groups[] = {
    OPTION_GROUP("Model", model_path_options, AT(model)),
    OPTION_GROUP("Options", debug_options, 0),
    OPTION_GROUP("Messages", model_talk_options, AT(model)),
    OPTION_GROUP("How the model is held", model_hold_options, AT(model)),
    OPTION_GROUP("Tokenizer", model_tokenizer_options, AT(model)),
    OPTION_GROUP("Device", model_device_options, AT(model)),
};

static void defaults(void *values) {
  debug_args *args = values;
  memset(args, 0, sizeof *args);
  model_args_defaults(&args->model);
  args->count = 1;
  args->token = args->position = -1;
}

/* ---- stages of one token, kept to be compared */

typedef struct stage {
  viva_debug_stage seen; /* name is the library's; values are this struct's own */
  float *values;
} stage;

typedef struct stage_list {
  stage *items;
  size_t count, room;
} stage_list;

static void stages_clear(stage_list *list) {
  for (size_t i = 0; i < list->count; i++) free(list->items[i].values);
  list->count = 0;
}

static int keep_stage(void *user, const viva_debug_stage *seen) {
  stage_list *list = user;
  const size_t bytes = seen->rows * seen->cols * sizeof(float);
  if (list->count == list->room) {
    const size_t room = 2 * list->room + 64;
    stage *items = realloc(list->items, room * sizeof *items);
    if (!items) return 1;
    list->items = items;
    list->room = room;
  }
  stage *s = &list->items[list->count];
  *s = (stage){*seen, malloc(bytes)};
  if (!s->values) return 1;
  memcpy(s->values, seen->values, bytes);
  list->count++;
  return signals_stopped();
}

/* ---- one model and its session */

typedef struct side {
  loaded what;
  viva_session *session;
  stage_list stages;
} side;

static void side_close(side *s) {
  stages_clear(&s->stages);
  free(s->stages.items);
  viva_session_free(s->session);
  model_close(&s->what);
}

static int side_open(side *s, const model_args *args, uint64_t capacity) {
  const int code = model_open(args, "debug-decode", &s->what);
  if (code) return code;
  viva_error error = {0};
  viva_session_options options = viva_session_options_default();
  options.capacity = capacity;
  return viva_session_create(s->what.model, &options, &s->session, &error) ? message_error(&error) : 0;
}

static viva_status side_prefill(side *s, const viva_token *tokens, size_t count, viva_error *error) {
  return count ? viva_session_prefill(s->session, tokens, count, NULL, error) : VIVA_OK;
}

static viva_status side_look(side *s, viva_token token, viva_error *error) {
  stages_clear(&s->stages);
  const viva_status status = viva_debug_step(s->session, &token, 1, keep_stage, &s->stages, error);
  if (status != VIVA_E_CANCELLED || signals_stopped()) return status;
  error->code = VIVA_E_MEMORY;
  text_format(error->message, sizeof error->message, "no memory to keep what the stages make");
  return VIVA_E_MEMORY;
}

/* ---- printing */

typedef struct difference {
  double largest, relative; /* relative: to the largest value beside; NaN where one side alone has NaN or infinity */
} difference;

static difference compare(const stage *a, const stage *b) {
  difference d = {0, 0};
  double most = 0;
  for (size_t i = 0; i < a->seen.rows * a->seen.cols; i++) {
    const double x = (double)a->values[i], y = (double)b->values[i];
    const double apart = x == y || (isnan(x) && isnan(y)) ? 0 : fabs(x - y);
    if (apart > d.largest || isnan(apart)) d.largest = apart;
    if (isnan(d.largest)) break;
    if (fabs(y) > most) most = fabs(y);
  }
  d.relative = d.largest == 0 ? 0 : d.largest / most;
  return d;
}

static double rms(const stage *s) {
  const size_t count = s->seen.rows * s->seen.cols;
  double squares = 0;
  for (size_t i = 0; i < count; i++) squares += (double)s->values[i] * (double)s->values[i];
  return sqrt(squares / (double)count);
}

static void stage_name(const viva_debug_stage *s, char *text, size_t size) {
  if (s->layer < 0)
    text_format(text, size, "%s", s->name);
  else
    text_format(text, size, "%" PRId64 ".%s", s->layer, s->name);
}

static void print_stages(output *out, const side *a, const side *b) {
  double worst = -1;
  char name[64], worst_name[64] = "";
  output_format(out, "%-22s %7s %12s", "stage", "values", "rms");
  if (b)
    output_format(out, " %12s %12s %9s %9s\n", "difference", "relative", "ms", "ms beside");
  else
    output_format(out, " %9s\n", "ms");
  for (size_t i = 0; i < a->stages.count; i++) {
    const stage *s = &a->stages.items[i];
    stage_name(&s->seen, name, sizeof name);
    output_format(out, "%-22s %7zu %12.5g", name, s->seen.cols, rms(s));
    if (b) {
      const difference d = compare(s, &b->stages.items[i]);
      if (d.relative > worst || isnan(d.relative)) {
        worst = d.relative;
        memcpy(worst_name, name, sizeof name);
      }
      output_format(out, " %12.3g %12.3g %9.3f %9.3f\n", d.largest, d.relative, 1e3 * s->seen.seconds,
                    1e3 * b->stages.items[i].seen.seconds);
    } else {
      output_format(out, " %9.3f\n", 1e3 * s->seen.seconds);
    }
  }
  if (b) output_format(out, "largest relative difference: %.3g, %s\n", worst, worst_name);
}

static void print_token(output *out, const side *a, viva_token token, uint64_t position) {
  const char *bytes = "";
  size_t count = 0;
  const viva_tokenizer *tokenizer = viva_model_tokenizer(a->what.model);
  output_format(out, "token %" PRId32, token);
  if (tokenizer && viva_tokenizer_id_to_token(tokenizer, token, &bytes, &count, NULL) == VIVA_OK) {
    output_text(out, " \"");
    output_visible(out, bytes, count);
    output_text(out, "\"");
  }
  output_format(out, " at position %" PRIu64 "\n", position);
}

/* ---- --dump */

/* Where in "[LAYER.]STAGE=FILE" the file begins; NULL when that is no such word. */
static const char *dump_file(const char *word) {
  const char *equals = strchr(word, '=');
  return equals && equals > word && equals[1] ? equals + 1 : NULL;
}

/* Before the work: that each can be written, and over no input. */
static int check_dumps(const debug_args *args) {
  const char *inputs[3] = {args->model.path};
  size_t count = 1;
  if (args->model.tokenizer) inputs[count++] = args->model.tokenizer;
  if (args->input.file && strcmp(args->input.file, "-") != 0) inputs[count++] = args->input.file;
  for (size_t i = 0; i < args->dumps.count; i++) {
    const char *file = dump_file(args->dumps.items[i]);
    if (!file)
      return message_usage("debug-decode", "--dump %s: expected [LAYER.]STAGE=FILE, as 3.attention=a.npy",
                           args->dumps.items[i]);
    const int code = output_try(file, inputs, count);
    if (code) return code;
  }
  return 0;
}

static int dump_stage(const side *a, const char *word) {
  const char *file = dump_file(word);
  const size_t length = (size_t)(file - word) - 1;
  char name[64];
  for (size_t i = 0; i < a->stages.count; i++) {
    const stage *s = &a->stages.items[i];
    stage_name(&s->seen, name, sizeof name);
    if (strlen(name) != length || memcmp(name, word, length) != 0) continue;
    viva_error error = {0};
    viva_tensor_data array = {.dtype = VIVA_F32,
                              .rank = 2,
                              .shape = {s->seen.rows, s->seen.cols},
                              .data = s->values,
                              .bytes = s->seen.rows * s->seen.cols * sizeof(float)};
    return viva_npy_write(file, &array, NULL, &error) ? message_error(&error) : 0;
  }
  return message_fail(CODE_USAGE, "--dump %.*s: there is no such stage; each line of the table begins with one's name",
                      (int)length, word);
}

/* ---- the run */

/* The tokens before the first one looked into, and that one behind them. */
static int make_tokens(const debug_args *args, const token_list *prompt, token_list *tokens) {
  const size_t last = args->token < 0;
  if (prompt->count == 0) return message_fail(CODE_INPUT, "the prompt has no tokens: give one with -p");
  const size_t before = args->position >= 0 ? (size_t)args->position : prompt->count - last;
  tokens->ids = calloc(before + 1, sizeof *tokens->ids);
  if (!tokens->ids) return message_fail(CODE_LIMIT, "no memory for %zu tokens", before + 1);
  tokens->count = before + 1;
  for (size_t i = 0; i < before; i++) tokens->ids[i] = prompt->ids[i % prompt->count];
  tokens->ids[before] = last ? prompt->ids[prompt->count - 1] : (viva_token)args->token;
  return 0;
}

static viva_status next_token(const side *a, viva_token *token, viva_error *error) {
  const float *logits;
  size_t count;
  const viva_status status = viva_session_logits(a->session, &logits, &count, error);
  return status ? status : viva_argmax(logits, count, token, NULL, error);
}

static int look(output *out, const debug_args *args, side *a, side *b, const token_list *tokens) {
  viva_error error = {0};
  viva_token token = tokens->ids[tokens->count - 1];
  viva_status status = side_prefill(a, tokens->ids, tokens->count - 1, &error);
  if (!status && b) status = side_prefill(b, tokens->ids, tokens->count - 1, &error);
  for (uint64_t i = 0; i < args->count && !status; i++) {
    status = side_look(a, token, &error);
    if (!status && b) status = side_look(b, token, &error);
    if (status) break;
    if (i > 0) output_text(out, "\n");
    print_token(out, a, token, tokens->count - 1 + i);
    print_stages(out, a, b);
    for (size_t j = 0; i == 0 && j < args->dumps.count; j++) {
      const int code = dump_stage(a, args->dumps.items[j]);
      if (code) return code;
    }
    status = next_token(a, &token, &error);
  }
  return status == VIVA_E_CANCELLED ? message_fail(CODE_INTERRUPTED, "stopped") : status ? message_error(&error) : 0;
}

static int look_beside(output *out, const debug_args *args, side *a, const token_list *tokens) {
  if (args->beside == BESIDE_NOTHING) return look(out, args, a, NULL, tokens);
  enum { DEVICE_CPU = 1, KERNELS_REFERENCE = 1 }; /* of --device, of --kernels */
  side b = {0};
  model_args beside = args->model;
  beside.device = DEVICE_CPU;
  beside.kernels = args->beside == BESIDE_REFERENCE ? KERNELS_REFERENCE : 0;
  int code = side_open(&b, &beside, tokens->count + args->count);
  if (code == 0) code = look(out, args, a, &b, tokens);
  side_close(&b);
  return code;
}

static int run(output *out, void *values, const operands *rest) {
  const debug_args *args = values;
  (void)rest;
  int code = model_args_need_path(&args->model, "debug-decode");
  if (code == 0) code = check_dumps(args);
  if (code) return code;
  input text;
  input_args from = args->input;
  if (!from.text && !from.file) from.text = "Hello";
  code = input_read(&from, "debug-decode", "prompt", args->model.quiet, &text);
  if (code) return code;
  viva_tokenizer *tokenizer = NULL;
  token_list prompt = {NULL, 0}, tokens = {NULL, 0};
  side a = {0};
  code = model_open_tokenizer(args->model.tokenizer ? args->model.tokenizer : args->model.path, &tokenizer);
  if (code == 0) code = tokens_encode(tokenizer, text.bytes, text.count, 0, viva_tokenizer_add_bos(tokenizer), &prompt);
  viva_tokenizer_release(tokenizer);
  if (code == 0) code = make_tokens(args, &prompt, &tokens);
  if (code == 0) code = side_open(&a, &args->model, tokens.count + args->count);
  if (code == 0) code = look_beside(out, args, &a, &tokens);
  side_close(&a);
  tokens_free(&tokens);
  tokens_free(&prompt);
  input_free(&text);
  return code;
}

const command command_debug = {
    .name = "debug-decode",
    .synopsis = "-m MODEL [-p TEXT] [-n N] [--compare cpu] [OPTIONS]",
    .summary = "Shows what each stage of each layer makes of a token",
    .details =
        "\nThe prompt's tokens but the last are processed, then the last, and with -n the likeliest after it, one\n"
        "operation at a time. Of each stage the table has the number of values, their root mean square and the\n"
        "time; with --compare the largest difference from the same stage on the CPU, and that over the largest\n"
        "value there. Both sides go on with their own values, so differences add up from stage to stage; both\n"
        "take the tokens that the first side finds likeliest. Stages are named in <viva/debug.h>.\n",
    .examples = "  viva debug-decode -m model.gguf --device cuda --compare cpu -p Hello -n 2\n"
                "  viva debug-decode -m model.gguf --num-layers 2 --token 450 --position 63 --dump 1.attention=a.npy\n",
    COMMAND_GROUPS(groups),
    .values_size = sizeof(debug_args),
    .defaults = defaults,
    .run = run,
};
