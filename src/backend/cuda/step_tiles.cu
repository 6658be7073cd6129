/* step_tiles.cu: attention of many rows over pages, by tensor cores.
 *
 * A block has 128 query vectors of one kv head, those of a row's q heads side by side, and takes their positions page
 * by page:
 *
 *   queries   vector m = head m % group of row m / group        warp w has 16 of them, or 32
 *
 *             page 0 (64 positions)   page 1        page 2 …
 *   warp 0  ┌─────────────────────┬─────────────┬──────
 *   warp 1  │ all visible         │ masked      │ not visited       S = Q · Kᵀ, P = 2^(S − max), O = O · shrink + P · V
 *   …       │                     │             │
 *
 * Q, K and V are FP16 in shared memory (two pages, the next one on its way), scores, their sums and O FP32 in
 * registers. A position that no row of the tile sees is zero there; one that only some rows see may hold a NaN or an
 * infinity, which a weight of 0 would not keep out: then the page takes a second product, of who sees whom with what
 * is not finite.
 */
#include "backend/cuda/step_attend.cuh"
#include "backend/cuda/step_cluster.h"
#include "backend/cuda/step_tiles.cuh"
#include "backend/cuda/step_turn.cuh"

#define TILES_BLOCKS (KV_PAGE / 8) /* of 8 positions */

/* How the queries are shared out. A warp with two sixteens of them multiplies each piece of a key or value that it reads from
 * shared memory twice; that takes registers which longer heads, and codes on their way to shared memory, do not leave. */
template <kv_type TYPE, int DIM> struct tiles_shape {
  static constexpr int SIXTEENS = TYPE == KV_F16 && DIM <= 128 ? 2 : 1; /* of a warp */
  static constexpr int THREADS = TILES_QUERIES / (16 * SIXTEENS) * STEP_WARP;
  /* Blocks that a multiprocessor is to hold: as many as have registers. */
  static constexpr int RESIDENT = DIM <= (TYPE == KV_F16 ? 128 : 64) ? 2 : 1;
};

/* -- shared memory: rows of DIM FP16 in pieces of 16 bytes, piece p of row r at place p ^ r % 8, so that neither 8
 * rows of a piece nor the pieces of a row fall on one bank */

template <int DIM> static __device__ __forceinline__ uint32_t tiles_at(uint32_t row, uint32_t piece) {
  return (row * (DIM / TILES_PIECE) + (piece ^ row % 8)) * 16;
}

/* Where a lane reads its row of four matrices: the exchange of pieces is one exclusive or, the same for all rows 8 apart. */
template <int DIM> struct tiles_reader {
  uint32_t row, piece;

  __device__ tiles_reader(uint32_t matrix, uint32_t row_, uint32_t piece_)
      : row(matrix + row_ * (DIM * (uint32_t)sizeof(__half))), piece((piece_ ^ row_ % 8) * 16) {}
  /* `rows` (a multiple of 8) further down, `pieces` (even) further along */
  __device__ uint32_t at(uint32_t rows, uint32_t pieces) const {
    return row + rows * (DIM * (uint32_t)sizeof(__half)) + (piece ^ pieces * 16);
  }
};

template <int DIM> struct tiles_memory {
  static constexpr int PAGE = KV_PAGE * DIM * (int)sizeof(__half);
  static constexpr int QUERIES = TILES_QUERIES * DIM * (int)sizeof(__half);
  static constexpr int SCALES = KV_PAGE * (int)sizeof(float);
  static constexpr int STAGE = 2 * PAGE + SCALES; /* keys, values, the keys' scales */
  static constexpr int BYTES = QUERIES + 2 * STAGE;
};

