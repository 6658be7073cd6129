/* tensor/tensor.c: shapes over shared storage: lifetime, checked arithmetic, views.
 *
 * Element [i, j, …] lies at data + (i·strides[0] + j·strides[1] + …) · element bytes. Every tensor is checked once, when it
 * is made, to stay within its storage; after that nothing here can overflow. */
#include "tensor/tensor.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/asan.h"
#include "base/ck.h"
#include "base/count.h"
#include "base/error.h"
#include "base/options.h"

static const char *shape_text(uint32_t rank, const uint64_t *shape, char buffer[128]) {
  size_t at = 1;
  buffer[0] = '[';
  for (uint32_t i = 0; i < rank; i++) {
    const size_t room = at < 100 ? 128 - at : 0; /* 8 sizes of 20 digits may not fit: the rest is "..." */
    if (room == 0) {
      at += (size_t)snprintf(buffer + at, 128 - at, ", ...");
      break;
    }
    if (shape[i] == UINT64_MAX) /* reshape's: what is left */
      at += (size_t)snprintf(buffer + at, room, i ? ", open" : "open");
    else
      at += (size_t)snprintf(buffer + at, room, i ? ", %llu" : "%llu", (unsigned long long)shape[i]);
  }
  snprintf(buffer + at, 128 - at, "]");
  return buffer;
}

const char *tensor_shape_text(const viva_tensor *t, char buffer[128]) { return shape_text(t->rank, t->shape, buffer); }

/* -- checked shapes */

static viva_status refuse_type(viva_dtype dtype, viva_error *error) {
  return error_set(error, VIVA_E_ARGUMENT,
                   "a tensor cannot have the type %s; expected F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, "
                   "U8, BOOL, F8_E4M3, F8_E5M2, F8_E8M0 or F4",
                   viva_dtype_name(dtype));
}

static viva_status refuse_rank(uint32_t rank, const uint64_t *shape, viva_error *error) {
  if (rank > VIVA_TENSOR_MAX_RANK)
    return error_set(error, VIVA_E_ARGUMENT, "rank is %u; expected 0 to %d", (unsigned)rank, VIVA_TENSOR_MAX_RANK);
  return shape ? VIVA_OK : error_set(error, VIVA_E_ARGUMENT, "shape is NULL; expected %u sizes", (unsigned)rank);
}

static viva_status refuse_size(viva_dtype dtype, uint32_t rank, const uint64_t *shape, viva_error *error) {
  char text[128];
  return error_set(error, VIVA_E_LIMIT, "the size of a tensor %s of %s overflows", shape_text(rank, shape, text),
                   viva_dtype_name(dtype));
}

/* The elements of a tensor of this type and shape, and all the checks of both. */
static inline viva_status count_elements(viva_dtype dtype, uint32_t rank, const uint64_t *shape, size_t *elements,
                                         viva_error *error) {
  const size_t element = tensor_element_bytes(dtype);
  *elements = 0;
  if (element == 0) return refuse_type(dtype, error);
  if (rank > VIVA_TENSOR_MAX_RANK || (rank > 0 && !shape)) return refuse_rank(rank, shape, error);
  uint64_t product = 1, bytes; /* 0 counts as 1: the strides of an empty tensor must not overflow either */
  int empty = 0, overflow = 0;
  for (uint32_t i = 0; i < rank; i++) {
    empty |= shape[i] == 0;
    overflow |= ck_mul(product, shape[i] ? shape[i] : 1, &product);
  }
  overflow |= ck_mul(product, element, &bytes) || bytes > PTRDIFF_MAX;
  if (overflow) return refuse_size(dtype, rank, shape, error);
  *elements = empty ? 0 : (size_t)product;
  return VIVA_OK;
}

