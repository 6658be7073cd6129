/* Any bytes as a schedule of steps, copies and rewinds on up to 12 sessions (lib/schedule.h): every session holds what it would
 * hold alone. The first byte chooses whether the pool of pages has a limit. */
#include <stdlib.h>

#include "engine/engine.h"
#include "lib/memory_io.h"
#include "lib/schedule.h"
#include "lib/small_model.h"

enum {
  VOCAB = 299,
  PAGES = 14,
  MOST_BYTES = 400
}; /* of tiny.gguf; of the limited pool; longer schedules repeat themselves */

static viva_model *models[2]; /* without and with a limit */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  viva_engine *engine;
  viva_engine_options o = viva_engine_options_default();
  viva_model_options m = viva_model_options_default();
  viva_memory_plan plan = {.size = sizeof plan};
  memory_io *files = memory_io_create();
  o.threads = 1;
  small_model_copy(files, "/tiny", "tests/golden/tiny.gguf");
  if (engine_open(&o, memory_io_table(files), &engine, NULL)) abort();
  if (viva_model_load(engine, "/tiny", &m, &models[0], NULL) || viva_model_get_plan(models[0], &plan, NULL)) abort();
  m.cache_bytes = PAGES * plan.page_bytes;
  if (viva_model_load(engine, "/tiny", &m, &models[1], NULL)) abort();
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  size_t refused;
  if (size == 0 || size > MOST_BYTES) return -1;
  schedule_run(models[data[0] & 1], VOCAB, data + 1, size - 1, &refused);
  if (refused && !(data[0] & 1)) abort(); /* nothing was limited */
  return 0;
}