/* The tile's queries as FP16; what is not there is 0. */
template <int DIM>
static __device__ void tiles_take_queries(const tiles_args &a, const tiles_place &p, uint32_t kv_head, uint8_t *to) {
  for (uint32_t i = threadIdx.x; i < TILES_QUERIES * (DIM / TILES_PIECE); i += blockDim.x) {
    const uint32_t m = i / (DIM / TILES_PIECE), piece = i % (DIM / TILES_PIECE), query = p.first + m;
    uint4 v = make_uint4(0, 0, 0, 0);
    if (m < p.count && piece * TILES_PIECE < a.dim) {
      const float *from = a.q + (p.span.first_row + query / a.group) * a.q_stride +
                          (kv_head * a.group + query % a.group) * (size_t)a.dim + piece * TILES_PIECE;
      const bool vector = (size_t)from % 16 == 0;
      const uint2 low = to_half_quad(load_quad(from, 0, TILES_PIECE, vector));
      const uint2 high = to_half_quad(load_quad(from, 4, TILES_PIECE, vector));
      v = make_uint4(low.x, low.y, high.x, high.y);
    }
    store_shared(to, tiles_at<DIM>(m, piece), v);
  }
}

/* -- pages into shared memory: begun early, finished when they are needed. count: positions that are; the rest becomes
 * 0 */

template <kv_type TYPE, int DIM> struct tiles_page;

template <int DIM> struct tiles_page<KV_F16, DIM> {
  static constexpr uint32_t IN_ROW = DIM / TILES_PIECE, ROWS = tiles_shape<KV_F16, DIM>::THREADS / IN_ROW; /* at once */
  static_assert(ROWS % 8 == 0, "a thread's pieces have one place in all its rows");

  /* A thread's pieces are the same ones of rows ROWS apart. */
  __device__ void begin(const tiles_args &a, const char *page, uint32_t kv_head, uint32_t count, uint8_t *to) {
    const uint32_t thread = thread_index(), row = thread / IN_ROW, piece = thread % IN_ROW;
    const bool there = piece * TILES_PIECE < a.dim;
    const char *const keys = page + kv_head * a.head_bytes;
    const char *from = keys + (row * (size_t)a.dim + piece * TILES_PIECE) * sizeof(__half);
    uint32_t at = shared_address(to) + tiles_at<DIM>(row, piece);
#pragma unroll 2
    for (uint32_t first = 0; first < KV_PAGE; first += ROWS) {
      const uint32_t bytes = there && first + row < count ? 16 : 0;
      copy_async_part(at, bytes ? from : keys, bytes);
      copy_async_part(at + tiles_memory<DIM>::PAGE, (bytes ? from : keys) + a.values_at, bytes);
      from += ROWS * (size_t)a.dim * sizeof(__half);
      at += ROWS * DIM * (uint32_t)sizeof(__half);
    }
    copy_async_commit();
  }
  __device__ void finish(uint8_t *) { copy_async_wait<0>(); }
};

/* Codes go through registers: keys become FP16 as they are, their scales wait for the scores; values take theirs. */
template <int DIM> struct tiles_page<KV_FP8, DIM> {
  static constexpr uint32_t THREADS = tiles_shape<KV_FP8, DIM>::THREADS;
  static constexpr uint32_t PIECES = KV_PAGE * DIM / TILES_PIECE / THREADS; /* of a thread */
  uint2 keys[PIECES], values[PIECES];
  __half value_scales[PIECES];
  float key_scale;

  __device__ static uint32_t row(uint32_t i) { return (threadIdx.x + i * THREADS) / (DIM / TILES_PIECE); }
  __device__ static uint32_t piece(uint32_t i) { return (threadIdx.x + i * THREADS) % (DIM / TILES_PIECE); }

  __device__ void begin(const tiles_args &a, const char *page, uint32_t kv_head, uint32_t count, uint8_t *) {
    const char *codes = page + kv_head * a.head_bytes;
    const __half *key_scales = reinterpret_cast<const __half *>(page + a.key_scales_at) + kv_head * KV_PAGE;
    const __half *scales = reinterpret_cast<const __half *>(page + a.value_scales_at) + kv_head * KV_PAGE;
#pragma unroll
    for (uint32_t i = 0; i < PIECES; i++) {
      const bool there = row(i) < count && piece(i) * TILES_PIECE < a.dim;
      const char *from = codes + row(i) * (size_t)a.dim + piece(i) * TILES_PIECE;
      keys[i] = there ? *reinterpret_cast<const uint2 *>(from) : make_uint2(0, 0);
      values[i] = there ? *reinterpret_cast<const uint2 *>(from + a.values_at) : make_uint2(0, 0);
      value_scales[i] = there ? scales[row(i)] : __ushort_as_half(0);
    }
    key_scale = threadIdx.x < count ? __half2float(key_scales[threadIdx.x % KV_PAGE]) : 0;
  }
  __device__ static uint4 widened(uint2 codes) {
    uint4 v;
    e4m3_to_half2(codes.x, &v.x, &v.y);
    e4m3_to_half2(codes.y, &v.z, &v.w);
    return v;
  }
  __device__ static uint32_t scaled(uint32_t pair, float scale) {
    const float2 v = __half22float2(*reinterpret_cast<const __half2 *>(&pair));
    const __half2 product = __floats2half2_rn(v.x * scale, v.y * scale);
    return *reinterpret_cast<const uint32_t *>(&product);
  }
  __device__ void finish(uint8_t *to) {
#pragma unroll
    for (uint32_t i = 0; i < PIECES; i++) {
      const uint32_t at = tiles_at<DIM>(row(i), piece(i));
      const uint4 v = widened(values[i]);
      const float scale = __half2float(value_scales[i]);
      store_shared(to, at, widened(keys[i]));
      store_shared(to + tiles_memory<DIM>::PAGE, at,
                   make_uint4(scaled(v.x, scale), scaled(v.y, scale), scaled(v.z, scale), scaled(v.w, scale)));
    }
    if (threadIdx.x < KV_PAGE) reinterpret_cast<float *>(to + 2 * tiles_memory<DIM>::PAGE)[threadIdx.x] = key_scale;
  }
};

