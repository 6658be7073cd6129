/* model/watch.c */
#include "model/watch.h"

#include "base/clock.h"
#include "base/error.h"

void watch_end(step_watch *w) { mem_free(w->memory, w->values); }

static viva_status fit(step_watch *w, size_t count, viva_error *error) {
  if (count <= w->room) return VIVA_OK;
  mem_free(w->memory, w->values);
  w->values = mem_array(w->memory, count, sizeof *w->values);
  w->room = w->values ? count : 0;
  return w->values ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for a stage of %zu values", count);
}

viva_status watch_stage(step_watch *w, backend *b, const char *name, int64_t layer, const float *values, size_t rows,
                        size_t cols, viva_error *error) {
  if (!w) return VIVA_OK;
  const size_t count = rows * cols;
  TRY(fit(w, count, error));
  TRY(b->ops->download(b, w->values, values, sizeof *values, error)); /* waits until it is made */
  const double seconds = w->began ? (double)(clock_ns() - w->began) * 1e-9 : 0;
  TRY(b->ops->download(b, w->values, values, count * sizeof *values, error));
  const viva_debug_stage stage = {
      .name = name, .layer = layer, .rows = rows, .cols = cols, .values = w->values, .seconds = seconds};
  if (w->on_stage(w->user, &stage)) return error_set(error, VIVA_E_CANCELLED, "the stage callback asked to stop");
  w->began = clock_ns();
  return VIVA_OK;
}
