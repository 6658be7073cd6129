/* cmd_generate.c: viva generate: continues a text. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "chat_model.h"
#include "command.h"
#include "generate.h"
#include "input.h"
#include "model_args.h"
#include "progress.h"
#include "signals.h"
#include "tokens.h"
#include "units.h"

typedef struct generate_args {
  model_args model;
  input_args input;
  int64_t n_predict;
  double temperature, top_p, min_p, repeat_penalty;
  uint64_t top_k, seed, logprobs;
  text_list stops, stop_tokens;
  int stop_on_eos, match_special, add_bos, json, chat;
} generate_args;

#define AT(field) offsetof(generate_args, field)

static const option length_options[] = {
    {'n', OPTION_INTEGER, "n-predict", "N", AT(n_predict), "most tokens to generate; -1: until the context is full", -1,
     0},
    {'c', OPTION_COUNT, "ctx-size", "N", AT(model.context), "tokens that prompt and text may have; 0: the model's own",
     0, 0},
    {'t', OPTION_COUNT, "threads", "N", AT(model.threads),
     "threads to compute with; 0: physical cores within affinity and cgroup quota", 0, 1024},
    {0, OPTION_TEXTS, "stop", "TEXT", AT(stops), "stop before this text; may be given several times", 0, 0},
    {0, OPTION_TEXTS, "stop-token", "TOKEN", AT(stop_tokens),
     "end at this token too: an id, or its text; may be given several times", 0, 0},
    {0, OPTION_CLEAR, "ignore-eos", NULL, AT(stop_on_eos), "go on after the model's end tokens", 0, 0},
    {0, OPTION_CLEAR, "no-special", NULL, AT(match_special), "special tokens written in the prompt are ordinary text",
     0, 0},
    {0, OPTION_SET, "bos", NULL, AT(add_bos), "put the BOS token before the prompt, whatever the model's rule", 0, 0},
    {0, OPTION_CLEAR, "no-bos", NULL, AT(add_bos), "never put it there", 0, 0},
};

static const option chat_options[] = {
    {0, OPTION_SET, "chat", NULL, AT(chat),
     "the prompt is a user's message: put it into the model's chat template and answer it", 0, 0},
};

static const option sampling_options[] = {
    {0, OPTION_REAL, "temp", "X", AT(temperature), "temperature; 0: always the most probable token", 0, 1000},
    {0, OPTION_COUNT, "top-k", "N", AT(top_k), "only the N most probable tokens; 0: all", 0, INT32_MAX},
    {0, OPTION_REAL, "top-p", "X", AT(top_p), "only the most probable tokens whose sum reaches X; 1: all", 0, 1},
    {0, OPTION_REAL, "min-p", "X", AT(min_p), "only tokens of at least X times the largest probability; 0: all", 0, 1},
    {0, OPTION_REAL, "repeat-penalty", "X", AT(repeat_penalty), "lower the logits of tokens that were there; 1: off",
     0.01, 1000},
    {0, OPTION_COUNT, "seed", "N", AT(seed), "seed of the random numbers: the same seed gives the same text", 0, 0},
};

static const option output_options[] = {
    {0, OPTION_SET, "json", NULL, AT(json), "print one JSON object at the end instead of the text", 0, 0},
    {0, OPTION_COUNT, "logprobs", "N", AT(logprobs),
     "with --json: each token's log probability and the N most probable ones", 0, INT32_MAX},
};

static const option_group groups[] = {
    OPTION_GROUP("Model", model_path_options, AT(model)),
    OPTION_GROUP("Prompt", input_options, AT(input)),
    OPTION_GROUP("Standard input", input_newline_options, AT(input)),
    OPTION_GROUP("Conversation", chat_options, 0),
    OPTION_GROUP("Length and text", length_options, 0),
    OPTION_GROUP("Sampling", sampling_options, 0),
    OPTION_GROUP("Output", output_options, 0),
    OPTION_GROUP("Messages", model_talk_options, AT(model)),
    OPTION_GROUP("How the model is held", model_hold_options, AT(model)),
    OPTION_GROUP("Tokenizer", model_tokenizer_options, AT(model)),
    OPTION_GROUP("Device", model_device_options, AT(model)),
};

static void defaults(void *values) {
  generate_args *args = values;
  viva_generate_options library = viva_generate_options_default();
  model_args_defaults(&args->model);
  args->n_predict = (int64_t)library.max_new_tokens;
  args->temperature = (double)library.sampling.temperature;
  args->top_k = (uint64_t)library.sampling.top_k;
  args->top_p = (double)library.sampling.top_p;
  args->min_p = (double)library.sampling.min_p;
  args->repeat_penalty = (double)library.sampling.repetition_penalty;
  args->seed = library.sampling.seed;
  args->logprobs = library.logprobs;
  args->stop_on_eos = library.stop_on_eos;
  args->match_special = library.match_special;
  args->input.drop_newline = 1;
  args->add_bos = library.add_bos;
}

/* Where the text goes while it is made. */
typedef struct stream {
  output *out;
  int json;      /* 1: nothing is printed on the way */
  int open_line; /* 1: the last byte was no line end */
  progress bar;  /* while the prompt is read */
} stream;

