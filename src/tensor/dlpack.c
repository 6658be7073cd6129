/* tensor/dlpack.c: tensors as DLPack has them. */
#include "tensor/dlpack.h"

#include <string.h>

#include "base/ck.h"
#include "base/error.h"

static const struct {
  viva_dtype dtype;
  uint8_t code, bits;
} types[] = {{VIVA_F64, 2, 64},  {VIVA_F32, 2, 32}, {VIVA_F16, 2, 16}, {VIVA_BF16, 4, 16}, {VIVA_I64, 0, 64},
             {VIVA_I32, 0, 32},  {VIVA_I16, 0, 16}, {VIVA_I8, 0, 8},   {VIVA_U64, 1, 64},  {VIVA_U32, 1, 32},
             {VIVA_U16, 1, 16},  {VIVA_U8, 1, 8},   {VIVA_BOOL, 6, 8}, {VIVA_E4M3, 10, 8}, {VIVA_E5M2, 12, 8},
             {VIVA_E8M0, 14, 8}, {VIVA_E2M1, 17, 4}};
enum { TYPES = sizeof types / sizeof *types };

/* As DLPack numbers it. NULL: the host. */
static int32_t device_of(const tensor_device *device, int32_t *index) {
  viva_device_info info = {.size = sizeof info};
  *index = 0;
  if (!device) return DLPACK_CPU;
  device->info(device->engine, &info);
  *index = info.index;
  return info.kind == VIVA_DEVICE_CUDA ? DLPACK_CUDA : DLPACK_EXTENSION;
}

/* -- export */

/* What manager points to. */
typedef struct exported {
  dlpack_managed managed;
  viva_tensor *tensor;
  int64_t shape[VIVA_TENSOR_MAX_RANK], strides[VIVA_TENSOR_MAX_RANK];
} exported;

static void release_exported(dlpack_managed *managed) {
  exported *e = managed->manager;
  viva_tensor *t = e->tensor;
  runtime *rt = runtime_retain(t->storage->rt);
  mem_free(&rt->mem, e);
  viva_tensor_release(t);
  runtime_release(rt);
}

viva_status viva_tensor_to_dlpack(const viva_tensor *tensor, struct DLManagedTensorVersioned **managed,
                                  viva_error *error) {
  int type = 0;
  if (!managed) return error_set(error, VIVA_E_ARGUMENT, "managed is NULL; expected a place for it");
  *managed = NULL;
  TRY(operand_given(tensor, "tensor", error));
  while (type < TYPES && types[type].dtype != tensor->dtype) type++;
  if (type == TYPES) return operand_refuse("DLPack", tensor->dtype, VIVA_DTYPE_NONE, error);
  exported *e = mem_array(&tensor->storage->rt->mem, 1, sizeof *e);
  if (!e) return error_set(error, VIVA_E_MEMORY, "no memory for a DLPack tensor");
  for (uint32_t i = 0; i < tensor->rank; i++) {
    e->shape[i] = (int64_t)tensor->shape[i];
    e->strides[i] = tensor->strides[i];
  }
  int32_t index;
  const int32_t device = device_of(tensor->storage->device, &index);
  storage_settle(tensor->storage); /* the receiver's queue knows nothing of ours */
  e->tensor = viva_tensor_retain((viva_tensor *)(uintptr_t)tensor);
  e->managed = (dlpack_managed){.major = DLPACK_MAJOR,
                                .minor = DLPACK_MINOR,
                                .manager = e,
                                .deleter = release_exported,
                                .flags = types[type].bits < 8 ? DLPACK_SUBBYTE_PADDED : 0,
                                .tensor = {.data = tensor->data,
                                           .device_type = device,
                                           .device_id = index,
                                           .rank = (int32_t)tensor->rank,
                                           .code = types[type].code,
                                           .bits = types[type].bits,
                                           .lanes = 1,
                                           .shape = e->shape,
                                           .strides = e->strides}};
  *managed = &e->managed;
  return VIVA_OK;
}

/* -- import */

/* *where = the engine's device, or NULL for what the host reads. */
static viva_status check_device(const dlpack_tensor *t, const tensor_device *device, const tensor_device **where,
                                viva_error *error) {
  int32_t index;
  *where = NULL;
  if (t->device_type == DLPACK_CPU || t->device_type == DLPACK_CUDA_HOST) return VIVA_OK;
  const int32_t type = device_of(device, &index);
  if (!device || t->device_type != type || t->device_id != index)
    return error_set(error, VIVA_E_UNSUPPORTED,
                     "the DLPack tensor lies on device %d of type %d; expected type 1 (CPU), 3 (CUDA's host memory) or "
                     "the engine's own device, %d of type %d",
                     (int)t->device_id, (int)t->device_type, (int)index, (int)type);
  *where = device;
  return VIVA_OK;
}

