/* bench_compress: viva_compress beside copying the same values by as many threads, in turn in one run.
 *
 *   bench_compress [THREADS [MB [ROUNDS]]]      (default 2 512 9)
 *
 * Copy bandwidth is bytes copied a second: each is read once and written once, and counts once. compress counts alike: bytes of
 * FP32 read a second, whatever it writes, and once where it reads them twice to find the scale. What is read was written before,
 * by the threads that use it. So was what is written where "kept" stands: an allocator keeps the compressed arrays for the next
 * call. "new" is memory that the system gives and clears each time, in pages of 2 MiB.
 *
 * Prints medians of the rounds, and the ratio to memcpy in the same round, with the least and the largest: memcpy into memory
 * that was written before, and for "new" memcpy into new memory as well. At the end the copies themselves; the one "past the
 * caches" need not read what it overwrites.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "bench.h"
#include "viva/compress.h"
#include "viva/tensor_ops.h"

enum { MOST_ROUNDS = 99, MOST_THREADS = 256, MOST_KEPT = 512 };
#define HUGE_PAGE ((size_t)2 << 20)

/* -- an allocator that keeps what was freed */

typedef struct kept_block {
  size_t bytes;
  int used;
  char *at;
} kept_block;

typedef struct keeper {
  pthread_mutex_t lock;
  kept_block blocks[MOST_KEPT];
} keeper;

/* NULL: there is no memory. */
static char *map_pages(size_t bytes) {
  char *base = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return NULL;
  char *at = base + (HUGE_PAGE - (uintptr_t)base % HUGE_PAGE) % HUGE_PAGE; /* what lies around it costs nothing */
  (void)madvise(at, bytes, MADV_HUGEPAGE);
  return at;
}

/* Large blocks: one that is free and has the same size, or a new one. */
static void *keeper_alloc(void *user, size_t bytes) {
  keeper *k = user;
  char *at = NULL;
  if (bytes < HUGE_PAGE / 4) return malloc(bytes);
  pthread_mutex_lock(&k->lock);
  for (kept_block *b = k->blocks; b < k->blocks + MOST_KEPT && !at; b++) {
    if (b->used || (b->at && b->bytes != bytes)) continue;
    if (!b->at) b->at = map_pages(bytes);
    b->bytes = bytes;
    b->used = b->at != NULL;
    at = b->at;
    break;
  }
  pthread_mutex_unlock(&k->lock);
  return at;
}

static void keeper_free(void *user, void *memory) {
  keeper *k = user;
  kept_block *found = NULL;
  pthread_mutex_lock(&k->lock);
  for (kept_block *b = k->blocks; b < k->blocks + MOST_KEPT && !found; b++)
    if (memory && b->at == memory) found = b;
  if (found) found->used = 0;
  pthread_mutex_unlock(&k->lock);
  if (!found) free(memory);
}

/* Large blocks never grow here: compress gives their size at once. */
static void *keeper_realloc(void *user, void *memory, size_t bytes) {
  (void)user;
  return realloc(memory, bytes);
}

/* -- copying by threads */

enum { COPY, COPY_PAST, COPY_NEW, COPIES };
static const char *const copies[] = {"memcpy", "copy past the caches", "memcpy into new memory"};

typedef struct copiers copiers;

typedef struct copier {
  pthread_t thread;
  copiers *all;
  size_t begin, end; /* bytes */
} copier;

struct copiers {
  copier each[MOST_THREADS];
  int count;
  pthread_barrier_t begun, done; /* count threads and the caller */
  char *to, *kept;
  const char *from;
  size_t bytes;
  int how, stop;
};

/* to: aligned to 16. */
static void copy_past(char *to, const char *from, size_t bytes) {
#if defined(__SSE2__)
  for (; bytes >= 64; bytes -= 64, to += 64, from += 64) {
    _mm_prefetch(from + 2048, _MM_HINT_T0);
    for (int i = 0; i < 64; i += 16)
      _mm_stream_si128((__m128i *)(void *)(to + i), _mm_loadu_si128((const __m128i *)(const void *)(from + i)));
  }
  _mm_sfence();
#endif
  memcpy(to, from, bytes);
}

