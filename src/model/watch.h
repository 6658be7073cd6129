/* model/watch.h: tells a caller what each stage of a step made (viva/debug.h). */
#ifndef MODEL_WATCH_H
#define MODEL_WATCH_H

#include "backend/backend.h"
#include "base/mem.h"
#include "viva/debug.h"

typedef struct step_watch {
  viva_debug_fn on_stage;
  void *user;
  mem *memory;
  float *values; /* host [room] */
  size_t room;
  uint64_t began; /* when the stage before was told; 0: none was */
} step_watch;

void watch_end(step_watch *w);

/* Waits for values (dev [rows][cols]) and tells of them. w NULL: nothing. Errors: the device's, E_MEMORY, E_CANCELLED. */
viva_status watch_stage(step_watch *w, backend *b, const char *name, int64_t layer, const float *values, size_t rows,
                        size_t cols, viva_error *error);

#endif
