/* gemm_ptx.cuh: the instructions of sm_90 behind the large products, each in one small function with its name.
 *
 * Addresses of shared memory are 32-bit offsets of the window (smem_offset). Barriers are 8 bytes, and a phase is the
 * parity of the turn through the ring of stages.
 */
#ifndef CUDA_GEMM_PTX_CUH
#define CUDA_GEMM_PTX_CUH

#include <cuda.h>
#include <cuda_fp16.h>
#include <stdint.h>

__device__ __forceinline__ uint32_t smem_offset(const void *pointer) {
  return (uint32_t)__cvta_generic_to_shared(pointer);
}

/* -- barriers */

__device__ __forceinline__ void barrier_init(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/* Makes barrier_init visible to the copy engine and to the cluster. */
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/* One arrival, and the bytes that copies will bring in this phase. */
__device__ __forceinline__ void barrier_expect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t phase) {
  asm volatile("{\n"
               ".reg .pred done;\n"
               "again:\n"
               "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
               "@!done bra again;\n"
               "}" ::"r"(barrier),
               "r"(phase)
               : "memory");
}

/* 1 when the phase has ended. */
__device__ __forceinline__ bool barrier_ended(uint32_t barrier, uint32_t phase) {
  uint32_t ended;
  asm volatile("{\n"
               ".reg .pred done;\n"
               "mbarrier.test_wait.parity.shared::cta.b64 done, [%1], %2;\n"
               "selp.u32 %0, 1, 0, done;\n"
               "}"
               : "=r"(ended)
               : "r"(barrier), "r"(phase)
               : "memory");
  return ended;
}

__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/* An arrival of this thread when its asynchronous copies so far (ptx.cuh) are there. */
__device__ __forceinline__ void barrier_arrive_copied(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(barrier) : "memory");
}

/* The same barrier of another block of the cluster. */
__device__ __forceinline__ uint32_t cluster_address(uint32_t offset, uint32_t rank) {
  uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(offset), "r"(rank));
  return address;
}

/* Says that this block has read what it needed; nothing that it wrote is handed over. (With .release.cluster every
 * arrival would wait for all of the thread's writes anywhere: a microsecond.) */
__device__ __forceinline__ void barrier_arrive_cluster(uint32_t address) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(address) : "memory");
}

__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

/* Two values to a block's shared memory, which count at a barrier there; both by cluster_address, of a kernel that was launched in
 * clusters (in another the instruction is illegal). barrier_wait sees them: shared memory has no caches that an acquire of the
 * cluster would have to empty. */
__device__ __forceinline__ void store_async(uint32_t to, float first, float second, uint32_t barrier) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];" ::"r"(to),
               "f"(first), "f"(second), "r"(barrier)
               : "memory");
}

/* cluster_sync in two halves; what was written before is not handed over, but for barrier_init_fence. */
__device__ __forceinline__ void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\n"
               "barrier.cluster.wait.acquire.aligned;" ::
                   : "memory");
}

/* A barrier of some of the block's threads: threads is a multiple of 32. */
__device__ __forceinline__ void named_barrier_sync(uint32_t name, uint32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(name), "r"(threads) : "memory");
}

/* One side of it: does not wait. */
__device__ __forceinline__ void named_barrier_arrive(uint32_t name, uint32_t threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(name), "r"(threads) : "memory");
}

/* The same; true for all when it is for one. */
__device__ __forceinline__ bool named_barrier_any(uint32_t name, uint32_t threads, bool found) {
  uint32_t any;
  asm volatile("{\n"
               ".reg .pred mine, all;\n"
               "setp.ne.u32 mine, %3, 0;\n"
               "barrier.cta.red.or.pred all, %1, %2, mine;\n"
               "selp.u32 %0, 1, 0, all;\n"
               "}"
               : "=r"(any)
               : "r"(name), "r"(threads), "r"((uint32_t)found)
               : "memory");
  return any;
}

/* -- the copy engine */

/* Bytes in one piece, a multiple of 16, which are read once; they count at barrier. */
__device__ __forceinline__ void copy_bulk(uint32_t to, const void *from, uint32_t bytes, uint32_t barrier,
                                          uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::
          "r"(to),
      "l"(from), "r"(bytes), "r"(barrier), "l"(policy)
      : "memory");
}

__device__ __forceinline__ void tma_prefetch_map(const CUtensorMap *map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/* A box at (x, y) of a matrix to shared memory; its bytes count at barrier. */
__device__ __forceinline__ void tma_load_2d(uint32_t to, const CUtensorMap *map, uint32_t barrier, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
          to),
      "l"(map), "r"(x), "r"(y), "r"(barrier)
      : "memory");
}

/* The same box to the same offset of every block of the cluster whose bit is set; counts at each one's barrier. */
__device__ __forceinline__ void tma_load_2d_multicast(uint32_t to, const CUtensorMap *map, uint32_t barrier, int x,
                                                      int y, uint16_t blocks) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
               "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
               "l"(map), "r"(x), "r"(y), "r"(barrier), "h"(blocks)
               : "memory");
}

/* A box of a tensor of four dimensions: x within a row, then three counts of rows. */
__device__ __forceinline__ void tma_load_4d(uint32_t to, const CUtensorMap *map, uint32_t barrier, int x, int a, int b,
                                            int c) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(to),
               "l"(map), "r"(x), "r"(a), "r"(b), "r"(c), "r"(barrier)
               : "memory");
}

/* A box of shared memory to (x, y) of a matrix; what lies outside is not written. */
__device__ __forceinline__ void tma_store_2d(const CUtensorMap *map, uint32_t from, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map), "r"(x), "r"(y),
               "r"(from)
               : "memory");
}

/* The same, added to what lies there: in the L2, rounded to nearest, subnormal values of FP32 as zeros. */
__device__ __forceinline__ void tma_add_2d(const CUtensorMap *map, uint32_t from, int x, int y) {
  asm volatile("cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map),
               "r"(x), "r"(y), "r"(from)
               : "memory");
}

__device__ __forceinline__ void tma_store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

/* Waits until the copy engine has read what all but this thread's latest store take from shared memory. */
__device__ __forceinline__ void tma_store_wait_read_but_one() {
  asm volatile("cp.async.bulk.wait_group.read 1;" ::: "memory");
}

/* Waits until this thread's stores are complete. */
__device__ __forceinline__ void tma_store_wait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

/* Shared memory that this thread wrote becomes visible to the copy engine and to wgmma, after the next barrier. */
__device__ __forceinline__ void async_proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/* -- registers and shared memory */

template <int REGISTERS> __device__ __forceinline__ void registers_release() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

template <int REGISTERS> __device__ __forceinline__ void registers_take() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

/* Four 8 × 8 tiles of 16-bit values, transposed: each lane gives one row's address. */
__device__ __forceinline__ void store_matrix_x4_transposed(uint32_t row, uint32_t a, uint32_t b, uint32_t c,
                                                           uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared::cta.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(a), "r"(b),
               "r"(c), "r"(d)
               : "memory");
}

__device__ __forceinline__ void store_shared_f32(uint32_t to, float value) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(to), "f"(value) : "memory");
}

__device__ __forceinline__ uint32_t load_shared_u16(uint32_t from) {
  uint16_t value;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(value) : "r"(from));
  return value;
}

__device__ __forceinline__ uint32_t load_shared_u32(uint32_t from) {
  uint32_t value;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(value) : "r"(from));
  return value;
}

__device__ __forceinline__ uint2 load_shared_u64(uint32_t from) {
  uint2 value;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(value.x), "=r"(value.y) : "r"(from));
  return value;
}

#endif
