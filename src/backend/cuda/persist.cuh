/* backend/cuda/persist.cuh: the kernel of persist.h. A block:
 *
 *   8 warps that compute    take a stage's x as soon as it is there (persist_words.cuh), multiply, or attend
 *   1 that finishes         adds up the sums of two tiles, and writes their results for all blocks; brings in descriptions of
 *                           stages
 *   1 that feeds            weights into the ring (persist_feed.cuh)
 *   1 that watches          says when a stage's x is about to be there
 *
 * None waits for a stage to end: each goes on to its next stage, and waits there for what it needs. */
#ifndef BACKEND_CUDA_PERSIST_CUH
#define BACKEND_CUDA_PERSIST_CUH

#include "backend/cuda/persist.h"
#include "backend/cuda/persist_attend.cuh"
#include "backend/cuda/persist_feed.cuh"
#include "backend/cuda/step_exchange.cuh"

#define PERSIST_FINISHING       (GEMV_THREADS + STEP_WARP) /* threads that compute, and those of the warp that finishes */
#define PERSIST_THREADS         (GEMV_THREADS + 4 * STEP_WARP) /* the last warp only lets its registers go */
#define PERSIST_STAGES          3                              /* held in shared memory: this and the next two */
#define PERSIST_STAGES_OF_LAYER (PERSIST_ROLES + 1)            /* attention is the second */
#define PERSIST_SUMS            3                              /* pairs of tiles whose sums may wait to be finished */
#define PERSIST_SUM_PAD         12 /* sums of a row lie side by side: those of the 8 warps */
#define PERSIST_TILE_SUMS       (GEMV_TILE * PERSIST_SUM_PAD)
#define PERSIST_SCALES          8 /* pairs of tiles whose row scales are there or on their way */

struct __align__(16) persist_stage {
  int attends, run;        /* run: of a product */
  uint32_t x_layer, layer; /* which wrote its x, and its own: of the launch's */
  gemv_args product;       /* y: written, too, where `keeps` */
  int keeps;
  uint32_t exchange; /* where it keeps, of several GPUs: number, less the first of the launch */
  /* Words, in the first copy. Of x: FP32 where the product makes x of them, else FP16; NULL: product.norm.x itself. Of
   * results, as y: FP32 or FP16 as product.output; NULL: they go to y alone. */
  const void *x;
  void *words[GEMV_MOST_PARTS];
  persist_heads attention;
};

struct persist_args {
  const persist_stage *stages;
  const persist_run *runs;
  int stage_count, run_count, rows, record_bytes, layers;
  int depth, most_busy, most_waiting;   /* of chunks: persist_feed */
  uint32_t heads, lanes;                /* of attention: kv heads; step_single.cuh */
  persist_sample before[PERSIST_ROLES]; /* of x */
  uint32_t copy_bytes;                  /* of words */
  size_t region;                        /* bytes of shared memory for x or attention */
  int kept;                             /* values of the residual stream of a block, at most */
  const uint32_t *turn;                 /* launches before this one */
  uint32_t *failed;
  step_exchange_group peers;
  uint64_t patience_ns;
};

struct __align__(16) persist_control {
  persist_stage stage[PERSIST_STAGES];
  uint64_t described[PERSIST_STAGES], left[PERSIST_STAGES]; /* a stage is there; all computing warps have left it */
  uint64_t taken[PERSIST_SUMS];                             /* the sums of a pair have been read */
  persist_ring ring;
  int coming; /* stages whose x is there or about to be */
  persist_held held;
  float scales[PERSIST_SCALES][STEP_WARP];
  float squares[PERSIST_MOST_ROWS * GEMV_WARPS];
};

/* -- x of a product: [piece][row], as gemv_take_x and gemv_reorder_x leave it */

/* Until a stage's x is about to be there. */
static __device__ __forceinline__ void persist_await_coming(const persist_control *c, int stage,
                                                            persist_patience *patience) {
  while (*static_cast<const volatile int *>(&c->coming) <= stage && !patience->over()) {
  }
}

/* What making x asks of a stage, in registers: the stage's description lies in shared memory, and would be read anew after
 * every look at words. */
struct persist_x {
  uint8_t *to;
  int pieces, all; /* of x; and with the zeros that fill up its last record */
  bool pairs;
  persist_patience *patience;