static int on_text(void *user, const char *text, size_t bytes) {
  stream *s = user;
  signals_answering(0); /* a reader who takes nothing is not waited for */
  progress_end(&s->bar);
  if (!s->json && bytes > 0) {
    output_bytes(s->out, text, bytes);
    output_flush(s->out);
    s->open_line = text[bytes - 1] != '\n';
  }
  signals_answering(1);
  return signals_stopped() || output_failed(s->out);
}

static viva_generate_options library_options(const generate_args *args, stream *s) {
  viva_generate_options o = viva_generate_options_default();
  o.max_new_tokens = (uint64_t)args->n_predict;
  o.sampling.temperature = (float)args->temperature;
  o.sampling.top_k = (int32_t)args->top_k;
  o.sampling.top_p = (float)args->top_p;
  o.sampling.min_p = (float)args->min_p;
  o.sampling.repetition_penalty = (float)args->repeat_penalty;
  o.sampling.seed = args->seed;
  o.stop_on_eos = args->stop_on_eos;
  o.match_special = args->match_special;
  o.add_bos = args->add_bos;
  o.logprobs = (uint32_t)args->logprobs;
  o.stop_strings = args->stops.items;
  o.stop_count = args->stops.count;
  o.on_text = on_text;
  o.on_text_user = s;
  o.progress = progress_callback;
  o.progress_user = &s->bar;
  return o;
}

/* An instruct model that gets a bare text continues it, or ends it at once; few people want that. */
static void hint_at_template(const generate_args *args, const loaded *what, const input *prompt) {
  if (args->chat || args->model.quiet || !chat_model_has_template(what->model)) return;
  if (memmem(prompt->bytes, prompt->count, "<|", 2) != NULL) return; /* a prompt that was put into its form by hand */
  message_note("the model has a chat template, which is not applied to this prompt: --chat applies it, and viva chat "
               "is a conversation");
}

/* --chat: one message of the user. */
static int chat_prompt(const loaded *what, const input *prompt, token_list *tokens) {
  char *text = malloc(prompt->count + 1);
  if (text == NULL) return message_fail(CODE_LIMIT, "no memory for the prompt");
  if (prompt->count > 0) memcpy(text, prompt->bytes, prompt->count);
  text[prompt->count] = 0;
  int code = CODE_OK;
  if (strlen(text) != prompt->count) code = message_fail(CODE_INPUT, "a message cannot hold a zero byte");
  const viva_chat_message message = {"user", text};
  if (code == CODE_OK) code = chat_model_tokens(what->model, &message, 1, NULL, tokens);
  free(text);
  return code;
}

/* -n -1: what the prompt leaves of the context. */
static viva_status room_for_text(const loaded *what, const generate_args *args, const input *prompt, uint64_t *room,
                                 viva_error *error) {
  const viva_tokenizer *tokenizer = viva_model_tokenizer(what->model);
  uint64_t used = 0;
  if (tokenizer != NULL) {
    viva_encode_options encode = viva_encode_options_default();
    encode.match_special = args->match_special;
    encode.add_special = 0;
    size_t count = 0;
    viva_status status =
        viva_tokenizer_encode(tokenizer, prompt->bytes, prompt->count, &encode, NULL, 0, &count, error);
    if (status != VIVA_OK && status != VIVA_E_SIZE) return status; /* E_SIZE: only counted */
    int bos = args->add_bos < 0 ? viva_tokenizer_add_bos(tokenizer) : args->add_bos;
    used = count + (uint64_t)(bos != 0);
  }
  *room = what->plan.context > used ? what->plan.context - used : 0;
  return VIVA_OK;
}

/* An end that comes first needs a word: nothing else is to be seen. */
static void explain_nothing(const generate_args *args, const viva_generate_result *r, const loaded *what) {
  if (r->text_bytes > 0 || r->stop_reason != VIVA_STOP_EOS) return;
  message_note("there is no text: the most probable token was the end of the text%s",
               !args->chat && chat_model_has_template(what->model)
                   ? "; --chat puts the prompt into the form of a question"
                   : "; --ignore-eos goes on after it");
}

