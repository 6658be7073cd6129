/* step_single.cuh: attention of single rows by shares of their positions: what one block does with one share, before shares
 * are added up (step_cluster.cu: by clusters of blocks; persist.cuh: through memory).
 *
 *   shares    1 of up to 128 positions (a unit of 16 for each warp), 2 of 256, 4 of 512, 8; beyond 2,048 positions 16, in two
 *             halves that are added up apart. In steps of more than 16 rows each has four times as many positions
 *   before the kernel before ends    a block reads the first keys and values of its share: older steps wrote them
 *   then      q is normed and turned, a warp for each head; the block whose share has the row's own position does so with
 *             its key too, puts key and value into the page, and keeps them for itself
 *   at last   the sums of the block's warps are weighed, to be added up
 *
 * A row's bits depend on its own positions: shares follow from its position and window, and from whether the step has more than
 * 16 rows, and all sums have a fixed order. */
#ifndef CUDA_STEP_SINGLE_CUH
#define CUDA_STEP_SINGLE_CUH

#include "backend/cuda/step_attend.cuh"
#include "backend/cuda/step_turn.cuh"
#include "backend/cuda/step_units.cuh"

#define SINGLE_SHARES STEP_HALF_SHARES
#define SINGLE_HEADS  4 /* q heads of a block of the cluster's kernel, which runs beside products */

struct single_args {
  const uint32_t *positions, *sequence;
  attend_rows_of rows;
  const batch_span *spans;
  void *const *pages;
  const float *q;
  float *out; /* or half_out */
  __half *half_out;
  size_t q_stride, out_stride, layer_at;
  kv_layout kv;
  uint32_t dim, group, slices, window;
  uint32_t share; /* positions: step_share */
  float scale;
};

template <int DIM, int GROUP> struct single_shared {
  attend_shared<GROUP, GROUP * unit_sums<DIM>::HEAD> parts; /* out: as unit_sums says */
  union {
    unit_halves<DIM, GROUP> halves;
    float queries[GROUP * DIM]; /* for a cache of F32 */
  };
  /* the row's own key and value, as the page has them */
  __align__(16) char key[ATTEND_MOST_DIM * 4], value[ATTEND_MOST_DIM * 4];
  __half key_scale, value_scale;
  uint32_t warps; /* that have sums */
};

/* -- which work */

/* What a block works on. */
struct single_work {
  uint32_t row, position, head, heads, kv_head; /* head: the first q head of `heads` */
  attend_share share;
  attend_cache cache;
  bool own, writes; /* the share has the row's own position; the block puts it into the page */
  bool turned;      /* q, and the row's own key and value, are in shared memory since the block's share before */
  bool later_own;   /* a later share of the block has the row's own position */
};

/* How many shares a row has. */
static __device__ __forceinline__ uint32_t single_shares(const single_args &a, uint32_t position) {
  return step_row_shares(a.window && position + 1 > a.window ? a.window : position + 1, a.share);
}

/* The vectors of a layer and kv head in pages. */
static __device__ __forceinline__ attend_cache single_cache(const single_args &a, void *const *pages,
                                                            uint32_t kv_head) {
  const size_t head_at = a.layer_at + kv_head * a.kv.head_bytes,
               scale_at = a.layer_at + kv_head * KV_PAGE * sizeof(__half);
  return {pages,
          head_at,
          head_at + a.kv.values_at,
          scale_at + a.kv.key_scales_at,
          scale_at + a.kv.value_scales_at,
          (uint32_t)(a.kv.head_bytes / KV_PAGE)};
}

/* Item: a row of the step; pages: its sequence's; head: kv head and slice of its q heads; share: of `shares`. */
template <int GROUP, bool TURN>
static __device__ __forceinline__ single_work single_place(const single_args &a, uint32_t row, uint32_t position,
                                                           void *const *pages, uint32_t head, uint32_t share,
                                                           uint32_t shares) {
  single_work w;
  w.row = row;
  w.position = position;
  w.share = share_of_power(w.position, a.window, share, shares);
  w.kv_head = a.slices == 1 ? head : head / a.slices;
  const uint32_t slice = head - w.kv_head * a.slices;
  w.head = w.kv_head * a.group + slice * GROUP;
  w.heads = min((uint32_t)GROUP, a.group - slice * GROUP);
  w.own = TURN && w.share.end == w.position + 1;
  w.writes = TURN && slice == 0;
  w.turned = w.later_own = false;
  w.cache = single_cache(a, pages, w.kv_head);
  return w;
}

