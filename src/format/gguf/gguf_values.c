/* format/gguf/gguf_values.c: the key-value pairs of a GGUF header. */
#include <inttypes.h>
#include <string.h>

#include "base/ck.h"
#include "base/num.h"
#include "format/gguf/gguf_parse.h"
#include "format/sort.h"

#define ALIGNMENT_KEY "general.alignment"
/* SIMD readers of mapped files count on 8; beyond 1 MiB only padding would grow. */
#define MIN_ALIGNMENT 8u
#define MAX_ALIGNMENT (1u << 20)

#define KEY_MOST 65535 /* bytes: the format's own limit */

/* Of a value: the list while it grows, the final one, pointers to sort by; and its key. */
#define VALUE_COST (3 * sizeof(raw_value) + sizeof(gguf_value) + 32)

static viva_status parse_key(gguf_reader *r, raw_value *value) {
  r->item_bytes = 0;
  TRY(reader_string(r, &value->key, &value->key_bytes, "a key"));
  const char *key = (const char *)r->bytes + value->key;
  if (value->key_bytes == 0) return reader_fail(r, VIVA_E_FORMAT, value->key, "an empty key: keys have a name");
  if (value->key_bytes > KEY_MOST)
    return reader_fail(r, VIVA_E_FORMAT, value->key, "a key of %zu bytes: at most %d are allowed", value->key_bytes,
                       KEY_MOST);
  if (!utf8_valid(key, value->key_bytes) || memchr(key, 0, value->key_bytes)) {
    return reader_fail(r, VIVA_E_FORMAT, value->key, "a key that is not UTF-8 without zero bytes");
  }
  r->item = value->key;
  r->item_bytes = value->key_bytes;
  return VIVA_OK;
}

static viva_status parse_type(gguf_reader *r, gguf_type *type) {
  uint32_t id;
  size_t at = r->at;
  TRY(reader_u32(r, &id, "a value's type"));
  if (id >= GGUF_TYPES) return reader_fail(r, VIVA_E_FORMAT, at, "value type %" PRIu32 ": types are 0 to 12", id);
  *type = (gguf_type)id;
  return VIVA_OK;
}

static viva_status parse_strings(gguf_reader *r, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    size_t offset, bytes;
    TRY(reader_string(r, &offset, &bytes, "a string"));
  }
  return VIVA_OK;
}

static viva_status parse_array(gguf_reader *r, raw_value *value) {
  value->is_array = 1;
  TRY(parse_type(r, &value->type));
  if (value->type == GGUF_ARRAY) {
    return reader_fail(r, VIVA_E_UNSUPPORTED, r->at, "an array of arrays: viva (as ggml) does not read them");
  }
  size_t at = r->at;
  TRY(reader_u64(r, &value->count, "an array's length"));
  value->data = r->at;
  uint64_t smallest = value->type == GGUF_STRING ? sizeof(uint64_t) : gguf_type_bytes(value->type);
  if (value->count > reader_left(r) / smallest) {
    return reader_fail(r, VIVA_E_FORMAT, at,
                       "an array of %" PRIu64 " values, but the %" PRIu64 " bytes that follow hold at most %" PRIu64,
                       value->count, reader_left(r), reader_left(r) / smallest);
  }
  if (value->type == GGUF_STRING) return parse_strings(r, value->count);
  return reader_skip(r, value->count * smallest, "an array"); /* no overflow: at most the bytes that are left */
}

static viva_status parse_value(gguf_reader *r, raw_value *value) {
  TRY(parse_type(r, &value->type));
  value->data = r->at;
  value->count = 1;
  if (value->type == GGUF_ARRAY) {
    TRY(parse_array(r, value));
  } else if (value->type == GGUF_STRING) {
    TRY(parse_strings(r, 1));
  } else {
    TRY(reader_skip(r, gguf_type_bytes(value->type), "a value"));
  }
  value->bytes = r->at - value->data;
  return VIVA_OK;
}

