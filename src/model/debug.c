/* model/debug.c: viva/debug.h. */
#include "viva/debug.h"

#include "base/clock.h"
#include "model/step.h"
#include "model/watch.h"

viva_status viva_debug_step(viva_session *session, const viva_token *tokens, size_t count, viva_debug_fn on_stage,
                            void *user, viva_error *error) {
  if (!session) return error_set(error, VIVA_E_ARGUMENT, "session is NULL");
  if (!on_stage) return error_set(error, VIVA_E_ARGUMENT, "on_stage is NULL");
  step_watch watch = {
      .on_stage = on_stage, .user = user, .memory = &session->model->engine->rt->mem, .began = clock_ns()};
  step_part part = {.session = session, .tokens = tokens, .count = count, .keep = STEP_LAST};
  const viva_status status = step_one(&part, &(step_call){.watch = &watch}, error);
  watch_end(&watch);
  return status;
}
