/* tests/lib/model_kit.h: an engine on files in memory, with models that are there when a test begins. */
#ifndef TESTS_MODEL_KIT_H
#define TESTS_MODEL_KIT_H

#include "engine/engine.h"
#include "lib/memory_io.h"
#include "lib/small_model.h"
#include "viva/viva.h"

typedef struct kit {
  memory_io *io;
  viva_engine *engine;
  size_t base_bytes; /* of the engine alone */
  char log[4096];    /* messages so far, each ended by a line end */
} kit;

/* "/tiny.gguf" is tests/golden/tiny.gguf; other files are put by the test. */
void kit_begin(kit *k, int threads, viva_cpu_kernels kernels);
/* With an engine of these options, whose device, log and files are the kit's. */
void kit_begin_with(kit *k, viva_engine_options o);
/* All models and sessions must be gone: checks that memory is back and all files are closed. */
void kit_end(kit *k);

/* Loads or fails the test with the library's message. options may be NULL. */
viva_model *kit_load(kit *k, const char *path, const viva_model_options *options);
viva_session *kit_session(viva_model *model, uint64_t capacity, uint32_t chunk, viva_dtype kv);

/* The load must fail with this code; the message, with its place, must contain text. */
void kit_refused(kit *k, const char *path, const viva_model_options *options, viva_status code, const char *text);

/* Fails the test with the library's message unless status is VIVA_OK. */
#define kit_ok(status, error) kit_check(status, error, __FILE__, __LINE__)
void kit_check(viva_status status, const viva_error *error, const char *file, int line);

/* status must be code and "FILE: ITEM: MESSAGE" must contain text. */
#define kit_error(status, code, error, text) kit_check_error(status, code, error, text, __FILE__, __LINE__)
void kit_check_error(viva_status status, viva_status code, const viva_error *error, const char *text, const char *file,
                     int line);

/* count ids that are spread over the vocabulary. */
void kit_tokens(viva_token *tokens, size_t count, size_t vocab, unsigned seed);

#endif
