#include "tokens.h"

#include <stdlib.h>
#include <string.h>

#include "messages.h"

static int reserve(token_list *tokens, size_t capacity) {
  if (capacity > SIZE_MAX / sizeof *tokens->ids) return message_fail(CODE_LIMIT, "no memory for %zu ids", capacity);
  viva_token *moved = realloc(tokens->ids, capacity * sizeof *tokens->ids);
  if (moved == NULL) return message_fail(CODE_LIMIT, "no memory for %zu ids", capacity);
  tokens->ids = moved;
  return 0;
}

int tokens_encode(const viva_tokenizer *tokenizer, const char *text, size_t bytes, int special, int bos,
                  token_list *tokens) {
  *tokens = (token_list){NULL, 0};
  viva_token first = viva_tokenizer_bos(tokenizer);
  if (bos && first < 0) return message_fail(CODE_INPUT, "this tokenizer has no BOS token: leave --bos away");
  size_t extra = bos ? 1 : 0, capacity = bytes + extra + 1; /* an id is rarely less than a byte; if so, again */
  viva_encode_options options = viva_encode_options_default();
  options.match_special = special;
  options.add_special = 0;
  viva_error error = {0};
  viva_status status = VIVA_E_SIZE;
  for (int attempt = 0; attempt < 2 && status == VIVA_E_SIZE; attempt++) {
    int code = reserve(tokens, capacity);
    if (code != 0) return code;
    status = viva_tokenizer_encode(tokenizer, text, bytes, &options, tokens->ids + extra, capacity - extra,
                                   &tokens->count, &error);
    capacity = tokens->count + extra;
  }
  if (status != VIVA_OK) return message_error(&error);
  if (bos) tokens->ids[0] = first;
  tokens->count += extra;
  return 0;
}

/* A place in the text of a list of ids. */
typedef struct scanner {
  const char *name;
  const char *text;
  size_t bytes, at;
  size_t capacity; /* of the list that is filled */
} scanner;

static int is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void skip_space(scanner *s) {
  while (s->at < s->bytes && is_space(s->text[s->at])) s->at++;
}

/* Takes the character c, and white space around it, when it comes next. */
static int accept(scanner *s, char c) {
  skip_space(s);
  if (s->at == s->bytes || s->text[s->at] != c) return 0;
  s->at++;
  skip_space(s);
  return 1;
}

static int expected(const scanner *s, const char *what) {
  return message_fail(CODE_INPUT, "%s: at byte %zu: expected %s", s->name, s->at, what);
}

static int parse_id(scanner *s, token_list *tokens) {
  size_t end = s->at;
  while (end < s->bytes && s->text[end] >= '0' && s->text[end] <= '9') end++;
  uint64_t id;
  if (!args_read_unsigned(s->text + s->at, end - s->at, &id) || id > INT32_MAX)
    return expected(s, "a token id from 0 to 2147483647");
  if (tokens->count == s->capacity) {
    s->capacity = s->capacity == 0 ? 64 : 2 * s->capacity;
    int code = reserve(tokens, s->capacity);
    if (code != 0) return code;
  }
  tokens->ids[tokens->count++] = (viva_token)id;
  s->at = end;
  return 0;
}

static int parse_array(scanner *s, token_list *tokens) {
  if (!accept(s, ']')) {
    for (;;) {
      int code = parse_id(s, tokens);
      if (code != 0) return code;
      if (accept(s, ']')) break;
      if (!accept(s, ',')) return expected(s, "',' or ']' after a token id");
    }
  }
  return s->at == s->bytes ? 0 : expected(s, "nothing after the array of ids");
}

static int parse_words(scanner *s, token_list *tokens) {
  for (skip_space(s); s->at < s->bytes; skip_space(s)) {
    int code = parse_id(s, tokens);
    if (code != 0) return code;
    if (s->at < s->bytes && !is_space(s->text[s->at])) return expected(s, "white space after a token id");
  }
  return 0;
}

int tokens_parse(const char *text, size_t bytes, const char *name, token_list *tokens) {
  *tokens = (token_list){NULL, 0};
  scanner s = {name, text, bytes, 0, 0};
  return accept(&s, '[') ? parse_array(&s, tokens) : parse_words(&s, tokens);
}

/* Special tokens, and others as the vocabulary spells them; else a text that is one token. */
static int stop_token(const viva_tokenizer *tokenizer, const char *word, viva_token *id) {
  const size_t bytes = strlen(word);
  size_t count = 0;
  viva_error error = {0};
  viva_encode_options options = viva_encode_options_default();
  options.match_special = 1;
  options.add_special = 0;
  if (viva_tokenizer_token_to_id(tokenizer, word, bytes, id, NULL) == VIVA_OK) return 0;
  viva_status status = viva_tokenizer_encode(tokenizer, word, bytes, &options, id, 1, &count, &error);
  if (status != VIVA_OK && status != VIVA_E_SIZE) return message_error(&error); /* E_SIZE: more than one, counted */
  if (count == 1) return 0;
  return message_fail(CODE_USAGE, "--stop-token: '%s' is %zu tokens, not one; --stop stops at a text of any length",
                      word, count);
}

int tokens_stop(const viva_tokenizer *tokenizer, const text_list *words, token_list *tokens) {
  *tokens = (token_list){NULL, 0};
  int code = words->count > 0 ? reserve(tokens, words->count) : 0;
  for (size_t i = 0; i < words->count && code == 0; i++) {
    const char *word = words->items[i];
    uint64_t id = 0;
    if (args_read_unsigned(word, strlen(word), &id) && id <= INT32_MAX)
      tokens->ids[i] = (viva_token)id;
    else if (tokenizer == NULL)
      code = message_fail(CODE_INPUT, "--stop-token: '%s' is no id, and the model has no tokenizer", word);
    else
      code = stop_token(tokenizer, word, &tokens->ids[i]);
  }
  tokens->count = words->count;
  if (code != 0) tokens_free(tokens);
  return code;
}

void tokens_free(token_list *tokens) {
  free(tokens->ids);
  *tokens = (token_list){NULL, 0};
}
