/* format/safetensors/safetensors_write.c: viva_safetensors_write.
 *
 * The file is, byte for byte, what the reference writer makes of the same tensors.
 */
#include "format/safetensors/safetensors.h"

#include <string.h>

#include "base/ck.h"
#include "base/commit.h"
#include "base/num.h"
#include "base/options.h"
#include "format/safetensors/safetensors_header.h"

/* A tensor on its way into the file. */
typedef struct item {
  const viva_tensor_data *tensor;
  size_t place; /* of its type: safetensors_place */
  file_type type;
} item;

typedef struct writer {
  runtime *rt;
  const char *path;
  grow items; /* of item */
  json_text header;
} writer;

static viva_status bad_argument(const writer *w, const char *item_name, viva_error *error, const char *message) {
  error_set(error, VIVA_E_ARGUMENT, "%s", message);
  error_at(error, w->path, item_name, -1, VIVA_NO_OFFSET);
  return VIVA_E_ARGUMENT;
}

static void put_header(writer *w, const item *const *order, const char *const *metadata, size_t metadata_count) {
  uint64_t offset = 0;
  safetensors_header_begin(&w->header, metadata, metadata_count);
  for (size_t i = 0; i < w->items.count; i++) {
    const viva_tensor_data *t = order[i]->tensor;
    safetensors_header_tensor(&w->header, t->name, order[i]->type, t->rank, t->shape, offset, t->bytes);
    offset += t->bytes;
  }
  safetensors_header_end(&w->header);
}

/* -- what the caller gave */

static viva_status check_text(const writer *w, const char *text, viva_error *error) {
  if (!text) return bad_argument(w, NULL, error, "a name, a key or a value is NULL");
  return utf8_valid(text, strlen(text)) ? VIVA_OK
                                        : bad_argument(w, text, error, "a name, a key or a value is not UTF-8");
}

static viva_status check_metadata(const writer *w, const char *const *metadata, size_t count, viva_error *error) {
  if (count > 0 && !metadata) return bad_argument(w, NULL, error, "metadata is NULL, but its count is not 0");
  for (size_t i = 0; i < count; i++) {
    TRY(check_text(w, metadata[2 * i], error));
    TRY(check_text(w, metadata[2 * i + 1], error));
    for (size_t j = 0; j < i; j++) /* a few pairs */
      if (strcmp(metadata[2 * i], metadata[2 * j]) == 0)
        return bad_argument(w, metadata[2 * i], error, "two metadata pairs have this key");
  }
  return VIVA_OK;
}

static viva_status add_item(writer *w, const viva_tensor_data *t, uint64_t *total, viva_error *error) {
  uint64_t elements = 1, bytes;
  file_type type;
  const char *word = viva_dtype_name(t->dtype);
  TRY(check_text(w, t->name, error));
  if (strcmp(t->name, "__metadata__") == 0)
    return bad_argument(w, t->name, error, "no tensor can have this name in a safetensors file");
  if (!type_from_safetensors(word, strlen(word), &type))
    return bad_argument(w, t->name, error, "the dtype is not one of viva_dtype's");
  if (t->rank > SAFETENSORS_MAX_RANK) return bad_argument(w, t->name, error, "the rank is above 8");
  int wrong = 0;
  for (uint32_t i = 0; i < t->rank; i++) wrong |= ck_mul(elements, t->shape[i], &elements);
  if (wrong || type_bytes(type, elements, &bytes) || bytes != t->bytes)
    return bad_argument(w, t->name, error, "bytes is not what the shape and the dtype need");
  if (!t->data && t->bytes > 0) return bad_argument(w, t->name, error, "data is NULL");
  if (ck_add(*total, bytes, total))
    return bad_argument(w, t->name, error, "the tensors have more bytes than a file can hold");
  item *it = grow_add(&w->rt->mem, &w->items);
  if (!it) return checkpoint_build_no_memory(w->path, "the header", error);
  *it = (item){.tensor = t, .place = safetensors_place(type), .type = type};
  return VIVA_OK;
}

