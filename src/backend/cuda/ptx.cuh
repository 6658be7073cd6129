/* backend/cuda/ptx.cuh: one PTX instruction, one function. Nothing else of the backend writes assembler. */
#ifndef BACKEND_CUDA_PTX_CUH
#define BACKEND_CUDA_PTX_CUH

#include <cstdint>

/* The 32-bit address of shared memory, which the asynchronous copies take. */

static __device__ __forceinline__ uint32_t shared_address(const void *p) {
  return (uint32_t)__cvta_generic_to_shared(p);
}

/* -- copies from global to shared memory that the thread does not wait for */

/* 16 bytes that are read once: they pass by L1 and leave L2 first. */
static __device__ __forceinline__ void copy_async_16(uint32_t to, const void *from, uint64_t policy) {
  asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "l"(policy)
               : "memory");
}

/* The first `bytes` of 16; the rest becomes zero, and from is not read when bytes is 0. For what all multiprocessors read at
 * once: through L1 a line is asked for whole, where `cg` asks for four sectors, which queue at their slice of L2. */
static __device__ __forceinline__ void copy_async_part(uint32_t to, const void *from, uint32_t bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

static __device__ __forceinline__ void copy_async_4(uint32_t to, const void *from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from) : "memory");
}

static __device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/* Until at most N of this thread's groups of copies are under way. */
template <int N> static __device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

static __device__ __forceinline__ uint64_t policy_evict_first() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

/* The line of an address on its way to L2. */
static __device__ __forceinline__ void prefetch_line(const void *p) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

/* bytes from p on their way to L2; both multiples of 16. */
static __device__ __forceinline__ void prefetch_bytes(const void *p, uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(p), "r"(bytes) : "memory");
#endif
}

/* Four matrices of 8 rows of 16 bytes, row lane % 8 of matrix lane / 8 at this lane's address. Lane 4 g + t gets of each matrix
 * the 4 bytes t of row g: the columns of x that `mma` wants from it. */
static __device__ __forceinline__ uint4 load_matrices(uint32_t row) {
  uint4 v;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(row));
  return v;
}

/* The same, each matrix turned: lane 4 g + t gets column g of rows 2 t and 2 t + 1. */
static __device__ __forceinline__ uint4 load_matrices_turned(uint32_t row) {
  uint4 v;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(row));
  return v;
}

/* -- kernels that follow each other (programmatic dependent launch; before sm_90 they simply follow) */

/* The next kernel may start: it may do all that needs nothing from this one. */
static __device__ __forceinline__ void launch_dependents() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/* Until the kernel before has ended and what it wrote can be read. */
static __device__ __forceinline__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* -- between blocks */

