/* main.c: viva, the program: finds the command, reads its options, runs it. Sees include/viva and nothing else of the
 * library. The locale is never set: numbers are written and read with a point, everywhere. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "foreign.h"
#include "signals.h"
#include "suggest.h"

static const command *const commands[] = {
    &command_generate,   &command_chat,    &command_tokenize, &command_detokenize, &command_inspect,
    &command_perplexity, &command_bench,   &command_quantize, &command_compare,    &command_compress,
    &command_decompress, &command_analyze, &command_memory,   &command_devices,    &command_debug,
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static const command *command_find(const char *name) {
  if (strcmp(name, "run") == 0) name = "chat"; /* as other programs call it */
  for (size_t i = 0; i < COMMAND_COUNT; i++)
    if (strcmp(commands[i]->name, name) == 0) return commands[i];
  return NULL;
}

static int unknown_command(const char *name) {
  const char *best = NULL, *hint = foreign_command(name);
  size_t distance = SUGGEST_NONE;
  if (hint != NULL) return message_usage(NULL, "unknown command '%s': %s", name, hint);
  for (size_t i = 0; i < COMMAND_COUNT; i++) suggest_offer(name, commands[i]->name, &best, &distance);
  if (best != NULL) return message_usage(NULL, "unknown command '%s': did you mean '%s'?", name, best);
  return message_usage(NULL, "unknown command '%s'", name);
}

static int run_command(output *out, const command *cmd, int argc, char **argv) {
  void *values = calloc(1, cmd->values_size);
  if (values == NULL) return message_fail(CODE_LIMIT, "no memory for the command line");
  cmd->defaults(values);
  args_spec spec = {cmd->name, cmd->groups, cmd->group_count, cmd->max_operands};
  operands rest;
  int code = CODE_USAGE;
  switch (args_parse(&spec, argc, argv, values, &rest)) {
  case ARGS_RUN: code = cmd->run(out, values, &rest); break;
  case ARGS_HELP: code = help_command(out, cmd); break;
  case ARGS_WRONG: break;
  case ARGS_NO_MEMORY: code = CODE_LIMIT; break;
  }
  args_free(&spec, values);
  free(values);
  return code;
}

static int run_help(output *out, int argc, char **argv) {
  if (argc == 0) {
    help_program(out, commands, COMMAND_COUNT);
    return CODE_OK;
  }
  const command *cmd = command_find(argv[0]);
  if (cmd == NULL) return unknown_command(argv[0]);
  return help_command(out, cmd);
}

static int dispatch(output *out, int argc, char **argv) {
  if (argc < 2) return message_usage(NULL, "a command is missing, such as 'viva generate -m MODEL -p TEXT'");
  const char *word = argv[1];
  if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)
    return run_help(out, argc - 2, argv + 2);
  if (strcmp(word, "--version") == 0) {
    output_format(out, "viva %s\n", viva_version());
    return CODE_OK;
  }
  if (word[0] == '-') return message_usage(NULL, "expected a command before the option '%s'", word);
  const command *cmd = command_find(word);
  return cmd != NULL ? run_command(out, cmd, argc - 2, argv + 2) : unknown_command(word);
}

/* A standard stream that is closed would give its number to the first file that is opened, and messages would be written
 * into that. In its place comes a handle that fails in the same way. */
static void hold_standard_handles(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int main(int argc, char **argv) {
  static output out; /* 16 KiB: not on the stack */
  hold_standard_handles();
  signals_install();
  output_open(&out, STDOUT_FILENO);
  int code = dispatch(&out, argc, argv);
  output_flush(&out);
  /* A reader that has closed its pipe wants no more: that is no error. */
  if (output_failed(&out) && out.failure != EPIPE && code == CODE_OK)
    code = message_fail(CODE_IO, "standard output: cannot write: %s", strerror(out.failure));
  return code;
}
