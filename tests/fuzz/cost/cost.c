/* The entry of every target: runs it, and aborts when the input costs more than it may. cost.h says what is counted. */
#include "fuzz/cost/cost.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_feature(address_sanitizer)
#include <sanitizer/allocator_interface.h>
#endif

#define UNCOUNTED  __attribute__((no_sanitize("coverage")))
#define WORD_BYTES 16 /* that the C library's loops take at once */

int fuzz_one(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One input at a time, on one thread: engines in targets have one. */
static uint64_t work, most_work;
static int64_t memory, most_memory, peak;
static int counting;

/* VIVA_FUZZ_COSTS=1 prints the dearest inputs: what the table's numbers are taken from. */
static double dearest_work, dearest_memory;

UNCOUNTED static void over(const char *what, uint64_t used, uint64_t most) {
  counting = 0;
  fprintf(stderr, "cost: %s of %" PRIu64 ", where this input may have %" PRIu64 "\n", what, used, most);
  abort();
}

UNCOUNTED static void count(uint64_t units) {
  work += units;
  if (work > most_work && counting) over("work", work, most_work);
}

/* ---- what the linker puts in the place of (CMakeLists.txt: --wrap) */

void __wrap___sanitizer_cov_trace_pc(void);
UNCOUNTED void __wrap___sanitizer_cov_trace_pc(void) { count(1); }

#define COUNTED(result, name, parameters, arguments, bytes)                                                            \
  result __real_##name parameters;                                                                                     \
  result __wrap_##name parameters;                                                                                     \
  UNCOUNTED result __wrap_##name parameters {                                                                          \
    count((bytes) / WORD_BYTES);                                                                                       \
    return __real_##name arguments;                                                                                    \
  }

#if __has_feature(address_sanitizer)
COUNTED(void *, __asan_memcpy, (void *to, const void *from, size_t n), (to, from, n), n)
COUNTED(void *, __asan_memmove, (void *to, const void *from, size_t n), (to, from, n), n)
COUNTED(void *, __asan_memset, (void *to, int value, size_t n), (to, value, n), n)
#else
COUNTED(void *, memcpy, (void *to, const void *from, size_t n), (to, from, n), n)
COUNTED(void *, memmove, (void *to, const void *from, size_t n), (to, from, n), n)
COUNTED(void *, memset, (void *to, int value, size_t n), (to, value, n), n)
#endif
COUNTED(int, memcmp, (const void *a, const void *b, size_t n), (a, b, n), n)

/* These stop early: what they passed counts. */
void *__real_memchr(const void *in, int value, size_t n);
void *__wrap_memchr(const void *in, int value, size_t n);
UNCOUNTED void *__wrap_memchr(const void *in, int value, size_t n) {
  void *found = __real_memchr(in, value, n);
  count((found ? (size_t)((char *)found - (const char *)in) : n) / WORD_BYTES);
  return found;
}

size_t __real_strlen(const char *text);
size_t __wrap_strlen(const char *text);
UNCOUNTED size_t __wrap_strlen(const char *text) {
  size_t n = __real_strlen(text);
  count(n / WORD_BYTES);
  return n;
}

/* ---- memory */

UNCOUNTED static void allocated(const volatile void *block, size_t bytes) {
  (void)block;
  memory += (int64_t)bytes;
  if (memory > peak) peak = memory;
  if (memory > most_memory && counting) over("memory", (uint64_t)memory, (uint64_t)most_memory);
}

#if __has_feature(address_sanitizer)
UNCOUNTED static void freed(const volatile void *block) {
  if (block) memory -= (int64_t)__sanitizer_get_allocated_size((const void *)block);
}

UNCOUNTED static int watch_memory(void) { return __sanitizer_install_malloc_and_free_hooks(allocated, freed); }
#else
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t bytes);
void __real_free(void *block);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t bytes);
void __wrap_free(void *block);

UNCOUNTED void *__wrap_malloc(size_t bytes) {
  void *block = __real_malloc(bytes);
  allocated(block, malloc_usable_size(block));
  return block;
}

UNCOUNTED void *__wrap_calloc(size_t count, size_t size) {
  void *block = __real_calloc(count, size);
  allocated(block, malloc_usable_size(block));
  return block;
}

UNCOUNTED void *__wrap_realloc(void *block, size_t bytes) {
  size_t before = malloc_usable_size(block);
  void *moved = __real_realloc(block, bytes);
  if (!moved && bytes) return NULL;
  memory -= (int64_t)before;
  allocated(moved, malloc_usable_size(moved));
  return moved;
}

UNCOUNTED void __wrap_free(void *block) {
  memory -= (int64_t)malloc_usable_size(block);
  __real_free(block);
}

UNCOUNTED static int watch_memory(void) { return 1; }
#endif

/* ---- the entry */

UNCOUNTED static void print_dearest(const fuzz_cost *cost, size_t size) {
  double of_work = (double)work / (double)most_work, of_memory = (double)peak / (double)most_memory;
  if (of_work <= dearest_work && of_memory <= dearest_memory) return;
  if (of_work > dearest_work) dearest_work = of_work;
  if (of_memory > dearest_memory) dearest_memory = of_memory;
  fprintf(stderr,
          "cost: %zu bytes: work %" PRIu64 " (%.0f %%, beyond %" PRIu64 ": %.0f a byte), memory %" PRId64
          " (%.0f %%)\n",
          size, work, 100 * of_work, cost->work,
          work > cost->work && size ? (double)(work - cost->work) / (double)size : 0.0, peak, 100 * of_memory);
}

UNCOUNTED int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const fuzz_cost *cost;
  static int print, begun;
  if (!cost) {
    cost = fuzz_cost_get(FUZZ_TARGET);
    print = getenv("VIVA_FUZZ_COSTS") != NULL;
    if (!cost || !watch_memory()) abort();
  }
  if (!begun) { /* what a target makes once, for all inputs, is paid by none */
    begun = 1;
    fuzz_one(data, size);
  }
  work = 0;
  memory = peak = 0;
  most_work = cost->work + cost->byte_work * size;
  most_memory = (int64_t)(cost->memory + cost->byte_memory * size);
  counting = 1;
  int result = fuzz_one(data, size);
  counting = 0;
  if (print) print_dearest(cost, size);
  return result;
}
