/* step_units.cuh: attention of a single row by tensor cores: what a warp does with a unit of 16 positions.
 *
 * FP32 is kept by halves: a query is a pair of FP16 whose sum has 22 of its bits, and so is a weight. The pairs of up to four q
 * heads are the 8 columns of an `mma`: column h the high half of head h, column 4 + h the low one. Keys and values go from their
 * page into registers as the instruction wants them, because the order of dimensions and of positions in a sum of products is
 * free as long as both factors have the same:
 *
 *                        lane 4 g + t has                          in the product it is
 *   scores = K · Qᵀ      of positions g and g + 8 the dimensions   rows g and g + 8 of K, for two steps of 16 along the
 *                        32 c + 8 t … + 7, for each c              dimensions
 *   out    = Vᵀ · W      of positions 2t, 2t + 1, 2t + 8, 2t + 9   columns of Vᵀ; each of the 8 dimensions is row g, in
 *                        the dimensions 64 c + 8 g … + 7           eight products
 *
 * A score is in lane 4 g + t, positions g and g + 8, for heads 2 (t % 2) and the next; weights are turned (movmatrix) into the
 * columns of W. Each unit's sum begins anew and is added to what there was in FP32. */
#ifndef CUDA_STEP_UNITS_CUH
#define CUDA_STEP_UNITS_CUH

#include "backend/cuda/step_attend.cuh"

#define UNIT_HEADS  4
#define UNIT_LARGER 32768.0f /* weights are so much larger in W: low halves of small ones are not subnormal */

static_assert(ATTEND_UNIT == 16, "the rows of an mma");

/* Eight values of a vector, as they lie in a page. */
template <kv_type TYPE> struct unit_piece;

template <> struct unit_piece<KV_F16> {
  uint4 words;
  __device__ void clear() { words = make_uint4(0, 0, 0, 0); }
  __device__ void load(const char *from) { words = *reinterpret_cast<const uint4 *>(from); }
  __device__ void halves(uint32_t (&to)[4]) const {
    to[0] = words.x, to[1] = words.y, to[2] = words.z, to[3] = words.w;
  }
};

template <> struct unit_piece<KV_FP8> {
  uint2 words;
  __device__ void clear() { words = make_uint2(0, 0); }
  __device__ void load(const char *from) { words = *reinterpret_cast<const uint2 *>(from); }
  __device__ void halves(uint32_t (&to)[4]) const {
    e4m3_to_half2(words.x, &to[0], &to[1]);
    e4m3_to_half2(words.y, &to[2], &to[3]);
  }
};

/* What a lane has of a unit's keys and values, and the scales of positions g and g + 8. */
template <kv_type TYPE, int DIM> struct unit_cache {
  unit_piece<TYPE> keys[DIM / 32][2], values[DIM / 64][4];
  float key_scale[2], value_scale[2];
};

/* A lane's place: g and t of above, the cache's vectors, and the positions that may be read. */
struct unit_place {
  uint32_t g, t, dim;
  const attend_cache *cache;
  uint32_t begin, end;

  __device__ bool reads(uint32_t position) const { return position >= begin && position < end; }
};

/* Position i of a lane's four. */
static __device__ __forceinline__ uint32_t unit_value_position(uint32_t unit, uint32_t t, int i) {
  return unit * ATTEND_UNIT + 2 * t + (uint32_t)(i & 1) + (uint32_t)(i / 2) * 8;
}

/* Scales of positions g and g + 8; `missing` where there is none. */
template <kv_type TYPE>
static __device__ __forceinline__ void unit_load_scales(float (&scale)[2], const unit_place &at, uint32_t unit,
                                                        const char *scales, float missing) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const uint32_t p = unit * ATTEND_UNIT + at.g + 8 * (uint32_t)r;
    scale[r] = TYPE == KV_FP8 ? missing : 1;
    if (TYPE == KV_FP8 && at.reads(p)) scale[r] = __half2float(reinterpret_cast<const __half *>(scales)[p % KV_PAGE]);
  }
}

/* A unit that is read whole, of heads that fill DIM, by addresses that differ by constants: half a unit's instructions were
 * predicates and addresses. */
template <kv_type TYPE, int DIM>
static __device__ __forceinline__ bool unit_whole(const unit_place &at, uint32_t unit) {
  return at.dim == DIM && unit * ATTEND_UNIT >= at.begin && (unit + 1) * ATTEND_UNIT <= at.end;
}

