/* step_tiles_wgmma.cu: attention of many rows over pages of F16 by sm_90a's tensor cores, heads of up to 128.
 *
 * A block stays on its multiprocessor and takes tiles of 128 query vectors (step_tiles.cuh), the heaviest first. One warpgroup
 * loads, two compute, each 64 of the vectors; positions come in blocks of two pages:
 *
 *   loads       wait empty ─► copy keys, values of a block (and whatever tile is next) ─► full
 *   computes    S = Q · Kᵀ of the next block and O += P · V of this one run while S of the next becomes P
 *
 *   positions   ┌ window ┬──────────── all see all ───────────┬ diagonal ┐
 *               │ masked │ one behind the other, as above     │ masked   │    masked: one by one
 *
 * Keys, values and queries lie in panels of 64 columns (tiles_panel_at). S, O and sums are FP32 in registers, P is FP16, which
 * is the tensor core's first operand as it stands.
 *
 * A position that no row of the tile sees is zero; one that some rows see may hold a NaN or an infinity, which a weight of 0
 * would not keep out. So the values of a masked block are looked through, and where one is not finite the warps multiply for
 * themselves (mma), with zeros in its place, and make NaN of what sees it.
 */
#include "backend/cuda/gemm_ptx.cuh"
#include "backend/cuda/gemm_wgmma.cuh"
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

/* -- the warpgroups that compute */

template <int DIM> struct wide_state {
  float most[2],
      sum[2]; /* of rows g and g + 8 of the warp's 16; most: of scores without scale; sum: of this lane's columns */
  float out[DIM / 2]; /* 4 for each 8 columns */
  float s[WIDE_POSITIONS / 2];
  uint32_t p[WIDE_POSITIONS / 4];
};

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

/* S = Q · Kᵀ begins. */
template <int DIM>
static __device__ __forceinline__ void wide_ask_scores(wide_state<DIM> *state, uint32_t queries, uint32_t keys) {
  const uint64_t q = matrix_descriptor<128>(queries), k = matrix_descriptor<128>(keys);
#pragma unroll
  for (int d = 0; d < DIM / 16; d++)
    wgmma_f16(state->s, along_k(q, d / 4 * WIDE_VECTORS * 128 + d % 4 * 32),
              along_k(k, d / 4 * (int)wide_memory<DIM>::PANEL + d % 4 * 32), d > 0);
  wgmma_commit();
}

/* O += P · V begins. */
template <int DIM> static __device__ __forceinline__ void wide_ask_values(wide_state<DIM> *state, uint32_t values) {
  const uint64_t v = turned_descriptor(values, wide_memory<DIM>::PANEL);
#pragma unroll
  for (int n = 0; n < WIDE_POSITIONS / 16; n++)
    wgmma_f16_turned(state->out, state->p[4 * n], state->p[4 * n + 1], state->p[4 * n + 2], state->p[4 * n + 3],
                     along_k(v, n * 16 * 128));
  wgmma_commit();
}

/* 2^v, zero below 2^-126. Volatile: else half of a block's powers wait for the product that they are to run beside. */
static __device__ __forceinline__ float power_of_2(float v) {
  float r;
  asm volatile("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
}

/* Scores to weights; shrink: what of the sums so far is left. */
template <int DIM>
static __device__ __forceinline__ void wide_weigh(wide_state<DIM> *state, float scale, float (&shrink)[2]) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float most = state->most[half];
#pragma unroll
    for (int n = 0; n < WIDE_POSITIONS / 2; n += 4)
      most = fmaxf(most, fmaxf(state->s[n + 2 * half], state->s[n + 2 * half + 1]));
    most = quad_most(most);
    const float base = most == -CUDART_INF_F ? 0 : most * scale;
    shrink[half] = power_of_2(fmaf(state->most[half], scale, -base));
    float sum = 0;
#pragma unroll
    for (int n = 0; n < WIDE_POSITIONS / 2; n += 4) {
      const float low = power_of_2(fmaf(state->s[n + 2 * half], scale, -base));
      const float high = power_of_2(fmaf(state->s[n + 2 * half + 1], scale, -base));
      state->s[n + 2 * half] = low;
      state->s[n + 2 * half + 1] = high;
      sum += low + high;
    }
    state->most[half] = most;
    state->sum[half] = fmaf(state->sum[half], shrink[half], sum);
  }
}

/* The sums so far shrink, and the weights take their places for the next product. */
template <int DIM>
static __device__ __forceinline__ void wide_settle(wide_state<DIM> *state, const float (&shrink)[2]) {
#pragma unroll
  for (int i = 0; i < DIM / 2; i++) state->out[i] *= shrink[i / 2 % 2];
#pragma unroll
  for (int i = 0; i < WIDE_POSITIONS / 4; i++) state->p[i] = half_pair(state->s[2 * i], state->s[2 * i + 1]);
}

