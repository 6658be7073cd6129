/* command.h: one command of the program, as a row of main.c's table. */
#ifndef APPS_COMMAND_H
#define APPS_COMMAND_H

#include "args.h"
#include "messages.h"
#include "output.h"

typedef struct command {
  const char *name;
  const char *synopsis; /* what follows "viva NAME" in the usage line */
  const char *summary;  /* one line, for the list of commands */
  const char *details;  /* --help: after the summary */
  const char *examples; /* --help: at the end */
  const option_group *groups;
  size_t group_count;
  size_t max_operands;
  size_t values_size;                                          /* of the struct that run gets */
  void (*defaults)(void *values);                              /* fills it before the command line is read */
  int (*run)(output *out, void *values, const operands *rest); /* returns the exit code */
} command;

#define COMMAND_GROUPS(list) .groups = (list), .group_count = sizeof(list) / sizeof((list)[0])

extern const command command_generate;
extern const command command_chat;
extern const command command_tokenize;
extern const command command_detokenize;
extern const command command_inspect;
extern const command command_perplexity;
extern const command command_quantize;
extern const command command_compare;
extern const command command_bench;
extern const command command_compress;
extern const command command_decompress;
extern const command command_analyze;
extern const command command_memory;
extern const command command_devices;
extern const command command_debug;

/* "viva NAME --help". The defaults shown are those that command->defaults stores. Returns the exit code. */
int help_command(output *out, const command *cmd);

/* "viva --help": the list of commands. */
void help_program(output *out, const command *const *commands, size_t count);

#endif
