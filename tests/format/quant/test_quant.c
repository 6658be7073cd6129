/* Quantised checkpoints: the values of every dialect's matrices equal those of its own decompressor, bit for bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/num.h"
#include "format/quant/quant_text.h"
#include "lib/fail_alloc.h"
#include "number/number.h"

typedef struct golden {
  const char *folder, *scheme;
  size_t ignored;   /* tensors of activations and caches */
  const char *form; /* of the matrix whose name comes first */
} golden;

static const golden all[] = {
    {"ct_tensor", "compressed-tensors float-quantized", 2, "FP8 tensor"},
    {"ct_tensor_bf16", "compressed-tensors naive-quantized", 2, "FP8 tensor"},
    {"ct_channel", "compressed-tensors float-quantized", 2, "FP8 channel"},
    {"ct_channel_bf16", "compressed-tensors float-quantized", 2, "FP8 channel"},
    {"ct_channel_f16", "compressed-tensors float-quantized", 2, "FP8 channel"},
    {"ct_group", "compressed-tensors float-quantized", 2, "FP8 group 16"},
    {"ct_block", "compressed-tensors float-quantized", 2, "FP8 block 16x32"},
    {"ct_nvfp4", "compressed-tensors nvfp4-pack-quantized", 2, "NVFP4"},
    {"ct_nvfp4_f32", "compressed-tensors nvfp4-pack-quantized", 2, "NVFP4"},
    {"ct_mixed", "compressed-tensors mixed-precision", 2, "NVFP4"},
    {"fp8_block", "fp8 block", 0, "FP8 block 16x32"},
    {"fp8_block_128", "fp8 block", 0, "FP8 block 128x128"},
    {"fp8_tensor", "fp8 tensor", 4, "FP8 tensor"},
    {"modelopt_fp8", "modelopt FP8", 4, "FP8 tensor"},
    {"fbgemm", "fbgemm_fp8", 2, "FP8 channel"},
    {"modelopt_nvfp4", "modelopt NVFP4", 2, "NVFP4"},
    {"sparse24", "compressed-tensors sparse-24-bitmask", 0, "BF16 2:4"},
    {"sparse24_fp8", "compressed-tensors float-quantized", 0, "FP8 2:4 channel"},
    {"viva", "viva", 0, "FP8 group 32"},
};

/* A matrix of rows that are read in pieces of `step`. */
static float *read_matrix(const quant *q, const quant_matrix *m, size_t step) {
  size_t cols = (size_t)m->cols, rows = (size_t)m->rows;
  float *values = malloc((rows * cols + 1) * sizeof *values);
  void *scratch = aligned_alloc(64, quant_scratch_bytes(m, step) + 64);
  viva_error error = {0};
  for (size_t first = 0; first < rows; first += step) {
    size_t count = rows - first < step ? rows - first : step;
    assert_int_equal(quant_rows_f32(q, m, first, count, values + first * cols, scratch, &error), VIVA_OK);
  }
  free(scratch);
  return values;
}

/* Codes and scales by themselves give the plain FP32 products. */
static void check_codes(const quant *q, const quant_matrix *given) {
  quant_matrix m = *given;
  size_t rows = (size_t)m.rows, cols = (size_t)m.cols, blocks = (size_t)m.scale_cols;
  if (m.scales == NULL) return;
  m.value_type = TYPE_F32;
  float *values = read_matrix(q, &m, rows);
  size_t row_bytes = m.kind == QUANT_SPARSE ? cols : (size_t)(m.codes->bytes / m.rows);
  uint8_t *codes = malloc(rows * row_bytes), *bytes = malloc(rows * blocks);
  float *scales = malloc(rows * blocks * sizeof *scales);
  void *scratch = aligned_alloc(64, quant_scratch_bytes(&m, rows));
  viva_error error = {0};
  assert_int_equal(quant_codes(q, &m, 0, rows, codes, scratch, &error), VIVA_OK);
  assert_int_equal(quant_scales_f32(q, &m, 0, rows, scales, scratch, &error), VIVA_OK);
  if (m.kind == QUANT_NVFP4) {
    assert_int_equal(quant_scales_e4m3(q, &m, 0, rows, bytes, &error), VIVA_OK);
    for (size_t i = 0; i < rows * blocks; i++) assert_true(e4m3_to_f32(bytes[i]) == scales[i]);
  }
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < cols; c++) {
      float scale = scales[r * blocks + c / (size_t)m.block_cols];
      const uint8_t *row = codes + r * row_bytes;
      float code = m.kind == QUANT_NVFP4 ? e2m1_to_f32((uint8_t)(row[c / 2] >> (4 * (c % 2)))) : e4m3_to_f32(row[c]);
      if (m.kind == QUANT_NVFP4) scale = m.global_divides ? scale / m.global : scale * m.global;
      assert_int_equal(f32_bits(code * scale), f32_bits(values[r * cols + c]));
    }
  free(codes);
  free(bytes);
  free(scales);
  free(scratch);
  free(values);
}

