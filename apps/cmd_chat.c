/* cmd_chat.c: viva chat: a conversation with a model, by its own chat template. Answers go to standard output,
 * everything else to standard error.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "chat_model.h"
#include "command.h"
#include "model_check.h"
#include "signals.h"

#define AT(field) offsetof(chat_args, field)

static const option talk_options[] = {
    {'p', OPTION_TEXT, "prompt", "TEXT", AT(prompt), "answer this one question and end", 0, 0},
    {0, OPTION_TEXT, "system", "TEXT", AT(system), "the system message: who the model is, how it answers", 0, 0},
};

static const option length_options[] = {
    {'n', OPTION_INTEGER, "n-predict", "N", AT(n_predict), "most tokens of an answer; -1: until the context is full",
     -1, 0},
    {'c', OPTION_COUNT, "ctx-size", "N", AT(model.context), "tokens that the conversation may have; 0: the model's own",
     0, 0},
    {'t', OPTION_COUNT, "threads", "N", AT(model.threads),
     "threads to compute with; 0: physical cores within affinity and cgroup quota", 0, 1024},
    {0, OPTION_TEXTS, "stop-token", "TOKEN", AT(stop_tokens),
     "end an answer at this token too: an id, or its text; may be given several times", 0, 0},
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

static const option_group groups[] = {
    OPTION_GROUP("Model", model_path_options, AT(model)),
    OPTION_GROUP("Conversation", talk_options, 0),
    OPTION_GROUP("Length", length_options, 0),
    OPTION_GROUP("Sampling", sampling_options, 0),
    OPTION_GROUP("Messages", model_talk_options, AT(model)),
    OPTION_GROUP("How the model is held", model_hold_options, AT(model)),
    OPTION_GROUP("Tokenizer", model_tokenizer_options, AT(model)),
    OPTION_GROUP("Device", model_device_options, AT(model)),
};

static void defaults(void *values) {
  chat_args *args = values;
  model_args_defaults(&args->model);
  args->n_predict = -1;
  args->temperature = 0.7; /* what most cards of small instruct models say, with top-p 0.95 */
  args->top_p = 0.95;
  args->repeat_penalty = 1;
  args->seed = viva_generate_options_default().sampling.seed;
}

/* ---- an answer */

static int on_text(void *user, const char *text, size_t bytes) {
  chat *c = user;
  signals_answering(c->edit != NULL); /* one question: a reader who takes nothing is not waited for */
  progress_end(&c->bar);
  if (bytes > 0) {
    output_bytes(c->out, text, bytes);
    output_flush(c->out);
    c->open_line = text[bytes - 1] != '\n';
  }
  signals_answering(1);
  return signals_stopped() || output_failed(c->out);
}

static viva_generate_options library_options(chat *c) {
  const chat_args *args = c->args;
  viva_generate_options o = viva_generate_options_default();
  o.sampling.temperature = (float)args->temperature;
  o.sampling.top_k = (int32_t)args->top_k;
  o.sampling.top_p = (float)args->top_p;
  o.sampling.min_p = (float)args->min_p;
  o.sampling.repetition_penalty = (float)args->repeat_penalty;
  o.sampling.seed = args->seed;
  o.stop_tokens = c->stop.ids;
  o.stop_token_count = c->stop.count;
  o.on_text = on_text;
  o.on_text_user = c;
  o.progress = progress_callback;
  o.progress_user = &c->bar;
  return o;
}

/* The conversation fills the context: a person chooses what goes. 1: try again; 0: the question is taken back. */
static int make_room(chat *c, size_t tokens, uint64_t capacity) {
  const char *line;
  message_note("the conversation has %zu tokens, and the context %" PRIu64 " (-c gives more where the model has them)",
               tokens, capacity);
  if (c->edit == NULL || !line_edit_terminal(c->edit)) return 0;
  do { /* whatever else is typed must not cost the question */
    if (line_edit_read(c->edit, "forget the oldest exchange (f), or take the question back (Enter)? ", &line) !=
        LINE_READ)
      return 0;
  } while (line[0] != 0 && strcmp(line, "f") != 0);
  if (line[0] == 0) return 0;
  if (conversation_forget(&c->talk)) return 1;
  message_note("there is nothing left to forget: the question alone does not fit");
  return 0;
}

