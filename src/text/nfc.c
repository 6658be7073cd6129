/* NFC: canonical decomposition, canonical order, canonical composition (Unicode Standard Annex 15). */
#include <string.h>

#include "base/num.h"
#include "text/unicode.h"

/* Hangul syllables are composed by arithmetic (The Unicode Standard, 3.12). */
enum {
  HANGUL_S = 0xac00,
  HANGUL_L = 0x1100,
  HANGUL_V = 0x1161,
  HANGUL_T = 0x11a7,
  HANGUL_L_COUNT = 19,
  HANGUL_V_COUNT = 21,
  HANGUL_T_COUNT = 28,
  HANGUL_S_COUNT = HANGUL_L_COUNT * HANGUL_V_COUNT * HANGUL_T_COUNT
};

/* Below this code nothing decomposes into something else, combines, or composes with what precedes it. */
#define FIRST_COMBINING 0x300

/* The longest full decomposition of one character is 4 characters (U+1F82, for instance). */
#define MOST_PARTS 4

/* A decomposed character: code in the low 21 bits, combining class above. */
#define CODE(c)  ((c)&0x1fffff)
#define CLASS(c) ((c) >> 21)

static uint32_t combining_class(uint32_t code) {
  if (code < FIRST_COMBINING) return 0;
  size_t low = 0, high = UNICODE_COMBINING;
  while (low < high) {
    size_t mid = (low + high) / 2;
    if (unicode_combining[mid].end < code)
      low = mid + 1;
    else
      high = mid;
  }
  return low < UNICODE_COMBINING && unicode_combining[low].begin <= code ? unicode_combining[low].combining_class : 0;
}

static const unicode_decomposition *decomposition_find(uint32_t code) {
  size_t low = 0, high = UNICODE_DECOMPOSITIONS;
  while (low < high) {
    size_t mid = (low + high) / 2;
    if (unicode_decompositions[mid].code < code)
      low = mid + 1;
    else
      high = mid;
  }
  return low < UNICODE_DECOMPOSITIONS && unicode_decompositions[low].code == code ? &unicode_decompositions[low] : NULL;
}

/* The composite of first and second, or 0. */
static uint32_t compose(uint32_t first, uint32_t second) {
  uint32_t l = first - HANGUL_L, v = second - HANGUL_V, s = first - HANGUL_S, t = second - HANGUL_T;
  if (l < HANGUL_L_COUNT && v < HANGUL_V_COUNT) return HANGUL_S + (l * HANGUL_V_COUNT + v) * HANGUL_T_COUNT;
  if (s < HANGUL_S_COUNT && s % HANGUL_T_COUNT == 0 && t > 0 && t < HANGUL_T_COUNT) return first + t;
  size_t low = 0, high = UNICODE_COMPOSITIONS;
  while (low < high) {
    size_t mid = (low + high) / 2;
    const unicode_decomposition *d = &unicode_decompositions[unicode_compositions[mid]];
    if (d->first < first || (d->first == first && d->second < second))
      low = mid + 1;
    else
      high = mid;
  }
  if (low == UNICODE_COMPOSITIONS) return 0;
  const unicode_decomposition *d = &unicode_decompositions[unicode_compositions[low]];
  return d->first == first && d->second == second ? d->code : 0;
}

/* Writes the full decomposition of code; returns its length (1 to MOST_PARTS). Decompositions nest in their first part.
 */
static size_t decompose(uint32_t code, uint32_t parts[MOST_PARTS]) {
  uint32_t s = code - HANGUL_S;
  if (s < HANGUL_S_COUNT) {
    parts[0] = HANGUL_L + s / (HANGUL_V_COUNT * HANGUL_T_COUNT);
    parts[1] = HANGUL_V + s % (HANGUL_V_COUNT * HANGUL_T_COUNT) / HANGUL_T_COUNT;
    parts[2] = HANGUL_T + s % HANGUL_T_COUNT;
    return s % HANGUL_T_COUNT ? 3 : 2;
  }
  uint32_t reversed[MOST_PARTS];
  size_t count = 0;
  for (const unicode_decomposition *d = decomposition_find(code); d; d = decomposition_find(code)) {
    if (d->second) reversed[count++] = d->second;
    code = d->first;
  }
  parts[0] = code;
  for (size_t i = 0; i < count; i++) parts[1 + i] = reversed[count - 1 - i];
  return count + 1;
}

