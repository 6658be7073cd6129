#include "progress.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "signals.h"
#include "terminal.h"
#include "units.h"

enum { BAR_LEAST = 4, BAR_MOST = 60, BAR_USUAL = 30, BAR_BESIDE = 12 /* " [" to " 100 % ", and a free column */ };
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
  /* A line that wraps could not be erased: the bar gives way. The window may have changed since the last one. */
  int taken = BAR_BESIDE + (int)(strlen(bar->label) + strlen(note));
  int width = terminal_fit(STDERR_FILENO, taken, BAR_LEAST, BAR_MOST, BAR_USUAL);
  char cells[BAR_MOST + 1];
  memset(cells, '.', (size_t)width);
  memset(cells, '#', (size_t)(share * width));
  cells[width] = 0;
  char line[256];
  size_t length = text_format(line, sizeof line, "\r\033[K%s [%s] %3.0f %% %s", bar->label, cells, 100.0 * share, note);
  if (write(STDERR_FILENO, line, length) < 0) bar->shown = 0; /* the terminal has gone */
}

void progress_end(progress *bar) {
  if (bar->drawn && write(STDERR_FILENO, "\r\033[K", 4) < 0) bar->shown = 0;
  bar->drawn = 0;
}

int progress_callback(void *user, uint64_t done, uint64_t total) {
  progress_update(user, done, total, "");
  return signals_stopped();
}
