/* The AVX2 forms of packing's inner loops against the plain ones, bit for bit, in memory of the exact size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "number/mix.h"
#include "pack/pack_kernels.h"

enum { ROUNDS = 2000, MOST = 300 };

static const pack_kernels *avx2(void) {
  if (!cpu_get()->avx2 || !pack_kernels_avx2()) {
    print_message("no AVX2 here\n");
    skip();
  }
  return pack_kernels_avx2();
}

/* Kinds: any bits; few values with ties and zeros of both signs; ordinary; subnormal; with a few NaN and infinities. */
static void fill(float *values, size_t count, uint64_t seed) {
  for (size_t i = 0; i < count; i++) {
    uint32_t bits[2];
    mix_bytes((seed << 32) + i, (uint8_t *)bits, sizeof bits);
    const float small = (float)((int)(bits[0] % 9) - 4), plain = (float)(int32_t)bits[0] * 0x1p-31f;
    switch (seed % 5) {
    case 0: values[i] = f32_from_bits(bits[0]); break;
    case 1: values[i] = small == 0 && bits[1] % 2 ? -0.0f : small; break;
    case 2: values[i] = plain; break;
    case 3: values[i] = f32_from_bits(bits[0] & 0x807fffffu); break;
    default: values[i] = bits[1] % 40 == 0 ? NAN : bits[1] % 41 == 0 ? -INFINITY : plain; break;
    }
  }
}

/* All NaN count as the same. */
static void assert_same_floats(const float *a, const float *b, size_t count) {
  for (size_t i = 0; i < count; i++) assert_int_equal(mix_same_nan(f32_bits(a[i])), mix_same_nan(f32_bits(b[i])));
}

static void test_blocks(void **state) {
  (void)state;
  const pack_kernels *fast = avx2(), *plain = pack_kernels_plain();
  float by[MOST / 16 + 1], absmax[2][MOST / 16 + 1], to[2][MOST];
  for (size_t round = 0; round < ROUNDS; round++) {
    const size_t count = round % MOST + 1, block = (size_t)16 << round % 4, blocks = (count + block - 1) / block;
    float *values = malloc(count * sizeof *values);
    fill(values, count, round);
    fill(by, blocks, 5 * round + 2);
    assert_int_equal(fast->block_absmax(values, count, block, absmax[0]),
                     plain->block_absmax(values, count, block, absmax[1]));
    assert_memory_equal(absmax[0], absmax[1], blocks * sizeof(float));
    fast->block_divide(values, count, block, by, to[0]);
    plain->block_divide(values, count, block, by, to[1]);
    assert_same_floats(to[0], to[1], count);
    fast->block_multiply(values, count, block, by, to[0]);
    plain->block_multiply(values, count, block, by, to[1]);
    assert_same_floats(to[0], to[1], count);
    fast->sizes(values, count, to[0]);
    plain->sizes(values, count, to[1]);
    assert_memory_equal(to[0], to[1], count * sizeof(float));
    free(values);
  }
}

static void test_sparse(void **state) {
  (void)state;
  const pack_kernels *fast = avx2(), *plain = pack_kernels_plain();
  float v[SPARSE_24_COLUMNS], size[SPARSE_24_COLUMNS];
  for (size_t round = 0; round < ROUNDS; round++) {
    fill(v, SPARSE_24_COLUMNS, round);
    plain->sizes(v, SPARSE_24_COLUMNS, size);
    static const float scales[4] = {0x1p-6f, 0.3f, 1, 0x1p-149f};
    float pairs[2][2][SPARSE_24_COLUMNS];
    for (int i = 0; i < 2; i++) {
      (i ? fast : plain)->pair_up(v, size, pairs[i][0], pairs[i][1]);
    }
    assert_memory_equal(pairs[0], pairs[1], sizeof pairs[0]);
    const sparse_input in = {v, size, {scales[round % 4], scales[round / 4 % 4]}};
    int8_24_block a, b;
    int4_24_block c, d;
    fast->sparse_int8(&in, a.codes, a.index);
    plain->sparse_int8(&in, b.codes, b.index);
    assert_memory_equal(&a, &b, sizeof a);
    fast->sparse_int4(&in, c.codes, c.index);
    plain->sparse_int4(&in, d.codes, d.index);
    assert_memory_equal(&c, &d, sizeof c);
  }
}

static void test_nvfp4_least(void **state) {
  (void)state;
  const uint32_t sets[] = {0xff, 0xffff, NVFP4_NEAR, 3, 0x8001};
  const pack_kernels *fast = avx2(), *plain = pack_kernels_plain();
  float values[NVFP4_BLOCK], factors[NVFP4_TRIED], squares[NVFP4_TRIED];
  for (size_t round = 0; round < 2 * ROUNDS; round++) {
    fill(values, NVFP4_BLOCK, round);
    for (size_t i = 0; i < NVFP4_TRIED; i++) {
      factors[i] = ldexpf(1 + (float)(i % 8) / 8, (int)(round / 5 % 12) - 2 + (int)(i / 8));
      squares[i] = 1 / (factors[i] * factors[i]);
    }
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
      assert_int_equal(fast->nvfp4_least(values, factors, squares, sets[i]),
                       plain->nvfp4_least(values, factors, squares, sets[i]));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_blocks),
      cmocka_unit_test(test_sparse),
      cmocka_unit_test(test_nvfp4_least),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