  __device__ __forceinline__ persist_x(uint8_t *memory, const gemv_args &a, persist_patience *p)
      : to(memory), pieces(a.k / GEMV_PIECE), all(a.records * GEMV_PIECES), pairs(a.pairs), patience(p) {
    static_assert(PERSIST_MOST_ROWS == 1, "pieces lie side by side");
  }
  __device__ __forceinline__ void put(int piece, uint4 v) const {
    if (piece >= pieces) v = make_uint4(0, 0, 0, 0);
    if (piece < all) *reinterpret_cast<uint4 *>(to + piece * 16) = pairs ? gemv_pairs_order(v) : v;
  }
};

/* A row as it is. A warp takes the records that it multiplies with, so that no warp waits for another. */
static __device__ __forceinline__ void persist_take_x(const persist_x &x, const uint16_t *words) {
  constexpr int TOGETHER = 8, STEP = 2 * GEMV_WARPS * GEMV_PIECES;
  const int warp = thread_index() / STEP_WARP, lane = thread_index() % STEP_WARP;
  for (int first = (warp + lane / GEMV_PIECES * GEMV_WARPS) * GEMV_PIECES + lane % GEMV_PIECES; first < x.all;
       first += STEP * TOGETHER) {
    persist_halves piece[TOGETHER];
    const uint16_t *const from = words + first * GEMV_PIECE;
    persist_await(
        piece, x.patience, [&](int i) { return first + i * STEP < x.pieces; },
        [&](int i) { return from + i * (STEP * GEMV_PIECE); });
#pragma unroll
    for (int i = 0; i < TOGETHER; i++) x.put(first + i * STEP, piece[i].values);
  }
  __syncwarp();
}

/* A row normed: gemv_make_row's and gemv_make_x's bits. A thread has pieces t, t + GEMV_THREADS, … */
struct persist_normed {
  persist_x x;
  gemv_norm norm;
  const uint32_t *words; /* NULL: norm.x */

  __device__ __forceinline__ persist_normed(const persist_x &made, const gemv_norm &how, const uint32_t *from)
      : x(made), norm(how), words(from) {}

  template <int N> __device__ __forceinline__ void take(int first, float4 (&v)[N][2]) const {
    auto used = [&](int j) { return first + j * GEMV_THREADS < x.pieces; };
    if (words) {
      persist_floats piece[N];
      const uint32_t *const from = words + persist_float_at(first * GEMV_PIECE);
      persist_await(piece, x.patience, used, [&](int j) { return from + j * (GEMV_THREADS * GEMV_PIECE); });
#pragma unroll
      for (int j = 0; j < N; j++) v[j][0] = piece[j].quad(0), v[j][1] = piece[j].quad(1);
      return;
    }
    const float4 *const from = reinterpret_cast<const float4 *>(norm.x) + 2 * first;
#pragma unroll
    for (int j = 0; j < N; j++) {
      v[j][0] = v[j][1] = make_float4(0, 0, 0, 0);
      if (used(j)) v[j][0] = from[2 * j * GEMV_THREADS], v[j][1] = from[2 * j * GEMV_THREADS + 1];
    }
  }

  __device__ __forceinline__ void make_row(const gemv_held &held, float *squares) const {
    float4 v[GEMV_HELD][2];
    float sum = 0;
    take(thread_index(), v);
#pragma unroll
    for (int j = 0; j < GEMV_HELD; j++)
      if ((int)thread_index() + j * GEMV_THREADS < x.pieces) sum = gemv_norm_squares(sum, v[j][0], v[j][1]);
    gemv_norm_share(sum, squares);
    sync_threads<GEMV_THREADS>();
    const float factor = gemv_norm_factor(norm, x.pieces * GEMV_PIECE, squares);
#pragma unroll
    for (int j = 0; j < GEMV_HELD; j++)
      x.put(thread_index() + j * GEMV_THREADS, gemv_normed(v[j][0], v[j][1], held.gain[j][0], held.gain[j][1], factor));
  }

  /* Longer than the threads hold: looked at twice. */
  __device__ __forceinline__ void make_long_row(float *squares) const {
    float4 v[1][2];
    float sum = 0;
    for (int i = thread_index(); i < x.pieces; i += GEMV_THREADS) {
      take(i, v);
      sum = gemv_norm_squares(sum, v[0][0], v[0][1]);
    }
    gemv_norm_share(sum, squares);
    sync_threads<GEMV_THREADS>();
    const float factor = gemv_norm_factor(norm, x.pieces * GEMV_PIECE, squares);
    for (int i = thread_index(); i < x.all; i += GEMV_THREADS) {
      float4 gain[2] = {};
      take(i, v);
      if (i < x.pieces) {
        gain[0] = reinterpret_cast<const float4 *>(norm.gain)[2 * i];
        gain[1] = reinterpret_cast<const float4 *>(norm.gain)[2 * i + 1];
      }
      x.put(i, gemv_normed(v[0][0], v[0][1], gain[0], gain[1], factor));
    }
  }
};