/* The prompt, and how many tokens the answer may have. */
static int fit_prompt(chat *c, token_list *prompt, uint64_t *room) {
  uint64_t capacity = viva_session_capacity(c->talk.session);
  for (;;) {
    int code = conversation_prompt(&c->talk, prompt);
    if (code != 0) return code;
    if (prompt->count < capacity) break;
    size_t count = prompt->count;
    tokens_free(prompt);
    if (!make_room(c, count, capacity)) return CODE_LIMIT;
  }
  *room = capacity - prompt->count;
  if (c->args->n_predict >= 0 && (uint64_t)c->args->n_predict < *room) *room = (uint64_t)c->args->n_predict;
  return 0;
}

static void explain_end(const chat *c, const viva_generate_result *r, uint64_t room) {
  if (r->stop_reason == VIVA_STOP_LENGTH && (c->args->n_predict < 0 || room < (uint64_t)c->args->n_predict))
    message_note("the context is full; /clear begins anew, -c gives more where the model has it");
  else if (r->text_bytes == 0 && r->stop_reason == VIVA_STOP_EOS)
    message_note("the model ended its answer at once");
}

int chat_answer(chat *c) {
  token_list prompt = {NULL, 0};
  uint64_t room;
  viva_error error = {0};
  viva_generate_result *result;
  int code = fit_prompt(c, &prompt, &room);
  if (code != 0) return tokens_free(&prompt), code;
  viva_generate_options options = library_options(c);
  options.max_new_tokens = room;
  progress_start(&c->bar, "reading", c->args->model.quiet);
  signals_answering(c->edit != NULL);
  viva_status status = conversation_answer(&c->talk, &prompt, &options, &result, &error);
  signals_answering(0);
  progress_end(&c->bar);
  tokens_free(&prompt);
  if (c->open_line) output_text(c->out, "\n");
  c->open_line = 0;
  output_flush(c->out);
  if (status == VIVA_E_CANCELLED) return CODE_INTERRUPTED;
  if (status != VIVA_OK) return message_error(&error);
  c->stopped = result->stop_reason;
  c->tokens = result->token_count;
  c->ms_per_token = result->ms_per_token;
  c->prefill_seconds = result->prefill_seconds;
  if (!c->args->model.quiet) explain_end(c, result, room);
  code = conversation_add(&c->talk, "assistant", result->text, result->text_bytes);
  viva_generate_result_free(result);
  return code;
}

/* ---- what is typed */

typedef struct typed {
  char *text;
  size_t bytes, room;
} typed;

static int add_line(typed *t, const char *line, size_t bytes, int new_line) {
  if (t->bytes + bytes + 2 > t->room) {
    size_t room = 2 * (t->bytes + bytes) + 256;
    char *grown = realloc(t->text, room);
    if (grown == NULL) return errno = ENOMEM;
    t->text = grown;
    t->room = room;
  }
  memcpy(t->text + t->bytes, line, bytes);
  t->bytes += bytes;
  if (new_line) t->text[t->bytes++] = '\n';
  t->text[t->bytes] = 0;
  return 0;
}

/* One message: a line, lines that end with a backslash, or lines between """ and """. Returns LINE_READ, or why there
 * is none. */
static line_status read_message(chat *c, typed *t) {
  static const char fence[] = "\"\"\"";
  const char *line, *prompt = "> ";
  int fenced = 0;
  t->bytes = 0;
  for (;;) {
    line_status status = line_edit_read(c->edit, prompt, &line);
    if (status != LINE_READ) return status == LINE_END && t->bytes > 0 ? LINE_READ : status;
    size_t bytes = strlen(line);
    prompt = ". ";
    if (!fenced && t->bytes == 0 && strncmp(line, fence, 3) == 0) {
      fenced = 1;
      line += 3, bytes -= 3;
      if (bytes == 0) continue;
    }
    int closes = fenced && bytes >= 3 && strcmp(line + bytes - 3, fence) == 0;
    int goes_on = fenced ? !closes : bytes > 0 && line[bytes - 1] == '\\';
    if (closes) bytes -= 3;
    if (!fenced && goes_on) bytes--;
    if (add_line(t, line, bytes, goes_on) != 0) return LINE_FAILED;
    if (!goes_on) return LINE_READ;
  }
}

