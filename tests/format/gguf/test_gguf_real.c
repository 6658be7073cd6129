/* The two real GGUF files, when they are there (VIVA_MODELS, or ~/.cache/viva/models): what is in them, how quickly their
 * headers are read, and that every cut of them is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "format/checkpoint.h"
#include "format/gguf/gguf.h"

#define SMOLLM2 "SmolLM2-135M-Instruct-Q4_1.gguf"
#define GEMMA3  "gemma-3-270m-Q4_K_M.gguf"
#define CUTS    200

static void find_model(const char *name, char path[1024]) {
  const char *folder = getenv("VIVA_MODELS"), *home = getenv("HOME");
  if (folder != NULL) {
    snprintf(path, 1024, "%s/%s", folder, name);
  } else {
    snprintf(path, 1024, "%s/.cache/viva/models/%s", home != NULL ? home : "", name);
  }
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    print_message("%s is not there: tools/fetch_models gets it\n", path);
    skip();
  }
  fclose(file);
}

static viva_checkpoint *open_model(const io_table *io, const char *path, viva_status expected, viva_error *error) {
  viva_checkpoint *ck;
  runtime *rt = runtime_create(NULL, io, NULL, NULL, VIVA_LOG_WARN);
  assert_non_null(rt);
  assert_int_equal(checkpoint_open(rt, path, VIVA_LOAD_READ, &ck, error), expected);
  runtime_release(rt);
  return ck;
}

static void test_smollm2(void **state) {
  (void)state;
  char path[1024];
  viva_model_config c = {.size = sizeof c};
  find_model(SMOLLM2, path);
  viva_checkpoint *ck = open_model(NULL, path, VIVA_OK, NULL);
  assert_int_equal(ck->tensor_count, 272);
  assert_int_equal(ck->gguf->value_count, 33);
  assert_int_equal(ck->gguf->data_offset, 1785664);
  const tensor_view *view = checkpoint_find(ck, "blk.29.ffn_down.weight");
  assert_non_null(view);
  assert_true(view->type == TYPE_Q4_1 && view->rank == 2 && view->shape[0] == 576 && view->shape[1] == 1536);
  assert_int_equal(gguf_config(ck, &c, NULL), VIVA_OK);
  assert_string_equal(c.model_type, "llama");
  assert_true(c.hidden_size == 576 && c.num_layers == 30 && c.num_heads == 9 && c.num_kv_heads == 3);
  assert_true(c.head_dim == 64 && c.rotary_dim == 64 && c.vocab_size == 49152 && c.intermediate_size == 1536);
  assert_true(c.rope_theta == 100000 && c.max_position_embeddings == 8192 && c.tie_word_embeddings);
  assert_true(c.permuted_qk && c.bos_token == 1 && c.eos_tokens[0] == 2);
  assert_true(c.num_eos == 3 && c.eos_tokens[1] == 0 && c.eos_tokens[2] == 4); /* <reponame>, as in llama.cpp */
  viva_checkpoint_close(ck);
}

static void test_gemma3_is_described(void **state) {
  (void)state;
  char path[1024];
  viva_model_config c = {.size = sizeof c};
  find_model(GEMMA3, path);
  viva_checkpoint *ck = open_model(NULL, path, VIVA_OK, NULL);
  assert_int_equal(ck->tensor_count, 236);
  assert_int_equal(gguf_config(ck, &c, NULL), VIVA_OK);
  assert_string_equal(c.architecture, "gemma3");
  assert_string_equal(c.model_type, "");
  assert_true(c.hidden_size == 640 && c.num_layers == 18 && c.head_dim == 256 && c.sliding_window == 512);
  assert_int_equal(c.vocab_size, 262144);
  viva_checkpoint_close(ck);
}

/* reliability.md A20: checking a header must not make it slow. */
static void check_header_time(const char *name) {
  char path[1024];
  double best = 1e9;
  find_model(name, path);
  for (int i = 0; i < 5; i++) {
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    viva_checkpoint *ck = open_model(NULL, path, VIVA_OK, NULL);
    clock_gettime(CLOCK_MONOTONIC, &b);
    double took = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
    if (took < best) best = took;
    viva_checkpoint_close(ck);
  }
  print_message("%s: opened in %.2f ms\n", name, best);
  assert_true(best <= 150);
}

static void test_headers_are_read_quickly(void **state) {
  (void)state;
  check_header_time(SMOLLM2);
  check_header_time(GEMMA3);
}

/* The system's files, cut at a length. */
typedef struct cut_io {
  io_table table;
  uint64_t length;
} cut_io;

static int cut_stat(void *user, int handle, io_stat *stat) {
  int result = io_system.stat(io_system.user, handle, stat);
  stat->bytes = ((cut_io *)user)->length;
  return result;
}

static int64_t cut_read(void *user, int handle, void *data, size_t bytes, uint64_t offset) {
  uint64_t length = ((cut_io *)user)->length;
  if (offset >= length) return 0;
  if (bytes > length - offset) bytes = (size_t)(length - offset);
  return io_system.read_at(io_system.user, handle, data, bytes, offset);
}

static int cut_open(void *user, const char *path, io_open_mode mode) {
  (void)user;
  return io_system.open(io_system.user, path, mode);
}

static int cut_stat_path(void *user, const char *path, io_stat *stat) {
  (void)user;
  return io_system.stat_path(io_system.user, path, stat);
}

static int cut_close(void *user, int handle) {
  (void)user;
  return io_system.close(io_system.user, handle);
}

/* Half of the cuts lie in the header, the others anywhere. */
static void check_cuts(const char *name) {
  char path[1024];
  find_model(name, path);
  viva_checkpoint *ck = open_model(NULL, path, VIVA_OK, NULL);
  uint64_t header = ck->gguf->header_bytes, whole = ck->files[0].io.stat.bytes;
  viva_checkpoint_close(ck);
  cut_io cut = {
      .table = {
          .open = cut_open, .stat = cut_stat, .stat_path = cut_stat_path, .read_at = cut_read, .close = cut_close}};
  cut.table.user = &cut;
  for (uint64_t i = 0; i < CUTS; i++) {
    viva_error error = {0};
    cut.length = i % 2 == 0 ? header * i / CUTS + i : whole - 1 - (whole - header) * i / CUTS;
    open_model(&cut.table, path, VIVA_E_FORMAT, &error);
    assert_string_equal(error.file, path);
  }
}

static void test_every_cut_is_refused(void **state) {
  (void)state;
  check_cuts(SMOLLM2);
  check_cuts(GEMMA3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_smollm2),
      cmocka_unit_test(test_gemma3_is_described),
      cmocka_unit_test(test_headers_are_read_quickly),
      cmocka_unit_test(test_every_cut_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
