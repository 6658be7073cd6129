/* format/checkpoint_api.c: the public calls that describe a checkpoint and copy tensors out of it. */
#include <string.h>

#include "base/ck.h"
#include "base/options.h"
#include "format/checkpoint_build.h"
#include "number/number.h"

/* read_f32 converts so many elements at once: a multiple of every block's, and enough for one efficient read. */
#define PART_ELEMENTS ((size_t)65536)

viva_checkpoint_options viva_checkpoint_options_default(void) {
  return (viva_checkpoint_options){.size = sizeof(viva_checkpoint_options), .load = VIVA_LOAD_READ};
}

viva_status viva_checkpoint_open(const char *path, const viva_checkpoint_options *options, viva_checkpoint **checkpoint,
                                 viva_error *error) {
  if (!checkpoint) return error_set(error, VIVA_E_ARGUMENT, "checkpoint is NULL; expected a place for the handle");
  *checkpoint = NULL;
  if (!path) return error_set(error, VIVA_E_ARGUMENT, "path is NULL; expected a file or folder");
  viva_checkpoint_options o = viva_checkpoint_options_default();
  TRY(options_read(&o, options, "viva_checkpoint_options", error));
  TRY(options_reserved(o.reserved, "viva_checkpoint_options", error));
  if (o.load != VIVA_LOAD_READ && o.load != VIVA_LOAD_MMAP)
    return error_set(error, VIVA_E_ARGUMENT, "the load mode is %d; expected VIVA_LOAD_READ or VIVA_LOAD_MMAP",
                     (int)o.load);
  runtime *rt = runtime_create(o.allocator, NULL, o.log, o.log_user, VIVA_LOG_WARN);
  if (!rt) return checkpoint_build_no_memory(path, "the checkpoint", error);
  viva_status status = checkpoint_open(rt, path, o.load, checkpoint, error);
  runtime_release(rt);
  return status;
}

static viva_status no_checkpoint(viva_error *error) {
  return error_set(error, VIVA_E_ARGUMENT, "checkpoint is NULL; expected what viva_checkpoint_open gave");
}

static viva_status describe(const viva_checkpoint *ck, const tensor_view *view, viva_stored_tensor *info,
                            viva_error *error) {
  viva_stored_tensor full = {.size = sizeof full,
                             .name = view->name,
                             .type_name = type_name(view->type),
                             .dtype = type_get(view->type)->dtype,
                             .rank = view->rank,
                             .elements = view->elements,
                             .bytes = view->bytes,
                             .offset = view->offset,
                             .file = ck->files[view->file].path};
  memcpy(full.shape, view->shape, sizeof full.shape);
  return options_fill(info, &full, "viva_stored_tensor", error);
}

/* The tensor called name, or E_ARGUMENT, E_NOT_FOUND. */
static viva_status find(const viva_checkpoint *ck, const char *name, const tensor_view **view, viva_error *error) {
  char similar[384];
  if (!ck) return no_checkpoint(error);
  if (!name) return error_set(error, VIVA_E_ARGUMENT, "name is NULL; expected a tensor's name");
  *view = checkpoint_find(ck, name);
  if (*view) return VIVA_OK;
  error_set(error, VIVA_E_NOT_FOUND, "there is no tensor of this name among the checkpoint's %zu%s", ck->tensor_count,
            similar_names(ck, name, similar, sizeof similar));
  error_at(error, ck->path, name, -1, VIVA_NO_OFFSET);
  return VIVA_E_NOT_FOUND;
}

size_t viva_checkpoint_tensor_count(const viva_checkpoint *checkpoint) {
  return checkpoint ? checkpoint->tensor_count : 0;
}

viva_status viva_checkpoint_tensor(const viva_checkpoint *checkpoint, size_t index, viva_stored_tensor *info,
                                   viva_error *error) {
  if (!checkpoint) return no_checkpoint(error);
  if (index >= checkpoint->tensor_count)
    return error_set(error, VIVA_E_NOT_FOUND, "there is no tensor %zu: the checkpoint has %zu", index,
                     checkpoint->tensor_count);
  return describe(checkpoint, &checkpoint->tensors[index], info, error);
}

viva_status viva_checkpoint_find(const viva_checkpoint *checkpoint, const char *name, viva_stored_tensor *info,
                                 viva_error *error) {
  const tensor_view *view;
  TRY(find(checkpoint, name, &view, error));
  return describe(checkpoint, view, info, error);
}

viva_status viva_checkpoint_tensor_bytes(const viva_checkpoint *checkpoint, const char *name, size_t *bytes,
                                         viva_error *error) {
  const tensor_view *view;
  if (!bytes) return error_set(error, VIVA_E_ARGUMENT, "bytes is NULL; expected a place for the number");
  TRY(find(checkpoint, name, &view, error));
  if (!ck_size(view->bytes, bytes)) return VIVA_OK;
  return checkpoint_fail(checkpoint, view, error, VIVA_E_LIMIT,
                         "the tensor is larger than this machine's memory can be");
}

