/* The boxes of the large products: what the copy engine demands of them, and which rows a tile gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "backend/cuda/gemm_plan.h"
#include "backend/cuda/gemm_tile.h"

static const int multiples[GEMM_KINDS] = {16, 16, 16, 64, 128, 8}; /* of K, in the order of gemm_kind */

static void test_refuses(void **state) {
  (void)state;
  for (int kind = 0; kind < GEMM_KINDS; kind++) {
    gemm_problem p = {(gemm_kind)kind, GEMM_F16, GEMM_PLAIN, 1, 8, multiples[kind]};
    assert_null(gemm_refusal(&p));
    p.k += multiples[kind] / 2;
    assert_non_null(gemm_refusal(&p));
    p.k = 0;
    assert_non_null(gemm_refusal(&p));
  }
  const gemm_problem wrong[] = {{GEMM_KINDS, GEMM_F16, GEMM_PLAIN, 1, 8, 128},
                                {GEMM_FP8_FAST, GEMM_F16, GEMM_PLAIN, 0, 8, 128},
                                {GEMM_FP8_FAST, GEMM_F16, GEMM_PLAIN, 1, 12, 128},
                                {GEMM_FP8_FAST, GEMM_F32, GEMM_GELU, 1, 8, 128}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_non_null(gemm_refusal(&wrong[i]));
}

/* Limits of cuTensorMapEncodeTiled: strides in multiples of 16 bytes, at most 256 elements a side, rows of a box in
 * multiples of 16 bytes and as wide as the swizzle. */
static void check_box(const gemm_box *b) {
  assert_true(b->rank == 2 || b->rank == 4);
  for (int i = 0; i < b->rank; i++) {
    assert_in_range(b->box[i], 1, 256);
    assert_true(b->size[i] >= 1);
    if (i > 0) assert_int_equal(b->stride[i - 1] % 16, 0);
  }
  uint32_t row = b->box[0] * (uint32_t)b->element;
  assert_int_equal(row % 16, 0);
  if (b->swizzle) assert_int_equal(row, b->swizzle);
}

static uint64_t box_bytes(const gemm_box *b) {
  uint64_t bytes = (uint64_t)b->element;
  for (int i = 0; i < b->rank; i++) bytes *= b->box[i];
  return bytes;
}

static void test_boxes(void **state) {
  static const char memory[8192]; /* nobody looks there */
  (void)state;
  static const int w_rows[GEMM_KINDS] = {128, 128, 64, 32, 64, 128}; /* bytes of a stage's row of w */
  for (int kind = 0; kind < GEMM_KINDS; kind++) {
    for (int act = GEMM_PLAIN; act <= GEMM_SWIGLU; act++) {
      for (int output = GEMM_F16; output <= GEMM_F32; output++) {
        gemm_problem p = {(gemm_kind)kind, (gemm_output)output, (gemm_act)act, 300, 264, 3 * 128};
        if (gemm_refusal(&p)) continue;
        gemm_operands o = {.x = &p, .w = memory, .index = memory, .y = &p};
        o.up = (gemm_ups){.w = memory + 4096, .index = memory + 4096};
        gemm_boxes boxes;
        gemm_plan(&p, &o, &boxes);
        check_box(&boxes.x);
        check_box(&boxes.w);
        check_box(&boxes.y);
        check_box(&boxes.x_half);
        assert_int_equal(box_bytes(&boxes.x), GEMM_TOKENS / GEMM_CLUSTER * 128);
        assert_int_equal(box_bytes(&boxes.x_half), GEMM_HALF_TOKENS / GEMM_CLUSTER * 128);
        /* Widened codes take the gates and the ups of a tile in two boxes. */
        int halves = act == GEMM_SWIGLU && (kind == GEMM_FP8_F16 || kind == GEMM_NVFP4_F16) ? 2 : 1;
        assert_int_equal(box_bytes(&boxes.w) * (uint64_t)halves, GEMM_CHANNELS * w_rows[kind]);
        const int ups = halves == 2; /* in the index's place */
        assert_int_equal(boxes.index.rank != 0, kind == GEMM_INT8_24 || ups);
        if (ups)
          assert_int_equal(box_bytes(&boxes.index), box_bytes(&boxes.w));
        else if (boxes.index.rank)
          assert_int_equal(box_bytes(&boxes.index), GEMM_CHANNELS * 16);
        assert_int_equal(boxes.y.size[0], 264);
        assert_int_equal(boxes.y.size[1], 300);
        uint64_t sides = act == GEMM_SWIGLU || output != GEMM_F32 ? 1 : 2; /* boxes side by side */
        assert_int_equal(box_bytes(&boxes.y) * sides, GEMM_ROUND_BYTES);
      }
    }
  }
}

/* Rows of a joined box are 8 gates, 8 ups of the same channels, and so on, and none lies past the end. The ups lie 100 rows
 * behind the gates. */
static void test_joined_rows(void **state) {
  (void)state;
  const int n = 72, k = 256;
  gemm_problem p = {GEMM_FP8_FAST, GEMM_F16, GEMM_SWIGLU, 1, n, k};
  static const char memory[300 * 256];
  gemm_operands o = {.x = &p, .w = memory, .up = {.w = memory + 100 * k}, .y = &p};
  gemm_boxes boxes;
  assert_true(gemm_ups_fit(p.kind, &o));
  gemm_plan(&p, &o, &boxes);
  const gemm_box *w = &boxes.w;
  assert_int_equal(w->rank, 4);
  for (uint64_t group = 0; group < w->size[3]; group++) {
    for (uint64_t part = 0; part < w->size[2]; part++) {
      for (uint64_t row = 0; row < w->size[1]; row++) {
        uint64_t byte = row * w->stride[0] + part * w->stride[1] + group * w->stride[2];
        assert_int_equal(byte / (uint64_t)k, part * 100 + group * 8 + row);
      }
    }
  }
  assert_int_equal(w->size[1] * w->size[2] * w->size[3], 2 * n);
}

/* The copy engine steps forward only, by multiples of 16 bytes; where codes go through registers it has a map for each. */
static void test_ups_lie_behind(void **state) {
  static const char memory[64];
  (void)state;
  gemm_operands o = {.w = memory, .index = memory, .up = {.w = memory + 16, .index = memory + 32}};
  assert_true(gemm_ups_fit(GEMM_FP8_FAST, &o));
  assert_true(gemm_ups_fit(GEMM_INT8_24, &o));
  o.up.index = memory + 40;
  assert_true(gemm_ups_fit(GEMM_FP8_FAST, &o));
  assert_false(gemm_ups_fit(GEMM_INT8_24, &o));
  o.w = memory + 32;
  assert_false(gemm_ups_fit(GEMM_FP8_FAST, &o));
  assert_true(gemm_ups_fit(GEMM_FP8_F16, &o));
}

static int blocks_of(const gemm_problem *p, int count, int sms) {
  const gemm_tiles tiles = gemm_tiles_plan(p, count, sms);
  return gemm_blocks(&tiles, sms);
}

static void test_blocks(void **state) {
  (void)state;
  gemm_problem p = {GEMM_FP8_FAST, GEMM_F16, GEMM_PLAIN, 129, 8, 128};
  assert_int_equal(blocks_of(&p, 1, 132), 4); /* one tile, in two halves */
  p.n = 257;
  assert_int_equal(blocks_of(&p, 1, 132), 8);
  p.m = 257;
  assert_int_equal(blocks_of(&p, 1, 132), 16);
  p.act = GEMM_SWIGLU;
  assert_int_equal(blocks_of(&p, 1, 132), 24); /* 128 channels of y for each pair of blocks */
  p.m = p.n = 8192;
  assert_int_equal(blocks_of(&p, 1, 132), 132);
  assert_int_equal(blocks_of(&p, 1, 131), 130);
}

/* Every row meets every pair once, whatever is cut and whether tiles may be tall, and halves are only where half of the clusters
 * or more would wait. */
static void tiles_of(int rows, int pairs, int clusters, int tail) {
  static uint8_t met[4096][112];
  const gemm_tiles tiles = gemm_tiles_of(rows, pairs, clusters, tail);
  const int count = gemm_tiles_count(&tiles), cut = count - tiles.whole;
  assert_true(rows <= GEMM_HALF_TOKENS ? count == pairs : cut <= clusters);
  assert_true(tiles.whole % clusters == 0 || cut == 0);
  memset(met, 0, sizeof met);
  for (int i = 0; i < count; i++) {
    gemm_tile tile;
    const int some = gemm_tiles_find(&tiles, i, &tile);
    assert_int_equal(some, tile.token < rows);
    assert_int_equal(tile.half, i >= tiles.whole);
    assert_in_range(tile.pair, 0, pairs - 1);
    const int end = tile.token + (tile.half ? GEMM_HALF_TOKENS : GEMM_TOKENS) + tile.tail;
    for (int row = tile.token; row < rows && row < end; row++) met[row][tile.pair]++;
  }
  for (int row = 0; row < rows; row++)
    for (int i = 0; i < pairs; i++) assert_int_equal(met[row][i], 1);
}

static void test_tiles(void **state) {
  (void)state;
  static const int rows[] = {1,   49,  128, 129,  256,  264,  265,  300,  385, 512,
                             520, 528, 529, 1000, 1024, 2048, 2056, 2305, 4096};
  static const int pairs[] = {1, 2, 12, 16, 24, 33, 34, 56, 112};
  static const int clusters[] = {1, 2, 33, 57, 66};
  for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
    for (size_t p = 0; p < sizeof pairs / sizeof *pairs; p++)
      for (size_t c = 0; c < sizeof clusters / sizeof *clusters; c++) {
        tiles_of(rows[r], pairs[p], clusters[c], 0);
        tiles_of(rows[r], pairs[p], clusters[c], GEMM_TAIL);
      }
  assert_int_equal(gemm_tiles_of(520, 1, 1, GEMM_TAIL).tail, GEMM_TAIL); /* two tiles, not three */
  assert_int_equal(gemm_tiles_of(512, 1, 1, GEMM_TAIL).tail, 0);
}

/* The clusters' parts are all steps of all pairs in turn, each knows who shares its pair, and no two of a cluster meet in one
 * place. */
static void test_shares(void **state) {
  (void)state;
  static const int pairs[] = {1, 2, 16, 24, 112, 501}, steps[] = {1, 2, 3, 32, 112}, clusters[] = {1, 2, 57, 66};
  for (size_t p = 0; p < sizeof pairs / sizeof *pairs; p++) {
    for (size_t t = 0; t < sizeof steps / sizeof *steps; t++) {
      for (size_t c = 0; c < sizeof clusters / sizeof *clusters; c++) {
        const gemm_shares s = gemm_shares_of(pairs[p], steps[t], clusters[c]);
        int at = 0, number = 0; /* of the pair's parts so far */
        assert_in_range(s.clusters, 1, clusters[c]);
        for (int cluster = 0; cluster < s.clusters; cluster++) {
          int step = gemm_shares_begin(&s, cluster), places[2] = {0, 0};
          assert_int_equal(step, at);
          while (step < gemm_shares_begin(&s, cluster + 1)) {
            const gemm_share share = gemm_shares_find(&s, cluster, &step);
            assert_int_equal(share.pair * steps[t] + share.begin, at);
            assert_true(share.begin < share.end && share.end <= steps[t]);
            number = share.begin == 0 ? 0 : number + 1;
            assert_int_equal(share.first + number, cluster);
            if (share.end == steps[t]) assert_int_equal(share.count, number + 1);
            if (share.count > 1) assert_int_equal(places[gemm_shares_place(&share, cluster)]++, 0);
            at += share.end - share.begin;
            assert_int_equal(step, at);
          }
        }
        assert_int_equal(at, pairs[p] * steps[t]);
      }
    }
  }
}

/* As many clusters to each pair, where few are left out for it. */
static void test_whole_pairs(void **state) {
  (void)state;
  assert_int_equal(gemm_shares_of(16, 32, 66).clusters, 64);
  assert_int_equal(gemm_shares_of(24, 32, 66).clusters, 66); /* 18 would be idle */
  assert_int_equal(gemm_shares_of(112, 32, 66).clusters, 66);
  assert_int_equal(gemm_shares_of(1, 3, 66).clusters, 1);
}

/* Up to 128 rows share, of FP32 results, where they may meet. */
static void test_few(void **state) {
  static char memory;
  (void)state;
  gemm_problem p = {GEMM_FP8_F16, GEMM_F32, GEMM_SWIGLU, 128, 264, 512};
  gemm_operands o = {.x = &p, .w = &memory, .up = {.w = &memory}, .y = &p};
  gemm_boxes boxes;
  assert_false(gemm_shared(&p, &o));
  o.meet = &memory;
  assert_true(gemm_shared(&p, &o) && !gemm_ordered(&p, &o));
  assert_int_equal(gemm_shares_plan(&p, &o, 1, 132).steps, 8);
  o.ordered = &memory;
  assert_false(gemm_ordered(&p, &o)); /* the ups are not */
  o.up.ordered = &memory;
  assert_true(gemm_ordered(&p, &o));
  assert_int_equal(gemm_shares_plan(&p, &o, 1, 132).steps, 4);
  for (p.m = 32; p.m <= 128; p.m *= 2) {
    gemm_plan(&p, &o, &boxes);
    check_box(&boxes.x_half);
    assert_int_equal(boxes.x_half.box[1], p.m / GEMM_CLUSTER);
    assert_int_equal(gemm_meet_bytes(p.m, 132), 132 * 2 * 4 / 256 * 256 + 256 + 132 * 2 * 128 * p.m * 4);
  }
  assert_false(gemm_shared(&p, &o));
  assert_int_equal(gemm_meet_bytes(p.m, 132), 0);
  p.m = 100, p.output = GEMM_F16; /* of gated products alone */
  p.act = GEMM_SWIGLU;
  assert_true(gemm_shared(&p, &o));
  p.act = GEMM_PLAIN;
  assert_false(gemm_shared(&p, &o));
}

/* Tiles of several products are counted together, each with the pairs that its own channels take. */
static void test_parts(void **state) {
  (void)state;
  gemm_problem p[GEMM_MOST_PARTS] = {{GEMM_FP8_FAST, GEMM_F32, GEMM_PLAIN, 300, 520, 128},
                                     {GEMM_FP8_FAST, GEMM_F32, GEMM_PLAIN, 300, 256, 128},
                                     {GEMM_FP8_FAST, GEMM_F32, GEMM_PLAIN, 300, 8, 128}};
  assert_int_equal(gemm_pairs(&p[0]), 3);
  assert_int_equal(gemm_pairs(&p[1]), 1);
  assert_int_equal(gemm_pairs(&p[2]), 1);
  assert_int_equal(blocks_of(p, 3, 132), 2 * 2 * 2 * 5);
  assert_int_equal(blocks_of(p, 3, 8), 8);
  gemm_operands o = {.x = &p, .row_scale = NULL}, other = o;
  assert_true(gemm_joins(&p[0], &o, &p[1], &other));
  other.x = &o;
  assert_false(gemm_joins(&p[0], &o, &p[1], &other));
  p[1].k = 256;
  assert_false(gemm_joins(&p[0], &o, &p[1], &o));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_refuses),        cmocka_unit_test(test_boxes),  cmocka_unit_test(test_joined_rows),
      cmocka_unit_test(test_ups_lie_behind), cmocka_unit_test(test_blocks), cmocka_unit_test(test_tiles),
      cmocka_unit_test(test_shares),         cmocka_unit_test(test_few),    cmocka_unit_test(test_whole_pairs),
      cmocka_unit_test(test_parts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
