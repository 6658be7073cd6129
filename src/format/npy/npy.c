/* format/npy/npy.c: opening a .npy or .npz and reading its arrays. */
#include "format/npy/npy.h"

#include <string.h>

#include "base/ck.h"
#include "base/num.h"
#include "base/options.h"
#include "format/checkpoint_build.h"

#define MAX_EXPANSION 1032u /* what one byte of a deflate stream can become at most (RFC 1951: 258 bytes for 2 bits) */

static const char zip_magic[4] = {'P', 'K', 3, 4};
static const char empty_zip_magic[4] = {'P', 'K', 5, 6};

static viva_status placed(const viva_npy *f, const char *name, uint64_t offset, viva_error *error, viva_status status) {
  if (status == VIVA_OK || !error) return status;
  const uint64_t at =
      offset == VIVA_NO_OFFSET || error->offset == VIVA_NO_OFFSET ? error->offset : offset + error->offset;
  error_at(error, f->path, name, -1, at);
  return status;
}

static viva_status refuse(const viva_npy *f, const char *name, viva_error *error, viva_status code,
                          const char *message) {
  error_set(error, code, "%s", message);
  error_at(error, f->path, name && name[0] ? name : NULL, -1, VIVA_NO_OFFSET);
  return code;
}

/* -- opening */

/* The first bytes of a member's contents, at most `room`. */
static viva_status read_first(const viva_npy *f, const npy_array *a, void *first, size_t room, size_t *count,
                              viva_error *error) {
  const zip_member *m = &a->place;
  const size_t bytes = (size_t)(m->packed < room ? m->packed : room);
  const size_t most = (size_t)(m->bytes < room ? m->bytes : room);
  size_t used;
  if (m->method == ZIP_STORED) {
    *count = bytes;
    return io_read(&f->io, first, bytes, m->offset, error);
  }
  uint8_t *packed = mem_alloc(&f->rt->mem, bytes);
  if (!packed) return checkpoint_build_no_memory(f->path, "a compressed header", error);
  const viva_status status = io_read(&f->io, packed, bytes, m->offset, error);
  if (status == VIVA_OK && zip_inflate(packed, bytes, first, most, count, &used) == INFLATE_BAD) *count = 0;
  mem_free(&f->rt->mem, packed);
  return status;
}

static viva_status read_header(viva_npy *f, npy_array *a, uint8_t *scratch, viva_error *error) {
  const zip_member *m = &a->place;
  const char *name = f->is_zip ? a->name : NULL;
  size_t count = 0;
  TRY(read_first(f, a, scratch, NPY_MAX_HEADER_BYTES, &count, error));
  TRY(placed(f, name, f->is_zip ? VIVA_NO_OFFSET : 0, error, npy_header_read(scratch, count, &a->header, error)));
  uint64_t need;
  if (ck_add(a->header.header_bytes, a->header.bytes, &need) || need > m->bytes) {
    error_set(error, VIVA_E_FORMAT, "the array needs %llu bytes after its header; there are %llu",
              (unsigned long long)a->header.bytes, (unsigned long long)(m->bytes - a->header.header_bytes));
    return placed(f, name, 0, error, VIVA_E_FORMAT);
  }
  if (need < m->bytes)
    return refuse(f, name, error, VIVA_E_FORMAT,
                  "there are bytes after the array; a file of several arrays is written by numpy.savez");
  return VIVA_OK;
}

static viva_status check_member(const viva_npy *f, const npy_array *a, viva_error *error) {
  const zip_member *m = &a->place;
  uint64_t most;
  if (m->method != ZIP_STORED && m->method != ZIP_DEFLATED)
    return refuse(f, a->name, error, VIVA_E_UNSUPPORTED, "the member is compressed by another method than deflate");
  if (m->method == ZIP_STORED ? m->packed != m->bytes
                              : ck_mul(m->packed, MAX_EXPANSION, &most) || m->bytes > most || m->bytes > PTRDIFF_MAX)
    return refuse(f, a->name, error, VIVA_E_FORMAT, "the member's sizes, packed and unpacked, cannot both be right");
  return VIVA_OK;
}

static int is_npy(const zip_member *m) {
  return m->name_bytes >= 4 && memcmp(m->name + m->name_bytes - 4, ".npy", 4) == 0;
}

