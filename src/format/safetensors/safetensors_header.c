/* format/safetensors/safetensors_header.c */
#include "format/safetensors/safetensors_header.h"

enum { ALIGN = 8 };

/* The reference writer's order of types (huggingface/safetensors:safetensors/src/tensor.rs, enum Dtype), turned round. */
static const file_type type_order[] = {
    TYPE_U64, TYPE_I64, TYPE_F64,     TYPE_C64,         TYPE_F32,         TYPE_U32,     TYPE_I32,     TYPE_BF16,
    TYPE_F16, TYPE_U16, TYPE_I16,     TYPE_F8_E5M2FNUZ, TYPE_F8_E4M3FNUZ, TYPE_F8_E8M0, TYPE_F8_E4M3, TYPE_F8_E5M2,
    TYPE_I8,  TYPE_U8,  TYPE_F6_E3M2, TYPE_F6_E2M3,     TYPE_F4,          TYPE_BOOL};

size_t safetensors_place(file_type type) {
  size_t place = 0;
  while (place < sizeof type_order / sizeof *type_order && type_order[place] != type) place++;
  return place; /* it holds every type of safetensors */
}

void safetensors_header_begin(json_text *j, const char *const *metadata, size_t metadata_count) {
  json_text_put(j, "{");
  if (metadata_count == 0) return;
  json_text_put(j, "\"__metadata__\":{");
  for (size_t i = 0; i < metadata_count; i++) {
    if (i > 0) json_text_put(j, ",");
    json_text_quoted(j, metadata[2 * i]);
    json_text_put(j, ":");
    json_text_quoted(j, metadata[2 * i + 1]);
  }
  json_text_put(j, "}");
}

void safetensors_header_tensor(json_text *j, const char *name, file_type type, uint32_t rank, const uint64_t *shape,
                               uint64_t offset, uint64_t bytes) {
  if (j->text.count > 1) json_text_put(j, ",");
  json_text_quoted(j, name);
  json_text_put(j, ":{\"dtype\":\"");
  json_text_put(j, type_name(type));
  json_text_put(j, "\",\"shape\":[");
  for (uint32_t i = 0; i < rank; i++) {
    if (i > 0) json_text_put(j, ",");
    json_text_u64(j, shape[i]);
  }
  json_text_put(j, "],\"data_offsets\":[");
  json_text_u64(j, offset);
  json_text_put(j, ",");
  json_text_u64(j, offset + bytes);
  json_text_put(j, "]}");
}

void safetensors_header_end(json_text *j) {
  json_text_put(j, "}");
  while (j->text.count % ALIGN != 0 && !j->no_memory) json_text_put(j, " ");
}

void safetensors_length(uint8_t to[SAFETENSORS_LENGTH_BYTES], uint64_t header_bytes) {
  for (size_t i = 0; i < SAFETENSORS_LENGTH_BYTES; i++) to[i] = (uint8_t)(header_bytes >> (8 * i));
}