/* All of t but its place in memory. strides NULL: row-major. */
static inline void lay(viva_tensor *t, viva_dtype dtype, uint32_t rank, const uint64_t *shape, const int64_t *strides,
                       size_t elements) {
  int64_t step = 1;
  t->dtype = dtype, t->rank = rank, t->elements = elements;
  memset(t->shape, 0, sizeof t->shape); /* all eight: gcc makes a loop over the rest a `rep stos`, 15 ns */
  memset(t->strides, 0, sizeof t->strides);
  for (uint32_t i = rank; i-- > 0;) {
    t->shape[i] = shape[i];
    /* The step of an axis with one index is never taken: whatever it was, it must not overflow anywhere. */
    t->strides[i] = strides && shape[i] > 1 ? strides[i] : step;
    step *= shape[i] ? (int64_t)shape[i] : 1;
  }
  for (uint32_t i = 0; i < rank && elements == 0; i++) t->strides[i] = 1; /* likewise */
}

/* The lowest and the highest element that t's indices reach, from element [0, 0, …]; 1 on overflow. */
static int reach(const viva_tensor *t, int64_t *low, int64_t *high) {
  *low = *high = 0;
  for (uint32_t i = 0; i < t->rank && t->elements > 0; i++) {
    int64_t last;
    if (__builtin_mul_overflow((int64_t)(t->shape[i] - 1), t->strides[i], &last)) return 1;
    int64_t *end = last < 0 ? low : high;
    if (__builtin_add_overflow(*end, last, end)) return 1;
  }
  return 0;
}

static viva_status refuse_reach(const viva_tensor *t, int64_t offset, size_t bytes, viva_error *error) {
  char text[128];
  return error_set(error, VIVA_E_SIZE,
                   "a tensor %s of %s with these strides at element %lld reaches outside its memory of %zu bytes "
                   "(%lld elements)",
                   tensor_shape_text(t, text), viva_dtype_name(t->dtype), (long long)offset, bytes,
                   (long long)(bytes / tensor_element_bytes(t->dtype)));
}

/* t's element [0, 0, …] is `offset` elements from the beginning of a storage of `bytes`. */
static viva_status check_reach(const viva_tensor *t, int64_t offset, size_t bytes, viva_error *error) {
  const size_t element = tensor_element_bytes(t->dtype);
  const int64_t held = (int64_t)(bytes / element);
  int64_t low, high;
  int outside = reach(t, &low, &high);
  outside = outside || __builtin_add_overflow(low, offset, &low) || __builtin_add_overflow(high, offset, &high);
  if (t->elements == 0)
    outside = offset < 0 || offset > held;
  else
    outside = outside || low < 0 || high >= held;
  return outside ? refuse_reach(t, offset, bytes, error) : VIVA_OK;
}

/* -- lifetime */

static void free_data(tensor_storage *s) {
  const tensor_device *device = s->device;
  if (!s->owned) return;
  if (device)
    device->free(device->engine, s->data);
  else
    mem_free(&s->rt->mem, s->data);
}

void storage_settle(const tensor_storage *s) {
  char byte;
  if (s->device && s->bytes > 0) s->device->download(s->device->engine, &byte, s->data, 1, NULL); /* waits */
}

/* Gives up a reference; 1: it was the last. The only one is not shared: who could copy it holds it. */
static inline int was_last(_Atomic uint32_t *references) {
  return atomic_load_explicit(references, memory_order_acquire) == 1 ||
         count_references(references, 0u - 1, memory_order_acq_rel) == 1;
}

/* What is not only memory behind its storage. Not inlined: few tensors have such. */
static __attribute__((noinline)) void give_back(tensor_storage *s) {
  if (s->release) {
    storage_settle(s);
    s->release(s->release_user, s->data);
  }
  free_data(s);
}

static void storage_release(tensor_storage *s) {
  if (!was_last(&s->references) || s->local) return;
  runtime *rt = s->rt;
  const tensor_device *device = s->device;
  if (s->release || s->owned) give_back(s);
  mem_quick_free(&rt->mem, s);
  if (device) device->release(device->engine); /* its runtime lives on in ours */
  runtime_release(rt);
}

/* The tensor's element [0, 0, …] is at data in s, one of whose references it takes over. */
static inline void place(viva_tensor *t, tensor_storage *s, char *data) {
  atomic_init(&t->references, 1);
  t->storage = s;
  t->data = data;
}

