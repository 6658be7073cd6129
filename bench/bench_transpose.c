/* bench_transpose: viva_transpose_f32 beside memcpy of the same bytes, in turn in one run.
 *
 *   bench_transpose [ROWS COLS [ROUNDS]]      (default 32000 2048 21)
 *
 * Prints the median of both rates, counted as bytes read and written, and the median of the ratios.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "viva/checkpoint.h"

enum { MOST_ROUNDS = 999 };

int main(int argc, char **argv) {
  size_t rows = argc > 2 ? strtoul(argv[1], NULL, 10) : 32000, cols = argc > 2 ? strtoul(argv[2], NULL, 10) : 2048;
  size_t rounds = argc > 3 ? strtoul(argv[3], NULL, 10) : 21, bytes = rows * cols * sizeof(float);
  if (rounds < 1 || rounds > MOST_ROUNDS) return fprintf(stderr, "1 to %d rounds\n", MOST_ROUNDS), 1;
  float *from = malloc(bytes), *to = malloc(bytes);
  if (!from || !to) return fprintf(stderr, "no memory for two matrices of %zu bytes\n", bytes), 1;
  for (size_t i = 0; i < rows * cols; i++) from[i] = (float)i;
  memset(to, 1, bytes);
  static double copied[MOST_ROUNDS], turned[MOST_ROUNDS], ratio[MOST_ROUNDS];
  for (size_t r = 0; r < rounds; r++) {
    double begin = seconds();
    memcpy(to, from, bytes);
    double middle = seconds();
    viva_error error;
    if (viva_transpose_f32(from, to, rows, cols, bytes, &error)) return fprintf(stderr, "%s\n", error.message), 1;
    double end = seconds();
    copied[r] = 2e-9 * (double)bytes / (middle - begin);
    turned[r] = 2e-9 * (double)bytes / (end - middle);
    ratio[r] = turned[r] / copied[r];
  }
  printf("%zu x %zu, %zu rounds: transpose %.1f GB/s, memcpy %.1f GB/s, ratio %.2f\n", rows, cols, rounds,
         median(turned, rounds), median(copied, rounds), median(ratio, rounds));
  free(from);
  free(to);
  return 0;
}
