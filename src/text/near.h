/* text/near.h: the characters that noise is made of, and most text: Latin-1, and U+FFFD, which stands for whatever is no text. They
 * are read without a branch, and have a row each in tables.
 */
#ifndef TEXT_NEAR_H
#define TEXT_NEAR_H

#include <stdint.h>
#include <string.h>

#define NEAR_ROWS 257 /* by code; the last one is U+FFFD's */

typedef struct near_character {
  uint32_t row; /* NEAR_ROWS: it is another */
  uint32_t bytes;
} near_character;

/* text is valid UTF-8, of which 4 bytes may be read. */
static inline near_character near_read(const uint8_t *text) {
  const uint32_t replacement = 0xbdbfef; /* U+FFFD, from the low end up */
  uint32_t four;
  memcpy(&four, text, 4);
  uint32_t row = (four & 0xffffff) == replacement ? NEAR_ROWS - 1 : NEAR_ROWS, bytes = 3;
  int is_latin = (four & 0xfe) == 0xc2, is_ascii = (four & 0x80) == 0;
  row = is_latin ? 0x80 | (four & 1) << 6 | (four >> 8 & 0x3f) : row;
  row = is_ascii ? four & 0x7f : row;
  bytes = is_latin ? 2 : bytes;
  return (near_character){row, is_ascii ? 1 : bytes};
}

/* A character's row. */
static inline uint32_t near_row(uint32_t code) {
  if (code < 256) return code;
  return code == 0xfffd ? NEAR_ROWS - 1 : NEAR_ROWS;
}

#endif
