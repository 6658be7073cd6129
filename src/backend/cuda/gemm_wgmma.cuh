/* gemm_wgmma.cuh: the matrix instructions of sm_90a that the large products use, one to a function.
 *
 * A warpgroup (128 threads) multiplies 64 rows of A with TOKENS rows of B, both K-major, and adds to d. Of d each
 * thread holds, for warp w of the warpgroup, lane l and 8 columns j:
 *
 *          column   8j + 2(l % 4)    8j + 2(l % 4) + 1
 *   row 16w + l/4        d[4j]            d[4j + 1]
 *   row 16w + l/4 + 8    d[4j + 2]        d[4j + 3]
 *
 * The products run while the threads go on: fence before the first of a group, commit after its last, and wait before
 * the registers or the stage of shared memory are used again.
 */
#ifndef CUDA_GEMM_WGMMA_CUH
#define CUDA_GEMM_WGMMA_CUH

#include <stdint.h>

/* What the instructions call the rows of a matrix in shared memory: rows of SWIZZLE bytes, their 16-byte pieces
 * exchanged as the copy engine's swizzle of the same name does, 8 rows to a repetition. A step along K adds its bytes
 * to the address. */
template <int SWIZZLE> __device__ __forceinline__ uint64_t matrix_descriptor(uint32_t offset) {
  static_assert(SWIZZLE == 128 || SWIZZLE == 64, "the two row lengths that the products keep in shared memory");
  constexpr uint64_t kind = SWIZZLE == 128 ? 1 : 2;
  constexpr uint64_t eight_rows = 8 * SWIZZLE / 16;
  return kind << 62 | eight_rows << 32 | 1ull << 16 | (offset & 0x3FFFF) >> 4;
}

/* The same for a second operand whose rows are steps of K: 128 bytes of columns a row, 64 columns of F16 to a panel, the next
 * panel `panel` bytes further. */
__device__ __forceinline__ uint64_t turned_descriptor(uint32_t offset, uint32_t panel) {
  return 1ull << 62 | (uint64_t)(8 * 128 / 16) << 32 | (uint64_t)(panel / 16) << 16 | (offset & 0x3FFFF) >> 4;
}

/* A descriptor bytes further along K, within the swizzled row. */
__device__ __forceinline__ uint64_t along_k(uint64_t descriptor, int bytes) {
  return descriptor + (uint64_t)(bytes / 16);
}

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

/* Until at most PENDING groups run. */
template <int PENDING> __device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

/* Ties d to this place: what reads it afterwards is not moved before a wait, what writes it before not behind a
 * fence. */
template <int COUNT> __device__ __forceinline__ void wgmma_settle(float (&d)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; i++) asm volatile("" : "+f"(d[i])::"memory");
}

template <int COUNT> __device__ __forceinline__ void wgmma_settle(uint32_t (&d)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; i++) asm volatile("" : "+r"(d[i])::"memory");
}

template <int COUNT> __device__ __forceinline__ void wgmma_settle(int32_t (&d)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; i++) asm volatile("" : "+r"(d[i])::"memory");
}

/* The registers of d, as text and as operands. */
#define WGMMA_TEXT_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define WGMMA_TEXT_32                                                                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                             \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define WGMMA_TEXT_64                                                                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                             \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                                   \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                                   \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define WGMMA_TEXT_128                                                                                                 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                             \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                                   \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                                   \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "                                   \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "                                   \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "                                   \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "                       \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define WGMMA_8(kind, d, i)                                                                                            \
  kind(d[i]), kind(d[i + 1]), kind(d[i + 2]), kind(d[i + 3]), kind(d[i + 4]), kind(d[i + 5]), kind(d[i + 6]),          \
      kind(d[i + 7])
#define WGMMA_16(kind, d) WGMMA_8(kind, d, 0), WGMMA_8(kind, d, 8)
#define WGMMA_32(kind, d, i)                                                                                           \
  WGMMA_8(kind, d, i), WGMMA_8(kind, d, i + 8), WGMMA_8(kind, d, i + 16), WGMMA_8(kind, d, i + 24)
#define WGMMA_64(kind, d, i)                                                                                           \
  WGMMA_8(kind, d, i), WGMMA_8(kind, d, i + 8), WGMMA_8(kind, d, i + 16), WGMMA_8(kind, d, i + 24),                    \
      WGMMA_8(kind, d, i + 32), WGMMA_8(kind, d, i + 40), WGMMA_8(kind, d, i + 48), WGMMA_8(kind, d, i + 56)
#define WGMMA_128(kind, d) WGMMA_64(kind, d, 0), WGMMA_64(kind, d, 64)

