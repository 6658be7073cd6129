/* base/status.c: the public texts of statuses, element types and errors. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "viva/types.h"

typedef struct status_row {
  viva_status status;
  const char *name, *text;
} status_row;

static const status_row status_rows[] = {
#define STATUS_ROW(name, value, text) {VIVA_##name, "VIVA_" #name, text},
    VIVA_STATUS_MAP(STATUS_ROW)
#undef STATUS_ROW
};

/* The row of a status, or NULL for a value outside the list. */
static const status_row *status_find(viva_status status) {
  for (size_t i = 0; i < sizeof status_rows / sizeof status_rows[0]; i++)
    if (status_rows[i].status == status) return &status_rows[i];
  return NULL;
}

const char *viva_status_name(viva_status status) {
  const status_row *row = status_find(status);
  return row ? row->name : "unknown status";
}

const char *viva_status_text(viva_status status) {
  const status_row *row = status_find(status);
  return row ? row->text : "unknown status";
}

const char *viva_dtype_name(viva_dtype dtype) {
  /* safetensors' spelling; its F8_ and F4/F6_ names put the width in front of the OCP name. */
  static const char *const names[] = {
      [VIVA_DTYPE_NONE] = "none",
      [VIVA_F64] = "F64",
      [VIVA_F32] = "F32",
      [VIVA_F16] = "F16",
      [VIVA_BF16] = "BF16",
      [VIVA_I64] = "I64",
      [VIVA_I32] = "I32",
      [VIVA_I16] = "I16",
      [VIVA_I8] = "I8",
      [VIVA_U64] = "U64",
      [VIVA_U32] = "U32",
      [VIVA_U16] = "U16",
      [VIVA_U8] = "U8",
      [VIVA_BOOL] = "BOOL",
      [VIVA_E4M3] = "F8_E4M3",
      [VIVA_E5M2] = "F8_E5M2",
      [VIVA_E8M0] = "F8_E8M0",
      [VIVA_E2M1] = "F4",
      [VIVA_E2M3] = "F6_E2M3",
      [VIVA_E3M2] = "F6_E3M2",
      [VIVA_E4M3_FNUZ] = "F8_E4M3FNUZ",
      [VIVA_E5M2_FNUZ] = "F8_E5M2FNUZ",
      [VIVA_C64] = "C64",
  };
  size_t index = (size_t)dtype;
  return index < sizeof names / sizeof names[0] ? names[index] : "unknown type";
}

/* Text being written into a buffer that may be too short: `length` counts on. */
typedef struct line {
  char *buffer;
  size_t size, length;
} line;

static void line_add(line *l, const char *text, size_t bytes) {
  if (l->size > 0 && l->length < l->size - 1) {
    size_t room = l->size - 1 - l->length;
    memcpy(l->buffer + l->length, text, bytes < room ? bytes : room);
  }
  l->length += bytes;
}

static void line_add_part(line *l, const char *text, size_t capacity) {
  size_t bytes = strnlen(text, capacity);
  if (bytes == 0) return;
  line_add(l, text, bytes);
  line_add(l, ": ", 2);
}

/* Ends the text, on the edge of a character when it was cut. */
static void line_end(line *l) {
  if (l->size == 0) return;
  size_t end = l->length < l->size - 1 ? l->length : l->size - 1;
  if (end < l->length) {
    size_t start = end;
    while (start > 0 && end - start < 3 && ((uint8_t)l->buffer[start - 1] & 0xC0) == 0x80) start--;
    if (start > 0 && (uint8_t)l->buffer[start - 1] >= 0xC0) start--;
    uint32_t code;
    size_t invalid;
    if (start < end && utf8_decode(l->buffer + start, end - start, &code, &invalid) != end - start) end = start;
  }
  l->buffer[end] = 0;
}

size_t viva_error_format(const viva_error *error, char *buffer, size_t size) {
  line l = {buffer, size, 0};
  if (error->code == VIVA_OK) {
    line_end(&l);
    return 0;
  }
  line_add_part(&l, error->file, sizeof error->file);
  line_add_part(&l, error->item, sizeof error->item);
  if (error->offset != VIVA_NO_OFFSET) {
    char place[40];
    int bytes = snprintf(place, sizeof place, "at byte %llu: ", (unsigned long long)error->offset);
    line_add(&l, place, (size_t)bytes);
  }
  line_add(&l, error->message, strnlen(error->message, sizeof error->message));
  line_end(&l);
  return l.length;
}
