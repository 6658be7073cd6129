#include "text/blanks.h"

#include <string.h>

#include "text/bytes16.h"
#include "text/unicode.h"

#define MARK_MOST 4 /* bytes: one character */

static int is_space_literal(const pattern *p) {
  return p->kind == PATTERN_LITERAL && p->literal.bytes == 1 && p->literal.text[0] == ' ';
}

static int same(token_text a, token_text b) { return a.bytes == b.bytes && memcmp(a.text, b.text, a.bytes) == 0; }

void blanks_find(const normalizer *normal, const pretokenizer *pre, const bpe *model, const joints *j, blanks *out) {
  *out = (blanks){.prepends = normal->count == 2 && normal->ops[0].kind == NORMAL_PREPEND};
  if (!j->usable || model->rules.ignore_merges || normal->count != 1 + (size_t)out->prepends) return;
  const normal_op *replace = &normal->ops[out->prepends];
  if (replace->kind != NORMAL_REPLACE || !is_space_literal(&replace->pattern)) return;
  token_text mark = replace->content;
  /* Gemma's Split at spaces, of which the normalizer has left none. */
  int splits_nothing =
      pre->count == 1 && pre->stages[0].kind == STAGE_SPLIT && is_space_literal(&pre->stages[0].pattern);
  if ((pre->count > 0 && !splits_nothing) || mark.bytes == 0 || mark.bytes > MARK_MOST || mark.text[0] == ' ') return;
  if (unicode_read((const uint8_t *)mark.text, &out->first) != mark.bytes) return;
  if (out->prepends && !same(normal->ops[0].content, mark)) return;
  for (uint32_t code = 0; code < 128; code++) out->ends[code] = !joints_joined(j, code, out->first);
  out->ends[' '] = 0; /* a run of spaces is the begin of one word */
  out->mark = mark;
}

/* May a word end behind text[0 .. at), before a space? */
static int may_end(const blanks *b, const joints *j, const uint8_t *text, size_t at) {
  uint32_t code;
  size_t bytes = 1;
  if (text[at - 1] < 0x80) return b->ends[text[at - 1]];
  while ((text[at - bytes] & 0xc0) == 0x80) bytes++;
  (void)unicode_read(text + at - bytes, &code);
  return code != b->first && !joints_joined(j, code, b->first);
}

size_t blanks_word(const blanks *b, const joints *j, const uint8_t *text, size_t at, size_t end) {
  for (at++; at < end; at++) {
    if (end - at >= 16) {
      uint32_t begins = bytes16_equal(text + at, ' ') & ~bytes16_equal(text + at - 1, ' ');
      if (!begins) {
        at += 15;
        continue;
      }
      at += (size_t)__builtin_ctz(begins);
    }
    if (text[at] == ' ' && may_end(b, j, text, at)) return at;
  }
  return end;
}