/* -- a product: the computing warps */

/* Sums of a tile are there: named barriers 2 …; 1 is sync_threads'. */
static __device__ __forceinline__ void persist_summed(int turn) { named_barrier_arrive(2 + turn, PERSIST_FINISHING); }
static __device__ __forceinline__ void persist_sum(int turn) { named_barrier_sync(2 + turn, PERSIST_FINISHING); }

/* What a computing warp keeps from stage to stage. */
struct persist_warp {
  persist_slot at;
  persist_slot sums; /* the next pair's */
  persist_patience patience;
};

/* This warp's sums of a tile. */
template <class F>
static __device__ __forceinline__ void persist_put_sums(float *sums, const float (&c)[F::SUMS][4], int warp, int lane) {
  static_assert(PERSIST_MOST_ROWS == 1, "the first column of c");
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    const float v = F::total(c, j);
    if (lane % 4 == 0) sums[(lane / 4 + j / 2 * 8) * PERSIST_SUM_PAD + warp] = v;
  }
}

/* Where a warp finds its records of the next chunk. */
template <class F> struct persist_intake {
  const uint8_t *ring; /* the warp's first record in slot 0 */
  uint32_t full, empty;
  int depth, record_bytes, lane;
  persist_slot *at;

  __device__ __forceinline__ const uint8_t *begin() const {
    barrier_wait(full + at->slot * 8, at->phase);
    return ring + at->slot * persist_chunk<F>::BYTES;
  }
  __device__ __forceinline__ bool there() const {
    return __all_sync(~0u, barrier_ended(full + at->slot * 8, at->phase));
  }
  /* They have been read. */
  __device__ __forceinline__ void end() const {
    __syncwarp();
    if (lane == 0) barrier_arrive(empty + at->slot * 8);
    at->next(depth);
  }
};

/* A warp's records of a chunk: taken out of the ring, so that the next may come, then multiplied. */
template <class F> struct persist_taken {
  using chunk = persist_chunk<F>;
  static constexpr int LAST = chunk::RECORDS - GEMV_WARPS; /* from the chunk's first record of a warp to its last */
  typename F::held codes[chunk::TOGETHER];

  /* each(i), for the record's i-th of the chunk: r + 8 i */
  template <class Each> static __device__ __forceinline__ void each(int r, int records, Each body) {
    if (r + LAST < records) {
#pragma unroll
      for (int i = 0; i < chunk::TOGETHER; i++) body(i);
    } else {
#pragma unroll
      for (int i = 0; i + 1 < chunk::TOGETHER; i++)
        if (r + i * GEMV_WARPS < records) body(i);
    }
  }
  template <class Operands>
  __device__ __forceinline__ void load(int i, Operands at, const uint8_t *from, int record_bytes) {
    at.codes = from + i * (GEMV_WARPS * record_bytes);
    codes[i].load(at);
  }
  template <class Operands>
  __device__ __forceinline__ void take(const Operands &at, const persist_intake<F> &in, int r, int records) {
    const uint8_t *const from = in.begin();
    if (chunk::TOGETHER == 1 || r + LAST >= records) {
#pragma unroll
      for (int i = 0; i < chunk::TOGETHER; i++) codes[i] = typename F::held(); /* as in persist_await */
    }
    each(r, records, [&](int i) { load(i, at, from, in.record_bytes); });
    in.end();
  }
  /* multiply(i), for the first COUNT records, whose places those of the next chunk take. */
  template <int COUNT, class Operands, class Multiply>
  __device__ __forceinline__ void replace(const Operands &at, const persist_intake<F> &in, Multiply multiply) {
    const uint8_t *const from = in.begin();
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      multiply(i);
      load(i, at, from, in.record_bytes);
    }
    in.end();
  }
};

/* The x of record r. */
template <class F, class Operands>
static __device__ __forceinline__ void persist_load_x(Operands at, int r, uint4 (&x)[4][1]) {
  at.x = r * GEMV_PIECES * gemv_x_stride(1);
  F::load_x(at, x);
}

/* A warp's records of x, COUNT at most, held from tile to tile. */
template <class F, int COUNT> struct persist_held_x {
  uint4 x[COUNT][4][1];

  template <class Operands> __device__ __forceinline__ void load(const Operands &at, int r, int records) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) x[i][j][0] = make_uint4(0, 0, 0, 0); /* as in persist_await */
      if (r + i * GEMV_WARPS < records) persist_load_x<F>(at, r + i * GEMV_WARPS, x[i]);
    }
  }
};

