/* format/transpose.c: viva_transpose_f32. */
#include "format/transpose.h"

#include <stdint.h>
#include <string.h>

#include "base/ck.h"
#include "base/cpu.h"
#include "base/error.h"
#include "viva/checkpoint.h"

/* Results from this size on are written around the caches: they would not stay in a core's own cache anyway. */
#define STREAM_BYTES ((size_t)4 << 20)

enum { ELEMENT = 4, TILE = 16 /* one line of cache each way */, LINE = 64 };

/* Turns the rectangle [row, row_end) × [col, col_end), tile by tile. Pointers may have any alignment. */
static void turn_plain(const char *from, char *to, size_t rows, size_t cols, size_t row, size_t row_end, size_t col,
                       size_t col_end) {
  for (size_t r0 = row; r0 < row_end; r0 += TILE) {
    size_t r1 = row_end - r0 < TILE ? row_end : r0 + TILE;
    for (size_t c0 = col; c0 < col_end; c0 += TILE) {
      size_t c1 = col_end - c0 < TILE ? col_end : c0 + TILE;
      for (size_t c = c0; c < c1; c++)
        for (size_t r = r0; r < r1; r++)
          memcpy(to + (c * rows + r) * ELEMENT, from + (r * cols + c) * ELEMENT, ELEMENT);
    }
  }
}

#if defined(__x86_64__)
/* Rows to leave out so that the tiles after them begin, in every row of the result, with a line of cache. TRANSPOSE_ROWS
 * or more: there are none, the rows of the result begin at different places in their lines. */
static size_t rows_before_line(const void *to, size_t rows) {
  if ((uintptr_t)to % ELEMENT != 0 || rows * ELEMENT % LINE != 0) return TRANSPOSE_ROWS;
  return (LINE - (uintptr_t)to % LINE) % LINE / ELEMENT;
}
#endif

static void turn(const char *from, char *to, size_t rows, size_t cols, size_t bytes) {
  size_t first = 0, tiled_rows = 0, tiled_cols = 0;
#if defined(__x86_64__)
  if (cpu_get()->avx2) {
    size_t before = rows_before_line(to, rows);
    int stream = bytes >= STREAM_BYTES && before < TRANSPOSE_ROWS && before < rows;
    if (stream) first = before;
    tiled_rows = (rows - first) / TRANSPOSE_ROWS * TRANSPOSE_ROWS;
    tiled_cols = cols - cols % TRANSPOSE_COLS;
    transpose_tiles_avx2(from + first * cols * ELEMENT, to + first * ELEMENT, rows - first, cols, rows, stream);
  }
#else
  (void)bytes;
#endif
  turn_plain(from, to, rows, cols, 0, first, 0, cols);
  turn_plain(from, to, rows, cols, first, first + tiled_rows, tiled_cols, cols);
  turn_plain(from, to, rows, cols, first + tiled_rows, rows, 0, cols);
}

viva_status viva_transpose_f32(const void *from, void *to, size_t rows, size_t cols, size_t bytes, viva_error *error) {
  uint64_t elements, expected;
  if (ck_mul(rows, cols, &elements) || ck_mul(elements, ELEMENT, &expected) || expected != bytes)
    return error_set(error, VIVA_E_SIZE,
                     "the buffers have %zu bytes; a matrix of %zu × %zu FP32 values needs rows · cols · 4", bytes, rows,
                     cols);
  if (bytes == 0) return VIVA_OK;
  if (!from || !to) return error_set(error, VIVA_E_ARGUMENT, "a buffer is NULL; expected %zu bytes", bytes);
  uintptr_t a = (uintptr_t)from, b = (uintptr_t)to;
  if ((a < b ? b - a : a - b) < bytes)
    return error_set(error, VIVA_E_ARGUMENT, "from and to overlap; a transposition needs two buffers");
  turn(from, to, rows, cols, bytes);
  return VIVA_OK;
}
