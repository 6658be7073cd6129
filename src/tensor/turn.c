/* tensor/turn.c: transposing copies.
 *
 * Bands of the result's rows, as many as elements fit a line of cache: both sides touch whole lines. Element by element each
 * read would fetch a line of which the rest is gone before it is used.
 */
#include "tensor/turn.h"

#include <string.h>

#include "base/cpu.h"

enum {
  FEW = 64 /* elements: fewer are as quick line by line */,
  LINE = 64 /* bytes of cache */,
  BAND = 16 /* at least */
};

/* The axis along which the source is dense; the rank when there is none. */
static uint32_t dense_axis(const walk *w, size_t element) {
  uint32_t i = 0;
  while (i < w->rank && w->step[1][i] != (int64_t)element) i++;
  return i;
}

int turn_fits(const walk *w, size_t element) {
  if (w->rank < 2 || w->elements < FEW) return 0;
  const uint32_t inner = w->rank - 1, other = dense_axis(w, element);
  return w->step[0][inner] == (int64_t)element && w->step[1][inner] != (int64_t)element && other < inner &&
         w->shape[other] >= TURN_BLOCK;
}

#define TURN(T, name)                                                                                                  \
  static void name(char *to, int64_t to_step, const char *from, int64_t from_step, size_t rows, size_t cols) {         \
    for (size_t first = 0; first < cols; first += BAND) {                                                              \
      const size_t end = first + BAND < cols ? first + BAND : cols;                                                    \
      for (size_t r = 0; r < rows; r++)                                                                                \
        for (size_t c = first; c < end; c++)                                                                           \
          memcpy(to + (int64_t)r * to_step + c * sizeof(T), from + (int64_t)c * from_step + r * sizeof(T), sizeof(T)); \
    }                                                                                                                  \
  }
TURN(uint8_t, turn_1)
TURN(uint16_t, turn_2)
TURN(uint32_t, turn_4)
TURN(uint64_t, turn_8)

static turn_fn turn_plain(size_t element) {
  return element == 1 ? turn_1 : element == 2 ? turn_2 : element == 4 ? turn_4 : turn_8;
}

typedef struct turning {
  const walk *w;
  uint32_t other; /* bands of the result lie along it */
  size_t rows, cols, band, bands;
  turn_fn turn;
} turning;

/* Band b: its rows (all columns) at one index of the remaining axes. The last of each index has what is left, too. */
static void run_bands(void *arg, size_t begin, size_t end, size_t thread) {
  const turning *t = arg;
  const walk *w = t->w;
  const uint32_t inner = w->rank - 1;
  (void)thread;
  for (size_t b = begin; b < end; b++) {
    size_t rest = b / t->bands;
    const size_t row = b % t->bands * t->band;
    const size_t rows = b % t->bands + 1 == t->bands ? t->rows - row : t->band;
    char *to = w->base[0] + (int64_t)row * w->step[0][t->other];
    const char *from = w->base[1] + (int64_t)row * w->step[1][t->other];
    for (uint32_t i = inner; i-- > 0;) {
      if (i == t->other) continue;
      to += (int64_t)(rest % w->shape[i]) * w->step[0][i];
      from += (int64_t)(rest % w->shape[i]) * w->step[1][i];
      rest /= (size_t)w->shape[i];
    }
    t->turn(to, w->step[0][t->other], from, w->step[1][inner], rows, t->cols);
  }
}

void turn_run(const walk *w, size_t element, pool *threads) {
  turning t = {.w = w, .other = dense_axis(w, element), .cols = (size_t)w->shape[w->rank - 1]};
  const turn_fn fast = cpu_get()->avx2 && t.cols >= TURN_BLOCK ? turn_avx2(element) : NULL;
  t.turn = fast ? fast : turn_plain(element);
  t.rows = (size_t)w->shape[t.other];
  t.band = LINE / element > BAND ? LINE / element : BAND;
  t.bands = t.rows > t.band ? t.rows / t.band : 1;
  const size_t count = t.bands * (w->elements / (t.rows * t.cols));
  const size_t grain = 1 + PARALLEL_ELEMENTS / (t.cols * t.band);
  if (w->elements < 2 * PARALLEL_ELEMENTS)
    run_bands(&t, 0, count, 0);
  else
    pool_for(threads, count, grain, run_bands, &t);
}
