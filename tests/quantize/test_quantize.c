/* viva_quantize: what it refuses, what is left after a failure or a cancel, what it tells, and the way back.
 * (That what it writes loads as the rule says is test_stored.c's.) */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/model_kit.h"

typedef struct world {
  char root[64], tiny[256];
  viva_engine *engine;
  io_table io;     /* the system's, with writes that can fail */
  int writes_left; /* -1: all succeed */
  uint64_t room;   /* on the disk */
} world;

static int64_t failing_write(void *user, int handle, const void *data, size_t bytes, uint64_t offset) {
  world *w = user;
  if (w->writes_left == 0) return -28; /* ENOSPC */
  if (w->writes_left > 0) w->writes_left--;
  return io_system.write_at(NULL, handle, data, bytes, offset);
}

static int some_room(void *user, const char *folder, uint64_t *bytes) {
  (void)folder;
  *bytes = ((world *)user)->room;
  return 0;
}

static int begin(void **state) {
  world *w = calloc(1, sizeof *w);
  const char *temporary = getenv("TMPDIR"), *source = getenv("VIVA_SOURCE_DIR");
  viva_engine_options o = viva_engine_options_default();
  viva_error error = {0};
  snprintf(w->root, sizeof w->root, "%.40s/viva-XXXXXX", temporary ? temporary : "/tmp");
  assert_non_null(mkdtemp(w->root));
  snprintf(w->tiny, sizeof w->tiny, "%.200s/tests/golden/tiny.gguf", source ? source : ".");
  o.threads = 2;
  o.log_level = VIVA_LOG_ERROR;
  w->io = io_system;
  w->io.write_at = failing_write;
  w->io.space = some_room;
  w->room = UINT64_MAX;
  w->io.user = w;
  w->writes_left = -1;
  kit_ok(engine_open(&o, &w->io, &w->engine, &error), &error);
  *state = w;
  return 0;
}

static void remove_all(const char *path) {
  DIR *d = opendir(path);
  struct dirent *e;
  char name[512];
  while (d && (e = readdir(d)) != NULL) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    snprintf(name, sizeof name, "%.250s/%.250s", path, e->d_name);
    if (unlink(name) != 0) remove_all(name);
  }
  if (d) closedir(d);
  rmdir(path);
}

static int end(void **state) {
  world *w = *state;
  viva_engine_release(w->engine);
  remove_all(w->root);
  free(w);
  return 0;
}

static int count_names(const char *path) {
  DIR *d = opendir(path);
  int count = -2; /* . and .. */
  while (d && readdir(d) != NULL) count++;
  if (d) closedir(d);
  return count;
}

static viva_status quantize(world *w, const char *from, const char *name, viva_quantize_options *o,
                            viva_quantize_result *result, viva_error *error) {
  char input[256], to[256];
  snprintf(input, sizeof input, "%.100s/%.100s", w->root, from ? from : "");
  snprintf(to, sizeof to, "%.100s/%.100s", w->root, name);
  return viva_quantize(w->engine, from ? input : w->tiny, to, o, result, error);
}

static viva_quantize_options rule(const char *weights) {
  viva_quantize_options o = viva_quantize_options_default();
  o.weights = weights;
  return o;
}

static void refuses(void **state) {
  world *w = *state;
  viva_error error = {0};
  viva_quantize_options o = rule("fp8");
  kit_ok(quantize(w, NULL, "a", &o, NULL, &error), &error);
  int names = count_names(w->root);
  kit_error(quantize(w, NULL, "a", &o, NULL, &error), VIVA_E_IO, &error, "exists already");
  kit_error(quantize(w, "a", "a", &o, NULL, &error), VIVA_E_ARGUMENT, &error, "holds the input");
  kit_error(quantize(w, "a", "a/b", &o, NULL, &error), VIVA_E_ARGUMENT, &error, "in the input's folder");
  kit_error(quantize(w, "a", "a/../a/", &o, NULL, &error), VIVA_E_ARGUMENT, &error, "holds the input");
  kit_error(quantize(w, NULL, "no/b", &o, NULL, &error), VIVA_E_IO, &error, "no such file or folder");
  o.overwrite = 1;
  kit_error(quantize(w, "a", "a", &o, NULL, &error), VIVA_E_ARGUMENT, &error, "holds the input");
  kit_error(quantize(w, "a", ".", &o, NULL, &error), VIVA_E_ARGUMENT, &error, "holds the input");
  o = rule("fp9");
  kit_error(quantize(w, NULL, "b", &o, NULL, &error), VIVA_E_ARGUMENT, &error, "fp9");
  o = rule(NULL);
  kit_error(quantize(w, NULL, "b", &o, NULL, &error), VIVA_E_ARGUMENT, &error, "no format");
  o = rule("fp8");
  viva_quantize_result unsized = {.size = 0};
  kit_error(quantize(w, NULL, "b", &o, &unsized, &error), VIVA_E_ARGUMENT, &error, "viva_quantize_result");
  assert_int_equal(count_names(w->root), names);
}

