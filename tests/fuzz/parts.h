/* tests/fuzz/parts.h: an input that is several files: its parts, between bytes of value 255, which no UTF-8 text has. The last
 * part is all that is left, with any bytes.
 *
 * A target that is built with parts.c mutates its inputs part by part: one of them by libFuzzer's own ways, a number wherever
 * it stands in any of them (a size that configuration, tokenizer and header must agree on), a member or an element taken out,
 * doubled or put somewhere else.
 */
#ifndef TESTS_FUZZ_PARTS_H
#define TESTS_FUZZ_PARTS_H

#include <stddef.h>
#include <stdint.h>

enum { MAX_PARTS = 10 };

typedef struct part {
  const char *text; /* not ended by 0 */
  size_t bytes;
} part;

/* How many the target's inputs have, at most MAX_PARTS; the target defines it. */
extern const size_t part_count;

/* Parts that are not there are empty. */
void parts_cut(const uint8_t *data, size_t size, part parts[MAX_PARTS]);

#endif