static viva_status add_member(viva_npy *f, grow *arrays, zip_member *m, uint8_t *scratch, viva_error *error) {
  if (!is_npy(m)) return VIVA_OK;
  npy_array a = {.name = arena_text(f->arena, m->name, m->name_bytes - 4)};
  if (!a.name) return checkpoint_build_no_memory(f->path, "the list of arrays", error);
  if (!utf8_valid(a.name, m->name_bytes - 4) || strlen(a.name) != m->name_bytes - 4)
    return refuse(f, a.name, error, VIVA_E_FORMAT, "a member's name is not UTF-8, or holds a zero byte");
  TRY(zip_locate(&f->io, m, error));
  a.place = *m;
  a.place.name = NULL; /* the directory goes away */
  TRY(check_member(f, &a, error));
  TRY(read_header(f, &a, scratch, error));
  npy_array *item = grow_add(&f->rt->mem, arrays);
  if (!item) return checkpoint_build_no_memory(f->path, "the list of arrays", error);
  *item = a;
  return VIVA_OK;
}

static int compare_names(const void *a, const void *b) {
  return strcmp(((const npy_array *)a)->name, ((const npy_array *)b)->name);
}

static viva_status check_names(const viva_npy *f, const grow *arrays, viva_error *error) {
  const void **order = grow_sorted(&f->rt->mem, arrays, 0, compare_names);
  viva_status status = order ? VIVA_OK : checkpoint_build_no_memory(f->path, "the list of arrays", error);
  for (size_t i = 1; status == VIVA_OK && i < arrays->count; i++)
    if (compare_names(order[i - 1], order[i]) == 0)
      status = refuse(f, ((const npy_array *)order[i])->name, error, VIVA_E_FORMAT, "two members have this name");
  mem_free(&f->rt->mem, order);
  return status;
}

static viva_status read_members(viva_npy *f, uint8_t *scratch, viva_error *error) {
  zip_directory directory;
  zip_member m;
  grow arrays = {.item_bytes = sizeof(npy_array)};
  int more = 1;
  TRY(zip_open(f->rt, &f->io, &directory, error));
  viva_status status = VIVA_OK;
  while (status == VIVA_OK && more) {
    status = zip_next(&f->io, &directory, &m, &more, error);
    if (status == VIVA_OK && more) status = add_member(f, &arrays, &m, scratch, error);
  }
  if (status == VIVA_OK) status = check_names(f, &arrays, error);
  if (status == VIVA_OK) {
    f->arrays = arena_alloc(f->arena, arrays.count * sizeof *f->arrays);
    if (!f->arrays) status = checkpoint_build_no_memory(f->path, "the list of arrays", error);
  }
  if (status == VIVA_OK && arrays.count > 0) memcpy(f->arrays, arrays.items, arrays.count * sizeof *f->arrays);
  if (status == VIVA_OK) f->count = arrays.count;
  grow_free(&f->rt->mem, &arrays);
  mem_free(&f->rt->mem, directory.bytes);
  return status;
}

static viva_status read_single(viva_npy *f, uint8_t *scratch, viva_error *error) {
  npy_array *a = f->arrays = arena_alloc(f->arena, sizeof *f->arrays);
  if (!a) return checkpoint_build_no_memory(f->path, "the array's header", error);
  *a = (npy_array){.name = "", .place = {.packed = f->io.stat.bytes, .bytes = f->io.stat.bytes}};
  f->count = 1;
  return read_header(f, a, scratch, error);
}

static viva_status read_all(viva_npy *f, viva_error *error) {
  char first[4] = {0};
  const size_t have = (size_t)(f->io.stat.bytes < sizeof first ? f->io.stat.bytes : sizeof first);
  TRY(io_read(&f->io, first, have, 0, error));
  f->is_zip = memcmp(first, zip_magic, 4) == 0 || memcmp(first, empty_zip_magic, 4) == 0;
  uint8_t *scratch = mem_alloc(&f->rt->mem, NPY_MAX_HEADER_BYTES);
  if (!scratch) return checkpoint_build_no_memory(f->path, "an array's header", error);
  const viva_status status = f->is_zip ? read_members(f, scratch, error) : read_single(f, scratch, error);
  mem_free(&f->rt->mem, scratch);
  return status;
}

void viva_npy_close(viva_npy *file) {
  if (!file) return;
  runtime *rt = file->rt;
  if (file->io.io) io_close(&file->io);
  arena_free(file->arena);
  mem_free(&rt->mem, file);
  runtime_release(rt);
}

