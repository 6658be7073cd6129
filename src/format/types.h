/* format/types.h: every element and block type that safetensors and GGUF files use: one table. */
#ifndef FORMAT_TYPES_H
#define FORMAT_TYPES_H

#include "base/error.h"
#include "viva/types.h"

typedef enum file_type {
  TYPE_F64,
  TYPE_F32,
  TYPE_F16,
  TYPE_BF16,
  TYPE_I64,
  TYPE_I32,
  TYPE_I16,
  TYPE_I8,
  TYPE_U64,
  TYPE_U32,
  TYPE_U16,
  TYPE_U8,
  TYPE_BOOL,
  TYPE_F8_E4M3,
  TYPE_F8_E5M2,
  TYPE_F8_E8M0,
  TYPE_F8_E4M3FNUZ,
  TYPE_F8_E5M2FNUZ,
  TYPE_F6_E2M3,
  TYPE_F6_E3M2,
  TYPE_F4,
  TYPE_C64,
  TYPE_Q4_0,
  TYPE_Q4_1,
  TYPE_Q5_0,
  TYPE_Q5_1,
  TYPE_Q8_0,
  TYPE_Q8_1,
  TYPE_Q2_K,
  TYPE_Q3_K,
  TYPE_Q4_K,
  TYPE_Q5_K,
  TYPE_Q6_K,
  TYPE_Q8_K,
  TYPE_IQ2_XXS,
  TYPE_IQ2_XS,
  TYPE_IQ3_XXS,
  TYPE_IQ1_S,
  TYPE_IQ4_NL,
  TYPE_IQ3_S,
  TYPE_IQ2_S,
  TYPE_IQ4_XS,
  TYPE_IQ1_M,
  TYPE_TQ1_0,
  TYPE_TQ2_0,
  TYPE_MXFP4,
  TYPE_NVFP4,
  TYPE_Q1_0,
  TYPE_COUNT
} file_type;

/* Decodes blocks of block_elements values to FP32: count is a multiple of block_elements; from is unaligned. */
typedef void (*dequant_fn)(const void *from, float *to, size_t count);

typedef struct type_info {
  const char *safetensors_name; /* NULL: not a safetensors type */
  const char *gguf_name;        /* NULL: not a GGUF type */
  int gguf_id;                  /* -1: not a GGUF type */
  uint32_t block_elements;      /* 1 for plain types */
  uint32_t block_bits;          /* bits of one block (of one element for plain types) */
  viva_dtype dtype;             /* VIVA_DTYPE_NONE for block types */
  dequant_fn dequant;           /* NULL: cannot be read as FP32 */
} type_info;

/* Never NULL for type < TYPE_COUNT. */
const type_info *type_get(file_type type);
const char *type_name(file_type type);

/* 1 when the name (or id) is known. */
int type_from_safetensors(const char *name, size_t bytes, file_type *type);
int type_from_gguf(uint32_t id, file_type *type);

/* Bytes of elements values: checked. 1 when they overflow, do not fill whole blocks, or are no whole bytes. */
int type_bytes(file_type type, uint64_t elements, uint64_t *bytes);

/* As the dequant column; the fastest variant for this CPU. Bit-equal to the gguf Python package. E_UNSUPPORTED (types
 * named) when the type has none. */
viva_status type_dequant(file_type type, const void *from, float *to, size_t count, viva_error *error);

#endif