/* What a warp has taken: a chunk, and, where a chunk has one record for it, the next of the tile too if that is there already. */
template <class F> struct persist_at_hand {
  persist_taken<F> now, next = {};
  bool two = false;

  template <class Operands>
  __device__ __forceinline__ void take(const Operands &at, const persist_intake<F> &in, int r, int records) {
    now.take(at, in, r, records);
    if constexpr (persist_chunk<F>::TOGETHER == 1) {
      two = r + GEMV_WARPS < records && in.there();
      if (two) next.take(at, in, r + GEMV_WARPS, records);
    }
  }
};

/* What a warp multiplies in a stage: tiles [first, end) of so many records, whose first chunk it has taken. put(tile, total):
 * its sums of a tile, which begin anew. */
template <class F> struct persist_share_of_tiles {
  using chunk = persist_chunk<F>;
  typedef float sums[1][F::SUMS][4];
  int first, end, records, warp;

  /* A chunk has one record for the warp. */
  template <class Operands, class Put>
  __device__ __forceinline__ void singles(persist_at_hand<F> *hand, const Operands &at, const persist_intake<F> &in,
                                          Put put) const {
#pragma unroll 1
    for (int tile = first; tile < end; tile++) {
      sums total = {};
      for (int r = warp; r < records + warp; r += GEMV_WARPS) {
        if (tile > first || r > warp) hand->take(at, in, r, records);
        uint4 x[2][4][1];
        if (hand->two) {
          persist_load_x<F>(at, r, x[0]);
          persist_load_x<F>(at, r + GEMV_WARPS, x[1]);
          F::add(total, hand->now.codes[0], x[0]);
          F::add(total, hand->next.codes[0], x[1]);
          r += GEMV_WARPS;
        } else if (r < records) {
          persist_load_x<F>(at, r, x[0]);
          F::add(total, hand->now.codes[0], x[0]);
        }
      }
      put(tile, total);
    }
  }

  /* A chunk has several, and a tile is one chunk: their x is held. Here and below the next chunk's loads are behind products. */
  template <class Operands, class Put>
  __device__ __forceinline__ void whole(persist_taken<F> *now, const Operands &at, const persist_intake<F> &in,
                                        Put put) const {
    persist_held_x<F, chunk::TOGETHER> x;
    x.load(at, warp, records);
    sums total = {};
    auto multiply = [&](int i) { F::add(total, now->codes[i], x.x[i]); };
#pragma unroll 1
    for (int tile = first; tile < end; tile++) {
      if (tile + 1 < end && records == chunk::RECORDS) {
        now->template replace<chunk::TOGETHER>(at, in, multiply);
      } else if (tile + 1 < end && records == chunk::RECORDS / 2) {
        now->template replace<chunk::TOGETHER / 2>(at, in, multiply);
      } else {
        persist_taken<F>::each(warp, records, multiply);
        if (tile + 1 < end) now->take(at, in, warp, records);
      }
      put(tile, total);
    }
  }

  template <class Operands, class Put>
  __device__ __forceinline__ void several(persist_taken<F> *now, const Operands &at, const persist_intake<F> &in,
                                          Put put) const {
    sums total = {};
    int tile = first, r = warp;
    auto multiply = [&](int i) {
      uint4 x[4][1];
      persist_load_x<F>(at, r + i * GEMV_WARPS, x);
      F::add(total, now->codes[i], x);
    };
#pragma unroll 1
    while (tile < end) {
      const bool ends = r + chunk::RECORDS >= records + warp;
      const int next_tile = tile + ends, next_r = ends ? warp : r + chunk::RECORDS;
      if (next_tile < end && max(r, next_r) + persist_taken<F>::LAST < records) {
        now->template replace<chunk::TOGETHER>(at, in, multiply);
      } else {
        persist_taken<F>::each(r, records, multiply);
        if (next_tile < end) now->take(at, in, next_r, records);
      }
      if (ends) put(tile, total);
      tile = next_tile;
      r = next_r;
    }
  }

  template <class Operands, class Put>
  __device__ __forceinline__ void multiply(persist_at_hand<F> *hand, const Operands &at, const persist_intake<F> &in,
                                           Put put) const {
    if constexpr (chunk::TOGETHER == 1) {
      singles(hand, at, in, put);
    } else {
      if (end - first > 1 && records <= chunk::RECORDS)
        whole(&hand->now, at, in, put);
      else
        several(&hand->now, at, in, put);
    }
  }
};