viva_status npy_open(runtime *rt, const char *path, viva_npy **out, viva_error *error) {
  *out = NULL;
  viva_npy *f = mem_zalloc(&rt->mem, sizeof *f);
  if (!f) return checkpoint_build_no_memory(path, "an open file", error);
  f->rt = runtime_retain(rt);
  f->arena = arena_create(&rt->mem, 1024);
  f->path = f->arena ? arena_text(f->arena, path, strlen(path)) : NULL;
  viva_status status =
      f->path ? io_open(rt->io, f->path, &f->io, error) : checkpoint_build_no_memory(path, "an open file", error);
  if (status != VIVA_OK) f->io.io = NULL; /* nothing to close */
  if (status == VIVA_OK) status = read_all(f, error);
  if (status != VIVA_OK) {
    viva_npy_close(f);
    return status;
  }
  *out = f;
  return VIVA_OK;
}

viva_status viva_npy_open(const char *path, const viva_checkpoint_options *options, viva_npy **file,
                          viva_error *error) {
  if (!file) return error_set(error, VIVA_E_ARGUMENT, "file is NULL; expected a place for the handle");
  *file = NULL;
  if (!path) return error_set(error, VIVA_E_ARGUMENT, "path is NULL; expected a .npy or .npz file");
  viva_checkpoint_options o = viva_checkpoint_options_default();
  TRY(options_read(&o, options, "viva_checkpoint_options", error));
  TRY(options_reserved(o.reserved, "viva_checkpoint_options", error));
  runtime *rt = runtime_create(o.allocator, NULL, o.log, o.log_user, VIVA_LOG_WARN);
  if (!rt) return checkpoint_build_no_memory(path, "an open file", error);
  const viva_status status = npy_open(rt, path, file, error);
  runtime_release(rt);
  return status;
}

/* -- what is in it */

size_t viva_npy_count(const viva_npy *file) { return file ? file->count : 0; }

static viva_status get(const viva_npy *f, size_t index, const npy_array **a, viva_error *error) {
  if (!f) return error_set(error, VIVA_E_ARGUMENT, "file is NULL; open one with viva_npy_open");
  if (index >= f->count) {
    error_set(error, VIVA_E_NOT_FOUND, "array %zu was asked for; the file has %zu", index, f->count);
    error_at(error, f->path, NULL, 0, VIVA_NO_OFFSET);
    return VIVA_E_NOT_FOUND;
  }
  *a = &f->arrays[index];
  return VIVA_OK;
}

viva_status viva_npy_info(const viva_npy *file, size_t index, viva_stored_tensor *info, viva_error *error) {
  const npy_array *a;
  TRY(get(file, index, &a, error));
  viva_stored_tensor found = {.size = sizeof found,
                              .name = a->name,
                              .type_name = a->header.type_name,
                              .dtype = a->header.dtype,
                              .rank = a->header.rank,
                              .elements = a->header.elements,
                              .bytes = a->header.bytes,
                              .offset = a->place.offset + (a->place.method == ZIP_STORED ? a->header.header_bytes : 0),
                              .file = file->path};
  memcpy(found.shape, a->header.shape, sizeof found.shape);
  return options_fill(info, &found, "viva_stored_tensor", error);
}

viva_status viva_npy_find(const viva_npy *file, const char *name, size_t *index, viva_error *error) {
  if (!file || !name || !index) return error_set(error, VIVA_E_ARGUMENT, "file, name or index is NULL");
  for (*index = 0; *index < file->count; ++*index)
    if (strcmp(file->arrays[*index].name, name) == 0) return VIVA_OK;
  return refuse(file, name, error, VIVA_E_NOT_FOUND, "the file has no array of this name");
}

/* -- reading */

static void swap_bytes(uint8_t *data, size_t count, size_t element) {
  for (size_t i = 0; i < count; i++, data += element)
    for (size_t k = 0; k < element / 2; k++) {
      const uint8_t byte = data[k];
      data[k] = data[element - 1 - k];
      data[element - 1 - k] = byte;
    }
}