static void print_summary(const viva_generate_result *r, const loaded *what) {
  char rate[128] = "";
  if (r->ms_per_token > 0)
    text_format(rate, sizeof rate, ", %.1f tok/s, %.2f ms/token, %.1f GB/s of weights", 1e3 / r->ms_per_token,
                r->ms_per_token, (double)what->plan.bytes_per_token / r->ms_per_token * 1e-6);
  message_note("%zu token%s%s; prompt of %zu in %.2f s, load %.2f s; stopped: %s", r->token_count,
               r->token_count == 1 ? "" : "s", rate, r->prompt_count, r->prefill_seconds, what->seconds,
               viva_stop_reason_name(r->stop_reason));
}

static int generate(output *out, const generate_args *args, const loaded *what, const input *prompt,
                    const token_list *stop) {
  viva_error error = {0};
  viva_generate_result *result = NULL;
  stream s = {.out = out, .json = args->json};
  progress_start(&s.bar, "reading the prompt", args->model.quiet);
  viva_generate_options options = library_options(args, &s);
  options.stop_tokens = stop->ids;
  options.stop_token_count = stop->count;
  viva_status status = VIVA_OK;
  token_list chat = {NULL, 0};
  if (args->chat) {
    int code = chat_prompt(what, prompt, &chat);
    if (code != CODE_OK) return code;
    if (args->n_predict < 0)
      options.max_new_tokens = what->plan.context > chat.count ? what->plan.context - chat.count : 0;
    status = viva_generate_tokens(what->model, chat.ids, chat.count, &options, &result, &error);
    tokens_free(&chat);
  } else {
    if (args->n_predict < 0) status = room_for_text(what, args, prompt, &options.max_new_tokens, &error);
    if (status == VIVA_OK) status = viva_generate(what->model, prompt->bytes, prompt->count, &options, &result, &error);
  }
  progress_end(&s.bar);
  /* A terminal's next line begins at its left edge; a pipe gets the text and nothing else. */
  if (out->terminal && s.open_line) output_text(out, "\n");
  output_flush(out);
  if (status == VIVA_E_CANCELLED) return message_fail(CODE_INTERRUPTED, "stopped before the first token");
  if (status != VIVA_OK) return message_error(&error);
  if (args->json) generate_json(out, result, what);
  if (!args->model.quiet && !output_failed(out)) {
    explain_nothing(args, result, what);
    print_summary(result, what);
  }
  viva_generate_result_free(result);
  return CODE_OK;
}

static int run(output *out, void *values, const operands *rest) {
  const generate_args *args = values;
  (void)rest;
  if (args->logprobs > 0 && !args->json)
    return message_usage("generate", "--logprobs needs --json, which is where they are printed");
  int code = model_args_need_path(&args->model, "generate");
  if (code != 0) return code;
  input prompt;
  code = input_read(&args->input, "generate", "prompt", args->model.quiet, &prompt);
  if (code != 0) return code;
  loaded what = {0};
  code = generate_check(&args->model, &(generate_question){&prompt, args->n_predict, args->match_special, args->add_bos,
                                                           args->chat, &args->stop_tokens});
  if (code == 0) code = model_open(&args->model, "generate", &what);
  token_list stop = {NULL, 0};
  if (code == 0) code = tokens_stop(viva_model_tokenizer(what.model), &args->stop_tokens, &stop);
  if (code == 0) {
    hint_at_template(args, &what, &prompt);
    code = generate(out, args, &what, &prompt, &stop);
  }
  tokens_free(&stop);
  model_close(&what);
  input_free(&prompt);
  return code;
}

const command command_generate = {
    .name = "generate",
    .synopsis = "-m MODEL [-p TEXT | -f FILE] [OPTIONS]",
    .summary = "Continues a text",
    .details = "\nThe text goes to standard output as it is made; everything else goes to standard error. The prompt\n"
               "is taken byte for byte and is not repeated. A line end is added only on a terminal. Ctrl-C ends the\n"
               "text where it is, with exit code 0.\n",
    .examples = "  viva generate -m model.gguf -p 'The capital of France is'\n"
                "  viva generate -m model.gguf --chat -p 'What is the capital of France?'\n"
                "  viva generate -m model.gguf -f prompt.txt -n 200 --temp 0.8 --top-p 0.95 --seed 7\n"
                "  echo 'Once upon a time' | viva generate -m folder --json\n",
    COMMAND_GROUPS(groups),
    .values_size = sizeof(generate_args),
    .defaults = defaults,
    .run = run,
};