static void *copier_main(void *arg) {
  const copier *c = arg;
  copiers *all = c->all;
  for (;;) {
    pthread_barrier_wait(&all->begun);
    if (all->stop) return NULL;
    if (all->how == COPY_PAST)
      copy_past(all->to + c->begin, all->from + c->begin, c->end - c->begin);
    else
      memcpy(all->to + c->begin, all->from + c->begin, c->end - c->begin);
    pthread_barrier_wait(&all->done);
  }
}

/* 1: no memory. */
static int start_copiers(copiers *all, int threads, const void *from, size_t bytes) {
  const size_t share = bytes / (size_t)threads / 64 * 64;
  all->count = threads, all->from = from, all->bytes = bytes, all->kept = map_pages(bytes);
  if (!all->kept) return 1;
  pthread_barrier_init(&all->begun, NULL, (unsigned)threads + 1);
  pthread_barrier_init(&all->done, NULL, (unsigned)threads + 1);
  for (int i = 0; i < threads; i++) {
    copier *c = &all->each[i];
    c->all = all, c->begin = share * (size_t)i;
    c->end = i + 1 < threads ? c->begin + share : bytes;
    pthread_create(&c->thread, NULL, copier_main, c);
  }
  return 0;
}

/* 0: no memory. */
static double copy_seconds(copiers *all, int how) {
  const double begin = seconds();
  all->how = how, all->to = how == COPY_NEW ? map_pages(all->bytes) : all->kept;
  if (!all->to) return 0;
  pthread_barrier_wait(&all->begun);
  pthread_barrier_wait(&all->done);
  const double took = seconds() - begin;
  if (how == COPY_NEW) munmap(all->to, all->bytes);
  return took;
}

static void stop_copiers(copiers *all) {
  all->stop = 1;
  pthread_barrier_wait(&all->begun);
  for (int i = 0; i < all->count; i++) pthread_join(all->each[i].thread, NULL);
}

/* -- what is compressed how */

typedef struct mode {
  const char *name;
  uint64_t segment;
  int given; /* the scale */
} mode;

static const mode modes[] = {{"one segment", 0, 0},
                             {"one segment, scale given", 0, 1},
                             {"segments of 2^20", 1 << 20, 0},
                             {"segments of 2^18", 1 << 18, 0}};
static const char *const codecs[] = {"affine 4 / 16", "affine 8 / 32", "nvfp4, absmax"};
enum { NEW, KEPT, MEMORIES };
static const char *const memories[] = {"new", "kept"};
enum { MODES = 4, CODECS = 3 };

static viva_compression_config config_of(int codec, const mode *m) {
  viva_compression_config c = codec == 0   ? viva_nvfp4_config()
                              : codec == 1 ? viva_int8_config()
                                           : viva_nvfp4_e2m1_config();
  c.search = VIVA_SEARCH_ABSMAX;
  c.max_error_pct = 0; /* the error is not measured */
  c.segment = m->segment;
  if (m->given) c.global_scale = 8; /* Gaussian values do not reach it */
  return c;
}

typedef struct bench {
  viva_engine *engines[MEMORIES];
  viva_tensor *tensor;
  double bytes;
  size_t rounds;
  double copied[COPIES][MOST_ROUNDS];
  double rate[MODES][CODECS][MEMORIES][MOST_ROUNDS];
} bench;

static void fail(const viva_error *error) {
  fprintf(stderr, "%s\n", error->message);
  exit(1);
}

static double compress_rate(const bench *b, int m, int codec, int memory) {
  const viva_compression_config config = config_of(codec, &modes[m]);
  viva_compressed *c;
  viva_error error;
  const double begin = seconds();
  if (viva_compress(b->engines[memory], b->tensor, &config, &c, &error)) fail(&error);
  const double rate = 1e-9 * b->bytes / (seconds() - begin);
  viva_compressed_release(c);
  return rate;
}

