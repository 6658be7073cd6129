/* Indexes and folders: which files are opened, and which are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/safetensors/st_open.h"
#include "lib/fail_alloc.h"

#define A_NAME "shard_a.safetensors"
#define B_NAME "shard_b.safetensors"
#define INDEX                                                                                                          \
  "{\"metadata\":{\"total_size\":52},\"weight_map\":{\"a.weight\":\"" A_NAME "\",\"b.weight\":\"" B_NAME               \
  "\",\"both\":\"" A_NAME "\"}}"

static void put_shards(gguf_world *w) {
  st_put_golden(w, A_NAME, "/m/" A_NAME);
  st_put_golden(w, B_NAME, "/m/" B_NAME);
}

static void put_indexed(gguf_world *w, const char *index) {
  put_shards(w);
  memory_io_put_text(w->io, ST_INDEX, index);
}

/* All three tensors, each from its file. */
static void check_sharded(const viva_checkpoint *ck, const char *folder) {
  static const char *const names[] = {"a.weight", "b.weight", "both"}, *const files[] = {A_NAME, B_NAME, A_NAME};
  assert_int_equal(viva_checkpoint_tensor_count(ck), 3);
  assert_string_equal(ck->folder, folder);
  for (size_t i = 0; i < 3; i++) {
    viva_stored_tensor info = {.size = sizeof info};
    char path[128];
    float values[8];
    assert_int_equal(viva_checkpoint_tensor(ck, i, &info, NULL), VIVA_OK);
    assert_string_equal(info.name, names[i]);
    snprintf(path, sizeof path, "%s/%s", folder, files[i]);
    assert_string_equal(info.file, path);
    assert_int_equal(viva_checkpoint_read_f32(ck, info.name, values, (size_t)info.elements, NULL), VIVA_OK);
  }
}

static void test_index_and_folder(void **state) {
  (void)state;
  static const char *const paths[] = {"/m", "/m/", ST_INDEX};
  for (int load = VIVA_LOAD_READ; load <= VIVA_LOAD_MMAP; load++) {
    gguf_world w = world_open(NULL);
    put_indexed(&w, INDEX);
    for (size_t i = 0; i < 3; i++) {
      viva_checkpoint *ck;
      viva_error error = {0};
      if (checkpoint_open(w.rt, paths[i], (viva_load_mode)load, &ck, &error) != VIVA_OK) fail_msg("%s", error.message);
      check_sharded(ck, "/m");
      assert_int_equal(viva_checkpoint_metadata_count(ck), 1); /* of the first shard */
      viva_checkpoint_close(ck);
    }
    world_close(&w);
  }
}

/* A folder: the single file before the index (as in transformers: the index is then a stale one), that before others,
 * those before GGUF. */
static void test_order_in_a_folder(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck;
  put_indexed(&w, INDEX);
  memory_io_put_text(w.io, "/m/x.gguf", "GGUF");
  assert_int_equal(checkpoint_open(w.rt, "/m", VIVA_LOAD_READ, &ck, NULL), VIVA_OK);
  assert_int_equal(ck->file_count, 2);
  viva_checkpoint_close(ck);
  st_put_golden(&w, "any_order.safetensors", ST_PATH);
  assert_int_equal(checkpoint_open(w.rt, "/m", VIVA_LOAD_READ, &ck, NULL), VIVA_OK);
  assert_int_equal(ck->file_count, 1);
  viva_checkpoint_close(ck);
  world_close(&w);
  w = world_open(NULL);
  put_shards(&w);
  st_put_golden(&w, "any_order.safetensors", ST_PATH);
  assert_int_equal(checkpoint_open(w.rt, "/m", VIVA_LOAD_READ, &ck, NULL), VIVA_OK);
  assert_int_equal(ck->file_count, 1);
  assert_string_equal(ck->files[0].path, ST_PATH);
  assert_string_equal(ck->folder, "/m");
  viva_checkpoint_close(ck);
  world_close(&w);
}

static void test_folder_without_index(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck;
  viva_error error = {0};
  put_shards(&w);
  memory_io_put_text(w.io, "/m/.hidden.safetensors", "x");
  memory_io_put_text(w.io, "/m/sub/other.safetensors", "x");
  memory_io_put_text(w.io, "/m/readme.txt", "x");
  assert_int_equal(checkpoint_open(w.rt, "/m", VIVA_LOAD_READ, &ck, &error), VIVA_OK);
  check_sharded(ck, "/m");
  viva_checkpoint_close(ck);
  st_put_golden(&w, "duplicate_a.safetensors", "/m/z.safetensors");
  assert_int_equal(checkpoint_open(w.rt, "/m", VIVA_LOAD_READ, &ck, &error), VIVA_E_FORMAT);
  assert_string_equal(error.item, "a.weight");
  assert_non_null(strstr(error.message, "too"));
  world_close(&w);
}

