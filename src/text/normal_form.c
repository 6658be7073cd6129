/* Normal forms: decomposition, canonical order, composition (Unicode Standard Annex 15). */
#include <string.h>

#include "base/num.h"
#include "text/bytes16.h"
#include "text/normal_form.h"
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

/* Below this code nothing combines, or composes with what precedes it. */
#define FIRST_COMBINING 0x300

/* The longest decomposition of one character has 18 characters (U+FDFA); the longest canonical one 4. */
#define MOST_PARTS 18

/* A decomposed character. change is the reference's way to say what it stands for (tokenizer/normalizer.rs): 1: new, it
 * belongs to the character before; 0: one character; -n: that one and n more. */
typedef struct form_part {
  uint32_t code;
  int16_t change;
  uint8_t class;
} form_part;

static uint32_t combining_class(uint32_t code) {
  if (code < FIRST_COMBINING) return 0;
  const size_t low = unicode_search(unicode_combining, UNICODE_COMBINING, sizeof *unicode_combining,
                                    offsetof(unicode_combining_range, end), code);
  return low < UNICODE_COMBINING && unicode_combining[low].begin <= code ? unicode_combining[low].combining_class : 0;
}

static const unicode_decomposition *decomposition_find(uint32_t code) {
  const size_t low = unicode_search(unicode_decompositions, UNICODE_DECOMPOSITIONS, sizeof *unicode_decompositions,
                                    offsetof(unicode_decomposition, code), code);
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

static const unicode_compatible *compatible_find(uint32_t code) {
  const size_t low = unicode_search(unicode_compatibles, UNICODE_COMPATIBLES, sizeof *unicode_compatibles,
                                    offsetof(unicode_compatible, code), code);
  return low < UNICODE_COMPATIBLES && unicode_compatibles[low].code == code ? &unicode_compatibles[low] : NULL;
}

/* Writes the full decomposition of code; returns its length (1 to MOST_PARTS). Canonical decompositions nest in their
 * first part; compatible ones are whole in their table. */
static size_t decompose(uint32_t code, int compatible, uint32_t parts[MOST_PARTS]) {
  uint32_t s = code - HANGUL_S;
  if (s < HANGUL_S_COUNT) {
    parts[0] = HANGUL_L + s / (HANGUL_V_COUNT * HANGUL_T_COUNT);
    parts[1] = HANGUL_V + s % (HANGUL_V_COUNT * HANGUL_T_COUNT) / HANGUL_T_COUNT;
    parts[2] = HANGUL_T + s % HANGUL_T_COUNT;
    return s % HANGUL_T_COUNT ? 3 : 2;
  }
  const unicode_compatible *found = compatible ? compatible_find(code) : NULL;
  if (found) {
    size_t n = found[1].at - found->at;
    memcpy(parts, unicode_compatible_parts + found->at, n * sizeof *parts);
    return n;
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

#define SHORT_RUN 32

static void order_short_run(form_part *run, size_t count) {
  for (size_t i = 1; i < count; i++) {
    form_part part = run[i];
    size_t at = i;
    for (; at > 0 && run[at - 1].class > part.class; at--) run[at] = run[at - 1];
    run[at] = part;
  }
}

/* Sorts a run of combining characters by class, stably. A run may be as long as the text: then by counting, not insertion. */
static void order_run(form_part *run, form_part *spare, size_t count) {
  size_t at[256];
  int sorted = 1;
  if (count <= SHORT_RUN) {
    order_short_run(run, count);
    return;
  }
  for (size_t i = 1; i < count; i++) sorted &= run[i - 1].class <= run[i].class;
  if (sorted) return;
  memset(at, 0, sizeof at);
  for (size_t i = 0; i < count; i++) at[run[i].class]++;
  for (size_t class = 0, sum = 0; class < 256; class ++) {
    size_t n = at[class];
    at[class] = sum;
    sum += n;
  }
  for (size_t i = 0; i < count; i++) spare[at[run[i].class]++] = run[i];
  memcpy(run, spare, count * sizeof *run);
}

static void canonical_order(form_part *parts, form_part *spare, size_t count) {
  for (size_t i = 0; i < count;) {
    size_t begin = i;
    while (i < count && parts[i].class != 0) i++;
    if (i > begin + 1) order_run(parts + begin, spare, i - begin);
    if (i == begin) i++;
  }
}

#define KEPT_PLACES 256

/* Pairs that were composed, or cannot be. */
typedef struct kept_pair {
  uint32_t first, second, composite;
} kept_pair;

static inline uint32_t compose_kept(kept_pair *pairs, uint32_t first, uint32_t second) {
  kept_pair *place = &pairs[(first ^ first >> 8 ^ second * 5) % KEPT_PLACES];
  if (place->first != first || place->second != second) *place = (kept_pair){first, second, compose(first, second)};
  return place->composite;
}

/* Composes in place; returns the new length. A character composes with the last starter unless one of the same or a
 * higher class (or another starter) stands between them. */
static size_t canonical_compose(kept_pair *pairs, form_part *parts, size_t count) {
  size_t out = 0, starter = SIZE_MAX;
  uint8_t last_class = 0; /* of the character before, 0 when it is the starter itself or a composed starter */
  for (size_t i = 0; i < count; i++) {
    uint8_t class = parts[i].class;
    int adjacent = starter != SIZE_MAX && starter + 1 == out;
    if (starter != SIZE_MAX && (adjacent || (last_class < class && last_class != 0))) {
      uint32_t composite = compose_kept(pairs, parts[starter].code, parts[i].code);
      if (composite) {
        parts[starter].code = composite;
        parts[starter].change = (int16_t)(parts[starter].change + parts[i].change - 1);
        continue;
      }
    }
    if (class == 0) starter = out;
    last_class = class;
    parts[out++] = parts[i];
  }
  return out;
}

/* ---- where there is something to do ---- */

static void mark(uint64_t *marks, uint32_t code) { marks[code / 64] |= (uint64_t)1 << code % 64; }

static void mark_range(uint64_t *marks, uint32_t first, uint32_t last) {
  for (uint32_t code = first; code <= last; code++) mark(marks, code);
}

void normal_form_mark(normal_form form, uint64_t marks[NORMAL_FORM_WORDS]) {
  int composes = form == FORM_NFC || form == FORM_NFKC, compatible = form == FORM_NFKC || form == FORM_NFKD;
  memset(marks, 0, NORMAL_FORM_WORDS * sizeof *marks);
  for (size_t i = 0; i < UNICODE_DECOMPOSITIONS; i++) mark(marks, unicode_decompositions[i].code);
  if (composes) { /* what composes stays, unless it is itself the end of something */
    for (size_t i = 0; i < UNICODE_COMPOSITIONS; i++) {
      uint32_t code = unicode_decompositions[unicode_compositions[i]].code;
      marks[code / 64] &= ~((uint64_t)1 << code % 64);
    }
    for (size_t i = 0; i < UNICODE_COMPOSITIONS; i++)
      mark(marks, unicode_decompositions[unicode_compositions[i]].second);
    mark_range(marks, HANGUL_V, HANGUL_V + HANGUL_V_COUNT - 1);
    mark_range(marks, HANGUL_T + 1, HANGUL_T + HANGUL_T_COUNT - 1);
  } else {
    mark_range(marks, HANGUL_S, HANGUL_S + HANGUL_S_COUNT - 1);
  }
  for (size_t i = 0; i < UNICODE_COMBINING; i++)
    mark_range(marks, unicode_combining[i].begin, unicode_combining[i].end);
  if (compatible)
    for (size_t i = 0; i < UNICODE_COMPATIBLES; i++) mark(marks, unicode_compatibles[i].code);
}

static int is_marked(const uint64_t *marks, const uint8_t *text, size_t *bytes) {
  uint32_t code;
  *bytes = unicode_read(text, &code);
  return (int)(marks[code / 64] >> code % 64 & 1);
}

size_t normal_form_skip(const uint64_t *marks, const uint8_t *text, size_t at, size_t end) {
  size_t bytes;
  while (at < end) {
    uint32_t beyond = end - at >= 16 ? bytes16_beyond_ascii(text + at) : (uint32_t)text[at] >> 7;
    if (!beyond)
      at += end - at >= 16 ? 16 : 1;
    else if (text[at] < 0x80)
      at += (size_t)__builtin_ctz(beyond);
    else if (!is_marked(marks, text + at, &bytes))
      at += bytes;
    else
      return at;
  }
  return end;
}

/* ---- a stretch of text ---- */

/* Writes the parts as UTF-8 where no origins are kept. */
static int write_plain(const form_part *parts, size_t count, mapped *out) {
  if (count > SIZE_MAX / 8 || mapped_reserve(out, 4 * count)) return 1;
  char *to = (char *)out->bytes + out->count;
  for (size_t k = 0; k < count; k++) to += utf8_encode(parts[k].code, to);
  out->count = (size_t)((uint8_t *)to - out->bytes);
  return 0;
}

/* Writes the parts as UTF-8, with the origins that the reference gives them. */
static int write_parts(const form_part *parts, size_t count, text_view in, mapped *out) {
  size_t at = 0, last = 0; /* in `in`: the next character, and the byte before it */
  for (size_t k = 0; k < count; k++) {
    char buffer[4];
    origin of = {0, 0};
    uint32_t code;
    if (parts[k].change > 0)
      of = at > 0 ? in.origins[last] : of;
    else if (at < in.count)
      of = in.origins[at];
    for (int left = parts[k].change > 0 ? 0 : 1 - parts[k].change; left > 0 && at < in.count; left--)
      at += unicode_read(in.bytes + at, &code);
    last = at ? at - 1 : 0;
    if (mapped_put(out, buffer, utf8_encode(parts[k].code, buffer), of)) return 1;
  }
  return 0;
}

/* Characters of few parts, as they decompose: in text that has many marks the same ones come again and again. */
#define KEPT_PARTS 4
typedef struct kept_character {
  uint32_t code;
  uint32_t count; /* of parts; above KEPT_PARTS: only that is known */
  uint32_t parts[KEPT_PARTS];
  uint8_t classes[KEPT_PARTS];
} kept_character;

typedef struct form_memory {
  kept_character characters[KEPT_PLACES];
  kept_pair pairs[KEPT_PLACES];
  mem *mem;
  form_part *parts; /* of a stretch, and as many to sort them */
  size_t room;
} form_memory;

static void form_memory_begin(form_memory *memory, mem *m) {
  memset(memory->characters, 0xff, sizeof memory->characters); /* no character */
  memset(memory->pairs, 0xff, sizeof memory->pairs);           /* no pair */
  memory->mem = m;
  memory->parts = NULL;
  memory->room = 0;
}

#define FEWEST_PARTS 4096 /* 64 KiB: enough for nearly all stretches */

/* 1: no memory. */
static int form_memory_reserve(form_memory *memory, size_t count) {
  if (count <= memory->room) return 0;
  if (count > SIZE_MAX / (2 * sizeof *memory->parts)) return 1;
  size_t room = count < FEWEST_PARTS ? FEWEST_PARTS : count;
  mem_free(memory->mem, memory->parts);
  memory->parts = mem_alloc(memory->mem, 2 * room * sizeof *memory->parts);
  memory->room = memory->parts ? room : 0;
  return !memory->parts;
}

static const kept_character *kept_find(form_memory *memory, uint32_t code, int compatible) {
  kept_character *place = &memory->characters[(code ^ code >> 8) % KEPT_PLACES];
  if (place->code == code) return place;
  uint32_t codes[MOST_PARTS];
  place->code = code;
  place->count = (uint32_t)decompose(code, compatible, codes);
  for (uint32_t i = 0; place->count <= KEPT_PARTS && i < place->count; i++) {
    place->parts[i] = codes[i];
    place->classes[i] = (uint8_t)combining_class(codes[i]);
  }
  return place;
}

static size_t count_parts(form_memory *memory, text_view in, int compatible) {
  size_t count = 0;
  for (size_t at = 0; at < in.count;) {
    uint32_t code;
    at += unicode_read(in.bytes + at, &code);
    count += kept_find(memory, code, compatible)->count;
  }
  return count;
}

static void put_parts(form_memory *memory, text_view in, int compatible, form_part *parts) {
  for (size_t at = 0; at < in.count;) {
    uint32_t code, codes[MOST_PARTS];
    at += unicode_read(in.bytes + at, &code);
    const kept_character *kept = kept_find(memory, code, compatible);
    for (uint32_t k = 0; kept->count <= KEPT_PARTS && k < kept->count; k++)
      *parts++ = (form_part){kept->parts[k], k ? 1 : 0, kept->classes[k]};
    if (kept->count <= KEPT_PARTS) continue;
    size_t n = decompose(code, compatible, codes);
    for (size_t k = 0; k < n; k++) *parts++ = (form_part){codes[k], k ? 1 : 0, (uint8_t)combining_class(codes[k])};
  }
}

static int rewrite(normal_form form, form_memory *memory, text_view in, mapped *out) {
  int compatible = form == FORM_NFKC || form == FORM_NFKD;
  size_t count = count_parts(memory, in, compatible);
  if (form_memory_reserve(memory, count)) return 1;
  form_part *parts = memory->parts;
  put_parts(memory, in, compatible, parts);
  canonical_order(parts, parts + count, count);
  if (form == FORM_NFC || form == FORM_NFKC) count = canonical_compose(memory->pairs, parts, count);
  return in.origins ? write_parts(parts, count, in, out) : write_plain(parts, count, out);
}

/* Does a character begin with one that nothing before it combines with, or is ordered behind? */
static int begins_anew(form_memory *memory, int compatible, uint32_t code) {
  const kept_character *kept = kept_find(memory, code, compatible);
  uint32_t first = kept->parts[0], vowel = first - HANGUL_V, final = first - HANGUL_T;
  if (kept->count > KEPT_PARTS || kept->classes[0] || vowel < HANGUL_V_COUNT || final < HANGUL_T_COUNT) return 0;
  for (size_t i = 0; i < UNICODE_COMPOSITIONS; i++)
    if (unicode_decompositions[unicode_compositions[i]].second == first) return 0;
  return 1;
}

#define STRETCH 4096 /* bytes of marked characters, from which one ends where it can */

/* Where the marked characters from `at` on end, or where they can be cut. */
static size_t stretch_end(form_memory *memory, normal_form form, const uint64_t *marks, text_view in, size_t at) {
  int compatible = form == FORM_NFKC || form == FORM_NFKD;
  size_t bytes, begin = at, next = at + STRETCH;
  while (at < in.count && is_marked(marks, in.bytes + at, &bytes)) {
    uint32_t code;
    if (at >= next && at > begin) {
      (void)unicode_read(in.bytes + at, &code);
      if (begins_anew(memory, compatible, code)) return at;
      next = at + STRETCH / 16; /* asking takes a while */
    }
    at += bytes;
  }
  return at;
}

static int write_stretches(form_memory *memory, normal_form form, const uint64_t *marks, text_view in, mapped *out) {
  size_t done = 0;
  for (size_t at = 0; (at = normal_form_skip(marks, in.bytes, at, in.count)) < in.count;) {
    /* From the character before, which this one may join, up to the next that has no part in anything. */
    size_t begin = at > done ? at - 1 : at;
    while (begin > done && (in.bytes[begin] & 0xc0) == 0x80) begin--;
    at = stretch_end(memory, form, marks, in, at);
    if (mapped_copy(out, in, done, begin) || rewrite(form, memory, view_part(in, begin, at), out)) return 1;
    done = at;
  }
  return mapped_copy(out, in, done, in.count);
}

int normal_form_write(mem *m, normal_form form, const uint64_t *marks, text_view in, mapped *out) {
  form_memory memory;
  form_memory_begin(&memory, m);
  int failed = write_stretches(&memory, form, marks, in, out);
  mem_free(m, memory.parts);
  return failed;
}
