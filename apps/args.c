#include "args.h"

#include <stdlib.h>
#include <string.h>

#include "foreign.h"
#include "messages.h"
#include "suggest.h"
#include "units.h"

typedef struct parser {
  const args_spec *spec;
  char *values;
  unsigned char *seen; /* one byte for each option of all groups, in order */
  size_t words;        /* argc: no list is longer */
} parser;

/* One option found in the tables. */
typedef struct match {
  const option *opt;
  const option_group *group;
  size_t number; /* in parser.seen */
} match;

static size_t option_total(const args_spec *spec) {
  size_t total = 0;
  for (size_t g = 0; g < spec->group_count; g++) total += spec->groups[g].count;
  return total;
}

/* name: without dashes, length bytes long; letter: 1 for "-x". */
static int option_find(const args_spec *spec, const char *name, size_t length, int letter, match *found) {
  size_t number = 0;
  for (size_t g = 0; g < spec->group_count; g++)
    for (size_t i = 0; i < spec->groups[g].count; i++, number++) {
      const option *o = &spec->groups[g].options[i];
      int same = letter ? length == 1 && o->letter != 0 && o->letter == name[0]
                        : strlen(o->name) == length && memcmp(o->name, name, length) == 0;
      if (same) {
        *found = (match){o, &spec->groups[g], number};
        return 1;
      }
    }
  return 0;
}

/* Is this word, as a whole, an option of the command? Then it is not the value of the one before it. */
static int is_option(const args_spec *spec, const char *word) {
  match found;
  if (word[0] != '-' || word[1] == 0) return 0;
  int letter = word[1] != '-';
  const char *name = word + (letter ? 1 : 2);
  return option_find(spec, name, strcspn(name, letter ? "" : "="), letter, &found);
}

static int option_takes_value(const option *o) { return o->kind != OPTION_SET && o->kind != OPTION_CLEAR; }

static int unknown_option(const args_spec *spec, const char *word) {
  const char *best = NULL;
  size_t distance = SUGGEST_NONE;
  const option *attached = NULL; /* "-n50", "-n=50" */
  const char *typed = word + strspn(word, "-"), *hint = foreign_option(word);
  if (hint != NULL) return message_usage(spec->command, "unknown option '%s': %s", word, hint);
  for (size_t g = 0; g < spec->group_count; g++)
    for (size_t i = 0; i < spec->groups[g].count; i++) {
      const option *o = &spec->groups[g].options[i];
      if (word[1] != '-' && o->letter == typed[0] && option_takes_value(o)) attached = o;
      suggest_offer(typed, o->name, &best, &distance);
    }
  if (attached != NULL && (best == NULL || strcmp(best, typed) != 0))
    return message_usage(spec->command, "unknown option '%s': did you mean '-%c %s'?", word, attached->letter,
                         typed + 1 + (typed[1] == '='));
  if (best != NULL) return message_usage(spec->command, "unknown option '%s': did you mean '--%s'?", word, best);
  return message_usage(spec->command, "unknown option '%s'", word);
}

static int wrong_value(const parser *p, const option *o, const char *expected, const char *text) {
  return message_usage(p->spec->command, "--%s: expected %s, found '%s'", o->name, expected, text);
}

static int wrong_number(const parser *p, const option *o, const char *text) {
  const char *kind = o->kind == OPTION_REAL ? "a number" : "a whole number";
  char expected[96];
  if (o->max > 0) {
    text_format(expected, sizeof expected, "%s from %.10g to %.10g", kind, o->min, o->max);
  } else {
    text_format(expected, sizeof expected, "%s of at least %.10g%s", kind, o->min,
                o->kind != OPTION_REAL && strlen(text) > 18 ? " that fits in 64 bits" : "");
  }
  return wrong_value(p, o, expected, text);
}

static int in_range(const option *o, double value) { return value >= o->min && (o->max <= 0 || value <= o->max); }

static int store_counts(const parser *p, const option *o, const char *text, count_list *list) {
  list->count = 0;
  for (const char *s = text;; s++) {
    size_t length = strcspn(s, ",");
    if (list->count == COUNT_LIST_MAX)
      return message_usage(p->spec->command, "--%s: at most %d numbers, found more", o->name, COUNT_LIST_MAX);
    uint64_t value;
    if (!args_read_unsigned(s, length, &value)) return wrong_value(p, o, "whole numbers such as 512 or 128,512", text);
    if (!in_range(o, (double)value)) return wrong_number(p, o, text);
    list->items[list->count++] = value;
    s += length;
    if (*s == 0) return 0;
  }
}

static int store_choice(const parser *p, const option *o, const char *text, int *value) {
  int index = 0;
  size_t length = strlen(text);
  for (const char *word = o->argument;; index++) {
    size_t n = strcspn(word, "|");
    if (n == length && memcmp(word, text, n) == 0) {
      *value = index;
      return 0;
    }
    if (word[n] == 0) return wrong_value(p, o, o->argument, text);
    word += n + 1;
  }
}

static int store_text(const parser *p, const char *text, text_list *list) {
  if (list->items == NULL) list->items = calloc(p->words, sizeof *list->items);
  if (list->items == NULL) return message_fail(CODE_LIMIT, "no memory for the command line");
  list->items[list->count++] = text;
  return 0;
}