static void test_folders_without_a_checkpoint(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck;
  viva_error error = {0};
  memory_io_put_text(w.io, "/m/readme.txt", "x");
  assert_int_equal(checkpoint_open(w.rt, "/m", VIVA_LOAD_READ, &ck, &error), VIVA_E_NOT_FOUND);
  assert_string_equal(error.file, "/m");
  assert_null(strstr(error.message, "PyTorch"));
  memory_io_put_text(w.io, "/m/pytorch_model.bin", "x");
  assert_int_equal(checkpoint_open(w.rt, "/m", VIVA_LOAD_READ, &ck, &error), VIVA_E_NOT_FOUND);
  assert_non_null(strstr(error.message, "PyTorch"));
  memory_io_put_text(w.io, "/m/a.gguf", "GGUF");
  memory_io_put_text(w.io, "/m/b.gguf", "GGUF");
  assert_int_equal(checkpoint_open(w.rt, "/m", VIVA_LOAD_READ, &ck, &error), VIVA_E_ARGUMENT);
  assert_non_null(strstr(error.message, "2 GGUF files"));
  assert_int_equal(checkpoint_open(w.rt, "/none", VIVA_LOAD_READ, &ck, &error), VIVA_E_IO);
  world_close(&w);
}

/* GGUF by its first bytes, whatever its name; from a folder when it is the only one. */
static void test_gguf(void **state) {
  (void)state;
  size_t bytes;
  uint8_t *data = source_file("tests/golden/gguf", "tiny_llama.gguf", &bytes);
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck;
  viva_error error = {0};
  memory_io_put(w.io, "/m/a.gguf", data, bytes);
  memory_io_put(w.io, "/n/model.safetensors", data, bytes);
  static const char *const paths[] = {"/m", "/m/a.gguf", "/n/model.safetensors", "/n"};
  for (size_t i = 0; i < 4; i++) {
    if (checkpoint_open(w.rt, paths[i], VIVA_LOAD_READ, &ck, &error) != VIVA_OK) fail_msg("%s", error.message);
    assert_int_equal(ck->container, CONTAINER_GGUF);
    viva_model_config config = {.size = sizeof config};
    assert_int_equal(viva_checkpoint_config(ck, &config, NULL), VIVA_OK);
    assert_string_equal(config.model_type, "llama");
    assert_true(viva_checkpoint_metadata_count(ck) > 3);
    viva_checkpoint_close(ck);
  }
  free(data);
  world_close(&w);
}

static void check_hostile(const char *name, const char *status_name, const char *fragment) {
  size_t bytes;
  viva_error error = {0};
  viva_checkpoint *ck;
  uint8_t *data = source_file("tests/hostile/index", name, &bytes);
  assert_non_null(data);
  gguf_world w = world_open(NULL);
  put_shards(&w);
  st_put_golden(&w, "duplicate_a.safetensors", "/m/duplicate_a.safetensors");
  memory_io_put_text(w.io, "/m/text.safetensors", "hello world!");
  st_put_golden(&w, B_NAME, "/abs"); /* there, so that only the rule can refuse them */
  st_put_golden(&w, B_NAME, "/x");
  memory_io_put(w.io, ST_INDEX, data, bytes);
  double start = st_now_ms();
  viva_status status = checkpoint_open(w.rt, ST_INDEX, VIVA_LOAD_READ, &ck, &error);
  st_check_refusal(&w, name, status, &error, status_name, fragment, st_now_ms() - start, bytes);
  world_close(&w);
  free(data);
}

static void test_every_hostile_index_is_refused(void **state) {
  (void)state;
  assert_true(st_each_hostile("index", check_hostile) >= 25);
}

static void test_missing_shard_is_named(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck;
  viva_error error = {0};
  st_put_golden(&w, A_NAME, "/m/" A_NAME);
  memory_io_put_text(w.io, ST_INDEX, INDEX);
  assert_int_equal(checkpoint_open(w.rt, "/m", VIVA_LOAD_READ, &ck, &error), VIVA_E_NOT_FOUND);
  assert_string_equal(error.file, "/m/" B_NAME);
  assert_string_equal(error.item, B_NAME);
  assert_non_null(strstr(error.message, "b.weight"));
  world_close(&w);
}

