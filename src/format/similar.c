/* format/similar.c: names a user may have meant. */
#include <stdio.h>
#include <string.h>

#include "format/checkpoint_build.h"

/* Work is bounded whatever the file holds: so many names, each so long. */
enum { MAX_NAMES = 20000, MAX_NAME = 128, MAX_SHOWN = 3 };

/* Insertions, deletions and changes from a to b (Levenshtein), both at most MAX_NAME bytes. */
static size_t edit_distance(const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
  size_t row[MAX_NAME + 1];
  for (size_t j = 0; j <= b_bytes; j++) row[j] = j;
  for (size_t i = 1; i <= a_bytes; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b_bytes; j++) {
      size_t change = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      size_t least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
      row[j] = change < least ? change : least;
    }
  }
  return row[b_bytes];
}

/* 0: the same but for a prefix or a suffix ("model.", ".weight"); SIZE_MAX: not alike. */
static size_t distance(const char *wanted, size_t wanted_bytes, const char *name) {
  size_t bytes = strlen(name);
  if (bytes > MAX_NAME) return SIZE_MAX;
  size_t limit = wanted_bytes / 5 + 1; /* one typing mistake in five letters */
  size_t gap = bytes > wanted_bytes ? bytes - wanted_bytes : wanted_bytes - bytes;
  if (gap > 0 && wanted_bytes >= 4 && bytes >= 4 && (strstr(name, wanted) || strstr(wanted, name))) return 0;
  if (gap > limit) return SIZE_MAX;
  size_t edits = edit_distance(wanted, wanted_bytes, name, bytes);
  return edits <= limit ? edits : SIZE_MAX;
}

const char *similar_names(const viva_checkpoint *ck, const char *name, char *buffer, size_t size) {
  const char *best[MAX_SHOWN] = {0};
  size_t best_distance[MAX_SHOWN] = {0};
  size_t shown = 0, bytes = strlen(name);
  buffer[0] = 0;
  if (bytes > MAX_NAME) return buffer;
  for (size_t i = 0; i < ck->tensor_count && i < MAX_NAMES; i++) {
    size_t d = distance(name, bytes, ck->tensors[i].name);
    if (d == SIZE_MAX) continue;
    size_t place = shown;
    while (place > 0 && d < best_distance[place - 1]) place--;
    if (place == MAX_SHOWN) continue;
    if (shown < MAX_SHOWN) shown++;
    for (size_t k = shown - 1; k > place; k--) best[k] = best[k - 1], best_distance[k] = best_distance[k - 1];
    best[place] = ck->tensors[i].name;
    best_distance[place] = d;
  }
  size_t at = 0;
  for (size_t i = 0; i < shown; i++) {
    int n = snprintf(buffer + at, size - at, "%s%s", i == 0 ? "; did you mean " : ", ", best[i]);
    if (n < 0 || (size_t)n >= size - at) return buffer;
    at += (size_t)n;
  }
  if (shown > 0) snprintf(buffer + at, size - at, "?");
  return buffer;
}
