/* Quantised checkpoints that contradict themselves, lack parts or have too many: each refused with the tensor's or the
 * key's name, and never read wrongly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "format/quant/quant_text.h"

typedef struct hostile {
  const char *config, *tensors;
  viva_status status;
  const char *fragment; /* of the message, with its place */
} hostile;

static const hostile good[] = {
    {CT_CHANNEL, CODES SCALES, VIVA_OK, ""},
    {CT_CHANNEL, CODES "|a.weight_scale F32 4 0000803f", VIVA_OK, ""},
    {CT_CHANNEL, CODES SCALES "|a.weight_zero_point F8_E4M3 4,1 00", VIVA_OK, ""},
    {CT("float-quantized", FP8_ARGS, ""), CODES "|a.weight_scale F32 - 0000803f", VIVA_OK, ""},
    {CT("float-quantized", FP8_ARGS, ""), CODES "|a.weight_scale F32 1,1 0000803f", VIVA_OK, ""},
    {CT("float-quantized", FP8_ARGS ",\"group_size\":-1", ""), CODES SCALES, VIVA_OK, ""},
    {CT("float-quantized", FP8_ARGS ",\"group_size\":8", ""), CODES "|a.weight_scale F16 4,4 003c", VIVA_OK, ""},
    {CT_CHANNEL, "a.weight BF16 4,32 803f", VIVA_OK, ""}, /* stored dense: is what it says */
    {"{\"compression_config\":{\"config_groups\":{\"FP8_DYNAMIC\":[\"Linear\"]}}}", CODES SCALES, VIVA_OK, ""},
    {"{\"quantization_config\":{\"config_groups\":{\"NVFP4A16\":[\"re:a\"],\"UNQUANTIZED\":[]}}}", PACKED GLOBAL,
     VIVA_OK, ""},
    {CT_NVFP4, PACKED GLOBAL, VIVA_OK, ""},
    {CT_NVFP4, PACKED "|a.weight_global_scale F32 - 00007a44|a.input_global_scale F32 1 00", VIVA_OK, ""},
    {CT_SPARSE, SPARSE SHAPE, VIVA_OK, ""},
    {DEEPSEEK, CODES "|a.weight_scale_inv F32 2,2 0000803f", VIVA_OK, ""},
    {DEEPSEEK, CODES "|a.weight_scale F8_E8M0 2,2 7f", VIVA_OK, ""},
    {METHOD("fp8", ",\"weight_block_size\":null"), CODES "|a.weight_scale F32 - 0000803f", VIVA_OK, ""},
    {MODELOPT, "a.weight U8 4,16 21|a.weight_scale F8_E4M3 4,2 38|a.weight_scale_2 F32 - 6f12833a", VIVA_OK, ""},
    {VIVA("fp8-b16"),
     "a.weight_packed U8 3,20 38|a.weight_scale F16 3,2 003c|a.weight_shape I64 2 "
     "03000000000000001400000000000000",
     VIVA_OK, ""},
    {"{}", CODES, VIVA_OK, ""}, /* plain E4M3 numbers */
    {"{\"quantization_config\":null}", "a.weight F32 2,2 00", VIVA_OK, ""},
};

