/* backend/cuda/persist.cuh: the kernel of persist.h. A block:
 *
 *   8 warps that compute    take a stage's x as soon as it is there (persist_words.cuh), multiply, or attend
 *   1 that finishes         adds up the sums of a tile, and writes its results for all blocks; brings in descriptions of stages
 *   1 that feeds            weights into the ring (persist_feed.cuh)
 *
 * None waits for a stage to end: each goes on to its next stage, and waits there for what it needs. */
#ifndef BACKEND_CUDA_PERSIST_CUH
#define BACKEND_CUDA_PERSIST_CUH

#include "backend/cuda/persist.h"
#include "backend/cuda/persist_attend.cuh"
#include "backend/cuda/persist_feed.cuh"
#include "backend/cuda/step_exchange.cuh"

#define PERSIST_FINISHING (GEMV_THREADS + STEP_WARP)     /* threads that compute, and those of the warp that finishes */
#define PERSIST_THREADS   (GEMV_THREADS + 4 * STEP_WARP) /* the last two warps only let their registers go */
#define PERSIST_STAGES    3                              /* held in shared memory: this and the next two */
#define PERSIST_SUMS      4                              /* tiles whose sums may wait to be finished */

struct __align__(16) persist_stage {
  int attends;
  uint32_t x_epoch, epoch; /* of its x and of its results, less the first of the launch */
  gemv_args product;       /* y: written, too, where `keeps` */
  int keeps;
  uint32_t exchange; /* where it keeps, of several GPUs: number, less the first of the launch */
  const void *x;     /* words: FP32 where the product makes x of them, else FP16; NULL: product.norm.x itself */
  persist_mark before, after;   /* before: of x, where it is words */
  void *words[GEMV_MOST_PARTS]; /* of results, as y: FP32 or FP16 as product.output */
  persist_heads attention;
};

struct persist_args {
  const persist_stage *stages;
  const persist_run *runs;
  int stage_count, run_count, rows, record_bytes, layers;
  int depth, most_busy, most_waiting; /* of chunks: persist_feed */
  int heads;                          /* kv heads · slices */
  int lanes, group;                   /* of attention: step_single.cuh */
  size_t region;                      /* bytes of shared memory for x or attention */
  const uint32_t *turn;               /* launches before this one */
  uint32_t *failed;
  step_exchange_group peers;
  uint64_t patience_ns;
};

struct __align__(16) persist_control {
  persist_stage stage[PERSIST_STAGES];
  uint64_t described[PERSIST_STAGES], left[PERSIST_STAGES]; /* a stage is there; all computing warps have left it */
  uint64_t taken[PERSIST_SUMS];                             /* the sums of a tile have been read */
  persist_ring ring;
  persist_held held;
  float squares[PERSIST_MOST_ROWS * GEMV_WARPS];
};

/* -- x of a product: [piece][row], as gemv_take_x and gemv_reorder_x leave it */

/* Rows as they are. A warp takes the records that it multiplies with, so that no warp waits for another. */
static __device__ __forceinline__ void persist_take_x(uint8_t *to, const gemv_args &a, const uint32_t *words,
                                                      uint32_t epoch, persist_patience *patience) {
  constexpr int TOGETHER = 4;
  const int warp = thread_index() / STEP_WARP, lane = thread_index() % STEP_WARP, pieces = a.k / GEMV_PIECE;
  for (int row = 0; row < a.m; row++)
    for (int r = warp + lane / GEMV_PIECES * GEMV_WARPS; r < a.records; r += 2 * GEMV_WARPS * TOGETHER) {
      persist_halves piece[TOGETHER];
      auto place = [&](int i) { return (r + 2 * i * GEMV_WARPS) * GEMV_PIECES + lane % GEMV_PIECES; };
      persist_await(
          piece, epoch, patience, [&](int i) { return place(i) < pieces; },
          [&](int i) { return words + row * persist_row(a.k) + persist_half_at(place(i) * GEMV_PIECE); });
#pragma unroll
      for (int i = 0; i < TOGETHER; i++)
        if (place(i) < a.records * GEMV_PIECES)
          gemv_put_piece(to, a, row, place(i), place(i) < pieces ? piece[i].values() : make_uint4(0, 0, 0, 0));
    }
  __syncwarp();
}

