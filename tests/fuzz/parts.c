#include "fuzz/parts.h"

#include <stdlib.h>
#include <string.h>

enum { SEPARATOR = 255, NUMBER_ROOM = 32 };

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out,
                                 size_t room, unsigned seed);

void parts_cut(const uint8_t *data, size_t size, part parts[MAX_PARTS]) {
  const char *at = (const char *)data, *end = at + size;
  for (size_t i = 0; i < part_count; i++) {
    const char *stop = i + 1 < part_count && at < end ? memchr(at, SEPARATOR, (size_t)(end - at)) : NULL;
    if (stop == NULL) stop = end;
    parts[i] = (part){at, (size_t)(stop - at)};
    at = stop < end ? stop + 1 : end;
  }
}

/* ---- an input that grows; what has no room is left out */

typedef struct output {
  uint8_t *data;
  size_t bytes, room;
} output;

static void put(output *out, const void *data, size_t bytes) {
  if (bytes > out->room - out->bytes) bytes = out->room - out->bytes;
  if (bytes) memcpy(out->data + out->bytes, data, bytes);
  out->bytes += bytes;
}

static void put_part(output *out, size_t number, const void *data, size_t bytes) {
  if (number > 0) put(out, &(uint8_t){SEPARATOR}, 1);
  size_t begin = out->bytes;
  put(out, data, bytes);
  if (number + 1 == part_count) return;
  for (size_t i = begin; i < out->bytes; i++)
    if (out->data[i] == SEPARATOR) out->data[i] = '"'; /* no mutation makes two parts of one */
}

/* ---- ways to change a part */

typedef struct random_source {
  uint32_t state;
} random_source;

static size_t below(random_source *r, size_t count) {
  r->state ^= r->state << 13;
  r->state ^= r->state >> 17;
  r->state ^= r->state << 5;
  return count ? r->state % count : 0;
}

static int is_digit(char c) { return c >= '0' && c <= '9'; }

/* The length of the number that begins at `at`; 0: none does. */
static size_t number_at(const part *p, size_t at) {
  size_t n = 0;
  if (at > 0 && is_digit(p->text[at - 1])) return 0;
  while (at + n < p->bytes && is_digit(p->text[at + n])) n++;
  return n;
}

/* One of the part's numbers; its bytes are 0 where there is none. */
static part some_number(const part *p, random_source *r) {
  size_t begin = below(r, p->bytes);
  for (size_t i = 0; i < p->bytes; i++) {
    size_t at = (begin + i) % p->bytes, n = number_at(p, at);
    if (n > 0) return (part){p->text + at, n};
  }
  return (part){p->text, 0};
}

static size_t write_number(uint64_t value, char out[NUMBER_ROOM]) {
  size_t n = NUMBER_ROOM;
  char digits[NUMBER_ROOM];
  do digits[--n] = (char)('0' + value % 10);
  while ((value /= 10) > 0);
  memcpy(out, digits + n, NUMBER_ROOM - n);
  return NUMBER_ROOM - n;
}

/* Another number: beside it, a multiple, or one at which types end. */
static size_t other_number(part number, random_source *r, char out[NUMBER_ROOM]) {
  static const uint64_t ends[] = {0,          1,         2,          3,          16,          64,
                                  255,        65535,     65536,      2147483647, 2147483648u, 4294967295,
                                  4294967296, INT64_MAX, UINT64_MAX, 32,         128};
  uint64_t value = 0;
  for (size_t i = 0; i < number.bytes; i++) value = value * 10 + (uint64_t)(number.text[i] - '0');
  switch (below(r, 6)) {
  case 0: value++; break;
  case 1: value--; break;
  case 2: value *= 2; break;
  case 3: value /= 2; break;
  case 4: value += 16; break;
  default: value = ends[below(r, sizeof ends / sizeof *ends)];
  }
  return write_number(value, out);
}

/* The part with `from` replaced by `to`: where it stands in it only, or wherever the same number stands. */
static void put_replaced(output *out, size_t number, const part *p, part from, int everywhere, const char *to,
                         size_t to_bytes) {
  output text = {malloc(out->room + 1), 0, out->room};
  if (!text.data) abort();
  for (size_t at = 0; at < p->bytes;) {
    size_t n = number_at(p, at);
    int same = n > 0 && n == from.bytes && memcmp(p->text + at, from.text, n) == 0;
    if (same && (everywhere || p->text + at == from.text))
      put(&text, to, to_bytes);
    else
      put(&text, p->text + at, n = n ? n : 1);
    at += n;
  }
  put_part(out, number, text.data, text.bytes);
  free(text.data);
}

