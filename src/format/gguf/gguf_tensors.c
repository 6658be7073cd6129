/* format/gguf/gguf_tensors.c: the tensor descriptions of a GGUF header, checked against the file's size. */
#include <inttypes.h>
#include <string.h>

#include "base/ck.h"
#include "base/num.h"
#include "format/gguf/gguf_parse.h"
#include "format/sort.h"

/* Of a tensor: the list while it grows, its view twice, pointers to sort by; and its name. ggml's own limit for that is 63
 * bytes; files of other programs have been seen beyond that, and nothing here depends on it. */
#define TENSOR_COST (3 * sizeof(raw_tensor) + 2 * sizeof(tensor_view) + 32)

static viva_status parse_name(gguf_reader *r, raw_tensor *tensor) {
  r->item_bytes = 0;
  tensor->entry = r->at;
  TRY(reader_string(r, &tensor->name, &tensor->name_bytes, "a tensor's name"));
  const char *name = (const char *)r->bytes + tensor->name;
  if (tensor->name_bytes == 0 || tensor->name_bytes > TENSOR_NAME_MOST) {
    return reader_fail(r, VIVA_E_FORMAT, tensor->entry, "a tensor name of %zu bytes: names have 1 to %d",
                       tensor->name_bytes, TENSOR_NAME_MOST);
  }
  if (!utf8_valid(name, tensor->name_bytes) || memchr(name, 0, tensor->name_bytes)) {
    return reader_fail(r, VIVA_E_FORMAT, tensor->name, "a tensor name that is not UTF-8 without zero bytes");
  }
  r->item = tensor->name;
  r->item_bytes = tensor->name_bytes;
  return VIVA_OK;
}

static viva_status parse_shape(gguf_reader *r, raw_tensor *tensor) {
  size_t at = r->at;
  TRY(reader_u32(r, &tensor->rank, "a tensor's rank"));
  if (tensor->rank > GGUF_MAX_RANK) {
    return reader_fail(r, VIVA_E_FORMAT, at, "%" PRIu32 " dimensions: tensors have at most %d", tensor->rank,
                       GGUF_MAX_RANK);
  }
  tensor->elements = 1;
  for (uint32_t i = 0; i < tensor->rank; i++) {
    uint64_t side;
    at = r->at;
    TRY(reader_u64(r, &side, "a tensor's shape"));
    if (side == 0) return reader_fail(r, VIVA_E_FORMAT, at, "dimension %" PRIu32 " is 0: a tensor has elements", i);
    if (ck_mul(tensor->elements, side, &tensor->elements)) {
      return reader_fail(r, VIVA_E_FORMAT, at, "dimension %" PRIu32 " is %" PRIu64 ": more than 2^64 elements", i,
                         side);
    }
    tensor->shape[tensor->rank - 1 - i] = side; /* the file's order is innermost first */
  }
  return VIVA_OK;
}

/* Types that ggml has given up, and what the same weights are published as. */
static const char *removed_type(uint32_t id) {
  static const struct {
    uint32_t id;
    const char *hint;
  } removed[] = {{4, "Q4_2, which was given up in 2023: fetch another file of this model"},
                 {5, "Q4_3, which was given up in 2023: fetch another file of this model"},
                 {31, "Q4_0_4_4, which llama.cpp has given up: fetch the Q4_0 file of this model"},
                 {32, "Q4_0_4_8, which llama.cpp has given up: fetch the Q4_0 file of this model"},
                 {33, "Q4_0_8_8, which llama.cpp has given up: fetch the Q4_0 file of this model"},
                 {36, "IQ4_NL_4_4, which llama.cpp has given up: fetch the IQ4_NL file of this model"},
                 {37, "IQ4_NL_4_8, which llama.cpp has given up: fetch the IQ4_NL file of this model"},
                 {38, "IQ4_NL_8_8, which llama.cpp has given up: fetch the IQ4_NL file of this model"}};
  for (size_t i = 0; i < sizeof removed / sizeof *removed; i++)
    if (removed[i].id == id) return removed[i].hint;
  return NULL;
}

static viva_status parse_storage(gguf_parse *p, raw_tensor *tensor) {
  gguf_reader *r = &p->reader;
  uint32_t id;
  size_t at = r->at;
  TRY(reader_u32(r, &id, "a tensor's type"));
  if (!type_from_gguf(id, &tensor->type)) {
    const char *removed = removed_type(id);
    if (removed) return reader_fail(r, VIVA_E_UNSUPPORTED, at, "tensor type %" PRIu32 " is %s", id, removed);
    return reader_fail(r, VIVA_E_UNSUPPORTED, at, "tensor type %" PRIu32 " is unknown to this version of viva", id);
  }
  uint32_t block = type_get(tensor->type)->block_elements;
  uint64_t row = tensor->rank > 0 ? tensor->shape[tensor->rank - 1] : 1;
  if (row % block != 0) {
    return reader_fail(r, VIVA_E_FORMAT, at, "rows of %" PRIu64 " elements: type %s needs a multiple of %" PRIu32, row,
                       type_name(tensor->type), block);
  }
  if (type_bytes(tensor->type, tensor->elements, &tensor->bytes)) {
    return reader_fail(r, VIVA_E_FORMAT, at, "%" PRIu64 " elements of type %s: more than 2^64 bytes", tensor->elements,
                       type_name(tensor->type));
  }
  at = r->at;
  TRY(reader_u64(r, &tensor->offset, "a tensor's offset"));
  if (tensor->offset % p->g->alignment != 0) {
    return reader_fail(r, VIVA_E_FORMAT, at, "data offset %" PRIu64 " is not a multiple of the alignment %" PRIu32,
                       tensor->offset, p->g->alignment);
  }
  return VIVA_OK;
}

