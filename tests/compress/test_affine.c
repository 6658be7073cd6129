/* The affine codec: codes of every width, the plain form against the definition, the AVX2 and AVX-512 forms against the plain one. */
#include "compress_kit.h"

#include "base/cpu.h"
#include "compress/kernels.h"
#include "number/number.h"

static void codes_come_back(void **state) {
  (void)state;
  uint64_t seed = 1;
  for (uint32_t bits = AFFINE_BITS_LEAST; bits <= AFFINE_BITS_MOST; bits++) {
    for (size_t count = 1; count <= 40; count++) {
      uint8_t codes[40], packed[41], back[40];
      memset(packed, 0xaa, sizeof packed);
      for (size_t i = 0; i < count; i++) codes[i] = (uint8_t)(kit_next(&seed) & ((1u << bits) - 1));
      codes_pack_n(codes, count, bits, packed);
      assert_int_equal(packed[codes_bytes(count, bits)], 0xaa);
      for (size_t i = 0; i < count; i++) { /* the definition: code i in bits [i · bits, (i + 1) · bits) */
        uint32_t code = 0;
        for (uint32_t b = 0; b < bits; b++)
          code |= (uint32_t)(packed[(i * bits + b) / 8] >> (i * bits + b) % 8 & 1) << b;
        assert_int_equal(code, codes[i]);
      }
      codes_unpack_n(packed, count, bits, back);
      assert_memory_equal(back, codes, count);
    }
  }
}

/* The original's formulas in double: a code may differ only where rounding to FP32 decides, and then by one. */
static void is_what_the_original_computes(void **state) {
  (void)state;
  const affine a = {16, 4, 0, 3.5f};
  float values[16 * 500], scales[500], zeros[500], back[16 * 500];
  uint8_t codes[8 * 500];
  uint64_t seed = 2;
  size_t differ = 0;
  for (size_t i = 0; i < 16 * 500; i++) values[i] = (float)(3.5 * (2 * kit_unit(&seed) - 1));
  compress_kernels_plain()->encode(&a, values, 16 * 500, scales, zeros, codes);
  compress_kernels_plain()->decode(&a, scales, zeros, codes, 16 * 500, 0, back);
  for (size_t b = 0; b < 500; b++) {
    double n[16], least = INFINITY, most = -INFINITY;
    uint8_t got[16];
    for (size_t i = 0; i < 16; i++) {
      n[i] = (double)values[16 * b + i] / 3.5;
      least = fmin(least, n[i]), most = fmax(most, n[i]);
    }
    const double scale = 15 / (most - least);
    assert_true(fabs((double)zeros[b] - least) <= 1e-7 && fabs((double)scales[b] / scale - 1) <= 1e-6);
    codes_unpack_n(codes + 8 * b, 16, 4, got);
    for (size_t i = 0; i < 16; i++) {
      const int expected = (int)round((n[i] - least) * scale);
      differ += expected != got[i];
      assert_true(abs(expected - got[i]) <= 1);
      /* half a step, and FP32's rounding */
      assert_true(fabs((double)back[16 * b + i] - (double)values[16 * b + i]) <= 3.5 * (0.5 / scale) + 1e-5);
    }
  }
  assert_true(differ <= 2);
}

/* Rounding halves away from zero, in both modes, where FP32 has them exactly. */
static void rounds_away_from_zero(void **state) {
  (void)state;
  const affine asymmetric = {8, 4, 0, 15}, symmetric = {8, 4, 1, 7};
  const float up[8] = {0, 15, 0.5f, 1.5f, 2.5f, 13.5f, 14.5f, 7.5f};
  const float both[8] = {7, -7, 0.5f, -0.5f, 1.5f, -1.5f, 6.5f, -6.5f};
  const uint8_t up_codes[8] = {0, 15, 1, 2, 3, 14, 15, 8};
  const int both_codes[8] = {7, -7, 1, -1, 2, -2, 7, -7};
  uint8_t codes[4], got[8];
  float scale, zero;
  for (int simd = 0; simd < 2; simd++) {
    const compress_kernels *k = simd ? compress_kernels_best() : compress_kernels_plain();
    k->encode(&asymmetric, up, 8, &scale, &zero, codes);
    codes_unpack_n(codes, 8, 4, got);
    for (size_t i = 0; i < 8; i++) assert_true(abs(got[i] - up_codes[i]) <= (i == 5 || i == 6)); /* x / 15 · 15 */
    k->encode(&symmetric, both, 8, &scale, &zero, codes);
    codes_unpack_n(codes, 8, 4, got);
    assert_true(zero == 0 && scale == 7);
    for (size_t i = 0; i < 8; i++) {
      const int code = (got[i] ^ 8) - 8;
      assert_true(abs(code - both_codes[i]) <= (i >= 2));
      assert_int_equal(code, i % 2 ? -((got[i - 1] ^ 8) - 8) : code); /* odd: what has the other sign mirrors it */
    }
  }
}

