/* safetensors files: what valid ones hold, and that broken ones are refused with the place and the rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "format/safetensors/st_open.h"
#include "lib/fail_alloc.h"
#include "number/mix.h"

static const char *const valid_files[] = {"every_type.safetensors", "empty.safetensors", "unaligned.safetensors",
                                          "ranks.safetensors",      "names.safetensors", "any_order.safetensors"};
#define VALID_FILES (sizeof valid_files / sizeof *valid_files)

static viva_checkpoint *open_golden(gguf_world *w, const char *name, viva_load_mode load) {
  viva_checkpoint *ck = NULL;
  viva_error error = {0};
  st_put_golden(w, name, ST_PATH);
  if (checkpoint_open(w->rt, ST_PATH, load, &ck, &error) != VIVA_OK) fail_msg("%s: %s", name, error.message);
  return ck;
}

static viva_stored_tensor info_of(const viva_checkpoint *ck, const char *name) {
  viva_stored_tensor info = {.size = sizeof info};
  assert_int_equal(viva_checkpoint_find(ck, name, &info, NULL), VIVA_OK);
  return info;
}

/* Data byte i of the golden files, as mkst.py's pattern. */
static uint8_t pattern(uint64_t first, uint64_t i) { return (uint8_t)((first + i * 7) % 251); }

/* -- valid files */

static void test_every_type(void **state) {
  (void)state;
  static const struct {
    const char *name, *type;
    viva_dtype dtype;
    uint64_t bytes;
  } expected[] = {
      {"bf16", "BF16", VIVA_BF16, 64},
      {"bool", "BOOL", VIVA_BOOL, 32},
      {"c64", "C64", VIVA_C64, 256},
      {"f16", "F16", VIVA_F16, 64},
      {"f32", "F32", VIVA_F32, 128},
      {"f4", "F4", VIVA_E2M1, 16},
      {"f64", "F64", VIVA_F64, 256},
      {"f6_e2m3", "F6_E2M3", VIVA_E2M3, 24},
      {"f6_e3m2", "F6_E3M2", VIVA_E3M2, 24},
      {"f8_e4m3", "F8_E4M3", VIVA_E4M3, 32},
      {"f8_e4m3fnuz", "F8_E4M3FNUZ", VIVA_E4M3_FNUZ, 32},
      {"f8_e5m2", "F8_E5M2", VIVA_E5M2, 32},
      {"f8_e5m2fnuz", "F8_E5M2FNUZ", VIVA_E5M2_FNUZ, 32},
      {"f8_e8m0", "F8_E8M0", VIVA_E8M0, 32},
      {"i16", "I16", VIVA_I16, 64},
      {"i32", "I32", VIVA_I32, 128},
      {"i64", "I64", VIVA_I64, 256},
      {"i8", "I8", VIVA_I8, 32},
      {"u16", "U16", VIVA_U16, 64},
      {"u32", "U32", VIVA_U32, 128},
      {"u64", "U64", VIVA_U64, 256},
      {"u8", "U8", VIVA_U8, 32},
  };
  const size_t count = sizeof expected / sizeof *expected;
  for (int load = VIVA_LOAD_READ; load <= VIVA_LOAD_MMAP; load++) {
    gguf_world w = world_open(NULL);
    viva_checkpoint *ck = open_golden(&w, "every_type.safetensors", (viva_load_mode)load);
    assert_int_equal(viva_checkpoint_tensor_count(ck), count);
    for (size_t i = 0; i < count; i++) {
      viva_stored_tensor info = {.size = sizeof info};
      uint8_t data[256];
      size_t bytes;
      assert_int_equal(viva_checkpoint_tensor(ck, i, &info, NULL), VIVA_OK);
      assert_string_equal(info.name, expected[i].name);
      assert_string_equal(info.type_name, expected[i].type);
      assert_int_equal(info.dtype, expected[i].dtype);
      assert_int_equal(info.bytes, expected[i].bytes);
      assert_int_equal(info.rank, 2);
      assert_int_equal(info.shape[0], 4);
      assert_int_equal(info.shape[1], 8);
      assert_int_equal(info.elements, 32);
      assert_string_equal(info.file, ST_PATH);
      assert_int_equal(viva_checkpoint_tensor_bytes(ck, info.name, &bytes, NULL), VIVA_OK);
      assert_int_equal(bytes, info.bytes);
      assert_int_equal(viva_checkpoint_read(ck, info.name, data, bytes, NULL), VIVA_OK);
      uint64_t header = info_of(ck, "bool").offset; /* the first in the file */
      for (size_t b = 0; b < bytes; b++) assert_int_equal(data[b], pattern(info.offset - header, b));
    }
    viva_checkpoint_close(ck);
    assert_int_equal(memory_io_open_count(w.io), 0);
    world_close(&w);
  }
}