typedef struct messages {
  int warnings, notes;
} messages;

static void count_message(void *user, viva_log_level level, const char *message) {
  messages *m = user;
  if (level == VIVA_LOG_WARN && strstr(message, "b.weight") && strstr(message, "not in the index")) m->warnings++;
  if (level == VIVA_LOG_WARN && strstr(message, "1 tensors of the index are in no shard, first c")) m->warnings++;
  if (level == VIVA_LOG_WARN && strstr(message, "in another shard than the index says, first both")) m->warnings++;
  if (level == VIVA_LOG_INFO && strstr(message, "total_size")) m->notes++;
}

/* An index that is not true is told, and the shards count: tensors that it leaves out are there all the same, one
 * that no shard holds is missed when a model needs it. A wrong total is a note. */
static void test_warnings(void **state) {
  (void)state;
  static const struct {
    const char *index;
    int warnings, notes;
  } cases[] = {
      {INDEX, 0, 0},
      {"{\"weight_map\":{\"a.weight\":\"" A_NAME "\",\"both\":\"" A_NAME "\"}}", 0,
       0}, /* the other shard is not opened */
      {"{\"metadata\":{\"total_size\":\"x\"},\"weight_map\":{\"a.weight\":\"" A_NAME "\",\"both\":\"" A_NAME
       "\",\"c\":\"" B_NAME "\"}}",
       2, 0}, /* b.weight is not in the index, c in no shard */
      {"{\"metadata\":{\"total_size\":53,\"x\":[]},\"weight_map\":{\"both\":\"" A_NAME "\",\"a.weight\":\"" A_NAME
       "\",\"b.weight\":\"" B_NAME "\"},\"y\":1}",
       0, 1},
      {"{\"weight_map\":{\"both\":\"" B_NAME "\",\"a.weight\":\"" A_NAME "\",\"b.weight\":\"" B_NAME "\"}}", 1, 0},
      {"{\"metadata\":7,\"weight_map\":{\"both\":\"" A_NAME "\",\"a.weight\":\"" A_NAME
       "\",\"b2\":\"both.safetensors\"}}",
       1, 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    messages m = {0};
    viva_checkpoint *ck;
    gguf_world w = world_open(NULL);
    put_indexed(&w, cases[i].index);
    st_put(&w, "/m/both.safetensors",
           "{\"b.weight\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b2\":{\"dtype\":\"U8\",\"shape\":["
           "1],\"data_offsets\":[1,2]}}",
           2);
    runtime *rt = runtime_create(NULL, memory_io_table(w.io), count_message, &m, VIVA_LOG_INFO);
    viva_status status = checkpoint_open(rt, ST_INDEX, VIVA_LOAD_READ, &ck, NULL);
    assert_int_equal(status, VIVA_OK);
    assert_int_equal(m.warnings, cases[i].warnings);
    assert_int_equal(m.notes, cases[i].notes);
    viva_checkpoint_close(ck);
    runtime_release(rt);
    world_close(&w);
  }
}

/* A cached repository's root holds its files below snapshots/REVISION. */
static void test_cache_root(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck;
  viva_error error = {0};
  memory_io_put_text(w.io, "/c/refs/main", "0123abcd");
  memory_io_put_text(w.io, "/c/snapshots/0123abcd/config.json", "{}");
  assert_int_equal(checkpoint_open(w.rt, "/c", VIVA_LOAD_READ, &ck, &error), VIVA_E_NOT_FOUND);
  assert_non_null(strstr(error.message, "give the snapshot in it: /c/snapshots/0123abcd"));
  world_close(&w);
}

static viva_status use(gguf_world *w, viva_load_mode load, viva_error *error) {
  viva_checkpoint *ck;
  uint8_t data[32];
  viva_status status = checkpoint_open(w->rt, "/m", load, &ck, error);
  if (status == VIVA_OK) status = viva_checkpoint_read(ck, "a.weight", data, 32, error);
  viva_checkpoint_close(ck);
  return status;
}

static void test_allocation_failures(void **state) {
  (void)state;
  for (int mode = 0; mode < 4; mode++) { /* once or from then on; with an index or without */
    for (uint64_t k = 1;; k++) {
      fail_alloc f;
      viva_error error = {0};
      fail_alloc_init(&f, k, mode & 1);
      gguf_world w = world_open(&f.table);
      put_shards(&w);
      if (mode & 2) memory_io_put_text(w.io, ST_INDEX, INDEX);
      viva_status status = w.rt != NULL ? use(&w, VIVA_LOAD_READ, &error) : VIVA_E_MEMORY;
      int failed = f.failed;
      assert_int_equal(status, failed ? VIVA_E_MEMORY : VIVA_OK);
      if (w.rt != NULL) assert_int_equal(error.code, status);
      f.fail_at = 0;
      if (w.rt != NULL) assert_int_equal(use(&w, VIVA_LOAD_READ, NULL), VIVA_OK);
      assert_int_equal(memory_io_open_count(w.io), 0);
      world_close(&w);
      assert_int_equal(f.live, 0);
      if (!failed) break;
      assert_true(k < 1000);
    }
  }
}

/* A call that fails is never taken for "no such file": an index that cannot be looked at is not skipped. */
static void test_io_failures(void **state) {
  (void)state;
  for (int mode = 0; mode < 8; mode++) {
    viva_load_mode load = mode & 4 ? VIVA_LOAD_MMAP : VIVA_LOAD_READ;
    for (uint64_t k = 1;; k++) {
      viva_error error = {0};
      gguf_world w = world_open(NULL);
      put_shards(&w);
      if (mode & 2) memory_io_put_text(w.io, ST_INDEX, INDEX);
      memory_io_fail(w.io, k, EIO, mode & 1);
      viva_status status = use(&w, load, &error);
      int failed = memory_io_failed(w.io);
      memory_io_fail(w.io, 0, 0, 0);
      if (status != VIVA_OK) {
        assert_int_equal(status, VIVA_E_IO);
        assert_true(strncmp(error.file, "/m", 2) == 0);
      }
      assert_int_equal(memory_io_open_count(w.io), 0);
      assert_int_equal(use(&w, load, NULL), VIVA_OK);
      world_close(&w);
      if (!failed) break;
      assert_true(k < 100);
    }
  }
}

static void write_real(const char *folder, const char *name, const char *golden) {
  char path[256];
  size_t bytes;
  uint8_t *data = source_file("tests/golden/safetensors", golden, &bytes);
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(data, 1, bytes, file), bytes);
  assert_int_equal(fclose(file), 0);
  free(data);
}