/* What gemv_resident does with its tiles. */
template <class F>
static __device__ __forceinline__ void
persist_multiply(const persist_args &p, persist_control *c, const persist_stage &s, const persist_run &run, int stage,
                 uint32_t turn, persist_warp *mine, const uint8_t *ring, uint8_t *x, float *sums, const void *zeros) {
  const gemv_args &a = s.product;
  const int warp = thread_index() / STEP_WARP, lane = thread_index() % STEP_WARP;
  const persist_share_of_tiles<F> tiles = {run.first, run.end, run.records, warp};
  if (tiles.first >= tiles.end) return;
  const uint32_t taken = shared_address(c->taken);
  const persist_intake<F> in = {ring + warp * p.record_bytes,
                                shared_address(c->ring.full),
                                shared_address(c->ring.empty),
                                p.depth,
                                p.record_bytes,
                                lane,
                                &mine->at};
  typename F::template operands<1> at;
  gemv_place(&at, a, shared_address(x), shared_address(zeros), lane);
  at.x_stride = gemv_x_stride(1);
  persist_at_hand<F> hand;
  const persist_layer layer(turn + s.x_layer, p.copy_bytes);
  const persist_x made(x, a, &mine->patience);
  if (a.norm.x) {
    const persist_normed normed(made, a.norm, s.x ? layer.of(static_cast<const uint32_t *>(s.x)) : NULL);
    const bool whole = made.all <= GEMV_HELD * GEMV_THREADS;
    gemv_held held = {};
    if (whole) held.load(a);
    hand.take(at, in, warp, tiles.records);
    persist_await_coming(c, stage, &mine->patience);
    if (whole)
      normed.make_row(held, c->squares);
    else
      normed.make_long_row(c->squares);
    sync_threads<GEMV_THREADS>();
  } else {
    const uint16_t *const words = layer.of(static_cast<const uint16_t *>(s.x));
    hand.take(at, in, warp, tiles.records);
    persist_await_coming(c, stage, &mine->patience);
    persist_take_x(made, words);
  }
  persist_set_busy(&c->ring, 1);
  tiles.multiply(&hand, at, in, [&](int tile, typename persist_share_of_tiles<F>::sums &total) {
    const bool second = (tile - tiles.first) & 1;
    if (!second) barrier_wait(taken + mine->sums.slot * 8, mine->sums.phase ^ 1);
    persist_put_sums<F>(sums + (mine->sums.slot * 2 + second) * PERSIST_TILE_SUMS, total[0], warp, lane);
#pragma unroll
    for (int i = 0; i < F::SUMS; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) total[0][i][j] = 0;
    if (!second && tile + 1 < tiles.end) return;
    persist_summed(mine->sums.slot);
    mine->sums.next(PERSIST_SUMS);
  });
  persist_set_busy(&c->ring, 0);
}

/* -- the warp that finishes: a lane for each row of two tiles, which follow each other in the block, or of its last one */

/* A stage's description on its way: it arrives at `described`. */
static __device__ __forceinline__ void persist_fetch(const persist_args &p, persist_control *c, int stage, int lane) {
  if (stage >= p.stage_count) return;
  const uint8_t *const from = reinterpret_cast<const uint8_t *>(p.stages + stage);
  const uint32_t to = shared_address(&c->stage[stage % PERSIST_STAGES]);
  for (int i = lane * 16; i < (int)sizeof(persist_stage); i += STEP_WARP * 16) copy_async_part(to + i, from + i, 16);
  barrier_arrive_copied(shared_address(&c->described[stage % PERSIST_STAGES]));
}

/* Row scales on their way to shared memory, some tiles before they are needed: from memory each takes longer than a tile. */
struct persist_scales {
  int run = -1, tile = 0, end = 0, asked = 0;

  __device__ __forceinline__ void ask(const persist_args &p, const persist_run *runs, float (*to)[STEP_WARP],
                                      int lane) {
    while (tile >= end && ++run < p.run_count) tile = runs[run].first, end = runs[run].end;
    if (tile < end) {
      const persist_run &r = runs[run];
      const gemv_place_of_tile at = persist_find(r, tile + lane / GEMV_TILE);
      const float *from = reinterpret_cast<const float *>(r.w[at.matrix] + (size_t)r.scales_at[at.matrix] * 16);
      if (tile + lane / GEMV_TILE < end)
        copy_async_4(shared_address(&to[asked % PERSIST_SCALES][lane]), from + at.tile * GEMV_TILE + lane % GEMV_TILE);
      tile += 2;
      asked++;
    }
    copy_async_commit();
  }
};