template <kv_type TYPE, int DIM>
static __device__ __forceinline__ void unit_load_whole(unit_cache<TYPE, DIM> *u, const unit_place &at, uint32_t unit,
                                                       const char *page) {
  constexpr uint32_t PIECE = sizeof(unit_piece<TYPE>), VECTOR = DIM / 8 * PIECE;
  const char *const first = page + unit * ATTEND_UNIT % KV_PAGE * VECTOR;
  const char *const keys = first + at.cache->keys_at + at.g * VECTOR + at.t * PIECE;
  const char *const values = first + at.cache->values_at + 2 * at.t * VECTOR + at.g * PIECE;
  unit_load_scales<TYPE>(u->key_scale, at, unit, page + at.cache->key_scales_at, 1);
  unit_load_scales<TYPE>(u->value_scale, at, unit, page + at.cache->value_scales_at, 0);
#pragma unroll
  for (int r = 0; r < 2; r++)
#pragma unroll
    for (int c = 0; c < DIM / 32; c++) u->keys[c][r].load(keys + 8 * r * VECTOR + 4 * c * PIECE);
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int c = 0; c < DIM / 64; c++) u->values[c][i].load(values + (i % 2 + i / 2 * 8) * VECTOR + 8 * c * PIECE);
}

/* page: the unit's. Positions outside [begin, end) are not read: pages may hold anything there. */
template <kv_type TYPE, int DIM>
static __device__ __forceinline__ void unit_load_keys(unit_cache<TYPE, DIM> *u, const unit_place &at, uint32_t unit,
                                                      const char *page) {
  unit_load_scales<TYPE>(u->key_scale, at, unit, page + at.cache->key_scales_at, 1);
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const uint32_t p = unit * ATTEND_UNIT + at.g + 8 * (uint32_t)r;
    const char *vector = page + at.cache->keys_at + p % KV_PAGE * (size_t)at.cache->vector_bytes;
#pragma unroll
    for (int c = 0; c < DIM / 32; c++) {
      const uint32_t d = 32 * (uint32_t)c + 8 * at.t;
      u->keys[c][r].clear();
      if (at.reads(p) && d < at.dim) u->keys[c][r].load(vector + d / 8 * (uint32_t)sizeof(unit_piece<TYPE>));
    }
  }
}

template <kv_type TYPE, int DIM>
static __device__ __forceinline__ void unit_load_values(unit_cache<TYPE, DIM> *u, const unit_place &at, uint32_t unit,
                                                        const char *page) {
  unit_load_scales<TYPE>(u->value_scale, at, unit, page + at.cache->value_scales_at, 0);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const uint32_t p = unit_value_position(unit, at.t, i);
    const char *vector = page + at.cache->values_at + p % KV_PAGE * (size_t)at.cache->vector_bytes;
#pragma unroll
    for (int c = 0; c < DIM / 64; c++) {
      const uint32_t d = 64 * (uint32_t)c + 8 * at.g;
      u->values[c][i].clear();
      if (at.reads(p) && d < at.dim) u->values[c][i].load(vector + d / 8 * (uint32_t)sizeof(unit_piece<TYPE>));
    }
  }
}

template <kv_type TYPE, int DIM>
static __device__ __forceinline__ void unit_load(unit_cache<TYPE, DIM> *u, const unit_place &at, uint32_t unit,
                                                 const char *page) {
  if (unit_whole<TYPE, DIM>(at, unit)) {
    unit_load_whole(u, at, unit, page);
    return;
  }
  unit_load_keys(u, at, unit, page);
  unit_load_values(u, at, unit, page);
}

/* The pages of a warp's units, which are `step` apart: a lane has the pointer of every 32nd, so that none is waited for when its
 * unit comes. */
struct unit_pages {
  void *const *pages;
  uint32_t first, step, end; /* units */
  uint64_t held;

  __device__ __forceinline__ void take(uint32_t number, uint32_t lane) {
    const uint32_t unit = first + (number + lane) * step;
    held = unit < end ? (uint64_t)pages[unit * ATTEND_UNIT / KV_PAGE] : 0;
  }
  /* Of the warp's unit `number`; in their order. */
  __device__ __forceinline__ const char *of(uint32_t number, uint32_t lane) {
    if (number % STEP_WARP == 0) take(number, lane);
    return reinterpret_cast<const char *>(__shfl_sync(~0u, held, number % STEP_WARP));
  }
};

/* One position of the unit, which is not in its page yet: its vectors at key and value, as a page has them. */
template <kv_type TYPE, int DIM>
static __device__ __forceinline__ void unit_take(unit_cache<TYPE, DIM> *u, const unit_place &at, uint32_t unit,
                                                 uint32_t position, const char *key, const char *value, float key_scale,
                                                 float value_scale) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    if (unit * ATTEND_UNIT + at.g + 8 * (uint32_t)r != position) continue;
    if (TYPE == KV_FP8) u->key_scale[r] = key_scale, u->value_scale[r] = value_scale;