/* A Hugging Face cache: snapshots/1/NAME are links to ../../blobs/. Real files, because links are the system's. */
static void test_links_of_a_cache(void **state) {
  (void)state;
  char root[] = "/tmp/viva-shards-XXXXXX", blobs[64], snapshot[64], path[160], command[64];
  assert_non_null(mkdtemp(root));
  snprintf(blobs, sizeof blobs, "%s/blobs", root);
  snprintf(snapshot, sizeof snapshot, "%s/snapshots", root);
  assert_int_equal(mkdir(blobs, 0700) | mkdir(snapshot, 0700), 0);
  snprintf(snapshot, sizeof snapshot, "%s/snapshots/1", root);
  assert_int_equal(mkdir(snapshot, 0700), 0);
  write_real(blobs, "0a", A_NAME);
  write_real(blobs, "0b", B_NAME);
  snprintf(path, sizeof path, "%s/%s", snapshot, A_NAME);
  assert_int_equal(symlink("../../blobs/0a", path), 0);
  snprintf(path, sizeof path, "%s/%s", snapshot, B_NAME);
  assert_int_equal(symlink("../../blobs/0b", path), 0);
  snprintf(path, sizeof path, "%s/model.safetensors.index.json", snapshot);
  FILE *file = fopen(path, "w");
  assert_true(fputs(INDEX, file) >= 0 && fclose(file) == 0);
  viva_checkpoint *ck;
  viva_error error = {0};
  if (viva_checkpoint_open(snapshot, NULL, &ck, &error) != VIVA_OK) fail_msg("%s: %s", error.file, error.message);
  check_sharded(ck, snapshot);
  viva_checkpoint_close(ck);
  snprintf(command, sizeof command, "rm -r %s", root);
  assert_int_equal(system(command), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_index_and_folder),
      cmocka_unit_test(test_order_in_a_folder),
      cmocka_unit_test(test_folder_without_index),
      cmocka_unit_test(test_folders_without_a_checkpoint),
      cmocka_unit_test(test_gguf),
      cmocka_unit_test(test_every_hostile_index_is_refused),
      cmocka_unit_test(test_missing_shard_is_named),
      cmocka_unit_test(test_warnings),
      cmocka_unit_test(test_cache_root),
      cmocka_unit_test(test_allocation_failures),
      cmocka_unit_test(test_io_failures),
      cmocka_unit_test(test_links_of_a_cache),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