/* A question, and its answer. A question that could not be answered is taken back. */
static int ask(chat *c, const char *text, size_t bytes) {
  size_t before = c->talk.count;
  int code = conversation_add(&c->talk, "user", text, bytes);
  if (code == 0) code = chat_answer(c);
  if (code == CODE_INTERRUPTED) message_note("stopped before the answer began: the question is taken back");
  if (code != 0 && c->talk.count > before) conversation_cut(&c->talk, c->talk.count - 1);
  return code;
}

static int converse(chat *c) {
  typed t = {NULL, 0, 0};
  int interrupted = 0, code = CODE_OK;
  while (!c->done && !output_failed(c->out)) {
    line_status status = read_message(c, &t);
    if (status == LINE_INTERRUPTED && signals_resume() && !interrupted) {
      message_note("Ctrl-C again, or Ctrl-D, ends; /help lists the commands");
      interrupted = 1;
      continue;
    }
    if (status == LINE_FAILED)
      code = message_fail(errno == ENOMEM ? CODE_LIMIT : CODE_IO, "standard input: cannot read: %s", strerror(errno));
    if (status != LINE_READ) break;
    interrupted = 0;
    if (t.bytes == 0) continue;
    int failed = t.text[0] == '/' ? chat_command(c, t.text) : ask(c, t.text, t.bytes);
    if (failed != CODE_OK && !line_edit_terminal(c->edit)) code = failed; /* a script has nothing else to see it by */
    if (signals_stopped() && !signals_resume()) {
      code = CODE_INTERRUPTED; /* SIGTERM, SIGHUP */
      break;
    }
  }
  free(t.text);
  return code;
}

/* ---- */

static int run_loaded(chat *c) {
  int code = conversation_open(&c->talk, c->what.model, 0);
  if (code == 0 && c->args->system != NULL) code = conversation_system(&c->talk, c->args->system);
  if (code == 0 && c->args->prompt != NULL) return ask(c, c->args->prompt, strlen(c->args->prompt));
  if (code != 0) return code;
  c->edit = line_edit_open();
  if (c->edit == NULL) return message_fail(CODE_LIMIT, "no memory for the command line");
  if (line_edit_terminal(c->edit) && !c->args->model.quiet) message_note("/help lists the commands, Ctrl-D ends");
  return converse(c);
}

static int run(output *out, void *values, const operands *rest) {
  chat c = {.args = values, .out = out};
  model_seen seen = {NULL, 0};
  (void)rest;
  int code = model_args_need_path(&c.args->model, "chat");
  if (code == 0) code = model_check(&c.args->model, &c.args->stop_tokens, 1, &seen);
  model_check_free(&seen);
  if (code == 0) code = model_open(&c.args->model, "chat", &c.what);
  if (code != 0) return code;
  code = tokens_stop(viva_model_tokenizer(c.what.model), &c.args->stop_tokens, &c.stop);
  if (code == 0) code = run_loaded(&c);
  tokens_free(&c.stop);
  line_edit_close(c.edit);
  conversation_close(&c.talk);
  model_close(&c.what);
  return code;
}

const command command_chat = {
    .name = "chat",
    .synopsis = "-m MODEL [-p TEXT] [OPTIONS]",
    .summary = "A conversation with an instruct model",
    .details = "\nThe model's own chat template puts messages into the form that it was trained on. Answers go to\n"
               "standard output as they are made; everything else goes to standard error. Ctrl-C stops an answer,\n"
               "Ctrl-D ends. /help lists what can be typed beside questions. 'viva run' is another name of this.\n",
    .examples = "  viva chat -m model.gguf\n"
                "  viva chat -m model.gguf --system 'Answer in one sentence.' -p 'What is a fjord?'\n",
    COMMAND_GROUPS(groups),
    .values_size = sizeof(chat_args),
    .defaults = defaults,
    .run = run,
};
