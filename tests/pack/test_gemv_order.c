/* The order of the small-batch kernels (pack/gemv_order.h): every weight is found again where a lane of a warp would take
 * it. What the lanes do is written here a second time, from the fragments of the tensor cores' instructions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "number/mix.h"
#include "pack/gemv_order.h"
#include "pack/pack.h"

static const pack_spec specs[] = {
    {.format = WEIGHT_BF16},
    {.format = WEIGHT_F16},
    {.format = WEIGHT_FP8},
    {.format = WEIGHT_FP8, .block = 16},
    {.format = WEIGHT_FP8, .block = 32, .scale = SCALE_F16},
    {.format = WEIGHT_FP8, .block = 128, .scale = SCALE_E8M0},
    {.format = WEIGHT_NVFP4, .search = NVFP4_SEARCH_ABSMAX},
    {.format = WEIGHT_INT8_24},
    {.format = WEIGHT_INT4_24},
    {.format = WEIGHT_INT4_24, .block = 32, .scale = SCALE_F16},
    {.format = WEIGHT_INT4_24, .block = 128},
};

/* A weight in both orders, and where one of its records begins. */
typedef struct ordered {
  weight w;
  gemv_order order;
  const uint8_t *data, *record;
  size_t row, col; /* of the record */
} ordered;

static uint32_t word_at(const ordered *o, size_t vector, size_t lane, size_t word) {
  uint32_t v;
  memcpy(&v, o->record + (vector * GEMV_LANES + lane) * GEMV_VECTOR + word * 4, sizeof v);
  return v;
}

static float half(uint32_t bits) { return f16_to_f32((uint16_t)bits); }

/* The FP16 that an NVFP4 word gives for pair p, as the kernel makes it, times 2^14. */
static float fp4_of(uint32_t word, uint32_t p, uint32_t i) {
  return half(gemv_fp4_pair(word, (int)p) >> 16 * i) * GEMV_NVFP4_SCALE;
}

/* The code of a dense weight: lane 4 g + t, block of 16 columns in the record, pair, first or second. */
static float dense_code(const ordered *o, uint32_t lane, uint32_t block, uint32_t pair, uint32_t i) {
  switch (o->w.format) {
  case WEIGHT_BF16: return bf16_to_f32((uint16_t)(word_at(o, block, lane, pair) >> 16 * i));
  case WEIGHT_F16: return half(word_at(o, block, lane, pair) >> 16 * i);
  case WEIGHT_FP8: {
    const uint32_t word = word_at(o, block / 2, lane, (pair & 1) * 2 + block % 2);
    return e4m3_to_f32((uint8_t)(word >> (pair / 2 * 16 + 8 * i)));
  }
  default: return fp4_of(word_at(o, block / 4, lane, block % 4), pair, i);
  }
}

/* The kept code of a 2:4 weight, and its position in its group: span of 32 columns in the record. */
static float sparse_code(const ordered *o, uint32_t lane, uint32_t span, uint32_t pair, uint32_t i,
                         uint32_t *position) {
  const uint8_t *positions = o->record + o->order.code_bytes;
  const uint32_t group = lane % 4 + pair / 2 * 4, g = lane / 4;
  const uint32_t giver = 4 * g + span % 2 * 2 + group / 4; /* the lane whose word the instruction takes */
  const size_t at = o->w.format == WEIGHT_INT8_24 ? span / 2 * GEMV_LANES + giver : giver * 2 + span / 2;
  uint32_t nibbles;
  memcpy(&nibbles, positions + at * 4, sizeof nibbles);
  *position = nibbles >> ((pair & 1) * 16 + group % 4 * 4 + i * 2) & 3u;
  if (o->w.format == WEIGHT_INT8_24) {
    const uint32_t word = word_at(o, span / 2, lane, span % 2 * 2 + pair / 2);
    return (float)(word >> ((pair & 1) * 16 + 8 * i) & 0xffu) - 128;
  }
  return (float)(word_at(o, 0, lane, span) >> (4 * pair + 16 * i) & 0xfu) - 8;
}

/* Scale of a column in a row of the record. */
static float scale_of(const ordered *o, size_t row, size_t col) {
  const uint8_t *scales = o->record + o->order.code_bytes + o->order.position_bytes;
  if (!weight_blocked(&o->w)) return 1;
  const size_t block = col / o->w.block;
  size_t at = block * 16 + row % 8 * 2 + row / 8;
  if (o->w.format == WEIGHT_NVFP4) at = block / 4 * 64 + row % 8 * 8 + block % 4 * 2 + row / 8;
  weight one = o->w;
  one.scales = scales + at * scale_bytes(o->w.scales_type);
  return weight_scale(&one, 0, 0);
}