/* Missing and superfluous parts. */
static const hostile part_cases[] = {
    {CT_CHANNEL, CODES, VIVA_E_FORMAT, "without the tensor a.weight_scale, which"},
    {CT_CHANNEL, "a.weight_scale F32 4,1 0000803f", VIVA_E_FORMAT, "has no meaning here"},
    {CT_CHANNEL, "a.weight BF16 4,32 803f" SCALES, VIVA_E_FORMAT, "meaning here: a.weight has type BF16"},
    {CT_CHANNEL, CODES SCALES "|a.weight_scale_2 F32 1 00", VIVA_E_FORMAT, "a.weight_scale_2"},
    {CT_CHANNEL, CODES SCALES "|a.weight_g_idx F32 4 00", VIVA_E_FORMAT, "a.weight_g_idx"},
    {CT_CHANNEL, CODES SCALES "|a.weight_zero_point U8 4 0001", VIVA_E_UNSUPPORTED, "zero points"},
    {CT_NVFP4, PACKED, VIVA_E_FORMAT, ".weight_global_scale"},
    {CT_NVFP4, "a.weight_packed U8 4,16 21" GLOBAL, VIVA_E_FORMAT, ".weight_scale"},
    {CT_NVFP4, PACKED GLOBAL "|a.weight F32 4,32 00", VIVA_E_FORMAT, "also a tensor a.weight: which of the two"},
    {CT_SPARSE, "a.compressed BF16 4,16 803f|a.bitmask U8 4,4 33", VIVA_E_FORMAT, ".shape"},
    {CT_SPARSE, "a.compressed BF16 4,16 803f|a.shape I64 2 " SHAPE, VIVA_E_FORMAT, ".bitmask"},
    {CT_SPARSE, SPARSE SHAPE "|a.row_offsets I64 4 00", VIVA_E_FORMAT, "a.row_offsets"},
    {CT_SPARSE, SPARSE SHAPE SCALES, VIVA_E_FORMAT, "has no meaning here"},
    {CT_CHANNEL, SPARSE SHAPE, VIVA_E_FORMAT, "a.bitmask"},
    {DEEPSEEK, CODES, VIVA_E_FORMAT, ".weight_scale_inv"},
    {DEEPSEEK, CODES "|a.weight_scale_inv F32 2,2 00|a.weight_scale F32 2,2 00", VIVA_E_FORMAT, "a.weight_scale"},
    {METHOD("fp8", ""), CODES "|a.weight_scale_inv F32 2,2 00", VIVA_E_FORMAT, ".weight_scale"},
    {METHOD("fbgemm_fp8", ""), CODES, VIVA_E_FORMAT, ".weight_scale"},
    {MODELOPT, "a.weight U8 4,16 21|a.weight_scale F8_E4M3 4,2 38", VIVA_E_FORMAT, ".weight_scale_2"},
    {MODELOPT,
     "a.weight U8 4,16 21|a.weight_scale F8_E4M3 4,2 38|a.weight_scale_2 F32 1 6f12833a|a.pre_quant_scale F32 1 00",
     VIVA_E_FORMAT, "a.pre_quant_scale"},
    {"{}", CODES SCALES, VIVA_E_UNSUPPORTED, "no quantization_config"},
    {"{}", "a.qweight F32 2,2 00", VIVA_E_UNSUPPORTED, "a.qweight"},
    {VIVA("fp8"), "b.weight F32 2,2 00", VIVA_E_FORMAT, "no tensor a.weight_packed"},
    {VIVA("fp8"), "b.weight_packed U8 2,2 00", VIVA_E_FORMAT, "does not have this one"},
    {VIVA("fp8"), "a.weight_packed U8 2,2 00", VIVA_E_FORMAT, ".weight_shape"},
};