/* Rows normed: gemv_make_row's and gemv_make_x's bits. A thread has pieces t, t + GEMV_THREADS, … of a row. */
struct persist_normed {
  const gemv_args &a;
  const uint64_t *words; /* NULL: a.norm.x */
  uint32_t epoch;
  persist_patience *patience;

  template <int N> __device__ __forceinline__ void take(int row, int first, float4 (&x)[N][2]) const {
    auto used = [&](int j) { return (first + j * GEMV_THREADS) * GEMV_PIECE < a.k; };
    if (words) {
      persist_floats piece[N];
      persist_await(piece, epoch, patience, used, [&](int j) {
        return words + row * persist_row(a.k) + persist_float_at((first + j * GEMV_THREADS) * GEMV_PIECE);
      });
#pragma unroll
      for (int j = 0; j < N; j++) x[j][0] = piece[j].quad(0), x[j][1] = piece[j].quad(1);
      return;
    }
    const float4 *from = reinterpret_cast<const float4 *>(a.norm.x + row * a.norm.stride);
#pragma unroll
    for (int j = 0; j < N; j++) {
      x[j][0] = x[j][1] = make_float4(0, 0, 0, 0);
      if (used(j)) x[j][0] = from[2 * (first + j * GEMV_THREADS)], x[j][1] = from[2 * (first + j * GEMV_THREADS) + 1];
    }
  }

  __device__ __forceinline__ void put(uint8_t *to, int row, int piece, const float4 (&x)[2], const float4 (&gain)[2],
                                      float factor) const {
    if (piece * GEMV_PIECE < a.k)
      gemv_put_piece(to, a, row, piece, gemv_normed(x[0], x[1], gain[0], gain[1], factor));
    else if (piece < a.records * GEMV_PIECES)
      gemv_put_piece(to, a, row, piece, make_uint4(0, 0, 0, 0));
  }

  __device__ __forceinline__ void make_row(uint8_t *to, const gemv_held &held, float *squares) const {
    float4 x[GEMV_HELD][2];
    float sum = 0;
    take(0, thread_index(), x);
#pragma unroll
    for (int j = 0; j < GEMV_HELD; j++)
      if ((int)(thread_index() + j * GEMV_THREADS) * GEMV_PIECE < a.k) sum = gemv_norm_squares(sum, x[j][0], x[j][1]);
    gemv_norm_share(sum, squares);
    sync_threads<GEMV_THREADS>();
    const float factor = gemv_norm_factor(a.norm, a.k, squares);
#pragma unroll
    for (int j = 0; j < GEMV_HELD; j++) put(to, 0, thread_index() + j * GEMV_THREADS, x[j], held.gain[j], factor);
  }