/* values[16][128] of a record, row scales left out. */
static void read_record(const ordered *o, float values[GEMV_TILE][GEMV_RECORD]) {
  const int sparse = o->order.position_bytes != 0;
  memset(values, 0, sizeof(float) * GEMV_TILE * GEMV_RECORD);
  for (uint32_t lane = 0; lane < GEMV_LANES; lane++)
    for (uint32_t part = 0; part < (sparse ? 4u : 8u); part++)
      for (uint32_t pair = 0; pair < 4; pair++)
        for (uint32_t i = 0; i < 2; i++) {
          const uint32_t row = lane / 4 + (pair & 1) * 8;
          uint32_t position, col = part * 16 + lane % 4 * 2 + pair / 2 * 8 + i;
          float code;
          if (sparse) {
            code = sparse_code(o, lane, part, pair, i, &position);
            col = part * 32 + (lane % 4 + pair / 2 * 4) * 4 + position;
          } else {
            code = dense_code(o, lane, part, pair, i);
          }
          values[row][col] += code * scale_of(o, row, col);
        }
}

static float row_scale(const ordered *o, size_t row) {
  float scale;
  memcpy(&scale, o->data + o->order.row_scales_offset + row * sizeof scale, sizeof scale);
  return o->w.format == WEIGHT_NVFP4 ? scale / GEMV_NVFP4_SCALE : scale;
}

static void check_record(ordered *o, size_t tile, size_t record, const float *expected) {
  float values[GEMV_TILE][GEMV_RECORD];
  o->record = o->data + (tile * o->order.records + record) * o->order.record_bytes;
  o->row = tile * GEMV_TILE;
  o->col = record * GEMV_RECORD;
  read_record(o, values);
  for (size_t r = 0; r < GEMV_TILE; r++)
    for (size_t c = 0; c < GEMV_RECORD; c++) {
      const size_t row = o->row + r, col = o->col + c;
      const int there = row < o->w.rows && col < o->w.cols;
      const float want = there ? expected[row * o->w.cols + col] : 0, got = values[r][c] * row_scale(o, row);
      /* NVFP4's scale / global is rounded in another order: one unit in the last place, and one of the product */
      if (!(got - want <= 0x1p-22f * (want < 0 ? -want : want) && want - got <= 0x1p-22f * (want < 0 ? -want : want)))
        fail_msg("row %zu column %zu: %g, expected %g", row, col, (double)got, (double)want);
    }
}

static void check_shape(pack_spec spec, size_t rows, size_t cols) {
  pack_survey survey = {0};
  pack_sizes sizes;
  float *values = malloc(rows * cols * sizeof *values), *expected = malloc(rows * cols * sizeof *expected);
  assert_true(values && expected);
  for (size_t i = 0; i < rows * cols; i++) values[i] = (float)(int32_t)(uint32_t)mix64(i) * 0x1p-31f;
  if (pack_needs_survey(&spec)) pack_survey_rows(&spec, values, cols, 0, rows, cols, &survey);
  pack_settle(&spec, &survey);
  assert_int_equal(pack_measure(&spec, rows, cols, &sizes), 0);
  void *packed = calloc(1, sizes.bytes + PACK_ALIGN);
  assert_non_null(packed);
  pack_rows(&spec, rows, cols, packed, 0, rows, values, cols, NULL, NULL);
  ordered o = {.w = pack_view(&spec, rows, cols, packed)};
  unpack_rows(&o.w, 0, rows, expected, cols);
  o.order = gemv_order_of(&o.w);
  uint8_t *data = malloc(o.order.bytes);
  assert_non_null(data);
  memset(data, 0xa5, o.order.bytes);
  for (size_t t = o.order.tiles; t-- > 0;) gemv_order_tiles(&o.w, t, 1, data);
  o.data = data;
  for (size_t t = 0; t < o.order.tiles; t++)
    for (size_t r = 0; r < o.order.records; r++) check_record(&o, t, r, expected);
  free(values);
  free(expected);
  free(packed);
  free(data);
}

static void test_lanes_find_every_weight(void **state) {
  (void)state;
  static const size_t shapes[][2] = {{1, 1}, {16, 128}, {17, 129}, {40, 200}, {5, 1001}};
  for (size_t s = 0; s < sizeof specs / sizeof *specs; s++)
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) check_shape(specs[s], shapes[i][0], shapes[i][1]);
}

static void test_sizes(void **state) {
  (void)state;
  static const size_t record_bytes[] = {4096, 4096, 2048, 2560, 2176, 2064, 1152, 1280, 768, 896, 832};
  for (size_t s = 0; s < sizeof specs / sizeof *specs; s++) {
    weight w = {
        .format = specs[s].format, .rows = 33, .cols = 257, .block = specs[s].block, .scales_type = specs[s].scale};
    if (w.format == WEIGHT_NVFP4) {
      w.block = NVFP4_BLOCK;
      w.scales_type = SCALE_E4M3;
    }
    const gemv_order o = gemv_order_of(&w);
    assert_int_equal(o.record_bytes, record_bytes[s]);
    assert_int_equal(o.record_bytes % GEMV_VECTOR, 0);
    assert_int_equal(o.bytes, 3 * 3 * record_bytes[s] + 48 * sizeof(float));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_lanes_find_every_weight),
      cmocka_unit_test(test_sizes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
