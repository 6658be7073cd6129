/* format/npy/write.c: writing .npy as numpy.save does, and .npz with stored members. */
#include <string.h>

#include "base/ck.h"
#include "base/commit.h"
#include "base/num.h"
#include "base/options.h"
#include "format/checkpoint_build.h"
#include "format/npy/npy.h"

#define ZIP64_FROM 0xffffffffu /* sizes and offsets from here on stand in the extra field */

enum { LOCAL_BYTES = 30, ENTRY_BYTES = 46, EXTRA_BYTES = 28, END_BYTES = 22, END64_BYTES = 56, LOCATOR64_BYTES = 20 };
enum { VERSION = 20, VERSION64 = 45, UTF8_NAMES = 1 << 11, FIRST_DAY = 1 << 5 | 1 /* 1980-01-01: no clock is read */ };

/* A member on its way into the file. */
typedef struct member {
  const viva_tensor_data *array;
  char header[NPY_HEADER_ROOM];
  size_t header_bytes, name_bytes; /* ".npy" included */
  uint64_t bytes, offset;
  uint32_t crc;
} member;

typedef struct record { /* little-endian numbers, one after another */
  uint8_t bytes[128];
  size_t at;
} record;

static void put(record *r, uint64_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) r->bytes[r->at++] = (uint8_t)(i < 8 ? value >> 8 * i : 0);
}

static uint64_t short_form(uint64_t value) { return value < ZIP64_FROM ? value : ZIP64_FROM; }

static viva_status wrong(const char *path, const char *name, viva_error *error, viva_status code, const char *message) {
  error_set(error, code, "%s", message);
  error_at(error, path, name, -1, VIVA_NO_OFFSET);
  return code;
}

static viva_status check_array(const char *path, const viva_tensor_data *a, member *m, viva_error *error) {
  const char *word = viva_dtype_name(a->dtype);
  uint64_t elements = 1, bytes;
  file_type type;
  int overflow = 0;
  if (a->rank > NPY_MAX_RANK) return wrong(path, a->name, error, VIVA_E_ARGUMENT, "the rank is above 8");
  m->header_bytes = npy_header_write(a->dtype, a->rank, a->shape, m->header);
  if (m->header_bytes == 0 || !type_from_safetensors(word, strlen(word), &type)) {
    error_set(error, VIVA_E_DTYPE, "NumPy has no type %s; convert the array to F32 first", word);
    error_at(error, path, a->name, -1, VIVA_NO_OFFSET);
    return VIVA_E_DTYPE;
  }
  for (uint32_t i = 0; i < a->rank; i++) overflow |= ck_mul(elements, a->shape[i], &elements);
  if (overflow || type_bytes(type, elements, &bytes) || bytes != a->bytes || bytes > PTRDIFF_MAX)
    return wrong(path, a->name, error, VIVA_E_ARGUMENT, "bytes is not what the shape and the dtype need");
  if (!a->data && bytes > 0) return wrong(path, a->name, error, VIVA_E_ARGUMENT, "data is NULL");
  m->array = a;
  m->bytes = m->header_bytes + bytes;
  return VIVA_OK;
}

static viva_status write_array(io_writer *out, const member *m, viva_error *error) {
  TRY(writer_write(out, m->header, m->header_bytes, error));
  return writer_write(out, m->array->data, m->array->bytes, error);
}

viva_status npy_write(runtime *rt, const char *path, const viva_tensor_data *array, viva_error *error) {
  io_writer *out;
  member m = {0};
  TRY(check_array(path, array, &m, error));
  TRY(writer_open(rt, path, NULL, &out, error));
  const viva_status status = write_array(out, &m, error);
  if (status == VIVA_OK) return writer_commit(out, error);
  writer_abort(out);
  return status;
}

/* -- zip */

/* Method, time, checksum, sizes, length of the name and of the extra field: alike in both kinds of header. */
static void put_common(record *r, const member *m, size_t extra) {
  put(r, UTF8_NAMES, 2);
  put(r, ZIP_STORED, 2);
  put(r, 0, 2);
  put(r, FIRST_DAY, 2);
  put(r, m->crc, 4);
  put(r, short_form(m->bytes), 4);
  put(r, short_form(m->bytes), 4);
  put(r, m->name_bytes, 2);
  put(r, extra, 2);
}

/* The zip64 extra field; nothing when everything fits the short form. A local header holds both sizes or none. */
static size_t put_extra(record *r, const member *m, int is_local) {
  const int sizes = m->bytes >= ZIP64_FROM, place = !is_local && m->offset >= ZIP64_FROM;
  if (!sizes && !place) return 0;
  const size_t begin = r->at;
  put(r, 1, 2);
  put(r, (sizes ? 16u : 0u) + (place ? 8u : 0u), 2);
  if (sizes) put(r, m->bytes, 8), put(r, m->bytes, 8);
  if (place) put(r, m->offset, 8);
  return r->at - begin;
}

static viva_status write_header(io_writer *out, const member *m, int is_local, uint64_t *at, viva_error *error) {
  record extra = {0}, r = {0};
  put_extra(&extra, m, is_local);
  put(&r, is_local ? 0x04034b50u : 0x02014b50u, 4);
  if (!is_local) put(&r, VERSION64, 2);
  put(&r, extra.at ? VERSION64 : VERSION, 2);
  put_common(&r, m, extra.at);
  if (!is_local) put(&r, 0, 10), put(&r, short_form(m->offset), 4); /* no comment, disk 0, no attributes */
  TRY(writer_write(out, r.bytes, r.at, error));
  TRY(writer_write(out, m->array->name, m->name_bytes - 4, error));
  TRY(writer_write(out, ".npy", 4, error));
  *at += r.at + m->name_bytes + extra.at;
  return writer_write(out, extra.bytes, extra.at, error);
}