/* -- before attention: a warp for each head */

template <kv_type TYPE, int DIM, int GROUP>
static __device__ __forceinline__ void single_turn(single_shared<DIM, GROUP> *s, const single_work &w,
                                                   const rope_args &a) {
  const uint32_t lane = thread_index() % STEP_WARP;
  const float *cos_sin = a.cos_sin + w.row * (size_t)a.rotary_dim;
  const uint32_t tasks = w.heads + (w.own || w.later_own ? 2 : 0);
  for (uint32_t task = thread_index() / STEP_WARP; task < tasks; task += ATTEND_WARPS) {
    const bool query = task < w.heads, value = task == w.heads + 1;
    const float *x = query ? a.q + w.row * a.q_stride + (w.head + task) * (size_t)a.dim
                           : (value ? a.v : a.k) + w.row * a.kv_stride + w.kv_head * (size_t)a.dim;
    const float *gain = query ? a.q_norm : value ? NULL : a.k_norm;
    const rope_head head = {x, gain, gain ? head_scale(x, a.dim, a.eps, lane) : 1};
    float v[ROPE_QUADS][4] = {};
#pragma unroll
    for (uint32_t i = 0; 4 * i * STEP_WARP < DIM; i++) {
      const uint32_t first = 4 * (lane + i * STEP_WARP);
      if (a.whole)
        turned_quad<true>(a, head, cos_sin, first, !value, v[i]);
      else
        turned_quad<false>(a, head, cos_sin, first, !value, v[i]);
      if (!query || first >= DIM) continue;
      if constexpr (TYPE != KV_F32)
        s->halves.put(task, first, v[i]);
      else if (first < a.dim)
        *reinterpret_cast<float4 *>(s->queries + task * a.dim + first) =
            make_float4(v[i][0], v[i][1], v[i][2], v[i][3]);
    }
    if (query) continue;
    char *page = static_cast<char *>(w.cache.pages[w.position / KV_PAGE]) + a.layer_at;
    char *at = page + (value ? a.kv.values_at : 0) + w.kv_head * a.kv.head_bytes +
               w.position % KV_PAGE * (a.dim * a.kv.element_bytes);
    __half *scale = reinterpret_cast<__half *>(page + (value ? a.kv.value_scales_at : a.kv.key_scales_at)) +
                    w.kv_head * KV_PAGE + w.position % KV_PAGE;
    char *mine = value ? s->value : s->key;
    if constexpr (TYPE == KV_FP8) {
      append_fp8(mine, value ? &s->value_scale : &s->key_scale, v, a.dim, lane);
      if (w.writes) append_fp8(at, scale, v, a.dim, lane);
    } else {
#pragma unroll
      for (uint32_t i = 0; 4 * i * STEP_WARP < DIM; i++) {
        const uint32_t first = 4 * (lane + i * STEP_WARP);
        append_quad<true>(mine, TYPE, a.dim, first, v[i]);
        if (w.writes) append_quad<true>(at, TYPE, a.dim, first, v[i]);
      }
    }
  }
}

/* -- positions */

/* The row's own position, where a batch has it, from shared memory. */
template <kv_type TYPE, int DIM, int GROUP>
static __device__ __forceinline__ void single_own(attend_batch<TYPE> *b, const single_shared<DIM, GROUP> &s,
                                                  uint32_t position, uint32_t begin, uint32_t step, uint32_t piece,
                                                  bool there) {
#pragma unroll
  for (int u = 0; u < ATTEND_TOGETHER; u++) {
    if (begin + (uint32_t)u * step != position) continue;
    if (there) {
      b->keys[u].load(s.key, piece);
      b->values[u].load(s.value, piece);
    }
    if (TYPE == KV_FP8) {
      b->key_scale[u] = __half2float(s.key_scale);
      b->value_scale[u] = __half2float(s.value_scale);
    }
  }
}

