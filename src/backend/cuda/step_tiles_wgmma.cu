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
#include "backend/cuda/gemm_wgmma.cuh"
#include "backend/cuda/step_wide_load.cuh"

/* -- the warpgroups that compute */

/* most and sum: of rows g and g + 8 of the warp's 16; most of scores without their scale, sum of this lane's columns. */
template <int DIM> struct wide_state {
  float most[2], sum[2];
  float out[DIM / 2]; /* 4 for each 8 columns */
  float s[WIDE_POSITIONS / 2];
  uint32_t p[WIDE_POSITIONS / 4];
};

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
    wide_take_queries<DIM>(a, w, group, shared + group * wide_memory<DIM>::QUERIES);
    async_proxy_fence();
    named_barrier_sync(1 + group, WIDE_GROUP);
    wide_state<DIM> state = {};
    state.most[0] = state.most[1] = -CUDART_INF_F;
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