enum { SMALL_BYTES = 1024, BEHIND = (sizeof(tensor_first) + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN };

typedef enum storage_kind { WRAPPED, ZEROED, UNDEFINED } storage_kind;

/* Memory of its own for a storage. */
static viva_status take_data(tensor_storage *s, storage_kind kind, viva_error *error) {
  const tensor_device *device = s->device;
  void *data;
  s->owned = 1;
  if (!device) {
    s->data = kind == ZEROED ? mem_zalloc(&s->rt->mem, s->bytes) : mem_alloc(&s->rt->mem, s->bytes);
    if (s->data) return VIVA_OK;
    return error_set(error, VIVA_E_MEMORY, "no memory for a tensor of %zu bytes", s->bytes);
  }
  TRY(device->alloc(device->engine, s->bytes ? s->bytes : 1, &data, error));
  s->data = data;
  const viva_status status = kind == ZEROED ? device_zeros(device, data, s->bytes, error) : VIVA_OK;
  if (status != VIVA_OK) free_data(s);
  return status;
}

static viva_status refuse_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory for a tensor");
}

/* Of a new storage and the tensor at its beginning, all but the shape, which is yet to be laid. */
static inline void begin(tensor_first *f, runtime *rt, const tensor_device *device, char *data, size_t bytes) {
  f->storage = (tensor_storage){.rt = rt, .device = device, .data = data, .bytes = bytes};
  atomic_init(&f->storage.references, 1);
  place(&f->tensor, &f->storage, data);
}

/* With its elements behind it, undefined. */
static inline viva_status make_small(runtime *rt, size_t bytes, viva_tensor **out, viva_error *error) {
  tensor_first *f = mem_quick_alloc(&rt->mem, BEHIND + bytes);
  if (!f) return refuse_memory(error);
  asan_poison(f + 1, BEHIND - sizeof *f);
  begin(f, runtime_retain(rt), NULL, (char *)f + BEHIND, bytes);
  *out = &f->tensor;
  return VIVA_OK;
}

static viva_status make(runtime *rt, const tensor_device *device, void *data, size_t bytes, storage_kind kind,
                        viva_tensor **out, viva_error *error) {
  tensor_first *f = mem_quick_alloc(&rt->mem, sizeof *f);
  if (!f) return refuse_memory(error);
  begin(f, rt, device, data, bytes);
  const viva_status status = kind == WRAPPED ? VIVA_OK : take_data(&f->storage, kind, error);
  if (status != VIVA_OK) {
    mem_quick_free(&rt->mem, f);
    return status;
  }
  f->tensor.data = f->storage.data;
  runtime_retain(rt);
  if (device) device->retain(device->engine);
  *out = &f->tensor;
  return VIVA_OK;
}

static viva_status create(runtime *rt, const tensor_device *device, viva_dtype dtype, uint32_t rank,
                          const uint64_t *shape, storage_kind kind, viva_tensor **out, viva_error *error) {
  size_t elements;
  *out = NULL;
  TRY(count_elements(dtype, rank, shape, &elements, error));
  const size_t bytes = elements * tensor_element_bytes(dtype);
  if (!device && bytes <= SMALL_BYTES) {
    TRY(make_small(rt, bytes, out, error));
    if (kind == ZEROED) memset((*out)->data, 0, bytes);
  } else {
    TRY(make(rt, device, NULL, bytes, kind, out, error));
  }
  lay(*out, dtype, rank, shape, NULL, elements);
  return VIVA_OK;
}

viva_status tensor_create(runtime *rt, viva_dtype dtype, uint32_t rank, const uint64_t *shape, viva_tensor **out,
                          viva_error *error) {
  return create(rt, NULL, dtype, rank, shape, ZEROED, out, error);
}

viva_status tensor_create_on(runtime *rt, const tensor_device *device, viva_dtype dtype, uint32_t rank,
                             const uint64_t *shape, viva_tensor **out, viva_error *error) {
  return create(rt, device, dtype, rank, shape, ZEROED, out, error);
}