static viva_status check(const dlpack_managed *m, const tensor_device *device, viva_dtype *dtype,
                         const tensor_device **where, viva_error *error) {
  const dlpack_tensor *t = &m->tensor;
  int type = 0;
  if (m->major != DLPACK_MAJOR)
    return error_set(error, VIVA_E_UNSUPPORTED, "this is DLPack %u.%u; expected version 1", (unsigned)m->major,
                     (unsigned)m->minor);
  TRY(check_device(t, device, where, error));
  while (type < TYPES && (types[type].code != t->code || types[type].bits != t->bits)) type++;
  if (type == TYPES || t->lanes != 1 || (t->bits < 8 && !(m->flags & DLPACK_SUBBYTE_PADDED)))
    return error_set(error, VIVA_E_UNSUPPORTED,
                     "elements of DLPack type %u with %u bits in %u lanes (flags %llu) are no elements of a tensor",
                     (unsigned)t->code, (unsigned)t->bits, (unsigned)t->lanes, (unsigned long long)m->flags);
  if (t->rank < 0 || t->rank > VIVA_TENSOR_MAX_RANK || (t->rank > 0 && !t->shape))
    return error_set(error, VIVA_E_ARGUMENT, "the DLPack tensor has %d axes; expected 0 to %d, and a shape",
                     (int)t->rank, VIVA_TENSOR_MAX_RANK);
  for (int32_t i = 0; i < t->rank; i++)
    if (t->shape[i] < 0)
      return error_set(error, VIVA_E_ARGUMENT, "axis %d of the DLPack tensor has the size %lld", (int)i,
                       (long long)t->shape[i]);
  *dtype = types[type].dtype;
  return VIVA_OK;
}

/* Strides, and the elements from element [0, 0, …] down to the lowest and up to the highest; 1 on overflow. */
static int reach(const dlpack_tensor *t, int64_t *strides, int64_t *low, int64_t *high) {
  int64_t step = 1, last;
  *low = *high = 0;
  for (int32_t i = t->rank; i-- > 0;) {
    strides[i] = t->strides ? t->strides[i] : step;
    if (__builtin_mul_overflow(step, t->shape[i] > 0 ? t->shape[i] : 1, &step)) return 1;
    if (t->shape[i] < 2) continue;
    if (__builtin_mul_overflow(t->shape[i] - 1, strides[i], &last)) return 1;
    int64_t *end = last < 0 ? low : high;
    if (__builtin_add_overflow(*end, last, end)) return 1;
  }
  return 0;
}

static void release_imported(void *user, void *data) {
  dlpack_managed *managed = user;
  (void)data;
  if (managed->deleter) managed->deleter(managed);
}

/* A tensor over managed's memory that releases nothing yet. */
static viva_status lay_over(runtime *rt, const tensor_device *device, const dlpack_tensor *t, viva_dtype dtype,
                            viva_tensor **base, viva_tensor **view, viva_error *error) {
  int64_t strides[VIVA_TENSOR_MAX_RANK], low, high, span;
  uint64_t shape[VIVA_TENSOR_MAX_RANK], bytes;
  const int64_t element = (int64_t)tensor_element_bytes(dtype);
  int empty = 0;
  for (int32_t i = 0; i < t->rank; i++) empty |= (shape[i] = (uint64_t)t->shape[i]) == 0;
  if (reach(t, strides, &low, &high) || __builtin_sub_overflow(high, low, &span) || span == INT64_MAX ||
      ck_mul((uint64_t)span + 1, (uint64_t)element, &bytes) || bytes > PTRDIFF_MAX)
    return error_set(error, VIVA_E_LIMIT, "the size of the DLPack tensor overflows");
  if (empty) return tensor_create_on(rt, device, dtype, (uint32_t)t->rank, shape, view, error);
  uintptr_t first, end;
  if (t->byte_offset > PTRDIFF_MAX || __builtin_add_overflow((uintptr_t)t->data, t->byte_offset, &first) ||
      __builtin_add_overflow(first, low * element, &first) || __builtin_add_overflow(first, bytes, &end))
    return error_set(error, VIVA_E_LIMIT, "the elements of the DLPack tensor, %llu bytes behind its data, lie nowhere",
                     (unsigned long long)t->byte_offset);
  const uint64_t length[1] = {(uint64_t)span + 1};
  const viva_tensor_memory memory = {.size = sizeof memory, .data = (char *)first, .bytes = (size_t)bytes};
  TRY(tensor_wrap(rt, device, &memory, dtype, 1, length, base, error));
  return tensor_over((*base)->storage, dtype, (uint32_t)t->rank, shape, strides, -low, view, error);
}

viva_status dlpack_import(runtime *rt, const tensor_device *device, dlpack_managed *managed, viva_tensor **out,
                          viva_error *error) {
  viva_tensor *base = NULL, *view = NULL;
  viva_dtype dtype = VIVA_DTYPE_NONE;
  if (!managed) return error_set(error, VIVA_E_ARGUMENT, "managed is NULL");
  TRY(check(managed, device, &dtype, &device, error));
  viva_status status = lay_over(rt, device, &managed->tensor, dtype, &base, &view, error);
  const int copied = !base || (managed->flags & DLPACK_READ_ONLY);
  if (status == VIVA_OK && base && copied) {
    viva_tensor *copy;
    status = device_from(rt, device, view, &copy, error);
    if (status == VIVA_OK) viva_tensor_release(view), view = copy;
  }
  if (status == VIVA_OK && !copied) {
    base->storage->release = release_imported;
    base->storage->release_user = managed;
  }
  viva_tensor_release(base);
  if (status != VIVA_OK) {
    viva_tensor_release(view);
    return status;
  }
  if (copied) release_imported(managed, NULL);
  *out = view;
  return VIVA_OK;
}