/* -- masked blocks */

template <int DIM> static __device__ __forceinline__ bool wide_any_not_finite(const uint8_t *values, uint32_t group) {
  uint32_t found = 0;
#pragma unroll 4
  for (uint32_t i = threadIdx.x % WIDE_GROUP; i < wide_memory<DIM>::ITEM / 16; i += WIDE_GROUP) {
    const uint4 v = reinterpret_cast<const uint4 *>(values)[i];
    found |= not_finite(v.x) | not_finite(v.y) | not_finite(v.z) | not_finite(v.w);
  }
  return named_barrier_any(1 + group, WIDE_GROUP, found != 0);
}

/* Leaves what is finite; the others become ones in what is returned. */
static __device__ __forceinline__ uint32_t part_not_finite(uint32_t *pair) {
  const uint32_t wrong = (not_finite(*pair) >> 15) * 0xffffu;
  *pair &= ~wrong;
  return wrong & 0x3c003c00;
}

/* O += P · V by each warp for itself. A NaN or an infinity counts as zero, but what sees it becomes NaN. */
template <int DIM>
static __device__ __forceinline__ void wide_add_spoiled(wide_state<DIM> *state, const tiles_sight &sight,
                                                        uint32_t values) {
  const uint32_t lane = thread_index() % STEP_WARP, matrix = lane / 8, row = matrix % 2 * 8 + lane % 8;
  const int column = 2 * (int)(lane % 4);
  auto seen = [&](int half, int at) {
    return half_pair(sight.sees(half, at) ? 1.0f : 0.0f, sight.sees(half, at + 1) ? 1.0f : 0.0f);
  };
#pragma unroll
  for (int d = 0; d < DIM / 8; d += 2) {
    float sums[2][4], marks[2][4] = {};
#pragma unroll
    for (int i = 0; i < 8; i++) sums[i / 4][i % 4] = state->out[4 * d + i];
#pragma unroll
    for (int n = 0; n < WIDE_POSITIONS / 16; n++) {
      const uint32_t(&p)[WIDE_POSITIONS / 4] = state->p;
      const int at = 16 * n + column;
      uint4 v = load_matrices_turned(values + tiles_panel_at(WIDE_POSITIONS, 16 * n + row, d + matrix / 2));
      const uint4 w =
          make_uint4(part_not_finite(&v.x), part_not_finite(&v.y), part_not_finite(&v.z), part_not_finite(&v.w));
      const uint32_t s[4] = {seen(0, at), seen(1, at), seen(0, at + 8), seen(1, at + 8)};
      mma_f16(sums[0], p[4 * n], p[4 * n + 1], p[4 * n + 2], p[4 * n + 3], v.x, v.y);
      mma_f16(sums[1], p[4 * n], p[4 * n + 1], p[4 * n + 2], p[4 * n + 3], v.z, v.w);
      mma_f16(marks[0], s[0], s[1], s[2], s[3], w.x, w.y);
      mma_f16(marks[1], s[0], s[1], s[2], s[3], w.z, w.w);
    }
#pragma unroll
    for (int i = 0; i < 8; i++) state->out[4 * d + i] = marks[i / 4][i % 4] > 0 ? CUDART_NAN_F : sums[i / 4][i % 4];
  }
}

/* -- a tile */

