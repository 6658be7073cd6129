/* format/npy/inflate.c: raw deflate (RFC 1951), from memory to memory. */
#include <string.h>

#include "format/npy/zip.h"

enum {
  MAX_BITS = 15,
  LITERALS = 288,
  DISTANCES = 32,
  LENGTH_CODES = 19,
  END_OF_BLOCK = 256,
  LAST_LENGTH = 285,
  LAST_DISTANCE = 29
};

typedef struct bits {
  const uint8_t *in;
  size_t bytes, at;
  uint64_t held; /* the next bits, lowest first */
  unsigned count;
} bits;

typedef struct sink {
  uint8_t *out;
  size_t room, made;
} sink;

/* Canonical codes: of each length how many there are, and all symbols in the order of their codes. */
typedef struct huffman {
  uint16_t count[MAX_BITS + 1];
  uint16_t symbol[LITERALS];
} huffman;

static void fill(bits *b) {
  while (b->count <= 56 && b->at < b->bytes) {
    b->held |= (uint64_t)b->in[b->at++] << b->count;
    b->count += 8;
  }
}

/* n ≤ 16 bits; 1 when there are too few. */
static int take(bits *b, unsigned n, uint32_t *value) {
  if (b->count < n) fill(b);
  if (b->count < n) return 1;
  *value = (uint32_t)(b->held & ((1u << n) - 1));
  b->held >>= n;
  b->count -= n;
  return 0;
}

/* 1 when the lengths claim more codes than there are, or leave some out (one code of one bit may stand alone). */
static int huffman_make(huffman *h, const uint8_t *lengths, size_t count) {
  uint16_t next[MAX_BITS + 1];
  memset(h->count, 0, sizeof h->count);
  for (size_t i = 0; i < count; i++) h->count[lengths[i]]++;
  const size_t used = count - h->count[0];
  int left = 1;
  h->count[0] = 0;
  next[0] = next[1] = 0;
  for (int n = 1; n <= MAX_BITS; n++) {
    left = 2 * left - h->count[n];
    if (left < 0) return 1;
    if (n < MAX_BITS) next[n + 1] = (uint16_t)(next[n] + h->count[n]);
  }
  for (size_t i = 0; i < count; i++)
    if (lengths[i]) h->symbol[next[lengths[i]]++] = (uint16_t)i;
  return left > 0 && used > 1;
}

/* The next symbol bit by bit; INFLATE_END stands for "all is well". */
static inflate_result decode(bits *b, const huffman *h, uint32_t *symbol) {
  int code = 0, first = 0, index = 0;
  if (b->count < MAX_BITS) fill(b);
  for (unsigned n = 1; n <= MAX_BITS; n++) {
    if (b->count < n) return INFLATE_SHORT;
    code |= (int)(b->held >> (n - 1) & 1);
    const int count = h->count[n];
    if (code - count < first) {
      *symbol = h->symbol[index + (code - first)];
      b->held >>= n;
      b->count -= n;
      return INFLATE_END;
    }
    index += count;
    first = (first + count) << 1;
    code <<= 1;
  }
  return INFLATE_BAD;
}

static inflate_result stored_block(bits *b, sink *s) {
  uint32_t length, check, unused;
  (void)take(b, b->count % 8, &unused);
  if (take(b, 16, &length) || take(b, 16, &check)) return INFLATE_SHORT;
  if ((length ^ 0xffff) != check) return INFLATE_BAD;
  b->at -= b->count / 8; /* whole bytes go back to the input */
  b->held = b->count = 0;
  size_t n = length;
  const size_t have = b->bytes - b->at, room = s->room - s->made;
  const inflate_result end = n > room ? INFLATE_FULL : n > have ? INFLATE_SHORT : INFLATE_END;
  n = n < have ? n : have;
  n = n < room ? n : room;
  if (n > 0) memcpy(s->out + s->made, b->in + b->at, n);
  s->made += n, b->at += n;
  return end;
}

