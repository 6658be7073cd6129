/* step_top.cu: the k largest of each row, the largest first, equal ones by rising index.
 *
 * A value and its index make one number that orders them: the value's bits so turned that they rise with it, then the index
 * turned about. All are different, so an order is found without ties:
 *
 *   k = 1   blocks of a row find the largest of their part; the last one to arrive the largest of those
 *   k > 1   chunks of 2048 are sorted in shared memory; a value's place in the row is then the number of larger ones in all
 *           chunks, which are searched by halves: whoever has a place below k writes himself there
 *
 * A NaN counts as the least and is remembered.
 */
#include "backend/cuda/step_launch.cuh"
#include "backend/cuda/step_math.cuh"

#define TOP_THREADS 256
#define TOP_PART    2048 /* values of a block, k = 1 */
#define TOP_CHUNK   2048 /* values that are sorted together: 16 KB */
#define TOP_SORTERS (TOP_CHUNK / 2)
#define TOP_WARPS   (TOP_THREADS / STEP_WARP)

typedef unsigned long long top_key;

/* −0 counts as 0. Every key of a value is above 0, which stands for none. */
static __device__ __forceinline__ top_key key_of(float v, uint32_t index) {
  const uint32_t bits = v == 0 ? 0 : __float_as_uint(v);
  const uint32_t rising = isnan(v) ? 0 : bits & 0x80000000 ? ~bits : bits | 0x80000000;
  return (top_key)rising << 32 | (uint32_t)~index;
}

static __device__ __forceinline__ uint32_t index_of(top_key key) { return ~(uint32_t)key; }

struct top_job {
  const float *logits;
  uint32_t n, k, first; /* first: number of the launch's first row */
  viva_token *ids;
  float *values;
  uint8_t *nan;
  top_key *keys;   /* k = 1: [row][part]; else [row][chunk][kept] */
  uint32_t *found; /* NaN: [row][part or chunk] */
  uint32_t *arrived;
};

static __device__ void top_write(const top_job &j, uint32_t row, uint32_t place, top_key key, bool nan) {
  const size_t at = row * (size_t)j.k + place;
  const uint32_t index = index_of(key);
  j.ids[at] = nan && place == 0 ? -1 : (viva_token)index;
  if (j.values) j.values[at] = j.logits[row * (size_t)j.n + index];
}

/* -- k = 1 */

static __device__ __forceinline__ top_key larger(top_key a, top_key b) { return a > b ? a : b; }

static __device__ top_key block_largest(top_key key) {
  __shared__ top_key parts[TOP_WARPS];
#pragma unroll
  for (int lanes = STEP_WARP / 2; lanes > 0; lanes /= 2) key = larger(key, __shfl_xor_sync(~0u, key, lanes));
  if (threadIdx.x % STEP_WARP == 0) parts[threadIdx.x / STEP_WARP] = key;
  __syncthreads();
  key = parts[0];
#pragma unroll
  for (int i = 1; i < TOP_WARPS; i++) key = larger(key, parts[i]);
  return key;
}

static __global__ void __launch_bounds__(TOP_THREADS) top_one_kernel(const top_job j) {
  __shared__ bool last;
  step_begin_kernel();
  const uint32_t row = j.first + blockIdx.y, parts = gridDim.x;
  const float *v = j.logits + row * (size_t)j.n;
  float each[TOP_PART / TOP_THREADS];
#pragma unroll
  for (int i = 0; i < TOP_PART / TOP_THREADS; i++) {
    const uint32_t at = blockIdx.x * TOP_PART + i * TOP_THREADS + threadIdx.x;
    each[i] = at < j.n ? v[at] : -CUDART_INF_F;
  }
  top_key best = 0;
  bool nan = false;
#pragma unroll
  for (int i = 0; i < TOP_PART / TOP_THREADS; i++) {
    const uint32_t at = blockIdx.x * TOP_PART + i * TOP_THREADS + threadIdx.x;
    if (at < j.n) best = larger(best, key_of(each[i], at));
    nan |= (bool)isnan(each[i]);
  }
  nan = __syncthreads_or(nan);
  best = block_largest(best);
  if (threadIdx.x == 0) {
    j.keys[blockIdx.y * parts + blockIdx.x] = best;
    j.found[blockIdx.y * parts + blockIdx.x] = nan;
    __threadfence();
    last = atomicAdd(j.arrived + blockIdx.y, 1) + 1 == parts;
    __threadfence();
  }
  __syncthreads();
  if (!last) return;
  best = 0;
  nan = false;
  for (uint32_t i = threadIdx.x; i < parts; i += TOP_THREADS) {
    best = larger(best, __ldcg(j.keys + blockIdx.y * parts + i));
    nan |= __ldcg(j.found + blockIdx.y * parts + i) != 0;
  }
  nan = __syncthreads_or(nan);
  best = block_largest(best);
  if (threadIdx.x != 0) return;
  j.arrived[blockIdx.y] = 0;
  top_write(j, row, 0, best, nan);
  if (j.nan) j.nan[row] = nan;
}

/* -- k > 1 */

/* Falling, by compare and exchange (Batcher's bitonic network). */
static __device__ void sort_chunk(top_key *keys) {
  for (uint32_t run = 2; run <= TOP_CHUNK; run *= 2) {
    for (uint32_t apart = run / 2; apart > 0; apart /= 2) {
      __syncthreads();
      const uint32_t low = threadIdx.x / apart * 2 * apart + threadIdx.x % apart, high = low + apart;
      const top_key a = keys[low], b = keys[high];
      const bool falling = (low & run) == 0;
      if (falling ? a < b : a > b) {
        keys[low] = b;
        keys[high] = a;
      }
    }
  }
  __syncthreads();
}

