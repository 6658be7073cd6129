/* tensor/turn.c: transposing copies.
 *
 * A tile of TILE × TILE elements is read along the source's dense axis and written along the result's; both sides touch
 * whole lines of cache. Without tiles each element read would fetch a line of which the rest is gone before it is used.
 */
#include "tensor/turn.h"

#include <string.h>

#include "base/cpu.h"

enum { TILE = TURN_TILE, MANY = 32 /* shorter axes are as quick without tiles */ };

/* The axis along which the source is dense; the rank when there is none. */
static uint32_t dense_axis(const walk *w, size_t element) {
  uint32_t i = 0;
  while (i < w->rank && w->step[1][i] != (int64_t)element) i++;
  return i;
}

int turn_fits(const walk *w, size_t element) {
  if (w->rank < 2 || w->elements < MANY * MANY) return 0;
  const uint32_t inner = w->rank - 1, other = dense_axis(w, element);
  return w->step[0][inner] == (int64_t)element && w->step[1][inner] != (int64_t)element && other < inner &&
         w->shape[inner] >= MANY && w->shape[other] >= MANY;
}

#define TURN(T, name)                                                                                                  \
  static void name(char *to, int64_t to_step, const char *from, int64_t from_step, size_t rows, size_t cols) {         \
    T tile[TILE][TILE];                                                                                                \
    if (rows == TILE && cols == TILE) {                                                                                \
      for (size_t c = 0; c < TILE; c++) memcpy(tile[c], from + (int64_t)c * from_step, sizeof tile[c]);                \
      for (size_t r = 0; r < TILE; r++) {                                                                              \
        T line[TILE];                                                                                                  \
        for (size_t c = 0; c < TILE; c++) line[c] = tile[c][r];                                                        \
        memcpy(to + (int64_t)r * to_step, line, sizeof line);                                                          \
      }                                                                                                                \
      return;                                                                                                          \
    }                                                                                                                  \
    for (size_t r = 0; r < rows; r++)                                                                                  \
      for (size_t c = 0; c < cols; c++)                                                                                \
        memcpy(to + (int64_t)r * to_step + c * sizeof(T), from + (int64_t)c * from_step + r * sizeof(T), sizeof(T));   \
  }
TURN(uint8_t, turn_1)
TURN(uint16_t, turn_2)
TURN(uint32_t, turn_4)
TURN(uint64_t, turn_8)

typedef void (*turn_fn)(char *to, int64_t to_step, const char *from, int64_t from_step, size_t rows, size_t cols);

typedef struct turning {
  const walk *w;
  uint32_t other; /* rows of the result's tiles lie along it */
  size_t element, rows, cols, bands;
  turn_fn turn;
  turn_tile whole; /* of whole tiles; NULL: turn */
} turning;

/* Band b: TILE rows (all columns) at one index of the remaining axes. */
static void run_bands(void *arg, size_t begin, size_t end, size_t thread) {
  const turning *t = arg;
  const walk *w = t->w;
  const uint32_t inner = w->rank - 1;
  (void)thread;
  for (size_t b = begin; b < end; b++) {
    size_t rest = b / t->bands;
    const size_t row = b % t->bands * TILE;
    const size_t rows = t->rows - row < TILE ? t->rows - row : TILE;
    char *to = w->base[0] + (int64_t)row * w->step[0][t->other];
    const char *from = w->base[1] + (int64_t)row * w->step[1][t->other];
    for (uint32_t i = inner; i-- > 0;) {
      if (i == t->other) continue;
      to += (int64_t)(rest % w->shape[i]) * w->step[0][i];
      from += (int64_t)(rest % w->shape[i]) * w->step[1][i];
      rest /= (size_t)w->shape[i];
    }
    for (size_t col = 0; col < t->cols; col += TILE) {
      const size_t cols = t->cols - col < TILE ? t->cols - col : TILE;
      char *const tile = to + col * t->element;
      const char *const source = from + (int64_t)col * w->step[1][inner];
      if (t->whole && rows == TILE && cols == TILE)
        t->whole(tile, w->step[0][t->other], source, w->step[1][inner]);
      else
        t->turn(tile, w->step[0][t->other], source, w->step[1][inner], rows, cols);
    }
  }
}

void turn_run(const walk *w, size_t element, pool *threads) {
  turning t = {.w = w, .other = dense_axis(w, element), .element = element, .cols = (size_t)w->shape[w->rank - 1]};
  t.rows = (size_t)w->shape[t.other];
  t.bands = (t.rows + TILE - 1) / TILE;
  t.turn = element == 1 ? turn_1 : element == 2 ? turn_2 : element == 4 ? turn_4 : turn_8;
  t.whole = cpu_get()->avx2 ? turn_tile_avx2(element) : NULL;
  const size_t count = t.bands * (w->elements / (t.rows * t.cols));
  const size_t grain = 1 + PARALLEL_ELEMENTS / (t.cols * TILE);
  if (w->elements < 2 * PARALLEL_ELEMENTS)
    run_bands(&t, 0, count, 0);
  else
    pool_for(threads, count, grain, run_bands, &t);
}