static viva_status write_end(io_writer *out, uint64_t count, uint64_t begin, uint64_t end, viva_error *error) {
  record r = {0};
  if (count >= 0xffff || end >= ZIP64_FROM) {
    put(&r, 0x06064b50u, 4);
    put(&r, END64_BYTES - 12, 8);
    put(&r, VERSION64, 2), put(&r, VERSION64, 2);
    put(&r, 0, 8); /* disks */
    put(&r, count, 8), put(&r, count, 8);
    put(&r, end - begin, 8), put(&r, begin, 8);
    put(&r, 0x07064b50u, 4);
    put(&r, 0, 4), put(&r, end, 8), put(&r, 1, 4);
  }
  put(&r, 0x06054b50u, 4);
  put(&r, 0, 4);
  put(&r, count < 0xffff ? count : 0xffff, 2), put(&r, count < 0xffff ? count : 0xffff, 2);
  put(&r, short_form(end - begin), 4), put(&r, short_form(begin), 4);
  put(&r, 0, 2);
  return writer_write(out, r.bytes, r.at, error);
}

static viva_status write_members(io_writer *out, member *members, size_t count, viva_error *error) {
  uint64_t at = 0;
  for (size_t i = 0; i < count; i++) {
    member *m = &members[i];
    m->offset = at;
    m->crc = zip_crc(zip_crc(0, m->header, m->header_bytes), m->array->data, m->array->bytes);
    TRY(write_header(out, m, 1, &at, error));
    TRY(write_array(out, m, error));
    at += m->bytes;
  }
  const uint64_t begin = at;
  for (size_t i = 0; i < count; i++) TRY(write_header(out, &members[i], 0, &at, error));
  return write_end(out, count, begin, at, error);
}

static int compare_names(const void *a, const void *b) {
  return strcmp(((const member *)a)->array->name, ((const member *)b)->array->name);
}

static viva_status add_members(runtime *rt, const char *path, const viva_tensor_data *arrays, size_t count,
                               grow *members, viva_error *error) {
  for (size_t i = 0; i < count; i++) {
    const char *name = arrays[i].name;
    if (!name || !utf8_valid(name, strlen(name)) || strlen(name) > 60000)
      return wrong(path, name, error, VIVA_E_ARGUMENT, "a name is NULL, not UTF-8 or longer than 60,000 bytes");
    member *m = grow_add(&rt->mem, members);
    if (!m) return checkpoint_build_no_memory(path, "the list of arrays", error);
    TRY(check_array(path, &arrays[i], m, error));
    m->name_bytes = strlen(name) + 4;
  }
  const void **order = grow_sorted(&rt->mem, members, 0, compare_names);
  viva_status status = order ? VIVA_OK : checkpoint_build_no_memory(path, "the list of arrays", error);
  for (size_t i = 1; status == VIVA_OK && i < count; i++)
    if (compare_names(order[i - 1], order[i]) == 0)
      status =
          wrong(path, ((const member *)order[i])->array->name, error, VIVA_E_ARGUMENT, "two arrays have this name");
  mem_free(&rt->mem, order);
  return status;
}

viva_status npz_write(runtime *rt, const char *path, const viva_tensor_data *arrays, size_t count, viva_error *error) {
  grow members = {.item_bytes = sizeof(member)};
  io_writer *out = NULL;
  viva_status status = add_members(rt, path, arrays, count, &members, error);
  if (status == VIVA_OK) status = writer_open(rt, path, NULL, &out, error);
  if (status == VIVA_OK) {
    status = write_members(out, (member *)(void *)members.items, count, error);
    if (status == VIVA_OK)
      status = writer_commit(out, error);
    else
      writer_abort(out);
  }
  grow_free(&rt->mem, &members);
  return status;
}

/* -- public */

static viva_status write_any(const char *path, const viva_tensor_data *arrays, size_t count, int is_zip,
                             const viva_checkpoint_options *options, viva_error *error) {
  if (!path) return error_set(error, VIVA_E_ARGUMENT, "path is NULL; expected where to write");
  if (!arrays && (count > 0 || !is_zip)) return error_set(error, VIVA_E_ARGUMENT, "the array to be written is NULL");
  viva_checkpoint_options o = viva_checkpoint_options_default();
  TRY(options_read(&o, options, "viva_checkpoint_options", error));
  TRY(options_reserved(o.reserved, "viva_checkpoint_options", error));
  runtime *rt = runtime_create(o.allocator, NULL, o.log, o.log_user, VIVA_LOG_WARN);
  if (!rt) return checkpoint_build_no_memory(path, "writing", error);
  const viva_status status = is_zip ? npz_write(rt, path, arrays, count, error) : npy_write(rt, path, arrays, error);
  runtime_release(rt);
  return status;
}

viva_status viva_npy_write(const char *path, const viva_tensor_data *array, const viva_checkpoint_options *options,
                           viva_error *error) {
  return write_any(path, array, 1, 0, options, error);
}

viva_status viva_npz_write(const char *path, const viva_tensor_data *arrays, size_t count,
                           const viva_checkpoint_options *options, viva_error *error) {
  return write_any(path, arrays, count, 1, options, error);
}