static void overwrites_models_only(void **state) {
  world *w = *state;
  viva_error error = {0};
  viva_quantize_options o = rule("nvfp4");
  char path[256];
  snprintf(path, sizeof path, "%s/mine", w->root);
  assert_int_equal(mkdir(path, 0700), 0);
  o.overwrite = 1;
  kit_error(quantize(w, NULL, "mine", &o, NULL, &error), VIVA_E_IO, &error, "no config.json");
  kit_ok(quantize(w, NULL, "a", &o, NULL, &error), &error);
  kit_ok(quantize(w, NULL, "a", &o, NULL, &error), &error);
  assert_int_equal(count_names(w->root), 2); /* nothing of the old one, nothing temporary */
}

/* Every write fails once: an error, and nothing is left. */
static void full_disk(void **state) {
  world *w = *state;
  viva_error error = {0};
  viva_quantize_options o = rule("fp8");
  o.shard_bytes = 10000;
  viva_status status = VIVA_E_IO;
  int fail_at = 0;
  for (; status != VIVA_OK && fail_at < 2000; fail_at++) {
    w->writes_left = fail_at;
    status = quantize(w, NULL, "a", &o, NULL, &error);
    if (status == VIVA_OK) break;
    assert_int_equal(status, VIVA_E_IO);
    assert_int_equal(count_names(w->root), 0);
  }
  assert_true(fail_at > 20);
  assert_int_equal(count_names(w->root), 1);
}

/* Known before the first write. */
static void no_room(void **state) {
  world *w = *state;
  viva_error error = {0};
  viva_quantize_options o = rule("bf16");
  w->room = 1000000;
  w->writes_left = 1; /* of the lock file */
  kit_error(quantize(w, NULL, "a", &o, NULL, &error), VIVA_E_IO, &error,
            "the output needs 1.0 MiB, but 976.5 KiB are free");
  assert_int_equal(count_names(w->root), 0);
  w->room = 2 << 20;
  w->writes_left = -1;
  kit_ok(quantize(w, NULL, "a", &o, NULL, &error), &error);
}

static int stop_at(void *user, uint64_t done, uint64_t total) {
  assert_true(done <= total);
  return --*(int *)user < 0;
}

static void cancelled(void **state) {
  world *w = *state;
  viva_error error = {0};
  viva_quantize_options o = rule("nvfp4");
  int left = 0, tries = 0;
  viva_status status;
  o.progress = stop_at;
  o.progress_user = &left;
  do {
    left = tries++;
    status = quantize(w, NULL, "a", &o, NULL, &error);
    if (status == VIVA_OK) break;
    assert_int_equal(status, VIVA_E_CANCELLED);
    assert_int_equal(count_names(w->root), 0);
  } while (tries < 1000);
  assert_true(tries > 30); /* 15 matrices are surveyed, then written */
  assert_int_equal(count_names(w->root), 1);
}

static int stop_after(void *user, const viva_quantize_tensor *tensor) {
  assert_true(tensor->bytes_after > 0);
  return --*(int *)user < 0;
}

static void cancelled_by_listener(void **state) {
  world *w = *state;
  viva_error error = {0};
  viva_quantize_options o = rule("fp8");
  int left = 15; /* of 16 matrices: the last one says stop */
  o.on_tensor = stop_after;
  o.on_tensor_user = &left;
  kit_error(quantize(w, NULL, "a", &o, NULL, &error), VIVA_E_CANCELLED, &error, "cancelled");
  assert_int_equal(count_names(w->root), 0);
  left = 16;
  kit_ok(quantize(w, NULL, "a", &o, NULL, &error), &error);
}

