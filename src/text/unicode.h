/* text/unicode.h: character classes and NFC, as Hugging Face tokenizers 0.23.3 sees them.
 *
 * One byte for each code point: its general category and three flags. Each flag has the version of Unicode that the
 * reference's own part has (tools/make_unicode_tables says which and how we know). All functions take valid UTF-8.
 */
#ifndef TEXT_UNICODE_H
#define TEXT_UNICODE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"

/* General categories, low 5 bits of the class; letters and numbers are contiguous. */
enum {
  UNICODE_LU,
  UNICODE_LL,
  UNICODE_LT,
  UNICODE_LM,
  UNICODE_LO,
  UNICODE_MN,
  UNICODE_MC,
  UNICODE_ME,
  UNICODE_ND,
  UNICODE_NL,
  UNICODE_NO,
  UNICODE_PC,                  /* the first of punctuation */
  UNICODE_PO = UNICODE_PC + 6, /* the last */
  UNICODE_SO = UNICODE_PO + 4  /* the last of symbols, which follow; then separators and others */
};
#define UNICODE_CATEGORY 0x1f
#define UNICODE_NUMERIC  0x20 /* Rust's char::is_numeric */
#define UNICODE_SPACE    0x40 /* \s */
#define UNICODE_WORD     0x80 /* \w */

#define UNICODE_BLOCK 128
extern const uint16_t unicode_block[0x110000 / UNICODE_BLOCK];
extern const uint8_t unicode_block_class[][UNICODE_BLOCK];

static inline uint8_t unicode_class(uint32_t code) {
  return unicode_block_class[unicode_block[code / UNICODE_BLOCK]][code % UNICODE_BLOCK];
}

/* \p{L} and \p{N} */
static inline int class_is_letter(uint8_t class) { return (class & UNICODE_CATEGORY) <= UNICODE_LO; }
static inline int class_is_number(uint8_t class) {
  return (class & UNICODE_CATEGORY) >= UNICODE_ND && (class & UNICODE_CATEGORY) <= UNICODE_NO;
}

/* The character at text, which must be valid UTF-8; returns its length. */
static inline size_t unicode_read(const uint8_t *text, uint32_t *code) {
  uint32_t a = text[0];
  if (a < 0x80) {
    *code = a;
    return 1;
  }
  if (a < 0xe0) {
    *code = (a & 0x1f) << 6 | (text[1] & 0x3f);
    return 2;
  }
  if (a < 0xf0) {
    *code = (a & 0x0f) << 12 | (uint32_t)(text[1] & 0x3f) << 6 | (text[2] & 0x3f);
    return 3;
  }
  *code = (a & 0x07) << 18 | (uint32_t)(text[1] & 0x3f) << 12 | (uint32_t)(text[2] & 0x3f) << 6 | (text[3] & 0x3f);
  return 4;
}

/* The class of the character at text, and its length. */
static inline uint8_t unicode_read_class(const uint8_t *text, size_t *bytes) {
  uint32_t code;
  *bytes = unicode_read(text, &code);
  return unicode_class(code);
}

/* The class of the character that ends at text (exclusive; text > begin), and its length. */
static inline uint8_t unicode_read_class_before(const uint8_t *text, size_t *bytes) {
  size_t n = 1;
  while ((text[-(ptrdiff_t)n] & 0xc0) == 0x80) n++;
  return unicode_read_class(text - n, bytes);
}

/* ---- normal forms (Unicode 9.0), lower case, punctuation ---- */

typedef struct unicode_decomposition {
  uint32_t code, first, second; /* second 0: a single character */
} unicode_decomposition;

typedef struct unicode_combining_range {
  uint32_t begin, end; /* inclusive */
  uint32_t combining_class;
} unicode_combining_range;

typedef struct unicode_compatible {
  uint32_t code, at; /* its parts are unicode_compatible_parts[at .. the next one's at) */
} unicode_compatible;

typedef struct unicode_range {
  uint32_t first, last;
} unicode_range;

typedef struct unicode_lower_range {
  uint32_t first, last;
  int32_t distance;
  uint32_t stride; /* 2: every other character */
} unicode_lower_range;

#define UNICODE_DECOMPOSITIONS 2060
#define UNICODE_COMPOSITIONS   940
#define UNICODE_COMBINING      333
#define UNICODE_COMPATIBLES    3678
#define UNICODE_LOWER          185
#define UNICODE_PUNCTUATION    156
extern const unicode_decomposition unicode_decompositions[UNICODE_DECOMPOSITIONS];
extern const uint16_t unicode_compositions[UNICODE_COMPOSITIONS]; /* indices into unicode_decompositions */
extern const unicode_combining_range unicode_combining[UNICODE_COMBINING];
extern const unicode_compatible unicode_compatibles[UNICODE_COMPATIBLES + 1];
extern const uint32_t unicode_compatible_parts[];
extern const unicode_lower_range unicode_lower[UNICODE_LOWER];
extern const unicode_range unicode_punctuation[UNICODE_PUNCTUATION];

/* The first of count rising rows, row_bytes long, whose uint32_t at key_at is at least code; count: there is none. */
static inline size_t unicode_search(const void *rows, size_t count, size_t row_bytes, size_t key_at, uint32_t code) {
  size_t low = 0, high = count;
  while (low < high) {
    const size_t mid = (low + high) / 2;
    uint32_t key;
    memcpy(&key, (const char *)rows + mid * row_bytes + key_at, sizeof key);
    if (key < code)
      low = mid + 1;
    else
      high = mid;
  }
  return low;
}

/* The lower case of code as one or two characters; returns how many. */
size_t unicode_lower_case(uint32_t code, uint32_t out[2]);

/* What the Punctuation pre-tokenizer cuts at. */
int unicode_is_punctuation(uint32_t code);

#endif