/* What the warp keeps from stage to stage. */
struct persist_finisher {
  persist_scales scales;
  persist_slot sums; /* the next pair's */
  int finished = 0;  /* of them */
  const float *kept; /* the y whose values of this block are in shared memory, or NULL */
  uint32_t exchange; /* number of the launch's first */
};

/* y of the tiles [first, end) is this GPU's part, and becomes the sum of all GPUs'. Each lane has its own outputs, of which it
 * looks for two at a time. */
static __device__ __forceinline__ void persist_add_parts(const step_exchange_group &g, const persist_stage &s,
                                                         const persist_layer &layer, uint32_t number, int first,
                                                         int end, int lane) {
  const gemv_matrix &w = s.product.matrix[0];
  float *const y = static_cast<float *>(w.y);
  uint32_t *const words = static_cast<uint32_t *>(s.words[0]);
  const int row = lane / GEMV_TILE; /* of several, y and words are dense */
  end = row < s.product.m ? end * GEMV_TILE : 0;
  end = end < w.n ? end : w.n;
  exchange_patience patience(g.failed);
  for (int n = first * GEMV_TILE + lane % GEMV_TILE; n < end; n += 2 * GEMV_TILE) {
    const int other = n + GEMV_TILE < end ? GEMV_TILE : 0;
    float *const own = y + row * w.n + n;
    float2 sum = make_float2(0, 0);
    for (int r = 0; r < g.ranks; r++) {
      float2 part = make_float2(own[0], own[other]);
      if (r != g.rank) {
        const uint64_t *const from = exchange_place(g, g.rank, r, number) + row * w.n + n;
        uint64_t a, b;
        do {
          a = load_relaxed_system(from);
          b = load_relaxed_system(from + other);
        } while (((uint32_t)(a >> 32) != number || (uint32_t)(b >> 32) != number) && !patience.over());
        part = make_float2(exchange_value(a), exchange_value(b));
      }
      sum = r == 0 ? part : make_float2(__fadd_rn(sum.x, part.x), __fadd_rn(sum.y, part.y));
    }
    own[0] = sum.x;
    layer.put(words + row * persist_row(w.n) + persist_float_at(n), sum.x);
    if (!other) continue;
    own[other] = sum.y;
    layer.put(words + row * persist_row(w.n) + persist_float_at(n + other), sum.y);
  }
}

/* An output: what becomes of its sum is found before that is there. */
struct persist_result {
  float bias, residual;
  uint32_t *floats; /* or */
  uint16_t *halves;
  float *y;    /* where the stage keeps or has no words, else NULL */
  size_t part; /* its place in an exchange */

  /* n: the row of matrix w; kept: where the block has its residual */
  __device__ __forceinline__ persist_result(const persist_stage &s, int matrix, int n, const float *kept)
      : bias(0), residual(0), floats(NULL), halves(NULL), y(NULL), part(0) {
    const gemv_matrix &w = s.product.matrix[matrix];
    if (w.bias) bias = w.bias[n];
    if (w.residual) residual = kept ? *kept : w.residual[n];
    if (s.product.output == GEMV_F16) { /* of two matrices one result */
      halves = static_cast<uint16_t *>(s.words[0]) + n;
    } else if (s.keeps) {
      floats = static_cast<uint32_t *>(s.words[0]) + persist_float_at(n);
      y = static_cast<float *>(w.y) + n;
      part = n;
    } else if (!s.words[matrix]) {
      y = static_cast<float *>(w.y) + n;
    } else {
      floats = static_cast<uint32_t *>(s.words[matrix]) + n;
    }
  }
  __device__ __forceinline__ void put(float v, const persist_layer &layer, const step_exchange_group &g,
                                      uint32_t number) const {
    if (halves)
      layer.put(halves, v);
    else if (floats && (!y || g.ranks == 0))
      layer.put(floats, v);
    else if (floats)
      exchange_send(g, number, part, v);
    if (y) *y = v;
  }
};

/* The eight warps' sums of a row: gemv_finish's order. */
static __device__ __forceinline__ float persist_row_sum(const float *sums) {
  const float4 a = reinterpret_cast<const float4 *>(sums)[0], b = reinterpret_cast<const float4 *>(sums)[1];
  static_assert(GEMV_WARPS == 8, "two quads");
  float v = 0;
  v += a.x, v += a.y, v += a.z, v += a.w;
  v += b.x, v += b.y, v += b.z, v += b.w;
  return v;
}

