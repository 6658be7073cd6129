/* persist_attend.cuh: the attention of a stage of persist.cuh's kernel: step_single.cuh's shares, a block for each; each
 * block of a head then adds up its part of the head's outputs over all shares. */
#ifndef BACKEND_CUDA_PERSIST_ATTEND_CUH
#define BACKEND_CUDA_PERSIST_ATTEND_CUH

#include "backend/cuda/persist_words.cuh"
#include "backend/cuda/step_single.cuh"

#define PERSIST_SHARES (2 * SINGLE_SHARES)
#define PERSIST_HEADS  2 /* q heads of a block */

static_assert(ATTEND_THREADS == GEMV_THREADS, "the same threads multiply and attend");

struct persist_heads {
  single_args attend;
  rope_args turn;
  const uint64_t *q, *k, *v; /* words, as turn's q, k, v */
  uint32_t *out;             /* words, as attend.half_out */
  persist_mark after;
  uint64_t *partial; /* [row][head][group · dim + 2 · group][PERSIST_SHARES] */
};

template <int LANES, int GROUP> struct persist_attend_shared {
  single_shared<GROUP, GROUP * LANES * CACHE_PIECE> single;
  float vectors[(GROUP + 2) * LANES * CACHE_PIECE]; /* q of the block's heads, k, v */
};

/* What attention of every layer asks of the step, in shared memory: in L2 each of it is a trip of its own. One row. */
#define PERSIST_HELD_PAGES 32

struct __align__(16) persist_held {
  float cos_sin[PERSIST_MOST_DIM];
  void *pages[PERSIST_HELD_PAGES]; /* the sequence's first */
  void *const *sequence_pages;     /* all of them, in the device's memory */
  batch_span span;
  uint32_t position, sequence, pages_held;
};

/* A warp: of the step that the stage is of. */
static __device__ __forceinline__ void persist_hold(persist_held *h, const persist_heads &s, uint32_t lane) {
  static_assert(PERSIST_MOST_ROWS == 1 && PERSIST_HELD_PAGES == STEP_WARP, "a lane for each page of the row");
  for (uint32_t i = lane; i < s.turn.rotary_dim; i += STEP_WARP) h->cos_sin[i] = s.turn.cos_sin[i];
  const uint32_t position = s.attend.positions[0], pages = position / KV_PAGE + 1;
  void *const *from = s.attend.pages + s.attend.spans[s.attend.sequence[0]].first_page;
  if (lane < pages) h->pages[lane] = from[lane];
  if (lane != 0) return;
  h->position = position;
  h->sequence = 0;
  h->span.first_page = 0;
  h->sequence_pages = from;
  h->pages_held = pages <= PERSIST_HELD_PAGES;
}

/* A stage's description, which is in shared memory too: it reads what is held. */
static __device__ __forceinline__ void persist_read_held(persist_heads *s, persist_held *h) {
  s->attend.positions = s->turn.positions = &h->position;
  s->attend.sequence = s->turn.sequence = &h->sequence;
  s->attend.spans = s->turn.spans = &h->span;
  s->attend.pages = s->turn.pages = h->pages_held ? h->pages : h->sequence_pages;
  s->turn.cos_sin = h->cos_sin;
}

/* q of the block's heads and, where the share has the row's own position, k and v. */
static __device__ __forceinline__ void persist_take_vectors(float *vectors, const persist_heads &s,
                                                            const single_work &w, uint32_t epoch,
                                                            persist_patience *patience) {
  const uint32_t dim = s.attend.dim, n = (w.heads + (w.own ? 2 : 0)) * dim;
  for (uint32_t i = 2 * thread_index(); i < n; i += 2 * ATTEND_THREADS) {
    const uint32_t head = i / dim, d = i % dim;
    const uint64_t *from = head < w.heads
                               ? s.q + w.row * s.turn.q_stride + (w.head + head) * (size_t)dim + d
                               : (head == w.heads ? s.k : s.v) + w.row * s.turn.kv_stride + w.kv_head * (size_t)dim + d;
    ulonglong2 word;
    do word = load_relaxed_2(from);
    while (((uint32_t)(word.x >> 32) != epoch || (uint32_t)(word.y >> 32) != epoch) && !patience->over());
    vectors[i] = persist_value(word.x);
    vectors[i + 1] = persist_value(word.y);
  }
  sync_threads<ATTEND_THREADS>();
}

/* Where the words of `count` shares are, at most SINGLE_SHARES. */
struct persist_source {
  const uint64_t *from;
  uint32_t count;
};

struct persist_shares {
  ulonglong2 word[SINGLE_SHARES / 2] = {};
  uint32_t count = 0;

  __device__ __forceinline__ void look(const persist_source &s) {
    count = s.count;
#pragma unroll
    for (int i = 0; i < SINGLE_SHARES / 2; i++)
      if (2 * (uint32_t)i < count) word[i] = load_relaxed_2(s.from + 2 * i);
  }
  __device__ __forceinline__ bool there(uint32_t epoch) const {
    uint32_t off = 0;
#pragma unroll
    for (int k = 0; k < SINGLE_SHARES; k++)
      if ((uint32_t)k < count) off |= (uint32_t)((k % 2 ? word[k / 2].y : word[k / 2].x) >> 32) ^ epoch;
    return off == 0;
  }
  __device__ __forceinline__ float value(int k) const { return persist_value(k % 2 ? word[k / 2].y : word[k / 2].x); }
};

