/* persist_attend.cuh: the attention of a stage of persist.cuh's kernel: step_single.cuh's shares, a block for each; each
 * block of a head then adds up its part of the head's outputs over all shares. */
#ifndef BACKEND_CUDA_PERSIST_ATTEND_CUH
#define BACKEND_CUDA_PERSIST_ATTEND_CUH

#include "backend/cuda/persist_words.cuh"
#include "backend/cuda/step_single.cuh"

#define PERSIST_SHARES (2 * SINGLE_SHARES)
#define PERSIST_HEADS  2 /* q heads of a block; of a group of more */
#define PERSIST_MANY   4 /* where blocks of 2 would have several shares: keys and values are read half as often */

static_assert(ATTEND_THREADS == GEMV_THREADS, "the same threads multiply and attend");

struct persist_heads {
  single_args attend;
  rope_args turn;
  const uint32_t *q, *k, *v; /* words, as turn's q, k, v */
  uint16_t *out;             /* words, as attend.half_out */
  uint64_t *partial;         /* [head][PERSIST_SHARES][group · dim + 2 · group] */
};

template <int LANES, int GROUP> struct persist_attend_shared {
  single_memory<LANES, GROUP> single;
  __align__(
      16) float vectors[(GROUP + 2) * LANES * CACHE_PIECE]; /* q of the block's heads, k, v: where they are normed */
};

/* What attention of every layer asks of the step, in shared memory: in L2 each of it is a trip of its own. One row. */
#define PERSIST_HELD_PAGES 32

struct __align__(16) persist_held {
  float cos_sin[PERSIST_MOST_DIM];
  void *held[PERSIST_HELD_PAGES]; /* the sequence's first pages */
  void *const *pages;             /* all of them: those held, if they are all, else in the device's memory */
  uint32_t position;
  uint32_t group;   /* q heads of a block: 1, PERSIST_HEADS, PERSIST_MANY */
  uint32_t slot;    /* of all shares of all heads, the block's first */
  single_work work; /* and what it is of the step */
};

/* Blocks' parts of all q heads: kv heads, cut in slices of their groups. */
static __device__ __forceinline__ uint32_t persist_slices(const single_args &a, uint32_t group) {
  return (a.group + group - 1) / group;
}

template <int GROUP>
static __device__ __forceinline__ single_work persist_work(const single_args &a, const persist_held &h, uint32_t slot) {
  const uint32_t shares = single_shares(a, h.position), head = slot / shares, share = slot % shares;
  single_args mine = a;
  mine.slices = persist_slices(a, GROUP);
  return single_place<GROUP, true>(mine, 0, h.position, h.pages, head, share, shares);
}

/* A warp: of the step that the stage is of. */
static __device__ __forceinline__ void persist_hold(persist_held *h, const persist_heads &s, uint32_t heads,
                                                    uint32_t slot, uint32_t lane) {
  static_assert(PERSIST_MOST_ROWS == 1 && PERSIST_HELD_PAGES == STEP_WARP, "a lane for each page of the row");
  for (uint32_t i = lane; i < s.turn.rotary_dim; i += STEP_WARP) h->cos_sin[i] = s.turn.cos_sin[i];
  const uint32_t position = s.attend.positions[0], pages = position / KV_PAGE + 1;
  void *const *from = s.attend.pages + s.attend.spans[s.attend.sequence[0]].first_page;
  if (lane < pages) h->held[lane] = from[lane];
  if (lane != 0) return;
  h->position = position;
  h->pages = pages <= PERSIST_HELD_PAGES ? h->held : from;
  h->slot = slot;
  const uint32_t many = heads * persist_slices(s.attend, PERSIST_HEADS) * single_shares(s.attend, position);
  h->group = s.attend.group == 1 ? 1 : s.attend.group == 2 || many <= gridDim.x ? PERSIST_HEADS : PERSIST_MANY;
  switch (h->group) {
  case 1: h->work = persist_work<1>(s.attend, *h, slot); break;
  case PERSIST_HEADS: h->work = persist_work<PERSIST_HEADS>(s.attend, *h, slot); break;
  default: h->work = persist_work<PERSIST_MANY>(s.attend, *h, slot); break;
  }
}