/* -- a share, in two ways. ready(): when what the kernel or stage before wrote is there, leaves the turned queries, and the
 * row's own key and value where the share has them, in shared memory (single_turn). A warp's sums go to parts, the number
 * of warps that have some to `warps`. */

template <int LANES, int GROUP> using single_memory = single_shared<LANES * CACHE_PIECE, GROUP>;

/* Where q of the block's heads lies when nothing turns it. */
static __device__ __forceinline__ const float *single_query(const single_args &a, const single_work &w) {
  return a.q + w.row * a.q_stride + w.head * (size_t)a.dim;
}

/* The share's turned vectors are there afterwards. */
template <class Ready> static __device__ __forceinline__ void single_begin(const single_work &w, Ready ready) {
  if (w.turned) return;
  ready();
  sync_threads<ATTEND_THREADS>();
}

/* A lane a piece of a vector, sums in FP32: for a cache that FP16 does not hold. */
template <kv_type TYPE, int LANES, int GROUP, bool TURN, class Ready>
static __device__ __forceinline__ void single_by_lanes(single_memory<LANES, GROUP> *s, const single_args &a,
                                                       const single_work &w, Ready ready) {
  constexpr uint32_t SIDE = STEP_WARP / LANES, STEP = ATTEND_WARPS * SIDE; /* positions of a warp, of all */
  const uint32_t lane = thread_index() % STEP_WARP, warp = thread_index() / STEP_WARP;
  const uint32_t piece = lane % LANES;
  const bool there = piece * CACHE_PIECE < a.dim;

  /* positions of older steps, as many as come first */
  const uint32_t older = w.own ? w.position : w.share.end;
  uint32_t p = w.share.begin + warp * SIDE + lane / LANES;
  attend_batch<TYPE> batch;
  attend_load(&batch, w.cache, p, STEP, older, piece, there);
  if (TURN) single_begin(w, ready);
  const float *q = TURN ? s->queries : single_query(a, w);
  float queries[GROUP][CACHE_PIECE];
#pragma unroll
  for (int h = 0; h < GROUP; h++)
#pragma unroll
    for (int i = 0; i < CACHE_PIECE; i++)
      queries[h][i] = there && (uint32_t)h < w.heads ? q[(size_t)h * a.dim + piece * CACHE_PIECE + i] : 0;

  attend_state<GROUP> state;
  attend_clear(&state);
  /* a warp's positions begin together, so that its lanes stay together */
  for (uint32_t begin = w.share.begin + warp * SIDE; begin < w.share.end; begin += STEP * ATTEND_TOGETHER) {
    float scores[ATTEND_TOGETHER][GROUP];
    if (TURN && w.own) single_own(&batch, *s, w.position, p, STEP, piece, there);
    attend_scores<TYPE, LANES, GROUP>(scores, batch, queries, a.scale);
#pragma unroll
    for (int u = 0; u < ATTEND_TOGETHER; u++)
      if (p + (uint32_t)u * STEP >= w.share.end)
#pragma unroll
        for (int h = 0; h < GROUP; h++) scores[u][h] = -CUDART_INF_F;
    attend_add(&state, scores, batch);
    p += STEP * ATTEND_TOGETHER;
    attend_load(&batch, w.cache, p, STEP, older, piece, there);
  }
#pragma unroll
  for (int lanes = LANES; lanes < STEP_WARP; lanes *= 2) attend_merge_lanes(&state, lanes);
#pragma unroll
  for (int h = 0; h < GROUP; h++) {
    if (lane < LANES) {
#pragma unroll
      for (int i = 0; i < CACHE_PIECE; i++)
        s->parts.out[warp][unit_sums<LANES * CACHE_PIECE>::at(h, lane * CACHE_PIECE) + i] = state.out[h][i];
    }
    if (lane == 0) {
      s->parts.most[warp][h] = state.most[h];
      s->parts.sum[warp][h] = state.sum[h];
    }
  }
  s->warps = ATTEND_WARPS;
}