viva_status parse_tensors(gguf_parse *p, uint64_t count) {
  gguf_reader *r = &p->reader;
  for (uint64_t i = 0; i < count; i++) {
    raw_tensor tensor = {0};
    TRY(parse_name(r, &tensor));
    TRY(allowance_memory(&p->ck->allowance, TENSOR_COST + tensor.name_bytes, "the list of tensors", r->file->path,
                         r->error));
    TRY(parse_shape(r, &tensor));
    TRY(parse_storage(p, &tensor));
    raw_tensor *kept = grow_add(&r->rt->mem, &p->tensors);
    if (!kept) return reader_fail(r, VIVA_E_MEMORY, tensor.entry, "no memory for the list of tensors");
    *kept = tensor;
  }
  return VIVA_OK;
}

/* Turns a description into a view, when its data lies within the file. */
static viva_status place(gguf_parse *p, const raw_tensor *tensor, tensor_view *view) {
  gguf_reader *r = &p->reader;
  uint64_t file_bytes = r->file->stat.bytes;
  uint64_t data_bytes = p->g->data_offset < file_bytes ? file_bytes - p->g->data_offset : 0;
  r->item = tensor->name;
  r->item_bytes = tensor->name_bytes;
  if (!ck_range(tensor->offset, tensor->bytes, data_bytes)) {
    return reader_fail(r, VIVA_E_FORMAT, tensor->entry,
                       "needs %" PRIu64 " bytes at %" PRIu64 " of the data, but the file has %" PRIu64
                       " bytes of data: it is damaged or not complete (fetch it again)",
                       tensor->bytes, tensor->offset, data_bytes);
  }
  const char *name = arena_text(p->ck->arena, (const char *)p->g->header + tensor->name, tensor->name_bytes);
  if (!name) return reader_fail(r, VIVA_E_MEMORY, tensor->entry, "no memory for the list of tensors");
  *view = (tensor_view){.name = name,
                        .type = tensor->type,
                        .rank = tensor->rank,
                        .file = p->file,
                        .elements = tensor->elements,
                        .bytes = tensor->bytes,
                        .offset = p->g->data_offset + tensor->offset};
  memcpy(view->shape, tensor->shape, sizeof tensor->shape);
  return VIVA_OK;
}

static int compare_offsets(const void *a, const void *b) {
  const tensor_view *first = a, *second = b;
  return (first->offset > second->offset) - (first->offset < second->offset);
}

static viva_status fail_at_view(gguf_parse *p, const tensor_view *view, const char *problem, const char *other) {
  gguf_reader *r = &p->reader;
  reader_fail(r, VIVA_E_FORMAT, view->offset, "%s%s", problem, other);
  error_at(r->error, NULL, view->name, -1, VIVA_NO_OFFSET);
  return VIVA_E_FORMAT;
}

/* order has room for all views. */
static viva_status refuse_overlap(gguf_parse *p, const tensor_view *views, size_t count, const void **order) {
  for (size_t i = 0; i < count; i++) order[i] = &views[i];
  sort_pointers(order, count, compare_offsets);
  for (size_t i = 1; i < count; i++) {
    const tensor_view *before = order[i - 1], *view = order[i];
    if (view->offset - before->offset < before->bytes) {
      return fail_at_view(p, view, "its data overlaps the data of ", before->name);
    }
  }
  return VIVA_OK;
}

/* Adds the views, sorted by name, to ck->tensors. */
static viva_status keep_sorted(gguf_parse *p, const tensor_view *views, size_t count, const void **order) {
  viva_checkpoint *ck = p->ck;
  size_t before = ck->tensor_count;
  tensor_view *all = arena_alloc(ck->arena, (before + count) * sizeof *all); /* as large as the lists that exist */
  if (!all) return reader_fail(&p->reader, VIVA_E_MEMORY, VIVA_NO_OFFSET, "no memory for the list of tensors");
  if (before > 0) memcpy(all, ck->tensors, before * sizeof *all);
  tensor_view *sorted = all + before;
  for (size_t i = 0; i < count; i++) order[i] = &views[i];
  sort_pointers(order, count, tensor_view_by_name);
  for (size_t i = 0; i < count; i++) {
    sorted[i] = *(const tensor_view *)order[i];
    if (i > 0 && tensor_view_by_name(&sorted[i - 1], &sorted[i]) == 0) {
      return fail_at_view(p, &sorted[i], "this tensor stands in the file twice", "");
    }
  }
  ck->tensors = all;
  ck->tensor_count = before + count;
  return VIVA_OK;
}

viva_status finish_tensors(gguf_parse *p) {
  mem *m = &p->reader.rt->mem;
  size_t count = p->tensors.count;
  const raw_tensor *raw = (const raw_tensor *)(const void *)p->tensors.items;
  tensor_view *views = mem_array(m, count, sizeof *views);
  const void **order = mem_array(m, count, sizeof *order);
  viva_status status = VIVA_OK;
  if (!views || !order) {
    status = reader_fail(&p->reader, VIVA_E_MEMORY, VIVA_NO_OFFSET, "no memory for the list of tensors");
  }
  for (size_t i = 0; i < count && status == VIVA_OK; i++) status = place(p, &raw[i], &views[i]);
  p->reader.item_bytes = 0;
  if (status == VIVA_OK) status = refuse_overlap(p, views, count, order);
  if (status == VIVA_OK) status = keep_sorted(p, views, count, order);
  mem_free(m, order);
  mem_free(m, views);
  return status;
}
