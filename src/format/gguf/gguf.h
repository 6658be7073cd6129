/* format/gguf/gguf.h: GGUF version 2 and 3.
 *
 *   "GGUF" | u32 version | u64 tensor_count | u64 kv_count
 *   kv_count     × { string key | u32 type | value }           string = u64 bytes, then the bytes, no zero
 *   tensor_count × { string name | u32 n_dims | u64 ne[n_dims] (ne[0] fastest) | u32 type | u64 offset }
 *   padding to general.alignment (default 32, a power of two)
 *   tensor data; offset counts from here and is a multiple of the alignment
 *
 *   value types: 0 u8  1 i8  2 u16  3 i16  4 u32  5 i32  6 f32  7 bool  8 string  9 array { u32 type | u64 n | n values
 * } 10 u64  11 i64  12 f64.   Little endian throughout.
 */
#ifndef FORMAT_GGUF_GGUF_H
#define FORMAT_GGUF_GGUF_H

#include "format/checkpoint_build.h"

typedef enum gguf_type {
  GGUF_U8 = 0,
  GGUF_I8,
  GGUF_U16,
  GGUF_I16,
  GGUF_U32,
  GGUF_I32,
  GGUF_F32,
  GGUF_BOOL,
  GGUF_STRING,
  GGUF_ARRAY,
  GGUF_U64,
  GGUF_I64,
  GGUF_F64
} gguf_type;

/* A value's checked bytes in the header (kept in private memory). For arrays: element type, count, first element. */
typedef struct gguf_value {
  const char *key; /* zero-ended */
  gguf_type type;  /* of the value, or of the elements when is_array */
  int is_array;
  uint64_t count;      /* 1 when not an array */
  const uint8_t *data; /* encoded elements, all within the header */
  size_t bytes;
} gguf_value;

typedef struct gguf {
  uint32_t version;
  uint32_t alignment;
  uint64_t data_offset;  /* where tensor data begins: the header's end, rounded up to the alignment */
  const uint8_t *header; /* [0, header_bytes) of the file, private: the values point into it */
  size_t header_bytes;
  gguf_value *values; /* in the file's order */
  size_t value_count;
} gguf;

/* "u32", or "array of u32". */
const char *gguf_type_name(gguf_type type, int is_array);

/* Reads and checks a whole GGUF header into b->ck (files[0] is open): ck->gguf, and ck->tensors sorted by name. A model
 * in several files is opened with all of them (gguf_split.c). What a failed call leaves in the arena goes with it.
 * Stricter than ggml: names and keys are UTF-8
 * and unique, tensors do not overlap, dimensions are at least 1, the alignment is 8 to 2^20. Bytes after the last
 * tensor and gaps between tensors are allowed, as ggml allows them. */
viva_status gguf_open(checkpoint_build *b, viva_error *error);

/* 1 for the name of a part behind the first: NAME-00002-of-00003.gguf. */
int gguf_is_later_part(const char *path);

/* NULL when there is none. */
const gguf_value *gguf_find(const gguf *g, const char *key);

/* Conversions of a single value: 0 when it has that kind and range (integers of any width; bool as integer is refused),
 * 1 otherwise. */
int gguf_u64(const gguf_value *value, uint64_t *out);
int gguf_i64(const gguf_value *value, int64_t *out);
int gguf_f64(const gguf_value *value, double *out); /* floats and integers */
int gguf_bool(const gguf_value *value, int *out);
int gguf_string(const gguf_value *value, const char **text, size_t *bytes);

/* Walks an array of strings: at = 0 at first; returns 1 and the next string, 0 at the end. */
int gguf_next_string(const gguf_value *array, size_t *at, const char **text, size_t *bytes);

/* Element i of an array of numbers (any width). 0 when it exists and fits, else 1. */
int gguf_element_i64(const gguf_value *array, uint64_t i, int64_t *out);
int gguf_element_f64(const gguf_value *array, uint64_t i, double *out);

/* Fills config from "ARCH.*" and "tokenizer.ggml.*" keys; rules as for viva_checkpoint_config. */
viva_status gguf_config(const viva_checkpoint *ck, viva_model_config *config, viva_error *error);

#endif