/* A warp every eighth unit of the share, by tensor cores. */
template <kv_type TYPE, int LANES, int GROUP, bool TURN, class Ready>
static __device__ __forceinline__ void single_by_units(single_memory<LANES, GROUP> *s, const single_args &a,
                                                       const single_work &w, Ready ready) {
  constexpr int DIM = LANES * CACHE_PIECE;
  const uint32_t lane = thread_index() % STEP_WARP, warp = thread_index() / STEP_WARP;
  const uint32_t first = w.share.begin / ATTEND_UNIT;
  const uint32_t units = w.share.end > w.share.begin ? (w.share.end - 1) / ATTEND_UNIT + 1 - first : 0;
  const unit_place at = {lane / 4, lane % 4, a.dim, &w.cache, w.share.begin, w.own ? w.position : w.share.end};
  unit_cache<TYPE, DIM> cache;
  uint32_t unit = first + warp;
  const uint32_t end = first + units;
  /* of units that have older positions */
  unit_pages pages = {w.cache.pages, unit, ATTEND_WARPS, min(end, (at.end + ATTEND_UNIT - 1) / ATTEND_UNIT), 0};
  unit_load(&cache, at, unit, pages.of(0, lane));
  if (TURN) single_begin(w, ready);
  if (lane == 0) s->warps = min(units, (uint32_t)ATTEND_WARPS);
  if (warp >= units) return;
  unit_queries<DIM> queries;
  if (TURN)
    unit_take_queries(&queries, at, s->halves, w.heads);
  else
    unit_take_queries(&queries, at, single_query(a, w), w.heads);
  unit_state<DIM> state;
  auto score_of = [&](float(&score)[4]) {
    if (TURN && w.own && unit == w.position / ATTEND_UNIT)
      unit_take(&cache, at, unit, w.position, s->key, s->value, __half2float(s->key_scale),
                __half2float(s->value_scale));
    unit_scores(score, cache, queries, a.scale);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const uint32_t p = unit * ATTEND_UNIT + at.g + (uint32_t)(i / 2) * 8;
      if (p < w.share.begin || p >= w.share.end) score[i] = -CUDART_INF_F;
    }
  };
  float score[4];
  score_of(score);
  unit_add_values<true>(&state, cache, score, at.t);
  for (uint32_t number = 1; (unit += ATTEND_WARPS) < end; number++) {
    unit_load(&cache, at, unit, pages.of(number, lane));
    score_of(score);
    unit_add_values<false>(&state, cache, score, at.t);
  }
  unit_store<TYPE, DIM, GROUP>(&state, at, s->parts.out[warp], s->parts.most[warp], s->parts.sum[warp]);
}

/* Afterwards the sums of each warp are there. */
template <kv_type TYPE, int LANES, int GROUP, bool TURN, class Ready>
static __device__ __forceinline__ void single_share(single_memory<LANES, GROUP> *s, const single_args &a,
                                                    const single_work &w, Ready ready) {
  static_assert(GROUP * LANES * CACHE_PIECE <= ATTEND_MOST_VALUES, "which shared memory is for");
  static_assert(GROUP <= ATTEND_WARPS && GROUP <= UNIT_HEADS, "a warp for each head weighs its shares");
  if constexpr (TYPE == KV_F32)
    single_by_lanes<TYPE, LANES, GROUP, TURN>(s, a, w, ready);
  else
    single_by_units<TYPE, LANES, GROUP, TURN>(s, a, w, ready);
  sync_threads<ATTEND_THREADS>();
}

/* Afterwards parts.out of each warp, weight, all_most and all_sum are the share's. */
template <kv_type TYPE, int LANES, int GROUP, bool TURN, class Ready>
static __device__ __forceinline__ void single_attend(single_memory<LANES, GROUP> *s, const single_args &a,
                                                     const single_work &w, Ready ready) {
  single_share<TYPE, LANES, GROUP, TURN>(s, a, w, ready);
  attend_weigh(
      &s->parts, s->warps, [&](uint32_t i, uint32_t h) { return s->parts.most[i][h]; },
      [&](uint32_t i, uint32_t h) { return s->parts.sum[i][h]; });
}