/* A processor's form beside the plain one, also where codes lie anywhere. */
static void agrees(const compress_kernels *form) {
  const compress_kernels *plain = compress_kernels_plain();
  enum { MOST = 5000 };
  static float values[MOST], a_out[MOST], b_out[MOST], as[700], bs[700], az[700], bz[700];
  static uint8_t ac[MOST + 300];
  static _Alignas(64) uint8_t room[MOST + 300 + 1];
  uint64_t seed = 3;
  for (int round = 0; round < 6000; round++) {
    const uint32_t block =
        AFFINE_BLOCK_LEAST + (uint32_t)(kit_next(&seed) % (round % 2 ? 249 : 32)) / 8 * (round % 3 ? 8 : 1);
    const affine a = {block < 8 ? 8 : block, 2 + (uint32_t)(kit_next(&seed) % 7), (int)(kit_next(&seed) % 2), 0};
    affine p = a;
    const size_t count = kit_next(&seed) % (round % 4 ? 700 : MOST), blocks = (count + p.block - 1) / p.block;
    const float scale = ldexpf(1, (int)(kit_next(&seed) % 240) - 126);
    p.global = 1e-45f;
    for (size_t i = 0; i < count; i++) {
      values[i] = kit_mixed(round % KIT_DISTRIBUTIONS, scale, &seed);
      p.global = fabsf(values[i]) > p.global ? fabsf(values[i]) : p.global;
    }
    uint8_t *bc = room + (round % 7 == 0);
    memset(ac, 0, sizeof ac), memset(room, 0, sizeof room);
    plain->encode(&p, values, count, as, az, ac);
    form->encode(&p, values, count, bs, bz, bc);
    assert_memory_equal(as, bs, blocks * sizeof *as);
    assert_memory_equal(az, bz, blocks * sizeof *az);
    assert_memory_equal(ac, bc, sizeof ac);
    plain->decode(&p, as, az, ac, count, 0, a_out);
    form->decode(&p, as, az, ac, count, round % 2, b_out);
    assert_memory_equal(a_out, b_out, count * sizeof *a_out);
    error_sums x = {0}, y = {0};
    plain->errors(values, a_out, count, error_unit(p.global), &x);
    form->errors(values, a_out, count, error_unit(p.global), &y);
    assert_memory_equal(&x, &y, sizeof x);
  }
}

static void avx2_agrees(void **state) {
  (void)state;
  if (!compress_kernels_avx2() || !cpu_get()->avx2) skip();
  agrees(compress_kernels_avx2());
}

static void avx512_agrees(void **state) {
  (void)state;
  if (!compress_kernels_avx512() || !cpu_get()->avx512) skip();
  agrees(compress_kernels_avx512());
}

/* Values over the global scale, which the AVX-512 form has without dividing: of values that lie so near to each other that an n
 * wrong by its last bit changes its code of 8 bits by 8 and more, by any global scale for which it does so and beyond. */
static void every_quotient_by_the_global_scale(void **state) {
  (void)state;
  enum { BLOCKS = 16, COUNT = 16 * BLOCKS };
  const int rounds = getenv("VIVA_SLOW") ? 400000 : 10000;
  float values[COUNT], scales[2][BLOCKS], zeros[2][BLOCKS];
  uint8_t codes[2][COUNT];
  uint64_t seed = 9;
  for (int round = 0; round < rounds; round++) {
    const uint32_t power = 127 - 42 + (uint32_t)(kit_next(&seed) % 105);
    const affine a = {16, 8, 0, f32_from_bits(power << 23 | (uint32_t)(kit_next(&seed) & 0x7fffff))};
    for (size_t i = 0; i < COUNT; i += 16) {
      const float near = a.global * (float)(0.03 + kit_unit(&seed)) * (kit_next(&seed) & 1 ? 1 : -1);
      for (size_t k = 0; k < 16; k++) values[i + k] = f32_from_bits(f32_bits(near) + (uint32_t)(kit_next(&seed) % 32));
      values[i] = near, values[i + 1] = f32_from_bits(f32_bits(near) + 32);
    }
    compress_kernels_plain()->encode(&a, values, COUNT, scales[0], zeros[0], codes[0]);
    compress_kernels_best()->encode(&a, values, COUNT, scales[1], zeros[1], codes[1]);
    assert_memory_equal(scales[0], scales[1], sizeof scales[0]);
    assert_memory_equal(zeros[0], zeros[1], sizeof zeros[0]);
    for (size_t i = 0; i < COUNT; i++)
      if (codes[0][i] != codes[1][i]) fail_msg("%a / %a has another code", (double)values[i], (double)a.global);
  }
}

