/* step_attend.cuh: attention of single rows: what a warp does with positions, and how partial results are weighed. */
#ifndef CUDA_STEP_ATTEND_CUH
#define CUDA_STEP_ATTEND_CUH

#include "backend/cuda/step_cache.cuh"
#include "backend/cuda/step_launch.cuh"
#include "backend/cuda/step_math.cuh"

#define ATTEND_WARPS       8
#define ATTEND_THREADS     (ATTEND_WARPS * STEP_WARP)
#define ATTEND_TOGETHER    4  /* positions that a lane reads before it computes */
#define ATTEND_UNIT        16 /* positions */
#define ATTEND_MOST_SPLITS 64
#define ATTEND_MOST_GROUP  8    /* q heads of a block */
#define ATTEND_MOST_VALUES 1024 /* q heads of a block × head_dim: 32 KB of shared memory */
#define ATTEND_MOST_DIM    256

/* -- which rows of a step */

/* A row of the batch, and where its result goes. */
struct attend_row {
  uint32_t row, out;
};

/* All rows, the kept ones, or those that the tiles leave: spans of at most so many rows, whose positions a tile would read for them
 * alone. The host does not know the spans, so that blocks are launched for so many rows of each. */
struct attend_rows_of {
  const uint32_t *kept;  /* NULL, or the kept rows */
  const batch_span *few; /* NULL, or the spans */
  uint32_t most;         /* rows of one */

  /* The launch's row number i; false: there is none. */
  __device__ __forceinline__ bool find(uint32_t i, attend_row *found) const {
    if (!few) {
      *found = {kept ? kept[i] : i, i};
      return true;
    }
    const batch_span span = few[i / most];
    const uint32_t r = i % most;
    *found = {span.first_row + r, span.out_row + r};
    return span.rows <= most && r < span.rows;
  }
};

#define ATTEND_FEW 4 /* rows of a span that are attended by themselves, not as tiles, at most */

/* most: 0, or the tiles have taken the spans of more rows. */
static inline attend_rows_of attend_rows_of_step(const attention_args *a, uint32_t most) {
  const batch *step = a->step;
  if (most == 0) return {a->kept ? step->kept_rows : NULL, NULL, 0};
  return {NULL, a->kept ? step->kept_spans : step->spans, most};
}

static inline size_t attend_rows_count(const attention_args *a, const attend_rows_of &rows) {
  const batch *step = a->step;
  if (rows.few) return rows.most * (a->kept ? step->kept_span_count : step->span_count);
  return a->kept ? step->kept : step->rows;
}

/* -- shares */

/* The share of a block, in positions. */
struct attend_share {
  uint32_t begin, end;   /* begin ≥ end: none is left for it */
  uint32_t slot, filled; /* its place among the shares that have positions, and how many have */
};

/* divide(n): n / splits. */
template <class Divide>
static __device__ __forceinline__ attend_share share_by(uint32_t position, uint32_t window, uint32_t split,
                                                        uint32_t splits, Divide divide) {
  const uint32_t first = window && position + 1 > window ? position + 1 - window : 0;
  const uint32_t unit = first / ATTEND_UNIT, units = position / ATTEND_UNIT - unit + 1; /* below 2^26: positions are */
  const uint32_t from = divide(units * split), to = divide(units * (split + 1));
  attend_share s = {};
  s.slot = units < splits ? from : split;
  s.filled = min(units, splits);
  s.begin = max(first, (unit + from) * ATTEND_UNIT);
  s.end = from == to ? 0 : min(position + 1, (unit + to) * ATTEND_UNIT);
  return s;
}

static __device__ attend_share share_of(uint32_t position, uint32_t window, uint32_t split, uint32_t splits) {
  return share_by(position, window, split, splits, [=](uint32_t n) { return n / splits; });
}

/* splits: a power of two. */
static __device__ __forceinline__ attend_share share_of_power(uint32_t position, uint32_t window, uint32_t split,
                                                              uint32_t splits) {
  const int shift = __ffs((int)splits) - 1;
  return share_by(position, window, split, splits, [=](uint32_t n) { return n >> shift; });
}

/* Largest score, and the sums of e^(score − largest) with it. */
static __device__ __forceinline__ float score_base(float largest) { return largest == -CUDART_INF_F ? 0 : largest; }

/* -- what a lane holds of each q head */

template <int GROUP> struct attend_state { float most[GROUP], sum[GROUP], out[GROUP][CACHE_PIECE]; };

template <int GROUP> static __device__ __forceinline__ void attend_clear(attend_state<GROUP> *s) {
#pragma unroll
  for (int h = 0; h < GROUP; h++) {
    s->most[h] = -CUDART_INF_F;
    s->sum[h] = 0;
#pragma unroll
    for (int i = 0; i < CACHE_PIECE; i++) s->out[h][i] = 0;
  }
}