template <int DIM> struct wide_computer {
  const tiles_args &a;
  uint8_t *shared;
  uint32_t group, queries;
  wide_ring<DIM> keys, values;

  __device__ wide_computer(const tiles_args &a_, uint8_t *shared_, uint32_t group_)
      : a(a_), shared(shared_), group(group_), queries(smem_offset(shared_) + group_ * wide_memory<DIM>::QUERIES),
        keys(smem_offset(shared_), WIDE_KEYS), values(smem_offset(shared_), WIDE_VALUES) {}

  __device__ __forceinline__ void scores(wide_state<DIM> *state) {
    keys.wait_full();
    wgmma_settle(state->s);
    wgmma_fence();
    wide_ask_scores(state, queries, keys.item());
  }
  __device__ __forceinline__ void add(wide_state<DIM> *state) {
    values.wait_full();
    wgmma_settle(state->p);
    wgmma_settle(state->out);
    wgmma_fence();
    wide_ask_values(state, values.item());
  }
  __device__ __forceinline__ void added(wide_state<DIM> *state) {
    wgmma_wait<0>();
    wgmma_settle(state->out);
    wgmma_settle(state->p);
    values.release();
  }

  /* count > 0 blocks that all vectors see whole. */
  __device__ __forceinline__ void whole(wide_state<DIM> *state, uint32_t count) {
    float shrink[2];
    scores(state);
    wgmma_wait<0>();
    wgmma_settle(state->s);
    keys.release();
    wide_weigh(state, a.scale, shrink);
    wide_settle(state, shrink);
    for (uint32_t i = 1; i < count; i++) {
      scores(state);
      add(state);
      wgmma_wait<1>();
      wgmma_settle(state->s);
      keys.release();
      wide_weigh(state, a.scale, shrink);
      added(state);
      wide_settle(state, shrink);
    }
    add(state);
    added(state);
  }

  __device__ __forceinline__ void masked(wide_state<DIM> *state, const tiles_place &place, uint32_t begin) {
    float shrink[2];
    scores(state);
    const tiles_sight sight =
        tiles_see(a, place, group * WIDE_VECTORS + thread_index() % WIDE_GROUP / STEP_WARP * 16, begin);
    const int column = 2 * (int)(thread_index() % 4);
    wgmma_wait<0>();
    wgmma_settle(state->s);
    keys.release();
#pragma unroll
    for (int i = 0; i < WIDE_POSITIONS / 2; i++)
      if (!sight.sees(i / 2 % 2, i / 4 * 8 + column + i % 2)) state->s[i] = -CUDART_INF_F;
    wide_weigh(state, a.scale, shrink);
    wide_settle(state, shrink);
    values.wait_full();
    if (wide_any_not_finite<DIM>(shared + (values.item() - smem_offset(shared)), group)) {
      wide_add_spoiled(state, sight, values.item());
      values.release();
      return;
    }
    add(state);
    added(state);
  }

  __device__ __forceinline__ void tile(const wide_work &w) {
    wide_state<DIM> state = {};
    state.most[0] = state.most[1] = -CUDART_INF_F;
    wide_take_queries<DIM>(a, w, group, shared + group * wide_memory<DIM>::QUERIES);
    async_proxy_fence();
    named_barrier_sync(1 + group, WIDE_GROUP);
    for (uint32_t i = 0; i < w.blocks; i++) {
      if (w.count && i == w.first) {
        whole(&state, w.count);
        i += w.count - 1;
      } else {
        masked(&state, w.place, w.begin + i * WIDE_POSITIONS);
      }
    }
    tiles_store<DIM>(a, w.place, w.kv_head, group * WIDE_VECTORS + threadIdx.x % WIDE_GROUP / STEP_WARP * 16, state.sum,
                     [&](int d, int i) { return state.out[4 * d + i]; });
    named_barrier_sync(1 + group, WIDE_GROUP); /* nobody reads the queries any more */
  }
};

/* -- the kernel */

template <int DIM> static __device__ void wide_init(uint32_t base) {
  for (uint32_t part = 0; part < 2; part++) {
    wide_ring<DIM> ring(base, (wide_part)part);
    for (uint32_t i = 0; i < WIDE_STAGES; i++, ring.advance()) {
      barrier_init(ring.full(), WIDE_GROUP);
      barrier_init(ring.empty(), WIDE_WARPS);
    }
  }
  barrier_init_fence();
}

template <int DIM> static __global__ void __launch_bounds__(WIDE_THREADS, 1) wide_kernel(const tiles_args a) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) uint8_t wide_shared[];
  const uint32_t base = smem_offset(wide_shared);
  wide_work w;
  step_begin_kernel();
  if (threadIdx.x == 0) wide_init<DIM>(base);
  __syncthreads();
  if (threadIdx.x < WIDE_GROUP) {
    registers_release<WIDE_LOADER_REGISTERS>();
    wide_loader<DIM> loader(base);
    for (uint32_t turn = 0; wide_find(a, turn, &w); turn++)
      if (w.blocks) loader.tile(a, w);
    loader.tell_rest();
  } else {
    registers_take<WIDE_COMPUTER_REGISTERS>();
    wide_computer<DIM> computer(a, wide_shared, threadIdx.x / WIDE_GROUP - 1);
    for (uint32_t turn = 0; wide_find(a, turn, &w); turn++)
      if (w.blocks) computer.tile(w);
  }
#endif
}

tiles_choice tiles_of_warpgroups(size_t dim) {
  if (dim <= 64) return {wide_kernel<64>, (int)wide_memory<64>::BYTES, WIDE_THREADS};
  return {wide_kernel<128>, (int)wide_memory<128>::BYTES, WIDE_THREADS};
}
