/* tensor/few.c: few elements out of tensors and into them. */
#include "tensor/few.h"

#include <string.h>

#include "tensor/cast.h"

/* to = the elements under an index that runs over shape, of one axis or more. */
#define GATHER(T)                                                                                                      \
  static void gather_##T(uint32_t rank, const uint64_t *shape, const int64_t *strides, const void *first,              \
                         void *dense) {                                                                                \
    const T *from = first;                                                                                             \
    T *to = dense;                                                                                                     \
    const uint32_t inner = rank - 1;                                                                                   \
    const size_t n = (size_t)shape[inner];                                                                             \
    uint64_t index[VIVA_TENSOR_MAX_RANK];                                                                              \
    for (uint32_t i = 0; i < inner; i++) index[i] = 0;                                                                 \
    for (;;) {                                                                                                         \
      for (size_t k = 0; k < n; k++) to[k] = from[(int64_t)k * strides[inner]];                                        \
      uint32_t i = inner;                                                                                              \
      for (to += n; i-- > 0;) {                                                                                        \
        from += strides[i];                                                                                            \
        if (++index[i] < shape[i]) break;                                                                              \
        from -= (int64_t)shape[i] * strides[i];                                                                        \
        index[i] = 0;                                                                                                  \
      }                                                                                                                \
      if (i == UINT32_MAX) return;                                                                                     \
    }                                                                                                                  \
  }
GATHER(uint8_t)
GATHER(uint16_t)
GATHER(uint32_t)
GATHER(uint64_t)

static void gather(size_t size, uint32_t rank, const uint64_t *shape, const int64_t *strides, const void *from,
                   void *to) {
  switch (size) {
  case 1: gather_uint8_t(rank, shape, strides, from, to); return;
  case 2: gather_uint16_t(rank, shape, strides, from, to); return;
  case 4: gather_uint32_t(rank, shape, strides, from, to); return;
  default: gather_uint64_t(rank, shape, strides, from, to);
  }
}

const void *few_read(const viva_tensor *t, uint32_t rank, const uint64_t *shape, const int64_t *strides,
                     viva_dtype type, few_room *room) {
  const size_t from_size = tensor_element_bytes(t->dtype), size = tensor_element_bytes(type);
  uint64_t count = 1;
  int lies = 1;
  for (uint32_t i = rank; i-- > 0; count *= shape[i]) lies &= shape[i] == 1 || strides[i] == (int64_t)count;
  if (t->dtype == type) {
    if (lies) return t->data;
    gather(size, rank, shape, strides, t->data, room->bytes);
    return room->bytes;
  }
  few_room raw;
  if (!lies) gather(from_size, rank, shape, strides, t->data, raw.bytes);
  cast_line(type, room->bytes, (int64_t)size, t->dtype, lies ? t->data : raw.bytes, (int64_t)from_size, (size_t)count);
  return room->bytes;
}

/* All of a row-major tensor. */
static inline const void *values_of(const viva_tensor *t, viva_dtype type, few_room *room) {
  if (t->dtype == type) return t->data;
  cast_line(type, room->bytes, (int64_t)tensor_element_bytes(type), t->dtype, t->data,
            (int64_t)tensor_element_bytes(t->dtype), t->elements);
  return room->bytes;
}

const void *few_hold(const viva_tensor *t, viva_dtype type, few_room *room) {
  if (tensor_contiguous(t)) return values_of(t, type, room);
  return few_read(t, t->rank, t->shape, t->strides, type, room);
}

static __attribute__((noinline)) const void *read_lines(const viva_tensor *t, uint32_t rank, const uint64_t *shape,
                                                        uint32_t last, viva_dtype type, few_room *room) {
  const uint32_t missing = rank - t->rank;
  uint64_t sizes[VIVA_TENSOR_MAX_RANK];
  int64_t strides[VIVA_TENSOR_MAX_RANK];
  uint32_t count = 0;
  for (int end = 0; end < 2; end++)
    for (uint32_t i = 0; i < rank; i++) {
      if ((int)(last >> i & 1) != end) continue;
      sizes[count] = shape[i];
      strides[count++] = i < missing || t->shape[i - missing] == 1 ? 0 : t->strides[i - missing];
    }
  return few_read(t, rank, sizes, strides, type, room);
}

/* A row-major tensor, repeated: its elements are converted once. */
static const void *repeat(const viva_tensor *t, size_t times, viva_dtype type, few_room *room) {
  const size_t bytes = t->elements * tensor_element_bytes(type);
  few_room once;
  const char *from = values_of(t, type, &once);
  for (size_t i = 0; i < times; i++) memcpy(room->bytes + i * bytes, from, bytes);
  return room->bytes;
}

/* How often t's elements follow each other in this shape, t being row-major and its axes the last of it; 0: not so. */
static size_t times_in(const viva_tensor *t, uint32_t rank, const uint64_t *shape) {
  const uint32_t missing = rank - t->rank;
  size_t times = 1;
  for (uint32_t i = 0; i < missing; i++) times *= (size_t)shape[i];
  for (uint32_t i = 0; i < t->rank; i++)
    if (t->shape[i] != shape[missing + i]) return 0;
  return tensor_contiguous(t) ? times : 0;
}

const void *few_lines(const viva_tensor *t, uint32_t rank, const uint64_t *shape, uint32_t last, viva_dtype type,
                      few_room *room) {
  const uint32_t lowest = last & (0u - last);
  const int in_order = last == 0 || last + lowest == 1u << rank;
  const size_t times = in_order ? times_in(t, rank, shape) : 0;
  if (times == 1) return values_of(t, type, room);
  if (times > 1) return repeat(t, times, type, room);
  return read_lines(t, rank, shape, last, type, room);
}

void few_put(const viva_tensor *to, viva_dtype result, viva_dtype type, const void *values) {
  few_room rounded;
  int64_t to_step[VIVA_TENSOR_MAX_RANK], step[VIVA_TENSOR_MAX_RANK];
  const int64_t to_size = (int64_t)tensor_element_bytes(to->dtype);
  int64_t size = (int64_t)tensor_element_bytes(type);
  if (type != result && to->dtype != result) { /* it is the result that is converted */
    cast_line(result, rounded.bytes, (int64_t)tensor_element_bytes(result), type, values, size, to->elements);
    type = result, size = (int64_t)tensor_element_bytes(result), values = rounded.bytes;
  }
  if (tensor_contiguous(to)) {
    cast_line(to->dtype, to->data, to_size, type, values, size, to->elements);
    return;
  }
  for (uint32_t i = to->rank; i-- > 0; size *= (int64_t)to->shape[i])
    to_step[i] = to->strides[i] * to_size, step[i] = size;
  operand_lines(to->rank, to->shape, to->dtype, to->data, to_step, type, values, step);
}

viva_status few_give(goal *g, runtime *rt, viva_dtype result, uint32_t rank, const uint64_t *shape, viva_dtype type,
                     const void *values, viva_error *error) {
  viva_tensor *to;
  TRY(few_place(g, rt, result, rank, shape, &to, error));
  few_put(to, result, type, values);
  if (g->fresh) *g->fresh = to;
  return VIVA_OK;
}
