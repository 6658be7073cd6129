/* generate.h: the parts of viva generate.
 *
 *   cmd_generate.c     the command line, the text on its way to the reader
 *   generate_check.c   what can be refused before the weights are read
 *   generate_json.c    the result for programs
 */
#ifndef APPS_GENERATE_H
#define APPS_GENERATE_H

#include "input.h"
#include "model_args.h"
#include "output.h"

/* What a prompt is made of, and how much is to follow. */
typedef struct generate_question {
  const input *prompt;
  int64_t n_predict;          /* -1: what the context leaves */
  int match_special, add_bos; /* as in viva_generate_options */
  int chat;                   /* 1: the prompt goes into a template: its length is not known */
  const text_list *stop_tokens;
} generate_question;

/* As model_check, and a prompt that is empty or does not fit is told before minutes of loading. Returns 0, or the exit code after a message. */
int generate_check(const model_args *model, const generate_question *question);

void generate_json(output *out, const viva_generate_result *result, const loaded *what);

#endif