  __device__ __forceinline__ void make_rows(uint8_t *to, float *squares) const {
    float4 x[1][2];
#pragma unroll 1
    for (int row = 0; row < a.m; row++) {
      float sum = 0;
      for (int i = thread_index(); i < a.k / GEMV_PIECE; i += GEMV_THREADS) {
        take(row, i, x);
        sum = gemv_norm_squares(sum, x[0][0], x[0][1]);
      }
      gemv_norm_share(sum, squares + row * GEMV_WARPS);
    }
    sync_threads<GEMV_THREADS>();
#pragma unroll 1
    for (int row = 0; row < a.m; row++) {
      const float factor = gemv_norm_factor(a.norm, a.k, squares + row * GEMV_WARPS);
      for (int i = thread_index(); i < a.records * GEMV_PIECES; i += GEMV_THREADS) {
        float4 gain[2] = {};
        take(row, i, x);
        if (i * GEMV_PIECE < a.k) {
          gain[0] = reinterpret_cast<const float4 *>(a.norm.gain)[2 * i];
          gain[1] = reinterpret_cast<const float4 *>(a.norm.gain)[2 * i + 1];
        }
        put(to, row, i, x[0], gain, factor);
      }
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
  int tiles = 0; /* done */
  persist_patience patience;
};

/* What gemv_resident does with its tiles. */
template <class F>
static __device__ __forceinline__ void
persist_multiply(const persist_args &p, persist_control *c, const persist_stage &s, uint32_t turn, persist_warp *mine,
                 const uint8_t *ring, uint8_t *x, float *sums, const void *zeros) {
  using chunk = persist_chunk<F>;
  const gemv_args &a = s.product;
  const int warp = thread_index() / STEP_WARP, lane = thread_index() % STEP_WARP;
  const int first = gemv_first_tile(a, blockIdx.x), end = gemv_first_tile(a, blockIdx.x + 1), records = a.records;
  const int x_of_record = GEMV_PIECES * gemv_x_stride(a.m), sums_of_tile = a.m * GEMV_TILE * GEMV_SUM_PAD;
  const uint32_t full = shared_address(c->ring.full), empty = shared_address(c->ring.empty),
                 taken = shared_address(c->taken);
  if (first >= end) return;
  const uint32_t x_epoch = turn + s.x_epoch;
  if (a.norm.x) {
    const persist_normed normed = {a, static_cast<const uint64_t *>(s.x), x_epoch, &mine->patience};
    if (a.m == 1 && records * GEMV_PIECES <= GEMV_HELD * GEMV_THREADS) {
      gemv_held held;
      held.load(a);
      if (s.x) persist_expect<GEMV_THREADS>(s.before, x_epoch, &mine->patience);
      normed.make_row(x, held, c->squares);
    } else {
      if (s.x) persist_expect<GEMV_THREADS>(s.before, x_epoch, &mine->patience);
      normed.make_rows(x, c->squares);
    }
    sync_threads<GEMV_THREADS>();
  } else {
    persist_expect<GEMV_THREADS>(s.before, x_epoch, &mine->patience);
    persist_take_x(x, a, static_cast<const uint32_t *>(s.x), x_epoch, &mine->patience);
  }
  persist_set_busy(&c->ring, 1);

  typename F::template operands<1> at;
  gemv_place(&at, a, shared_address(x), shared_address(zeros), lane);
  for (int tile = first; tile < end; tile++) {
    float total[1][F::SUMS][4] = {};
    for (int r = warp; r < records + warp; r += chunk::RECORDS) {
      barrier_wait(full + mine->at.slot * 8, mine->at.phase);
      const uint8_t *const here = ring + mine->at.slot * chunk::BYTES + warp * p.record_bytes;
      auto multiply = [&](int i) {
        at.codes = here + i * (GEMV_WARPS * p.record_bytes);
        at.x = (r + i * GEMV_WARPS) * x_of_record;
        F::multiply(total, at);
      };
      if (r + chunk::RECORDS - GEMV_WARPS < records) {
#pragma unroll
        for (int i = 0; i < chunk::TOGETHER; i++) multiply(i);
      } else {
#pragma unroll
        for (int i = 0; i + 1 < chunk::TOGETHER; i++)
          if (r + i * GEMV_WARPS < records) multiply(i);
      }
      __syncwarp();
      if (lane == 0) barrier_arrive(empty + mine->at.slot * 8);
      mine->at.next(p.depth);
    }
    const int place = mine->tiles % PERSIST_SUMS;
    barrier_wait(taken + place * 8, (mine->tiles / PERSIST_SUMS & 1) ^ 1);
    gemv_put_sums<F, 1>(a, sums + place * sums_of_tile, total, warp, lane);
    persist_summed(place);
    mine->tiles++;
  }
  persist_set_busy(&c->ring, 0);
}

/* -- the warp that finishes: a lane for each output of a tile */

static __device__ __forceinline__ void persist_fetch(const persist_args &p, persist_control *c, int stage, int lane) {
  if (stage >= p.stage_count) return;
  const uint4 *from = reinterpret_cast<const uint4 *>(p.stages + stage);
  uint4 *to = reinterpret_cast<uint4 *>(&c->stage[stage % PERSIST_STAGES]);
  for (int i = lane; i < (int)(sizeof(persist_stage) / sizeof(uint4)); i += STEP_WARP) to[i] = from[i];
}

/* What the warp keeps from stage to stage. */
struct persist_finisher {
  int tiles = 0;     /* finished */
  uint32_t exchange; /* number of the launch's first */
};

/* y of the tiles [first, end) is this GPU's part, and becomes the sum of all GPUs'. Each lane has its own outputs, of which it
 * looks for two at a time. */
static __device__ __forceinline__ void persist_add_parts(const step_exchange_group &g, const persist_stage &s,
                                                         uint32_t epoch, uint32_t number, int first, int end,
                                                         int lane) {
  const gemv_matrix &w = s.product.matrix[0];
  float *const y = static_cast<float *>(w.y);
  uint64_t *const words = static_cast<uint64_t *>(s.words[0]);
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
        part = make_float2(persist_value(a), persist_value(b));
      }
      sum = r == 0 ? part : make_float2(__fadd_rn(sum.x, part.x), __fadd_rn(sum.y, part.y));
    }
    own[0] = sum.x;
    persist_put(words + row * persist_row(w.n) + persist_float_at(n), sum.x, epoch);
    if (!other) continue;
    own[other] = sum.y;
    persist_put(words + row * persist_row(w.n) + persist_float_at(n + other), sum.y, epoch);
  }
}

