/* tensor/turn.h: copies whose source lies the other way round: transposed tensors, tile by tile. */
#ifndef TENSOR_TURN_H
#define TENSOR_TURN_H

#include "tensor/walk.h"

/* 1 when the result's lines are dense and the source's elements lie together along another axis. */
int turn_fits(const walk *w, size_t element);
/* The copy: operand 0 = operand 1, elements of 1, 2, 4 or 8 bytes. */
void turn_run(const walk *w, size_t element, pool *threads);

/* to[r][c] = from[c][r] for a whole tile. */
enum { TURN_TILE = 16 };
typedef void (*turn_tile)(char *to, int64_t to_step, const char *from, int64_t from_step);
turn_tile turn_tile_avx2(size_t element); /* NULL: not for this size, or not in this build */

#endif
