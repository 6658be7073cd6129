#include "conversation.h"

#include <stdlib.h>
#include <string.h>

#include "chat_model.h"
#include "messages.h"

int conversation_open(conversation *c, viva_model *model, uint64_t capacity) {
  viva_error error = {0};
  viva_session_options options = viva_session_options_default();
  *c = (conversation){.model = model};
  options.capacity = capacity;
  return viva_session_create(model, &options, &c->session, &error) == VIVA_OK ? 0 : message_error(&error);
}

static void free_message(viva_chat_message *m) {
  free((void *)(uintptr_t)m->role);
  free((void *)(uintptr_t)m->content);
}

void conversation_close(conversation *c) {
  conversation_cut(c, 0);
  free(c->messages);
  free(c->cached);
  viva_session_free(c->session);
  *c = (conversation){0};
}

void conversation_cut(conversation *c, size_t count) {
  while (c->count > count) free_message(&c->messages[--c->count]);
}

static char *copy_text(const char *text, size_t bytes) {
  char *copy = malloc(bytes + 1);
  if (copy == NULL) return NULL;
  if (bytes > 0) memcpy(copy, text, bytes);
  copy[bytes] = 0;
  return copy;
}

/* Puts a message at a place. */
static int insert(conversation *c, size_t at, const char *role, const char *text, size_t bytes) {
  if (c->count == c->room) {
    size_t room = 2 * c->room + 16;
    viva_chat_message *grown = realloc(c->messages, room * sizeof *grown);
    if (grown == NULL) return message_fail(CODE_LIMIT, "no memory for %zu messages", room);
    c->messages = grown;
    c->room = room;
  }
  viva_chat_message m = {copy_text(role, strlen(role)), copy_text(text, bytes)};
  if (m.role == NULL || m.content == NULL) {
    free_message(&m);
    return message_fail(CODE_LIMIT, "no memory for a message of %zu bytes", bytes);
  }
  memmove(c->messages + at + 1, c->messages + at, (c->count - at) * sizeof m);
  c->messages[at] = m;
  c->count++;
  return 0;
}

int conversation_add(conversation *c, const char *role, const char *text, size_t bytes) {
  return insert(c, c->count, role, text, bytes);
}

static int has_system(const conversation *c) { return c->count > 0 && strcmp(c->messages[0].role, "system") == 0; }

static void take_out(conversation *c, size_t at) {
  free_message(&c->messages[at]);
  c->count--;
  memmove(c->messages + at, c->messages + at + 1, (c->count - at) * sizeof *c->messages);
}

int conversation_system(conversation *c, const char *text) {
  if (has_system(c)) take_out(c, 0);
  return *text ? insert(c, 0, "system", text, strlen(text)) : 0;
}

int conversation_forget(conversation *c) {
  size_t first = (size_t)has_system(c);
  if (c->count < first + 3) return 0; /* a question, its answer, and the question that is to be answered */
  take_out(c, first);
  while (c->count > first + 1 && strcmp(c->messages[first].role, "user") != 0) take_out(c, first);
  return 1;
}

int conversation_prompt(const conversation *c, token_list *tokens) {
  return chat_model_tokens(c->model, c->messages, c->count, NULL, tokens);
}

/* ---- answering */

static size_t common(const conversation *c, const token_list *prompt) {
  size_t n = 0;
  while (n < c->cached_count && n < prompt->count && c->cached[n] == prompt->ids[n]) n++;
  return n == prompt->count && n > 0 ? n - 1 : n; /* the last token is computed anew: it gives the logits */
}

/* The session holds these behind the first `keep`: remembered for the next prompt. */
static int remember(conversation *c, size_t keep, const viva_token *tokens, size_t count) {
  if (keep + count > c->cached_room) {
    size_t room = 2 * (keep + count) + 256;
    viva_token *grown = realloc(c->cached, room * sizeof *grown);
    if (grown == NULL) return 1;
    c->cached = grown;
    c->cached_room = room;
  }
  if (count > 0) memcpy(c->cached + keep, tokens, count * sizeof *tokens);
  c->cached_count = keep + count;
  return 0;
}

viva_status conversation_answer(conversation *c, const token_list *prompt, const viva_generate_options *options,
                                viva_generate_result **result, viva_error *error) {
  viva_generate_options o = *options;
  size_t keep = common(c, prompt);
  *result = NULL;
  o.session = c->session;
  o.sequence = c->answers++;
  viva_status status = viva_session_truncate(c->session, keep, error);
  if (status != VIVA_OK) return status;
  c->cached_count = keep;
  c->used = 0;
  c->computed = prompt->count - keep;
  status = viva_generate_tokens(c->model, prompt->ids + keep, prompt->count - keep, &o, result, error);
  if (status != VIVA_OK) {
    c->cached_count = 0; /* what a call that failed left there is not asked for: all is computed anew */
    viva_session_truncate(c->session, 0, NULL);
    return status;
  }
  const viva_generate_result *r = *result;
  uint64_t position = viva_session_position(c->session);
  int lost = remember(c, keep, prompt->ids + keep, prompt->count - keep);
  size_t held = position > prompt->count ? (size_t)position - prompt->count : 0;
  if (!lost) lost = remember(c, prompt->count, r->tokens, held < r->token_count ? held : r->token_count);
  if (lost) { /* no memory for the list: the session is of no more use as it stands */
    c->cached_count = 0;
    viva_session_truncate(c->session, 0, NULL);
  }
  c->used = (size_t)position;
  return VIVA_OK;
}
