/* help.c: --help, printed from the tables that the parser reads. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "units.h"

enum { HELP_COLUMN = 31, HELP_WIDTH = 96 };

/* Writes text in words from column to the right edge; the cursor stands at column. */
static void wrap(output *out, const char *text, size_t column) {
  size_t at = column;
  while (*text != 0) {
    size_t word = strcspn(text, " ");
    if (at + word > HELP_WIDTH && at > column) {
      output_format(out, "\n%*s", (int)column, "");
      at = column;
    }
    output_bytes(out, text, word);
    at += word + 1;
    text += word;
    if (*text == ' ') text++;
    if (*text != 0 && at + strcspn(text, " ") <= HELP_WIDTH) output_text(out, " ");
  }
  output_text(out, "\n");
}

static void counts_as_text(const count_list *list, char *text, size_t size) {
  size_t used = 0;
  text[0] = 0;
  for (size_t i = 0; i < list->count; i++)
    used += text_format(text + used, size - used, "%s%" PRIu64, i > 0 ? "," : "", list->items[i]);
}

static void choice_as_text(const option *o, int index, char *text, size_t size) {
  const char *word = o->argument;
  for (int i = 0; i < index && word[strcspn(word, "|")] != 0; i++) word += strcspn(word, "|") + 1;
  text_format(text, size, "%.*s", (int)strcspn(word, "|"), word);
}

/* The default as the command line would say it; "" for none. */
static void default_as_text(const option *o, const void *field, char *text, size_t size) {
  text[0] = 0;
  switch (o->kind) {
  case OPTION_SET:
  case OPTION_CLEAR:
  case OPTION_TEXTS: break;
  case OPTION_TEXT:
    if (*(const char *const *)field != NULL) text_format(text, size, "%s", *(const char *const *)field);
    break;
  case OPTION_COUNT: text_format(text, size, "%" PRIu64, *(const uint64_t *)field); break;
  case OPTION_COUNTS: counts_as_text(field, text, size); break;
  case OPTION_INTEGER: text_format(text, size, "%" PRId64, *(const int64_t *)field); break;
  case OPTION_REAL: text_format(text, size, "%g", *(const double *)field); break;
  case OPTION_CHOICE:
    if (*(const int *)field >= 0) choice_as_text(o, *(const int *)field, text, size);
    break;
  }
}

static void print_option(output *out, const option *o, const void *field) {
  char names[96], shown[64], help[512];
  char letter[8] = "    ";
  if (o->letter != 0) text_format(letter, sizeof letter, "-%c, ", o->letter);
  size_t length = text_format(names, sizeof names, "  %s--%s%s%s", letter, o->name, o->argument != NULL ? " " : "",
                              o->argument != NULL ? o->argument : "");
  default_as_text(o, field, shown, sizeof shown);
  text_format(help, sizeof help, "%s%s%s%s", o->help, shown[0] != 0 ? " (default " : "", shown,
              shown[0] != 0 ? ")" : "");
  output_text(out, names);
  if (length + 2 > HELP_COLUMN) {
    output_format(out, "\n%*s", HELP_COLUMN, "");
  } else {
    output_format(out, "%*s", HELP_COLUMN - (int)length, "");
  }
  wrap(out, help, HELP_COLUMN);
}

int help_command(output *out, const command *cmd) {
  void *values = calloc(1, cmd->values_size);
  if (values == NULL) return message_fail(CODE_LIMIT, "no memory for the command line");
  cmd->defaults(values);
  output_format(out, "Usage: viva %s %s\n\n", cmd->name, cmd->synopsis);
  output_format(out, "%s.\n", cmd->summary);
  if (cmd->details != NULL) output_text(out, cmd->details);
  for (size_t g = 0; g < cmd->group_count; g++) {
    const option_group *group = &cmd->groups[g];
    output_format(out, "\n%s:\n", group->title);
    for (size_t i = 0; i < group->count; i++)
      print_option(out, &group->options[i], (char *)values + group->offset + group->options[i].offset);
  }
  output_text(out, "\nHelp:\n  -h, --help                   this text\n");
  if (cmd->examples != NULL) output_format(out, "\nExamples:\n%s", cmd->examples);
  free(values);
  return CODE_OK;
}

void help_program(output *out, const command *const *commands, size_t count) {
  output_text(out, "Usage: viva COMMAND [OPTIONS]\n\nRuns Llama-family language models.\n\nCommands:\n");
  for (size_t i = 0; i < count; i++) output_format(out, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
  output_text(out, "  help         Shows this text, or the help of one command\n"
                   "\nOptions:\n"
                   "  -h, --help   this text; 'viva COMMAND --help' shows a command's options\n"
                   "  --version    the version\n"
                   "\nExit codes: 0 done, 1 wrong command line, 2 unusable file or text, 3 does not fit (memory,\n"
                   "context, device), 4 reading or writing failed, 130 stopped by Ctrl-C without a result.\n");
}
