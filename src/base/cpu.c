/* base/cpu.c: what the processor and its operating system offer. */
#include "base/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/cpu_parse.h"
#include "base/io.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

/* Bits of CPUID and XCR0: Intel SDM volume 2A, CPUID; volume 1, chapter 13. */
#define LEAF1_ECX_FMA      (1u << 12)
#define LEAF1_ECX_OSXSAVE  (1u << 27)
#define LEAF1_ECX_AVX      (1u << 28)
#define LEAF1_ECX_F16C     (1u << 29)
#define LEAF7_EBX_AVX2     (1u << 5)
#define LEAF7_EBX_AVX512F  (1u << 16)
#define LEAF7_EBX_AVX512DQ (1u << 17)
#define LEAF7_EBX_AVX512BW (1u << 30)
#define LEAF7_EBX_AVX512VL (1u << 31)
#define LEAF7_ECX_VBMI     (1u << 1)
#define LEAF7_ECX_VNNI     (1u << 11)
#define LEAF7_1_EAX_BF16   (1u << 5)
#define XCR0_YMM           0x06u /* XMM and YMM state */
#define XCR0_ZMM           0xE6u /* and opmask, upper ZMM halves, ZMM16-31 */
#define LEAF_NAME          0x80000002u

/* The register state that the operating system saves. Called only when OSXSAVE is set. */
static uint32_t read_xcr0(void) {
  uint32_t low, high;
  __asm__ __volatile__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

static void read_name(char name[128]) {
  uint32_t words[12];
  if ((uint32_t)__get_cpuid_max(0x80000000u, NULL) < LEAF_NAME + 2) return;
  for (uint32_t i = 0; i < 3; i++)
    __get_cpuid(LEAF_NAME + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
  char text[sizeof words + 1];
  memcpy(text, words, sizeof words);
  text[sizeof words] = 0;
  const char *start = text + strspn(text, " ");
  if (*start != 0) memcpy(name, start, strlen(start) + 1);
}

static int is_amd(void) {
  uint32_t a, words[3] = {0};
  return __get_cpuid(0, &a, &words[0], &words[2], &words[1]) && memcmp(words, "AuthenticAMD", sizeof words) == 0;
}

static void read_features(cpu_features *f) {
  uint32_t a, b, c, d;
  read_name(f->name);
  if (!__get_cpuid(1, &a, &b, &c, &d)) return;
  const uint32_t needed = LEAF1_ECX_FMA | LEAF1_ECX_OSXSAVE | LEAF1_ECX_AVX | LEAF1_ECX_F16C;
  if ((c & needed) != needed) return;
  uint32_t saved = read_xcr0();
  if ((saved & XCR0_YMM) != XCR0_YMM || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
  uint32_t subleaves = a;
  f->avx2 = (b & LEAF7_EBX_AVX2) != 0;
  const uint32_t wide = LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512DQ | LEAF7_EBX_AVX512BW | LEAF7_EBX_AVX512VL;
  f->avx512 = f->avx2 && (saved & XCR0_ZMM) == XCR0_ZMM && (b & wide) == wide;
  f->avx512_vbmi = f->avx512 && (c & LEAF7_ECX_VBMI) != 0;
  f->avx512_vnni = f->avx512 && (c & LEAF7_ECX_VNNI) != 0;
  if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
    f->avx512_bf16 = f->avx512 && (a & LEAF7_1_EAX_BF16) != 0;
  f->fast_bf16 = f->avx512_bf16 && is_amd();
}
#else
static void read_features(cpu_features *f) { (void)f; }
#endif

#define MAX_CPUS 8192 /* the kernel's largest configuration; a multiple of CPU_SETSIZE */

/* Written once, under `once`; constant from then on. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
cpu_features cpu_found;
_Atomic int cpu_is_found;

static void fill_features(void) {
  memcpy(cpu_found.name, "unknown", sizeof "unknown");
  read_features(&cpu_found);
  atomic_store_explicit(&cpu_is_found, 1, memory_order_release);
}

const cpu_features *cpu_find(void) {
  (void)pthread_once(&once, fill_features);
  return &cpu_found;
}

int cpu_default_threads(void) {
  cpu_set_t sets[MAX_CPUS / CPU_SETSIZE];
  uint64_t allowed[MAX_CPUS / 64];
  memset(sets, 0, sizeof sets);
  memset(allowed, 0, sizeof allowed);
  if (sched_getaffinity(0, sizeof sets, sets) != 0) return 1;
  for (size_t cpu = 0; cpu < MAX_CPUS; cpu++)
    if (CPU_ISSET_S(cpu, sizeof sets, sets)) allowed[cpu / 64] |= (uint64_t)1 << cpu % 64;
  return cpu_threads_from(&io_system, allowed, sizeof allowed / sizeof allowed[0]);
}

void cpu_memory(uint64_t *total, uint64_t *available) { cpu_memory_from(&io_system, total, available); }