/* Where an output of a tile goes: found before its sums are there. */
struct persist_result {
  gemv_output_place at;
  uint64_t *floats; /* or */
  uint32_t *halves;
  float *y;    /* where the stage keeps, else NULL */
  size_t part; /* its place in an exchange */

  __device__ __forceinline__ persist_result(const persist_stage &s, int tile, int lane)
      : at(gemv_find_output(s.product, tile, lane)), floats(NULL), halves(NULL), y(NULL), part(0) {
    if (at.matrix < 0) return;
    const bool half = s.product.output == GEMV_F16; /* of two matrices one result */
    const gemv_matrix &w = s.product.matrix[half ? 0 : at.matrix];
    const size_t row = at.m * persist_row(w.n);
    if (half) {
      halves = static_cast<uint32_t *>(s.words[0]) + row + persist_half_at(at.n);
    } else if (s.keeps) {
      floats = static_cast<uint64_t *>(s.words[0]) + row + persist_float_at(at.n);
      y = static_cast<float *>(w.y) + at.m * w.y_stride + at.n;
      part = at.m * (size_t)w.n + at.n;
    } else {
      floats = static_cast<uint64_t *>(s.words[at.matrix]) + at.m * w.y_stride + at.n;
    }
  }
  __device__ __forceinline__ void put(float v, uint32_t epoch, const step_exchange_group &g, uint32_t number) const {
    if (halves)
      persist_put(halves, v, epoch);
    else if (!y || g.ranks == 0)
      persist_put(floats, v, epoch);
    else
      exchange_send(g, number, part, v);
    if (y) *y = v;
  }
};

static __device__ __forceinline__ void persist_finish(const step_exchange_group &g, persist_control *c,
                                                      const persist_stage &s, uint32_t epoch, const float *sums,
                                                      persist_finisher *mine, int lane) {
  const gemv_args &a = s.product;
  const int first = gemv_first_tile(a, blockIdx.x), end = gemv_first_tile(a, blockIdx.x + 1);
  const int sums_of_tile = a.m * GEMV_TILE * GEMV_SUM_PAD;
  if (first >= end) return;
  const uint32_t number = mine->exchange + s.exchange;
  gemv_factors next = gemv_load_factors(a, first, lane); /* the residual: this lane wrote it, two products ago */
  const gemv_activation activation = a.activation;
  float gate = 0;
  for (int tile = first; tile < end; tile++) {
    const gemv_factors factors = next;
    if (tile + 1 < end) next = gemv_load_factors(a, tile + 1, lane);
    const int place = mine->tiles++ % PERSIST_SUMS;
    const persist_result to(s, tile, lane);
    persist_sum(place);
    if (to.at.matrix >= 0)
      gemv_finish(activation, factors, sums + place * sums_of_tile + lane * GEMV_SUM_PAD, to.at, &gate,
                  [&](int, int, int, float v) { to.put(v, epoch, g, number); });
    __syncwarp();
    if (lane == 0) barrier_arrive(shared_address(c->taken) + place * 8);
  }
  if (s.keeps && g.ranks) persist_add_parts(g, s, epoch, number, first, end, lane);
  if (lane == 0) add_relaxed(s.after.counter, 1);
}

static __device__ __forceinline__ void persist_finish_all(const persist_args &p, persist_control *c, uint32_t turn,
                                                          const float *sums, int lane) {
  persist_finisher mine;
  mine.exchange = p.peers.ranks ? *p.peers.base : 0;
  for (int i = 0; i < p.stage_count; i++) {
    const persist_stage &stage = c->stage[i % PERSIST_STAGES];
    if (!stage.attends) persist_finish(p.peers, c, stage, turn + stage.epoch, sums, &mine, lane);
    __syncwarp(); /* lanes without outputs must not write over the description that others still read */
    barrier_wait(shared_address(c->left) + i % PERSIST_STAGES * 8, i / PERSIST_STAGES & 1);
    persist_fetch(p, c, i + PERSIST_STAGES, lane);
    __syncwarp();
    if (lane == 0 && stage.attends) persist_read_held(&c->stage[i % PERSIST_STAGES].attention, &c->held);
    __syncwarp();
    if (lane == 0) barrier_arrive(shared_address(c->described) + i % PERSIST_STAGES * 8);
  }
}

