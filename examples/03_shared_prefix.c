/* 03_shared_prefix.c: several texts that begin alike: the beginning is processed once, then all go on together, and each
 * step reads the weights once for all of them.
 *
 *   ./shared_prefix model.gguf 'The capital of ' France Italy Spain
 */
#include <stdio.h>
#include <string.h>
#include <viva/viva.h>

enum { MOST = 8, NEW_TOKENS = 16, ROOM = 512 };

static viva_error error;

/* Token ids of a text; -1 on an error. */
static int encode(viva_tokenizer *tokenizer, const char *text, viva_token *ids) {
  size_t count;
  if (viva_tokenizer_encode(tokenizer, text, strlen(text), NULL, ids, ROOM, &count, &error)) return -1;
  return (int)count;
}

/* Prefix into one session; a copy of it for each text, which adds its own end. */
static viva_status begin(viva_model *model, char **texts, int count, const char *prefix, viva_session **sessions) {
  viva_tokenizer *tokenizer = viva_model_tokenizer(model);
  viva_session_options options = viva_session_options_default();
  viva_session *shared = NULL;
  viva_token ids[ROOM];
  options.capacity = ROOM; /* tokens; the memory for them is taken now */
  int n = tokenizer ? encode(tokenizer, prefix, ids) : -1;
  if (n < 0) return VIVA_E_STATE;
  viva_status status = viva_session_create(model, &options, &shared, &error);
  if (!status) status = viva_session_prefill(shared, ids, (size_t)n, NULL, &error);
  for (int i = 0; i < count && !status; i++) {
    status = viva_session_create(model, &options, &sessions[i], &error);
    if (!status) status = viva_session_copy(sessions[i], shared, &error);
    if (!status && (n = encode(tokenizer, texts[i], ids)) < 0) status = VIVA_E_STATE;
    if (!status) status = viva_session_prefill(sessions[i], ids, (size_t)n, NULL, &error);
  }
  viva_session_free(shared);
  return status;
}

/* The most probable next token of each session, again and again. */
static viva_status go_on(viva_session **sessions, int count, viva_token out[][NEW_TOKENS]) {
  for (int step = 0; step < NEW_TOKENS; step++) {
    viva_token next[MOST];
    for (int i = 0; i < count; i++) {
      const float *logits;
      size_t vocabulary;
      viva_status status = viva_session_logits(sessions[i], &logits, &vocabulary, &error);
      if (!status) status = viva_argmax(logits, vocabulary, &next[i], NULL, &error);
      if (status) return status;
      out[i][step] = next[i];
    }
    viva_status status = viva_sessions_decode(sessions, next, (size_t)count, &error);
    if (status) return status;
  }
  return VIVA_OK;
}

int main(int argc, char **argv) {
  viva_engine *engine = NULL;
  viva_model *model = NULL;
  viva_session *sessions[MOST] = {NULL};
  viva_token out[MOST][NEW_TOKENS];
  int count = argc - 3;
  if (count < 1 || count > MOST) {
    fprintf(stderr, "usage: %s MODEL PREFIX TEXT... (up to %d)\n", argv[0], MOST);
    return 1;
  }
  viva_status status = viva_engine_open(NULL, &engine, &error);
  if (!status) status = viva_model_load(engine, argv[1], NULL, &model, &error);
  if (!status) status = begin(model, argv + 3, count, argv[2], sessions);
  if (!status) status = go_on(sessions, count, out);
  for (int i = 0; i < count && !status; i++) {
    char text[ROOM * 8];
    size_t bytes;
    status =
        viva_tokenizer_decode(viva_model_tokenizer(model), out[i], NEW_TOKENS, NULL, text, sizeof text, &bytes, &error);
    if (!status) printf("%s%s%.*s\n", argv[2], argv[3 + i], (int)bytes, text);
  }
  if (status) fprintf(stderr, "%s: %s\n", viva_status_name(status), error.message);
  for (int i = 0; i < count; i++) viva_session_free(sessions[i]);
  viva_model_release(model);
  viva_engine_release(engine);
  return status ? 1 : 0;
}