/* A mapped file's tensors are views: in the mapping, which stays as long as the checkpoint, and nothing is copied. */
static void test_mapped_views(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck = open_golden(&w, "every_type.safetensors", VIVA_LOAD_MMAP);
  const size_t held = w.rt->mem.current, allocations = w.rt->mem.allocations;
  const checkpoint_file *file = &ck->files[0];
  for (size_t i = 0; i < ck->tensor_count; i++) {
    const tensor_view *view = &ck->tensors[i];
    const uint8_t *data = checkpoint_mapped(ck, view);
    assert_true(data == file->map + view->offset && view->offset + view->bytes <= file->io.stat.bytes);
    for (size_t b = 0; b < view->bytes; b++)
      assert_int_equal(data[b], pattern(view->offset - info_of(ck, "bool").offset, b));
  }
  assert_true(w.rt->mem.current == held && w.rt->mem.allocations == allocations);
  assert_true(memory_io_open_count(w.io) > 0);
  viva_checkpoint_close(ck);
  assert_int_equal(memory_io_open_count(w.io), 0);
  ck = open_golden(&w, "every_type.safetensors", VIVA_LOAD_READ);
  assert_null(checkpoint_mapped(ck, &ck->tensors[0]));
  viva_checkpoint_close(ck);
  world_close(&w);
}

static void test_ranks_and_empty_tensors(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck = open_golden(&w, "ranks.safetensors", VIVA_LOAD_READ);
  viva_stored_tensor scalar = info_of(ck, "scalar"), hollow = info_of(ck, "hollow"), eight = info_of(ck, "eight");
  assert_int_equal(scalar.rank, 0);
  assert_int_equal(scalar.elements, 1);
  assert_int_equal(scalar.bytes, 4);
  assert_int_equal(hollow.rank, 3);
  assert_int_equal(hollow.elements, 0);
  assert_int_equal(hollow.bytes, 0);
  assert_int_equal(eight.rank, 8);
  assert_int_equal(eight.elements, 16);
  assert_int_equal(viva_checkpoint_read(ck, "hollow", NULL, 0, NULL), VIVA_OK);
  assert_int_equal(viva_checkpoint_read_f32(ck, "hollow", NULL, 0, NULL), VIVA_OK);
  float value;
  assert_int_equal(viva_checkpoint_read_f32(ck, "scalar", &value, 1, NULL), VIVA_OK);
  viva_checkpoint_close(ck);
  world_close(&w);
}

static void test_order_names_and_padding(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck = open_golden(&w, "any_order.safetensors", VIVA_LOAD_READ);
  assert_int_equal(viva_checkpoint_tensor_count(ck), 3);
  assert_true(info_of(ck, "b").offset < info_of(ck, "a").offset);
  assert_string_equal(ck->tensors[0].name, "a");
  viva_checkpoint_close(ck);
  ck = open_golden(&w, "names.safetensors", VIVA_LOAD_READ);
  uint8_t byte = 0;
  assert_int_equal(viva_checkpoint_read(ck, "caf\xc3\xa9 \"\xf0\x9f\x98\x80\"", &byte, 1, NULL), VIVA_OK);
  assert_int_equal(byte, 2);
  assert_int_equal(viva_checkpoint_read(ck, "", &byte, 1, NULL), VIVA_OK);
  assert_int_equal(byte, 1);
  viva_checkpoint_close(ck);
  ck = open_golden(&w, "empty.safetensors", VIVA_LOAD_MMAP);
  assert_int_equal(viva_checkpoint_tensor_count(ck), 0);
  viva_checkpoint_close(ck);
  world_close(&w);
}

