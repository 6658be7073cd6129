/* format/gguf/gguf_value.c: finding and reading checked values. */
#include <string.h>

#include "base/ck.h"
#include "format/gguf/gguf_parse.h"
#include "number/number.h"

/* Indexed by gguf_type. Strings and arrays have no fixed size. */
static const struct {
  const char *name, *array_name;
  uint8_t bytes;
} kinds[GGUF_TYPES] = {
    [GGUF_U8] = {"u8", "array of u8", 1},
    [GGUF_I8] = {"i8", "array of i8", 1},
    [GGUF_U16] = {"u16", "array of u16", 2},
    [GGUF_I16] = {"i16", "array of i16", 2},
    [GGUF_U32] = {"u32", "array of u32", 4},
    [GGUF_I32] = {"i32", "array of i32", 4},
    [GGUF_F32] = {"f32", "array of f32", 4},
    [GGUF_BOOL] = {"bool", "array of bool", 1},
    [GGUF_STRING] = {"string", "array of string", 0},
    [GGUF_ARRAY] = {"array", "array of array", 0},
    [GGUF_U64] = {"u64", "array of u64", 8},
    [GGUF_I64] = {"i64", "array of i64", 8},
    [GGUF_F64] = {"f64", "array of f64", 8},
};

const char *gguf_type_name(gguf_type type, int is_array) {
  return is_array ? kinds[type].array_name : kinds[type].name;
}

size_t gguf_type_bytes(gguf_type type) { return kinds[type].bytes; }

const gguf_value *gguf_find(const gguf *g, const char *key) {
  for (size_t i = 0; i < g->value_count; i++) {
    if (strcmp(g->values[i].key, key) == 0) return &g->values[i];
  }
  return NULL;
}

/* Element i as two's complement; *negative tells a value below zero from a large one. 1: no integer. */
static int read_integer(const gguf_value *value, uint64_t i, uint64_t *bits, int *negative) {
  if (i >= value->count) return 1;
  size_t size = kinds[value->type].bytes;
  *bits = 0;
  memcpy(bits, value->data + i * size, size); /* within value->bytes, and ≤ 8 */
  switch (value->type) {
  case GGUF_U8:
  case GGUF_U16:
  case GGUF_U32:
  case GGUF_U64: *negative = 0; return 0;
  case GGUF_I8:
  case GGUF_I16:
  case GGUF_I32:
  case GGUF_I64:
    *negative = (int)(*bits >> (8 * size - 1));
    if (*negative && size < 8) *bits |= UINT64_MAX << (8 * size);
    return 0;
  default: return 1;
  }
}

int gguf_element_i64(const gguf_value *array, uint64_t i, int64_t *out) {
  uint64_t bits;
  int negative;
  if (read_integer(array, i, &bits, &negative)) return 1;
  if (!negative && bits > INT64_MAX) return 1;
  memcpy(out, &bits, sizeof bits);
  return 0;
}

int gguf_element_f64(const gguf_value *array, uint64_t i, double *out) {
  uint64_t bits;
  int negative;
  if (i >= array->count) return 1;
  if (array->type == GGUF_F32) {
    float value;
    memcpy(&value, array->data + i * sizeof value, sizeof value);
    *out = (double)value;
    return 0;
  }
  if (array->type == GGUF_F64) {
    memcpy(out, array->data + i * sizeof *out, sizeof *out);
    return 0;
  }
  if (read_integer(array, i, &bits, &negative)) return 1;
  if (!negative) {
    *out = (double)bits;
  } else {
    int64_t value;
    memcpy(&value, &bits, sizeof bits);
    *out = (double)value;
  }
  return 0;
}

int gguf_u64(const gguf_value *value, uint64_t *out) {
  uint64_t bits;
  int negative;
  if (value->is_array || read_integer(value, 0, &bits, &negative) || negative) return 1;
  *out = bits;
  return 0;
}

int gguf_i64(const gguf_value *value, int64_t *out) { return value->is_array || gguf_element_i64(value, 0, out); }

int gguf_f64(const gguf_value *value, double *out) { return value->is_array || gguf_element_f64(value, 0, out); }

int gguf_bool(const gguf_value *value, int *out) {
  if (value->is_array || value->type != GGUF_BOOL || value->data[0] > 1) return 1;
  *out = value->data[0];
  return 0;
}

int gguf_string(const gguf_value *value, const char **text, size_t *bytes) {
  size_t at = 0;
  if (value->is_array || value->type != GGUF_STRING) return 1;
  return !gguf_next_string(value, &at, text, bytes);
}

int gguf_next_string(const gguf_value *array, size_t *at, const char **text, size_t *bytes) {
  uint64_t length;
  if (array->type != GGUF_STRING || !ck_range(*at, sizeof length, array->bytes)) return 0;
  memcpy(&length, array->data + *at, sizeof length);
  size_t start = *at + sizeof length;
  if (length > array->bytes - start) return 0;
  *text = (const char *)array->data + start;
  *bytes = (size_t)length;
  *at = start + (size_t)length;
  return 1;
}
