/* step_wide_load.cuh: what step_tiles_wgmma.cu's warpgroups work on, and how it comes to shared memory: which tile and which of
 * its blocks of positions, the ring of keys and values, the warpgroup that loads them, a tile's queries.
 */
#ifndef CUDA_STEP_WIDE_LOAD_CUH
#define CUDA_STEP_WIDE_LOAD_CUH

#include "backend/cuda/gemm_ptx.cuh"
#include "backend/cuda/step_tiles.cuh"

#define WIDE_THREADS            384
#define WIDE_GROUP              128 /* threads of a warpgroup */
#define WIDE_VECTORS            64  /* of a warpgroup */
#define WIDE_POSITIONS          128 /* of a block */
#define WIDE_PAGES              (WIDE_POSITIONS / KV_PAGE)
#define WIDE_STAGES             3
#define WIDE_BEHIND             2 /* items that are on their way while the next one is asked for */
#define WIDE_LOADER_REGISTERS   40
#define WIDE_COMPUTER_REGISTERS 232
#define WIDE_WARPS              8 /* that compute */

template <int DIM> struct wide_memory {
  static constexpr uint32_t PANEL = WIDE_POSITIONS * 128;
  static constexpr uint32_t ITEM = WIDE_POSITIONS * DIM * (uint32_t)sizeof(__half); /* keys or values of a block */
  static constexpr uint32_t QUERIES = WIDE_VECTORS * DIM * (uint32_t)sizeof(__half);
  static constexpr uint32_t ITEMS_AT = 2 * QUERIES;
  static constexpr uint32_t BARRIERS_AT = ITEMS_AT + 2 * WIDE_STAGES * ITEM;
  static constexpr uint32_t BYTES = BARRIERS_AT + 4 * WIDE_STAGES * 8;
};

enum wide_part { WIDE_KEYS = 0, WIDE_VALUES = 1 };

/* A place in the ring of keys or in that of values. */
template <int DIM> struct wide_ring {
  typedef wide_memory<DIM> memory;
  uint32_t base, part, stage, phase;

  __device__ wide_ring(uint32_t base_, wide_part part_) : base(base_), part(part_), stage(0), phase(0) {}
  __device__ uint32_t full() const { return base + memory::BARRIERS_AT + (part * WIDE_STAGES + stage) * 8; }
  __device__ uint32_t empty() const { return full() + 2 * WIDE_STAGES * 8; }
  __device__ uint32_t item() const { return base + memory::ITEMS_AT + (2 * stage + part) * memory::ITEM; }
  __device__ void wait_full() const { barrier_wait(full(), phase); }
  __device__ void wait_empty() const { barrier_wait(empty(), phase ^ 1); }
  __device__ void advance() {
    if (++stage == WIDE_STAGES) {
      stage = 0;
      phase ^= 1;
    }
  }
  /* A warp is done with the item. */
  __device__ void release() {
    if (thread_index() % STEP_WARP == 0) barrier_arrive(empty());
    advance();
  }
};

/* -- tiles and their blocks */

struct wide_work {
  tiles_place place;
  uint32_t kv_head;
  uint32_t low, high;    /* positions of the tile's first and last row */
  uint32_t begin;        /* the first block's position */
  uint32_t first, count; /* blocks that all see whole: [first, first + count) of them */
  uint32_t blocks;
};

/* This block's tile of a turn; false: there is none, nor in later turns. */
static __device__ bool wide_find(const tiles_args &a, uint32_t turn, wide_work *w) {
  const uint32_t number = tiles_dealt(blockIdx.x, gridDim.x, turn);
  if (turn * gridDim.x >= a.tiles) return false;
  w->kv_head = number % a.kv_heads;
  w->blocks = 0;
  if (!tiles_find(a, number / a.kv_heads, &w->place)) return true; /* a span's last tile that is not there */
  w->low = w->place.span.position + w->place.first / a.group;
  w->high = w->place.span.position + (w->place.first + w->place.count - 1) / a.group;
  const uint32_t begin = first_seen(a, w->low) / KV_PAGE * KV_PAGE;
  const uint32_t whole = (first_seen(a, w->high) - begin + WIDE_POSITIONS - 1) / WIDE_POSITIONS;
  const uint32_t masked = (w->low + 1 - begin) / WIDE_POSITIONS; /* the first that is, at the diagonal */
  w->begin = begin;
  w->blocks = (w->high - begin) / WIDE_POSITIONS + 1;
  w->first = min(whole, w->blocks);
  w->count = masked > w->first ? masked - w->first : 0;
  return true;
}