static void test_metadata(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  memory_io_put_text(w.io, "/m/config.json",
                     "{\"model_type\":\"llama\",\"ids\":[1,2,3],\"x\":null,\"e\":[],\"m\":[1,\"a\"],\"s\":[\"a\",\"b\"]"
                     ",\"o\":{\"a\":1},\"f\":1.50,\"t\":\"a\\nb\"}");
  viva_checkpoint *ck = open_golden(&w, "every_type.safetensors", VIVA_LOAD_READ);
  static const char *const expected[][3] = {{"format", "string", "pt"},
                                            {"note", "string",
                                             "Gr\xc3\xbc\xc3\x9f"
                                             "e \xe2\x98\x83"},
                                            {"model_type", "string", "llama"},
                                            {"ids", "array of number", "[1,2,3]"},
                                            {"x", "null", "null"},
                                            {"e", "array of values", "[]"},
                                            {"m", "array of values", "[1,\"a\"]"},
                                            {"s", "array of string", "[\"a\",\"b\"]"},
                                            {"o", "object", "{\"a\":1}"},
                                            {"f", "number", "1.50"},
                                            {"t", "string", "a\\x0ab"}};
  const size_t count = sizeof expected / sizeof *expected;
  assert_int_equal(viva_checkpoint_metadata_count(ck), count);
  for (size_t i = 0; i < count; i++) {
    viva_metadata m = {.size = sizeof m};
    assert_int_equal(viva_checkpoint_metadata(ck, i, &m, NULL), VIVA_OK);
    assert_string_equal(m.key, expected[i][0]);
    assert_string_equal(m.type_name, expected[i][1]);
    assert_string_equal(m.text, expected[i][2]);
    assert_int_equal(m.count, i == 3 ? 3 : i == 5 ? 0 : i == 6 || i == 7 ? 2 : 1);
  }
  viva_metadata m = {.size = sizeof m};
  assert_int_equal(viva_checkpoint_metadata(ck, count, &m, NULL), VIVA_E_NOT_FOUND);
  assert_int_equal(viva_checkpoint_metadata(ck, 0, NULL, NULL), VIVA_E_ARGUMENT);
  assert_int_equal(viva_checkpoint_metadata(NULL, 0, &m, NULL), VIVA_E_ARGUMENT);
  viva_checkpoint_close(ck);
  /* a config.json that cannot be read does not keep the weights from being opened */
  memory_io_put_text(w.io, "/m/config.json", "{\"a\":1,");
  ck = open_golden(&w, "every_type.safetensors", VIVA_LOAD_READ);
  assert_int_equal(viva_checkpoint_metadata_count(ck), 2);
  viva_checkpoint_close(ck);
  world_close(&w);
}

static void test_long_metadata_is_cut(void **state) {
  (void)state;
  enum { LONG = 400000 }; /* a chat template of 256 KiB is whole */
  char *header = calloc(1, LONG + 200);
  assert_non_null(header);
  strcpy(header, "{\"__metadata__\":{\"k\":\"");
  size_t at = strlen(header);
  memset(header + at, 'x', LONG);
  strcpy(header + at + LONG, "\"}}");
  gguf_world w = world_open(NULL);
  st_put(&w, ST_PATH, header, 0);
  viva_checkpoint *ck;
  viva_metadata m = {.size = sizeof m};
  assert_int_equal(checkpoint_open(w.rt, ST_PATH, VIVA_LOAD_READ, &ck, NULL), VIVA_OK);
  assert_int_equal(viva_checkpoint_metadata(ck, 0, &m, NULL), VIVA_OK);
  assert_true(strlen(m.text) > 262000 && strlen(m.text) < 262200);
  assert_string_equal(m.text + strlen(m.text) - 3, "...");
  free(header);
  viva_checkpoint_close(ck);
  world_close(&w);
}

/* -- reading */

static void test_read_bf16_and_f32(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  for (int load = VIVA_LOAD_READ; load <= VIVA_LOAD_MMAP; load++) {
    viva_checkpoint *ck = open_golden(&w, "every_type.safetensors", (viva_load_mode)load);
    uint16_t codes[32];
    float direct[32], converted[32];
    assert_int_equal(viva_checkpoint_read_bf16(ck, "bf16", codes, sizeof codes, NULL), VIVA_OK);
    viva_bf16_to_f32(codes, direct, 32);
    assert_int_equal(viva_checkpoint_read_f32(ck, "bf16", converted, 32, NULL), VIVA_OK);
    assert_memory_equal(direct, converted, sizeof direct);
    for (size_t i = 0; i < 32; i++) {
      uint32_t bits;
      memcpy(&bits, &direct[i], sizeof bits);
      assert_int_equal(bits, (uint32_t)codes[i] << 16);
    }
    uint8_t raw[128];
    assert_int_equal(viva_checkpoint_read(ck, "f32", raw, sizeof raw, NULL), VIVA_OK);
    assert_int_equal(viva_checkpoint_read_f32(ck, "f32", converted, 32, NULL), VIVA_OK);
    assert_memory_equal(raw, converted, sizeof raw);
    viva_checkpoint_close(ck);
  }
  world_close(&w);
}