static void round_of(bench *b, size_t r, copiers *all) {
  for (int how = 0; how < COPIES; how++) b->copied[how][r] = 1e-9 * b->bytes / copy_seconds(all, how);
  for (int m = 0; m < MODES; m++)
    for (int codec = 0; codec < CODECS; codec++)
      for (int memory = 0; memory < MEMORIES; memory++)
        b->rate[m][codec][memory][r] = compress_rate(b, m, codec, memory);
}

static void report_beside(const bench *b, const double *rates, int how) {
  double ratio[MOST_ROUNDS];
  for (size_t r = 0; r < b->rounds; r++) ratio[r] = rates[r] / b->copied[how][r];
  const double middle = median(ratio, b->rounds);
  printf("  %.2f (%.2f to %.2f)", middle, ratio[0], ratio[b->rounds - 1]);
}

static void report(bench *b, int m, int codec, int memory) {
  double *rates = b->rate[m][codec][memory], sorted[MOST_ROUNDS];
  memcpy(sorted, rates, sizeof sorted);
  printf("  %-26s %-14s %-5s %6.1f GB/s", modes[m].name, codecs[codec], memories[memory], median(sorted, b->rounds));
  report_beside(b, rates, COPY);
  if (memory == NEW) report_beside(b, rates, COPY_NEW);
  printf("\n");
}

static void report_all(bench *b, int threads) {
  for (int m = 0; m < MODES; m++)
    for (int codec = 0; codec < CODECS; codec++)
      for (int memory = 0; memory < MEMORIES; memory++) report(b, m, codec, memory);
  for (int how = 0; how < COPIES; how++) {
    const double copied = median(b->copied[how], b->rounds);
    printf("%d threads, %.0f MB, %zu rounds: %s %.1f GB/s (%.1f to %.1f)\n", threads, b->bytes / 1e6, b->rounds,
           copies[how], copied, b->copied[how][0], b->copied[how][b->rounds - 1]);
  }
}

static void open_engines(bench *b, keeper *k, int threads) {
  const viva_allocator keep = {keeper_alloc, keeper_realloc, keeper_free, k};
  viva_engine_options options = viva_engine_options_default();
  viva_error error;
  options.threads = threads;
  if (viva_engine_open(&options, &b->engines[NEW], &error)) fail(&error);
  options.allocator = &keep;
  if (viva_engine_open(&options, &b->engines[KEPT], &error)) fail(&error);
}

int main(int argc, char **argv) {
  static bench b;
  static keeper k = {.lock = PTHREAD_MUTEX_INITIALIZER};
  static copiers all;
  const int threads = argc > 1 ? atoi(argv[1]) : 2;
  const size_t values = (argc > 2 ? strtoul(argv[2], NULL, 10) : 512) * 1000000 / sizeof(float);
  viva_random_options normal = viva_random_options_default();
  viva_error error;
  b.rounds = argc > 3 ? strtoul(argv[3], NULL, 10) : 9;
  if (threads < 1 || threads > MOST_THREADS || b.rounds < 1 || b.rounds > MOST_ROUNDS || values == 0)
    return fprintf(stderr, "expected 1 to %d threads, 1 MB and more, 1 to %d rounds\n", MOST_THREADS, MOST_ROUNDS), 1;
  open_engines(&b, &k, threads);
  normal.distribution = VIVA_NORMAL;
  if (viva_tensor_random(b.engines[NEW], VIVA_F32, 1, (uint64_t[]){values}, &normal, &b.tensor, &error)) fail(&error);
  b.bytes = (double)values * sizeof(float);
  if (start_copiers(&all, threads, viva_tensor_elements(b.tensor), values * sizeof(float)))
    return fprintf(stderr, "no memory for a copy\n"), 1;
  for (int warm = 0; warm < 2; warm++) round_of(&b, 0, &all);
  for (size_t r = 0; r < b.rounds; r++) round_of(&b, r, &all);
  stop_copiers(&all);
  report_all(&b, threads);
  viva_tensor_release(b.tensor);
  for (int i = 0; i < MEMORIES; i++) viva_engine_release(b.engines[i]);
  return 0;
}
