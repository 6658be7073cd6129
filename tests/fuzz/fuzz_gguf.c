/* Opens any bytes as a GGUF file and uses all of it: configuration, metadata, arrays, and the tensors as FP32. */
#include <stdlib.h>
#include <string.h>

#include "format/checkpoint.h"
#include "format/gguf/gguf.h"
#include "lib/memory_io.h"

#define PATH         "/f.gguf"
#define MAX_ELEMENTS 4096 /* of a tensor that is decoded: a run must stay short */

static void use_values(const gguf *g) {
  for (size_t i = 0; i < g->value_count; i++) {
    const gguf_value *value = &g->values[i];
    size_t at = 0, bytes;
    const char *text;
    int64_t integer;
    double real;
    volatile char last = 0;
    while (gguf_next_string(value, &at, &text, &bytes)) {
      if (bytes > 0) last = text[bytes - 1]; /* the sanitizers see a string that ends outside */
    }
    (void)last;
    gguf_element_i64(value, value->count - 1, &integer);
    gguf_element_f64(value, value->count - 1, &real);
    if (gguf_find(g, value->key) != value) abort();
  }
}

static void use_tensors(const viva_checkpoint *ck) {
  static float values[MAX_ELEMENTS];
  for (size_t i = 0; i < ck->tensor_count; i++) {
    const tensor_view *view = &ck->tensors[i];
    if (checkpoint_find(ck, view->name) != view) abort();
    if (view->elements > MAX_ELEMENTS) continue;
    viva_checkpoint_read_f32(ck, view->name, values, (size_t)view->elements, NULL);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  memory_io *io = memory_io_create();
  runtime *rt = runtime_create(NULL, memory_io_table(io), NULL, NULL, VIVA_LOG_WARN);
  viva_checkpoint *ck = NULL;
  viva_error error;
  memory_io_put(io, PATH, data, size);
  /* only GGUF: other containers have their own target */
  if (size >= 4 && memcmp(data, "GGUF", 4) == 0 && checkpoint_open(rt, PATH, VIVA_LOAD_READ, &ck, &error) == VIVA_OK) {
    viva_model_config config = {.size = sizeof config};
    viva_checkpoint_config(ck, &config, &error);
    use_values(ck->gguf);
    use_tensors(ck);
  }
  viva_checkpoint_close(ck);
  runtime_release(rt);
  memory_io_free(io);
  return 0;
}