/* Shapes and types. */
static const hostile shape_cases[] = {
    {CT_CHANNEL, CODES "|a.weight_scale F32 3,1 0000803f", VIVA_E_FORMAT, "expected [4, 1]"},
    {CT_CHANNEL, CODES "|a.weight_scale F32 1,4 0000803f", VIVA_E_FORMAT, "expected [4, 1]"},
    {CT_CHANNEL, CODES "|a.weight_scale F32 4,1,1 0000803f", VIVA_E_FORMAT, "expected [4, 1]"},
    {CT_CHANNEL, CODES "|a.weight_scale F32 4,0 00", VIVA_E_FORMAT, "expected [4, 1]"},
    {CT_CHANNEL, CODES "|a.weight_scale U8 4,1 00", VIVA_E_FORMAT, "has type U8, expected F32, BF16, F16"},
    {CT_CHANNEL, "a.weight F8_E4M3 0,32 00" SCALES, VIVA_E_FORMAT, "not empty"},
    {CT_CHANNEL, PACKED GLOBAL, VIVA_E_FORMAT, "says FP8"},
    {CT_NVFP4, CODES SCALES, VIVA_E_FORMAT, "says NVFP4"},
    {CT("float-quantized", FP8_ARGS ",\"group_size\":12", ""), CODES "|a.weight_scale F32 4,3 00", VIVA_E_FORMAT,
     "multiple of the group_size 12"},
    {CT("float-quantized", FP8_ARGS ",\"strategy\":\"block\",\"block_structure\":[3,5]", ""),
     CODES "|a.weight_scale F32 2,6 00", VIVA_E_FORMAT, "expected [2, 7]"},
    {CT("float-quantized", FP8_ARGS ",\"strategy\":\"block\",\"block_structure\":[18446744073709551615,1]", ""),
     CODES "|a.weight_scale F32 2,6 00", VIVA_E_FORMAT, "expected [1, 32]"},
    /* the scales of another strategy */
    {CT_CHANNEL, CODES "|a.weight_scale F32 1 0000803f", VIVA_E_FORMAT, "expected [4, 1]"},
    {CT_CHANNEL, CODES "|a.weight_scale F32 4,2 0000803f", VIVA_E_FORMAT, "expected [4, 1]"},
    {CT("float-quantized", FP8_ARGS, ""), CODES SCALES, VIVA_E_FORMAT, "expected [1, 1]"},
    {CT("float-quantized", FP8_ARGS ",\"group_size\":16", ""), CODES SCALES, VIVA_E_FORMAT, "expected [4, 2]"},
    {CT("float-quantized", FP8_ARGS ",\"group_size\":32", ""), CODES "|a.weight_scale F32 4,2 0000803f", VIVA_E_FORMAT,
     "expected [4, 1]"},
    {CT("float-quantized", FP8_ARGS ",\"group_size\":64", ""), CODES SCALES, VIVA_E_FORMAT,
     "has 32 columns, expected a multiple of the group_size 64"},
    {METHOD("fp8", ""), CODES SCALES, VIVA_E_FORMAT, "has shape [4, 1] (rank 2), expected [1, 1]"},
    {METHOD("fbgemm_fp8", ""), CODES "|a.weight_scale F32 1 0000803f", VIVA_E_FORMAT, "expected [4, 1]"},
    {METHOD("modelopt", ",\"quant_algo\":\"FP8\""), CODES SCALES, VIVA_E_FORMAT, "expected [1, 1]"},
    {CT_NVFP4, "a.weight_packed U8 4,12 21|a.weight_scale F8_E4M3 4,2 38" GLOBAL, VIVA_E_FORMAT, "blocks of 16"},
    {CT_NVFP4, "a.weight_packed I8 4,16 21|a.weight_scale F8_E4M3 4,2 38" GLOBAL, VIVA_E_FORMAT, "U8"},
    {CT_NVFP4, "a.weight_packed U8 64 21", VIVA_E_FORMAT, "a matrix"},
    {CT_NVFP4, "a.weight_packed U8 4,16 21|a.weight_scale F8_E4M3 4,3 38" GLOBAL, VIVA_E_FORMAT, "expected [4, 2]"},
    {CT_NVFP4, "a.weight_packed U8 4,16 21|a.weight_scale U8 4,2 38" GLOBAL, VIVA_E_FORMAT, "expected F8_E4M3"},
    {CT_NVFP4, PACKED "|a.weight_global_scale F32 2 00007a44", VIVA_E_FORMAT, "expected [1, 1]"},
    {CT_NVFP4, PACKED "|a.weight_global_scale BF16 1 7a44", VIVA_E_FORMAT, "expected F32"},
    {CT_SPARSE, SPARSE "04000000000000001f00000000000000", VIVA_E_FORMAT, "multiple of 4"},
    {CT_SPARSE, SPARSE "04000000000000002400000000000000", VIVA_E_FORMAT, "expected [4, 18]"},
    {CT_SPARSE, SPARSE "00000000000000002000000000000000", VIVA_E_FORMAT, "1 or more"},
    {CT_SPARSE, SPARSE "ffffffffffffffff2000000000000000", VIVA_E_FORMAT, "1 or more"},
    {CT_SPARSE, SPARSE "fcffffffffffff7ffcffffffffffff7f", VIVA_E_FORMAT, "expected ["},
    {CT_SPARSE, "a.compressed BF16 4,16 803f|a.bitmask U8 4,3 33|a.shape I64 2 " SHAPE, VIVA_E_FORMAT,
     "expected [4, 4]"},
    {CT_SPARSE, "a.compressed U8 4,16 80|a.bitmask U8 4,4 33|a.shape I64 2 " SHAPE, VIVA_E_FORMAT, "expected F32"},
    {CT_SPARSE, "a.compressed F8_E4M3 4,16 38|a.bitmask U8 4,4 33|a.shape I64 2 " SHAPE SCALES, VIVA_E_FORMAT,
     "no group"},
    {CT_SPARSE, "a.compressed BF16 4,16 80|a.bitmask U8 4,4 33|a.shape I64 3 00", VIVA_E_FORMAT, "two numbers"},
    {DEEPSEEK, CODES "|a.weight_scale_inv F32 2,1 00", VIVA_E_FORMAT, "expected [2, 2]"},
    {VIVA("fp8"), "a.weight_packed U8 4,16 38|a.weight_scale F32 4,1 00|a.weight_shape I64 2 " SHAPE, VIVA_E_FORMAT,
     "expected [4, 32]"},
    {VIVA("int4-24"), "a.weight_packed U8 4,24 00|a.weight_scale BF16 4,1 00|a.weight_shape I64 2 " SHAPE,
     VIVA_E_FORMAT, "expected F32, F16"},
    {VIVA("int8-24"), "a.weight_packed U8 4,40 00|a.weight_scale F16 4,1 00|a.weight_shape I64 2 " SHAPE, VIVA_E_FORMAT,
     "expected F32"},
    {VIVA("int8-24"),
     "a.weight_packed U8 4,40 00|a.weight_scale F32 4,1 00|a.weight_shape I64 2 "
     "0400000000000000ffffffffffffff7f",
     VIVA_E_FORMAT, "a.weight_packed"},
};

