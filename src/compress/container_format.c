/* compress/container_format.c: records to bytes and back. */
#include "compress/container.h"

#include <float.h>

#include "base/checksum.h"
#include "base/ck.h"
#include "number/number.h"

static const char magic[8] = {'V', 'I', 'V', 'A', 'C', 'M', 'P', '\n'};
#define RECORD_MAGIC 0x43455256u /* "VREC" */
#define HASHED       56          /* bytes of a header before its checksum */

static void put(uint8_t *to, uint64_t value, size_t bytes) { codes_store(to, value, bytes); }
static uint64_t get(const uint8_t *from, size_t bytes) { return codes_load(from, bytes); }
static void put_f32(uint8_t *to, float value) { put(to, f32_bits(value), 4); }
static float get_f32(const uint8_t *from) { return f32_from_bits((uint32_t)get(from, 4)); }

/* -- the file's header */

void file_header_write(uint8_t to[CONTAINER_UNIT]) {
  memset(to, 0, CONTAINER_UNIT);
  memcpy(to, magic, sizeof magic);
  put(to + 8, CONTAINER_VERSION, 4);
  put(to + HASHED, checksum_bytes(to, HASHED), 8);
}

const char *file_header_read(const uint8_t from[CONTAINER_UNIT], viva_status *status) {
  *status = VIVA_E_FORMAT;
  if (memcmp(from, magic, sizeof magic) != 0) return "this is no container of compressed tensors";
  if (get(from + HASHED, 8) != checksum_bytes(from, HASHED)) return "the file's header is damaged";
  *status = VIVA_E_UNSUPPORTED;
  return get(from + 8, 4) == CONTAINER_VERSION ? NULL : "the container is of another version than 1; update viva";
}

/* -- records */

void record_write(const record *r, uint8_t to[CONTAINER_UNIT]) {
  put(to, RECORD_MAGIC, 4);
  put(to + 4, r->kind, 4);
  put(to + 8, r->bytes, 8);
  put(to + 16, r->hash, 8);
  put(to + 24, r->tensor, 4);
  put(to + 28, r->bits, 1);
  put(to + 29, r->fate, 1);
  put(to + 30, 0, 2);
  put(to + 32, r->id, 8);
  put(to + 40, r->values, 8);
  put_f32(to + 48, r->global);
  put_f32(to + 52, r->error_pct);
  put(to + HASHED, checksum_bytes(to, HASHED), 8);
}

const char *record_read(const uint8_t from[CONTAINER_UNIT], record *r) {
  if (get(from, 4) != RECORD_MAGIC) return "there is no record here";
  if (get(from + HASHED, 8) != checksum_bytes(from, HASHED)) return "the record's header is damaged";
  *r = (record){.kind = (record_kind)get(from + 4, 4),
                .bytes = get(from + 8, 8),
                .hash = get(from + 16, 8),
                .tensor = (uint32_t)get(from + 24, 4),
                .bits = from[28],
                .fate = from[29],
                .id = get(from + 32, 8),
                .values = get(from + 40, 8),
                .global = get_f32(from + 48),
                .error_pct = get_f32(from + 52)};
  return r->kind >= RECORD_TENSOR && r->kind <= RECORD_END ? NULL : "the record is of an unknown kind";
}

/* -- tensors */

enum { FIELDS = 9 };

/* The whole numbers of a configuration, in the file's order. */
static void config_fields(const viva_compression_config *c, uint32_t f[FIELDS]) {
  f[0] = (uint32_t)c->codec, f[1] = c->block_size, f[2] = c->bits_per_value, f[3] = (uint32_t)c->symmetric;
  f[4] = (uint32_t)c->error, f[5] = (uint32_t)c->bound, f[6] = (uint32_t)c->search;
  f[7] = (uint32_t)c->row_blocks, f[8] = (uint32_t)c->keep_nonfinite;
}

void tensor_write(const viva_container_tensor *t, uint32_t name_bytes, uint8_t to[TENSOR_BYTES]) {
  uint32_t fields[FIELDS];
  uint64_t percent;
  memset(to, 0, TENSOR_BYTES);
  config_fields(&t->config, fields);
  memcpy(&percent, &t->config.max_error_pct, sizeof percent);
  for (size_t i = 0; i < FIELDS; i++) put(to + 4 * i, fields[i], 4);
  put_f32(to + 36, t->config.global_scale);
  put(to + 40, percent, 8);
  put(to + 48, t->config.segment, 8);
  put(to + 56, t->row_length, 8);
  put(to + 64, t->elements, 8);
  put(to + 72, (uint32_t)t->dtype, 4);
  put(to + 76, t->rank, 4);
  put(to + 80, name_bytes, 4);
  for (size_t i = 0; i < VIVA_TENSOR_MAX_RANK; i++) put(to + 88 + 8 * i, i < t->rank ? t->shape[i] : 0, 8);
}