/* 2048 codes by 8 scales: what dividing gives. */
static void divides(const uint8_t *codes, const float scales[8], int symmetric) {
  enum { BLOCK = 256, BLOCKS = 8 };
  static float got[BLOCK * BLOCKS];
  const affine a = {BLOCK, 8, symmetric, 1};
  const float zeros[BLOCKS] = {0};
  compress_kernels_best()->decode(&a, scales, zeros, codes, BLOCK * BLOCKS, 0, got);
  for (size_t i = 0; i < BLOCK * BLOCKS; i++) {
    const float code = symmetric ? (float)(int8_t)codes[i] : (float)codes[i];
    if (got[i] != code / scales[i / BLOCK])
      fail_msg("%a / %a is %a", (double)code, (double)scales[i / BLOCK], (double)got[i]);
  }
}

/* The AVX2 form divides by multiplying: every code by scales of one mantissa in 61 (all with VIVA_SLOW=1), of powers of two up
 * to the ends where it does so; then beyond them. */
static void every_quotient(void **state) {
  (void)state;
  static const uint32_t powers[8] = {127 - 60, 127 - 1, 127, 127 + 1, 127 + 3, 127 + 7, 127 + 20, 127 + 59};
  const uint32_t by = getenv("VIVA_SLOW") ? 1 : 61;
  uint8_t codes[2048];
  float scales[8], far[8];
  for (size_t i = 0; i < sizeof codes; i++) codes[i] = (uint8_t)i;
  for (uint32_t group = 0; group < (1u << 23) / by / 8 + 1; group++) {
    for (uint32_t i = 0; i < 8; i++) {
      const uint32_t mantissa = (group * 8 + i) * by & 0x7fffff;
      scales[i] = f32_from_bits(powers[i] << 23 | mantissa);
      far[i] = f32_from_bits((i % 2 ? 127 + 80 + i : 127 - 61 - i) << 23 | mantissa);
    }
    divides(codes, scales, group % 2);
    if (group % 61 == 0) divides(codes, far, group % 2);
  }
}

static void sums_are_right(void **state) {
  (void)state;
  float x[1000], y[1000];
  uint64_t seed = 4;
  for (int power = -140; power <= 120; power += 20) {
    double absolute = 0, square = 0, signal = 0, largest = 0;
    const float scale = ldexpf(1, power);
    for (size_t i = 0; i < 1000; i++) {
      x[i] = (float)kit_gauss(&seed) * scale, y[i] = x[i] + (float)kit_gauss(&seed) * 0.01f * scale;
      const double d = fabs((double)x[i] - (double)y[i]);
      absolute += d, square += d * d, signal += (double)x[i] * (double)x[i], largest = fmax(largest, d);
    }
    error_sums s = {0};
    const double unit = (double)error_unit(scale);
    compress_kernels_best()->errors(x, y, 1000, (float)unit, &s);
    /* d is rounded to FP32 after a difference of numbers 100 times as large: 100 · 2^-24; subnormals have fewer bits */
    const double loss = power < -126 ? 1e-2 : 1e-5;
    assert_true(fabs(s.absolute * unit / absolute - 1) < loss && fabs(s.largest * unit / largest - 1) < loss);
    assert_true(fabs(s.square / (square / unit / unit) - 1) < loss &&
                fabs(s.signal / (signal / unit / unit) - 1) < loss);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(codes_come_back),       cmocka_unit_test(is_what_the_original_computes),
      cmocka_unit_test(rounds_away_from_zero), cmocka_unit_test(avx2_agrees),
      cmocka_unit_test(avx512_agrees),         cmocka_unit_test(every_quotient_by_the_global_scale),
      cmocka_unit_test(every_quotient),        cmocka_unit_test(sums_are_right),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