static viva_status read_view(const viva_checkpoint *ck, const tensor_view *view, void *data, size_t bytes,
                             viva_error *error) {
  if (bytes != view->bytes)
    return checkpoint_fail(ck, view, error, VIVA_E_SIZE,
                           "the tensor has %llu bytes and the buffer %zu; expected the same",
                           (unsigned long long)view->bytes, bytes);
  if (!data && bytes > 0)
    return checkpoint_fail(ck, view, error, VIVA_E_ARGUMENT, "data is NULL; expected a buffer of %zu bytes", bytes);
  return checkpoint_read_part(ck, view, 0, data, bytes, error);
}

viva_status viva_checkpoint_read(const viva_checkpoint *checkpoint, const char *name, void *data, size_t bytes,
                                 viva_error *error) {
  const tensor_view *view;
  TRY(find(checkpoint, name, &view, error));
  return read_view(checkpoint, view, data, bytes, error);
}

viva_status viva_checkpoint_read_bf16(const viva_checkpoint *checkpoint, const char *name, void *data, size_t bytes,
                                      viva_error *error) {
  const tensor_view *view;
  TRY(find(checkpoint, name, &view, error));
  if (view->type != TYPE_BF16)
    return checkpoint_fail(checkpoint, view, error, VIVA_E_DTYPE,
                           "the tensor is %s; expected BF16. viva_checkpoint_read_f32 converts", type_name(view->type));
  return read_view(checkpoint, view, data, bytes, error);
}

/* Converts the tensor part by part, from the mapping or through a buffer. */
static viva_status convert(const viva_checkpoint *ck, const tensor_view *view, float *values, viva_error *error) {
  const type_info *type = type_get(view->type);
  const size_t elements = (size_t)view->elements,
               part_bytes = PART_ELEMENTS / type->block_elements * type->block_bits / 8;
  const uint8_t *mapped = checkpoint_mapped(ck, view);
  void *buffer = mapped ? NULL : mem_alloc(&ck->rt->mem, part_bytes);
  if (!mapped && !buffer) return checkpoint_build_no_memory(ck->files[view->file].path, "reading a tensor", error);
  viva_status status = VIVA_OK;
  uint64_t place = 0;
  for (size_t at = 0; status == VIVA_OK && at < elements; at += PART_ELEMENTS, place += part_bytes) {
    size_t count = elements - at < PART_ELEMENTS ? elements - at : PART_ELEMENTS;
    uint64_t bytes = view->bytes - place < part_bytes ? view->bytes - place : part_bytes;
    if (!mapped) status = checkpoint_read_part(ck, view, place, buffer, (size_t)bytes, error);
    if (status == VIVA_OK)
      status = type_dequant(view->type, mapped ? mapped + place : buffer, values + at, count, error);
  }
  mem_free(&ck->rt->mem, buffer);
  return status;
}

viva_status viva_checkpoint_read_f32(const viva_checkpoint *checkpoint, const char *name, float *values,
                                     size_t elements, viva_error *error) {
  const tensor_view *view;
  TRY(find(checkpoint, name, &view, error));
  const type_info *type = type_get(view->type);
  if (!type->dequant)
    return checkpoint_fail(checkpoint, view, error, type->dtype != VIVA_DTYPE_NONE ? VIVA_E_DTYPE : VIVA_E_UNSUPPORTED,
                           "the tensor is %s, which viva does not convert to F32", type_name(view->type));
  if (elements != view->elements)
    return checkpoint_fail(checkpoint, view, error, VIVA_E_SIZE,
                           "the tensor has %llu elements and the buffer %zu; expected the same",
                           (unsigned long long)view->elements, elements);
  if (!values && elements > 0)
    return checkpoint_fail(checkpoint, view, error, VIVA_E_ARGUMENT,
                           "values is NULL; expected a buffer of %zu elements", elements);
  if (view->type == TYPE_F32) return checkpoint_read_part(checkpoint, view, 0, values, (size_t)view->bytes, error);
  return convert(checkpoint, view, values, error);
}

size_t viva_checkpoint_metadata_count(const viva_checkpoint *checkpoint) {
  return checkpoint ? checkpoint->metadata_count : 0;
}

viva_status viva_checkpoint_metadata(const viva_checkpoint *checkpoint, size_t index, viva_metadata *metadata,
                                     viva_error *error) {
  if (!checkpoint) return no_checkpoint(error);
  if (index >= checkpoint->metadata_count)
    return error_set(error, VIVA_E_NOT_FOUND, "there is no metadata entry %zu: the checkpoint has %zu", index,
                     checkpoint->metadata_count);
  const struct metadata_entry *entry = &checkpoint->metadata[index];
  viva_metadata full = {sizeof full, entry->key, entry->type_name, entry->text, entry->count};
  return options_fill(metadata, &full, "viva_metadata", error);
}

void viva_bf16_to_f32(const void *from, void *to, size_t elements) { bf16_to_f32_n(from, to, elements); }