int shape_differs(const viva_container_tensor *t, uint64_t elements) {
  uint64_t product = 1, nonzero = 1;
  for (uint32_t i = 0; i < t->rank; i++) {
    product = t->shape[i] == 0 ? 0 : product;
    if (ck_mul(nonzero, t->shape[i] ? t->shape[i] : 1, &nonzero)) return 1;
  }
  return (product ? nonzero : 0) != elements;
}

const char *tensor_read(const uint8_t *from, size_t bytes, viva_container_tensor *t, uint32_t *name_bytes) {
  if (bytes < TENSOR_BYTES) return "the tensor's description is too short";
  const uint64_t percent = get(from + 40, 8);
  *t = (viva_container_tensor){.size = sizeof *t, .complete = 1, .config = {.size = sizeof t->config}};
  viva_compression_config *c = &t->config;
  c->codec = (viva_codec)get(from, 4), c->block_size = (uint32_t)get(from + 4, 4);
  c->bits_per_value = (uint32_t)get(from + 8, 4), c->symmetric = (int32_t)get(from + 12, 4);
  c->error = (viva_error_measure)get(from + 16, 4), c->bound = (viva_compress_bound)get(from + 20, 4);
  c->search = (viva_scale_search)get(from + 24, 4), c->row_blocks = (int32_t)get(from + 28, 4);
  c->keep_nonfinite = (int32_t)get(from + 32, 4);
  c->global_scale = get_f32(from + 36);
  memcpy(&c->max_error_pct, &percent, sizeof percent);
  c->segment = get(from + 48, 8);
  t->row_length = get(from + 56, 8);
  t->elements = get(from + 64, 8);
  t->dtype = (viva_dtype)get(from + 72, 4);
  t->rank = (uint32_t)get(from + 76, 4);
  *name_bytes = (uint32_t)get(from + 80, 4);
  for (size_t i = 0; i < VIVA_TENSOR_MAX_RANK; i++) t->shape[i] = get(from + 88 + 8 * i, 8);
  if (t->rank > VIVA_TENSOR_MAX_RANK) return "the tensor's rank is above 8";
  if (*name_bytes > CONTAINER_NAME || *name_bytes != bytes - TENSOR_BYTES)
    return "the tensor's name has another length";
  if (t->elements != VIVA_UNKNOWN && shape_differs(t, t->elements))
    return "the tensor's shape is not its number of values";
  coder checked;
  size_t row;
  if (c->row_blocks && t->row_length == 0) return "the tensor's blocks end at rows, whose length is missing";
  if (ck_size(t->row_length, &row) || coder_make(c, row, NULL, NULL, &checked, NULL) != VIVA_OK)
    return "the tensor's configuration is none that viva has";
  return NULL;
}

/* -- index */

void index_write(const index_entry *e, uint8_t to[INDEX_BYTES]) {
  put(to, e->offset, 8), put(to + 8, e->chunks, 8), put(to + 16, e->values, 8), put(to + 24, e->bytes, 8);
}

void index_read(const uint8_t from[INDEX_BYTES], index_entry *e) {
  *e = (index_entry){get(from, 8), get(from + 8, 8), get(from + 16, 8), get(from + 24, 8)};
}

const char *tensor_settle(viva_container_tensor *t, const index_entry *e, int complete) {
  const int unknown = t->elements == VIVA_UNKNOWN;
  t->chunks = e->chunks;
  t->bytes = e->bytes + 4 * e->chunks;
  t->complete = complete && (unknown || t->elements == e->values);
  if (complete && !t->complete) return "the tensor has another number of values than its shape says";
  if (t->complete && !unknown) return NULL;
  t->elements = e->values;
  t->rank = 1;
  memset(t->shape, 0, sizeof t->shape);
  t->shape[0] = e->values;
  return NULL;
}

/* -- chunks */

const char *chunk_segment(const viva_container_tensor *t, const record *r, const uint8_t *data, segment *s) {
  size_t values, bytes, row;
  if (r->values == 0 || ck_size(r->values, &values) || values > PTRDIFF_MAX / sizeof(float))
    return "the chunk has no number of values that can be";
  if (ck_size(r->bytes, &bytes) || ck_size(t->config.row_blocks ? t->row_length : r->values, &row))
    return "the chunk is too large for this machine";
  if (!(r->global > 0) || r->global > FLT_MAX) return "the chunk's global scale is no positive number";
  if (r->fate > VIVA_CHUNK_LATE) return "the chunk's fate is unknown";
  *s = (segment){.codec = t->config.codec,
                 .symmetric = t->config.symmetric != 0,
                 .bits = r->bits,
                 .global = r->global,
                 .fate = (viva_chunk_fate)r->fate,
                 .error_pct = (double)r->error_pct,
                 .data = (uint8_t *)(uintptr_t)data,
                 .bytes = bytes};
  s->grid = (block_grid){values, row, t->config.block_size};
  s->blocks = grid_blocks(&s->grid);
  s->bound_met = t->config.max_error_pct == 0 || r->error_pct <= (float)t->config.max_error_pct; /* both as stored */
  return segment_valid(s) ? NULL : "the chunk's arrays are not as long as its blocks need";
}
