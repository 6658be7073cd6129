/* chat_file.c: conversations in files, as other programs keep them: [{"role": "user", "content": "..."}, ...]. */
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "input.h"
#include "json_out.h"
#include "messages.h"
#include "utf8.h"

int chat_save(const conversation *talk, const model_args *model, const char *path) {
  const char *inputs[2] = {model->path, model->tokenizer};
  viva_file *file;
  int code = output_begin(path, inputs, model->tokenizer != NULL ? 2 : 1, &file);
  if (code != 0) return code;
  output *out = malloc(sizeof *out);
  if (out == NULL) {
    viva_file_abort(file);
    return message_fail(CODE_LIMIT, "no memory to write a file");
  }
  output_open_file(out, file);
  json_out json = {out, 0};
  json_begin(&json, '[');
  for (size_t i = 0; i < talk->count; i++) {
    json_begin(&json, '{');
    json_key(&json, "role"), json_text(&json, talk->messages[i].role);
    json_key(&json, "content"), json_text(&json, talk->messages[i].content);
    json_end(&json, '}');
  }
  json_end(&json, ']');
  output_text(out, "\n");
  code = output_commit(out);
  free(out);
  return code;
}

/* ---- reading: an array of objects whose members are strings */

typedef struct reader {
  const char *at, *end;
  int wrong;
  char *text; /* of the string that was read last; as long as the file, at most */
  size_t bytes;
} reader;

static void skip_space(reader *r) {
  while (r->at < r->end && strchr(" \t\r\n", *r->at) != NULL && *r->at != 0) r->at++;
}

static int take(reader *r, char c) {
  skip_space(r);
  if (r->at == r->end || *r->at != c) return 0;
  r->at++;
  return 1;
}

static void need(reader *r, char c) { r->wrong |= !take(r, c); }

static unsigned take_hex(reader *r) {
  unsigned code = 0;
  for (int i = 0; i < 4; i++) {
    char c = r->at < r->end ? *r->at++ : 0;
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (digit < 0) return r->wrong = 1, 0;
    code = code << 4 | (unsigned)digit;
  }
  return code;
}

static void put_code(reader *r, unsigned code) {
  char *to = r->text + r->bytes;
  if (code < 0x80) {
    *to++ = (char)code;
  } else if (code < 0x800) {
    *to++ = (char)(0xc0 | code >> 6);
    *to++ = (char)(0x80 | (code & 63));
  } else if (code < 0x10000) {
    *to++ = (char)(0xe0 | code >> 12);
    *to++ = (char)(0x80 | (code >> 6 & 63));
    *to++ = (char)(0x80 | (code & 63));
  } else {
    *to++ = (char)(0xf0 | code >> 18);
    *to++ = (char)(0x80 | (code >> 12 & 63));
    *to++ = (char)(0x80 | (code >> 6 & 63));
    *to++ = (char)(0x80 | (code & 63));
  }
  r->bytes = (size_t)(to - r->text);
}

static void take_escape(reader *r) {
  static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  char c = r->at < r->end ? *r->at++ : 0;
  const char *known = c ? strchr(letters, c) : NULL;
  if (known) {
    r->text[r->bytes++] = meant[known - letters];
    return;
  }
  unsigned code = c == 'u' ? take_hex(r) : 0, low;
  if (code >= 0xd800 && code < 0xdc00) { /* the first of two halves */
    r->wrong |= r->end - r->at < 6 || r->at[0] != '\\' || r->at[1] != 'u';
    if (r->wrong) return;
    r->at += 2;
    low = take_hex(r);
    r->wrong |= low < 0xdc00 || low > 0xdfff;
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  } else {
    r->wrong |= code == 0 || (code >= 0xdc00 && code <= 0xdfff); /* a message holds no zero byte */
  }
  if (!r->wrong) put_code(r, code);
}

static void take_string(reader *r) {
  r->bytes = 0;
  need(r, '"');
  while (!r->wrong && r->at < r->end && *r->at != '"') {
    char c = *r->at++;
    if (c == '\\')
      take_escape(r);
    else if ((unsigned char)c < 0x20)
      r->wrong = 1;
    else
      r->text[r->bytes++] = c;
  }
  r->text[r->bytes] = 0;
  need(r, '"');
}

/* One message: role and content, in any order, and other members that are strings. */
static int take_message(reader *r, conversation *talk) {
  char *role = NULL, *content = NULL;
  need(r, '{');
  do {
    take_string(r);
    char **to = strcmp(r->text, "role") == 0 ? &role : strcmp(r->text, "content") == 0 ? &content : NULL;
    need(r, ':');
    take_string(r);
    if (r->wrong || to == NULL) continue;
    free(*to);
    *to = strdup(r->text);
  } while (!r->wrong && take(r, ','));
  need(r, '}');
  r->wrong |= role == NULL || content == NULL;
  int code = r->wrong ? 0 : conversation_add(talk, role, content, strlen(content));
  free(role);
  free(content);
  return code;
}

int chat_load(conversation *talk, const char *path) {
  const input_args from = {.file = path};
  input file;
  int code = input_read(&from, "chat", "conversation", 1, &file);
  if (code != 0) return code;
  reader r = {.at = file.bytes, .end = file.bytes + file.count};
  r.text = malloc(file.count + 8);
  size_t before = talk->count;
  if (r.text == NULL) code = message_fail(CODE_LIMIT, "no memory to read %s", path);
  if (code == 0) need(&r, '[');
  if (code == 0 && !r.wrong && !take(&r, ']')) {
    do code = take_message(&r, talk);
    while (code == 0 && !r.wrong && take(&r, ','));
    need(&r, ']');
  }
  skip_space(&r);
  if (code == 0 && (r.wrong || r.at != r.end)) {
    conversation_cut(talk, before);
    code = message_fail(CODE_INPUT, "%s: expected a JSON array of objects with \"role\" and \"content\" (at byte %zu)",
                        path, (size_t)(r.at - file.bytes));
  }
  free(r.text);
  input_free(&file);
  if (code == 0 && before > 0) { /* what was there before gives way */
    for (size_t i = before; i < talk->count; i++) {
      viva_chat_message m = talk->messages[i - before];
      talk->messages[i - before] = talk->messages[i];
      talk->messages[i] = m;
    }
    conversation_cut(talk, talk->count - before);
  }
  return code;
}