static inflate_result copy_match(bits *b, sink *s, uint32_t symbol, const huffman *distances) {
  static const uint16_t length_base[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                         31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
  static const uint8_t length_extra[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                         2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
  static const uint16_t distance_base[] = {1,    2,    3,    4,    5,    7,    9,    13,    17,    25,
                                           33,   49,   65,   97,   129,  193,  257,  385,   513,   769,
                                           1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
  uint32_t extra, far;
  if (symbol > LAST_LENGTH) return INFLATE_BAD;
  const uint32_t l = symbol - END_OF_BLOCK - 1;
  if (take(b, length_extra[l], &extra)) return INFLATE_SHORT;
  const size_t length = length_base[l] + extra;
  const inflate_result found = decode(b, distances, &far);
  if (found != INFLATE_END) return found;
  if (far > LAST_DISTANCE) return INFLATE_BAD;
  if (take(b, far < 4 ? 0 : far / 2 - 1, &extra)) return INFLATE_SHORT;
  const size_t distance = distance_base[far] + extra;
  if (distance > s->made) return INFLATE_BAD;
  for (size_t i = 0; i < length; i++) { /* byte by byte: source and target may overlap */
    if (s->made == s->room) return INFLATE_FULL;
    s->out[s->made] = s->out[s->made - distance];
    s->made++;
  }
  return INFLATE_END;
}

static inflate_result coded_block(bits *b, sink *s, const huffman *literals, const huffman *distances) {
  for (;;) {
    uint32_t symbol;
    inflate_result result = decode(b, literals, &symbol);
    if (result != INFLATE_END) return result;
    if (symbol == END_OF_BLOCK) return INFLATE_END;
    if (symbol < END_OF_BLOCK) {
      if (s->made == s->room) return INFLATE_FULL;
      s->out[s->made++] = (uint8_t)symbol;
      continue;
    }
    result = copy_match(b, s, symbol, distances);
    if (result != INFLATE_END) return result;
  }
}

static inflate_result fixed_block(bits *b, sink *s) {
  uint8_t lengths[LITERALS];
  huffman literals, distances;
  for (int i = 0; i < LITERALS; i++) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
  (void)huffman_make(&literals, lengths, LITERALS);
  memset(lengths, 5, DISTANCES);
  (void)huffman_make(&distances, lengths, DISTANCES);
  return coded_block(b, s, &literals, &distances);
}

/* The lengths of a block's codes, themselves coded. */
static inflate_result read_lengths(bits *b, const huffman *h, uint8_t *lengths, size_t count) {
  for (size_t i = 0; i < count;) {
    uint32_t symbol, again;
    const inflate_result result = decode(b, h, &symbol);
    if (result != INFLATE_END) return result;
    if (symbol < 16) {
      lengths[i++] = (uint8_t)symbol;
      continue;
    }
    if (symbol == 16 && i == 0) return INFLATE_BAD;
    const uint8_t value = symbol == 16 ? lengths[i - 1] : 0;
    if (take(b, symbol == 16 ? 2 : symbol == 17 ? 3 : 7, &again)) return INFLATE_SHORT;
    again += symbol == 18 ? 11 : 3;
    if (again > count - i) return INFLATE_BAD;
    memset(lengths + i, value, again);
    i += again;
  }
  return INFLATE_END;
}

static inflate_result dynamic_block(bits *b, sink *s) {
  static const uint8_t order[LENGTH_CODES] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
  uint8_t lengths[LITERALS + DISTANCES] = {0};
  uint32_t literal_count, distance_count, code_count, length;
  huffman literals, distances;
  if (take(b, 5, &literal_count) || take(b, 5, &distance_count) || take(b, 4, &code_count)) return INFLATE_SHORT;
  literal_count += 257, distance_count += 1, code_count += 4;
  if (literal_count > LAST_LENGTH + 1 || distance_count > LAST_DISTANCE + 1) return INFLATE_BAD;
  for (uint32_t i = 0; i < code_count; i++) {
    if (take(b, 3, &length)) return INFLATE_SHORT;
    lengths[order[i]] = (uint8_t)length;
  }
  if (huffman_make(&literals, lengths, LENGTH_CODES)) return INFLATE_BAD;
  memset(lengths, 0, sizeof lengths);
  const inflate_result result = read_lengths(b, &literals, lengths, literal_count + distance_count);
  if (result != INFLATE_END) return result;
  if (lengths[END_OF_BLOCK] == 0 || huffman_make(&literals, lengths, literal_count) ||
      huffman_make(&distances, lengths + literal_count, distance_count))
    return INFLATE_BAD;
  return coded_block(b, s, &literals, &distances);
}

inflate_result zip_inflate(const void *in, size_t in_bytes, void *out, size_t room, size_t *made, size_t *used) {
  bits b = {.in = in, .bytes = in_bytes};
  sink s = {.out = out, .room = room};
  inflate_result result = INFLATE_END;
  uint32_t last = 0, type;
  while (result == INFLATE_END && !last) {
    if (take(&b, 1, &last) || take(&b, 2, &type))
      result = INFLATE_SHORT;
    else
      result = type == 0   ? stored_block(&b, &s)
               : type == 1 ? fixed_block(&b, &s)
               : type == 2 ? dynamic_block(&b, &s)
                           : INFLATE_BAD;
  }
  *made = s.made;
  *used = b.at - b.count / 8;
  return result;
}