/* -- the warpgroup that loads */

/* A thread copies one piece of rows ROWS apart. An item is told of when WIDE_BEHIND more are on their way. */
template <int DIM> struct wide_loader {
  static constexpr uint32_t IN_ROW = DIM / TILES_PIECE, ROWS = WIDE_GROUP / IN_ROW;
  static_assert(ROWS % 8 == 0, "a thread's pieces have one place in all its rows");
  wide_ring<DIM> rings[2];
  uint32_t told[WIDE_BEHIND]; /* barriers of the items that are not told of, the oldest first; 0: none */
  uint32_t row, piece;

  __device__ explicit wide_loader(uint32_t base)
      : rings{wide_ring<DIM>(base, WIDE_KEYS), wide_ring<DIM>(base, WIDE_VALUES)}, told{}, row(threadIdx.x / IN_ROW),
        piece(threadIdx.x % IN_ROW) {}

  /* Of the oldest, when at most RUNNING items behind it may still be on their way. next: the one that is asked for. */
  template <int RUNNING> __device__ void tell(uint32_t next) {
    copy_async_wait<RUNNING>();
    async_proxy_fence();
    if (told[0]) barrier_arrive(told[0]);
#pragma unroll
    for (int i = 0; i + 1 < WIDE_BEHIND; i++) told[i] = told[i + 1];
    told[WIDE_BEHIND - 1] = next;
  }
  __device__ void tell_rest() {
    for (int i = 0; i < WIDE_BEHIND; i++) tell<0>(0);
  }

  /* seen: positions of the block that there are. */
  template <wide_part PART>
  __device__ void item(const tiles_args &a, const char *const (&pages)[WIDE_PAGES], size_t at, uint32_t seen) {
    wide_ring<DIM> &ring = rings[PART];
    const bool there = piece * TILES_PIECE < a.dim;
    uint32_t to = ring.item() + tiles_panel_at(WIDE_POSITIONS, row, piece);
    ring.wait_empty();
#pragma unroll
    for (uint32_t p = 0; p < WIDE_PAGES; p++) {
      const char *const page = pages[p] + at;
      const char *from = page + (row * (size_t)a.dim + piece * TILES_PIECE) * sizeof(__half);
#pragma unroll 4
      for (uint32_t r = 0; r < KV_PAGE; r += ROWS) {
        const uint32_t bytes = there && p * KV_PAGE + r + row < seen ? 16 : 0;
        copy_async_part(to, bytes ? from : page, bytes);
        from += ROWS * (size_t)a.dim * sizeof(__half);
        to += ROWS * 128;
      }
    }
    copy_async_commit();
    tell<WIDE_BEHIND>(ring.full());
    ring.advance();
  }

  /* The tile's queries to L2: those that compute them have not got so far. */
  __device__ void queries(const tiles_args &a, const wide_work &w) {
    constexpr uint32_t LINE = 128 / sizeof(float);
    const uint32_t lines = (a.dim + LINE - 1) / LINE;
    for (uint32_t i = thread_index(); i < w.place.count * lines; i += WIDE_GROUP) {
      const uint32_t query = w.place.first + i / lines;
      prefetch_line(a.q + (w.place.span.first_row + query / a.group) * a.q_stride +
                    (w.kv_head * a.group + query % a.group) * (size_t)a.dim + i % lines * LINE);
    }
  }

  __device__ void tile(const tiles_args &a, const wide_work &w) {
    const uint32_t last = w.high / KV_PAGE;
    uint32_t page = w.begin / KV_PAGE;
    void *const *const pages = a.pages + w.place.span.first_page;
    const char *next[WIDE_PAGES], *now[WIDE_PAGES];
    auto ask = [&](uint32_t from) {
#pragma unroll
      for (uint32_t p = 0; p < WIDE_PAGES; p++)
        next[p] = static_cast<const char *>(pages[min(from + p, last)]) + a.layer_at + w.kv_head * a.head_bytes;
    };
    queries(a, w);
    ask(page);
    for (uint32_t i = 0; i < w.blocks; i++, page += WIDE_PAGES) {
      const uint32_t seen = w.high + 1 - page * KV_PAGE;
#pragma unroll
      for (uint32_t p = 0; p < WIDE_PAGES; p++) now[p] = next[p];
      ask(page + WIDE_PAGES);
      item<WIDE_KEYS>(a, now, 0, seen);
      item<WIDE_VALUES>(a, now, a.values_at, seen);
    }
  }
};