/* -- 16 queries of a warp. Lane 4 g + t has rows g and g + 8 of the 16, of each 8 columns the columns 2 t and 2 t + 1 */

template <int DIM> struct tiles_state {
  float most[2], sum[2]; /* of rows g and g + 8; sum: of this lane's columns */
  float out[DIM / 8][4];
};

/* S = Q · Kᵀ. queries: of this warp; keys: shared addresses. */
template <int DIM, int SIXTEENS>
static __device__ __forceinline__ void tiles_scores(float (&s)[SIXTEENS][TILES_BLOCKS][4], uint32_t queries,
                                                    uint32_t keys) {
  const uint32_t lane = thread_index() % STEP_WARP, matrix = lane / 8, row = lane % 8;
  const tiles_reader<DIM> of_q(queries, matrix % 2 * 8 + row, matrix / 2), of_k(keys, matrix / 2 * 8 + row, matrix % 2);
#pragma unroll
  for (int t = 0; t < SIXTEENS; t++)
#pragma unroll
    for (int n = 0; n < TILES_BLOCKS; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) s[t][n][i] = 0;
#pragma unroll
  for (uint32_t d = 0; d < DIM / 16; d++) {
    uint4 q[SIXTEENS];
#pragma unroll
    for (uint32_t t = 0; t < SIXTEENS; t++) q[t] = load_matrices(of_q.at(16 * t, 2 * d));
#pragma unroll
    for (uint32_t n = 0; n < TILES_BLOCKS; n += 2) {
      const uint4 k = load_matrices(of_k.at(8 * n, 2 * d));
#pragma unroll
      for (uint32_t t = 0; t < SIXTEENS; t++) {
        mma_f16(s[t][n], q[t].x, q[t].y, q[t].z, q[t].w, k.x, k.y);
        mma_f16(s[t][n + 1], q[t].x, q[t].y, q[t].z, q[t].w, k.z, k.w);
      }
    }
  }
}

/* Where a lane reads values from. */
template <int DIM> static __device__ __forceinline__ tiles_reader<DIM> tiles_values_of(uint32_t values) {
  const uint32_t lane = thread_index() % STEP_WARP, matrix = lane / 8;
  return tiles_reader<DIM>(values, matrix % 2 * 8 + lane % 8, matrix / 2);
}

/* c += P · V for one pair of 8 columns each. add(n, v): multiplies positions 8 n to 8 n + 15 of the values. */
template <int DIM, class Add>
static __device__ __forceinline__ void tiles_values(const tiles_reader<DIM> &values, uint32_t columns, Add add) {
#pragma unroll
  for (uint32_t n = 0; n < TILES_BLOCKS; n += 2) add(n, load_matrices_turned(values.at(8 * n, columns)));
}

