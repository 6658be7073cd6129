/* compress/memory_measure.c: this machine's memory hierarchy, measured by one thread.
 *
 * Bandwidth: going over half a level's size again and again, best of several passes. Latency: reads of which each needs the
 * one before it, in random order over lines of cache.
 */
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu_parse.h"
#include "base/error.h"
#include "base/options.h"
#include "compress/compress_inner.h"
#include "engine/engine.h"

#define LINE          64
#define PASSES        5
#define PASS_NS       10000000 /* at least, so that the clock's own time does not count */
#define CHASES        200000
#define RAM_BYTES     ((size_t)256 << 20)
#define STORAGE_MOST  ((size_t)256 << 20)
#define STORAGE_PIECE ((size_t)4 << 20)
#define STORAGE_PAGE  4096
#define STORAGE_READS 64

/* Half of a cache: as Linux tells (the C library has the sum over all processors in some virtual machines), as the C library
 * does, or assumed. */
static size_t half_of_cache(const io_table *io, unsigned level, int name, size_t assumed) {
  const uint64_t told = cpu_cache_bytes(io, level);
  const long known = sysconf(name);
  const size_t bytes = told > 0 ? (size_t)told : known > 0 ? (size_t)known : assumed;
  return bytes / 2 / LINE * LINE;
}

static double rate(uint64_t bytes, uint64_t ns) { return ns > 0 ? (double)bytes / (double)ns : 0; }

static double read_rate(const compress_kernels *k, const uint64_t *words, size_t bytes) {
  double best = 0;
  volatile uint64_t sink = 0; /* keeps the reads */
  for (int pass = 0; pass < PASSES; pass++) {
    uint64_t done = 0;
    const uint64_t start = clock_ns();
    do sink += k->read(words, bytes / sizeof *words), done += bytes;
    while (clock_ns() - start < PASS_NS);
    const double now = rate(done, clock_ns() - start);
    best = now > best ? now : best;
  }
  (void)sink;
  return best;
}

static double register_rate(const compress_kernels *k) {
  enum { ROUNDS = 4000000 };
  double best = 0;
  volatile uint64_t sink = 0; /* keeps the reads */
  for (int pass = 0; pass < PASSES; pass++) {
    const uint64_t start = clock_ns();
    sink += k->work(ROUNDS);
    const double now = rate(ROUNDS * k->work_bytes, clock_ns() - start);
    best = now > best ? now : best;
  }
  (void)sink;
  return best;
}

/* Sattolo's: no ring within the ring. */
void memory_make_ring(uint64_t *words, size_t count, size_t step) {
  uint64_t state = 1;
  for (size_t i = 0; i < count; i++) words[i * step] = i * step;
  for (size_t i = count - 1; i > 0; i--) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    const size_t j = (size_t)(state >> 33) % i;
    const uint64_t other = words[i * step];
    words[i * step] = words[j * step];
    words[j * step] = other;
  }
}

static double chase(uint64_t *words, size_t bytes) {
  memory_make_ring(words, bytes / LINE, LINE / sizeof *words);
  uint64_t at = 0;
  volatile uint64_t sink;
  for (size_t i = 0; i < CHASES / 4; i++) at = words[at];
  const uint64_t start = clock_ns();
  for (size_t i = 0; i < CHASES; i++) at = words[at];
  const uint64_t ns = clock_ns() - start;
  sink = at;
  (void)sink;
  return (double)ns / CHASES;
}

/* -- storage */

static viva_status read_storage(const io_file *file, uint64_t bytes, char *piece, viva_measured_level *to,
                                viva_error *error) {
  uint64_t start = clock_ns();
  for (uint64_t at = 0; at < bytes; at += STORAGE_PIECE)
    TRY(io_read(file, piece, (size_t)(bytes - at < STORAGE_PIECE ? bytes - at : STORAGE_PIECE), at, error));
  to->gb_per_s = rate(bytes, clock_ns() - start);
  to->bytes = bytes;
  if (bytes < STORAGE_PAGE) return VIVA_OK;
  start = clock_ns();
  for (uint64_t i = 0; i < STORAGE_READS; i++) /* all over the file */
    TRY(io_read(file, piece, STORAGE_PAGE, (bytes - STORAGE_PAGE) / STORAGE_READS * (i * 37 % STORAGE_READS), error));
  to->latency_ns = (double)(clock_ns() - start) / STORAGE_READS;
  return VIVA_OK;
}

static viva_status measure_storage(runtime *rt, const char *path, viva_measured_level *to, viva_error *error) {
  io_file file;
  TRY(io_open(rt->io, path, &file, error));
  char *piece = mem_alloc(&rt->mem, STORAGE_PIECE);
  const uint64_t bytes = file.stat.bytes < STORAGE_MOST ? file.stat.bytes : STORAGE_MOST;
  const viva_status status = piece ? read_storage(&file, bytes, piece, to, error)
                                   : error_set(error, VIVA_E_MEMORY, "no memory for reading '%s'", path);
  mem_free(&rt->mem, piece);
  io_close(&file);
  return status;
}

/* -- all levels */

enum { REGISTERS, L1, L2, L3, RAM, STORAGE };

static void measure_caches(const compress_kernels *k, uint64_t *words, viva_measured_level *levels) {
  levels[REGISTERS].gb_per_s = register_rate(k);
  for (int i = L1; i <= RAM; i++) {
    const size_t bytes = (size_t)levels[i].bytes;
    for (size_t w = 0; w < bytes / sizeof *words; w++) words[w] = w; /* untouched pages are all one page */
    levels[i].gb_per_s = read_rate(k, words, bytes);
    levels[i].latency_ns = chase(words, bytes);
  }
}

viva_status viva_measure_memory(viva_engine *engine, const char *path, viva_measured_level *levels, viva_error *error) {
  if (!engine || !levels) return error_set(error, VIVA_E_ARGUMENT, "%s is NULL", engine ? "levels" : "engine");
  viva_measured_level all[VIVA_MEASURED_LEVELS] = {{.name = "registers"}, {.name = "L1 cache"}, {.name = "L2 cache"},
                                                   {.name = "L3 cache"},  {.name = "RAM"},      {.name = "storage"}};
  all[L1].bytes = half_of_cache(engine->rt->io, 1, _SC_LEVEL1_DCACHE_SIZE, (size_t)32 << 10);
  all[L2].bytes = half_of_cache(engine->rt->io, 2, _SC_LEVEL2_CACHE_SIZE, (size_t)512 << 10);
  all[L3].bytes = half_of_cache(engine->rt->io, 3, _SC_LEVEL3_CACHE_SIZE, (size_t)16 << 20);
  if (all[L3].bytes > RAM_BYTES / 4) all[L3].bytes = RAM_BYTES / 4;
  all[RAM].bytes = RAM_BYTES;
  uint64_t *words = mem_alloc(&engine->rt->mem, RAM_BYTES);
  if (!words) return error_set(error, VIVA_E_MEMORY, "no memory for %zu bytes to read", RAM_BYTES);
  measure_caches(compress_kernels_best(), words, all);
  mem_free(&engine->rt->mem, words);
  if (path) TRY(measure_storage(engine->rt, path, &all[STORAGE], error));
  const size_t size = levels[0].size;
  for (size_t i = 0; i < VIVA_MEASURED_LEVELS; i++) {
    all[i].size = sizeof all[i];
    TRY(options_fill((char *)levels + i * size, &all[i], "viva_measured_level", error));
  }
  return VIVA_OK;
}
