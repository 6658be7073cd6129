/* args.h: command lines, described by tables.
 *
 * Each command has groups of options; an option is one row that says its names, what follows it, where its value goes
 * and what it means. The parser, --help, and the test that compares the man page and the bash completion all read these
 * rows.
 *
 * Rules: "--name value", "--name=value", "-x value"; "--" ends the options; a lone "-" is an operand. An option with a
 * value may be given once, unless it makes a list; contradicting flags are refused. Numbers are decimal, read strictly
 * and without the locale.
 */
#ifndef APPS_ARGS_H
#define APPS_ARGS_H

#include <stddef.h>
#include <stdint.h>

typedef enum option_kind {
  OPTION_SET,     /* a flag. int: becomes 1 */
  OPTION_CLEAR,   /* a flag. int: becomes 0 */
  OPTION_TEXT,    /* const char * */
  OPTION_TEXTS,   /* text_list: may be given several times */
  OPTION_COUNT,   /* uint64_t from min to max */
  OPTION_COUNTS,  /* count_list: "512" or "128,512" */
  OPTION_INTEGER, /* int64_t from min to max */
  OPTION_REAL,    /* double from min to max */
  OPTION_CHOICE   /* int: index of the word in option.argument, "auto|cpu|cuda" */
} option_kind;

typedef struct option {
  char letter; /* 'n', or 0 */
  option_kind kind;
  const char *name;     /* "n-predict" */
  const char *argument; /* what follows: "N", "PATH", "auto|cpu|cuda"; NULL for a flag */
  size_t offset;        /* of the value in the group's struct */
  const char *help;     /* after which --help prints the default */
  double min, max;      /* of numbers; max 0: no upper limit */
} option;

typedef struct option_group {
  const char *title; /* "Sampling" */
  const option *options;
  size_t count;
  size_t offset; /* of the group's struct in the command's values */
} option_group;

#define OPTION_GROUP(title, options, offset)                                                                           \
  { title, options, sizeof(options) / sizeof((options)[0]), offset }

typedef struct text_list {
  const char **items;
  size_t count;
} text_list;

enum { COUNT_LIST_MAX = 32 };
typedef struct count_list {
  uint64_t items[COUNT_LIST_MAX];
  size_t count;
} count_list;

typedef struct operands {
  char **items;
  size_t count;
} operands;

/* What a command line can say about one command. */
typedef struct args_spec {
  const char *command;
  const option_group *groups;
  size_t group_count;
  size_t max_operands;
} args_spec;

typedef enum args_outcome { ARGS_RUN, ARGS_HELP, ARGS_WRONG, ARGS_NO_MEMORY } args_outcome;

/* Fills values from argv[0..argc), the words after the command's name. argv is reordered: the operands come first.
 * ARGS_HELP: -h or --help was given. ARGS_WRONG, ARGS_NO_MEMORY: a message has been written. Lists are freed by args_free. */
args_outcome args_parse(const args_spec *spec, int argc, char **argv, void *values, operands *rest);
void args_free(const args_spec *spec, void *values);

/* Reads a whole text as a number; returns 0 when it is none. No white space, no hexadecimal, no "inf". */
int args_read_unsigned(const char *text, size_t length, uint64_t *value);
int args_read_integer(const char *text, size_t length, int64_t *value);
int args_read_real(const char *text, double *value);

#endif