/* -- q of the block's heads and, where the share has the row's own position, k and v */

/* Pair i of them, a dimension and its partner, as it comes, turned as single_turn does. */
template <class Shared>
static __device__ __forceinline__ void persist_turn_pair(Shared *to, const persist_heads &s, const single_work &w,
                                                         const float *cos_sin, uint32_t i, const persist_layer &layer,
                                                         persist_patience *patience) {
  const uint32_t dim = s.attend.dim, pairs = dim / 2, half = s.turn.rotary_dim / 2;
  const uint32_t vector = i / pairs, p = i % pairs;
  const bool query = vector < w.heads, value = vector == w.heads + 1, turns = p < half && !value;
  const uint32_t first = p < half ? p : half + p, second = first + (p < half ? half : pairs - half);
  const uint32_t *const from = layer.of(query ? s.q + (w.head + vector) * dim : (value ? s.v : s.k) + w.kv_head * dim);
  __half *mine = NULL, *page = NULL; /* where the row's own key or value goes */
  if (!query) {
    mine = reinterpret_cast<__half *>(value ? to->value : to->key);
    page = reinterpret_cast<__half *>(static_cast<char *>(w.cache.pages[w.position / KV_PAGE]) +
                                      (value ? w.cache.values_at : w.cache.keys_at) +
                                      w.position % KV_PAGE * w.cache.vector_bytes);
    if (!w.writes) page = mine;
  }
  const float cos = turns ? cos_sin[p] : 1, sin = turns ? cos_sin[half + p] : 0;
  uint32_t a, b;
  do {
    a = load_relaxed(from + first);
    b = load_relaxed(from + second);
  } while ((a == PERSIST_NONE || b == PERSIST_NONE) && !patience->over());
  float x = __uint_as_float(a), y = __uint_as_float(b);
  if (turns) {
    const float turned = __fsub_rn(__fmul_rn(x, cos), __fmul_rn(y, sin));
    y = __fadd_rn(__fmul_rn(y, cos), __fmul_rn(x, sin));
    x = turned;
  }
  if (query) {
    to->halves.put(vector, first, x);
    to->halves.put(vector, second, y);
  } else {
    mine[first] = page[first] = __float2half_rn(x);
    mine[second] = page[second] = __float2half_rn(y);
  }
}

template <class Shared>
static __device__ __forceinline__ void persist_turn(Shared *to, const persist_heads &s, const single_work &w,
                                                    const float *cos_sin, const persist_layer &layer,
                                                    persist_patience *patience) {
  const uint32_t pairs = (w.heads + (w.own ? 2 : 0)) * (s.attend.dim / 2);
  for (uint32_t i = thread_index(); i < pairs; i += ATTEND_THREADS)
    persist_turn_pair(to, s, w, cos_sin, i, layer, patience);
}

/* The same for vectors that are normed first. */
template <int LANES, int GROUP>
static __device__ __forceinline__ void
persist_norm_and_turn(persist_attend_shared<LANES, GROUP> *mine, const persist_heads &s, const single_work &w,
                      const float *cos_sin, const persist_layer &layer, persist_patience *patience) {
  const uint32_t dim = s.attend.dim, n = (w.heads + (w.own ? 2 : 0)) * dim;
  for (uint32_t i = thread_index(); i < n; i += ATTEND_THREADS) {
    const uint32_t head = i / dim, d = i % dim;
    const uint32_t *from = layer.of(head < w.heads ? s.q + (w.head + head) * dim + d
                                                   : (head == w.heads ? s.k : s.v) + w.kv_head * dim + d);
    uint32_t word;
    do word = load_relaxed(from);
    while (word == PERSIST_NONE && !patience->over());
    mine->vectors[i] = __uint_as_float(word);
  }
  sync_threads<ATTEND_THREADS>();
  rope_args turn = s.turn;
  turn.cos_sin = cos_sin;
  turn.q = mine->vectors - w.head * (size_t)dim;
  turn.k = mine->vectors + w.heads * dim - w.kv_head * (size_t)dim;
  turn.v = turn.k + dim;
  single_turn<KV_F16>(&mine->single, w, turn);
}

