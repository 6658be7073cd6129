#include "text/split_block.h"

#include <stddef.h>

#include "text/bytes16.h"
#include "text/split.h"

/* One bit for each byte of a block; those from `size` on are 0. */
typedef struct block_kinds {
  uint64_t letters, digits, spaces /* ' ' alone */, whites /* others, without line ends */, newlines, others;
  int size; /* up to the first character beyond ASCII */
} block_kinds;

static uint64_t join(const uint32_t m[4]) {
  return (uint64_t)m[0] | (uint64_t)m[1] << 16 | (uint64_t)m[2] << 32 | (uint64_t)m[3] << 48;
}

static uint64_t below(int size) { return size == 64 ? UINT64_MAX : ((uint64_t)1 << size) - 1; }

static inline __attribute__((always_inline)) block_kinds kinds_of(const uint8_t *text) {
  uint32_t letters[4], digits[4], spaces[4], controls[4], newlines[4], beyond[4];
  for (int i = 0; i < 4; i++) {
    const uint8_t *at = text + (ptrdiff_t)16 * i;
    letters[i] = bytes16_letters(at);
    digits[i] = bytes16_within(at, 0, '0', '9');
    spaces[i] = bytes16_equal(at, ' ');
    controls[i] = bytes16_within(at, 0, '\t', '\r');
    newlines[i] = bytes16_equal(at, '\n') | bytes16_equal(at, '\r');
    beyond[i] = bytes16_beyond_ascii(at);
  }
  uint64_t hidden = join(beyond);
  int size = hidden ? __builtin_ctzll(hidden) : SPLIT_BLOCK;
  uint64_t known = below(size);
  block_kinds k = {.letters = join(letters) & known,
                   .digits = join(digits) & known,
                   .spaces = join(spaces) & known,
                   .newlines = join(newlines) & known,
                   .size = size};
  k.whites = join(controls) & known & ~k.newlines;
  k.others = known & ~(k.letters | k.digits | k.spaces | k.whites | k.newlines);
  return k;
}

/* The bits of `run` from those of `from` upwards to the ends of their runs; at most one of each run. */
static uint64_t flow_up(uint64_t from, uint64_t run) { return ((run + (from & run)) ^ run) & run; }

/* What lies before the white space at the end, which may go on: bits that are known. */
static uint64_t known_starts(uint64_t starts, const block_kinds *k) {
  uint64_t blank = k->spaces | k->whites | k->newlines, solid = below(k->size) & ~blank;
  if (!solid) return 0;
  return starts & below(64 - __builtin_clzll(solid)) & ~(uint64_t)1;
}

/* A contraction at the begin of a piece is one of its own. near: how many bytes one needs to be looked at. */
static uint64_t mind_contractions(uint64_t starts, const block_kinds *k, const uint8_t *text,
                                  size_t (*contraction)(const uint8_t *text, size_t at, size_t end)) {
  for (uint64_t left = starts & k->others & (k->letters >> 1); left; left &= left - 1) {
    int i = __builtin_ctzll(left);
    if (text[i] != '\'') continue;
    if (i + 3 >= k->size) return starts & below(i + 1);
    size_t end = contraction(text, (size_t)i, (size_t)k->size);
    if (end > (size_t)i) starts = (starts & ~(below((int)end) & ~below(i + 1))) | (uint64_t)1 << end;
  }
  return starts;
}

/* Where runs of digits begin, and every third digit of them. */
static uint64_t every_third(uint64_t digits) {
  uint64_t starts = digits & ~(digits << 1), whole = digits & digits << 1 & digits << 2, next = starts;
  while ((next = next << 3 & whole & digits)) starts |= next;
  return starts;
}

/* White space that follows the last line end of its run, where that is not all: the pattern takes a run up to its last line
 * end as one piece. run: the white space that no piece before it took. */
static uint64_t after_last_newline(uint64_t run, uint64_t newlines) {
  uint64_t plain = run & ~newlines, starts = 0;
  for (uint64_t left = plain & (run & newlines) << 1; left; left &= left - 1) {
    uint64_t first = left & -left, behind = (plain + first) & ~plain & ~(first - 1);
    if (!(behind & -behind & run)) starts |= first;
  }
  return starts;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3} or \p{N}|
 * ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static inline uint64_t cl100k(const uint8_t *text, int digits_by_three) {
  block_kinds k = kinds_of(text);
  uint64_t blank = k.spaces | k.whites | k.newlines;
  uint64_t run = blank & ~flow_up(k.newlines & k.others << 1, k.newlines); /* line ends behind others belong to them */
  uint64_t starts = run & ~(run << 1);
  starts |= after_last_newline(run, k.newlines);
  starts |= run & ~k.newlines & ~(blank >> 1); /* the last of a run goes to what follows, or stays alone */
  uint64_t alone = k.others & ~(k.others << 1) & ~(k.spaces << 1);
  starts |= k.letters & ~(k.letters << 1) & ~((k.spaces | k.whites | (alone & ~(k.others >> 1))) << 1);
  starts |= alone;
  starts |= digits_by_three ? every_third(k.digits) : k.digits;
  return known_starts(mind_contractions(starts, &k, text, split_contraction_any_case), &k);
}

uint64_t split_block_llama3(const uint8_t *text) { return cl100k(text, 1); }
uint64_t split_block_qwen2(const uint8_t *text) { return cl100k(text, 0); }

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
uint64_t split_block_gpt2(const uint8_t *text) {
  block_kinds k = kinds_of(text);
  uint64_t blank = k.spaces | k.whites | k.newlines;
  uint64_t words = (k.letters & ~(k.letters << 1)) | (k.digits & ~(k.digits << 1)) | (k.others & ~(k.others << 1));
  uint64_t starts = (blank & ~(blank << 1)) | (blank & ~(blank >> 1)) | (words & ~(k.spaces << 1));
  return known_starts(mind_contractions(starts, &k, text, split_contraction), &k);
}
