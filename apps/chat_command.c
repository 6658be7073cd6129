/* chat_command.c: what a person can ask of viva chat itself. */
#include <inttypes.h>
#include <string.h>

#include "chat.h"
#include "messages.h"

static int run_help(chat *c, const char *text);

/* The messages are others now: what is known of the last answer is not about them. */
static void forget_answer(chat *c) {
  c->talk.used = 0;
  c->ms_per_token = 0;
}

static int run_clear(chat *c, const char *text) {
  size_t system = c->talk.count > 0 && strcmp(c->talk.messages[0].role, "system") == 0;
  (void)text;
  conversation_cut(&c->talk, system);
  forget_answer(c);
  message_note("the conversation begins anew%s", system ? "; the system message stays" : "");
  return 0;
}

static int run_system(chat *c, const char *text) {
  int code = conversation_system(&c->talk, text);
  if (code == 0) message_note(*text ? "the system message is set" : "there is no system message now");
  return code;
}

static int run_save(chat *c, const char *text) {
  if (*text == 0) return message_note("/save needs a file's name"), 0;
  int code = chat_save(&c->talk, &c->args->model, text);
  if (code == 0) message_note("%zu messages are in %s", c->talk.count, text);
  return code;
}

static int run_load(chat *c, const char *text) {
  if (*text == 0) return message_note("/load needs a file's name"), 0;
  int code = chat_load(&c->talk, text);
  if (code != 0) return code;
  forget_answer(c);
  message_note("%zu messages are read from %s", c->talk.count, text);
  return 0;
}

static int run_regen(chat *c, const char *text) {
  (void)text;
  if (c->talk.count > 0 && strcmp(c->talk.messages[c->talk.count - 1].role, "assistant") == 0)
    conversation_cut(&c->talk, c->talk.count - 1);
  if (c->talk.count == 0 || strcmp(c->talk.messages[c->talk.count - 1].role, "user") != 0)
    return message_note("there is no question to answer again"), 0;
  return chat_answer(c);
}

static int run_stats(chat *c, const char *text) {
  (void)text;
  message_note("%s; %s; %zu messages, %zu of %" PRIu64 " tokens of context", viva_model_description(c->what.model),
               c->what.weights, c->talk.count, c->talk.used, viva_session_capacity(c->talk.session));
  if (c->ms_per_token > 0)
    message_note(
        "the last answer: %zu tokens, %.1f tok/s; %" PRIu64 " tokens of its prompt were new, in %.2f s; stopped: %s",
        c->tokens, 1e3 / c->ms_per_token, c->talk.computed, c->prefill_seconds, viva_stop_reason_name(c->stopped));
  return 0;
}

static int run_exit(chat *c, const char *text) {
  (void)text;
  c->done = 1;
  return 0;
}

static const struct {
  const char *name, *argument, *summary;
  int (*run)(chat *c, const char *text);
} commands[] = {
    {"/help", "", "this list", run_help},
    {"/clear", "", "begin anew; the system message stays", run_clear},
    {"/system", " TEXT", "say who the model is; without a text: say nothing", run_system},
    {"/regen", "", "answer the last question again, with other random numbers", run_regen},
    {"/save", " FILE", "write the conversation as JSON", run_save},
    {"/load", " FILE", "read a conversation in place of this one", run_load},
    {"/stats", "", "sizes and speeds", run_stats},
    {"/exit", "", "end (also Ctrl-D)", run_exit},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static int run_help(chat *c, const char *text) {
  (void)c, (void)text;
  for (size_t i = 0; i < COMMANDS; i++)
    message_note("%s%-*s %s", commands[i].name, (int)(16 - strlen(commands[i].name)), commands[i].argument,
                 commands[i].summary);
  message_note("A line that ends with \\ goes on; \"\"\" begins and ends a text of several lines.");
  message_note("Ctrl-C stops an answer.");
  return 0;
}

int chat_command(chat *c, const char *line) {
  size_t bytes = strcspn(line, " \t");
  const char *text = line + bytes + strspn(line + bytes, " \t");
  for (size_t i = 0; i < COMMANDS; i++)
    if (strlen(commands[i].name) == bytes && memcmp(commands[i].name, line, bytes) == 0)
      return commands[i].run(c, text);
  if (strcmp(line, "/quit") == 0 || strcmp(line, "/bye") == 0) return run_exit(c, "");
  message_note("there is no command %.*s; /help lists them", (int)bytes, line);
  return 0;
}
