#include "text/normalize.h"

#include <string.h>

#include "base/num.h"
#include "text/unicode.h"

int normalize_prepend(token_text content, text_view in, mapped *out) {
  return mapped_put(out, content.text, content.bytes, view_origin(in, 0)) || mapped_copy(out, in, 0, in.count);
}

int normalize_byte_level(text_view in, mapped *out) {
  for (size_t i = 0; i < in.count; i++) {
    char text[4];
    if (mapped_put(out, text, utf8_encode(byte_alphabet_char(in.bytes[i]), text), view_origin(in, i))) return 1;
  }
  return 0;
}

/* The plain case, a byte by a string, is worth a loop of its own: it is how SentencePiece's spaces are written. */
static int replace_byte(uint8_t byte, token_text content, text_view in, mapped *out) {
  size_t count = 0;
  for (size_t i = 0; i < in.count; i++) count += in.bytes[i] == byte;
  if (count && content.bytes > (SIZE_MAX / 4 - in.count) / count) return 1;
  if (mapped_reserve(out, in.count + count * content.bytes)) return 1;
  for (size_t at = 0; at < in.count;) {
    const uint8_t *found = memchr(in.bytes + at, byte, in.count - at);
    size_t end = found ? (size_t)(found - in.bytes) : in.count;
    (void)mapped_copy(out, in, at, end);
    if (found) (void)mapped_put(out, content.text, content.bytes, view_origin(in, end));
    at = end + 1;
  }
  return 0;
}

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory to normalize a text");
}

viva_status normalize_replace(const pattern *p, token_text content, regex_memory *memory, text_view in, mapped *out,
                              viva_error *error) {
  if (p->kind == PATTERN_LITERAL && p->literal.bytes == 1)
    return replace_byte((uint8_t)p->literal.text[0], content, in, out) ? no_memory(error) : VIVA_OK;
  pattern_place place = {0, 0};
  size_t last = 0, begin, end;
  for (;;) {
    int found;
    TRY(pattern_next(p, memory, in.bytes, in.count, &place, &found, &begin, &end, error));
    if (!found) break;
    size_t front = view_origin(in, 0).begin; /* what is put before everything stands there */
    origin of = end > 0 ? view_origin(in, end - 1) : (origin){front, front};
    if (mapped_copy(out, in, last, begin) || mapped_put(out, content.text, content.bytes, of)) return no_memory(error);
    last = end;
  }
  return mapped_copy(out, in, last, in.count) ? no_memory(error) : VIVA_OK;
}

static int lower_case(text_view in, mapped *out) {
  for (size_t at = 0; at < in.count;) {
    uint32_t code, lower[2];
    char text[4];
    size_t n = unicode_read(in.bytes + at, &code), count = unicode_lower_case(code, lower);
    for (size_t i = 0; i < count; i++)
      if (mapped_put(out, text, utf8_encode(lower[i], text), view_origin(in, at))) return 1;
    at += n;
  }
  return 0;
}

static text_view strip(const normal_op *op, text_view in) {
  size_t begin = 0, end = in.count, bytes;
  while (op->left && begin < end && (unicode_read_class(in.bytes + begin, &bytes) & UNICODE_SPACE)) begin += bytes;
  while (op->right && end > begin && (unicode_read_class_before(in.bytes + end, &bytes) & UNICODE_SPACE)) end -= bytes;
  return view_part(in, begin, end);
}

static viva_status apply(const normal_op *op, regex_memory *memory, text_view in, mapped *out, viva_error *error) {
  switch (op->kind) {
  case NORMAL_REPLACE: return normalize_replace(&op->pattern, op->content, memory, in, out, error);
  case NORMAL_PREPEND: return normalize_prepend(op->content, in, out) ? no_memory(error) : VIVA_OK;
  case NORMAL_LOWERCASE: return lower_case(in, out) ? no_memory(error) : VIVA_OK;
  case NORMAL_BYTE_LEVEL: return normalize_byte_level(in, out) ? no_memory(error) : VIVA_OK;
  default: return normal_form_write(out->mem, op->form, op->marks, in, out) ? no_memory(error) : VIVA_OK;
  }
}

/* Does this operation leave the text as it is? */
static int is_idle(const normal_op *op, text_view in) {
  if (in.count == 0) return 1;
  if (op->kind == NORMAL_FORM) return normal_form_skip(op->marks, in.bytes, 0, in.count) == in.count;
  return 0;
}

viva_status normalize(const normalizer *n, regex_memory *memory, text_view in, mapped buffers[2], text_view *out,
                      viva_error *error) {
  int which = 0;
  buffers[0].most = buffers[1].most = mapped_most(in.count);
  buffers[0].is_over = buffers[1].is_over = 0;
  for (size_t i = 0; i < n->count; i++) {
    const normal_op *op = &n->ops[i];
    if (is_idle(op, in)) continue;
    if (op->kind == NORMAL_STRIP) {
      in = strip(op, in);
      continue;
    }
    mapped *to = &buffers[which];
    to->count = 0;
    TRY(mapped_status(to, apply(op, memory, in, to, error), error));
    in = mapped_view(to);
    which = !which;
  }
  *out = in;
  return VIVA_OK;
}
