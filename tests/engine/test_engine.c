/* The engine handle: options, references, devices, the environment, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "engine/engine.h"
#include "lib/fail_alloc.h"
#include "viva/viva.h"

static void defaults_open(void **state) {
  viva_engine *engine = NULL;
  viva_device_info info = {.size = sizeof info};
  (void)state;
  assert_int_equal(viva_engine_open(NULL, &engine, NULL), VIVA_OK);
  assert_int_equal(viva_engine_info(engine, &info, NULL), VIVA_OK);
  assert_int_equal(info.size, sizeof info);
  assert_int_equal(info.kind, VIVA_DEVICE_CPU);
  assert_int_equal(info.threads, cpu_default_threads());
  const cpu_features *cpu = cpu_get();
  const char *wide = cpu->fast_bf16 && cpu->avx512_vbmi ? "avx512-bf16" : "avx512";
  assert_string_equal(info.kernels, cpu->avx2 && cpu->avx512 ? wide : cpu->avx2 ? "avx2" : "reference");
  assert_string_equal(info.name, cpu->name);
  viva_engine_release(engine);
}

static void options_are_checked(void **state) {
  static const struct {
    const char *item;
    size_t offset;
    int32_t value;
    viva_status status;
  } cases[] = {
      {"threads", offsetof(viva_engine_options, threads), -1, VIVA_E_ARGUMENT},
      {"threads", offsetof(viva_engine_options, threads), 1025, VIVA_E_ARGUMENT},
      {"device", offsetof(viva_engine_options, device), 3, VIVA_E_ARGUMENT},
      {"device", offsetof(viva_engine_options, device), -1, VIVA_E_ARGUMENT},
      {"device_index", offsetof(viva_engine_options, device_index), -1, VIVA_E_ARGUMENT},
      {"", offsetof(viva_engine_options, kernels), 5, VIVA_E_ARGUMENT},
      {"", offsetof(viva_engine_options, kernels), -1, VIVA_E_ARGUMENT},
      {"log_level", offsetof(viva_engine_options, log_level), 4, VIVA_E_ARGUMENT},
      {"log_level", offsetof(viva_engine_options, log_level), -1, VIVA_E_ARGUMENT},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    viva_engine_options options = viva_engine_options_default();
    viva_engine *engine = (viva_engine *)&options;
    viva_error error = {0};
    memcpy((char *)&options + cases[i].offset, &cases[i].value, sizeof cases[i].value);
    assert_int_equal(viva_engine_open(&options, &engine, &error), cases[i].status);
    assert_null(engine);
    assert_int_equal(error.code, cases[i].status);
    assert_string_equal(error.item, cases[i].item);
    assert_true(error.message[0] != 0);
    engine = (viva_engine *)&options;
    assert_int_equal(viva_engine_open(&options, &engine, NULL), cases[i].status); /* no error wanted */
    assert_null(engine);
  }
  viva_error error = {0};
  assert_int_equal(viva_engine_open(NULL, NULL, &error), VIVA_E_ARGUMENT);

  viva_engine_options options = viva_engine_options_default();
  viva_engine *engine;
  options.device = VIVA_DEVICE_CPU, options.device_index = 1;
  assert_int_equal(viva_engine_open(&options, &engine, &error), VIVA_E_ARGUMENT);
  fail_alloc memory;
  fail_alloc_init(&memory, 0, 0);
  memory.table.realloc = NULL;
  options = viva_engine_options_default();
  options.allocator = &memory.table;
  assert_int_equal(viva_engine_open(&options, &engine, &error), VIVA_E_ARGUMENT);
  assert_string_equal(error.item, "allocator");
}