#pragma unroll
    for (int c = 0; c < DIM / 32; c++) {
      const uint32_t d = 32 * (uint32_t)c + 8 * at.t;
      if (d < at.dim) u->keys[c][r].load(key + d / 8 * (uint32_t)sizeof(unit_piece<TYPE>));
    }
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (unit_value_position(unit, at.t, i) != position) continue;
#pragma unroll
    for (int c = 0; c < DIM / 64; c++) {
      const uint32_t d = 64 * (uint32_t)c + 8 * at.g;
      if (d < at.dim) u->values[c][i].load(value + d / 8 * (uint32_t)sizeof(unit_piece<TYPE>));
    }
  }
}

/* -- queries: the halves that this lane gives each product */

static __device__ __forceinline__ uint32_t unit_pair(float a, float b) {
  const __half2 pair = __floats2half2_rn(a, b);
  return *reinterpret_cast<const uint32_t *>(&pair);
}

/* Two values as their high halves, or what those leave. */
static __device__ __forceinline__ uint32_t unit_half(float a, float b, bool low) {
  const uint32_t high = unit_pair(a, b);
  if (!low) return high;
  const float2 v = __half22float2(*reinterpret_cast<const __half2 *>(&high));
  return unit_pair(a - v.x, b - v.y);
}

template <int DIM> struct unit_queries { uint32_t pair[DIM / 32][4]; };

/* Halves of a block's queries in shared memory: row h has head h's high ones, row GROUP + h its low ones. The rows of two heads
 * lie on different banks. */
template <int DIM, int GROUP> struct unit_halves {
  __align__(16) uint32_t pairs[2 * GROUP][DIM / 2 + 16];

  /* Dimensions first … + 3 of a head; first < DIM. */
  __device__ __forceinline__ void put(uint32_t head, uint32_t first, const float (&v)[4]) {
#pragma unroll
    for (int low = 0; low < 2; low++)
      *reinterpret_cast<uint2 *>(&pairs[low * GROUP + head][first / 2]) =
          make_uint2(unit_half(v[0], v[1], low), unit_half(v[2], v[3], low));
  }
  __device__ __forceinline__ void put(uint32_t head, uint32_t d, float v) {
    const __half high = __float2half_rn(v);
    reinterpret_cast<__half *>(pairs[head])[d] = high;
    reinterpret_cast<__half *>(pairs[GROUP + head])[d] = __float2half_rn(v - __half2float(high));
  }
};

template <int DIM, int GROUP>
static __device__ __forceinline__ void unit_take_queries(unit_queries<DIM> *to, const unit_place &at,
                                                         const unit_halves<DIM, GROUP> &q, uint32_t heads) {
  const uint32_t head = at.g % UNIT_HEADS, row = head + (at.g >= UNIT_HEADS ? GROUP : 0);
#pragma unroll
  for (int c = 0; c < DIM / 32; c++) {
    const uint32_t d = 32 * (uint32_t)c + 8 * at.t;
    uint4 v = make_uint4(0, 0, 0, 0);
    if (head < heads && d < at.dim) v = *reinterpret_cast<const uint4 *>(&q.pairs[row][d / 2]);
    to->pair[c][0] = v.x, to->pair[c][1] = v.y, to->pair[c][2] = v.z, to->pair[c][3] = v.w;
  }
}

/* q: [heads][dim]. */
template <int DIM>
static __device__ __forceinline__ void unit_take_queries(unit_queries<DIM> *to, const unit_place &at, const float *q,
                                                         uint32_t heads) {
  const uint32_t head = at.g % UNIT_HEADS;
#pragma unroll
  for (int c = 0; c < DIM / 32; c++) {
    const uint32_t d = 32 * (uint32_t)c + 8 * at.t;
    const bool there = head < heads && d < at.dim;
    const float *from = q + head * (size_t)at.dim + d;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float a = there ? from[2 * i] : 0, b = there ? from[2 * i + 1] : 0;
      to->pair[c][i] = unit_half(a, b, at.g >= UNIT_HEADS);
    }
  }
}

/* -- a unit. score[2 r + i]: position g + 8 r, head 2 (t % 2) + i; the same in lanes t and t + 2 */