/* Larger than one part of the conversion, with a rest; F4 has two values in a byte. */
static void test_read_f32_in_parts(void **state) {
  (void)state;
  enum { ELEMENTS = 200002 };
  static float read[ELEMENTS], mapped[ELEMENTS];
  static const struct {
    const char *type;
    size_t bytes;
  } types[] = {{"BF16", ELEMENTS * 2}, {"F8_E4M3", ELEMENTS}, {"F4", ELEMENTS / 2}};
  gguf_world w = world_open(NULL);
  for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
    char header[128];
    snprintf(header, sizeof header, "{\"x\":{\"dtype\":\"%s\",\"shape\":[2,%d],\"data_offsets\":[0,%zu]}}",
             types[t].type, ELEMENTS / 2, types[t].bytes);
    st_put(&w, ST_PATH, header, types[t].bytes);
    for (int load = VIVA_LOAD_READ; load <= VIVA_LOAD_MMAP; load++) {
      viva_checkpoint *ck;
      assert_int_equal(checkpoint_open(w.rt, ST_PATH, (viva_load_mode)load, &ck, NULL), VIVA_OK);
      memory_io_short(w.io, 1000); /* the system may give less than was asked for */
      assert_int_equal(viva_checkpoint_read_f32(ck, "x", load == VIVA_LOAD_READ ? read : mapped, ELEMENTS, NULL),
                       VIVA_OK);
      memory_io_short(w.io, 0);
      viva_checkpoint_close(ck);
    }
    assert_memory_equal(read, mapped, sizeof read);
    uint32_t first;
    memcpy(&first, &read[1], sizeof first); /* code 0x0302: byte i is i */
    if (t == 0) assert_int_equal(first, 0x03020000u);
  }
  world_close(&w);
}

