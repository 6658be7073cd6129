#include "text/bpe_windows.h"

#include <string.h>

/* Where symbols are characters, no window begins or ends inside of one. */
static size_t align(const bpe *b, const uint8_t *piece, size_t at) {
  while (!b->rules.byte_level && (piece[at] & 0xc0) == 0x80) at--;
  return at;
}

size_t bpe_windows_cut(const bpe *b, const uint8_t *piece, size_t bytes, viva_token *ids, bpe_item *items,
                       size_t most) {
  for (size_t at = 0, count = 0;; count++) {
    if (count == most) return most + 1;
    size_t left = bytes - at, end = left <= BPE_ITEM_BYTES ? bytes : align(b, piece, at + BPE_ITEM_BYTES);
    items[count] = (bpe_item){piece + at, ids + count * BPE_ITEM_BYTES, (uint32_t)(end - at), 0};
    if (end == bytes) return count + 1;
    at = align(b, piece, end - BPE_WINDOWS_SHARED);
  }
}

#define RUN_PERIOD 4  /* bytes */
#define RUN_STEP   24 /* between places that are looked at */

int bpe_windows_unfit(const uint8_t *piece, size_t bytes) {
  for (size_t at = RUN_PERIOD; at + sizeof(uint64_t) <= bytes; at += RUN_STEP) {
    uint64_t here, before;
    memcpy(&here, piece + at, sizeof here);
    for (size_t back = 1; back <= RUN_PERIOD; back++) {
      memcpy(&before, piece + at - back, sizeof before);
      if (here == before) return 1;
    }
  }
  return 0;
}

/* A token that stands for a byte of a character is none that merging gives. */
static size_t bytes_of(const bpe *b, viva_token id) {
  size_t bytes = b->tree.tokens[id].bytes;
  return bytes ? bytes : 1;
}

/* The first token that both have. *left: how many of a's lie before it and with it; *right: of b's. 0: there is none. */
static int meet(const bpe *b, const bpe_item *left_item, const bpe_item *right_item, size_t *left, size_t *right) {
  const uint8_t *a = left_item->piece, *c = right_item->piece; /* where the next token of each begins */
  size_t i = 0, j = 0;
  while (i < left_item->count && j < right_item->count) {
    viva_token one = left_item->ids[i], other = right_item->ids[j];
    if (a == c && one == other) {
      *left = i + 1;
      *right = j + 1;
      return 1;
    }
    const uint8_t *a_end = a + bytes_of(b, one), *c_end = c + bytes_of(b, other);
    if (a_end <= c_end) {
      a = a_end;
      i++;
    }
    if (c_end <= a_end) {
      c = c_end;
      j++;
    }
  }
  return 0;
}

size_t bpe_windows_join(const bpe *b, const bpe_item *items, size_t count, viva_token *ids) {
  size_t from = 0, total = 0;
  for (size_t i = 0; i < count; i++) {
    size_t to = items[i].count, next = 0;
    if (i + 1 < count && (!meet(b, &items[i], &items[i + 1], &to, &next) || to < from)) return 0;
    for (; from < to; from++) ids[total++] = items[i].ids[from];
    from = next;
  }
  return total;
}
