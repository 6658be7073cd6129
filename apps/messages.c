#include "messages.h"
#include "terminal.h"
#include "units.h"
#include "visible.h"
#include "wrap.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct status_code {
  viva_status status;
  int code;
} status_code;

static const status_code codes[] = {
    {VIVA_OK, CODE_OK},
    {VIVA_E_ARGUMENT, CODE_USAGE},
    {VIVA_E_MEMORY, CODE_LIMIT},
    {VIVA_E_IO, CODE_IO},
    {VIVA_E_FORMAT, CODE_INPUT},
    {VIVA_E_UNSUPPORTED, CODE_INPUT},
    {VIVA_E_NOT_FOUND, CODE_INPUT},
    {VIVA_E_DTYPE, CODE_INPUT},
    {VIVA_E_SIZE, CODE_INPUT},
    {VIVA_E_LIMIT, CODE_LIMIT},
    {VIVA_E_CANCELLED, CODE_INTERRUPTED},
    {VIVA_E_NO_CUDA, CODE_LIMIT},
    {VIVA_E_STATE, CODE_INPUT},
    {VIVA_E_NUMERIC, CODE_INPUT},
    {VIVA_E_INTERNAL, CODE_FAULT},
    {VIVA_E_DEVICE, CODE_LIMIT},
};

int message_code(viva_status status) {
  for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
    if (codes[i].status == status) return codes[i].code;
  return CODE_FAULT;
}

/* Notes stand back behind an answer on a terminal; what is wrong does not. */
#define QUIET "\033[2m"
#define PLAIN "\033[0m"

/* One write for the whole line, so that lines of several threads do not mix. */
static void __attribute__((format(printf, 3, 0)))
say(int is_note, const char *prefix, const char *format, va_list arguments) {
  enum { BEHIND = sizeof "viva: " - 1 };
  char text[2048], shown[2048], line[3072];
  const char *before = "", *after = "";
  size_t used = text_format(text, sizeof text / 2, "%s", prefix);
  int length = vsnprintf(text + used, sizeof text - used, format, arguments);
  if (length < 0) text[used] = 0;
  if (is_note && terminal_colors(STDERR_FILENO)) before = QUIET, after = PLAIN;
  used = text_format(line, sizeof line, "%s", before);
  visible_copy(shown, sizeof shown, text, strlen(text), ""); /* a path may hold anything */
  used += wrap_text(line + used, sizeof line - used - sizeof PLAIN - 1, shown, terminal_columns(STDERR_FILENO), BEHIND);
  used += text_format(line + used, sizeof line - used, "%s\n", after);
  if (write(STDERR_FILENO, line, used) < 0) return; /* nowhere left to complain */
}

int message_fail(int code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(0, "viva: ", format, arguments);
  va_end(arguments);
  return code;
}

void message_note(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(1, "viva: ", format, arguments);
  va_end(arguments);
}

int message_usage(const char *command, const char *format, ...) {
  char prefix[64];
  text_format(prefix, sizeof prefix, "viva%s%s: ", command != NULL ? " " : "", command != NULL ? command : "");
  va_list arguments;
  va_start(arguments, format);
  say(0, prefix, format, arguments);
  va_end(arguments);
  message_note("see 'viva %s%s--help'", command != NULL ? command : "", command != NULL ? " " : "");
  return CODE_USAGE;
}

/* What the library calls an option, and what this program does. */
typedef struct option_name {
  const char *item, *option;
} option_name;

static const option_name option_names[] = {
    {"max_new_tokens", "--n-predict"},
    {"context", "--ctx-size"},
    {"num_layers", "--num-layers"},
    {"weights", "--weights"},
    {"act", "--act"},
    {"kv", "--kv"},
    {"device", "--device"},
    {"kernels", "--kernels"},
    {"threads", "--threads"},
    {"stop_strings", "--stop"},
    {"stop_tokens", "--stop-token"},
    {"logprobs", "--logprobs"},
    {"tokenizer_path", "--tokenizer"},
    {"add_bos", "--bos"},
};

/* The library's advice, in the words of its caller, and how this program's user follows it. */
typedef struct advice {
  const char *words, *option_words;
} advice;

static const advice advices[] = {
    {"load the model with a larger context", "give a larger context with -c (--ctx-size)"},
    {"the largest context that fits is ", "give a smaller context with -c (--ctx-size): the largest that fits is "},
    {"ask for a BOS token", "add the BOS token with --bos"},
    {"in 32 bits with keep_nonfinite", "in 32 bits with --keep-nonfinite"},
    {"a multiple of block_size", "a multiple of --block"},
    {"; with weights ", "; with --weights "},
    {"load it with weights ", "load it with --weights "},
    {"load this matrix with weights ", "load this matrix with --weights "},
    {"use act 16 or FP8", "use --act 16 or --act fp8"},
    {"choose the device AUTO or CPU", "choose --device auto or --device cpu"},
    {"give the path of one when it is loaded, or ids", "give one with --tokenizer"},
    {"give the path of one when it is loaded", "give one with --tokenizer"},
};

/* An item without a file is an option: "stop_strings[2]" becomes "--stop". */
static void use_option_name(viva_error *error) {
  size_t length = strcspn(error->item, "[");
  for (size_t i = 0; i < sizeof option_names / sizeof option_names[0] && error->file[0] == 0; i++) {
    const option_name *known = &option_names[i];
    if (strlen(known->item) != length || memcmp(known->item, error->item, length) != 0) continue;
    text_format(error->item, sizeof error->item, "%s", known->option);
    return;
  }
}

static void use_option_words(viva_error *error) {
  for (size_t i = 0; i < sizeof advices / sizeof advices[0]; i++) {
    char before[sizeof error->message];
    const char *found = strstr(error->message, advices[i].words);
    if (found == NULL) continue;
    memcpy(before, error->message, sizeof before);
    size_t length = (size_t)(found - error->message);
    text_format(error->message, sizeof error->message, "%.*s%s%s", (int)length, before, advices[i].option_words,
                before + length + strlen(advices[i].words));
  }
}

void message_rename(viva_error *error, const char *item, const char *flag) {
  if (strcmp(error->item, item) == 0) snprintf(error->item, sizeof error->item, "%s", flag);
}

int message_error(const viva_error *error) {
  char text[1400]; /* file, item, message and the place */
  viva_error shown = *error;
  use_option_name(&shown);
  use_option_words(&shown);
  viva_error_format(&shown, text, sizeof text);
  if (text[0] == 0) text_format(text, sizeof text, "%s", viva_status_text(error->code));
  return message_fail(message_code(error->code), "%s", text);
}

void message_log(void *user, viva_log_level level, const char *message) {
  static const char *const names[] = {"error", "warning", "info", "debug"};
  (void)user;
  /* A progress bar may stand on the terminal's line: erase it first. */
  if (isatty(STDERR_FILENO) == 1 && write(STDERR_FILENO, "\r\033[K", 4) < 0) return;
  message_fail(CODE_OK, "%s: %s", names[level & 3], message); /* a warning is no note that stands back */
}