static __global__ void __launch_bounds__(TOP_SORTERS) top_sort_kernel(const top_job j) {
  __shared__ top_key keys[TOP_CHUNK];
  step_begin_kernel();
  const uint32_t row = j.first + blockIdx.y, begin = blockIdx.x * TOP_CHUNK, kept = min(j.k, (uint32_t)TOP_CHUNK);
  const float *v = j.logits + row * (size_t)j.n;
  bool nan = false;
  for (uint32_t i = threadIdx.x; i < TOP_CHUNK; i += TOP_SORTERS) {
    const bool there = begin + i < j.n;
    const float value = there ? v[begin + i] : 0;
    keys[i] = there ? key_of(value, begin + i) : 0;
    nan |= (bool)isnan(value);
  }
  nan = __syncthreads_or(nan);
  sort_chunk(keys);
  const size_t chunk = row * (size_t)gridDim.x + blockIdx.x;
  for (uint32_t i = threadIdx.x; i < kept; i += TOP_SORTERS) j.keys[chunk * kept + i] = keys[i];
  if (threadIdx.x == 0) j.found[chunk] = nan;
}

/* Keys above `key` among `count` falling ones. */
static __device__ uint32_t count_above(const top_key *keys, uint32_t count, top_key key) {
  uint32_t low = 0, high = count;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (keys[middle] > key)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* A warp for each key that a chunk kept; its lanes search the chunks. What a chunk did not keep has at least k above it in the
 * chunk, and so is above nothing that gets a place. */
static __global__ void __launch_bounds__(TOP_THREADS) top_place_kernel(const top_job j, uint32_t chunks) {
  step_begin_kernel();
  const uint32_t lane = threadIdx.x % STEP_WARP, row = j.first + blockIdx.y, kept = min(j.k, (uint32_t)TOP_CHUNK);
  const top_key *keys = j.keys + row * (size_t)chunks * kept;
  bool nan = false;
  for (uint32_t i = lane; i < chunks; i += STEP_WARP) nan |= j.found[row * (size_t)chunks + i] != 0;
  nan = __any_sync(~0u, nan);
  const uint32_t item = blockIdx.x * TOP_WARPS + threadIdx.x / STEP_WARP;
  if (item == 0 && lane == 0 && j.nan) j.nan[row] = nan;
  if (item >= chunks * kept || keys[item] == 0) return; /* whole warps */
  uint32_t place = 0;
  for (uint32_t i = lane; i < chunks; i += STEP_WARP) place += count_above(keys + i * (size_t)kept, kept, keys[item]);
  place = __reduce_add_sync(~0u, place);
  if (lane == 0 && place < j.k) top_write(j, row, place, keys[item], nan);
}

/* -- launch */

/* Keys and marks of a row. */
struct top_room {
  size_t blocks, keys;
};

static top_room room_of(size_t n, size_t k) {
  const size_t blocks = step_parts(n, k == 1 ? TOP_PART : TOP_CHUNK), kept = k < TOP_CHUNK ? k : TOP_CHUNK;
  return {blocks, blocks * kept};
}

size_t step_top_scratch(size_t rows, size_t n, size_t k) {
  const top_room room = room_of(n, k);
  return rows * (room.keys * sizeof(top_key) + room.blocks * sizeof(uint32_t));
}

#define TOP_ROWS 32768 /* of a launch: a grid's second side is below 65536 */

static int top_one(step_queue q, top_job job, size_t rows, size_t parts) {
  for (size_t first = 0; first < rows; first += STEP_COUNTERS) {
    const size_t count = rows - first < STEP_COUNTERS ? rows - first : STEP_COUNTERS;
    job.first = (uint32_t)first;
    const int status = step_launch(q, top_one_kernel, dim3((unsigned)parts, (unsigned)count), TOP_THREADS, job);
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

static int top_many(step_queue q, top_job job, size_t rows, const top_room &room) {
  const unsigned places = (unsigned)step_parts(room.keys, TOP_WARPS);
  for (size_t first = 0; first < rows; first += TOP_ROWS) {
    const unsigned count = (unsigned)(rows - first < TOP_ROWS ? rows - first : TOP_ROWS);
    job.first = (uint32_t)first;
    int status = step_launch(q, top_sort_kernel, dim3((unsigned)room.blocks, count), TOP_SORTERS, job);
    if (status != cudaSuccess) return status;
    status = step_launch(q, top_place_kernel, dim3(places, count), TOP_THREADS, job, (uint32_t)room.blocks);
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

int step_top(step_queue q, const step_top_args *a, const step_work *work) {
  if (a->rows == 0) return cudaSuccess;
  if (a->k == 0 || a->k > a->n || a->n > INT32_MAX) return cudaErrorInvalidValue;
  const top_room room = room_of(a->n, a->k);
  top_key *keys = static_cast<top_key *>(work->scratch);
  const top_job job = {.logits = a->logits,
                       .n = (uint32_t)a->n,
                       .k = (uint32_t)a->k,
                       .first = 0,
                       .ids = a->ids,
                       .values = a->values,
                       .nan = a->nan,
                       .keys = keys,
                       .found = reinterpret_cast<uint32_t *>(keys + a->rows * room.keys),
                       .arrived = work->counters};
  return a->k == 1 ? top_one(q, job, a->rows, room.blocks) : top_many(q, job, a->rows, room);
}
