/* tensor/turn.h: copies whose source lies the other way round: transposed tensors, block by block. */
#ifndef TENSOR_TURN_H
#define TENSOR_TURN_H

#include "tensor/walk.h"

/* 1 when the result's lines are dense and the source's elements lie together along another axis. */
int turn_fits(const walk *w, size_t element);
/* The copy: operand 0 = operand 1, elements of 1, 2, 4 or 8 bytes. */
void turn_run(const walk *w, size_t element, pool *threads);

/* to[r][c] = from[c][r]. Steps are bytes from line to line. */
typedef void (*turn_fn)(char *to, int64_t to_step, const char *from, int64_t from_step, size_t rows, size_t cols);
/* For rows and cols of at least TURN_BLOCK. NULL: not in this build. */
enum { TURN_BLOCK = 8 };
turn_fn turn_avx2(size_t element);

#endif