static int compare_names(const void *a, const void *b) {
  return strcmp(((const item *)a)->tensor->name, ((const item *)b)->tensor->name);
}

static int compare_items(const void *a, const void *b) {
  const item *x = a, *y = b;
  if (x->place != y->place) return x->place < y->place ? -1 : 1;
  return compare_names(a, b);
}

/* order is by name. */
static viva_status check_names(const writer *w, const void **order, viva_error *error) {
  for (size_t i = 1; i < w->items.count; i++)
    if (compare_names(order[i - 1], order[i]) == 0)
      return bad_argument(w, ((const item *)order[i])->tensor->name, error, "two tensors have this name");
  return VIVA_OK;
}

/* -- the file */

static viva_status write_file(const writer *w, const item *const *order, viva_error *error) {
  io_writer *out = NULL;
  uint8_t length[SAFETENSORS_LENGTH_BYTES];
  safetensors_length(length, w->header.text.count);
  TRY(writer_open(w->rt, w->path, NULL, &out, error));
  viva_status status = writer_write(out, length, sizeof length, error);
  if (status == VIVA_OK) status = writer_write(out, w->header.text.items, w->header.text.count, error);
  for (size_t i = 0; status == VIVA_OK && i < w->items.count; i++)
    status = writer_write(out, order[i]->tensor->data, order[i]->tensor->bytes, error);
  if (status == VIVA_OK) return writer_commit(out, error);
  writer_abort(out);
  return status;
}

static viva_status write_sorted(writer *w, const void **order, const char *const *metadata, size_t metadata_count,
                                viva_error *error) {
  const item *const *items = (const item *const *)(const void *)order;
  TRY(check_names(w, order, error));
  sort_pointers(order, w->items.count, compare_items);
  put_header(w, items, metadata, metadata_count);
  if (w->header.no_memory) return checkpoint_build_no_memory(w->path, "the header", error);
  if (w->header.text.count > SAFETENSORS_MAX_HEADER_BYTES)
    return bad_argument(w, NULL, error, "the header would be longer than 100,000,000 bytes, the format's limit");
  return write_file(w, items, error);
}

viva_status safetensors_write(runtime *rt, const char *path, const viva_tensor_data *tensors, size_t count,
                              const char *const *metadata, size_t metadata_count, viva_error *error) {
  writer w = {.rt = rt, .path = path, .items = {.item_bytes = sizeof(item)}, .header = json_text_begin(&rt->mem)};
  uint64_t total = 0;
  if (count > 0 && !tensors) return bad_argument(&w, NULL, error, "tensors is NULL, but count is not 0");
  viva_status status = check_metadata(&w, metadata, metadata_count, error);
  for (size_t i = 0; status == VIVA_OK && i < count; i++) status = add_item(&w, &tensors[i], &total, error);
  const void **order = status == VIVA_OK ? grow_sorted(&rt->mem, &w.items, 0, compare_names) : NULL;
  if (status == VIVA_OK && !order) status = checkpoint_build_no_memory(path, "the header", error);
  if (status == VIVA_OK) status = write_sorted(&w, order, metadata, metadata_count, error);
  mem_free(&rt->mem, order);
  grow_free(&rt->mem, &w.items);
  json_text_free(&w.header);
  return status;
}

viva_status viva_safetensors_write(const char *path, const viva_tensor_data *tensors, size_t count,
                                   const char *const *metadata, size_t metadata_count,
                                   const viva_checkpoint_options *options, viva_error *error) {
  if (!path) return error_set(error, VIVA_E_ARGUMENT, "path is NULL; expected where to write");
  viva_checkpoint_options o = viva_checkpoint_options_default();
  TRY(options_read(&o, options, "viva_checkpoint_options", error));
  TRY(options_reserved(o.reserved, "viva_checkpoint_options", error));
  runtime *rt = runtime_create(o.allocator, NULL, o.log, o.log_user, VIVA_LOG_WARN);
  if (!rt) return checkpoint_build_no_memory(path, "writing", error);
  viva_status status = safetensors_write(rt, path, tensors, count, metadata, metadata_count, error);
  runtime_release(rt);
  return status;
}