/* -- shares */

/* What is known of dimension d of head h of the share (beyond the last head, of that): the bits of attend_weigh and
 * single_output. A warp's lanes call it together; its lanes have the weights that they need, without a trip through shared
 * memory. */
template <int LANES, int GROUP>
static __device__ __forceinline__ single_sums persist_output(const single_memory<LANES, GROUP> &s, uint32_t h,
                                                             uint32_t d) {
  static_assert(ATTEND_WARPS == 8 && GROUP * ATTEND_WARPS <= STEP_WARP, "a lane for each head and warp");
  static_assert(GROUP * LANES * CACHE_PIECE <= 2 * ATTEND_THREADS, "a thread for one or two outputs of a share");
  const uint32_t lane = thread_index() % STEP_WARP, warp = lane % ATTEND_WARPS, head = lane / ATTEND_WARPS % GROUP;
  const bool there = warp < s.warps;
  float most = there ? s.parts.most[warp][head] : -CUDART_INF_F, largest = most;
  float sum = there ? s.parts.sum[warp][head] : 0;
#pragma unroll
  for (int lanes = ATTEND_WARPS / 2; lanes > 0; lanes /= 2)
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, lanes));
  const float weight = expf(most - score_base(largest));
  sum = __fmul_rn(sum, weight);
#pragma unroll
  for (int lanes = ATTEND_WARPS / 2; lanes > 0; lanes /= 2)
    sum = __fadd_rn(sum, __shfl_xor_sync(~0u, sum, lanes)); /* as warp_sum */
  h = min(h, (uint32_t)GROUP - 1);
  const uint32_t at = unit_sums<LANES * CACHE_PIECE>::at(h, d);
  single_sums all = {0, __shfl_sync(~0u, largest, h * ATTEND_WARPS), __shfl_sync(~0u, sum, h * ATTEND_WARPS)};
#pragma unroll
  for (int k = 0; k < ATTEND_WARPS; k++) {
    const float of_warp = __shfl_sync(~0u, weight, h * ATTEND_WARPS + k);
    if ((uint32_t)k < s.warps) all.out = fmaf(s.parts.out[k][at], of_warp, all.out);
  }
  return all;
}

/* An output's words of a share. */
struct persist_share_words {
  const uint64_t *out, *most, *sum;
  uint32_t epoch;
};

struct persist_share {
  uint64_t out = 0, most = 0, sum = 0;
  uint32_t epoch = 0;

  __device__ __forceinline__ void look(const persist_share_words &from) {
    out = load_relaxed(from.out);
    most = load_relaxed(from.most);
    sum = load_relaxed(from.sum);
    epoch = from.epoch;
  }
  __device__ __forceinline__ bool there() const {
    return (((uint32_t)(out >> 32) ^ epoch) | ((uint32_t)(most >> 32) ^ epoch) | ((uint32_t)(sum >> 32) ^ epoch)) == 0;
  }
};

/* An output of `count` shares, at most SINGLE_SHARES, added up; those of a share lie `apart` words after the one before. */
static __device__ __forceinline__ single_sums persist_add(persist_share_words from, size_t apart, uint32_t count,
                                                          persist_patience *patience) {
  persist_share share[SINGLE_SHARES];
  persist_await(
      share, patience, [&](int k) { return (uint32_t)k < count; },
      [&](int k) {
        return persist_share_words{from.out + k * apart, from.most + k * apart, from.sum + k * apart, from.epoch};
      });
  return single_add(count, [&](int k) {
    return single_sums{persist_share_value(share[k].out), persist_share_value(share[k].most),
                       persist_share_value(share[k].sum)};
  });
}

