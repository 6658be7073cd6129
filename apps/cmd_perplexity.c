/* cmd_perplexity.c: viva perplexity: how well a model predicts a text.
 *
 * Windows of c tokens begin every S tokens; a short last one is dropped. In each window the last min(S, c - c/2 - 1)
 * tokens are scored, each predicted from all tokens before it in the window. With the default S = c these are the
 * positions c/2 + 1 to c - 1 (255 of 512): the second half, where every token has at least c/2 + 1 tokens before it.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "input.h"
#include "json_out.h"
#include "model_args.h"
#include "progress.h"
#include "signals.h"
#include "stats.h"
#include "tokens.h"
#include "units.h"

typedef struct perplexity_args {
  model_args model;
  input_args input;
  uint64_t stride, chunks;
  int bos, json;
} perplexity_args;

#define AT(field) offsetof(perplexity_args, field)

static const option window_options[] = {
    {'c', OPTION_COUNT, "ctx-size", "N", AT(model.context), "tokens in a window", 3, 0},
    {0, OPTION_COUNT, "stride", "N", AT(stride), "tokens from one window to the next; 0: the window's length", 0, 0},
    {0, OPTION_COUNT, "chunks", "N", AT(chunks), "only the first N windows; 0: all", 0, 0},
    {0, OPTION_SET, "bos", NULL, AT(bos), "put BOS in place of each window's first token", 0, 0},
    {0, OPTION_CLEAR, "no-bos", NULL, AT(bos), "leave it as it is: the default", 0, 0},
    {'t', OPTION_COUNT, "threads", "N", AT(model.threads),
     "threads to compute with; 0: physical cores within affinity and cgroup quota", 0, 1024},
};

static const option output_options[] = {
    {0, OPTION_SET, "json", NULL, AT(json), "print one JSON object", 0, 0},
};

static const option_group groups[] = {
    OPTION_GROUP("Model", model_path_options, AT(model)),
    OPTION_GROUP("Text", input_options, AT(input)),
    OPTION_GROUP("Windows", window_options, 0),
    OPTION_GROUP("Output", output_options, 0),
    OPTION_GROUP("Messages", model_talk_options, AT(model)),
    OPTION_GROUP("How the model is held", model_hold_options, AT(model)),
    OPTION_GROUP("Tokenizer", model_tokenizer_options, AT(model)),
    OPTION_GROUP("Device", model_device_options, AT(model)),
};

static void defaults(void *values) {
  perplexity_args *args = values;
  memset(args, 0, sizeof *args);
  model_args_defaults(&args->model);
  args->model.context = 512;
}

/* The run's state. */
typedef struct scoring {
  const token_list *tokens;
  viva_token *window;                        /* context tokens */
  uint64_t context, stride, scored, windows; /* scored: tokens of each window */
  uint64_t done;                             /* windows */
  uint64_t before;                           /* tokens of this window that earlier prefills have processed */
  viva_token bos;                            /* -1: none */
  stats nll;                                 /* negative log likelihoods of the scored tokens */
  progress bar;
} scoring;

/* -log softmax(logits)[target], in double. */
static double negative_log_likelihood(const float *logits, size_t n, viva_token target) {
  float largest = logits[0];
  for (size_t i = 1; i < n; i++) largest = logits[i] > largest ? logits[i] : largest;
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += exp((double)logits[i] - (double)largest);
  return log(sum) + (double)largest - (double)logits[target];
}

static int on_logits(void *user, uint64_t position, const float *logits, size_t vocab_size) {
  scoring *s = user;
  stats_add(&s->nll, negative_log_likelihood(logits, vocab_size, s->window[position + 1]));
  return signals_stopped();
}

static int on_prefill(void *user, uint64_t done, uint64_t total) {
  scoring *s = user;
  char note[64] = "";
  (void)total; /* of this prefill; the bar is for the whole run */
  if (s->nll.count > 0) text_format(note, sizeof note, "perplexity %.4f", exp(s->nll.mean));
  progress_update(&s->bar, s->done * s->context + s->before + done, s->windows * s->context, note);
  return signals_stopped();
}

/* NaN: one value has none. */
static double standard_error(const stats *nll) {
  return nll->count < 2 ? (double)NAN : exp(nll->mean) * stats_deviation(nll) / sqrt((double)nll->count);
}

/* One window: the tokens before the first scored one's predecessor need no logits, the last one no pass at all. */
static viva_status score_window(viva_session *session, scoring *s, viva_error *error) {
  memcpy(s->window, s->tokens->ids + s->done * s->stride, s->context * sizeof *s->window);
  if (s->bos >= 0) s->window[0] = s->bos;
  uint64_t quiet = s->context - s->scored - 1;
  viva_prefill_options options = viva_prefill_options_default();
  options.progress = on_prefill;
  options.progress_user = s;
  s->before = 0;
  viva_status status = viva_session_truncate(session, 0, error);
  if (status == VIVA_OK && quiet > 0) status = viva_session_prefill(session, s->window, quiet, &options, error);
  s->before = quiet;
  options.on_logits = on_logits;
  options.on_logits_user = s;
  if (status == VIVA_OK) status = viva_session_prefill(session, s->window + quiet, s->scored, &options, error);
  return status;
}

static viva_status score(viva_model *model, scoring *s, viva_error *error) {
  viva_session_options options = viva_session_options_default();
  options.capacity = s->context;
  viva_session *session = NULL;
  viva_status status = viva_session_create(model, &options, &session, error);
  while (status == VIVA_OK && s->done < s->windows) {
    stats before = s->nll;
    status = score_window(session, s, error);
    if (status == VIVA_OK) {
      s->done++;
    } else {
      s->nll = before; /* whole windows only */
    }
  }
  viva_session_free(session);
  return status;
}