/* A client that was compiled against an older, shorter struct, and one against a newer, longer one. */
static void sizes_of_options(void **state) {
  struct {
    viva_engine_options known;
    int32_t later[2];
  } options = {.known = viva_engine_options_default()};
  viva_engine *engine;
  viva_device_info info = {.size = sizeof info};
  (void)state;
  options.known.size = offsetof(viva_engine_options, log_level);
  options.known.threads = 1;
  options.known.log_level = 99; /* beyond the size: not looked at */
  assert_int_equal(viva_engine_open(&options.known, &engine, NULL), VIVA_OK);
  assert_int_equal(viva_engine_info(engine, &info, NULL), VIVA_OK);
  assert_int_equal(info.threads, 1);
  viva_engine_release(engine);

  options.known.log_level = VIVA_LOG_WARN;
  options.known.size = sizeof options;
  assert_int_equal(viva_engine_open(&options.known, &engine, NULL), VIVA_OK); /* later fields are zero */
  viva_engine_release(engine);
  options.later[1] = 1;
  assert_int_equal(viva_engine_open(&options.known, &engine, NULL), VIVA_E_ARGUMENT);
  static const size_t wrong[] = {0, 1, 8, offsetof(viva_engine_options, kernels), SIZE_MAX}; /* kernels: 20 */
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    options.known.size = wrong[i];
    assert_int_equal(viva_engine_open(&options.known, &engine, NULL), VIVA_E_ARGUMENT);
    assert_null(engine);
  }
}

static void kernels_can_be_forced(void **state) {
  static const char *const names[] = {"", "reference", "avx2", "avx512", "avx512-bf16"};
  const cpu_features *cpu = cpu_get();
  const int have[] = {0, 1, cpu->avx2, cpu->avx2 && cpu->avx512, cpu->avx2 && cpu->avx512_bf16 && cpu->avx512_vbmi};
  (void)state;
  for (viva_cpu_kernels k = VIVA_KERNELS_REFERENCE; k <= VIVA_KERNELS_AVX512_BF16; k++) {
    viva_engine_options options = viva_engine_options_default();
    viva_engine *engine;
    viva_error error = {0};
    options.kernels = k, options.threads = 2;
    const viva_status status = viva_engine_open(&options, &engine, &error);
    if (!have[k]) {
      assert_int_equal(status, VIVA_E_UNSUPPORTED);
      assert_non_null(strstr(error.message, names[k]));
      continue;
    }
    viva_device_info info = {.size = sizeof info};
    assert_int_equal(status, VIVA_OK);
    assert_int_equal(viva_engine_info(engine, &info, NULL), VIVA_OK);
    assert_string_equal(info.kernels, names[k]);
    assert_int_equal(info.threads, 2);
    viva_engine_release(engine);
  }
}

/* 1 when a library of this name has been loaded into the process. */
static int is_loaded(const char *name) {
  char line[4096];
  int found = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  assert_non_null(maps);
  while (!found && fgets(line, sizeof line, maps)) found = strstr(line, name) != NULL;
  fclose(maps);
  return found;
}

/* VIVA_NO_CUDA is read at each open. With it, and without a GPU, packed weights and linear calls work on the CPU. */
static void environment_matrix(void **state) {
  static const struct {
    const char *value; /* NULL: not set */
    int off;
  } cases[] = {{NULL, 0}, {"", 0}, {"0", 0}, {"1", 1}, {"00", 1}, {"yes", 1}, {NULL, 0}};
  int gpu = 0;
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    if (cases[i].value)
      setenv("VIVA_NO_CUDA", cases[i].value, 1);
    else
      unsetenv("VIVA_NO_CUDA");
    for (viva_device_kind kind = VIVA_DEVICE_AUTO; kind <= VIVA_DEVICE_CUDA; kind++) {
      viva_engine_options options = viva_engine_options_default();
      viva_engine *engine = NULL;
      viva_error error = {0};
      options.device = kind, options.threads = 1;
      const viva_status status = viva_engine_open(&options, &engine, &error);
      if (kind == VIVA_DEVICE_CUDA && status == VIVA_OK) { /* there is a GPU */
        assert_false(cases[i].off);
        viva_engine_release(engine);
        gpu = 1;
        continue;
      }
      if (kind == VIVA_DEVICE_CUDA) {
        assert_int_equal(status, VIVA_E_NO_CUDA);
        assert_null(engine);
        if (cases[i].off)
          assert_non_null(strstr(error.message, "VIVA_NO_CUDA is set"));
        else
          assert_true(strstr(error.message, "this build has no CUDA backend") || strstr(error.message, "no NVIDIA"));
        continue;
      }
      viva_device_info info = {.size = sizeof info};
      assert_int_equal(status, VIVA_OK);
      assert_int_equal(viva_engine_info(engine, &info, NULL), VIVA_OK);
      if (cases[i].off || kind == VIVA_DEVICE_CPU) assert_int_equal(info.kind, VIVA_DEVICE_CPU);
      double difference = -1;
      assert_int_equal(viva_int4_sparse_self_test(engine, 3, 24, 136, &difference, NULL), VIVA_OK);
      assert_true(difference == 0);
      viva_engine_release(engine);
    }
  }
  if (!gpu) assert_false(is_loaded("libcuda"));
}