static __device__ __forceinline__ void tiles_add(float (&low)[4], float (&high)[4], uint4 p, uint4 v) {
  mma_f16(low, p.x, p.y, p.z, p.w, v.x, v.y);
  mma_f16(high, p.x, p.y, p.z, p.w, v.z, v.w);
}

/* Scores to weights; what was added up so far shrinks when a larger score appears. */
template <int DIM>
static __device__ __forceinline__ void tiles_weigh(tiles_state<DIM> *state, float (&s)[TILES_BLOCKS][4]) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float most = -CUDART_INF_F;
#pragma unroll
    for (int n = 0; n < TILES_BLOCKS; n++) most = fmaxf(most, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    most = fmaxf(state->most[half], quad_most(most));
    const float base = most == -CUDART_INF_F ? 0 : most, shrink = exp2f(state->most[half] - base);
    float sum = 0;
#pragma unroll
    for (int n = 0; n < TILES_BLOCKS; n++) {
      s[n][2 * half] = exp2f(s[n][2 * half] - base);
      s[n][2 * half + 1] = exp2f(s[n][2 * half + 1] - base);
      sum += s[n][2 * half] + s[n][2 * half + 1];
    }
    state->most[half] = most;
    state->sum[half] = fmaf(state->sum[half], shrink, sum);
#pragma unroll
    for (int d = 0; d < DIM / 8; d++) {
      state->out[d][2 * half] *= shrink;
      state->out[d][2 * half + 1] *= shrink;
    }
  }
}

/* -- values that are not finite, on a page that not all rows see whole */

template <int DIM> static __device__ bool tiles_any_not_finite(const uint8_t *values) {
  uint32_t found = 0;
  for (uint32_t i = threadIdx.x; i < tiles_memory<DIM>::PAGE / 16; i += blockDim.x) {
    const uint4 v = reinterpret_cast<const uint4 *>(values)[i];
    found |= not_finite(v.x) | not_finite(v.y) | not_finite(v.z) | not_finite(v.w);
  }
  return __syncthreads_or(found != 0) != 0;
}

/* Moves them from the values to the place of the keys, which are done with, as ones among zeros. */
template <int DIM> static __device__ void tiles_part_not_finite(uint8_t *keys, uint8_t *values) {
  for (uint32_t i = threadIdx.x; i < tiles_memory<DIM>::PAGE / 4; i += blockDim.x) {
    uint32_t *const pair = reinterpret_cast<uint32_t *>(values) + i;
    const uint32_t ends = not_finite(*pair), wrong = (ends >> 15) * 0xffffu; /* all bits of such a half */
    reinterpret_cast<uint32_t *>(keys)[i] = wrong & 0x3c003c00;
    *pair &= ~wrong;
  }
  __syncthreads();
}

/* What sees one of them becomes NaN. */
template <int DIM>
static __device__ void tiles_spoil(tiles_state<DIM> *state, const tiles_sight &sight, uint32_t marks) {
  const int column = 2 * (int)(threadIdx.x % 4);
  auto seen = [&](uint32_t n) {
    const int p = 8 * (int)n + column;
    auto pair = [&](int half, int at) {
      return half_pair(sight.sees(half, at) ? 1.0f : 0.0f, sight.sees(half, at + 1) ? 1.0f : 0.0f);
    };
    return make_uint4(pair(0, p), pair(1, p), pair(0, p + 8), pair(1, p + 8));
  };
  const tiles_reader<DIM> of = tiles_values_of<DIM>(marks);
#pragma unroll
  for (int d = 0; d < DIM / 8; d += 2) {
    float low[4] = {0, 0, 0, 0}, high[4] = {0, 0, 0, 0};
    tiles_values<DIM>(of, (uint32_t)d, [&](uint32_t n, uint4 v) { tiles_add(low, high, seen(n), v); });
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (low[i] > 0) state->out[d][i] = CUDART_NAN_F;
      if (high[i] > 0) state->out[d + 1][i] = CUDART_NAN_F;
    }
  }
}

/* -- one page */

