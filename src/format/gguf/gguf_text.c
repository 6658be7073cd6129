/* format/gguf/gguf_text.c: values as text for people (viva_checkpoint_metadata). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "format/gguf/gguf_parse.h"

#define MAX_TEXT     1024 /* of a number, or the elements of an array */
#define MAX_ELEMENTS 8    /* of an array; the rest is "..." */
#define MAX_ELEMENT  64   /* a longer string in an array is cut */

/* One number or bool. Returns the length. */
static size_t format_number(char buffer[32], const gguf_value *value, uint64_t i) {
  int64_t integer;
  double real;
  if (value->type == GGUF_BOOL) return (size_t)snprintf(buffer, 32, "%s", value->data[i] ? "true" : "false");
  if (value->type == GGUF_U64) {
    uint64_t large;
    memcpy(&large, value->data + i * sizeof large, sizeof large);
    return (size_t)snprintf(buffer, 32, "%" PRIu64, large);
  }
  if (gguf_element_i64(value, i, &integer) == 0) return (size_t)snprintf(buffer, 32, "%" PRId64, integer);
  if (gguf_element_f64(value, i, &real) == 0) return num_format_double(buffer, real);
  buffer[0] = 0;
  return 0;
}

/* "[a, b, ...]". text has room for MAX_ELEMENTS elements of MAX_ELEMENT bytes. */
static void format_array(char *text, const gguf_value *value) {
  size_t at = 0, length = 0;
  text[length++] = '[';
  for (uint64_t i = 0; i < value->count && i < MAX_ELEMENTS; i++) {
    const char *string;
    size_t bytes;
    if (i > 0) {
      memcpy(text + length, ", ", 2);
      length += 2;
    }
    if (value->type != GGUF_STRING) {
      length += format_number(text + length, value, i);
    } else if (gguf_next_string(value, &at, &string, &bytes)) {
      text[length++] = '"';
      error_quote(text + length, MAX_ELEMENT - 2, string, bytes);
      length += strlen(text + length);
      text[length++] = '"';
    }
  }
  memcpy(text + length, value->count > MAX_ELEMENTS ? ", ...]" : "]", value->count > MAX_ELEMENTS ? 7 : 2);
}

/* NULL: no memory. */
static const char *value_text(viva_checkpoint *ck, const gguf_value *value) {
  const char *string;
  char text[MAX_TEXT];
  size_t bytes;
  if (gguf_string(value, &string, &bytes) == 0) return metadata_text(ck, string, bytes);
  if (value->is_array)
    format_array(text, value);
  else
    format_number(text, value, 0);
  return arena_text(ck->arena, text, strlen(text));
}

viva_status describe_values(gguf_parse *p) {
  viva_checkpoint *ck = p->ck;
  const gguf *g = p->g;
  struct metadata_entry *entries = arena_alloc(ck->arena, g->value_count * sizeof *entries); /* less than g->values */
  if (!entries) return reader_fail(&p->reader, VIVA_E_MEMORY, VIVA_NO_OFFSET, "no memory for the list of keys");
  for (size_t i = 0; i < g->value_count; i++) {
    const gguf_value *value = &g->values[i];
    TRY(metadata_charge(ck, 0, value->type == GGUF_STRING && !value->is_array ? value->bytes : MAX_ELEMENT,
                        p->reader.error));
    entries[i] = (struct metadata_entry){.key = value->key,
                                         .type_name = gguf_type_name(value->type, value->is_array),
                                         .text = value_text(ck, value),
                                         .count = value->count};
    if (!entries[i].text) {
      return reader_fail(&p->reader, VIVA_E_MEMORY, VIVA_NO_OFFSET, "no memory for the list of keys");
    }
  }
  ck->metadata = entries;
  ck->metadata_count = g->value_count;
  return VIVA_OK;
}