static void check_module(const quant *q, const char *name, size_t rows, size_t cols, const float *expected) {
  static const size_t steps[] = {1, 3, 7, 1000};
  quant_matrix m;
  viva_error error = {0};
  assert_int_equal(quant_find(q, name, &m, &error), VIVA_OK);
  assert_int_equal(m.rows, rows);
  assert_int_equal(m.cols, cols);
  for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
    float *values = read_matrix(q, &m, steps[s]);
    for (size_t i = 0; i < rows * cols; i++)
      if (f32_bits(values[i]) != f32_bits(expected[i]))
        fail_msg("%s [%zu, %zu]: %.9g, expected %.9g", name, i / cols, i % cols, (double)values[i],
                 (double)expected[i]);
    free(values);
  }
  check_codes(q, &m);
}

static size_t count_roles(const quant *q, const viva_checkpoint *ck, quant_role role) {
  size_t count = 0;
  for (size_t i = 0; i < ck->tensor_count; i++) count += quant_tensor_role(q, &ck->tensors[i]) == role;
  return count;
}

/* Every tensor is plain, part of a matrix, or ignored; plain are weights and norms only. */
static void check_roles(const golden *g, const quant *q, const viva_checkpoint *ck) {
  size_t plain = 0;
  for (size_t i = 0; i < ck->tensor_count; i++) plain += strcmp(strrchr(ck->tensors[i].name, '.'), ".weight") == 0;
  assert_int_equal(count_roles(q, ck, QUANT_ROLE_IGNORED), g->ignored);
  assert_int_equal(count_roles(q, ck, QUANT_ROLE_PLAIN), plain);
}

/* What was told about the matrices and the tensors that are not used. */
typedef struct told {
  size_t matrices, unused;
  char last[96], form[48];
} told;

static void hear(void *user, const char *name, const char *form) {
  told *t = user;
  if (form == NULL) {
    t->unused++;
    return;
  }
  assert_int_equal(t->unused, 0); /* they come last */
  assert_true(strcmp(t->last, name) < 0);
  snprintf(t->last, sizeof t->last, "%s", name);
  if (t->matrices++ == 0) snprintf(t->form, sizeof t->form, "%s", form);
}

static void check_description(const golden *g, const quant *q, const viva_checkpoint *ck) {
  viva_quantization what = {.size = sizeof what}, numbers = what;
  viva_error error = {0};
  told t = {0};
  char scheme[128];
  assert_int_equal(viva_checkpoint_quantization(ck, &what, hear, &t, &error), VIVA_OK);
  snprintf(scheme, sizeof scheme, "%s%s%s", what.dialect, what.scheme[0] ? " " : "", what.scheme);
  assert_string_equal(scheme, quant_scheme(q));
  assert_string_equal(t.form, g->form);
  assert_int_equal(what.matrices, t.matrices);
  assert_int_equal(what.unused, t.unused);
  assert_int_equal(t.unused, g->ignored);
  assert_int_equal(viva_checkpoint_quantization(ck, &numbers, NULL, NULL, &error), VIVA_OK);
  assert_memory_equal(&numbers, &what, sizeof what);
  numbers.size = 4; /* before anyone is told */
  assert_int_equal(viva_checkpoint_quantization(ck, &numbers, hear, NULL, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_checkpoint_quantization(NULL, &what, NULL, NULL, &error), VIVA_E_ARGUMENT);
}

static void check_golden(const golden *g, viva_load_mode load) {
  char folder[256];
  size_t bytes, at = 0;
  gguf_world w = world_open(NULL);
  size_t idle = w.rt->mem.current;
  viva_checkpoint *ck;
  quant *q;
  viva_error error = {0};
  quant_put_golden(&w, g->folder);
  if (quant_load(&w, load, &ck, &q, &error) != VIVA_OK) fail_msg("%s: %s %s", g->folder, error.message, error.item);
  assert_string_equal(quant_scheme(q), g->scheme);
  check_roles(g, q, ck);
  check_description(g, q, ck);
  snprintf(folder, sizeof folder, "tests/golden/quant/%s", g->folder);
  char *list = (char *)source_file(folder, "expected.txt", &bytes), *rest = list, *line;
  assert_non_null(list);
  list[bytes] = 0;
  float *expected = (float *)(void *)source_file(folder, "expected.bin", &bytes);
  while ((line = strsep(&rest, "\n")) != NULL && *line != 0) {
    char *name = strsep(&line, " "), *rows_text = strsep(&line, " ");
    uint64_t rows, cols;
    assert_int_equal(num_u64(rows_text, strlen(rows_text), &rows), 0);
    assert_int_equal(num_u64(line, strlen(line), &cols), 0);
    check_module(q, name, (size_t)rows, (size_t)cols, expected + at);
    at += (size_t)(rows * cols);
  }
  assert_int_equal(at * sizeof(float), bytes);
  free(list);
  free(expected);
  quant_close(q);
  viva_checkpoint_close(ck);
  assert_int_equal(w.rt->mem.current, idle);
  assert_int_equal(memory_io_open_count(w.io), 0);
  world_close(&w);
}

static void test_golden_read(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) check_golden(&all[i], VIVA_LOAD_READ);
}

