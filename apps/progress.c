#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "signals.h"

enum { BAR_WIDTH = 30 };
static const double first_delay = 0.25; /* seconds before the first bar */
static const double redraw_every = 0.1; /* seconds between two bars */

double progress_clock(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void progress_start(progress *bar, const char *label, int quiet) {
  bar->label = label;
  bar->shown = !quiet && isatty(STDERR_FILENO) == 1;
  bar->drawn = 0;
  bar->last = progress_clock() + first_delay - redraw_every;
}

void progress_update(progress *bar, uint64_t done, uint64_t total, const char *note) {
  double now = progress_clock();
  if (!bar->shown || total == 0 || now - bar->last < redraw_every) return;
  bar->last = now;
  bar->drawn = 1;
  double share = done < total ? (double)done / (double)total : 1.0;
  int filled = (int)(share * BAR_WIDTH);
  char cells[BAR_WIDTH + 1];
  memset(cells, '.', BAR_WIDTH);
  memset(cells, '#', (size_t)filled);
  cells[BAR_WIDTH] = 0;
  fprintf(stderr, "\r\033[K%s [%s] %3.0f %% %s", bar->label, cells, 100.0 * share, note);
  fflush(stderr);
}

void progress_end(progress *bar) {
  if (!bar->drawn) return;
  bar->drawn = 0;
  fputs("\r\033[K", stderr);
  fflush(stderr);
}

int progress_callback(void *user, uint64_t done, uint64_t total) {
  progress_update(user, done, total, "");
  return signals_stopped();
}