/* NVFP4's global number. */
static const hostile global_cases[] = {
    {CT_NVFP4, PACKED "|a.weight_global_scale F32 1 6f12833a", VIVA_E_FORMAT, "ModelOpt"}, /* 0.001 */
    {CT_NVFP4, PACKED "|a.weight_global_scale F32 1 00000000", VIVA_E_FORMAT, "above 0, found 0"},
    {CT_NVFP4, PACKED "|a.weight_global_scale F32 1 0000c07f", VIVA_E_FORMAT, "found NaN"},
    {CT_NVFP4, PACKED "|a.weight_global_scale F32 1 0000807f", VIVA_E_FORMAT, "found an infinity"},
    {CT_NVFP4, PACKED "|a.weight_global_scale F32 1 00007ac4", VIVA_E_FORMAT, "found a negative one"},
    {MODELOPT, "a.weight U8 4,16 21|a.weight_scale F8_E4M3 4,2 38|a.weight_scale_2 F32 1 00007a44", VIVA_E_FORMAT,
     "compressed-tensors"},
};

/* Configurations. */
static const hostile config_cases[] = {
    {METHOD("awq", ""), CODES, VIVA_E_UNSUPPORTED, "\"awq\""},
    {METHOD("gptq", ""), CODES, VIVA_E_UNSUPPORTED, "\"gptq\""},
    {METHOD("bitsandbytes", ""), CODES, VIVA_E_UNSUPPORTED, "\"bitsandbytes\""},
    {METHOD("mxfp4", ""), CODES, VIVA_E_UNSUPPORTED, "\"mxfp4\""},
    {METHOD("quark", ""), CODES, VIVA_E_UNSUPPORTED, "\"quark\""},
    {METHOD("torchao", ""), CODES, VIVA_E_UNSUPPORTED, "\"torchao\""},
    {METHOD("FP9", ""), CODES, VIVA_E_UNSUPPORTED, "\"FP9\""},
    {METHOD("modelopt", ",\"quant_algo\":\"W4A16_AWQ\""), CODES, VIVA_E_UNSUPPORTED, "W4A16_AWQ"},
    {METHOD("modelopt", ",\"quant_algo\":\"NVFP4_AWQ\""), CODES, VIVA_E_UNSUPPORTED, "NVFP4_AWQ"},
    {METHOD("modelopt", ",\"quant_algo\":\"MIXED_PRECISION\""), CODES, VIVA_E_FORMAT, "MIXED_PRECISION"},
    {METHOD("modelopt", ",\"quant_algo\":\"FP8_PB_WO\""), CODES, VIVA_E_UNSUPPORTED, "FP8_PB_WO"},
    {METHOD("modelopt", ",\"quant_algo\":\"NVFP4\",\"group_size\":32"), CODES, VIVA_E_UNSUPPORTED, "groups of 16"},
    {METHOD("modelopt", ""), CODES, VIVA_E_FORMAT, "quant_algo"},
    {METHOD("modelopt", ",\"quant_algo\":7"), CODES, VIVA_E_FORMAT, "expected a string"},
    /* what a list of dense modules says is not needed: the tensors say it */
    {METHOD("modelopt", ",\"quant_algo\":\"FP8\",\"ignore\":[\"b[\"]"), CODES "|a.weight_scale F32 1 0000803f", VIVA_OK,
     ""},
    {METHOD("modelopt", ",\"quant_algo\":null"), "a.weight BF16 4,32 803f", VIVA_OK, ""},
    {METHOD("modelopt", ",\"quant_algo\":\"MIXED_PRECISION\",\"quantized_layers\":{\"a\":{\"quant_algo\":\"FP8\"}}"),
     CODES "|a.weight_scale F32 1 0000803f", VIVA_OK, ""},
    {METHOD("modelopt",
            ",\"quant_algo\":\"MIXED_PRECISION\",\"quantized_layers\":{\"a\":{\"quant_algo\":\"INT4_AWQ\"}}"),
     CODES, VIVA_E_UNSUPPORTED, "INT4_AWQ"},
    {METHOD("modelopt", ",\"quant_algo\":\"MIXED_PRECISION\",\"quantized_layers\":[]"), CODES, VIVA_E_FORMAT,
     "an object"},
    /* a section about a scheme that is not read outlives the quantisation */
    {METHOD("bitsandbytes", ""), "a.weight BF16 4,32 803f", VIVA_OK, ""},
    {METHOD("gptq", ""), "a.qweight U8 4,32 01", VIVA_E_UNSUPPORTED, "gptq"},
    {METHOD("modelopt", ",\"quant_algo\":\"FP8\",\"exclude_modules\":[\"?\"]"), CODES "|a.weight_scale F32 1 00",
     VIVA_E_FORMAT, "among those that are not"},
    {CT("pack-quantized", "", ""), CODES, VIVA_E_UNSUPPORTED, "pack-quantized"},
    {CT("int-quantized", "", ""), CODES, VIVA_E_UNSUPPORTED, "int-quantized"},
    {CT("mxfp4-pack-quantized", "", ""), CODES, VIVA_E_UNSUPPORTED, "mxfp4-pack-quantized"},
    {CT("mxfp8-quantized", "", ""), CODES, VIVA_E_UNSUPPORTED, "mxfp8-quantized"},
    {CT("marlin-24", "", ""), CODES, VIVA_E_UNSUPPORTED, "marlin-24"},
    {CT("sparse-bitmask", "", ""), CODES, VIVA_E_UNSUPPORTED, "sparse-bitmask"},
    {CT("naive-quantized", "\"num_bits\":8,\"type\":\"int\"", ""), CODES, VIVA_E_UNSUPPORTED, "\"int\" in 8 bits"},
    {CT("naive-quantized", "\"num_bits\":8", ""), CODES, VIVA_E_UNSUPPORTED, "\"int\" in 8 bits"},
    {CT("float-quantized", NVFP4_ARGS, ""), CODES, VIVA_E_FORMAT, "do not go with the format"},
    {CT("nvfp4-pack-quantized", CHANNEL, ""), CODES, VIVA_E_FORMAT, "do not go with the format"},
    {CT("mixed-precision", "\"num_bits\":4,\"type\":\"float\",\"strategy\":\"group\",\"group_size\":32", ""), CODES,
     VIVA_E_UNSUPPORTED, "group_size 32"},
    {CT("float-quantized", FP8_ARGS ",\"strategy\":\"token\"", ""), CODES, VIVA_E_UNSUPPORTED, "\"token\""},
    {CT("float-quantized", FP8_ARGS ",\"strategy\":\"group\"", ""), CODES, VIVA_E_FORMAT, "needs a group_size"},
    {CT("float-quantized", FP8_ARGS ",\"strategy\":\"group\",\"group_size\":-2", ""), CODES, VIVA_E_FORMAT,
     "group_size"},
    {CT("float-quantized", FP8_ARGS ",\"strategy\":\"group\",\"group_size\":1e3", ""), CODES, VIVA_E_FORMAT,
     "group_size"},
    {CT("float-quantized", FP8_ARGS ",\"strategy\":\"block\"", ""), CODES, VIVA_E_FORMAT, "block_structure"},
    {CT("float-quantized", FP8_ARGS ",\"strategy\":\"block\",\"block_structure\":[128]", ""), CODES, VIVA_E_FORMAT,
     "found 1"},
    {CT("float-quantized", FP8_ARGS ",\"strategy\":\"block\",\"block_structure\":[0,128]", ""), CODES, VIVA_E_FORMAT,
     "1 or more"},
    {CT("float-quantized", FP8_ARGS ",\"strategy\":\"block\",\"block_structure\":\"128x\"", ""), CODES, VIVA_E_FORMAT,
     "a list of two sizes"},
    {CT("float-quantized", FP8_ARGS ",\"symmetric\":false", ""), CODES, VIVA_E_UNSUPPORTED, "zero points"},
    {CT("float-quantized", FP8_ARGS ",\"symmetric\":1", ""), CODES, VIVA_E_FORMAT, "true or false"},
    {CT("float-quantized", CHANNEL, ",\"ignore\":[\"a\"]"), CODES SCALES, VIVA_E_FORMAT, "among those that are not"},
    {CT("float-quantized", CHANNEL, ",\"ignore\":[3]"), CODES SCALES, VIVA_E_FORMAT, "names of modules"},
    {CT("float-quantized", CHANNEL, ",\"ignore\":\"a\""), CODES SCALES, VIVA_E_FORMAT, "a list of names"},
    {CT("float-quantized", CHANNEL, ",\"ignore\":[\"re:(?=a)\"]"), CODES SCALES, VIVA_OK, ""},
    {CT("float-quantized", CHANNEL, ",\"sparsity_config\":{\"format\":\"sparse-bitmask\"}"), CODES SCALES,
     VIVA_E_UNSUPPORTED, "sparse-bitmask"},
    {CT("float-quantized", CHANNEL, ",\"sparsity_config\":[]"), CODES SCALES, VIVA_E_FORMAT, "expected an object"},
    {METHOD("compressed-tensors", ""), CODES SCALES, VIVA_E_FORMAT, "no group"},
    {METHOD("compressed-tensors", ",\"config_groups\":{\"FP8\":[\"b\"]}"), CODES SCALES, VIVA_E_FORMAT, "no group"},
    {METHOD("compressed-tensors", ",\"config_groups\":{\"W4A16\":[\"Linear\"]}"), CODES, VIVA_E_UNSUPPORTED, "W4A16"},
    {METHOD("compressed-tensors", ",\"config_groups\":{\"g\":3}"), CODES, VIVA_E_FORMAT, "expected a group"},
    {METHOD("compressed-tensors", ",\"config_groups\":[]"), CODES, VIVA_E_FORMAT, "expected an object"},
    {METHOD("compressed-tensors", ",\"config_groups\":{\"g\":{\"weights\":{" CHANNEL "}}}"), CODES, VIVA_E_FORMAT,
     "no list of targets"},
    {METHOD("compressed-tensors", ",\"config_groups\":{\"g\":{\"targets\":[\"LlamaMLP\"],\"weights\":{" CHANNEL "}}}"),
     CODES SCALES, VIVA_E_UNSUPPORTED, "LlamaMLP"},
    {METHOD("compressed-tensors", ",\"config_groups\":{\"g\":{\"targets\":[\"b\"],\"weights\":{" CHANNEL "}}}"),
     CODES SCALES, VIVA_E_FORMAT, "no group"},
    {METHOD("compressed-tensors", ",\"config_groups\":{\"g\":{\"targets\":[\"a\"],\"weights\":null}}"), CODES SCALES,
     VIVA_E_FORMAT, "no group"},
    {METHOD("compressed-tensors", ",\"config_groups\":{\"g\":{\"targets\":[\"a\"],\"weights\":[]}}"), CODES SCALES,
     VIVA_E_FORMAT, "expected an object"},
    {METHOD("fp8", ",\"fmt\":\"e5m2\""), CODES SCALES, VIVA_E_UNSUPPORTED, "e4m3"},
    {METHOD("fp8", ",\"weight_block_size\":[128,128,128]"), CODES SCALES, VIVA_E_FORMAT, "found 3"},
    {METHOD("fp8", ",\"modules_to_not_convert\":[\"a\"]"), CODES "|a.weight_scale F32 1 00", VIVA_E_FORMAT,
     "among those that are not"},
    {METHOD("viva", ",\"version\":2,\"modules\":{}"), CODES, VIVA_E_UNSUPPORTED, "version 2"},
    {METHOD("viva", ",\"version\":1"), CODES, VIVA_E_FORMAT, "modules"},
    {METHOD("viva", ",\"version\":1,\"modules\":{\"a\":3}"), CODES, VIVA_E_FORMAT, "expected"},
    {METHOD("viva", ",\"version\":1,\"modules\":{\"a\":{}}"), CODES, VIVA_E_FORMAT, "a format's word"},
    {VIVA("fp8-b17"), CODES, VIVA_E_UNSUPPORTED, "fp8-b17"},
    {VIVA("int8-24-pairs"), CODES, VIVA_E_UNSUPPORTED, "int8-24-pairs"},
    {VIVA("-pairs"), CODES, VIVA_E_UNSUPPORTED, "-pairs"},
    {"{\"quantization_config\":{}}", CODES, VIVA_E_FORMAT, "no quant_method"},
    {"{\"quantization_config\":{\"quant_method\":null}}", CODES, VIVA_E_FORMAT, "no quant_method"},
    {"{\"quantization_config\":{\"quant_method\":3}}", CODES, VIVA_E_FORMAT, "expected a string"},
    {"{\"quantization_config\":[]}", CODES, VIVA_E_FORMAT, "expected an object"},
    {"{\"quantization_config\":", CODES, VIVA_E_FORMAT, "config.json"},
    {"[]", CODES, VIVA_E_FORMAT, "config.json"},
};