viva_status tensor_empty(runtime *rt, viva_dtype dtype, uint32_t rank, const uint64_t *shape, viva_tensor **out,
                         viva_error *error) {
  return create(rt, NULL, dtype, rank, shape, UNDEFINED, out, error);
}

viva_status tensor_empty_in(tensor_local *room, runtime *rt, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                            viva_tensor **out, viva_error *error) {
  size_t elements;
  *out = NULL;
  TRY(count_elements(dtype, rank, shape, &elements, error));
  const size_t bytes = elements * tensor_element_bytes(dtype);
  if (!room || bytes > LOCAL_BYTES) return create(rt, NULL, dtype, rank, shape, UNDEFINED, out, error);
  begin(&room->first, rt, NULL, room->elements, bytes);
  room->first.storage.local = 1;
  *out = &room->first.tensor;
  lay(*out, dtype, rank, shape, NULL, elements);
  return VIVA_OK;
}

viva_status tensor_empty_on(runtime *rt, const tensor_device *device, viva_dtype dtype, uint32_t rank,
                            const uint64_t *shape, viva_tensor **out, viva_error *error) {
  return create(rt, device, dtype, rank, shape, UNDEFINED, out, error);
}

viva_status tensor_wrap(runtime *rt, const tensor_device *device, const viva_tensor_memory *memory, viva_dtype dtype,
                        uint32_t rank, const uint64_t *shape, viva_tensor **out, viva_error *error) {
  const size_t bytes = memory->bytes;
  viva_tensor t;
  *out = NULL;
  TRY(count_elements(dtype, rank, shape, &t.elements, error));
  lay(&t, dtype, rank, shape, memory->strides, t.elements);
  if (!memory->data && bytes > 0)
    return error_set(error, VIVA_E_ARGUMENT, "data is NULL; expected %zu bytes of memory", bytes);
  if ((uintptr_t)memory->data % tensor_element_bytes(dtype) != 0)
    return error_set(error, VIVA_E_ARGUMENT,
                     "data is not aligned to its elements of %zu bytes; copy it to memory that "
                     "is",
                     tensor_element_bytes(dtype));
  if (bytes > PTRDIFF_MAX) return error_set(error, VIVA_E_LIMIT, "%zu bytes are more than memory can hold", bytes);
  TRY(check_reach(&t, 0, bytes, error));
  TRY(make(rt, device, memory->data, bytes, WRAPPED, out, error));
  lay(*out, dtype, rank, shape, memory->strides, t.elements);
  (*out)->storage->release = memory->release, (*out)->storage->release_user = memory->release_user;
  return VIVA_OK;
}

viva_status tensor_over(tensor_storage *storage, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                        const int64_t *strides, int64_t offset, viva_tensor **out, viva_error *error) {
  viva_tensor t;
  *out = NULL;
  TRY(count_elements(dtype, rank, shape, &t.elements, error));
  lay(&t, dtype, rank, shape, strides, t.elements);
  TRY(check_reach(&t, offset, storage->bytes, error));
  viva_tensor *made = mem_quick_alloc(&storage->rt->mem, sizeof *made);
  if (!made) return error_set(error, VIVA_E_MEMORY, "no memory for a tensor");
  (void)count_references(&storage->references, 1, memory_order_relaxed);
  lay(made, dtype, rank, shape, strides, t.elements);
  place(made, storage, storage->data + offset * (int64_t)tensor_element_bytes(dtype));
  *out = made;
  return VIVA_OK;
}

viva_tensor *viva_tensor_retain(viva_tensor *tensor) {
  if (tensor) (void)count_references(&tensor->references, 1, memory_order_relaxed);
  return tensor;
}

void viva_tensor_release(viva_tensor *tensor) {
  if (!tensor || !was_last(&tensor->references)) return;
  tensor_storage *s = tensor->storage;
  if (tensor != &((tensor_first *)(void *)s)->tensor)
    mem_quick_free(&s->rt->mem, tensor);
  else if (!s->local)
    asan_poison(tensor, sizeof *tensor); /* its memory goes with the storage */
  storage_release(s);
}
