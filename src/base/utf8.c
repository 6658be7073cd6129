/* base/utf8.c: UTF-8 as Unicode 15 section 3.9 defines it (table 3-7), with WHATWG's count of invalid parts. */
#include <string.h>

#include "base/num.h"

/* First bytes, and the range of the second: it excludes overlong forms, surrogates and what lies above U+10FFFF. */
typedef struct lead {
  uint8_t length, second_low, second_high;
} lead;

static lead lead_of(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return (lead){2, 0x80, 0xBF};
  if (byte == 0xE0) return (lead){3, 0xA0, 0xBF};
  if (byte == 0xED) return (lead){3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return (lead){3, 0x80, 0xBF};
  if (byte == 0xF0) return (lead){4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return (lead){4, 0x80, 0xBF};
  if (byte == 0xF4) return (lead){4, 0x80, 0x8F};
  return (lead){0, 0, 0};
}

size_t utf8_decode(const char *text, size_t bytes, uint32_t *code, size_t *invalid) {
  const uint8_t *s = (const uint8_t *)text;
  if (s[0] < 0x80) {
    *code = s[0];
    return 1;
  }
  lead l = lead_of(s[0]);
  *code = 0xFFFD;
  *invalid = 1;
  if (l.length == 0 || bytes < 2 || s[1] < l.second_low || s[1] > l.second_high) return 0;
  uint32_t value = (uint32_t)(s[0] & (0x7F >> l.length)) << 6 | (s[1] & 0x3Fu);
  for (size_t i = 2; i < l.length; i++) {
    *invalid = i;
    if (i >= bytes || (s[i] & 0xC0) != 0x80) return 0;
    value = value << 6 | (s[i] & 0x3Fu);
  }
  *code = value;
  return l.length;
}

size_t utf8_encode(uint32_t code, char out[4]) {
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  if (code < 0x800) {
    out[0] = (char)(0xC0 | code >> 6);
    out[1] = (char)(0x80 | (code & 0x3F));
    return 2;
  }
  if (code < 0x10000) {
    out[0] = (char)(0xE0 | code >> 12);
    out[1] = (char)(0x80 | (code >> 6 & 0x3F));
    out[2] = (char)(0x80 | (code & 0x3F));
    return 3;
  }
  out[0] = (char)(0xF0 | code >> 18);
  out[1] = (char)(0x80 | (code >> 12 & 0x3F));
  out[2] = (char)(0x80 | (code >> 6 & 0x3F));
  out[3] = (char)(0x80 | (code & 0x3F));
  return 4;
}

static int is_inside(uint8_t byte) { return (byte & 0xC0) == 0x80; }

/* The length of a character of two bytes, or three that no range excludes; 0: another, or none. */
static inline size_t common_length(const uint8_t *s, size_t bytes) {
  if (bytes < 3) return 0;
  if (s[0] >= 0xC2 && s[0] <= 0xDF) return is_inside(s[1]) ? 2 : 0;
  if (s[0] >= 0xE1 && s[0] <= 0xEF && s[0] != 0xED) return is_inside(s[1]) && is_inside(s[2]) ? 3 : 0;
  return 0;
}

size_t utf8_valid_bytes(const char *text, size_t bytes, size_t *invalid) {
  const uint64_t high_bits = 0x8080808080808080u;
  const uint8_t *s = (const uint8_t *)text;
  for (size_t at = 0; at < bytes;) {
    uint64_t eight;
    if (bytes - at >= sizeof eight) {
      memcpy(&eight, text + at, sizeof eight);
      if ((eight & high_bits) == 0) {
        at += sizeof eight;
        continue;
      }
    }
    uint32_t code;
    size_t length = s[at] < 0x80 ? 1 : common_length(s + at, bytes - at);
    if (!length) length = utf8_decode(text + at, bytes - at, &code, invalid);
    if (!length) return at;
    at += length;
  }
  return bytes;
}

/* Validity is an automaton's, without a branch that depends on the text. A state is a shift: what a byte makes of each lies at its
 * shift in the byte's row. */
enum { DONE = 0, TAIL1 = 6, TAIL2 = 12, TAIL3 = 18, E0 = 24, ED = 30, F0 = 36, F4 = 42, WRONG = 48 };

#define ROW(done, tail1, tail2, tail3, e0, ed, f0, f4)                                                                 \
  ((uint64_t)(done) << DONE | (uint64_t)(tail1) << TAIL1 | (uint64_t)(tail2) << TAIL2 | (uint64_t)(tail3) << TAIL3 |   \
   (uint64_t)(e0) << E0 | (uint64_t)(ed) << ED | (uint64_t)(f0) << F0 | (uint64_t)(f4) << F4 |                         \
   (uint64_t)WRONG << WRONG)
#define FIRST(next) ROW(next, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG, WRONG)

#define TIMES4(row)  row, row, row, row
#define TIMES16(row) TIMES4(row), TIMES4(row), TIMES4(row), TIMES4(row)
#define TIMES32(row) TIMES16(row), TIMES16(row)

#define INSIDE_80 ROW(WRONG, DONE, TAIL1, TAIL2, WRONG, TAIL1, WRONG, TAIL2)
#define INSIDE_90 ROW(WRONG, DONE, TAIL1, TAIL2, WRONG, TAIL1, TAIL2, WRONG)
#define INSIDE_A0 ROW(WRONG, DONE, TAIL1, TAIL2, TAIL1, WRONG, TAIL2, WRONG)

static const uint64_t rows[256] = {
    TIMES32(FIRST(DONE)),
    TIMES32(FIRST(DONE)),
    TIMES32(FIRST(DONE)),
    TIMES32(FIRST(DONE)), /* 00 to 7F */
    TIMES16(INSIDE_80),
    TIMES16(INSIDE_90),
    TIMES32(INSIDE_A0), /* 80 to BF */
    FIRST(WRONG),
    FIRST(WRONG),
    FIRST(TAIL1),
    FIRST(TAIL1),
    TIMES4(FIRST(TAIL1)), /* C0 to C7 */
    TIMES4(FIRST(TAIL1)),
    TIMES4(FIRST(TAIL1)),
    TIMES16(FIRST(TAIL1)), /* C8 to DF */
    FIRST(E0),
    FIRST(TAIL2),
    FIRST(TAIL2),
    FIRST(TAIL2),
    TIMES4(FIRST(TAIL2)), /* E0 to E7 */
    TIMES4(FIRST(TAIL2)),
    FIRST(TAIL2),
    FIRST(ED),
    FIRST(TAIL2),
    FIRST(TAIL2), /* E8 to EF */
    FIRST(F0),
    FIRST(TAIL3),
    FIRST(TAIL3),
    FIRST(TAIL3),
    FIRST(F4),
    FIRST(WRONG), /* F0 to F5 */
    FIRST(WRONG),
    FIRST(WRONG),
    TIMES4(FIRST(WRONG)),
    TIMES4(FIRST(WRONG)), /* F6 to FF */
};

int utf8_valid(const char *text, size_t bytes) {
  const uint64_t high_bits = 0x8080808080808080u;
  const uint8_t *s = (const uint8_t *)text;
  uint64_t state = DONE, eight[2];
  size_t at = 0;
  for (; bytes - at >= sizeof eight && state != WRONG; at += sizeof eight) {
    memcpy(eight, s + at, sizeof eight);
    if (((eight[0] | eight[1]) & high_bits) == 0 && state == DONE) continue;
    for (size_t i = 0; i < sizeof eight; i++) state = rows[s[at + i]] >> state & 63;
  }
  for (; at < bytes && state != WRONG; at++) state = rows[s[at]] >> state & 63;
  return state == DONE;
}

/* The character that is being read lies behind `begin` and is taken back when it is found wrong; so is no branch, for in what
 * needs this none could be foretold. */
size_t utf8_replace(const char *text, size_t bytes, char *out) {
  const uint8_t *s = (const uint8_t *)text;
  const uint32_t replacement = 0xBDBFEF; /* U+FFFD, from the low end up */
  char unused[4], *to = out, *begin = out;
  uint64_t state = DONE;
  for (size_t at = 0; at < bytes; at++) {
    uint64_t next = rows[s[at]] >> state & 63;
    int cut = next == WRONG && state != DONE;
    memcpy(cut ? begin : unused, &replacement, 4);
    to = cut ? begin + 3 : to;
    next = cut ? rows[s[at]] & 63 : next;
    uint32_t put = next == WRONG ? replacement : s[at];
    memcpy(to, &put, 4);
    begin = state == DONE || cut ? to : begin;
    to += next == WRONG ? 3 : 1;
    state = next == WRONG ? DONE : next;
  }
  if (state == DONE) return (size_t)(to - out);
  memcpy(begin, &replacement, 4);
  return (size_t)(begin + 3 - out);
}