static void test_golden_mapped(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) check_golden(&all[i], VIVA_LOAD_MMAP);
}

/* viva's 2:4 matrices are described, not decoded. */
static void test_viva_24(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck;
  quant *q;
  quant_matrix m;
  viva_error error = {0};
  quant_put_golden(&w, "viva");
  assert_int_equal(quant_load(&w, VIVA_LOAD_READ, &ck, &q, &error), VIVA_OK);
  assert_int_equal(quant_find(q, "model.layers.0.mlp.gate_proj", &m, &error), VIVA_OK);
  assert_int_equal(m.kind, QUANT_INT4_24);
  assert_int_equal(m.cols, 130);
  assert_int_equal(m.block_cols, 64);
  assert_int_equal(m.scale_cols, 3);
  assert_int_equal(m.scale_type, TYPE_F16);
  assert_int_equal(m.pairs, 1);
  assert_int_equal(quant_rows_f32(q, &m, 0, 1, NULL, NULL, &error), VIVA_E_ARGUMENT);
  uint8_t codes[5 * 72], scratch[1024];
  assert_true(quant_scratch_bytes(&m, 5) <= sizeof scratch);
  assert_int_equal(quant_codes(q, &m, 0, 5, codes, scratch, &error), VIVA_OK);
  assert_int_equal(quant_find(q, "model.layers.0.self_attn.k_proj", &m, &error), VIVA_OK);
  assert_int_equal(m.kind, QUANT_INT8_24);
  assert_int_equal(m.scale_cols, 1);
  assert_int_equal(m.pairs, 0);
  quant_close(q);
  viva_checkpoint_close(ck);
  world_close(&w);
}