template <kv_type TYPE, int DIM>
static __device__ __forceinline__ void unit_scores(float (&score)[4], const unit_cache<TYPE, DIM> &u,
                                                   const unit_queries<DIM> &q, float scale) {
  float sums[2][4] = {};
#pragma unroll
  for (int c = 0; c < DIM / 32; c++) {
    uint32_t low[4], high[4];
    u.keys[c][0].halves(low);
    u.keys[c][1].halves(high);
    mma_f16(sums[0], low[0], high[0], low[1], high[1], q.pair[c][0], q.pair[c][1]);
    mma_f16(sums[1], low[2], high[2], low[3], high[3], q.pair[c][2], q.pair[c][3]);
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float half = __fadd_rn(sums[0][i], sums[1][i]);
    const float sum = __fadd_rn(half, __shfl_xor_sync(~0u, half, 2));
    score[i] = __fmul_rn(__fmul_rn(sum, u.key_scale[i / 2]), scale);
  }
}

/* out[m]: rows g and g + 8 of product m, columns 2 t and 2 t + 1. */
template <int DIM> struct unit_state { float most[2], sum[2], out[DIM / 16][4]; };

static __device__ __forceinline__ uint32_t unit_turned(uint32_t pair) {
  uint32_t v;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(v) : "r"(pair));
  return v;
}

/* Half j % 2 of two positions' words. */
static __device__ __forceinline__ uint32_t unit_beside(uint32_t first, uint32_t second, int j) {
  return __byte_perm(first, second, j % 2 ? 0x7632 : 0x5410);
}

/* The power of two by which the unit's weights, which have their values' scales in them, become as large as FP16 allows. */
template <kv_type TYPE> static __device__ __forceinline__ float unit_larger(const float (&value_scale)[2]) {
  if (TYPE != KV_FP8) return UNIT_LARGER;
  const uint32_t most = __reduce_max_sync(~0u, max(__float_as_uint(value_scale[0]), __float_as_uint(value_scale[1])));
  const int exponent = max((int)(most >> 23) - 127, -64); /* most < 2^(exponent + 1) */
  return __uint_as_float((uint32_t)(127 + 14 - exponent) << 23);
}

/* Weights of the unit's positions from their scores, as W's columns; the rest of the sums shrinks by shrink. FIRST:
 * there is no rest. */
template <kv_type TYPE, bool FIRST>
static __device__ __forceinline__ void unit_weigh(float (&score)[4], const float (&value_scale)[2], float (&most)[2],
                                                  float (&sum)[2], float (&shrink)[2], uint32_t (&w)[2], bool low,
                                                  float larger_by) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float larger = fmaxf(score[i], score[2 + i]);
#pragma unroll
    for (int lanes = 4; lanes < STEP_WARP; lanes *= 2) larger = fmaxf(larger, __shfl_xor_sync(~0u, larger, lanes));
    if (!FIRST) larger = fmaxf(most[i], larger);
    const float base = score_base(larger);
    if (!FIRST) shrink[i] = expf(most[i] - base);
    score[i] = expf(score[i] - base);
    score[2 + i] = expf(score[2 + i] - base);
    const float both = __fadd_rn(score[i], score[2 + i]);
    sum[i] = FIRST ? both : fmaf(sum[i], shrink[i], both);
    most[i] = larger;
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const float by = TYPE == KV_FP8 ? __fmul_rn(value_scale[r], larger_by) : larger_by;
    w[r] = unit_turned(unit_half(__fmul_rn(score[2 * r], by), __fmul_rn(score[2 * r + 1], by), low));
  }
}

/* One product's share: rows of Vᵀ from two pieces' halves of the lane's four positions. */
template <kv_type TYPE, bool FIRST>
static __device__ __forceinline__ void unit_add(float (&out)[4], const uint32_t (&first)[4],
                                                const uint32_t (&second)[4], int j, const uint32_t (&w)[2],
                                                const float (&shrink)[2], float back) {
  float z[4] = {};
  mma_f16(z, unit_beside(first[0], first[1], j), unit_beside(second[0], second[1], j),
          unit_beside(first[2], first[3], j), unit_beside(second[2], second[3], j), w[0], w[1]);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float v = TYPE == KV_FP8 ? __fmul_rn(z[i], back) : z[i];
    out[i] = FIRST ? v : fmaf(out[i], shrink[i & 1], v);
  }
}

template <bool FIRST, kv_type TYPE, int DIM>
static __device__ __forceinline__ void unit_values(unit_state<DIM> *s, const unit_cache<TYPE, DIM> &u,
                                                   const uint32_t (&w)[2], const float (&shrink)[2], float back) {
  if constexpr (DIM == 64) { /* rows g + 8 are the second half of a lane's eight dimensions */
    uint32_t v[4][4];        /* [position][pair] */
#pragma unroll
    for (int i = 0; i < 4; i++) u.values[0][i].halves(v[i]);
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const uint32_t first[4] = {v[0][j / 2], v[1][j / 2], v[2][j / 2], v[3][j / 2]};
      const uint32_t second[4] = {v[0][2 + j / 2], v[1][2 + j / 2], v[2][2 + j / 2], v[3][2 + j / 2]};
      unit_add<TYPE, FIRST>(s->out[j], first, second, j, w, shrink, back);
    }
  }
