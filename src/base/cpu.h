/* base/cpu.h: what the processor can do, and how many threads are sensible. Read once, then constant. */
#ifndef BASE_CPU_H
#define BASE_CPU_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cpu_features {
  unsigned avx2 : 1;   /* AVX2, FMA and F16C, enabled by the system */
  unsigned avx512 : 1; /* AVX-512 F, BW, DQ, VL, enabled by the system */
  unsigned avx512_bf16 : 1;
  unsigned fast_bf16 : 1; /* VDPBF16PS takes no longer than an FMA: AMD's; Intel's takes twice as long */
  unsigned avx512_vbmi : 1;
  unsigned avx512_vnni : 1;
  char name[128]; /* the processor's name, or "unknown" */
} cpu_features;

/* What cpu_get has found; written once. */
extern cpu_features cpu_found;
extern _Atomic int cpu_is_found;
const cpu_features *cpu_find(void);

/* Thread-safe. Here, not behind a call: a small operation on tensors comes here several times. */
static inline const cpu_features *cpu_get(void) {
  return atomic_load_explicit(&cpu_is_found, memory_order_acquire) ? &cpu_found : cpu_find();
}

/* Physical cores within the process's affinity and its cgroup's CPU quota (rounded down), at least 1. */
int cpu_default_threads(void);

/* Bytes of memory that exist and that can be taken now, both within the cgroup's limit. 0 when unknown. */
void cpu_memory(uint64_t *total, uint64_t *available);

#endif