/* Sorts a run of combining characters by class, stably. A run may be as long as the text: counting, not insertion. */
static void order_run(uint32_t *run, uint32_t *spare, size_t count) {
  size_t at[256] = {0};
  int sorted = 1;
  for (size_t i = 1; i < count; i++) sorted &= CLASS(run[i - 1]) <= CLASS(run[i]);
  if (sorted) return;
  for (size_t i = 0; i < count; i++) at[CLASS(run[i])]++;
  for (size_t class = 0, sum = 0; class < 256; class ++) {
    size_t n = at[class];
    at[class] = sum;
    sum += n;
  }
  for (size_t i = 0; i < count; i++) spare[at[CLASS(run[i])]++] = run[i];
  memcpy(run, spare, count * sizeof *run);
}

static void canonical_order(uint32_t *chars, uint32_t *spare, size_t count) {
  for (size_t i = 0; i < count;) {
    size_t begin = i;
    while (i < count && CLASS(chars[i]) != 0) i++;
    if (i > begin + 1) order_run(chars + begin, spare, i - begin);
    if (i == begin) i++;
  }
}

/* Composes in place; returns the new length. A character composes with the last starter unless one of the same or a
 * higher class (or another starter) stands between them. */
static size_t canonical_compose(uint32_t *chars, size_t count) {
  size_t out = 0, starter = SIZE_MAX;
  uint32_t last_class = 0; /* of the character before, 0 when it is the starter itself or a composed starter */
  for (size_t i = 0; i < count; i++) {
    uint32_t class = CLASS(chars[i]);
    int adjacent = starter != SIZE_MAX && starter + 1 == out;
    if (starter != SIZE_MAX && (adjacent || (last_class < class && last_class != 0))) {
      uint32_t composite = compose(CODE(chars[starter]), CODE(chars[i]));
      if (composite) {
        chars[starter] = composite;
        continue;
      }
    }
    if (class == 0) starter = out;
    last_class = class;
    chars[out++] = chars[i];
  }
  return out;
}

int unicode_nfc(mem *m, const uint8_t *text, size_t bytes, const uint8_t **out, size_t *out_bytes) {
  *out = text;
  *out_bytes = bytes;
  /* Lead bytes below 0xCC begin characters below U+0300. */
  size_t i = 0;
  while (i < bytes && text[i] < 0xcc) i++;
  if (i == bytes) return 0;

  /* A character of n bytes gives at most n + 1 parts: 2 bytes 3, 3 bytes 4, 4 bytes 4; so twice the bytes is plenty. */
  uint32_t *chars = bytes > SIZE_MAX / 2 ? NULL : mem_array(m, bytes * 2, 2 * sizeof *chars);
  if (!chars) return 1;
  size_t count = 0;
  for (size_t at = 0; at < bytes;) {
    uint32_t code, parts[MOST_PARTS];
    at += unicode_read(text + at, &code);
    size_t n = decompose(code, parts);
    for (size_t k = 0; k < n; k++) chars[count++] = parts[k] | combining_class(parts[k]) << 21;
  }
  canonical_order(chars, chars + bytes * 2, count);
  count = canonical_compose(chars, count);

  size_t total = 0;
  for (size_t k = 0; k < count; k++) {
    char buffer[4];
    total += utf8_encode(CODE(chars[k]), buffer);
  }
  uint8_t *normal = mem_alloc(m, total);
  if (normal) {
    size_t at = 0;
    for (size_t k = 0; k < count; k++) at += utf8_encode(CODE(chars[k]), (char *)normal + at);
    *out = normal;
    *out_bytes = total;
  }
  mem_free(m, chars);
  return normal ? 0 : 1;
}
