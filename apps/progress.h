/* progress.h: a bar on standard error, only when that is a terminal; erased at the end. */
#ifndef APPS_PROGRESS_H
#define APPS_PROGRESS_H

#include <stdint.h>

typedef struct progress {
  const char *label;
  int shown; /* 1: bars are wanted and standard error is a terminal */
  int drawn; /* 1: a bar stands on the line */
  double last;
} progress;

/* Nothing is drawn in the first moments, so that quick jobs do not flicker. */
void progress_start(progress *bar, const char *label, int quiet);

/* note: short text after the bar, or "" */
void progress_update(progress *bar, uint64_t done, uint64_t total, const char *note);
void progress_end(progress *bar);

/* A viva_progress_fn; user is the progress. Draws, and cancels when a signal has asked to stop. */
int progress_callback(void *user, uint64_t done, uint64_t total);

/* Monotonic time in seconds. */
double progress_clock(void);

#endif