static void check_case(const hostile *h, const char *hf_quant_config) {
  gguf_world w = world_open(NULL);
  size_t idle = w.rt->mem.current;
  viva_checkpoint *ck;
  quant *q;
  viva_error error = {0};
  char text[1300];
  memory_io_put_text(w.io, ST_FOLDER "/config.json", h->config);
  if (hf_quant_config) memory_io_put_text(w.io, ST_FOLDER "/hf_quant_config.json", hf_quant_config);
  put_tensors(&w, h->tensors);
  viva_status status = quant_load(&w, VIVA_LOAD_READ, &ck, &q, &error);
  viva_error_format(&error, text, sizeof text);
  assert_non_null(ck);
  if (status != h->status || (status != VIVA_OK && strstr(text, h->fragment) == NULL))
    fail_msg("%s with %s: expected %d \"%s\", got %d: %s", h->config, h->tensors, h->status, h->fragment, status, text);
  assert_int_equal(q == NULL, status != VIVA_OK);
  if (status != VIVA_OK) assert_true(error.file[0] != 0);
  quant_close(q);
  viva_checkpoint_close(ck);
  assert_int_equal(w.rt->mem.current, idle);
  assert_int_equal(memory_io_open_count(w.io), 0);
  world_close(&w);
}

static void check_cases(const hostile *cases, size_t count) {
  for (size_t i = 0; i < count; i++) check_case(&cases[i], NULL);
}

