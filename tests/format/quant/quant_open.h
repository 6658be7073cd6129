/* tests/format/quant_open.h: quantised checkpoints that lie in memory. */
#ifndef TESTS_QUANT_OPEN_H
#define TESTS_QUANT_OPEN_H

#include "format/quant/quant.h"
#include "format/safetensors/st_open.h"

/* Puts the files of tests/golden/quant/NAME into /m. */
static inline void quant_put_golden(gguf_world *w, const char *name) {
  static const char *const files[] = {"config.json", "hf_quant_config.json", "model.safetensors"};
  char folder[256], path[64];
  size_t bytes;
  snprintf(folder, sizeof folder, "tests/golden/quant/%s", name);
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    uint8_t *data = source_file(folder, files[i], &bytes);
    if (data == NULL) continue;
    snprintf(path, sizeof path, ST_FOLDER "/%s", files[i]);
    memory_io_put(w->io, path, data, bytes);
    free(data);
  }
}

/* Opens what lies in /m; *ck is NULL when the checkpoint itself is refused. */
static inline viva_status quant_load(gguf_world *w, viva_load_mode load, viva_checkpoint **ck, quant **q,
                                     viva_error *error) {
  *q = NULL;
  viva_status status = checkpoint_open(w->rt, ST_FOLDER, load, ck, error);
  return status == VIVA_OK ? quant_open(*ck, q, error) : status;
}

#endif
