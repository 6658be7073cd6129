/* Any configuration over any tensors: what is accepted is read in every way, and never beyond its bytes.
 *
 *   CONFIG 0 HF_QUANT_CONFIG 0 LINES 0 FILL
 *
 * CONFIG and HF_QUANT_CONFIG are config.json and hf_quant_config.json (empty: none). Each line is "NAME TYPE SIZE,SIZE":
 * a tensor, whose bytes repeat FILL.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/quant/quant.h"
#include "lib/memory_io.h"

enum { MAX_DATA = 1 << 16, MAX_HEADER = 1 << 16, MAX_VALUES = 1 << 16 };

static void require(int condition) {
  if (!condition) abort();
}

typedef struct part {
  const char *text;
  size_t bytes;
} part;

/* The bytes up to `end`, taken off the front of rest. */
static part take(part *rest, char end) {
  const char *at = rest->bytes > 0 ? memchr(rest->text, end, rest->bytes) : NULL;
  part p = {rest->text, at != NULL ? (size_t)(at - rest->text) : rest->bytes};
  size_t used = p.bytes + (at != NULL);
  rest->text += used;
  rest->bytes -= used;
  return p;
}

/* Sizes are what they say as long as the data stay small: then the header agrees with them, as it must. */
static size_t line_bytes(part type, part sizes) {
  file_type known;
  uint64_t elements = 1, bytes;
  if (!type_from_safetensors(type.text, type.bytes, &known)) return MAX_DATA;
  while (sizes.bytes > 0) {
    part one = take(&sizes, ',');
    uint64_t size = 0;
    for (size_t i = 0; i < one.bytes; i++) {
      if (one.text[i] < '0' || one.text[i] > '9' || size > MAX_DATA) return MAX_DATA;
      size = size * 10 + (uint64_t)(one.text[i] - '0');
    }
    if (one.bytes == 0 || size > MAX_DATA) return MAX_DATA;
    elements *= size;
    if (elements > MAX_DATA) return MAX_DATA;
  }
  return type_bytes(known, elements, &bytes) ? MAX_DATA : (size_t)bytes;
}

static void put_tensors(memory_io *io, part lines, part fill) {
  static char file[8 + MAX_HEADER + MAX_DATA];
  char *header = file + 8;
  size_t at = 0, length = 1;
  header[0] = '{';
  while (lines.bytes > 0) {
    part line = take(&lines, '\n'), name = take(&line, ' '), type = take(&line, ' ');
    size_t bytes = line_bytes(type, line);
    if (bytes >= MAX_DATA - at || name.bytes + type.bytes + line.bytes + 128 > MAX_HEADER - length) break;
    length +=
        (size_t)sprintf(header + length, "%s\"%.*s\":{\"dtype\":\"%.*s\",\"shape\":[%.*s],\"data_offsets\":[%zu,%zu]}",
                        length > 1 ? "," : "", (int)name.bytes, name.text, (int)type.bytes, type.text, (int)line.bytes,
                        line.text, at, at + bytes);
    at += bytes;
  }
  header[length++] = '}';
  for (size_t i = 0; i < 8; i++) file[i] = (char)(length >> (8 * i));
  for (size_t i = 0; i < at; i++) header[length + i] = fill.bytes > 0 ? fill.text[i % fill.bytes] : 0;
  memory_io_put(io, "/m/model.safetensors", file, 8 + length + at);
}

/* Reads rows [first, first + rows) in every way, into blocks of their exact size. */
static void read_rows(const quant *q, const quant_matrix *m, uint64_t first, size_t rows) {
  size_t cols = (size_t)m->cols, room = quant_scratch_bytes(m, rows), blocks = (size_t)m->scale_cols;
  require(room != SIZE_MAX);
  void *scratch = malloc(room);
  float *values = malloc(rows * cols * sizeof *values), *scales = malloc(rows * blocks * sizeof *scales);
  uint8_t *bytes = malloc(rows * blocks);
  size_t code_row = m->kind == QUANT_SPARSE ? cols : m->rows > 0 ? (size_t)(m->codes->bytes / m->rows) : 0;
  void *codes = malloc(rows * code_row);
  viva_error error = {0};
  require(quant_rows_f32(q, m, first, rows, values, scratch, &error) == error.code);
  viva_status status = quant_codes(q, m, first, rows, codes, scratch, &error);
  require(status == VIVA_OK || status == error.code);
  status = quant_scales_f32(q, m, first, rows, scales, scratch, &error);
  require(status == VIVA_OK || status == error.code);
  if (m->kind == QUANT_NVFP4) {
    status = quant_scales_e4m3(q, m, first, rows, bytes, &error);
    require(status == VIVA_OK || status == VIVA_E_FORMAT);
  }
  free(codes);
  free(bytes);
  free(values);
  free(scales);
  free(scratch);
}

static void check_matrix(const quant *q, const quant_matrix *m) {
  require((m->scales != NULL) == (m->block_rows > 0 && m->block_cols > 0));
  if (m->scales != NULL) {
    require(m->scale_rows * m->scale_cols == m->scales->elements);
    require((m->rows - 1) / m->block_rows + 1 == m->scale_rows && (m->cols - 1) / m->block_cols + 1 == m->scale_cols);
  }
  if (m->rows > MAX_VALUES || m->cols > MAX_VALUES || m->rows * m->cols > MAX_VALUES) return;
  size_t rows = (size_t)m->rows;
  read_rows(q, m, 0, rows / 2);
  read_rows(q, m, rows / 2, rows - rows / 2);
}

static void check_all(const viva_checkpoint *ck, const quant *q) {
  for (size_t i = 0; i < ck->tensor_count; i++) {
    const tensor_view *view = &ck->tensors[i];
    const char *dot = strrchr(view->name, '.');
    quant_matrix m;
    require(quant_tensor_role(q, view) <= QUANT_ROLE_IGNORED);
    if (dot == NULL) continue;
    char *module = strdup(view->name);
    module[dot - view->name] = 0;
    if (quant_find(q, module, &m, NULL) == VIVA_OK) check_matrix(q, &m);
    free(module);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  part rest = {(const char *)data, size};
  part config = take(&rest, 0), modelopt = take(&rest, 0), lines = take(&rest, 0);
  memory_io *io = memory_io_create();
  runtime *rt = runtime_create(NULL, memory_io_table(io), NULL, NULL, VIVA_LOG_WARN);
  viva_checkpoint *ck;
  quant *q;
  viva_error error = {0};
  if (config.bytes > 0) memory_io_put(io, "/m/config.json", config.text, config.bytes);
  if (modelopt.bytes > 0) memory_io_put(io, "/m/hf_quant_config.json", modelopt.text, modelopt.bytes);
  put_tensors(io, lines, rest);
  if (checkpoint_open(rt, "/m", size % 2 ? VIVA_LOAD_MMAP : VIVA_LOAD_READ, &ck, &error) == VIVA_OK) {
    viva_status status = quant_open(ck, &q, &error);
    require(status == error.code);
    if (status == VIVA_OK) check_all(ck, q);
    quant_close(q);
    viva_checkpoint_close(ck);
  }
  runtime_release(rt);
  require(memory_io_open_count(io) == 0);
  memory_io_free(io);
  return 0;
}
