/* compress/memory_device.c: the memory of a device and the way there, measured through the backend's table.
 *
 * What is read and copied is one ring of lines in random order: the reads of which each needs the one before it follow it.
 */
#include <math.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/options.h"
#include "compress/compress_inner.h"
#include "engine/engine.h"

#define DEVICE_BYTES ((size_t)512 << 20) /* ten times a GPU's last cache */
#define DEVICE_LINE  128                 /* a GPU's */
#define CHASES       50000
#define PASSES       4  /* the best counts */
#define ROUNDS       32 /* copies of 4 bytes */

enum { MEMORY, TO_DEVICE, FROM_DEVICE };

static double best_rate(double best, size_t bytes, double seconds) {
  const double now = seconds > 0 ? (double)bytes / seconds / 1e9 : 0;
  return now > best ? now : best;
}

static double seconds_since(uint64_t start) { return (double)(clock_ns() - start + 1) * 1e-9; }

/* An upload may come back before it is done: what is downloaded behind it waits for it. */
static viva_status upload(backend *b, void *dev, const uint64_t *host, size_t bytes, double *seconds,
                          viva_error *error) {
  uint32_t word;
  const uint64_t start = clock_ns();
  TRY(b->ops->upload(b, dev, host, bytes, error));
  TRY(b->ops->download(b, &word, dev, sizeof word, error));
  *seconds = seconds_since(start);
  return VIVA_OK;
}

static viva_status download(backend *b, uint64_t *host, const void *dev, size_t bytes, double *seconds,
                            viva_error *error) {
  const uint64_t start = clock_ns();
  TRY(b->ops->download(b, host, dev, bytes, error));
  *seconds = seconds_since(start);
  return VIVA_OK;
}

static viva_status measure_copies(backend *b, void *dev, uint64_t *host, size_t bytes, viva_measured_level *levels,
                                  viva_error *error) {
  viva_measured_level *to = &levels[TO_DEVICE], *from = &levels[FROM_DEVICE];
  double seconds, there_and_back = INFINITY, back = INFINITY;
  for (int i = 0; i < PASSES; i++) {
    TRY(upload(b, dev, host, bytes, &seconds, error));
    to->gb_per_s = best_rate(to->gb_per_s, bytes, seconds);
    TRY(download(b, host, dev, bytes, &seconds, error));
    from->gb_per_s = best_rate(from->gb_per_s, bytes, seconds);
  }
  for (int i = 0; i < ROUNDS; i++) {
    TRY(upload(b, dev, host, sizeof(uint32_t), &seconds, error));
    there_and_back = seconds < there_and_back ? seconds : there_and_back;
    TRY(download(b, host, dev, sizeof(uint32_t), &seconds, error));
    back = seconds < back ? seconds : back;
  }
  to->latency_ns = there_and_back > back ? (there_and_back - back) * 1e9 : 0;
  from->latency_ns = back * 1e9;
  return VIVA_OK;
}

/* dev holds the ring. */
static viva_status measure_reads(backend *b, const void *dev, size_t bytes, viva_measured_level *to,
                                 viva_error *error) {
  double seconds;
  for (int i = 0; i < PASSES; i++) {
    TRY(b->ops->read_pass(b, dev, bytes, &seconds, error));
    to->gb_per_s = best_rate(to->gb_per_s, bytes, seconds);
  }
  if (!b->ops->chase) return VIVA_OK;
  TRY(b->ops->chase(b, dev, CHASES, &seconds, error));
  to->latency_ns = seconds / CHASES * 1e9;
  return VIVA_OK;
}

viva_status memory_measure_device(backend *b, runtime *rt, size_t bytes,
                                  viva_measured_level levels[VIVA_MEASURED_DEVICE_LEVELS], viva_error *error) {
  static const char *const names[VIVA_MEASURED_DEVICE_LEVELS] = {"device memory", "to the device", "from the device"};
  void *dev = NULL;
  for (int i = 0; i < VIVA_MEASURED_DEVICE_LEVELS; i++)
    levels[i] = (viva_measured_level){.size = sizeof *levels, .name = names[i], .bytes = bytes};
  uint64_t *ring = mem_zalloc(&rt->mem, bytes);
  if (!ring) return error_set(error, VIVA_E_MEMORY, "no memory for %zu bytes to copy", bytes);
  memory_make_ring(ring, bytes / DEVICE_LINE, DEVICE_LINE / sizeof *ring);
  viva_status status = b->ops->alloc(b, bytes, &dev, error);
  if (status == VIVA_OK) status = measure_copies(b, dev, ring, bytes, levels, error);
  if (status == VIVA_OK) status = measure_reads(b, dev, bytes, &levels[MEMORY], error);
  (void)b->ops->free(b, dev, NULL);
  mem_free(&rt->mem, ring);
  return status;
}

viva_status viva_measure_device_memory(viva_engine *engine, viva_measured_level *levels, viva_error *error) {
  if (!engine || !levels) return error_set(error, VIVA_E_ARGUMENT, "%s is NULL", engine ? "levels" : "engine");
  if (engine->backend->host_memory)
    return error_set(error, VIVA_E_UNSUPPORTED, "%s; open an engine on one GPU",
                     engine->ranks ? "the engine has several devices" : "the engine computes in the host's memory");
  viva_measured_level all[VIVA_MEASURED_DEVICE_LEVELS];
  const size_t size = levels[0].size; /* of each: they lie that far apart in a client of another age */
  TRY(memory_measure_device(engine->backend, engine->rt, DEVICE_BYTES, all, error));
  for (size_t i = 0; i < VIVA_MEASURED_DEVICE_LEVELS; i++)
    TRY(options_fill((char *)levels + i * size, &all[i], "viva_measured_level", error));
  return VIVA_OK;
}