/* The same of other lanes, `lanes` further: both halves compute the same. */
template <int GROUP> static __device__ __forceinline__ void attend_merge_lanes(attend_state<GROUP> *s, int lanes) {
#pragma unroll
  for (int h = 0; h < GROUP; h++) {
    const float other_most = __shfl_xor_sync(~0u, s->most[h], lanes);
    const float other_sum = __shfl_xor_sync(~0u, s->sum[h], lanes);
    const float most = fmaxf(s->most[h], other_most), base = score_base(most);
    const float mine = expf(s->most[h] - base), others = expf(other_most - base);
    s->most[h] = most;
    s->sum[h] = __fadd_rn(__fmul_rn(s->sum[h], mine), __fmul_rn(other_sum, others));
#pragma unroll
    for (int i = 0; i < CACHE_PIECE; i++) {
      const float other = __shfl_xor_sync(~0u, s->out[h][i], lanes);
      s->out[h][i] = __fadd_rn(__fmul_rn(s->out[h][i], mine), __fmul_rn(other, others));
    }
  }
}

/* -- positions */

/* Where a row's keys and values lie. */
struct attend_cache {
  void *const *pages;
  size_t keys_at, values_at, key_scales_at, value_scales_at; /* of this layer and kv head */
  uint32_t vector_bytes;

  __device__ const char *page(uint32_t position) const {
    return static_cast<const char *>(pages[position / KV_PAGE]) + position % KV_PAGE * vector_bytes;
  }
  __device__ float scale(uint32_t position, size_t at) const {
    const char *page = static_cast<const char *>(pages[position / KV_PAGE]) + at;
    return __half2float(reinterpret_cast<const __half *>(page)[position % KV_PAGE]);
  }
};

/* Keys and values of positions [begin, end) on their way to L2: a thread for those of a page. */
static __device__ __forceinline__ void attend_fetch(const attend_cache &c, uint32_t begin, uint32_t end) {
  const uint32_t page = begin / KV_PAGE + threadIdx.x / 2, from = max(begin, page * KV_PAGE);
  const uint32_t to = min(end, (page + 1) * KV_PAGE);
  if (from >= to || c.vector_bytes % 16)
    return; /* of a cache of codes vectors may be 8 bytes more: then it is not worth it */
  prefetch_bytes(c.page(from) + (threadIdx.x % 2 ? c.values_at : c.keys_at), (to - from) * c.vector_bytes);
}

/* ATTEND_TOGETHER positions of a lane. */
template <kv_type TYPE> struct attend_batch {
  cache_piece<TYPE> keys[ATTEND_TOGETHER], values[ATTEND_TOGETHER];
  float key_scale[ATTEND_TOGETHER], value_scale[ATTEND_TOGETHER];
};

/* Positions begin, begin + step, …; what lies beyond end is not read: pages may hold anything there. */
template <kv_type TYPE>
static __device__ __forceinline__ void attend_load(attend_batch<TYPE> *b, const attend_cache &c, uint32_t begin,
                                                   uint32_t step, uint32_t end, uint32_t piece, bool there) {
#pragma unroll
  for (int u = 0; u < ATTEND_TOGETHER; u++) {
    const uint32_t p = begin + (uint32_t)u * step;
    b->keys[u].clear();
    b->values[u].clear();
    b->key_scale[u] = b->value_scale[u] = 1;
    if (p >= end) continue;
    if (there) {
      const char *vector = c.page(p);
      b->keys[u].load(vector + c.keys_at, piece);
      b->values[u].load(vector + c.values_at, piece);
    }
    if (TYPE == KV_FP8) {
      b->key_scale[u] = c.scale(p, c.key_scales_at);
      b->value_scale[u] = c.scale(p, c.value_scales_at);
    }
  }
}

/* Scores of the batch's positions for every q head, in every lane of a vector. */
template <kv_type TYPE, int LANES, int GROUP>
static __device__ __forceinline__ void attend_scores(float (&scores)[ATTEND_TOGETHER][GROUP],
                                                     const attend_batch<TYPE> &b, const float (&q)[GROUP][CACHE_PIECE],
                                                     float scale) {
#pragma unroll
  for (int u = 0; u < ATTEND_TOGETHER; u++) {
    float key[CACHE_PIECE];
    b.keys[u].values(key);
#pragma unroll
    for (int h = 0; h < GROUP; h++) {
      float sum = 0;
#pragma unroll
      for (int i = 0; i < CACHE_PIECE; i++) sum = fmaf(q[h][i], key[i], sum);
#pragma unroll
      for (int lanes = LANES / 2; lanes > 0; lanes /= 2) sum = __fadd_rn(sum, __shfl_xor_sync(~0u, sum, lanes));
      scores[u][h] = __fmul_rn(__fmul_rn(sum, b.key_scale[u]), scale);
    }
  }
}

