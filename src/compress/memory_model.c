/* compress/memory_model.c: the original's memory hierarchy: figures, labels and transfer times. A model: nothing here is
 * measured (memory_measure.c does that). */
#include <math.h>

#include "base/error.h"
#include "viva/compress.h"

#define KB 1024.0
#define MB (1024 * KB)
#define GB (1024 * MB)

static const struct {
  const char *name, *label;
  double capacity, gb_per_s, latency_ns;
} levels[VIVA_MEMORY_LEVELS] = {
    {"Registers", "fastest, ~10 KB", 10 * KB, 10000, 1},   {"L1 cache", "~128 KB, 100+ GB/s", 128 * KB, 1000, 4},
    {"L2 cache", "~6 MB, 50 GB/s", 6 * MB, 500, 12},       {"HBM", "~24 GB, 8 TB/s for Blackwell", 24 * GB, 8000, 200},
    {"System RAM", "~32 GB, 50 GB/s", 32 * GB, 51.2, 100}, {"Storage", "NVMe SSD, ~1 TB, 7 GB/s", 1024 * GB, 7, 10000},
};

static int known(viva_memory_level level) { return (int)level >= 0 && (int)level < VIVA_MEMORY_LEVELS; }

const char *viva_memory_level_name(viva_memory_level level) {
  return known(level) ? levels[level].name : "unknown level";
}
const char *viva_memory_level_label(viva_memory_level level) {
  return known(level) ? levels[level].label : "unknown level";
}
double viva_memory_capacity_bytes(viva_memory_level level) {
  return known(level) ? levels[level].capacity : (double)NAN;
}
double viva_memory_bandwidth_gbps(viva_memory_level level) {
  return known(level) ? levels[level].gb_per_s : (double)NAN;
}
double viva_memory_latency_ns(viva_memory_level level) { return known(level) ? levels[level].latency_ns : (double)NAN; }

viva_status viva_transfer_time_us(double size_mb, viva_memory_level level, double *microseconds, viva_error *error) {
  if (!microseconds) return error_set(error, VIVA_E_ARGUMENT, "microseconds is NULL; expected a place for the time");
  *microseconds = 0;
  if (!known(level))
    return error_set(error, VIVA_E_ARGUMENT, "level is %d; expected 0 to %d", (int)level, VIVA_MEMORY_LEVELS - 1);
  if (!(size_mb >= 0) || isinf(size_mb))
    return error_set(error, VIVA_E_ARGUMENT, "size_mb is %g; expected a finite size that is not negative", size_mb);
  *microseconds = size_mb / 1024 / levels[level].gb_per_s * 1e6;
  return VIVA_OK;
}