/* -- the kernel. Dynamic shared memory: the ring, x or attention, sums of tiles, 16 zero bytes, control, runs */

static inline __host__ __device__ size_t persist_align(size_t bytes) { return (bytes + 15) & ~(size_t)15; }

template <class F>
__global__ void __launch_bounds__(PERSIST_THREADS, 1) persist_kernel(const __grid_constant__ persist_args p) {
#if __CUDA_ARCH__ >= 900 /* which has the copies and barriers */
  extern __shared__ __align__(128) uint8_t persist_memory[];
  const int warp = thread_index() / STEP_WARP, lane = thread_index() % STEP_WARP;
  uint8_t *const ring = persist_memory;
  uint8_t *const region = ring + p.depth * persist_chunk<F>::BYTES;
  float *const sums = reinterpret_cast<float *>(region + p.region);
  uint4 *const zeros = reinterpret_cast<uint4 *>(sums + PERSIST_SUMS * p.rows * GEMV_TILE * GEMV_SUM_PAD);
  persist_control *const control = reinterpret_cast<persist_control *>(zeros + 1);
  persist_run *const runs = reinterpret_cast<persist_run *>(control + 1);
  const uint64_t *const from = reinterpret_cast<const uint64_t *>(p.runs);
  for (int i = thread_index(); i < p.run_count * (int)(sizeof *runs / 8); i += PERSIST_THREADS)
    reinterpret_cast<uint64_t *>(runs)[i] = from[i];
  if (thread_index() == 0) {
    *zeros = make_uint4(0, 0, 0, 0);
    persist_ring_begin(&control->ring, p.depth);
    for (int i = 0; i < PERSIST_STAGES; i++) {
      barrier_init(shared_address(&control->described[i]), 1);
      barrier_init(shared_address(&control->left[i]), GEMV_WARPS);
    }
    for (int i = 0; i < PERSIST_SUMS; i++) barrier_init(shared_address(&control->taken[i]), 1);
    barrier_init_fence();
  }
  if (warp == GEMV_WARPS) {
    for (int i = 0; i < PERSIST_STAGES; i++) persist_fetch(p, control, i, lane);
    __syncwarp();
    for (int i = 0; i < PERSIST_STAGES; i++) {
      persist_stage *const s = &control->stage[i];
      if (i >= p.stage_count || !s->attends) continue;
      persist_hold(&control->held, s->attention, lane);
      __syncwarp();
      if (lane == 0) persist_read_held(&s->attention, &control->held);
    }
  }
  __syncthreads();
  const uint32_t turn = *p.turn * p.layers;
  if (warp >= GEMV_WARPS) {
    registers_release<56>();
    if (warp == GEMV_WARPS) persist_finish_all(p, control, turn, sums, lane);
    if (warp == GEMV_WARPS + 1 && lane == 0)
      persist_feed<F>({runs, p.run_count, p.record_bytes, p.depth, p.most_busy, p.most_waiting}, shared_address(ring),
                      &control->ring);
    return;
  }
  registers_take<224>();
  persist_warp mine;
  mine.patience = {nanoseconds() + p.patience_ns, p.failed, 0};
#pragma unroll 1
  for (int i = 0; i < p.stage_count; i++) {
    const int place = i % PERSIST_STAGES;
    const persist_stage &stage = control->stage[place];
    if (i >= PERSIST_STAGES) barrier_wait(shared_address(control->described) + place * 8, (i / PERSIST_STAGES & 1) ^ 1);
    if (stage.attends)
      persist_attend_any(stage.attention, p.lanes, p.group, region, p.rows, p.heads, turn + stage.epoch,
                         &mine.patience);
    else
      persist_multiply<F>(p, control, stage, turn, &mine, ring, region, sums, zeros);
    __syncwarp();
    if (lane == 0) barrier_arrive(shared_address(control->left) + place * 8);
  }
#endif
}

#endif