typedef struct told {
  int count;
  uint64_t after;
  double error2, norm2;
} told;

static int listen(void *user, const viva_quantize_tensor *t) {
  told *all = user;
  all->count++;
  all->after += t->bytes_after;
  all->error2 += t->error * t->norm * (t->error * t->norm);
  all->norm2 += t->norm * t->norm;
  return 0;
}

static void tells(void **state) {
  world *w = *state;
  viva_error error = {0};
  told all = {0};
  viva_quantize_options o = rule("fp8-b32");
  viva_quantize_result result = {.size = sizeof result};
  o.on_tensor = listen;
  o.on_tensor_user = &all;
  kit_ok(quantize(w, NULL, "a", &o, &result, &error), &error);
  assert_int_equal(all.count, 16); /* seven of each of two layers, table and head */
  assert_int_equal(result.packed, 15);
  assert_int_equal(result.files, 5);
  assert_true(all.after < result.bytes_after); /* norms */
  /* The same sums in another order of roundings. */
  assert_true(fabs(sqrt(all.error2 / all.norm2) - result.error) < 1e-9);
}

/* What "f32" writes of a packed folder are the values that the packed handles stand for. */
static void way_back(void **state) {
  static const char *const rules[] = {"fp8", "fp8-b16:f16", "nvfp4", "int8-24", "int4-24"};
  world *w = *state;
  viva_error error = {0};
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    char packed[32], dense[32], path[256];
    viva_quantize_options o = rule(rules[i]), back = rule("f32");
    snprintf(packed, sizeof packed, "packed%zu", i);
    snprintf(dense, sizeof dense, "dense%zu", i);
    kit_ok(quantize(w, NULL, packed, &o, NULL, &error), &error);
    kit_ok(quantize(w, packed, dense, &back, NULL, &error), &error);
    viva_model *models[2];
    float *values[2];
    viva_packed_info info = {.size = sizeof info};
    for (int m = 0; m < 2; m++) {
      viva_packed_weight *down;
      snprintf(path, sizeof path, "%s/%s", w->root, m ? dense : packed);
      kit_ok(viva_model_load(w->engine, path, NULL, &models[m], &error), &error);
      kit_ok(viva_model_weight(models[m], 1, VIVA_PROJ_DOWN, &down, &error), &error);
      kit_ok(viva_packed_weight_info(down, &info, &error), &error);
      size_t count = (size_t)(info.out_features * info.in_features);
      values[m] = calloc(count, sizeof(float));
      kit_ok(viva_packed_weight_unpack(down, values[m], count, &error), &error);
      viva_packed_weight_release(down);
      viva_model_release(models[m]);
    }
    assert_int_equal(info.format, VIVA_WEIGHT_F32);
    assert_memory_equal(values[0], values[1], (size_t)(info.out_features * info.in_features) * sizeof(float));
    free(values[0]);
    free(values[1]);
  }
}

/* The tokenizer.json that is made of a GGUF file's vocabulary cuts a text as the file's own does. */
static void tokenizer_of_gguf(void **state) {
  static const char text[] = "Hello  world, it's 12345 \xc3\xa9t\xc3\xa9\n\n</s><s> end ";
  world *w = *state;
  viva_error error = {0};
  viva_quantize_options o = rule("bf16");
  char path[256];
  viva_token ids[2][128];
  size_t counts[2];
  kit_ok(quantize(w, NULL, "a", &o, NULL, &error), &error);
  snprintf(path, sizeof path, "%s/a", w->root);
  for (int i = 0; i < 2; i++) {
    viva_tokenizer *tokenizer;
    kit_ok(viva_tokenizer_load(i ? path : w->tiny, NULL, &tokenizer, &error), &error);
    kit_ok(viva_tokenizer_encode(tokenizer, text, sizeof text - 1, NULL, ids[i], 128, &counts[i], &error), &error);
    viva_tokenizer_release(tokenizer);
  }
  assert_int_equal(counts[0], counts[1]);
  assert_memory_equal(ids[0], ids[1], counts[0] * sizeof(viva_token));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(refuses),          TEST(overwrites_models_only), TEST(full_disk), TEST(no_room),
      TEST(cancelled),        TEST(cancelled_by_listener),  TEST(tells),     TEST(way_back),
      TEST(tokenizer_of_gguf)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
