/* tensor/cast.c: conversions: direct where the table has a loop; F16, BF16 and the 8-bit floats through F32. */
#include "tensor/cast.h"

#include <string.h>

#include "number/number.h"
#include "tensor/tensor.h"

enum { CHUNK = 256, FEW = 64 };

/* Not inlined: what dispatches stays without a stack frame of its own, which takes as long as converting 8 elements. */
#define APART __attribute__((noinline))

typedef void (*bulk_fn)(const void *from, void *to, size_t count);

/* E2M1 has a code in each byte here; number.h's bulk functions have two. */
static void e2m1_to_f32_bytes(const void *from, void *to, size_t count) {
  const uint8_t *codes = from;
  for (size_t i = 0; i < count; i++) {
    const float value = e2m1_to_f32(codes[i] & 15);
    memcpy((char *)to + i * sizeof value, &value, sizeof value);
  }
}

static void e2m1_from_f32_bytes(const void *from, void *to, size_t count) {
  for (size_t i = 0; i < count; i++) {
    float value;
    memcpy(&value, (const char *)from + i * sizeof value, sizeof value);
    ((uint8_t *)to)[i] = e2m1_from_f32(value);
  }
}

/* NULL: the type is computed with directly. */
static const bulk_fn decoders[DTYPE_COUNT] = {
    [VIVA_F16] = f16_to_f32_n,   [VIVA_BF16] = bf16_to_f32_n, [VIVA_E4M3] = e4m3_to_f32_n,
    [VIVA_E5M2] = e5m2_to_f32_n, [VIVA_E8M0] = e8m0_to_f32_n, [VIVA_E2M1] = e2m1_to_f32_bytes,
};
static const bulk_fn encoders[DTYPE_COUNT] = {
    [VIVA_F16] = f16_from_f32_n,   [VIVA_BF16] = bf16_from_f32_n, [VIVA_E4M3] = e4m3_from_f32_n,
    [VIVA_E5M2] = e5m2_from_f32_n, [VIVA_E8M0] = e8m0_from_f32_n, [VIVA_E2M1] = e2m1_from_f32_bytes,
};

/* Elements of 1, 2, 4 or 8 bytes moved as they are. */
static APART void copy_line(size_t size, char *to, int64_t to_step, const char *from, int64_t from_step, size_t n) {
  if (to_step == (int64_t)size && from_step == to_step) {
    memmove(to, from, n * size);
    return;
  }
  switch (size) {
  case 1:
    for (size_t i = 0; i < n; i++, to += to_step, from += from_step) *to = *from;
    return;
  case 2:
    for (size_t i = 0; i < n; i++, to += to_step, from += from_step) memcpy(to, from, 2);
    return;
  case 4:
    for (size_t i = 0; i < n; i++, to += to_step, from += from_step) memcpy(to, from, 4);
    return;
  default:
    for (size_t i = 0; i < n; i++, to += to_step, from += from_step) memcpy(to, from, 8);
  }
}

static void odd_f32(const char *from, int64_t from_step, float *to, size_t n) {
  for (size_t i = 0; i < n; i++) {
    double x;
    memcpy(&x, from + (int64_t)i * from_step, sizeof x);
    to[i] = cast_odd(x);
  }
}

static APART void direct(viva_dtype to_type, char *to, int64_t to_step, viva_dtype from_type, const char *from,
                         int64_t from_step, size_t n) {
  char *p[2] = {to, (char *)(uintptr_t)from};
  const int64_t step[2] = {to_step, from_step};
  loops_get()->cast[to_type][from_type == VIVA_BOOL ? VIVA_U8 : from_type](p, step, n);
}

/* At most CHUNK elements as dense F32. */
static void chunk_to_f32(float *to, viva_dtype from_type, const char *from, int64_t from_step, size_t n, int odd) {
  const bulk_fn decode = decoders[from_type];
  const size_t size = tensor_element_bytes(from_type);
  char dense[2 * CHUNK];
  if (!decode) {
    if (odd && from_type == VIVA_F64)
      odd_f32(from, from_step, to, n);
    else if (from_type == VIVA_F32)
      copy_line(sizeof *to, (char *)to, sizeof *to, from, from_step, n);
    else
      direct(VIVA_F32, (char *)to, sizeof *to, from_type, from, from_step, n);
    return;
  }
  if (from_step != (int64_t)size) copy_line(size, dense, (int64_t)size, from, from_step, n);
  decode(from_step == (int64_t)size ? from : dense, to, n);
}