template <kv_type TYPE, int GROUP>
static __device__ __forceinline__ void attend_add(attend_state<GROUP> *s, float (&scores)[ATTEND_TOGETHER][GROUP],
                                                  const attend_batch<TYPE> &b) {
#pragma unroll
  for (int h = 0; h < GROUP; h++) {
    float most = s->most[h];
#pragma unroll
    for (int u = 0; u < ATTEND_TOGETHER; u++) most = fmaxf(most, scores[u][h]);
    const float base = score_base(most), shrink = expf(s->most[h] - base);
    float sum = 0;
#pragma unroll
    for (int u = 0; u < ATTEND_TOGETHER; u++) {
      scores[u][h] = expf(scores[u][h] - base);
      sum = __fadd_rn(sum, scores[u][h]);
      scores[u][h] = __fmul_rn(scores[u][h], b.value_scale[u]);
    }
    s->most[h] = most;
    s->sum[h] = fmaf(s->sum[h], shrink, sum);
#pragma unroll
    for (int i = 0; i < CACHE_PIECE; i++) s->out[h][i] = __fmul_rn(s->out[h][i], shrink);
  }
#pragma unroll
  for (int u = 0; u < ATTEND_TOGETHER; u++) {
    float value[CACHE_PIECE];
    b.values[u].values(value);
#pragma unroll
    for (int h = 0; h < GROUP; h++)
#pragma unroll
      for (int i = 0; i < CACHE_PIECE; i++) s->out[h][i] = fmaf(scores[u][h], value[i], s->out[h][i]);
  }
}

/* -- weights of partial results */

template <int GROUP, int VALUES> struct attend_shared {
  float out[ATTEND_WARPS][VALUES]; /* of each warp */
  float most[ATTEND_WARPS][GROUP], sum[ATTEND_WARPS][GROUP];
  float weight[ATTEND_MOST_SPLITS][GROUP]; /* of each warp, then of each share */
  float all_most[GROUP], all_sum[GROUP];
  uint32_t last;
};

/* The states of warps or shares have most(i, h) and sum(i, h); their weights in the whole, its most and its sum. A
 * warp for each head. */
template <int GROUP, int VALUES, class Most, class Sum>
static __device__ __forceinline__ void attend_weigh(attend_shared<GROUP, VALUES> *s, uint32_t count, Most most,
                                                    Sum sum) {
  constexpr int PARTS = ATTEND_MOST_SPLITS / STEP_WARP;
  const uint32_t h = thread_index() / STEP_WARP, lane = thread_index() % STEP_WARP;
  if (h < GROUP) {
    float each[PARTS], largest = -CUDART_INF_F, total = 0;
#pragma unroll
    for (int i = 0; i < PARTS; i++) {
      each[i] = lane + i * STEP_WARP < count ? most(lane + i * STEP_WARP, h) : -CUDART_INF_F;
      largest = fmaxf(largest, each[i]);
    }
#pragma unroll
    for (int l = STEP_WARP / 2; l > 0; l /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, l));
    const float base = score_base(largest);
#pragma unroll
    for (int i = 0; i < PARTS; i++) {
      const float weight = expf(each[i] - base);
      s->weight[lane + i * STEP_WARP][h] = weight;
      if (lane + i * STEP_WARP < count) total = fmaf(sum(lane + i * STEP_WARP, h), weight, total);
    }
    total = warp_sum(total);
    if (lane == 0) {
      s->all_most[h] = largest;
      s->all_sum[h] = total;
    }
  }
  sync_threads<ATTEND_THREADS>();
}

/* How heads are cut: what follows from their shape alone. */
struct attend_shape {
  uint32_t lanes, group, slices, splits;
};

static inline attend_shape attend_shape_of(head_shape h, int multiprocessors) {
  const size_t group = h.q_heads / h.kv_heads, pieces = h.head_dim / CACHE_PIECE;
  attend_shape s = {};
  s.lanes = pieces <= 8 ? 8 : pieces <= 16 ? 16 : 32;
  const uint32_t most = s.lanes == 32 ? 4 : ATTEND_MOST_GROUP;
  s.group = group == 1 ? 1 : group <= 4 || most == 4 ? 4 : 8;
  s.slices = (uint32_t)step_parts(group, s.group);
  const size_t blocks = h.kv_heads * s.slices, splits = (size_t)multiprocessors / blocks;
  s.splits = splits < 1 ? 1 : splits > ATTEND_MOST_SPLITS ? ATTEND_MOST_SPLITS : (uint32_t)splits;
  return s;
}

#endif