/* One scale for a row comes from a channel, or from a group or block as wide as the row: kernels treat them differently. */
static void test_one_scale_a_row(void **state) {
  (void)state;
  static const char block[] = CT("float-quantized", FP8_ARGS ",\"strategy\":\"block\",\"block_structure\":[1,32]", "");
  static const char viva_part[] =
      "a.weight_packed U8 4,32 38|a.weight_scale F32 4,1 0000803f|a.weight_shape I64 2 " SHAPE;
  static const struct {
    const char *config, *tensors;
    int grouped;
  } cases[] = {{CT_CHANNEL, CODES SCALES, 0},
               {METHOD("fbgemm_fp8", ""), CODES SCALES, 0},
               {VIVA("fp8"), viva_part, 0},
               {CT("float-quantized", FP8_ARGS ",\"group_size\":32", ""), CODES SCALES, 1},
               {block, CODES SCALES, 1},
               {METHOD("fp8", ",\"weight_block_size\":[1,128]"), CODES "|a.weight_scale_inv F32 4,1 0000803f", 1},
               {VIVA("fp8-b32"), viva_part, 1},
               {VIVA("fp8-b128"), viva_part, 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    gguf_world w = world_open(NULL);
    viva_checkpoint *ck;
    quant *q;
    quant_matrix m;
    viva_error error = {0};
    memory_io_put_text(w.io, ST_FOLDER "/config.json", cases[i].config);
    put_tensors(&w, cases[i].tensors);
    assert_int_equal(quant_load(&w, VIVA_LOAD_READ, &ck, &q, &error), VIVA_OK);
    assert_int_equal(quant_find(q, "a", &m, &error), VIVA_OK);
    if (m.grouped != cases[i].grouped) fail_msg("%s: grouped %d", cases[i].config, m.grouped);
    assert_int_equal(m.scale_rows, 4);
    assert_int_equal(m.scale_cols, 1);
    quant_close(q);
    viva_checkpoint_close(ck);
    world_close(&w);
  }
}

static void test_find_errors(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck;
  quant *q;
  quant_matrix m;
  viva_error error = {0};
  float row[64];
  _Alignas(64) uint8_t scratch[4096];
  quant_put_golden(&w, "ct_channel");
  assert_int_equal(quant_load(&w, VIVA_LOAD_READ, &ck, &q, &error), VIVA_OK);
  assert_int_equal(quant_find(q, "model.layers.1.mlp.down_proj", &m, &error), VIVA_E_NOT_FOUND);
  assert_string_equal(error.item, "model.layers.1.mlp.down_proj");
  assert_int_equal(quant_find(q, "model.norm", &m, &error), VIVA_E_FORMAT);
  assert_int_equal(quant_find(q, "model.layers.0.mlp.down_proj", &m, &error), VIVA_OK);
  assert_true(quant_scratch_bytes(&m, 1) <= sizeof scratch);
  assert_int_equal(quant_rows_f32(q, &m, m.rows - 1, 1, row, scratch, &error), VIVA_OK);
  assert_int_equal(quant_rows_f32(q, &m, m.rows, 0, row, scratch, &error), VIVA_OK);
  assert_int_equal(quant_rows_f32(q, &m, m.rows, 1, row, scratch, &error), VIVA_E_ARGUMENT);
  assert_int_equal(quant_rows_f32(q, &m, UINT64_MAX, 2, row, scratch, &error), VIVA_E_ARGUMENT);
  assert_int_equal(quant_scales_e4m3(q, &m, 0, 1, scratch, &error), VIVA_E_ARGUMENT);
  assert_int_equal(quant_scratch_bytes(&m, SIZE_MAX), SIZE_MAX);
  assert_int_equal(quant_find(q, "lm_head", &m, &error), VIVA_OK);
  assert_int_equal(m.kind, QUANT_DENSE);
  assert_int_equal(quant_codes(q, &m, 0, 1, row, scratch, &error), VIVA_E_ARGUMENT);
  assert_int_equal(quant_scales_f32(q, &m, 0, 1, row, scratch, &error), VIVA_E_ARGUMENT);
  quant_close(q);
  viva_checkpoint_close(ck);
  world_close(&w);
}

/* The at-th allocation fails: an error, nothing leaks; until none fails any more. */
static void test_no_memory(void **state) {
  (void)state;
  static const char *const folders[] = {"ct_mixed",     "ct_tensor_bf16", "modelopt_nvfp4",
                                        "sparse24_fp8", "viva",           "fp8_block"};
  for (size_t f = 0; f < sizeof folders / sizeof *folders; f++) {
    int failed = 1;
    for (uint64_t at = 1; failed; at++) {
      fail_alloc fails;
      fail_alloc_init(&fails, 0, 0);
      gguf_world w = world_open(&fails.table);
      size_t idle = w.rt->mem.current;
      viva_checkpoint *ck;
      quant *q;
      viva_error error = {0};
      quant_put_golden(&w, folders[f]);
      assert_int_equal(checkpoint_open(w.rt, ST_FOLDER, VIVA_LOAD_READ, &ck, &error), VIVA_OK);
      fails.fail_at = fails.calls + at;
      viva_status status = quant_open(ck, &q, &error);
      failed = fails.failed;
      assert_int_equal(status, failed ? VIVA_E_MEMORY : VIVA_OK);
      assert_int_equal(q == NULL, failed);
      quant_close(q);
      viva_checkpoint_close(ck);
      assert_int_equal(w.rt->mem.current, idle);
      world_close(&w);
      assert_int_equal(fails.live, 0);
    }
  }
}

/* Every file call fails once: an error, nothing stays open. */
static void test_io_faults(void **state) {
  (void)state;
  for (uint64_t at = 1, failed = 1; failed; at++) {
    gguf_world w = world_open(NULL);
    size_t idle = w.rt->mem.current;
    viva_checkpoint *ck;
    quant *q;
    viva_error error = {0};
    quant_put_golden(&w, "modelopt_nvfp4");
    assert_int_equal(checkpoint_open(w.rt, ST_FOLDER, VIVA_LOAD_READ, &ck, &error), VIVA_OK);
    int open = memory_io_open_count(w.io);
    memory_io_fail(w.io, at, 5, 0);
    viva_status status = quant_open(ck, &q, &error);
    failed = (uint64_t)memory_io_failed(w.io);
    if (!failed) assert_int_equal(status, VIVA_OK);
    memory_io_fail(w.io, 0, 0, 0);
    assert_int_equal(memory_io_open_count(w.io), open);
    quant_close(q);
    viva_checkpoint_close(ck);
    assert_int_equal(w.rt->mem.current, idle);
    world_close(&w);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_golden_read), cmocka_unit_test(test_golden_mapped),   cmocka_unit_test(test_viva_24),
      cmocka_unit_test(test_find_errors), cmocka_unit_test(test_one_scale_a_row), cmocka_unit_test(test_no_memory),
      cmocka_unit_test(test_io_faults),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
