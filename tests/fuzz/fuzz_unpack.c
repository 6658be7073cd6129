/* Any bytes as a packed matrix of any format: unpacking reads nothing beside it and gives a value for every code, and is the
 * same row by row. Then any floats into the same format: packing writes nothing beside it, and the index is right.
 *
 * Input: format, block, scale type, flags, rows, columns (2 bytes), 4 bytes of NVFP4's number; then the matrix.
 */
#include <stdlib.h>
#include <string.h>

#include "pack/pack.h"

enum { HEAD = 11, MOST_ROWS = 4, MOST_COLS = 1200 };

static void require(int condition) {
  if (!condition) abort();
}

static pack_spec read_spec(const uint8_t *head) {
  static const uint32_t fp8_blocks[5] = {0, 16, 32, 64, 128}, int4_blocks[4] = {0, 32, 64, 128};
  pack_spec spec = {.format = (weight_format)(head[0] % WEIGHT_FORMATS)};
  if (spec.format == WEIGHT_FP8) {
    spec.block = fp8_blocks[head[1] % 5];
    spec.scale = (scale_type)(head[2] % 3);
  }
  if (spec.format == WEIGHT_INT4_24) {
    spec.block = int4_blocks[head[1] % 4];
    spec.scale = (scale_type)(head[2] % 2);
    spec.pairs = head[3] & 1;
  }
  spec.search = (nvfp4_search)(head[2] % 3);
  spec.multiplier = head[3] >> 1 & 1;
  spec.allow_nonfinite = head[3] >> 2 & 1;
  memcpy(&spec.global, head + 7, sizeof spec.global);
  return spec;
}

/* Exactly the bytes of the matrix, so that the sanitizer sees a read beside them; what the input lacks is zero. */
static uint8_t *exact_copy(const uint8_t *data, size_t size, size_t bytes) {
  uint8_t *copy = malloc(bytes);
  require(copy != NULL);
  memset(copy, 0, bytes);
  memcpy(copy, data, size < bytes ? size : bytes);
  return copy;
}

static void unpack(const pack_spec *spec, size_t rows, size_t cols, const uint8_t *data) {
  const weight w = pack_view(spec, rows, cols, data);
  float *all = malloc(rows * cols * sizeof *all), *one = malloc(cols * sizeof *one);
  require(all != NULL && one != NULL);
  unpack_rows(&w, 0, rows, all, cols);
  for (size_t r = 0; r < rows; r++) {
    unpack_rows(&w, r, 1, one, cols);
    require(memcmp(one, all + r * cols, cols * sizeof *one) == 0);
  }
  if (spec->format == WEIGHT_INT8_24 || spec->format == WEIGHT_INT4_24) {
    const pack_place place = pack_check_index(&w, 0, rows);
    require(!place.found || (place.row < rows && place.col < (cols + 63) / 64 * 64));
    const pack_place least = pack_check_codes(&w, 0, rows);
    require(!least.found || (least.row < rows && least.col < (cols + 63) / 64 * 64));
  }
  free(one);
  free(all);
}

static void pack(pack_spec spec, size_t rows, size_t cols, const uint8_t *data, size_t size) {
  pack_survey survey = {0};
  pack_sizes sizes;
  pack_place bad;
  float *values = (float *)(void *)exact_copy(data, size, rows * cols * sizeof *values);
  pack_survey_rows(&spec, values, cols, 0, rows, cols, &survey);
  pack_settle(&spec, &survey);
  require(pack_measure(&spec, rows, cols, &sizes) == 0);
  uint8_t *to = malloc(sizes.bytes);
  require(to != NULL);
  memset(to, 0, sizes.bytes);
  pack_rows(&spec, rows, cols, to, 0, rows, values, cols, NULL, &bad);
  require(bad.found == survey.bad.found && bad.row == survey.bad.row && bad.col == survey.bad.col);
  const weight w = pack_view(&spec, rows, cols, to);
  if (spec.format == WEIGHT_INT8_24 || spec.format == WEIGHT_INT4_24)
    require(pack_check_index(&w, 0, rows).found == 0 && pack_check_codes(&w, 0, rows).found == 0);
  unpack(&spec, rows, cols, to);
  free(to);
  free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  pack_sizes sizes;
  if (size < HEAD) return 0;
  const pack_spec spec = read_spec(data);
  const size_t rows = 1 + data[4] % MOST_ROWS, cols = 1 + (size_t)(data[5] | data[6] << 8) % MOST_COLS;
  require(pack_measure(&spec, rows, cols, &sizes) == 0);
  uint8_t *packed = exact_copy(data + HEAD, size - HEAD, sizes.bytes);
  unpack(&spec, rows, cols, packed);
  free(packed);
  pack(spec, rows, cols, data + HEAD, size - HEAD);
  return 0;
}