static size_t change_number(const part *parts, size_t chosen, random_source *r, output *out) {
  char other[NUMBER_ROOM];
  int everywhere = below(r, 2) == 0;
  part number = some_number(&parts[chosen], r);
  size_t bytes = other_number(number, r, other);
  for (size_t i = 0; i < part_count; i++)
    if (number.bytes && i + 1 < part_count && (everywhere || i == chosen))
      put_replaced(out, i, &parts[i], number, everywhere, other, bytes);
    else
      put_part(out, i, parts[i].text, parts[i].bytes);
  return out->bytes;
}

/* From one of the characters that JSON is built of to the next of the same kind: mostly a member, an element or a text. */
static part some_piece(const part *p, random_source *r) {
  size_t at = below(r, p->bytes);
  while (at < p->bytes && !memchr(",{[\"", p->text[at], 4)) at++;
  const char *end = at < p->bytes ? memchr(p->text + at + 1, p->text[at], p->bytes - at - 1) : NULL;
  return end ? (part){p->text + at, (size_t)(end - p->text) - at} : (part){p->text + (at < p->bytes ? at : 0), 0};
}

/* A piece leaves its part, or another part's piece comes in its place, or stands before it. */
static size_t change_piece(const part *parts, size_t chosen, random_source *r, output *out) {
  part from = some_piece(&parts[chosen], r), other = {"", 0};
  size_t kind = below(r, 3);
  if (kind == 1) other = some_piece(&parts[below(r, part_count)], r);
  if (kind == 2) other = from;
  const char *behind = from.text + (kind == 2 ? 0 : from.bytes), *end = parts[chosen].text + parts[chosen].bytes;
  output text = {malloc(out->room + 1), 0, out->room};
  if (!text.data) abort();
  put(&text, parts[chosen].text, (size_t)(from.text - parts[chosen].text));
  put(&text, other.text, other.bytes);
  put(&text, behind, (size_t)(end - behind));
  for (size_t i = 0; i < part_count; i++)
    if (i == chosen)
      put_part(out, i, text.data, text.bytes);
    else
      put_part(out, i, parts[i].text, parts[i].bytes);
  free(text.data);
  return out->bytes;
}

static size_t change_bytes(const part *parts, size_t chosen, output *out) {
  size_t others = part_count;
  for (size_t i = 0; i < part_count; i++) others += i == chosen ? 0 : parts[i].bytes;
  size_t room = out->room > others ? out->room - others : 1, bytes = parts[chosen].bytes;
  if (bytes > room) bytes = room;
  uint8_t *text = malloc(room);
  if (!text) abort();
  if (bytes) memcpy(text, parts[chosen].text, bytes);
  bytes = LLVMFuzzerMutate(text, bytes, room);
  for (size_t i = 0; i < part_count; i++)
    if (i == chosen)
      put_part(out, i, text, bytes);
    else
      put_part(out, i, parts[i].text, parts[i].bytes);
  free(text);
  return out->bytes;
}

/* ---- what libFuzzer calls */

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed) {
  random_source r = {seed * 2654435761u + 1};
  part parts[MAX_PARTS];
  uint8_t *before = malloc(size + 1);
  output out = {data, 0, room};
  if (!before) abort();
  memcpy(before, data, size);
  parts_cut(before, size, parts);
  size_t chosen = below(&r, part_count), way = below(&r, 8);
  if (way < 5 || parts[chosen].bytes == 0)
    size = change_bytes(parts, chosen, &out);
  else if (way == 5)
    size = change_piece(parts, chosen, &r, &out);
  else
    size = change_number(parts, chosen, &r, &out);
  free(before);
  return size;
}

/* Each part is one of the two inputs'. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out,
                                 size_t room, unsigned seed) {
  random_source r = {seed * 2654435761u + 1};
  part from_a[MAX_PARTS], from_b[MAX_PARTS];
  output o = {out, 0, room};
  parts_cut(a, a_size, from_a);
  parts_cut(b, b_size, from_b);
  for (size_t i = 0; i < part_count; i++) {
    const part *p = below(&r, 2) ? &from_a[i] : &from_b[i];
    put_part(&o, i, p->text, p->bytes);
  }
  return o.bytes;
}