template <int LANES, int GROUP>
static __device__ __forceinline__ void persist_attend(const persist_heads &s, const persist_held &held, void *memory,
                                                      uint32_t heads, const persist_layer &layer,
                                                      persist_patience *patience) {
  auto *mine = static_cast<persist_attend_shared<LANES, GROUP> *>(memory);
  const single_args &a = s.attend;
  const uint32_t dim = a.dim, values = GROUP * dim, words = values + 2 * GROUP;
  const uint32_t items = heads * persist_slices(a, GROUP), thread = thread_index();
  const uint32_t shares = single_shares(a, held.position), sharing = min(shares, (uint32_t)SINGLE_SHARES);
  const uint32_t head = thread / dim, dimension = thread % dim; /* divisions take long: not between words */
  uint16_t *const out = s.out;
  for (uint32_t slot = held.slot; slot < items * shares; slot += gridDim.x) { /* blocks take shares in turn */
    const uint32_t share = slot % shares, item = slot / shares;
    uint64_t *const all = s.partial + (size_t)item * words * PERSIST_SHARES, *const own = all + share * words;
    sync_threads<ATTEND_THREADS>(); /* the memory is free */
    single_work w = held.work;
    if (slot != held.slot) w = persist_work<GROUP>(a, held, slot);
    w.cache = single_cache(a, held.pages, w.kv_head);
    const uint32_t outputs = w.heads * dim, part = (outputs + shares - 1) / shares;
    const uint32_t end = min(share * part + part, outputs);
    uint32_t i = share * part + thread, h = i / dim; /* of the sums over all shares */
    single_share<KV_F16, LANES, GROUP, true>(&mine->single, a, w, [&] {
      if (s.turn.q_norm || s.turn.k_norm)
        persist_norm_and_turn<LANES, GROUP>(mine, s, w, held.cos_sin, layer, patience);
      else
        persist_turn(&mine->single, s, w, held.cos_sin, layer, patience);
    });
    auto share_out = [&](uint32_t at, uint32_t of, uint32_t d) {
      if (at / STEP_WARP * STEP_WARP >= values) return;
      const single_sums sums = persist_output<LANES, GROUP>(mine->single, of, d);
      if (at >= values) return;
      persist_put_share(own + at, sums.out, layer.epoch);
      if (d != 0) return;
      persist_put_share(own + values + of, sums.most, layer.epoch);
      persist_put_share(own + values + GROUP + of, sums.sum, layer.epoch);
    };
    share_out(thread, head, dimension);
    if constexpr (GROUP * LANES * CACHE_PIECE > ATTEND_THREADS) {
      const uint32_t second = thread + ATTEND_THREADS;
      share_out(second, second / dim, second % dim);
    }
    for (; i < end; i += ATTEND_THREADS, h = i / dim) {
      persist_share_words from = {all + i, all + values + h, all + values + GROUP + h, layer.epoch};
      const single_sums first = persist_add(from, words, sharing, patience);
      float v = __fdiv_rn(first.out, first.sum);
      if (shares > SINGLE_SHARES) {
        const size_t half = (size_t)words * SINGLE_SHARES;
        from = {from.out + half, from.most + half, from.sum + half, layer.epoch};
        v = single_pair(first, persist_add(from, words, SINGLE_SHARES, patience));
      }
      layer.put(out + w.head * dim + i, v);
    }
  }
  sync_threads<ATTEND_THREADS>(); /* what follows takes the memory */
}

/* heads: kv heads. */
static __device__ __forceinline__ void persist_attend_any(const persist_heads &s, const persist_held &held,
                                                          uint32_t lanes, void *memory, uint32_t heads,
                                                          const persist_layer &layer, persist_patience *patience) {
  switch (lanes * 16 + held.group) {
  case 8 * 16 + 1: persist_attend<8, 1>(s, held, memory, heads, layer, patience); break;
  case 8 * 16 + PERSIST_HEADS: persist_attend<8, PERSIST_HEADS>(s, held, memory, heads, layer, patience); break;
  case 8 * 16 + PERSIST_MANY: persist_attend<8, PERSIST_MANY>(s, held, memory, heads, layer, patience); break;
  case 16 * 16 + 1: persist_attend<16, 1>(s, held, memory, heads, layer, patience); break;
  case 16 * 16 + PERSIST_HEADS: persist_attend<16, PERSIST_HEADS>(s, held, memory, heads, layer, patience); break;
  default: persist_attend<16, PERSIST_MANY>(s, held, memory, heads, layer, patience); break;
  }
}

#endif
