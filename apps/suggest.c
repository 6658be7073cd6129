#include "suggest.h"

#include <string.h>

enum { LONGEST = 40 }; /* longer words are nobody's typing error */

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Edits that turn a into b: insert, delete, replace, swap of neighbours (optimal string alignment). */
static size_t edits(const char *a, size_t n, const char *b, size_t m) {
  size_t rows[3][LONGEST + 1]; /* rows i - 2, i - 1, i */
  for (size_t j = 0; j <= m; j++) rows[1][j] = j;
  for (size_t i = 1; i <= n; i++) {
    rows[2][0] = i;
    for (size_t j = 1; j <= m; j++) {
      size_t cost = rows[1][j - 1] + (a[i - 1] != b[j - 1]);
      cost = least(cost, least(rows[1][j], rows[2][j - 1]) + 1);
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) cost = least(cost, rows[0][j - 2] + 1);
      rows[2][j] = cost;
    }
    memcpy(rows[0], rows[1], sizeof rows[0]);
    memcpy(rows[1], rows[2], sizeof rows[1]);
  }
  return rows[1][m];
}

void suggest_offer(const char *typed, const char *known, const char **best, size_t *distance) {
  size_t n = strlen(typed), m = strlen(known);
  if (n < 2 || n > LONGEST || m > LONGEST) return;
  size_t d = edits(typed, n, known, m);
  if (strncmp(typed, known, n) == 0) d = 1; /* a beginning of the word: "--temperature" is not, "--top" is */
  if (strncmp(typed, known, m) == 0 && m >= 3) d = 1;
  if (d > 1 + m / 4 || d >= *distance) return;
  *best = known;
  *distance = d;
}
