/* tests/format/quant_text.h: small quantised checkpoints in memory, from a line of text.
 *
 * put_tensors(&w, "a.weight F8_E4M3 4,32 38b8|a.weight_scale F32 4,1 0000803f");
 */
#ifndef TESTS_QUANT_TEXT_H
#define TESTS_QUANT_TEXT_H

#include "format/quant/quant_open.h"

/* Tensors are written as "NAME TYPE SHAPE FILL|…": FILL is hexadecimal, repeated to the tensor's size. */
typedef struct tensor_text {
  char name[96], type[16], shape[48], fill[40];
} tensor_text;

static size_t type_size(const char *type) {
  static const struct {
    const char *name;
    size_t bytes;
  } sizes[] = {{"F32", 4}, {"BF16", 2}, {"F16", 2}, {"U8", 1}, {"I8", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1}, {"I64", 8}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (strcmp(sizes[i].name, type) == 0) return sizes[i].bytes;
  fail_msg("type %s", type);
  return 0;
}

static size_t tensor_bytes(const tensor_text *t) {
  size_t bytes = type_size(t->type), size;
  int used;
  if (strcmp(t->shape, "-") == 0) return bytes;
  for (const char *at = t->shape; sscanf(at, "%zu%n", &size, &used) == 1; at += used + (at[used] == ',')) bytes *= size;
  return bytes;
}

static void put_tensors(gguf_world *w, const char *text) {
  char header[8192], *end = header;
  uint8_t *data = calloc(1, 1 << 20);
  size_t at = 0;
  end += sprintf(end, "{");
  for (const char *t = text; t != NULL && *t != 0; t = strchr(t, '|') ? strchr(t, '|') + 1 : NULL) {
    tensor_text one;
    assert_int_equal(sscanf(t, " %95s %15s %47s %39[0-9a-f]", one.name, one.type, one.shape, one.fill), 4);
    size_t bytes = tensor_bytes(&one), period = strlen(one.fill) / 2;
    for (size_t i = 0; i < bytes; i++) {
      unsigned byte;
      assert_int_equal(sscanf(one.fill + 2 * (i % period), "%2x", &byte), 1);
      data[at + i] = (uint8_t)byte;
    }
    end += sprintf(end, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                   end[-1] == '{' ? "" : ",", one.name, one.type, one.shape[0] == '-' ? "" : one.shape, at, at + bytes);
    at += bytes;
  }
  sprintf(end, "}");
  size_t n = strlen(header);
  uint8_t *file = calloc(1, 8 + n + at);
  for (size_t i = 0; i < 8; i++) file[i] = (uint8_t)(n >> (8 * i));
  memcpy(file + 8, header, n);
  memcpy(file + 8 + n, data, at);
  memory_io_put(w->io, ST_PATH, file, 8 + n + at);
  free(file);
  free(data);
}

/* quantization_config as the shortest that a dialect needs */
#define CT(format, weights, more)                                                                                      \
  "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"" format                             \
  "\",\"config_groups\":{\"g\":{\"targets\":[\"Linear\"],\"weights\":{" weights "}}}" more "}}"
#define FP8_ARGS   "\"num_bits\":8,\"type\":\"float\""
#define CHANNEL    FP8_ARGS ",\"strategy\":\"channel\""
#define NVFP4_ARGS "\"num_bits\":4,\"type\":\"float\",\"strategy\":\"tensor_group\",\"group_size\":16"
#define CT_CHANNEL CT("float-quantized", CHANNEL, "")
#define CT_NVFP4   CT("nvfp4-pack-quantized", NVFP4_ARGS, "")
#define CT_SPARSE                                                                                                      \
  "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"sparsity_config\":{\"format\":\"sparse-24-"     \
  "bitmask\"}}}"
#define METHOD(word, more) "{\"quantization_config\":{\"quant_method\":\"" word "\"" more "}}"
#define DEEPSEEK           METHOD("fp8", ",\"weight_block_size\":[2,16]")
#define MODELOPT           METHOD("modelopt", ",\"quant_algo\":\"NVFP4\"")
#define VIVA(word)         METHOD("viva", ",\"version\":1,\"modules\":{\"a\":{\"format\":\"" word "\"}}")

#define CODES  "a.weight F8_E4M3 4,32 38b8"
#define SCALES "|a.weight_scale F32 4,1 0000803f"
#define PACKED "a.weight_packed U8 4,16 21|a.weight_scale F8_E4M3 4,2 38"
#define GLOBAL "|a.weight_global_scale F32 1 00007a44" /* 1000 */
#define SPARSE "a.compressed BF16 4,16 803f|a.bitmask U8 4,4 33|a.shape I64 2,1 "
#define SHAPE  "04000000000000002000000000000000" /* 4, 32 */

#endif