static const char *plural(uint64_t count) { return count == 1 ? "" : "s"; }

static void print_result(output *out, const scoring *s, const loaded *what, int as_json, double seconds) {
  double value = exp(s->nll.mean), deviation = standard_error(&s->nll);
  if (!as_json) {
    output_format(out, "perplexity %.4f", value);
    if (!isnan(deviation)) output_format(out, " +/- %.4f", deviation);
    output_format(out, " (%" PRIu64 " token%s scored in %" PRIu64 " window%s of %" PRIu64 "%s%s)\n", s->nll.count,
                  plural(s->nll.count), s->done, plural(s->done), s->context, what->act ? "; " : "", model_mode(what));
    return;
  }
  json_out json = {out, 0};
  json_begin(&json, '{');
  json_key(&json, "perplexity"), json_double(&json, value);
  json_key(&json, "standard_error"), json_double(&json, deviation);
  json_key(&json, "scored_tokens"), json_unsigned(&json, s->nll.count);
  json_key(&json, "windows"), json_unsigned(&json, s->done);
  json_key(&json, "context"), json_unsigned(&json, s->context);
  json_key(&json, "stride"), json_unsigned(&json, s->stride);
  json_key(&json, "text_tokens"), json_unsigned(&json, s->tokens->count);
  json_key(&json, "seconds"), json_double(&json, seconds);
  json_key(&json, "model"), json_text(&json, viva_model_description(what->model));
  json_key(&json, "weights"), json_text(&json, what->weights);
  if (what->act) json_key(&json, "act"), json_text(&json, what->act);
  json_end(&json, '}');
  output_text(out, "\n");
}

/* Fills what follows from the options and the text. Returns 0, or the exit code after a message. */
static int plan_windows(const perplexity_args *args, const viva_tokenizer *tokenizer, const token_list *tokens,
                        scoring *s) {
  uint64_t c = args->model.context, longest = c - c / 2 - 1;
  s->tokens = tokens;
  s->context = c;
  s->stride = args->stride > 0 ? args->stride : c;
  s->scored = s->stride < longest ? s->stride : longest;
  s->bos = args->bos ? viva_tokenizer_bos(tokenizer) : -1;
  if (args->bos && s->bos < 0) return message_fail(CODE_INPUT, "this tokenizer has no BOS token: leave --bos away");
  if (tokens->count < c)
    return message_fail(CODE_INPUT,
                        "the text has %zu token%s, a window needs %" PRIu64 ": give a longer text, or a smaller -c",
                        tokens->count, plural(tokens->count), c);
  s->windows = (tokens->count - c) / s->stride + 1;
  if (args->chunks > 0 && args->chunks < s->windows) s->windows = args->chunks;
  return 0;
}

static int measure(output *out, const perplexity_args *args, const loaded *what, const token_list *tokens) {
  scoring s = {0};
  int code = plan_windows(args, viva_model_tokenizer(what->model), tokens, &s);
  if (code != 0) return code;
  s.window = calloc(s.context, sizeof *s.window);
  if (s.window == NULL) return message_fail(CODE_LIMIT, "no memory for a window of %" PRIu64 " tokens", s.context);
  viva_error error = {0};
  double start = progress_clock();
  progress_start(&s.bar, "scoring", args->model.quiet);
  viva_status status = score(what->model, &s, &error);
  progress_end(&s.bar);
  free(s.window);
  if (status != VIVA_OK && status != VIVA_E_CANCELLED) return message_error(&error);
  if (s.done > 0) print_result(out, &s, what, args->json, progress_clock() - start);
  if (status == VIVA_OK) return CODE_OK;
  return message_fail(CODE_INTERRUPTED, "stopped after %" PRIu64 " of %" PRIu64 " window%s", s.done, s.windows,
                      plural(s.windows));
}

static int run(output *out, void *values, const operands *rest) {
  const perplexity_args *args = values;
  (void)rest;
  int code = model_args_need_path(&args->model, "perplexity");
  if (code != 0) return code;
  input text;
  code = input_read(&args->input, "perplexity", "text", args->model.quiet, &text);
  if (code != 0) return code;
  token_list tokens = {NULL, 0};
  loaded what;
  code = model_open(&args->model, "perplexity", &what);
  if (code == 0 && viva_model_tokenizer(what.model) == NULL)
    code = message_fail(CODE_INPUT, "%s: no tokenizer beside the model: give one with --tokenizer", args->model.path);
  if (code == 0) code = tokens_encode(viva_model_tokenizer(what.model), text.bytes, text.count, 0, 0, &tokens);
  if (code == 0) code = measure(out, args, &what, &tokens);
  tokens_free(&tokens);
  model_close(&what);
  input_free(&text);
  return code;
}

const command command_perplexity = {
    .name = "perplexity",
    .synopsis = "-m MODEL [-f FILE | -p TEXT] [OPTIONS]",
    .summary = "Measures how well a model predicts a text",
    .details = "\nThe text is cut into windows of -c tokens, a short last one is dropped. Scored are the tokens at\n"
               "positions c/2+1 to c-1 of each window (255 of 512), each predicted from all before it in the window.\n"
               "With --stride S windows begin every S tokens, and the last S tokens of each are scored, at most as\n"
               "many as without it. The standard error is perplexity x s / sqrt(n), s being the standard deviation\n"
               "of the n negative log likelihoods. Ctrl-C prints the result so far and ends with exit code 130.\n",
    .examples = "  viva perplexity -m model.gguf -f wiki.test.raw\n"
                "  viva perplexity -m model.gguf -f wiki.test.raw -c 1024 --stride 256 --chunks 20 --json\n",
    COMMAND_GROUPS(groups),
    .values_size = sizeof(perplexity_args),
    .defaults = defaults,
    .run = run,
};