#pragma unroll
  for (int c = 0; DIM > 64 && c < DIM / 64; c += 2) { /* rows g + 8 are the next 64 dimensions */
    uint32_t v[2][4][4];
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
      for (int i = 0; i < 4; i++) u.values[c + h][i].halves(v[h][i]);
#pragma unroll
    for (int j = 0; j < 8; j++) {
      const uint32_t first[4] = {v[0][0][j / 2], v[0][1][j / 2], v[0][2][j / 2], v[0][3][j / 2]};
      const uint32_t second[4] = {v[1][0][j / 2], v[1][1][j / 2], v[1][2][j / 2], v[1][3][j / 2]};
      unit_add<TYPE, FIRST>(s->out[4 * c + j], first, second, j, w, shrink, back);
    }
  }
}

/* The unit's positions added to the state; of the first the state is what they are. */
template <bool FIRST, kv_type TYPE, int DIM>
static __device__ __forceinline__ void unit_add_values(unit_state<DIM> *s, const unit_cache<TYPE, DIM> &u,
                                                       float (&score)[4], uint32_t t) {
  float shrink[2] = {};
  uint32_t w[2];
  const float larger = unit_larger<TYPE>(u.value_scale);
  unit_weigh<TYPE, FIRST>(score, u.value_scale, s->most, s->sum, shrink, w, t >= 2, larger);
  unit_values<FIRST>(s, u, w, shrink, 1 / larger);
}

/* The dimension of row g (r = 0) or g + 8 (1) of product m. */
template <int DIM> static __device__ __forceinline__ uint32_t unit_dimension(int m, uint32_t g, int r) {
  if (DIM == 64) return 8 * g + 4 * (uint32_t)r + (uint32_t)m;
  return 128 * (uint32_t)(m / 8) + 64 * (uint32_t)r + 8 * g + (uint32_t)(m % 8);
}

/* Where the sums of heads and their dimensions lie in shared memory: a lane stores neighbours, lanes that store together meet no
 * bank twice. */
template <int DIM> struct unit_sums {
  static constexpr uint32_t HEAD = DIM + 8 + DIM / 256 * 16; /* floats of a head: 8 more than a multiple of 16 */
  static __device__ __forceinline__ uint32_t at(uint32_t head, uint32_t d) { return head * HEAD + d + d / 64 * 4; }
};

/* A warp's sums: out as unit_sums says, most and sum [heads]. */
template <kv_type TYPE, int DIM, int GROUP>
static __device__ __forceinline__ void unit_store(unit_state<DIM> *s, const unit_place &at, float *out, float *most,
                                                  float *sum) {
  constexpr int RUN = DIM == 64 ? 4 : 8; /* neighbouring dimensions of a lane */
  const int row = at.t / 2;              /* of the two that the lane has, it stores one */
#pragma unroll
  for (int i = 0; i < 2; i++) {
#pragma unroll
    for (int lanes = 4; lanes < STEP_WARP; lanes *= 2)
      s->sum[i] = __fadd_rn(s->sum[i], __shfl_xor_sync(~0u, s->sum[i], lanes));
    const uint32_t head = 2 * (at.t % 2) + (uint32_t)i;
    if (at.g == 0 && at.t < 2 && head < GROUP) {
      most[head] = s->most[i];
      sum[head] = s->sum[i];
    }
#pragma unroll
    for (int m = 0; m < DIM / 16; m += 4) {
      float v[4];
#pragma unroll
      for (int j = 0; j < 4; j++) {
        /* each of the two lanes gives the other what that one stores */
        const float first = s->out[m + j][i], second = s->out[m + j][2 + i];
        v[j] = __fadd_rn(row ? second : first, __shfl_xor_sync(~0u, row ? first : second, 2));
        if (TYPE != KV_FP8) v[j] = __fmul_rn(v[j], 1 / UNIT_LARGER);
      }
      const uint32_t d = unit_dimension<DIM>(m / RUN * RUN, at.g, row) + (uint32_t)(m % RUN);
      if (head < GROUP)
        *reinterpret_cast<float4 *>(out + unit_sums<DIM>::at(head, d)) = make_float4(v[0], v[1], v[2], v[3]);
    }
  }
}

#endif
