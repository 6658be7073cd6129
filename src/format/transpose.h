/* format/transpose.h: the variants behind viva_transpose_f32. */
#ifndef FORMAT_TRANSPOSE_H
#define FORMAT_TRANSPOSE_H

#include <stddef.h>

/* The AVX2 variant works in tiles of so many rows and columns, and leaves what is beyond the last whole tile. A tile's
 * rows fill two lines of cache in each row of the result; its columns fill one line in each row of the source. */
enum { TRANSPOSE_ROWS = 32, TRANSPOSE_COLS = 16 };

/* to[c][r] = from[r][c] for r < rows − rows % TRANSPOSE_ROWS, c < cols − cols % TRANSPOSE_COLS; any alignment. Rows of from
 * are cols elements apart, those of to pitch.
 * stream: write around the caches (to and pitch × 4 must be multiples of 64 bytes). */
void transpose_tiles_avx2(const void *from, void *to, size_t rows, size_t cols, size_t pitch, int stream);

#endif