/* One output of `count` shares: the words of its sum, of its head's largest score and of its sum of weights. */
static __device__ __forceinline__ single_sums persist_add(const uint64_t *out, const uint64_t *most,
                                                          const uint64_t *sum, uint32_t count, uint32_t epoch,
                                                          persist_patience *patience) {
  persist_shares word[3];
  persist_await(
      word, epoch, patience, [](int) { return true; },
      [&](int i) {
        return persist_source{i == 0 ? out : i == 1 ? most : sum, count};
      });
  return single_add(count, [&](int k) { return single_sums{word[0].value(k), word[1].value(k), word[2].value(k)}; });
}

/* Blocks take shares in turn: those of a row's heads, then of the next row's. */
struct persist_work_place {
  int row, shares, slot; /* slot: head · shares + share */
};

static __device__ __forceinline__ persist_work_place persist_find(const single_args &a, int slot, int rows, int heads) {
  for (int row = 0; row < rows; row++) {
    const int shares = (int)single_shares(a, a.positions[row]);
    if (slot < heads * shares) return {row, shares, slot};
    slot -= heads * shares;
  }
  return {rows, 0, 0};
}

template <int LANES, int GROUP>
static __device__ __forceinline__ void persist_attend(const persist_heads &s, void *memory, int rows, int heads,
                                                      uint32_t epoch, persist_patience *patience) {
  auto *mine = static_cast<persist_attend_shared<LANES, GROUP> *>(memory);
  const single_args &a = s.attend;
  const uint32_t values = GROUP * a.dim, words = values + 2 * GROUP, h = thread_index();
  for (int slot = blockIdx.x;; slot += gridDim.x) {
    persist_work_place at = persist_find(a, slot, rows, heads);
    if (at.row == rows) break;
    const uint32_t row = at.row, shares = at.shares, share = at.slot % shares, item = row * heads + at.slot / shares;
    const bool pair = shares > SINGLE_SHARES;
    const uint32_t sharing = min(shares, (uint32_t)SINGLE_SHARES);
    sync_threads<ATTEND_THREADS>(); /* the memory is free */
    const single_work w = single_place<GROUP, true>(a, row, at.slot / shares, share, shares);
    rope_args turn = s.turn;
    turn.q = mine->vectors - (w.row * s.turn.q_stride + w.head * (size_t)a.dim);
    turn.k = mine->vectors + w.heads * a.dim - (w.row * s.turn.kv_stride + w.kv_head * (size_t)a.dim);
    turn.v = turn.k + a.dim;
    single_attend<KV_F16, LANES, GROUP, true>(&mine->single, a, turn, w,
                                              [&] { persist_take_vectors(mine->vectors, s, w, epoch, patience); });
    uint64_t *const all = s.partial + (size_t)item * words * PERSIST_SHARES, *const own = all + share;
    for (uint32_t i = thread_index(); i < values; i += ATTEND_THREADS)
      persist_put(own + i * PERSIST_SHARES, single_output<LANES, GROUP>(mine->single, a, i), epoch);
    if (h < GROUP) {
      persist_put(own + (values + h) * PERSIST_SHARES, mine->single.parts.all_most[h], epoch);
      persist_put(own + (values + GROUP + h) * PERSIST_SHARES, mine->single.parts.all_sum[h], epoch);
    }
    const uint32_t outputs = w.heads * a.dim, part = (outputs + shares - 1) / shares;
    for (uint32_t j = thread_index(); j < part && share * part + j < outputs; j += ATTEND_THREADS) {
      const uint32_t i = share * part + j;
      const uint64_t *const out = all + i * PERSIST_SHARES, *const most = all + (values + i / a.dim) * PERSIST_SHARES,
                            *const sum = most + GROUP * PERSIST_SHARES;
      const single_sums first = persist_add(out, most, sum, sharing, epoch, patience);
      float v = __fdiv_rn(first.out, first.sum);
      if (pair)
        v = single_pair(first, persist_add(out + SINGLE_SHARES, most + SINGLE_SHARES, sum + SINGLE_SHARES,
                                           SINGLE_SHARES, epoch, patience));
      persist_put(s.out + row * persist_row(s.turn.q_heads * a.dim) + persist_half_at(w.head * a.dim + i), v, epoch);
    }
  }
  sync_threads<ATTEND_THREADS>(); /* what follows takes the memory */
  if (thread_index() == 0) add_relaxed(s.after.counter, 1);
}

static __device__ __forceinline__ void persist_attend_any(const persist_heads &s, uint32_t lanes, uint32_t group,
                                                          void *memory, int rows, int heads, uint32_t epoch,
                                                          persist_patience *patience) {
  switch (lanes * 16 + group) {
  case 8 * 16 + 1: persist_attend<8, 1>(s, memory, rows, heads, epoch, patience); break;
  case 8 * 16 + 2: persist_attend<8, 2>(s, memory, rows, heads, epoch, patience); break;
  case 16 * 16 + 1: persist_attend<16, 1>(s, memory, rows, heads, epoch, patience); break;
  default: persist_attend<16, 2>(s, memory, rows, heads, epoch, patience); break;
  }
}

#endif
