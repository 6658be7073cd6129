/* chat.h: the parts of viva chat. */
#ifndef APPS_CHAT_H
#define APPS_CHAT_H

#include "conversation.h"
#include "line_edit.h"
#include "model_args.h"
#include "output.h"
#include "progress.h"

typedef struct chat_args {
  model_args model;
  const char *system, *prompt;
  int64_t n_predict;
  double temperature, top_p, min_p, repeat_penalty;
  uint64_t top_k, seed;
  text_list stop_tokens;
} chat_args;

typedef struct chat {
  const chat_args *args;
  output *out;
  loaded what;
  token_list stop; /* end tokens beside the model's own */
  conversation talk;
  line_edit *edit; /* NULL: one question only */
  progress bar;    /* while a prompt is read */
  int open_line;   /* the last byte of the answer was no line end */
  int done;        /* /exit */
  viva_stop_reason stopped;
  size_t tokens; /* of the last answer */
  double ms_per_token, prefill_seconds;
} chat;

/* Answers the last message. Returns 0, or the exit code after a message; the question then stays, so that it can be
 * asked again. */
int chat_answer(chat *c);

/* Runs a line that begins with '/'. Returns 0, or the exit code that ends the program. */
int chat_command(chat *c, const char *line);

/* chat_file.c: messages as a JSON array of {"role", "content"}. Return 0, or the exit code after a message. model: its
 * files are not replaced. */
int chat_save(const conversation *talk, const model_args *model, const char *path);
int chat_load(conversation *talk, const char *path);

#endif