/* Words that other blocks read as soon as they are written, each whole; nothing else is ordered by them. */
static __device__ __forceinline__ void store_relaxed(uint16_t *p, uint16_t v) {
  asm volatile("st.relaxed.gpu.global.u16 [%0], %1;" ::"l"(p), "h"(v) : "memory");
}
static __device__ __forceinline__ void store_relaxed(uint32_t *p, uint32_t v) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}
static __device__ __forceinline__ void store_relaxed(uint64_t *p, uint64_t v) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}
static __device__ __forceinline__ void add_relaxed(uint32_t *p, uint32_t v) {
  asm volatile("red.relaxed.gpu.global.add.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}
static __device__ __forceinline__ uint16_t load_relaxed(const uint16_t *p) {
  uint16_t v;
  asm volatile("ld.relaxed.gpu.global.u16 %0, [%1];" : "=h"(v) : "l"(p) : "memory");
  return v;
}
static __device__ __forceinline__ uint32_t load_relaxed(const uint32_t *p) {
  uint32_t v;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
static __device__ __forceinline__ uint64_t load_relaxed(const uint64_t *p) {
  uint64_t v;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
}
static __device__ __forceinline__ uint4 load_relaxed_4(const uint32_t *p) { /* 16-byte aligned */
  uint4 v;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p)
               : "memory");
  return v;
}

/* The same between GPUs, for words in the memory of any of them. */
static __device__ __forceinline__ void store_relaxed_system(uint64_t *p, uint64_t v) {
  asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}
static __device__ __forceinline__ uint64_t load_relaxed_system(const uint64_t *p) {
  uint64_t v;
  asm volatile("ld.relaxed.sys.global.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
}
static __device__ __forceinline__ uint32_t load_acquire_system(const uint32_t *p) {
  uint32_t v;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
static __device__ __forceinline__ void store_relaxed_system_2(uint64_t *p, uint64_t a,
                                                              uint64_t b) { /* 16-byte aligned */
  asm volatile("st.relaxed.sys.global.v2.u64 [%0], {%1, %2};" ::"l"(p), "l"(a), "l"(b) : "memory");
}
static __device__ __forceinline__ ulonglong2 load_relaxed_system_2(const uint64_t *p) { /* 16-byte aligned */
  ulonglong2 v;
  asm volatile("ld.relaxed.sys.global.v2.u64 {%0, %1}, [%2];" : "=l"(v.x), "=l"(v.y) : "l"(p) : "memory");
  return v;
}

static __device__ __forceinline__ uint64_t nanoseconds() {
  uint64_t t;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));
  return t;
}

/* -- threads of a block */

/* threadIdx.x, read anew: what follows from it is not kept in registers from one turn of a long loop to the next. */
static __device__ __forceinline__ uint32_t thread_index() {
  uint32_t v;
  asm volatile("mov.u32 %0, %tid.x;" : "=r"(v));
  return v;
}

/* As __syncthreads, for the first THREADS of a block that may have more. */
template <int THREADS> static __device__ __forceinline__ void sync_threads() {
  asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory");
}

/* -- arithmetic */

/* Four E4M3 codes as two pairs of FP16; exact. Before sm_89 it is arithmetic: FP16's exponent is E4M3's, 8 less, and
 * subnormals stay what they are; NaN, which that would make 480, is put right. */
static __device__ __forceinline__ void e4m3_to_half2(uint32_t codes, uint32_t *lo, uint32_t *hi) {
#if __CUDA_ARCH__ >= 890
  asm("{ .reg .b16 l, h; mov.b32 {l, h}, %2; cvt.rn.f16x2.e4m3x2 %0, l; cvt.rn.f16x2.e4m3x2 %1, h; }"
      : "=r"(*lo), "=r"(*hi)
      : "r"(codes));
#else
  const uint32_t spread[2] = {__byte_perm(codes, 0, 0x1404),
                              __byte_perm(codes, 0, 0x3424)}; /* codes in the high bytes */
  uint32_t out[2];
  for (int i = 0; i < 2; i++) {
    const uint32_t bits = (spread[i] & 0x80008000u) | (spread[i] & 0x7f007f00u) >> 1;
    const uint32_t nan = ((spread[i] & 0x7f007f00u) + 0x01000100u) & 0x80008000u; /* of codes 0x7f */
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(out[i]) : "r"(bits), "r"(0x5c005c00u)); /* · 256 */
    out[i] |= nan >> 1 | nan >> 2 | nan >> 3 | nan >> 4 | nan >> 5 | nan >> 6;
  }
  *lo = out[0];
  *hi = out[1];
#endif
}

/* 2^v, zero below 2^-126. */
static __device__ __forceinline__ float power_of_2(float v) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
}

static __device__ __forceinline__ uint32_t subtract_half2(uint32_t a, uint32_t b) {
  uint32_t r;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}

static __device__ __forceinline__ uint32_t fma_half2(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t r;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
  return r;
}

/* (a & mask) | b */
static __device__ __forceinline__ uint32_t and_or(uint32_t a, uint32_t mask, uint32_t b) {
  uint32_t r;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(a), "r"(mask), "r"(b));
  return r;
}

/* -- tensor cores: c += a · b, a 16 × k (rows of w), b k × 8 (a column for each row of x), FP32 sums. Lane 4 g + t has of c
 * (row g, columns 2t, 2t+1), (row g + 8, the same). Volatile: moved into a branch they would run under a partial warp. */

static __device__ __forceinline__ void mma_f16(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                               uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

static __device__ __forceinline__ void mma_bf16(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                                uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/* 2:4, k = 32: a holds 16 kept codes of each row. PAIR: which two lanes of four give the positions. */
template <int PAIR>
static __device__ __forceinline__ void mma_sparse_f16(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                                      uint4 b, uint32_t positions) {
#if __CUDA_ARCH__ >= 900
  asm volatile("mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 "
               "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9,%10,%11},{%0,%1,%2,%3},%12,%13;"
#else
  asm volatile("mma.sp.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 "
               "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9,%10,%11},{%0,%1,%2,%3},%12,%13;"
#endif
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b.x), "r"(b.y), "r"(b.z), "r"(b.w), "r"(positions), "n"(PAIR));
}

#endif