static viva_status take_alignment(gguf_parse *p, const raw_value *value) {
  gguf_reader *r = &p->reader;
  if (value->key_bytes != strlen(ALIGNMENT_KEY) ||
      memcmp(r->bytes + value->key, ALIGNMENT_KEY, value->key_bytes) != 0) {
    return VIVA_OK;
  }
  if (value->is_array || value->type != GGUF_U32) {
    return reader_fail(r, VIVA_E_FORMAT, value->data, "expected a u32, found %s",
                       gguf_type_name(value->type, value->is_array));
  }
  uint32_t alignment;
  memcpy(&alignment, r->bytes + value->data, sizeof alignment);
  if (alignment < MIN_ALIGNMENT || alignment > MAX_ALIGNMENT || (alignment & (alignment - 1)) != 0) {
    return reader_fail(r, VIVA_E_FORMAT, value->data, "an alignment of %" PRIu32 ": expected a power of two, %u to %u",
                       alignment, MIN_ALIGNMENT, MAX_ALIGNMENT);
  }
  p->g->alignment = alignment;
  return VIVA_OK;
}

viva_status parse_values(gguf_parse *p, uint64_t count) {
  gguf_reader *r = &p->reader;
  for (uint64_t i = 0; i < count; i++) {
    raw_value value = {0};
    TRY(parse_key(r, &value));
    TRY(parse_value(r, &value));
    TRY(take_alignment(p, &value));
    TRY(allowance_memory(&p->ck->allowance, VALUE_COST + value.key_bytes, "the list of keys", r->file->path, r->error));
    raw_value *kept = grow_add(&r->rt->mem, &p->values);
    if (!kept) return reader_fail(r, VIVA_E_MEMORY, value.key, "no memory for the list of keys");
    *kept = value;
  }
  return VIVA_OK;
}

static int compare_keys(const void *a, const void *b) {
  return strcmp(((const gguf_value *)a)->key, ((const gguf_value *)b)->key);
}

static viva_status refuse_double_keys(gguf_parse *p) {
  gguf_reader *r = &p->reader;
  const gguf *g = p->g;
  const void **order = mem_array(&r->rt->mem, g->value_count, sizeof *order);
  if (!order) return reader_fail(r, VIVA_E_MEMORY, VIVA_NO_OFFSET, "no memory for the list of keys");
  for (size_t i = 0; i < g->value_count; i++) order[i] = &g->values[i];
  sort_pointers(order, g->value_count, compare_keys);
  const gguf_value *twice = NULL;
  for (size_t i = 1; i < g->value_count && !twice; i++) {
    if (compare_keys(order[i - 1], order[i]) == 0) twice = order[i];
  }
  mem_free(&r->rt->mem, order);
  if (!twice) return VIVA_OK;
  reader_fail(r, VIVA_E_FORMAT, (uint64_t)(twice->data - g->header), "this key stands in the file twice");
  error_at(r->error, NULL, twice->key, -1, VIVA_NO_OFFSET);
  return VIVA_E_FORMAT;
}

viva_status finish_values(gguf_parse *p) {
  gguf *g = p->g;
  gguf_reader *r = &p->reader;
  size_t count = p->values.count;
  const raw_value *raw = (const raw_value *)(const void *)p->values.items;
  g->values = arena_alloc(p->ck->arena, count * sizeof *g->values); /* about as large as the list that exists */
  if (!g->values) return reader_fail(r, VIVA_E_MEMORY, VIVA_NO_OFFSET, "no memory for the list of keys");
  for (size_t i = 0; i < count; i++) {
    const char *key = arena_text(p->ck->arena, (const char *)g->header + raw[i].key, raw[i].key_bytes);
    if (!key) return reader_fail(r, VIVA_E_MEMORY, raw[i].key, "no memory for the list of keys");
    g->values[i] = (gguf_value){.key = key,
                                .type = raw[i].type,
                                .is_array = raw[i].is_array,
                                .count = raw[i].count,
                                .data = g->header + raw[i].data,
                                .bytes = raw[i].bytes};
  }
  g->value_count = count;
  return refuse_double_keys(p);
}
