#include "lib/model_kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void log_message(void *user, viva_log_level level, const char *message) {
  kit *k = user;
  size_t at = strlen(k->log);
  (void)level;
  snprintf(k->log + at, sizeof k->log - at, "%s\n", message);
}

static size_t bytes_in_use(viva_engine *engine) {
  viva_memory_stats stats = {.size = sizeof stats};
  viva_engine_memory(engine, &stats, NULL);
  return stats.current_bytes;
}

void kit_begin(kit *k, int threads, viva_cpu_kernels kernels) {
  viva_engine_options o = viva_engine_options_default();
  o.threads = threads;
  o.kernels = kernels;
  kit_begin_with(k, o);
}

void kit_begin_with(kit *k, viva_engine_options o) {
  viva_error error = {0};
  memset(k, 0, sizeof *k);
  k->io = memory_io_create();
  small_model_copy(k->io, "/tiny.gguf", "tests/golden/tiny.gguf");
  o.device = VIVA_DEVICE_CPU; /* also where there is a GPU */
  o.log = log_message;
  o.log_user = k;
  viva_status status = engine_open(&o, memory_io_table(k->io), &k->engine, &error);
  if (status == VIVA_E_UNSUPPORTED) { /* this processor lacks the kernels */
    memory_io_free(k->io);
    skip();
  }
  kit_ok(status, &error);
  k->base_bytes = bytes_in_use(k->engine);
}

void kit_end(kit *k) {
  assert_int_equal(bytes_in_use(k->engine), k->base_bytes);
  assert_int_equal(memory_io_open_count(k->io), 0);
  viva_engine_release(k->engine);
  memory_io_free(k->io);
}

viva_model *kit_load(kit *k, const char *path, const viva_model_options *options) {
  viva_error error = {0};
  viva_model *model;
  kit_ok(viva_model_load(k->engine, path, options, &model, &error), &error);
  return model;
}

viva_session *kit_session(viva_model *model, uint64_t capacity, uint32_t chunk, viva_dtype kv) {
  viva_error error = {0};
  viva_session *session;
  viva_session_options o = viva_session_options_default();
  o.capacity = capacity;
  o.prefill_chunk = chunk;
  o.kv = kv;
  kit_ok(viva_session_create(model, &o, &session, &error), &error);
  return session;
}

void kit_refused(kit *k, const char *path, const viva_model_options *options, viva_status code, const char *text) {
  viva_error error = {0};
  viva_model *model = (viva_model *)k;
  kit_error(viva_model_load(k->engine, path, options, &model, &error), code, &error, text);
  assert_null(model);
  assert_int_equal(bytes_in_use(k->engine), k->base_bytes);
  assert_int_equal(memory_io_open_count(k->io), 0);
}

void kit_check(viva_status status, const viva_error *error, const char *file, int line) {
  if (status == VIVA_OK) return;
  char text[1400];
  viva_error_format(error, text, sizeof text);
  print_error("%s:%d: %s: %s\n", file, line, viva_status_name(status), text);
  _fail(file, line);
}

void kit_check_error(viva_status status, viva_status code, const viva_error *error, const char *text, const char *file,
                     int line) {
  char found[1400];
  viva_error_format(error, found, sizeof found);
  if (status == code && error->code == code && strstr(found, text)) return;
  print_error("%s:%d: expected %s with \"%s\", found %s: %s\n", file, line, viva_status_name(code), text,
              viva_status_name(status), found);
  _fail(file, line);
}

void kit_tokens(viva_token *tokens, size_t count, size_t vocab, unsigned seed) {
  uint64_t state = seed * 2654435761u + 12345;
  for (size_t i = 0; i < count; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    tokens[i] = (viva_token)((state >> 33) % vocab);
  }
}
