/* conversation.h: messages, and the session that holds what of them has been computed. One session serves the whole
 * conversation: what a new prompt has in common with it is kept, the rest is rewound.
 */
#ifndef APPS_CONVERSATION_H
#define APPS_CONVERSATION_H

#include <viva/viva.h>

#include "tokens.h"

typedef struct conversation {
  viva_model *model;
  viva_session *session;
  viva_token *cached; /* the tokens that the session holds */
  size_t cached_count, cached_room;
  viva_chat_message *messages; /* [count]; texts are owned */
  size_t count, room;
  size_t used;       /* tokens of the last prompt and its answer; 0: the messages have had no answer */
  uint64_t answers;  /* given so far: the random numbers' sequence */
  uint64_t computed; /* tokens that were prefilled for the last answer */
} conversation;

/* Returns 0, or the exit code after a message. capacity 0: the model's context. */
int conversation_open(conversation *c, viva_model *model, uint64_t capacity);
void conversation_close(conversation *c);

/* Adds a message; the text is copied. Returns 0, or the exit code after a message. */
int conversation_add(conversation *c, const char *role, const char *text, size_t bytes);
void conversation_cut(conversation *c, size_t count); /* only the first count messages stay */

/* Sets, replaces or (text empty) takes away the system message at the beginning. */
int conversation_system(conversation *c, const char *text);

/* Takes the oldest question and its answer away; 0 when there is none that could go. */
int conversation_forget(conversation *c);

/* The prompt of the next answer. Returns 0, or the exit code after a message. tokens_free ends the list. */
int conversation_prompt(const conversation *c, token_list *tokens);

/* Generates behind the prompt and keeps the session in step. (The answer's text is the caller's to add.) The options'
 * session and sequence are set here. *result is the caller's. */
viva_status conversation_answer(conversation *c, const token_list *prompt, const viva_generate_options *options,
                                viva_generate_result **result, viva_error *error);

#endif