/* Of a page that begins at position `begin`; made anew for each page that needs it, as registers are scarce. */
template <int SIXTEENS>
static __device__ __forceinline__ void tiles_sights(const tiles_args &a, const tiles_place &p, uint32_t begin,
                                                    tiles_sight (&sight)[SIXTEENS]) {
  const uint32_t own = thread_index() / STEP_WARP * (16 * SIXTEENS);
#pragma unroll
  for (int t = 0; t < SIXTEENS; t++) sight[t] = tiles_see(a, p, own + 16 * t, begin);
}

/* Marks what the rows do not see, and finds out whether something of it is not finite. */
template <int DIM, int SIXTEENS>
static __device__ bool tiles_mask(float (&s)[SIXTEENS][TILES_BLOCKS][4], const tiles_sight (&sight)[SIXTEENS],
                                  uint8_t *keys, uint8_t *values) {
  const int column = 2 * (int)(threadIdx.x % 4);
#pragma unroll
  for (int t = 0; t < SIXTEENS; t++)
#pragma unroll
    for (int n = 0; n < TILES_BLOCKS; n++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (!sight[t].sees(i / 2, 8 * n + column + (i & 1))) s[t][n][i] = -CUDART_INF_F;
  const bool spoiled = tiles_any_not_finite<DIM>(values);
  if (spoiled) tiles_part_not_finite<DIM>(keys, values);
  return spoiled;
}

template <kv_type TYPE, int DIM, int SIXTEENS>
static __device__ __forceinline__ void tiles_attend(const tiles_args &a, tiles_state<DIM> (&state)[SIXTEENS],
                                                    const tiles_place &place, uint32_t begin, bool masked,
                                                    uint32_t queries, uint8_t *stage) {
  const int column = 2 * (int)(threadIdx.x % 4);
  uint8_t *const values = stage + tiles_memory<DIM>::PAGE;
  const float *const scales = reinterpret_cast<const float *>(values + tiles_memory<DIM>::PAGE);
  float s[SIXTEENS][TILES_BLOCKS][4];
  tiles_scores<DIM, SIXTEENS>(s, queries, shared_address(stage));
#pragma unroll
  for (int t = 0; t < SIXTEENS; t++)
#pragma unroll
    for (int n = 0; n < TILES_BLOCKS; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) s[t][n][i] *= TYPE == KV_FP8 ? a.scale * scales[8 * n + column + (i & 1)] : a.scale;
  bool spoiled = false;
  if (masked) { /* the same for all threads */
    tiles_sight sight[SIXTEENS];
    tiles_sights<SIXTEENS>(a, place, begin, sight);
    spoiled = tiles_mask<DIM, SIXTEENS>(s, sight, stage, values);
  }
  uint32_t p[SIXTEENS][TILES_BLOCKS][2];
#pragma unroll
  for (int t = 0; t < SIXTEENS; t++) {
    tiles_weigh(&state[t], s[t]);
#pragma unroll
    for (int n = 0; n < TILES_BLOCKS; n++) {
      p[t][n][0] = half_pair(s[t][n][0], s[t][n][1]);
      p[t][n][1] = half_pair(s[t][n][2], s[t][n][3]);
    }
  }
  const tiles_reader<DIM> of_v = tiles_values_of<DIM>(shared_address(values));
#pragma unroll
  for (int d = 0; d < DIM / 8; d += 2)
    tiles_values<DIM>(of_v, (uint32_t)d, [&](uint32_t n, uint4 v) {
#pragma unroll
      for (int t = 0; t < SIXTEENS; t++)
        tiles_add(state[t].out[d], state[t].out[d + 1],
                  make_uint4(p[t][n][0], p[t][n][1], p[t][n + 1][0], p[t][n + 1][1]), v);
    });
  if (!spoiled) return;
  tiles_sight sight[SIXTEENS];
  tiles_sights<SIXTEENS>(a, place, begin, sight);
#pragma unroll
  for (int t = 0; t < SIXTEENS; t++) tiles_spoil(&state[t], sight[t], shared_address(stage));
}

/* -- the tile */

template <kv_type TYPE, int DIM>
static __global__ void __launch_bounds__(tiles_shape<TYPE, DIM>::THREADS, tiles_shape<TYPE, DIM>::RESIDENT)
    tiles_kernel(const tiles_args a) {
  typedef tiles_memory<DIM> memory;
  constexpr int SIXTEENS = tiles_shape<TYPE, DIM>::SIXTEENS;
  extern __shared__ __align__(128) uint8_t tiles_shared[];
  step_begin_kernel();
  tiles_place place;
  if (!tiles_find(a, blockIdx.x, &place)) return;
  const uint32_t kv_head = blockIdx.y;
  const uint32_t own = threadIdx.x / STEP_WARP * (16 * SIXTEENS); /* the warp's first query */
  /* positions of the tile's first and last row, and what all of them together see */
  const uint32_t low = place.span.position + place.first / a.group;
  const uint32_t high = place.span.position + (place.first + place.count - 1) / a.group;
  const uint32_t first_page = first_seen(a, low) / KV_PAGE, pages = high / KV_PAGE + 1;
  tiles_page<TYPE, DIM> loading;
  auto stage_of = [&](uint32_t page) { return tiles_shared + memory::QUERIES + page % 2 * memory::STAGE; };
  auto begin = [&](uint32_t page) {
    const char *from = static_cast<const char *>(a.pages[place.span.first_page + page]) + a.layer_at;
    loading.begin(a, from, kv_head, min(high + 1 - page * KV_PAGE, (uint32_t)KV_PAGE), stage_of(page));
  };
  tiles_state<DIM> state[SIXTEENS] = {};
#pragma unroll
  for (int t = 0; t < SIXTEENS; t++) state[t].most[0] = state[t].most[1] = -CUDART_INF_F;
  begin(first_page);
  tiles_take_queries<DIM>(a, place, kv_head, tiles_shared);
  for (uint32_t page = first_page; page < pages; page++) {
    const uint32_t from = page * KV_PAGE;
    loading.finish(stage_of(page));
    __syncthreads(); /* the page is there, and all are done with the one before, whose place is filled now */
    if (page + 1 < pages) begin(page + 1);
    const bool masked = from + KV_PAGE > low + 1 || from < first_seen(a, high);
    tiles_attend<TYPE, DIM, SIXTEENS>(a, state, place, from, masked,
                                      shared_address(tiles_shared) + own * DIM * (uint32_t)sizeof(__half),
                                      stage_of(page));
  }
#pragma unroll
  for (int t = 0; t < SIXTEENS; t++)
    tiles_store<DIM>(a, place, kv_head, own + 16 * t, state[t].sum, [&](int d, int i) { return state[t].out[d][i]; });
}

/* -- launch */

template <kv_type TYPE, int DIM> static tiles_choice tiles_choice_of() {
  return {tiles_kernel<TYPE, DIM>, tiles_memory<DIM>::BYTES, tiles_shape<TYPE, DIM>::THREADS};
}

template <kv_type TYPE> static tiles_choice tiles_for(size_t dim) {
  if (dim <= 64) return tiles_choice_of<TYPE, 64>();
  if (dim <= 128) return tiles_choice_of<TYPE, 128>();
  return tiles_choice_of<TYPE, 256>();
}

/* 1 when blocks that stay take these heads. */
static bool tiles_stay(const attention_args *a, const step_work *work) {
  return work->warpgroups && a->step->kv.type == KV_F16 && a->h.head_dim <= 128 && a->scale > 0;
}

/* turn: NULL, or how queries are turned on their way in. */
static int tiles_launch(step_queue q, const rope_append_args *turn, const attention_args *a, const step_half_rows *half,
                        size_t least, const step_work *work, int *taken) {
  const batch *step = a->step;
  const kv_layout *kv = &step->kv;
  const size_t rows = a->kept ? step->kept : step->rows, spans = a->kept ? step->kept_span_count : step->span_count;
  const size_t group = a->h.q_heads / a->h.kv_heads;
  const bool stays = tiles_stay(a, work);
  const tiles_choice choice = stays                ? tiles_of_warpgroups(a->h.head_dim)
                              : kv->type == KV_F16 ? tiles_for<KV_F16>(a->h.head_dim)
                                                   : tiles_for<KV_FP8>(a->h.head_dim);
  const cudaFuncAttribute most = cudaFuncAttributeMaxDynamicSharedMemorySize;
  *taken = cudaFuncSetAttribute(reinterpret_cast<const void *>(choice.kernel), most, choice.bytes) == cudaSuccess;
  if (!*taken) {
    (void)cudaGetLastError(); /* was the answer to a question */
    return cudaSuccess;
  }
  /* at most: each span's last tile may be a part of one */
  const size_t tiles = rows * group / TILES_QUERIES + spans, all = tiles * a->h.kv_heads;
  const size_t most_stay = (size_t)work->multiprocessors;
  const tiles_args args = {.spans = a->kept ? step->kept_spans : step->spans,
                           .pages = step->pages,
                           .q = a->q,
                           .out = a->out,
                           .half_out = half ? reinterpret_cast<__half *>(half->rows) : NULL,
                           .half_scales = half ? half->scales : NULL,
                           .q_stride = a->q_stride,
                           .out_stride = half ? half->stride : a->out_stride,
                           .layer_at = a->layer * kv->layer_bytes,
                           .head_bytes = kv->head_bytes,
                           .values_at = kv->values_at,
                           .key_scales_at = kv->key_scales_at,
                           .value_scales_at = kv->value_scales_at,
                           .span_count = (uint32_t)spans,
                           .least_rows = (uint32_t)least,
                           .dim = (uint32_t)a->h.head_dim,
                           .group = (uint32_t)group,
                           .window = a->window < UINT32_MAX ? (uint32_t)a->window : 0,
                           .kv_heads = (uint32_t)a->h.kv_heads,
                           .tiles = (uint32_t)all,
                           .cos_sin = turn ? step->cos_sin : NULL,
                           .rotary = turn ? (uint32_t)turn->rotary_dim : 0,
                           .scale = a->scale * LOG2_E,
                           .pairs = ((size_t)a->out | a->out_stride * sizeof(float)) % sizeof(float2) == 0};
  const dim3 grid =
      stays ? dim3(step_side(all < most_stay ? all : most_stay)) : dim3(step_side(tiles), (unsigned)a->h.kv_heads);
  return step_launch_with(q, choice.kernel, grid, (unsigned)choice.threads, (size_t)choice.bytes, args);
}

int step_attention_tiles(step_queue q, const attention_args *a, const step_half_rows *half, size_t least,
                         const step_work *work, int *taken) {
  return tiles_launch(q, NULL, a, half, least, work, taken);
}

/* Queries of spans that step_attention gives to tiles, beside which there may be some of a row each; in pieces that begin at
 * multiples of 16 bytes and end in one half of what is turned. */
static bool tiles_turn(const rope_append_args *turn, const attention_args *a, const step_work *work) {
  const batch *step = a->step;
  return tiles_stay(a, work) && !a->kept && step->rows > STEP_ROWS && step->shortest > ATTEND_FEW &&
         (step->singles == 0 || work->clusters) && turn->rotary_dim % (2 * TILES_PIECE) == 0 &&
         quads_fit(a->q, a->q_stride, a->h.head_dim) && (size_t)step->cos_sin % 16 == 0 && turn->q == a->q;
}

int step_turn_tiles(step_queue q, const rope_append_args *turn, const attention_args *a, const step_half_rows *half,
                    const step_work *work, int *taken) {
  rope_append_args keys = *turn;
  int status = cudaSuccess;
  keys.h.q_heads = 0;
  *taken = tiles_turn(turn, a, work);
  if (!*taken) return cudaSuccess;
  if (a->step->singles) { /* before the others, whose keys are turned where they lie, and with them theirs once more */
    const rope_args single = rope_args_of(turn, NULL, NULL, 0);
    const attend_rows_of rows = {.kept = NULL, .few = a->step->spans, .most = 1};
    status = step_cluster_attention(q, &single, a, half, rows, work);
  }
  if (status == cudaSuccess) status = step_rope_append(q, &keys, NULL, NULL, 0);
  return status == cudaSuccess ? tiles_launch(q, turn, a, half, 2, work, taken) : status;
}