#define CHECK(cases) check_cases(cases, sizeof cases / sizeof *cases)

static void test_good(void **state) { (void)state, CHECK(good); }
static void test_parts(void **state) { (void)state, CHECK(part_cases); }
static void test_shapes(void **state) { (void)state, CHECK(shape_cases); }
static void test_global(void **state) { (void)state, CHECK(global_cases); }
static void test_configs(void **state) { (void)state, CHECK(config_cases); }

/* A file of groups that no writer makes is not read; its tensors can still be looked at. */
static void test_too_many_groups(void **state) {
  (void)state;
  static char config[16384];
  size_t end = (size_t)sprintf(config, "{\"quantization_config\":{\"config_groups\":{");
  for (int i = 0; i < 257; i++)
    end += (size_t)sprintf(config + end, "%s\"UNQUANTIZED%d\":{\"weights\":null,\"targets\":[]}", i ? "," : "", i);
  strcpy(config + end, "}}}");
  const hostile h = {config, CODES, VIVA_E_UNSUPPORTED, "more than 256 groups"};
  check_case(&h, NULL);
}

/* Both of ModelOpt's files. */
static void test_two_files(void **state) {
  (void)state;
  static const char fp8[] = "a.weight F8_E4M3 4,32 38b8|a.weight_scale F32 1 0000803f";
  const hostile agree = {METHOD("modelopt", ",\"quant_algo\":\"FP8\""), fp8, VIVA_OK, ""};
  const hostile later = {METHOD("modelopt", ""), fp8, VIVA_OK, ""};
  const hostile only = {"{}", fp8, VIVA_OK, ""};
  const hostile differ = {METHOD("modelopt", ",\"quant_algo\":\"NVFP4\""), fp8, VIVA_E_FORMAT, "this file says FP8"};
  const hostile ignored = {CT_CHANNEL, CODES SCALES, VIVA_OK, ""};
  const hostile broken = {"{}", fp8, VIVA_E_FORMAT, "hf_quant_config.json"};
  const hostile excluded = {"{}", fp8, VIVA_E_FORMAT, "among those that are not"};
  static const char file[] = "{\"quantization\":{\"quant_algo\":\"FP8\",\"exclude_modules\":[\"lm_head\"]}}";
  check_case(&agree, file);
  check_case(&later, file);
  check_case(&only, file);
  check_case(&differ, file);
  check_case(&ignored, "{\"quantization\":{\"quant_algo\":\"INT4_AWQ\"}}");
  check_case(&broken, "{\"quantization\":3}");
  check_case(&broken, "{");
  check_case(&excluded, "{\"quantization\":{\"quant_algo\":\"FP8\",\"exclude_modules\":[\"*\"]}}");
}

