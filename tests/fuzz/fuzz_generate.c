/* A changed model of 40 KB is loaded and makes one token. Whatever the bytes say, there is a result or an error with words.
 *
 * An input is a list of changes to tests/golden/tiny.gguf, so that most of the model stays as it was: 4 bytes each, an
 * offset of 24 bits and a new byte. The last byte of the input, when the length is no multiple of 4, chooses how it is
 * loaded. An input that begins with "GGUF" is a whole file instead.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "lib/memory_io.h"
#include "lib/small_model.h"
#include "viva/viva.h"

static viva_engine *engine;
static memory_io *files;
static uint8_t *tiny, *changed;
static size_t tiny_bytes;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  viva_engine_options o = viva_engine_options_default();
  o.threads = 1;
  files = memory_io_create();
  small_model_copy(files, "/tiny", "tests/golden/tiny.gguf");
  const void *bytes = memory_io_get(files, "/tiny", &tiny_bytes);
  tiny = malloc(tiny_bytes);
  changed = malloc(tiny_bytes);
  if (!tiny || !changed || engine_open(&o, memory_io_table(files), &engine, NULL)) abort();
  memcpy(tiny, bytes, tiny_bytes);
  return 0;
}

static void put_changed(const uint8_t *data, size_t size) {
  if (size >= 4 && memcmp(data, "GGUF", 4) == 0) {
    memory_io_put(files, "/model", data, size);
    return;
  }
  memcpy(changed, tiny, tiny_bytes);
  for (size_t i = 0; i + 4 <= size; i += 4) {
    size_t at = (size_t)data[i] | (size_t)data[i + 1] << 8 | (size_t)data[i + 2] << 16;
    changed[at % tiny_bytes] = data[i + 3];
  }
  memory_io_put(files, "/model", changed, tiny_bytes);
}

/* An error has its code and words; a success has its tokens. */
static void check(viva_status status, const viva_error *error) {
  if (status && (error->code != status || !error->message[0])) abort();
  if (status == VIVA_E_INTERNAL) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const weights[] = {NULL, "f32", "f16", "bf16"};
  unsigned choice = size % 4 ? data[size - 1] : 0;
  viva_model_options load = viva_model_options_default();
  viva_generate_options o = viva_generate_options_default();
  viva_generate_result *result = NULL;
  viva_model *model = NULL;
  viva_error error = {0};
  load.weights = weights[choice % 4];
  load.load = choice & 4 ? VIVA_LOAD_MMAP : VIVA_LOAD_READ;
  load.context = choice & 8 ? 64 : 0;
  o.max_new_tokens = 1 + (choice >> 4 & 1);
  put_changed(data, size);
  viva_status status = viva_model_load(engine, "/model", &load, &model, &error);
  check(status, &error);
  if (!status) {
    status = viva_model_tokenizer(model) ? viva_generate(model, "Once upon", 9, &o, &result, &error)
                                         : viva_generate_tokens(model, (viva_token[]){5, 6}, 2, &o, &result, &error);
    check(status, &error);
    if (!status && (result->token_count == 0 || result->text[result->text_bytes] != 0)) abort();
  }
  viva_generate_result_free(result);
  viva_model_release(model);
  if (memory_io_open_count(files) != 0) abort();
  return 0;
}