/* -- queries of a warpgroup */

/* A piece of a query, turned. at: the first of its dimensions. */
static __device__ __forceinline__ void wide_turn(const tiles_args &a, uint32_t row, const float *query, uint32_t at,
                                                 float4 (&v)[2]) {
  const uint32_t half = a.rotary / 2, pair = at < half ? at : at - half;
  if (at >= a.rotary) return;
  const float *const cosines = a.cos_sin + row * (size_t)a.rotary + pair;
#pragma unroll
  for (uint32_t i = 0; i < 2; i++) {
    const float4 other = *reinterpret_cast<const float4 *>(query + (at < half ? at + half : pair) + 4 * i);
    const float4 c = *reinterpret_cast<const float4 *>(cosines + 4 * i);
    float4 s = *reinterpret_cast<const float4 *>(cosines + half + 4 * i);
    if (at < half) s = make_float4(-s.x, -s.y, -s.z, -s.w);
    v[i] = make_float4(__fadd_rn(__fmul_rn(v[i].x, c.x), __fmul_rn(other.x, s.x)),
                       __fadd_rn(__fmul_rn(v[i].y, c.y), __fmul_rn(other.y, s.y)),
                       __fadd_rn(__fmul_rn(v[i].z, c.z), __fmul_rn(other.z, s.z)),
                       __fadd_rn(__fmul_rn(v[i].w, c.w), __fmul_rn(other.w, s.w)));
  }
}

/* The warpgroup's queries as FP16; what is not there is 0. */
template <int DIM>
static __device__ void wide_take_queries(const tiles_args &a, const wide_work &w, uint32_t group, uint8_t *to) {
  constexpr uint32_t IN_ROW = DIM / TILES_PIECE;
#pragma unroll 4
  for (uint32_t i = threadIdx.x % WIDE_GROUP; i < WIDE_VECTORS * IN_ROW; i += WIDE_GROUP) {
    const uint32_t m = i / IN_ROW, piece = i % IN_ROW, own = group * WIDE_VECTORS + m, query = w.place.first + own;
    uint4 v = make_uint4(0, 0, 0, 0);
    if (own < w.place.count && piece * TILES_PIECE < a.dim) {
      const uint32_t row = w.place.span.first_row + query / a.group, at = piece * TILES_PIECE;
      const float *from = a.q + row * a.q_stride + (w.kv_head * a.group + query % a.group) * (size_t)a.dim;
      const bool vector = (size_t)(from + at) % 16 == 0;
      float4 quads[2] = {load_quad(from + at, 0, TILES_PIECE, vector), load_quad(from + at, 4, TILES_PIECE, vector)};
      if (a.cos_sin) wide_turn(a, row, from, at, quads);
      const uint2 low = to_half_quad(quads[0]), high = to_half_quad(quads[1]);
      v = make_uint4(low.x, low.y, high.x, high.y);
    }
    store_shared(to, tiles_panel_at(WIDE_VECTORS, m, piece), v);
  }
}

#endif
