/* pack/pack_kernels_plain.c: the inner loops of packing in plain C: the definition of each. */
#include "base/cpu.h"
#include "pack/pack_kernels.h"
#include "pack/pack_unit.h"

static int block_absmax(const float *values, size_t count, size_t block, float *to) {
  int nonfinite = 0;
  for (size_t c = 0; c < count; c += block) {
    const size_t left = count - c < block ? count - c : block;
    uint32_t largest = 0; /* magnitudes are in the order of their bits */
    for (size_t i = 0; i < left; i++) {
      const uint32_t magnitude = pack_magnitude(values[c + i]);
      if (magnitude >= PACK_INFINITE)
        nonfinite = 1;
      else if (magnitude > largest)
        largest = magnitude;
    }
    to[c / block] = f32_from_bits(largest);
  }
  return nonfinite;
}

static void block_divide(const float *values, size_t count, size_t block, const float *by, float *to) {
  for (size_t i = 0; i < count; i++) to[i] = values[i] / by[i / block];
}

static void block_multiply(const float *values, size_t count, size_t block, const float *by, float *to) {
  for (size_t i = 0; i < count; i++) to[i] = values[i] * by[i / block];
}

static void sizes(const float *values, size_t count, float *to) {
  for (size_t i = 0; i < count; i++) to[i] = pack_size(values[i]);
}

static void pair_up(const float *from_v, const float *from_size, float *v, float *size) {
  static const uint8_t order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
  for (size_t at = 0; at < SPARSE_24_COLUMNS; at += 8) {
    float old_v[8], old_size[8];
    memcpy(old_v, from_v + at, sizeof old_v);
    memcpy(old_size, from_size + at, sizeof old_size);
    for (size_t i = 0; i < 8; i++) {
      v[at + i] = old_v[order[i]];
      size[at + i] = old_size[order[i]] + old_size[order[i] ^ 1];
    }
  }
}

/* kept[0 .. 32) = v / scale of the kept ones. */
static void choose(const sparse_input *in, float kept[SPARSE_24_KEPT], uint8_t index[SPARSE_24_GROUPS / 2]) {
  memset(index, 0, SPARSE_24_GROUPS / 2);
  for (size_t g = 0; g < SPARSE_24_GROUPS; g++) {
    const float scale = in->scales[g / (SPARSE_24_GROUPS / 2)];
    const size_t at = SPARSE_24_GROUP * g;
    index[g / 2] =
        (uint8_t)(index[g / 2] | pack_group_choose(in->v + at, in->size + at, kept + 2 * g) << (4 * (g % 2)));
    kept[2 * g] /= scale;
    kept[2 * g + 1] /= scale;
  }
}

static void sparse_int8(const sparse_input *in, int8_t codes[SPARSE_24_KEPT], uint8_t index[SPARSE_24_GROUPS / 2]) {
  float kept[SPARSE_24_KEPT];
  choose(in, kept, index);
  for (size_t i = 0; i < SPARSE_24_KEPT; i++) codes[i] = int8_from_f32(kept[i]);
}

static void sparse_int4(const sparse_input *in, uint8_t codes[SPARSE_24_KEPT / 2],
                        uint8_t index[SPARSE_24_GROUPS / 2]) {
  float kept[SPARSE_24_KEPT];
  choose(in, kept, index);
  for (size_t i = 0; i < SPARSE_24_KEPT / 2; i++)
    codes[i] = (uint8_t)(int4_from_f32(kept[2 * i]) | int4_from_f32(kept[2 * i + 1]) << 4);
}

static size_t nvfp4_least(const float values[NVFP4_BLOCK], const float *factors, const float *squares, uint32_t tried) {
  float least = f32_from_bits(PACK_INFINITE);
  size_t best = NVFP4_TRIED;
  for (size_t t = 0; t < NVFP4_TRIED; t++) {
    float sum = 0;
    if (!(tried >> t & 1)) continue;
    for (size_t i = 0; i < NVFP4_BLOCK; i++) {
      const float scaled = values[i] * factors[t], d = scaled - e2m1_to_f32(e2m1_from_f32(scaled));
      sum += d * d;
    }
    if (!(sum * squares[t] < least)) continue;
    least = sum * squares[t];
    best = t;
  }
  return best;
}

const pack_kernels *pack_kernels_plain(void) {
  static const pack_kernels table = {.block_absmax = block_absmax,
                                     .block_divide = block_divide,
                                     .block_multiply = block_multiply,
                                     .sizes = sizes,
                                     .pair_up = pair_up,
                                     .sparse_int8 = sparse_int8,
                                     .sparse_int4 = sparse_int4,
                                     .nvfp4_least = nvfp4_least};
  return &table;
}

const pack_kernels *pack_kernels_best(void) {
  const pack_kernels *avx2 = pack_kernels_avx2();
  return avx2 && cpu_get()->avx2 ? avx2 : pack_kernels_plain();
}