/* Dimensions d and d + 1 of head h of the share's output; d even. */
template <int DIM, int GROUP>
static __device__ __forceinline__ float2 single_output(const single_shared<DIM, GROUP> &s, uint32_t h, uint32_t d) {
  const uint32_t at = unit_sums<DIM>::at(h, d), warps = s.warps;
  float2 v = make_float2(0, 0);
#pragma unroll
  for (int k = 0; k < ATTEND_WARPS; k++) { /* a warp without units has the weight 0 */
    float2 of = make_float2(0, 0);
    if ((uint32_t)k < warps) of = *reinterpret_cast<const float2 *>(&s.parts.out[k][at]);
    const float weight = s.parts.weight[k][h];
    v = make_float2(fmaf(of.x, weight, v.x), fmaf(of.y, weight, v.y));
  }
  return v;
}

/* -- shares added up */

/* What is known of output i: the sum of weighted values, the largest score, the sum of weights. */
struct single_sums {
  float out, most, sum;
};

/* Of SHARES shares; share(k) gives one's. */
template <int SHARES, class Share> static __device__ __forceinline__ single_sums single_add(Share share) {
  single_sums each[SHARES], all = {0, -CUDART_INF_F, 0};
#pragma unroll
  for (int k = 0; k < SHARES; k++) {
    each[k] = share(k);
    all.most = fmaxf(all.most, each[k].most);
  }
  const float base = score_base(all.most);
#pragma unroll
  for (int k = 0; k < SHARES; k++) {
    const float weight = expf(each[k].most - base);
    all.out = fmaf(each[k].out, weight, all.out);
    all.sum = fmaf(each[k].sum, weight, all.sum);
  }
  return all;
}

/* shares: 1, 2, 4 or SINGLE_SHARES. */
template <class Share> static __device__ __forceinline__ single_sums single_add(uint32_t shares, Share share) {
  static_assert(SINGLE_SHARES == 8, "the numbers of shares");
  switch (shares) {
  case 1: return single_add<1>(share);
  case 2: return single_add<2>(share);
  case 4: return single_add<4>(share);
  default: return single_add<SINGLE_SHARES>(share);
  }
}

/* Of the two halves of a long row: the output itself. */
static __device__ __forceinline__ float single_pair(const single_sums &x, const single_sums &y) {
  const float base = score_base(fmaxf(x.most, y.most)), shrink = expf(x.most - base), grow = expf(y.most - base);
  const float sum = fmaf(y.sum, grow, __fmul_rn(x.sum, shrink));
  return __fdiv_rn(fmaf(y.out, grow, __fmul_rn(x.out, shrink)), sum);
}

/* Dimension d of head h of the block's. */
static __device__ __forceinline__ void single_store(const single_args &a, const single_work &w, uint32_t item,
                                                    uint32_t h, uint32_t d, float v) {
  const size_t at = item * a.out_stride + (w.head + h) * (size_t)a.dim + d;
  if (a.half_out)
    a.half_out[at] = __float2half_rn(v);
  else
    a.out[at] = v;
}

/* -- the host's part */

/* How heads are cut, with at most `most` q heads a block: more take registers that there are not. */
static inline attend_shape single_shape_of(head_shape h, uint32_t most) {
  attend_shape s = attend_shape_of(h, 1);
  const size_t group = h.q_heads / h.kv_heads;
  s.group = group == 1 ? 1 : most;
  s.slices = (uint32_t)step_parts(group, s.group);
  return s;
}

/* Of all rows, or of the kept ones. */
static inline single_args single_args_of(const attention_args *a, const step_half_rows *half, uint32_t slices) {
  const batch *step = a->step;
  return {.positions = step->positions,
          .sequence = step->sequence,
          .rows = attend_rows_of_step(a, 0),
          .spans = step->spans,
          .pages = step->pages,
          .q = a->q,
          .out = a->out,
          .half_out = half ? reinterpret_cast<__half *>(half->rows) : NULL,
          .q_stride = a->q_stride,
          .out_stride = half ? half->stride : a->out_stride,
          .layer_at = a->layer * step->kv.layer_bytes,
          .kv = step->kv,
          .dim = (uint32_t)a->h.head_dim,
          .group = (uint32_t)(a->h.q_heads / a->h.kv_heads),
          .slices = slices,
          .window = a->window < UINT32_MAX ? (uint32_t)a->window : 0,
          .share = STEP_SHARE,
          .scale = a->scale};
}

#endif
