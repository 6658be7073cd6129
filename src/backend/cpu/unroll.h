/* backend/cpu/unroll.h: what the tuned kernels need of the compiler: register tiles are arrays whose loops must be
 * unrolled and whose functions must be inlined with constant sizes, or the sums would live in memory. */
#ifndef BACKEND_CPU_UNROLL_H
#define BACKEND_CPU_UNROLL_H

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#endif