static void devices_are_listed(void **state) {
  viva_device_info info = {.size = sizeof info}, opened = {.size = sizeof opened};
  viva_engine *engine;
  viva_error error = {0};
  (void)state;
  assert_int_equal(viva_device_list(0, &info, NULL), VIVA_OK);
  assert_int_equal(viva_engine_open(NULL, &engine, NULL), VIVA_OK);
  assert_int_equal(viva_engine_info(engine, &opened, NULL), VIVA_OK);
  assert_int_equal(info.kind, VIVA_DEVICE_CPU);
  assert_string_equal(info.name, opened.name);
  assert_string_equal(info.kernels, opened.kernels);
  assert_int_equal(info.threads, opened.threads);
  assert_true(info.memory_total >= info.memory_available);
  viva_engine_release(engine);
  assert_int_equal(viva_device_list(1, &info, &error), VIVA_E_NOT_FOUND);
  assert_int_equal(viva_device_list(0, NULL, &error), VIVA_E_ARGUMENT);
  info.size = 0;
  assert_int_equal(viva_device_list(0, &info, &error), VIVA_E_ARGUMENT);
  info.size = offsetof(viva_device_info, name); /* an older client */
  memset(info.name, 'x', sizeof info.name);
  assert_int_equal(viva_device_list(0, &info, &error), VIVA_OK);
  assert_true(info.name[0] == 'x');
}

static void null_handles_are_refused(void **state) {
  viva_device_info info = {.size = sizeof info};
  viva_memory_stats stats = {.size = sizeof stats};
  double rate;
  (void)state;
  assert_int_equal(viva_engine_info(NULL, &info, NULL), VIVA_E_ARGUMENT);
  assert_int_equal(viva_engine_memory(NULL, &stats, NULL), VIVA_E_ARGUMENT);
  assert_int_equal(viva_engine_read_bandwidth(NULL, 0, &rate, NULL), VIVA_E_ARGUMENT);
  assert_null(viva_engine_retain(NULL));
  viva_engine_release(NULL);
}

static void *retain_and_release(void *engine) {
  for (int i = 0; i < 10000; i++) viva_engine_release(viva_engine_retain(engine));
  return NULL;
}

static void references_are_counted(void **state) {
  fail_alloc memory;
  viva_engine_options options = viva_engine_options_default();
  viva_engine *engine;
  pthread_t threads[4];
  (void)state;
  fail_alloc_init(&memory, 0, 0);
  options.allocator = &memory.table, options.threads = 2;
  assert_int_equal(viva_engine_open(&options, &engine, NULL), VIVA_OK);
  for (size_t i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, retain_and_release, engine), 0);
  for (size_t i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  assert_ptr_equal(viva_engine_retain(engine), engine);
  viva_engine_release(engine);
  viva_memory_stats stats = {.size = sizeof stats};
  assert_int_equal(viva_engine_memory(engine, &stats, NULL), VIVA_OK); /* still there */
  assert_true(memory.live > 0);
  viva_engine_release(engine);
  assert_int_equal(memory.live, 0);
}