/* E4M3, 32 of K; a and b are descriptors. accumulate 0: d is not read. */
__device__ __forceinline__ void wgmma_e4m3(float (&d)[64], uint64_t a, uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {" WGMMA_TEXT_64 "}, %64, %65, p, 1, 1;\n}"
               : WGMMA_64("+f", d, 0)
               : "l"(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma_e4m3(float (&d)[128], uint64_t a, uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n256k32.f32.e4m3.e4m3 {" WGMMA_TEXT_128 "}, %128, %129, p, 1, 1;\n}"
               : WGMMA_128("+f", d)
               : "l"(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma_e4m3(float (&d)[32], uint64_t a, uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 {" WGMMA_TEXT_32 "}, %32, %33, p, 1, 1;\n}"
               : WGMMA_32("+f", d, 0)
               : "l"(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma_e4m3(float (&d)[16], uint64_t a, uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n32k32.f32.e4m3.e4m3 {" WGMMA_TEXT_16 "}, %16, %17, p, 1, 1;\n}"
               : WGMMA_16("+f", d)
               : "l"(a), "l"(b), "r"(accumulate));
}

/* F16, 16 of K, A from registers: two halves each of (row l/4, row l/4 + 8) at K 2(l % 4), then the same at K + 8. */
__device__ __forceinline__ void wgmma_f16(float (&d)[128], const uint32_t (&a)[4], uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %133, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 {" WGMMA_TEXT_128
               "}, {%128, %129, %130, %131}, %132, p, 1, 1, 0;\n}"
               : WGMMA_128("+f", d)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma_f16(float (&d)[64], const uint32_t (&a)[4], uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" WGMMA_TEXT_64
               "}, {%64, %65, %66, %67}, %68, p, 1, 1, 0;\n}"
               : WGMMA_64("+f", d, 0)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma_f16(float (&d)[32], const uint32_t (&a)[4], uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" WGMMA_TEXT_32
               "}, {%32, %33, %34, %35}, %36, p, 1, 1, 0;\n}"
               : WGMMA_32("+f", d, 0)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma_f16(float (&d)[16], const uint32_t (&a)[4], uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %21, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 {" WGMMA_TEXT_16
               "}, {%16, %17, %18, %19}, %20, p, 1, 1, 0;\n}"
               : WGMMA_16("+f", d)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
}

/* 8 columns of it. */
__device__ __forceinline__ void wgmma_f16(float (&d)[4], const uint32_t (&a)[4], uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %9, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%0, %1, %2, %3}, {%4, %5, %6, %7}, %8, p, 1, 1, 0;\n}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
}

/* The same with A from shared memory. */
__device__ __forceinline__ void wgmma_f16(float (&d)[128], uint64_t a, uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 {" WGMMA_TEXT_128 "}, %128, %129, p, 1, 1, 0, 0;\n}"
               : WGMMA_128("+f", d)
               : "l"(a), "l"(b), "r"(accumulate));
}

/* 128 columns of it. */
__device__ __forceinline__ void wgmma_f16(float (&d)[64], uint64_t a, uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" WGMMA_TEXT_64 "}, %64, %65, p, 1, 1, 0, 0;\n}"
               : WGMMA_64("+f", d, 0)
               : "l"(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma_f16(float (&d)[32], uint64_t a, uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" WGMMA_TEXT_32 "}, %32, %33, p, 1, 1, 0, 0;\n}"
               : WGMMA_32("+f", d, 0)
               : "l"(a), "l"(b), "r"(accumulate));
}

__device__ __forceinline__ void wgmma_f16(float (&d)[16], uint64_t a, uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 {" WGMMA_TEXT_16 "}, %16, %17, p, 1, 1, 0, 0;\n}"
               : WGMMA_16("+f", d)
               : "l"(a), "l"(b), "r"(accumulate));
}

/* A from registers, B's rows steps of K (turned_descriptor); adds. */
__device__ __forceinline__ void wgmma_f16_turned(float (&d)[64], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                                 uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" WGMMA_TEXT_64
               "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
               : WGMMA_64("+f", d, 0)
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b));
}

__device__ __forceinline__ void wgmma_f16_turned(float (&d)[32], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                                 uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" WGMMA_TEXT_32
               "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
               : WGMMA_32("+f", d, 0)
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b));
}

/* INT8, 64 of K, A 2:4 (32 codes of each row). index: 8 nibbles, of columns 32·((l >> 1) & 1) on, of row
 * 16w + l/4 + 8·(l & 1), as number/layout.h has them. */
__device__ __forceinline__ void wgmma_s8_24(int32_t (&d)[128], uint64_t a, uint32_t index, uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %131, 0;\n"
               "wgmma.mma_async.sp.sync.aligned.m64n256k64.s32.s8.s8 {" WGMMA_TEXT_128 "}, %128, %129, %130, 0, p;\n}"
               : WGMMA_128("+r", d)
               : "l"(a), "l"(b), "r"(index), "r"(accumulate));
}

__device__ __forceinline__ void wgmma_s8_24(int32_t (&d)[64], uint64_t a, uint32_t index, uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %67, 0;\n"
               "wgmma.mma_async.sp.sync.aligned.m64n128k64.s32.s8.s8 {" WGMMA_TEXT_64 "}, %64, %65, %66, 0, p;\n}"
               : WGMMA_64("+r", d, 0)
               : "l"(a), "l"(b), "r"(index), "r"(accumulate));
}

__device__ __forceinline__ void wgmma_s8_24(int32_t (&d)[32], uint64_t a, uint32_t index, uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %35, 0;\n"
               "wgmma.mma_async.sp.sync.aligned.m64n64k64.s32.s8.s8 {" WGMMA_TEXT_32 "}, %32, %33, %34, 0, p;\n}"
               : WGMMA_32("+r", d, 0)
               : "l"(a), "l"(b), "r"(index), "r"(accumulate));
}

__device__ __forceinline__ void wgmma_s8_24(int32_t (&d)[16], uint64_t a, uint32_t index, uint64_t b, int accumulate) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %19, 0;\n"
               "wgmma.mma_async.sp.sync.aligned.m64n32k64.s32.s8.s8 {" WGMMA_TEXT_16 "}, %16, %17, %18, 0, p;\n}"
               : WGMMA_16("+r", d)
               : "l"(a), "l"(b), "r"(index), "r"(accumulate));
}

#undef WGMMA_8
#undef WGMMA_16
#undef WGMMA_32
#undef WGMMA_64
#undef WGMMA_128
#undef WGMMA_TEXT_16
#undef WGMMA_TEXT_32
#undef WGMMA_TEXT_64
#undef WGMMA_TEXT_128

#endif