/* Puts the text of an option's value where it belongs. Returns 0, or the exit code after a message. */
static int store(const parser *p, const match *m, const char *text) {
  const option *o = m->opt;
  void *field = p->values + m->group->offset + o->offset;
  double real = 0;
  switch (o->kind) {
  case OPTION_SET: *(int *)field = 1; return 0;
  case OPTION_CLEAR: *(int *)field = 0; return 0;
  case OPTION_TEXT: *(const char **)field = text; return 0;
  case OPTION_TEXTS: return store_text(p, text, field);
  case OPTION_COUNTS: return store_counts(p, o, text, field);
  case OPTION_CHOICE: return store_choice(p, o, text, field);
  case OPTION_COUNT:
    if (!args_read_unsigned(text, strlen(text), field)) return wrong_number(p, o, text);
    real = (double)*(uint64_t *)field;
    break;
  case OPTION_INTEGER:
    if (!args_read_integer(text, strlen(text), field)) return wrong_number(p, o, text);
    real = (double)*(int64_t *)field;
    break;
  case OPTION_REAL:
    if (!args_read_real(text, field)) return wrong_number(p, o, text);
    real = *(double *)field;
    break;
  }
  return in_range(o, real) ? 0 : wrong_number(p, o, text);
}

/* Twice the same value option, or two options that set one field. */
static int check_double(const parser *p, const match *m) {
  const option *o = m->opt;
  if (p->seen[m->number] && o->kind != OPTION_TEXTS && option_takes_value(o))
    return message_usage(p->spec->command, "--%s is given twice: give it once", o->name);
  size_t first = m->number - (size_t)(o - m->group->options); /* number of the group's first option */
  for (size_t i = 0; i < m->group->count; i++) {
    const option *other = &m->group->options[i];
    if (p->seen[first + i] && other != o && other->offset == o->offset)
      return message_usage(p->spec->command, "--%s contradicts --%s: give one of them", o->name, other->name);
  }
  p->seen[m->number] = 1;
  return 0;
}

/* argv[*at] begins with '-'. On return *at is the last word used. Returns 0, or the exit code after a message. */
static int parse_option(const parser *p, int argc, char **argv, int *at) {
  const char *word = argv[*at];
  int letter = word[1] != '-';
  const char *name = word + (letter ? 1 : 2);
  size_t length = strcspn(name, letter ? "" : "=");
  const char *text = name[length] == '=' ? name + length + 1 : NULL;
  match m;
  if (!option_find(p->spec, name, length, letter, &m)) return unknown_option(p->spec, word);
  if (!option_takes_value(m.opt)) {
    if (text != NULL) return message_usage(p->spec->command, "--%s takes no value, found '%s'", m.opt->name, text);
  } else if (text == NULL) {
    if (*at + 1 >= argc) return message_usage(p->spec->command, "%s needs a value: %s", word, m.opt->argument);
    if (is_option(p->spec, argv[*at + 1]))
      return message_usage(p->spec->command,
                           "%s needs a value (%s), found the option '%s'; to give these letters as the value "
                           "write --%s=%s",
                           word, m.opt->argument, argv[*at + 1], m.opt->name, argv[*at + 1]);
    text = argv[++*at];
  }
  int code = check_double(p, &m);
  return code != 0 ? code : store(p, &m, text);
}

/* Anywhere before "--", also where a value is missing: whoever writes it wants to read, not to run. */
static int asks_for_help(int argc, char **argv) {
  for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
    if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) return 1;
  return 0;
}

static int unexpected_operand(const args_spec *spec, const char *word) {
  match prompt;
  const char *reason = "there is one too many";
  if (spec->max_operands == 0) reason = "this command takes options only";
  if (option_find(spec, "prompt", 6, 0, &prompt)) reason = "a text is given with --prompt";
  return message_usage(spec->command, "unexpected '%s': %s", word, reason);
}

args_outcome args_parse(const args_spec *spec, int argc, char **argv, void *values, operands *rest) {
  *rest = (operands){argv, 0};
  if (asks_for_help(argc, argv)) return ARGS_HELP;
  unsigned char *seen = calloc(option_total(spec) + 1, 1);
  if (seen == NULL) {
    message_fail(CODE_LIMIT, "no memory for the command line");
    return ARGS_NO_MEMORY;
  }
  parser p = {spec, values, seen, (size_t)argc + 1};
  int code = 0, options = 1;
  for (int i = 0; i < argc && code == 0; i++) {
    if (options && strcmp(argv[i], "--") == 0) {
      options = 0;
    } else if (options && argv[i][0] == '-' && argv[i][1] != 0) {
      code = parse_option(&p, argc, argv, &i);
    } else if (rest->count == spec->max_operands) {
      code = unexpected_operand(spec, argv[i]);
    } else {
      rest->items[rest->count++] = argv[i];
    }
  }
  free(seen);
  if (code == CODE_LIMIT) return ARGS_NO_MEMORY;
  return code == 0 ? ARGS_RUN : ARGS_WRONG;
}

void args_free(const args_spec *spec, void *values) {
  for (size_t g = 0; g < spec->group_count; g++)
    for (size_t i = 0; i < spec->groups[g].count; i++) {
      const option *o = &spec->groups[g].options[i];
      if (o->kind != OPTION_TEXTS) continue;
      text_list *list = (void *)((char *)values + spec->groups[g].offset + o->offset);
      free(list->items);
      *list = (text_list){NULL, 0};
    }
}