static void memory_is_counted(void **state) {
  fail_alloc memory;
  viva_engine_options options = viva_engine_options_default();
  viva_memory_stats before = {.size = sizeof before}, after = {.size = sizeof after};
  viva_engine *engine;
  double rate = 0;
  (void)state;
  fail_alloc_init(&memory, 0, 0);
  options.allocator = &memory.table, options.threads = 1;
  assert_int_equal(viva_engine_open(&options, &engine, NULL), VIVA_OK);
  assert_int_equal(viva_engine_memory(engine, &before, NULL), VIVA_OK);
  assert_true(before.current_bytes > 0 && before.allocations == memory.calls);
  const size_t bytes = (size_t)8 << 20;
  assert_int_equal(viva_engine_read_bandwidth(engine, bytes, &rate, NULL), VIVA_OK);
  assert_true(rate > 1e6);
  viva_error error = {0};
  assert_int_equal(viva_engine_read_bandwidth(engine, bytes, NULL, &error), VIVA_E_ARGUMENT);
  assert_string_equal(error.message, "bytes_per_second is NULL; expected a place for the rate");
  assert_int_equal(viva_engine_memory(engine, &after, NULL), VIVA_OK);
  assert_int_equal(after.current_bytes, before.current_bytes);
  assert_true(after.peak_bytes >= before.current_bytes + bytes);
  memory.fail_at = memory.calls + 1;
  assert_int_equal(viva_engine_read_bandwidth(engine, bytes, &rate, NULL), VIVA_E_MEMORY);
  viva_engine_release(engine);
  assert_int_equal(memory.live, 0);
}

/* Each allocation of opening an engine, and of measuring, fails in turn. */
static void no_memory_is_survived(void **state) {
  (void)state;
  for (int persistent = 0; persistent <= 1; persistent++) {
    for (uint64_t k = 1;; k++) {
      fail_alloc memory;
      viva_engine_options options = viva_engine_options_default();
      viva_engine *engine;
      viva_error error = {0};
      fail_alloc_init(&memory, k, persistent);
      options.allocator = &memory.table, options.threads = 2;
      const viva_status status = viva_engine_open(&options, &engine, &error);
      assert_int_equal(status, memory.failed ? VIVA_E_MEMORY : VIVA_OK);
      if (status != VIVA_OK) assert_int_equal(error.code, VIVA_E_MEMORY);
      viva_engine_release(engine);
      assert_int_equal(memory.live, 0);
      if (!memory.failed) break;
    }
  }
}

static void keep_message(void *user, viva_log_level level, const char *message) {
  assert_int_equal(level, VIVA_LOG_INFO);
  snprintf(user, 200, "%s", message);
}

static void opening_is_logged(void **state) {
  viva_engine_options options = viva_engine_options_default();
  viva_engine *engine;
  char text[200] = "";
  (void)state;
  options.log = keep_message, options.log_user = text, options.threads = 1;
  assert_int_equal(viva_engine_open(&options, &engine, NULL), VIVA_OK);
  assert_string_equal(text, ""); /* WARN is the default */
  viva_engine_release(engine);
  options.log_level = VIVA_LOG_INFO;
  assert_int_equal(viva_engine_open(&options, &engine, NULL), VIVA_OK);
  assert_non_null(strstr(text, "1 thread"));
  viva_engine_release(engine);
}

static void version_is_the_headers(void **state) {
  char expected[32];
  (void)state;
  snprintf(expected, sizeof expected, "%d.%d.%d", VIVA_VERSION_MAJOR, VIVA_VERSION_MINOR, VIVA_VERSION_PATCH);
  assert_string_equal(viva_version(), expected);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_open),
      cmocka_unit_test(options_are_checked),
      cmocka_unit_test(sizes_of_options),
      cmocka_unit_test(kernels_can_be_forced),
      cmocka_unit_test(environment_matrix),
      cmocka_unit_test(devices_are_listed),
      cmocka_unit_test(null_handles_are_refused),
      cmocka_unit_test(references_are_counted),
      cmocka_unit_test(memory_is_counted),
      cmocka_unit_test(no_memory_is_survived),
      cmocka_unit_test(opening_is_logged),
      cmocka_unit_test(version_is_the_headers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