/* to[row-major] = from[column-major]. */
static void reorder(const npy_header *h, const uint8_t *from, uint8_t *to, size_t element) {
  uint64_t index[NPY_MAX_RANK] = {0}, step[NPY_MAX_RANK], at = 0;
  uint64_t reach = 1;
  for (uint32_t i = 0; i < h->rank; i++) step[i] = reach, reach *= h->shape[i];
  for (uint64_t n = 0; n < h->elements; n++) {
    memcpy(to + n * element, from + at * element, element);
    for (uint32_t i = h->rank; i-- > 0;) {
      at += step[i];
      if (++index[i] < h->shape[i]) break;
      at -= h->shape[i] * step[i];
      index[i] = 0;
    }
  }
}

static viva_status check_crc(const viva_npy *f, const npy_array *a, uint32_t crc, viva_error *error) {
  return crc == a->place.crc ? VIVA_OK : refuse(f, a->name, error, VIVA_E_FORMAT, "the member's checksum is wrong");
}

static viva_status read_stored(const viva_npy *f, const npy_array *a, void *data, viva_error *error) {
  const npy_header *h = &a->header;
  TRY(io_read(&f->io, data, (size_t)h->bytes, a->place.offset + h->header_bytes, error));
  if (!f->is_zip) return VIVA_OK;
  uint8_t *head = mem_alloc(&f->rt->mem, h->header_bytes);
  if (!head) return checkpoint_build_no_memory(f->path, "an array's header", error);
  viva_status status = io_read(&f->io, head, h->header_bytes, a->place.offset, error);
  if (status == VIVA_OK)
    status = check_crc(f, a, zip_crc(zip_crc(0, head, h->header_bytes), data, (size_t)h->bytes), error);
  mem_free(&f->rt->mem, head);
  return status;
}

static viva_status read_deflated(const viva_npy *f, const npy_array *a, void *data, viva_error *error) {
  const zip_member *m = &a->place;
  mem *memory = &f->rt->mem;
  size_t made, used;
  uint8_t *packed = mem_alloc(memory, (size_t)m->packed), *whole = mem_alloc(memory, (size_t)m->bytes);
  viva_status status = packed && whole ? io_read(&f->io, packed, (size_t)m->packed, m->offset, error)
                                       : checkpoint_build_no_memory(f->path, "a compressed array", error);
  if (status == VIVA_OK &&
      (zip_inflate(packed, (size_t)m->packed, whole, (size_t)m->bytes, &made, &used) != INFLATE_END ||
       made != m->bytes))
    status = refuse(f, a->name, error, VIVA_E_FORMAT, "the member's compressed data is damaged");
  if (status == VIVA_OK) status = check_crc(f, a, zip_crc(0, whole, (size_t)m->bytes), error);
  if (status == VIVA_OK && a->header.bytes > 0) memcpy(data, whole + a->header.header_bytes, (size_t)a->header.bytes);
  mem_free(memory, whole);
  mem_free(memory, packed);
  return status;
}

static viva_status read_rows(const viva_npy *f, const npy_array *a, void *data, viva_error *error) {
  const npy_header *h = &a->header;
  TRY(a->place.method == ZIP_STORED ? read_stored(f, a, data, error) : read_deflated(f, a, data, error));
  if (h->swap) /* of a complex number each half by itself */
    swap_bytes(data, (size_t)(h->dtype == VIVA_C64 ? 2 * h->elements : h->elements),
               (size_t)(h->bytes / h->elements) / (h->dtype == VIVA_C64 ? 2 : 1));
  return VIVA_OK;
}

viva_status viva_npy_read(const viva_npy *file, size_t index, void *data, size_t bytes, viva_error *error) {
  const npy_array *a;
  TRY(get(file, index, &a, error));
  const npy_header *h = &a->header;
  if (bytes != h->bytes) {
    error_set(error, VIVA_E_SIZE, "the buffer has %zu bytes; the array has %llu", bytes, (unsigned long long)h->bytes);
    return placed(file, file->is_zip ? a->name : NULL, 0, error, VIVA_E_SIZE);
  }
  if (bytes == 0) return VIVA_OK;
  if (!data) return error_set(error, VIVA_E_ARGUMENT, "data is NULL; expected a buffer of %zu bytes", bytes);
  if (!h->fortran || h->rank < 2) return read_rows(file, a, data, error);
  uint8_t *columns = mem_alloc(&file->rt->mem, bytes);
  if (!columns) return checkpoint_build_no_memory(file->path, "a column-major array", error);
  const viva_status status = read_rows(file, a, columns, error);
  if (status == VIVA_OK) reorder(h, columns, data, (size_t)(h->bytes / h->elements));
  mem_free(&file->rt->mem, columns);
  return status;
}