static void chunk_from_f32(viva_dtype to_type, char *to, int64_t to_step, const float *from, size_t n) {
  const bulk_fn encode = encoders[to_type];
  const size_t size = tensor_element_bytes(to_type);
  char dense[2 * CHUNK];
  if (!encode) {
    if (to_type == VIVA_F32)
      copy_line(sizeof *from, to, to_step, (const char *)from, sizeof *from, n);
    else
      direct(to_type, to, to_step, VIVA_F32, (const char *)from, sizeof *from, n);
    return;
  }
  encode(from, to_step == (int64_t)size ? to : dense, n);
  if (to_step != (int64_t)size) copy_line(size, to, to_step, dense, (int64_t)size, n);
}

/* What has no loop of its own, through F32. */
static APART void cast_by_f32(viva_dtype to_type, char *to, int64_t to_step, viva_dtype from_type, const char *from,
                              int64_t from_step, size_t n) {
  float values[CHUNK];
  for (size_t done = 0; done < n; done += CHUNK) {
    const size_t part = n - done < CHUNK ? n - done : CHUNK;
    chunk_to_f32(values, from_type, from + (int64_t)done * from_step, from_step, part, encoders[to_type] != NULL);
    chunk_from_f32(to_type, to + (int64_t)done * to_step, to_step, values, part);
  }
}

/* A few dense elements as F64. */
static APART void widen_few(bulk_fn decode, const char *from, char *to, size_t n) {
  float values[FEW];
  decode(from, values, n);
  for (size_t i = 0; i < n; i++) {
    const double wide = (double)values[i];
    memcpy(to + i * sizeof wide, &wide, sizeof wide);
  }
}

/* An F64 or F32 as F16 or BF16: what becomes of a sum. */
static inline void cast_one(viva_dtype to_type, char *to, viva_dtype from_type, const char *from) {
  double wide;
  float x;
  if (from_type == VIVA_F64) {
    memcpy(&wide, from, sizeof wide);
    x = cast_odd(wide);
  } else {
    memcpy(&x, from, sizeof x);
  }
  const uint16_t code = to_type == VIVA_F16 ? f16_from_f32(x) : bf16_from_f32(x);
  memcpy(to, &code, sizeof code);
}

static inline int is_real(viva_dtype t) { return t == VIVA_F64 || t == VIVA_F32; }
static inline int is_half(viva_dtype t) { return t == VIVA_F16 || t == VIVA_BF16; }

void cast_line(viva_dtype to_type, char *to, int64_t to_step, viva_dtype from_type, const char *from, int64_t from_step,
               size_t n) {
  const bulk_fn decode = decoders[from_type], encode = encoders[to_type];
  if (to_type == from_type)
    copy_line(tensor_element_bytes(to_type), to, to_step, from, from_step, n);
  else if (!decode && !encode)
    direct(to_type, to, to_step, from_type, from, from_step, n);
  else if (n <= 2 && is_half(to_type) && is_real(from_type))
    for (size_t i = 0; i < n; i++)
      cast_one(to_type, to + (int64_t)i * to_step, from_type, from + (int64_t)i * from_step);
  else if (decode && to_type == VIVA_F32 && to_step == 4 && from_step == (int64_t)tensor_element_bytes(from_type))
    decode(from, to, n);
  else if (encode && from_type == VIVA_F32 && from_step == 4 && to_step == (int64_t)tensor_element_bytes(to_type))
    encode(from, to, n);
  else if (decode && to_type == VIVA_F64 && n <= FEW && to_step == 8 &&
           from_step == (int64_t)tensor_element_bytes(from_type))
    widen_few(decode, from, to, n);
  else
    cast_by_f32(to_type, to, to_step, from_type, from, from_step, n);
}
