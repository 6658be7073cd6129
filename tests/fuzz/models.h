/* tests/fuzz/models.h: what targets that load whole models have in common: an engine on files in memory, and what every call
 * must keep. */
#ifndef TESTS_FUZZ_MODELS_H
#define TESTS_FUZZ_MODELS_H

#include <stdlib.h>

#include "engine/engine.h"
#include "lib/memory_io.h"

static inline viva_engine *engine_on(memory_io *files) {
  viva_engine *engine;
  viva_engine_options o = viva_engine_options_default();
  o.threads = 1;
  o.log_level = VIVA_LOG_ERROR;
  o.device = VIVA_DEVICE_CPU;
  if (engine_open(&o, memory_io_table(files), &engine, NULL)) abort();
  return engine;
}

static inline void require(int condition) {
  if (!condition) abort();
}

/* An error has its code and words. */
static inline viva_status said(viva_status status, const viva_error *error) {
  require(!status || (error->code == status && error->message[0]));
  require(status != VIVA_E_INTERNAL);
  return status;
}

#endif