/* What is found when values are read: damaged scales and masks, at their place. */
static void test_values(void **state) {
  (void)state;
  static const hostile cases[] = {
      {CT_CHANNEL, "a.weight F8_E4M3 4,32 383838383838383838383838383838383838ff" SCALES, VIVA_E_FORMAT,
       "the code in row 0, column 18 is NaN"},
      {CT_CHANNEL, CODES "|a.weight_scale F32 4,1 0000803f0000c07f", VIVA_E_FORMAT, "row 1, column 0 is NaN"},
      {CT_CHANNEL, CODES "|a.weight_scale BF16 4,1 803f807f", VIVA_E_FORMAT, "row 1, column 0 is NaN"},
      {DEEPSEEK, CODES "|a.weight_scale_inv F8_E8M0 2,2 7f7f7fff", VIVA_E_FORMAT, "row 1, column 1 is NaN"},
      {CT_NVFP4, "a.weight_packed U8 4,16 21|a.weight_scale F8_E4M3 4,2 38383838387f3838" GLOBAL, VIVA_E_FORMAT,
       "row 2, column 1 is NaN"},
      {CT_SPARSE, "a.compressed BF16 4,16 803f|a.bitmask U8 4,4 3333333333333373|a.shape I64 2 " SHAPE, VIVA_E_FORMAT,
       "keeps 3 of the 4 columns from 28 on in row 1"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    gguf_world w = world_open(NULL);
    viva_checkpoint *ck;
    quant *q;
    quant_matrix m;
    viva_error error = {0};
    char text[1300];
    float values[4 * 32];
    _Alignas(64) uint8_t scratch[4096];
    memory_io_put_text(w.io, ST_FOLDER "/config.json", cases[i].config);
    put_tensors(&w, cases[i].tensors);
    assert_int_equal(quant_load(&w, VIVA_LOAD_READ, &ck, &q, &error), VIVA_OK);
    assert_int_equal(quant_find(q, "a", &m, &error), VIVA_OK);
    assert_true(quant_scratch_bytes(&m, 4) <= sizeof scratch);
    assert_int_equal(quant_rows_f32(q, &m, 0, 4, values, scratch, &error), cases[i].status);
    viva_error_format(&error, text, sizeof text);
    if (strstr(text, cases[i].fragment) == NULL) fail_msg("%s: %s", cases[i].fragment, text);
    if (m.kind == QUANT_NVFP4) {
      assert_int_equal(quant_scales_e4m3(q, &m, 2, 2, scratch, &error), VIVA_E_FORMAT);
      assert_non_null(strstr(error.message, "row 2, column 1"));
    }
    quant_close(q);
    viva_checkpoint_close(ck);
    world_close(&w);
  }
}

/* config.json cut at every byte is never taken for another one. */
static void test_cut_config(void **state) {
  (void)state;
  static const char whole[] = CT("float-quantized", CHANNEL, ",\"ignore\":[\"re:(b|c).*\"]");
  char text[sizeof whole];
  for (size_t n = 0; n < sizeof whole - 1; n++) {
    memcpy(text, whole, n);
    text[n] = 0;
    const hostile cut = {text, CODES SCALES, VIVA_E_FORMAT, "config.json"};
    check_case(&cut, NULL);
  }
  const hostile complete = {whole, CODES SCALES, VIVA_OK, ""};
  check_case(&complete, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_good),      cmocka_unit_test(test_parts),   cmocka_unit_test(test_shapes),
      cmocka_unit_test(test_global),    cmocka_unit_test(test_configs), cmocka_unit_test(test_too_many_groups),
      cmocka_unit_test(test_two_files), cmocka_unit_test(test_values),  cmocka_unit_test(test_cut_config),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
