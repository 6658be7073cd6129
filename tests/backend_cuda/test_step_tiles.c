/* How tiles of attention are dealt to blocks that stay, and where pieces of rows lie in shared memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/step_tiles.h"

static void test_every_tile_is_dealt_once(void **state) {
  (void)state;
  for (uint32_t blocks = 1; blocks <= 9; blocks++) {
    for (uint32_t tiles = blocks; tiles < 5 * blocks; tiles++) {
      uint8_t dealt[64] = {0};
      for (uint32_t block = 0; block < blocks; block++)
        for (uint32_t turn = 0; turn * blocks < tiles; turn++) {
          const uint32_t tile = tiles_dealt(block, blocks, turn);
          assert_in_range(tile, turn * blocks, (turn + 1) * blocks - 1);
          if (tile < tiles) dealt[tile]++;
        }
      for (uint32_t tile = 0; tile < tiles; tile++) assert_int_equal(dealt[tile], 1);
    }
  }
}

/* 2,048 rows of the 8B shape on 132 multiprocessors: 64 tiles of 8 heads, of 1 to 16 blocks of positions. Nobody has more than
 * one such block above the mean of 33. */
static void test_blocks_have_much_the_same_to_do(void **state) {
  enum { BLOCKS = 132, TILES = 512, HEADS = 8 };
  (void)state;
  for (uint32_t block = 0; block < BLOCKS; block++) {
    uint32_t all = 0;
    for (uint32_t turn = 0; turn * BLOCKS < TILES; turn++) {
      const uint32_t tile = tiles_dealt(block, BLOCKS, turn);
      if (tile < TILES) all += (TILES / HEADS - 1 - tile / HEADS) / 4 + 1;
    }
    assert_in_range(all, 30, 34);
  }
}

static void test_pieces_have_places_of_their_own(void **state) {
  enum { MOST_ROWS = 128, PIECES = 16 };
  (void)state;
  for (uint32_t rows = 64; rows <= MOST_ROWS; rows *= 2) {
    uint8_t taken[MOST_ROWS * PIECES] = {0};
    for (uint32_t row = 0; row < rows; row++)
      for (uint32_t piece = 0; piece < PIECES; piece++) {
        const uint32_t at = tiles_panel_at(rows, row, piece), plain = at ^ (at >> 7 & 7) << 4;
        assert_int_equal(at % 16, 0);
        assert_in_range(at / 16, 0, rows * PIECES - 1);
        assert_int_equal(taken[at / 16]++, 0);
        /* what the tensor cores' swizzle is: bits 4 to 6 of an address exclusive-or its bits 7 to 9 */
        assert_int_equal(plain, piece / 8 * rows * 128 + row * 128 + piece % 8 * 16);
      }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_tile_is_dealt_once),
                                     cmocka_unit_test(test_blocks_have_much_the_same_to_do),
                                     cmocka_unit_test(test_pieces_have_places_of_their_own)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
