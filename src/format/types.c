/* format/types.c: the table of element and block types. GGUF ids and block sizes are ggml's (ggml.h, ggml-common.h). */
#include "format/types.h"

#include <string.h>

#include "base/ck.h"
#include "base/cpu.h"
#include "format/gguf/dequant.h"

/* safetensors name, GGUF name, GGUF id, block elements, block bits, dtype, decoder */
static const type_info types[TYPE_COUNT] = {
    [TYPE_F64] = {"F64", "F64", 28, 1, 64, VIVA_F64, dequant_f64},
    [TYPE_F32] = {"F32", "F32", 0, 1, 32, VIVA_F32, dequant_f32},
    [TYPE_F16] = {"F16", "F16", 1, 1, 16, VIVA_F16, dequant_f16},
    [TYPE_BF16] = {"BF16", "BF16", 30, 1, 16, VIVA_BF16, dequant_bf16},
    [TYPE_I64] = {"I64", "I64", 27, 1, 64, VIVA_I64, NULL},
    [TYPE_I32] = {"I32", "I32", 26, 1, 32, VIVA_I32, NULL},
    [TYPE_I16] = {"I16", "I16", 25, 1, 16, VIVA_I16, NULL},
    [TYPE_I8] = {"I8", "I8", 24, 1, 8, VIVA_I8, NULL},
    [TYPE_U64] = {"U64", NULL, -1, 1, 64, VIVA_U64, NULL},
    [TYPE_U32] = {"U32", NULL, -1, 1, 32, VIVA_U32, NULL},
    [TYPE_U16] = {"U16", NULL, -1, 1, 16, VIVA_U16, NULL},
    [TYPE_U8] = {"U8", NULL, -1, 1, 8, VIVA_U8, NULL},
    [TYPE_BOOL] = {"BOOL", NULL, -1, 1, 8, VIVA_BOOL, NULL},
    [TYPE_F8_E4M3] = {"F8_E4M3", NULL, -1, 1, 8, VIVA_E4M3, dequant_e4m3},
    [TYPE_F8_E5M2] = {"F8_E5M2", NULL, -1, 1, 8, VIVA_E5M2, dequant_e5m2},
    [TYPE_F8_E8M0] = {"F8_E8M0", NULL, -1, 1, 8, VIVA_E8M0, dequant_e8m0},
    [TYPE_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", NULL, -1, 1, 8, VIVA_E4M3_FNUZ, NULL},
    [TYPE_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", NULL, -1, 1, 8, VIVA_E5M2_FNUZ, NULL},
    [TYPE_F6_E2M3] = {"F6_E2M3", NULL, -1, 1, 6, VIVA_E2M3, NULL},
    [TYPE_F6_E3M2] = {"F6_E3M2", NULL, -1, 1, 6, VIVA_E3M2, NULL},
    [TYPE_F4] = {"F4", NULL, -1, 1, 4, VIVA_E2M1, dequant_e2m1},
    [TYPE_C64] = {"C64", NULL, -1, 1, 64, VIVA_C64, NULL},
    [TYPE_Q4_0] = {NULL, "Q4_0", 2, 32, 18 * 8, VIVA_DTYPE_NONE, dequant_q4_0},
    [TYPE_Q4_1] = {NULL, "Q4_1", 3, 32, 20 * 8, VIVA_DTYPE_NONE, dequant_q4_1},
    [TYPE_Q5_0] = {NULL, "Q5_0", 6, 32, 22 * 8, VIVA_DTYPE_NONE, dequant_q5_0},
    [TYPE_Q5_1] = {NULL, "Q5_1", 7, 32, 24 * 8, VIVA_DTYPE_NONE, dequant_q5_1},
    [TYPE_Q8_0] = {NULL, "Q8_0", 8, 32, 34 * 8, VIVA_DTYPE_NONE, dequant_q8_0},
    [TYPE_Q8_1] = {NULL, "Q8_1", 9, 32, 40 * 8, VIVA_DTYPE_NONE, NULL},
    [TYPE_Q2_K] = {NULL, "Q2_K", 10, 256, 84 * 8, VIVA_DTYPE_NONE, dequant_q2_k},
    [TYPE_Q3_K] = {NULL, "Q3_K", 11, 256, 110 * 8, VIVA_DTYPE_NONE, dequant_q3_k},
    [TYPE_Q4_K] = {NULL, "Q4_K", 12, 256, 144 * 8, VIVA_DTYPE_NONE, dequant_q4_k},
    [TYPE_Q5_K] = {NULL, "Q5_K", 13, 256, 176 * 8, VIVA_DTYPE_NONE, dequant_q5_k},
    [TYPE_Q6_K] = {NULL, "Q6_K", 14, 256, 210 * 8, VIVA_DTYPE_NONE, dequant_q6_k},
    [TYPE_Q8_K] = {NULL, "Q8_K", 15, 256, 292 * 8, VIVA_DTYPE_NONE, NULL},
    [TYPE_IQ2_XXS] = {NULL, "IQ2_XXS", 16, 256, 66 * 8, VIVA_DTYPE_NONE, NULL},
    [TYPE_IQ2_XS] = {NULL, "IQ2_XS", 17, 256, 74 * 8, VIVA_DTYPE_NONE, NULL},
    [TYPE_IQ3_XXS] = {NULL, "IQ3_XXS", 18, 256, 98 * 8, VIVA_DTYPE_NONE, NULL},
    [TYPE_IQ1_S] = {NULL, "IQ1_S", 19, 256, 50 * 8, VIVA_DTYPE_NONE, NULL},
    [TYPE_IQ4_NL] = {NULL, "IQ4_NL", 20, 32, 18 * 8, VIVA_DTYPE_NONE, dequant_iq4_nl},
    [TYPE_IQ3_S] = {NULL, "IQ3_S", 21, 256, 110 * 8, VIVA_DTYPE_NONE, NULL},
    [TYPE_IQ2_S] = {NULL, "IQ2_S", 22, 256, 82 * 8, VIVA_DTYPE_NONE, NULL},
    [TYPE_IQ4_XS] = {NULL, "IQ4_XS", 23, 256, 136 * 8, VIVA_DTYPE_NONE, dequant_iq4_xs},
    [TYPE_IQ1_M] = {NULL, "IQ1_M", 29, 256, 56 * 8, VIVA_DTYPE_NONE, NULL},
    [TYPE_TQ1_0] = {NULL, "TQ1_0", 34, 256, 54 * 8, VIVA_DTYPE_NONE, NULL},
    [TYPE_TQ2_0] = {NULL, "TQ2_0", 35, 256, 66 * 8, VIVA_DTYPE_NONE, NULL},
    [TYPE_MXFP4] = {NULL, "MXFP4", 39, 32, 17 * 8, VIVA_DTYPE_NONE, dequant_mxfp4},
    [TYPE_NVFP4] = {NULL, "NVFP4", 40, 64, 36 * 8, VIVA_DTYPE_NONE, dequant_nvfp4},
    [TYPE_Q1_0] = {NULL, "Q1_0", 41, 128, 18 * 8, VIVA_DTYPE_NONE, NULL},
};

const type_info *type_get(file_type type) { return &types[type]; }

const char *type_name(file_type type) {
  const type_info *info = type_get(type);
  return info->gguf_name ? info->gguf_name : info->safetensors_name;
}

int type_from_safetensors(const char *name, size_t bytes, file_type *type) {
  for (int i = 0; i < TYPE_COUNT; i++) {
    const char *known = types[i].safetensors_name;
    if (!known || strlen(known) != bytes || memcmp(known, name, bytes) != 0) continue;
    *type = (file_type)i;
    return 1;
  }
  return 0;
}

int type_from_gguf(uint32_t id, file_type *type) {
  for (int i = 0; i < TYPE_COUNT; i++) {
    if (types[i].gguf_id < 0 || (uint32_t)types[i].gguf_id != id) continue;
    *type = (file_type)i;
    return 1;
  }
  return 0;
}

int type_bytes(file_type type, uint64_t elements, uint64_t *bytes) {
  const type_info *info = type_get(type);
  uint64_t blocks = elements / info->block_elements;
  uint64_t unit = info->block_bits % 8 == 0 ? 8 : 1; /* elements of 4 and 6 bits are counted in bits */
  uint64_t units;
  if (elements % info->block_elements != 0 || ck_mul(blocks, info->block_bits / unit, &units)) return 1;
  if (unit == 1 && units % 8 != 0) return 1;
  *bytes = unit == 1 ? units / 8 : units;
  return 0;
}

/* "F64, F32, F16 ...": all types with a decoder. */
static const char *readable_types(char *buffer, size_t size) {
  size_t used = 0;
  buffer[0] = 0;
  for (int i = 0; i < TYPE_COUNT; i++) {
    if (!types[i].dequant) continue;
    const char *name = type_name((file_type)i);
    size_t length = strlen(name);
    if (used + length + 3 > size) break;
    if (used != 0) {
      memcpy(buffer + used, ", ", 2);
      used += 2;
    }
    memcpy(buffer + used, name, length + 1);
    used += length;
  }
  return buffer;
}

viva_status type_dequant(file_type type, const void *from, float *to, size_t count, viva_error *error) {
  dequant_fn dequant = type_get(type)->dequant;
  if (!dequant) {
    char readable[320];
    return error_set(error, VIVA_E_UNSUPPORTED, "has type %s, which viva cannot decode; it reads %s", type_name(type),
                     readable_types(readable, sizeof readable));
  }
  dequant_fn variant = cpu_get()->avx2 ? dequant_avx2(type) : NULL;
  (variant ? variant : dequant)(from, to, count);
  return VIVA_OK;
}