static __device__ __forceinline__ void persist_finish(const persist_args &p, persist_control *c,
                                                      const persist_run *runs, const persist_stage &s,
                                                      const persist_layer &layer, const float *sums, float *kept,
                                                      persist_finisher *mine, int lane) {
  const step_exchange_group &g = p.peers;
  const persist_run &run = runs[s.run];
  const int half = lane / GEMV_TILE, row = lane % GEMV_TILE, end = run.end;
  if (run.first >= end) return;
  const uint32_t number = mine->exchange + s.exchange;
  const bool held = mine->kept && s.product.matrix[0].residual == mine->kept;
#pragma unroll 1
  for (int tile = run.first; tile < end; tile += 2, mine->finished++) {
    const gemv_place_of_tile at = persist_find(run, tile + half);
    const int n = at.tile * GEMV_TILE + row, place = mine->sums.slot;
    const bool there = tile + half < end && n < s.product.matrix[at.matrix].n;
    float *const own = kept + (tile - run.first) * GEMV_TILE + (there ? lane : row);
    const persist_result to(s, at.matrix, there ? n : 0, held ? own : NULL);
    copy_async_wait<PERSIST_SCALES - 2>();
    const float scale = c->scales[mine->finished % PERSIST_SCALES][lane];
    persist_sum(place);
    float v = persist_row_sum(sums + (place * 2 + half) * PERSIST_TILE_SUMS + row * PERSIST_SUM_PAD);
    v = __fadd_rn(__fmul_rn(v, scale), to.bias);
    if (run.paired) {
      const float up = __shfl_down_sync(~0u, v, GEMV_TILE);
      if (there && half == 0) to.put(silu(v) * up, layer, g, number);
    } else if (there) {
      v += to.residual;
      to.put(v, layer, g, number);
      if (s.keeps) *own = v;
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(shared_address(c->taken) + place * 8);
    mine->sums.next(PERSIST_SUMS);
    mine->scales.ask(p, runs, c->scales, lane);
  }
  if (s.keeps) mine->kept = g.ranks ? NULL : static_cast<const float *>(s.product.matrix[0].y);
  if (s.keeps && g.ranks) persist_add_parts(g, s, layer, number, run.first, end, lane);
}

static __device__ __forceinline__ void persist_finish_all(const persist_args &p, persist_control *c,
                                                          const persist_run *runs, uint32_t turn, const float *sums,
                                                          float *kept, int lane) {
  persist_finisher mine;
  mine.kept = NULL;
  mine.exchange = p.peers.ranks ? *p.peers.base : 0;
  for (int i = 0; i < PERSIST_SCALES - 1; i++) mine.scales.ask(p, runs, c->scales, lane);
  persist_slot at;
#pragma unroll 1
  for (int i = 0; i < p.stage_count; i++) {
    const persist_stage &stage = c->stage[at.slot];
    barrier_wait(shared_address(c->described) + at.slot * 8, at.phase);
    /* What was cleared since the layer before, by the warps that compute, too, is so before what comes now. */
    if (i % PERSIST_STAGES_OF_LAYER == PERSIST_UP + 1) persist_fence();
    if (!stage.attends) {
      const persist_layer layer(turn + stage.layer, p.copy_bytes);
      persist_finish(p, c, runs, stage, layer, sums, kept, &mine, lane);
    }
    __syncwarp(); /* lanes without outputs must not write over the description that others still read */
    barrier_wait(shared_address(c->left) + at.slot * 8, at.phase);
    persist_fetch(p, c, i + PERSIST_STAGES, lane);
    at.next(PERSIST_STAGES);
  }
}

/* -- the warp that watches */

static __device__ __forceinline__ void persist_watch(const persist_args &p, persist_control *c, const persist_run *runs,
                                                     uint32_t turn) {
  persist_patience patience = {nanoseconds() + p.patience_ns, p.failed, 0};
#pragma unroll 1
  for (int i = 0; i < p.run_count; i++) {
    const int layer = i / PERSIST_ROLES, role = i % PERSIST_ROLES;
    const bool first = role == PERSIST_QKV; /* whose x is of the layer before; so is the head's */
    if (runs[i].first < runs[i].end && i > 0)
      persist_expect(p.before[role], persist_layer(turn + layer - first, p.copy_bytes), &patience);
    *static_cast<volatile int *>(&c->coming) = PERSIST_STAGES_OF_LAYER * layer + role + !first + 1;
  }
}

/* The block's place among those that take shares of attention: first those with the fewest tiles of q, k and v. A warp. */
static __device__ __forceinline__ uint32_t persist_attention_slot(const persist_run &qkv, uint32_t lane) {
  const uint32_t tiles = qkv.tiles, blocks = gridDim.x, least = tiles / blocks;
  auto more = [&](uint32_t block) { return tiles * (block + 1) / blocks - tiles * block / blocks > least; };
  const bool mine = more(blockIdx.x);
  uint32_t before = 0;
  for (uint32_t block = lane; block < blocks; block += STEP_WARP) {
    const bool its = more(block);
    before += its == mine ? block < blockIdx.x : mine;
  }
  return __reduce_add_sync(~0u, before);
}

/* -- the kernel. Dynamic shared memory: the ring, x or attention, sums of tiles, what the block keeps of the residual stream,
 * 16 zero bytes, control, runs */

static inline __host__ __device__ size_t persist_align(size_t bytes) { return (bytes + 15) & ~(size_t)15; }

template <class F>
__global__ void __launch_bounds__(PERSIST_THREADS, 1) persist_kernel(const __grid_constant__ persist_args p) {
#if __CUDA_ARCH__ >= 900 /* which has the copies and barriers */
  extern __shared__ __align__(128) uint8_t persist_memory[];
  const int warp = thread_index() / STEP_WARP, lane = thread_index() % STEP_WARP;
  uint8_t *const ring = persist_memory;
  uint8_t *const region = ring + p.depth * persist_chunk<F>::BYTES;
  float *const sums = reinterpret_cast<float *>(region + p.region);
  float *const kept = sums + PERSIST_SUMS * 2 * PERSIST_TILE_SUMS;
  uint4 *const zeros = reinterpret_cast<uint4 *>(kept + p.kept);
  persist_control *const control = reinterpret_cast<persist_control *>(zeros + 1);
  persist_run *const runs = reinterpret_cast<persist_run *>(control + 1);
  const uint64_t *const from = reinterpret_cast<const uint64_t *>(p.runs);
  for (int i = thread_index(); i < p.run_count * (int)(sizeof *runs / 8); i += PERSIST_THREADS)
    reinterpret_cast<uint64_t *>(runs)[i] = from[i];
  __syncthreads();
  for (int i = thread_index(); i < p.run_count; i += PERSIST_THREADS) persist_deal(&runs[i]);
  if (thread_index() == 0) {
    *zeros = make_uint4(0, 0, 0, 0);
    control->coming = 0;
    persist_ring_begin(&control->ring, p.depth);
    for (int i = 0; i < PERSIST_STAGES; i++) {
      barrier_init(shared_address(&control->described[i]), STEP_WARP);
      barrier_init(shared_address(&control->left[i]), GEMV_WARPS);
    }
    for (int i = 0; i < PERSIST_SUMS; i++) barrier_init(shared_address(&control->taken[i]), 1);
    barrier_init_fence();
  }
  __syncthreads();
  if (warp == GEMV_WARPS) {
    for (int i = 0; i < PERSIST_STAGES; i++) persist_fetch(p, control, i, lane);
    persist_hold(&control->held, p.stages[1].attention, p.heads, persist_attention_slot(runs[0], lane), lane);
  }
  __syncthreads();
  const uint32_t turn = *p.turn * p.layers;
  if (warp >= GEMV_WARPS) {
    registers_release<72>();
    if (warp == GEMV_WARPS) persist_finish_all(p, control, runs, turn, sums, kept, lane);
    if (warp == GEMV_WARPS + 1 && lane == 0)
      persist_feed<F>({runs, p.run_count, p.record_bytes, p.depth, p.most_busy, p.most_waiting}, shared_address(ring),
                      &control->ring);
    if (warp == GEMV_WARPS + 2) persist_watch(p, control, runs, turn);
    return;
  }
  registers_take<216>();
  persist_warp mine;
  mine.patience = {nanoseconds() + p.patience_ns, p.failed, 0};
  persist_slot at;
#pragma unroll 1
  for (int i = 0; i < p.stage_count; i++) {
    const persist_stage &stage = control->stage[at.slot];
    barrier_wait(shared_address(control->described) + at.slot * 8, at.phase);
    if (stage.attends)
      persist_attend_any(stage.attention, control->held, p.lanes, region, p.heads,
                         persist_layer(turn + stage.layer, p.copy_bytes), &mine.patience);
    else
      persist_multiply<F>(p, control, stage, runs[stage.run], i, turn, &mine, ring, region, sums, zeros);
    __syncwarp();
    if (lane == 0) barrier_arrive(shared_address(control->left) + at.slot * 8);
    at.next(PERSIST_STAGES);
  }
#endif
}

#endif