static void test_wrong_reads(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck = open_golden(&w, "every_type.safetensors", VIVA_LOAD_READ);
  viva_error error = {0};
  uint8_t data[256];
  float values[32];
  size_t bytes;
  assert_int_equal(viva_checkpoint_read(ck, "f33", data, 4, &error), VIVA_E_NOT_FOUND);
  assert_string_equal(error.item, "f33");
  assert_string_equal(error.file, ST_PATH);
  assert_non_null(strstr(error.message, "did you mean"));
  assert_non_null(strstr(error.message, "f32"));
  assert_int_equal(viva_checkpoint_read(ck, "nothing like any of them", data, 4, &error), VIVA_E_NOT_FOUND);
  assert_null(strstr(error.message, "did you mean"));
  assert_int_equal(viva_checkpoint_read_bf16(ck, "f16", data, 64, &error), VIVA_E_DTYPE);
  assert_non_null(strstr(error.message, "F16"));
  assert_non_null(strstr(error.message, "BF16"));
  assert_string_equal(error.item, "f16");
  assert_int_equal(viva_checkpoint_read_f32(ck, "i32", values, 32, &error), VIVA_E_DTYPE);
  assert_non_null(strstr(error.message, "I32"));
  assert_int_equal(viva_checkpoint_read_f32(ck, "bf16", values, 31, &error), VIVA_E_SIZE);
  assert_non_null(strstr(error.message, "32"));
  assert_non_null(strstr(error.message, "31"));
  assert_int_equal(viva_checkpoint_read_bf16(ck, "bf16", data, 65, &error), VIVA_E_SIZE);
  assert_int_equal(viva_checkpoint_read(ck, "bf16", data, 63, &error), VIVA_E_SIZE);
  assert_int_equal(viva_checkpoint_read(ck, "bf16", NULL, 64, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_checkpoint_read_f32(ck, "bf16", NULL, 32, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_checkpoint_read(ck, NULL, data, 64, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_checkpoint_read(NULL, "bf16", data, 64, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_checkpoint_tensor_bytes(ck, "bf16", NULL, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_checkpoint_tensor_bytes(ck, "x", &bytes, &error), VIVA_E_NOT_FOUND);
  viva_stored_tensor info = {.size = sizeof info};
  assert_int_equal(viva_checkpoint_tensor(ck, 22, &info, &error), VIVA_E_NOT_FOUND);
  assert_int_equal(viva_checkpoint_tensor(NULL, 0, &info, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_checkpoint_find(ck, "bf16", NULL, &error), VIVA_E_ARGUMENT);
  info.size = 0;
  assert_int_equal(viva_checkpoint_find(ck, "bf16", &info, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_checkpoint_tensor_count(NULL), 0);
  assert_int_equal(viva_checkpoint_metadata_count(NULL), 0);
  assert_int_equal(checkpoint_read_part(ck, &ck->tensors[0], 60, data, 5, &error), VIVA_E_SIZE);
  assert_int_equal(checkpoint_read_part(ck, &ck->tensors[0], UINT64_MAX, data, 5, &error), VIVA_E_SIZE);
  viva_checkpoint_close(ck);
  viva_checkpoint_close(NULL);
  world_close(&w);
}

/* A prefix or suffix that was left out is found too, and a hostile number of names costs little. */
static void test_similar_names(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  st_put(&w, ST_PATH,
         "{\"model.norm.weight\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"model.embed_tokens.weight\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
         2);
  viva_checkpoint *ck;
  viva_error error = {0};
  size_t bytes;
  assert_int_equal(checkpoint_open(w.rt, ST_PATH, VIVA_LOAD_READ, &ck, NULL), VIVA_OK);
  assert_int_equal(viva_checkpoint_tensor_bytes(ck, "norm.weight", &bytes, &error), VIVA_E_NOT_FOUND);
  assert_non_null(strstr(error.message, "did you mean model.norm.weight?"));
  assert_int_equal(viva_checkpoint_tensor_bytes(ck, "model.embed_token.weight", &bytes, &error), VIVA_E_NOT_FOUND);
  assert_non_null(strstr(error.message, "did you mean model.embed_tokens.weight?"));
  char endless[4096];
  memset(endless, 'a', sizeof endless - 1);
  endless[sizeof endless - 1] = 0;
  assert_int_equal(viva_checkpoint_tensor_bytes(ck, endless, &bytes, &error), VIVA_E_NOT_FOUND);
  viva_checkpoint_close(ck);
  world_close(&w);
}

static void test_wrong_opens(void **state) {
  (void)state;
  viva_checkpoint *ck = (viva_checkpoint *)&ck;
  viva_error error = {0};
  assert_int_equal(viva_checkpoint_open(NULL, NULL, &ck, &error), VIVA_E_ARGUMENT);
  assert_null(ck);
  assert_int_equal(viva_checkpoint_open("x", NULL, NULL, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_checkpoint_open("", NULL, &ck, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_checkpoint_open("/no/such/file", NULL, &ck, &error), VIVA_E_IO);
  assert_string_equal(error.file, "/no/such/file");
  viva_checkpoint_options options = viva_checkpoint_options_default();
  options.load = (viva_load_mode)7;
  assert_int_equal(viva_checkpoint_open("x", &options, &ck, &error), VIVA_E_ARGUMENT);
  options.size = 3;
  assert_int_equal(viva_checkpoint_open("x", &options, &ck, &error), VIVA_E_ARGUMENT);
  assert_null(ck);
}

/* -- broken files */

static void check_hostile(const char *name, const char *status_name, const char *fragment) {
  size_t bytes;
  uint8_t *data = source_file("tests/hostile/safetensors", name, &bytes);
  assert_non_null(data);
  for (int load = VIVA_LOAD_READ; load <= VIVA_LOAD_MMAP; load++) {
    viva_error error = {0};
    viva_checkpoint *ck = NULL;
    gguf_world w = world_open(NULL);
    memory_io_put(w.io, ST_PATH, data, bytes);
    double start = st_now_ms();
    viva_status status = checkpoint_open(w.rt, ST_PATH, (viva_load_mode)load, &ck, &error);
    st_check_refusal(&w, name, status, &error, status_name, fragment, st_now_ms() - start, bytes);
    assert_null(ck);
    world_close(&w);
  }
  free(data);
}

static void test_every_hostile_file_is_refused(void **state) {
  (void)state;
  assert_true(st_each_hostile("safetensors", check_hostile) >= 100);
}

/* The place: the tensor, and the byte at which its entry begins. */
static void test_place_of_an_error(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck;
  viva_error error = {0};
  const char *header =
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],"
      "\"data_offsets\":[1,2]}}";
  st_put(&w, ST_PATH, header, 2);
  assert_int_equal(checkpoint_open(w.rt, ST_PATH, VIVA_LOAD_READ, &ck, &error), VIVA_E_FORMAT);
  assert_string_equal(error.item, "b");
  assert_int_equal(error.offset, 8 + (uint64_t)(strstr(header, "\"b\":") + 4 - header));
  assert_string_equal(error.file, ST_PATH);
  /* the parser's own errors are moved from the header's to the file's bytes */
  st_put(&w, ST_PATH, "{\"a\":!}", 0);
  assert_int_equal(checkpoint_open(w.rt, ST_PATH, VIVA_LOAD_READ, &ck, &error), VIVA_E_FORMAT);
  assert_int_equal(error.offset, 8 + 5);
  assert_string_equal(error.item, "a");
  /* errors are optional */
  assert_int_equal(checkpoint_open(w.rt, ST_PATH, VIVA_LOAD_READ, &ck, NULL), VIVA_E_FORMAT);
  world_close(&w);
}

static void test_every_truncation_is_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < VALID_FILES; i++) {
    size_t bytes;
    uint8_t *data = source_file("tests/golden/safetensors", valid_files[i], &bytes);
    gguf_world w = world_open(NULL);
    for (size_t length = 0; length <= bytes; length++) {
      viva_error error = {0};
      viva_checkpoint *ck;
      viva_status status = st_load(&w, data, length, &ck, &error);
      assert_int_equal(status, length == bytes ? VIVA_OK : VIVA_E_FORMAT);
      if (status != VIVA_OK) assert_string_equal(error.file, ST_PATH);
      viva_checkpoint_close(ck);
    }
    world_close(&w);
    free(data);
  }
}

/* Every byte set to six values: refused or read, never anything else (the sanitizers look on). */
static void test_every_byte_changed(void **state) {
  (void)state;
  static const uint8_t values[] = {0x00, '0', '"', '}', 0x7f, 0xff};
  for (size_t i = 0; i < VALID_FILES; i++) {
    size_t bytes;
    uint8_t *data = source_file("tests/golden/safetensors", valid_files[i], &bytes);
    gguf_world w = world_open(NULL);
    for (size_t at = 0; at < bytes; at++) {
      uint8_t kept = data[at];
      for (size_t v = 0; v < sizeof values; v++) {
        viva_error error = {0};
        viva_checkpoint *ck;
        data[at] = values[v];
        viva_status status = st_load(&w, data, bytes, &ck, &error);
        assert_true(status == VIVA_OK || status == VIVA_E_FORMAT || status == VIVA_E_UNSUPPORTED);
        assert_int_equal(error.code, status);
        viva_checkpoint_close(ck);
      }
      data[at] = kept;
    }
    world_close(&w);
    free(data);
  }
}

/* Property (rows A2, A10, A11): random shapes and offsets, many near an overflow, against 128-bit arithmetic. */
static void test_sizes_equal_128_bit_arithmetic(void **state) {
  (void)state;
  enum { ROUNDS = 50000, DATA = 64 };
  static const struct {
    const char *name;
    unsigned bits;
  } types[] = {{"F64", 64}, {"F32", 32}, {"BF16", 16}, {"U8", 8}, {"F6_E3M2", 6}, {"F4", 4}};
  gguf_world w = world_open(NULL);
  size_t accepted = 0;
  for (uint64_t round = 0; round < ROUNDS; round++) {
    uint64_t random = mix64(round), side[3];
    unsigned type = (unsigned)(random % 6), rank = (unsigned)(random >> 8) % 4;
    unsigned __int128 elements = 1;
    int expected = 1;
    char header[256], shape[80] = "";
    for (unsigned i = 0; i < rank; i++) {
      uint64_t wide = mix64(round * 4 + i + 1);
      side[i] = (random >> 16) % 2 ? wide % 5 : wide >> wide % 64;
      snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%llu", i ? "," : "",
               (unsigned long long)side[i]);
      expected = expected && elements * side[i] <= UINT64_MAX;
      elements = expected ? elements * side[i] : 0;
    }
    unsigned __int128 bits = elements * types[type].bits;
    /* half of the time the offset fits the true size */
    uint64_t end = (random >> 24) % 2 ? (uint64_t)(bits / 8) : (random >> 32) % 70;
    expected = expected && bits % 8 == 0 && bits / 8 == end && end <= DATA;
    snprintf(header, sizeof header, "{\"t\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[0,%llu]}}",
             types[type].name, shape, (unsigned long long)end);
    st_put(&w, ST_PATH, header, expected ? (size_t)end : DATA);
    viva_checkpoint *ck;
    viva_status status = checkpoint_open(w.rt, ST_PATH, VIVA_LOAD_READ, &ck, NULL);
    assert_int_equal(status, expected ? VIVA_OK : VIVA_E_FORMAT);
    accepted += status == VIVA_OK;
    viva_checkpoint_close(ck);
  }
  assert_true(accepted > ROUNDS / 20); /* both verdicts are tried */
  world_close(&w);
}

/* A header of n tensors with names as models have them. */
static char *large_header(size_t n) {
  char *header = malloc(n * 128 + 16), *at = header;
  *at++ = '{';
  for (size_t i = 0; i < n; i++)
    at += sprintf(at,
                  "%s\"model.layers.%zu.self_attn.q_proj.weight\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":"
                  "[%zu,%zu]}",
                  i ? "," : "", i, i * 8, i * 8 + 8);
  *at++ = '}';
  *at = 0;
  return header;
}

/* Row A20: no check may make large headers slow. 100,000 tensors take 0.1 s in a release build and grow as n · log n; the
 * margin is for sanitizers and busy machines, and far below what n² would take. */
static void test_large_headers_are_quick(void **state) {
  (void)state;
  enum { COUNT = 100000 };
  gguf_world w = world_open(NULL);
  char *header = large_header(COUNT);
  st_put(&w, ST_PATH, header, (size_t)COUNT * 8);
  viva_checkpoint *ck;
  double start = st_now_ms();
  assert_int_equal(checkpoint_open(w.rt, ST_PATH, VIVA_LOAD_READ, &ck, NULL), VIVA_OK);
  assert_true(st_now_ms() - start < 10000);
  assert_int_equal(viva_checkpoint_tensor_count(ck), COUNT);
  viva_checkpoint_close(ck);
  free(header);
  header = large_header(2000);
  st_put(&w, ST_PATH, header, (size_t)2000 * 8);
  start = st_now_ms();
  assert_int_equal(checkpoint_open(w.rt, ST_PATH, VIVA_LOAD_READ, &ck, NULL), VIVA_OK);
  print_message("2000 tensors: %.2f ms, %llu allocations\n", st_now_ms() - start,
                (unsigned long long)atomic_load(&w.rt->mem.allocations));
  viva_checkpoint_close(ck);
  free(header);
  world_close(&w);
}

/* -- failures from below */

static viva_status use_all(gguf_world *w, viva_load_mode load, viva_error *error) {
  viva_checkpoint *ck;
  float values[32];
  viva_status status = checkpoint_open(w->rt, ST_PATH, load, &ck, error);
  if (status == VIVA_OK) status = viva_checkpoint_read_f32(ck, "bf16", values, 32, error);
  if (status == VIVA_OK) status = viva_checkpoint_read_f32(ck, "f32", values, 32, error);
  viva_checkpoint_close(ck);
  return status;
}

/* Every allocation fails once, then from there on: E_MEMORY, nothing left, and the next try works. */
static void test_allocation_failures(void **state) {
  (void)state;
  for (int mode = 0; mode < 4; mode++) {
    viva_load_mode load = mode & 2 ? VIVA_LOAD_MMAP : VIVA_LOAD_READ;
    for (uint64_t k = 1;; k++) {
      fail_alloc f;
      viva_error error = {0};
      fail_alloc_init(&f, k, mode & 1);
      gguf_world w = world_open(&f.table);
      viva_status status = VIVA_E_MEMORY;
      if (w.rt != NULL) {
        st_put_golden(&w, "every_type.safetensors", ST_PATH);
        memory_io_put_text(w.io, "/m/config.json", "{\"model_type\":\"llama\",\"a\":[1,2]}");
        status = use_all(&w, load, &error);
      }
      int failed = f.failed;
      assert_int_equal(status, failed ? VIVA_E_MEMORY : VIVA_OK);
      f.fail_at = 0;
      if (w.rt != NULL) {
        assert_int_equal(error.code, status);
        assert_int_equal(use_all(&w, load, NULL), VIVA_OK);
      }
      assert_int_equal(memory_io_open_count(w.io), 0);
      world_close(&w);
      assert_int_equal(f.live, 0);
      if (!failed) break;
      assert_true(k < 1000);
    }
  }
}

/* Every file call fails once, then from there on: E_IO that names the file, nothing left open. */
static void test_io_failures(void **state) {
  (void)state;
  static const int errors[] = {EIO, EACCES, ENOMEM};
  for (int mode = 0; mode < 12; mode++) {
    viva_load_mode load = mode & 2 ? VIVA_LOAD_MMAP : VIVA_LOAD_READ;
    for (uint64_t k = 1;; k++) {
      viva_error error = {0};
      gguf_world w = world_open(NULL);
      st_put_golden(&w, "every_type.safetensors", ST_PATH);
      memory_io_put_text(w.io, "/m/config.json", "{}");
      memory_io_fail(w.io, k, errors[mode / 4], mode & 1);
      viva_status status = use_all(&w, load, &error);
      int failed = memory_io_failed(w.io);
      memory_io_fail(w.io, 0, 0, 0);
      if (status != VIVA_OK) {
        assert_int_equal(status, VIVA_E_IO);
        assert_true(strncmp(error.file, "/m", 2) == 0);
      }
      assert_int_equal(memory_io_open_count(w.io), 0);
      assert_int_equal(use_all(&w, load, NULL), VIVA_OK);
      world_close(&w);
      if (!failed) break;
      assert_true(k < 100);
    }
  }
}

/* Interrupted calls are repeated, short ones go on. */
static void test_interruptions(void **state) {
  (void)state;
  for (uint64_t k = 1;; k++) {
    gguf_world w = world_open(NULL);
    st_put_golden(&w, "every_type.safetensors", ST_PATH);
    memory_io_short(w.io, 3);
    memory_io_fail(w.io, k, EINTR, 0);
    assert_int_equal(use_all(&w, VIVA_LOAD_READ, NULL), VIVA_OK);
    int failed = memory_io_failed(w.io);
    world_close(&w);
    if (!failed) break;
    if (k > 40) k += 97; /* the calls are alike from here on */
  }
}

/* A file that has become shorter than the system said: E_IO with the tensor. */
static void test_file_that_shrinks(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck = open_golden(&w, "every_type.safetensors", VIVA_LOAD_READ);
  viva_error error = {0};
  viva_stored_tensor info = info_of(ck, "i64");
  uint8_t data[256];
  memory_io_truncate(w.io, ST_PATH, (size_t)info.offset + 3);
  assert_int_equal(viva_checkpoint_read(ck, "i64", data, sizeof data, &error), VIVA_E_IO);
  assert_string_equal(error.item, "i64");
  assert_int_equal(error.offset, info.offset + 3);
  assert_int_equal(viva_checkpoint_read(ck, "bool", data, 32, &error), VIVA_OK);
  viva_checkpoint_close(ck);
  world_close(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_type),
      cmocka_unit_test(test_mapped_views),
      cmocka_unit_test(test_ranks_and_empty_tensors),
      cmocka_unit_test(test_order_names_and_padding),
      cmocka_unit_test(test_metadata),
      cmocka_unit_test(test_long_metadata_is_cut),
      cmocka_unit_test(test_read_bf16_and_f32),
      cmocka_unit_test(test_read_f32_in_parts),
      cmocka_unit_test(test_wrong_reads),
      cmocka_unit_test(test_similar_names),
      cmocka_unit_test(test_wrong_opens),
      cmocka_unit_test(test_every_hostile_file_is_refused),
      cmocka_unit_test(test_place_of_an_error),
      cmocka_unit_test(test_every_truncation_is_refused),
      cmocka_unit_test(test_every_byte_changed),
      cmocka_unit_test(test_sizes_equal_128_bit_arithmetic),
      cmocka_unit_test(test_large_headers_are_quick),
      cmocka_unit_test(test_allocation_failures),
      cmocka_unit_test(test_io_failures),
      cmocka_unit_test(test_interruptions),
      cmocka_unit_test(test_file_that_shrinks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
