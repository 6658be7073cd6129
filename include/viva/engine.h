/* viva/engine.h: the engine: a device or several, its threads, its memory, its log.
 *
 * An engine is thread-safe and reference-counted; models and sessions made on it keep it alive, so it may be released
 * as soon as they exist. Open one per device and share it; or one on several GPUs, which then share
 * each of its models.
 */
#ifndef VIVA_ENGINE_H
#define VIVA_ENGINE_H

#include "viva/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct viva_engine viva_engine;

typedef enum viva_device_kind {
  VIVA_DEVICE_AUTO = 0, /* a GPU when one is usable, else the CPU */
  VIVA_DEVICE_CPU = 1,
  VIVA_DEVICE_CUDA = 2 /* VIVA_E_NO_CUDA when there is none, or when the environment's VIVA_NO_CUDA is set */
} viva_device_kind;

/* Which CPU kernels to use. AUTO takes the best for this CPU: AVX512_BF16 where it multiplies pairs of BF16 in the time
 * of one FMA (AMD), not where it has the instruction but slower (Intel). The others force one table (for tests and
 * comparisons) and give VIVA_E_UNSUPPORTED on a CPU that lacks it. One table gives the same bits on every CPU that can
 * run it. */
typedef enum viva_cpu_kernels {
  VIVA_KERNELS_AUTO = 0,
  VIVA_KERNELS_REFERENCE = 1,  /* plain C, any CPU */
  VIVA_KERNELS_AVX2 = 2,       /* AVX2 + FMA + F16C */
  VIVA_KERNELS_AVX512 = 3,     /* AVX-512 F, BW, DQ, VL */
  VIVA_KERNELS_AVX512_BF16 = 4 /* and BF16, VBMI: FP8 and NVFP4 times quantised rows as pairs of BF16 */
} viva_cpu_kernels;

typedef struct viva_engine_options {
  size_t size;                     /* sizeof(viva_engine_options); set by viva_engine_options_default */
  viva_device_kind device;         /* AUTO */
  int32_t device_index;            /* 0: which GPU */
  int32_t threads;                 /* 0: physical cores, within the process's affinity and its cgroup's quota */
  viva_cpu_kernels kernels;        /* AUTO */
  const viva_allocator *allocator; /* NULL: the C library's; copied, its user pointer must outlive the engine */
  viva_log_fn log;                 /* NULL: silent */
  void *log_user;
  viva_log_level log_level; /* WARN: messages above this level are not made */
  const int32_t *devices; /* NULL: device_index alone; else the indices of several devices of the kind, which share each
                             * model: every one holds its part of the heads, of the matrices and of the KV cache, and all run
                             * each step together. Read while the engine is opened. The CPU's index, 0, may be given several
                             * times (for tests); a GPU's too, which gains nothing */
  size_t device_count;    /* of devices: 1 to 16 */
} viva_engine_options;

VIVA_API viva_engine_options viva_engine_options_default(void);

/* Opens an engine and starts its threads. On success *engine holds one reference, ended by viva_engine_release.
 * Errors: E_ARGUMENT (an option out of range: its name is the error's item; threads is at most 1024), E_MEMORY,
 * E_NO_CUDA, E_UNSUPPORTED (forced kernels).
 *
 * options: NULL for the defaults
 * engine:  receives the handle; set to NULL on failure */
VIVA_API viva_status viva_engine_open(const viva_engine_options *options, viva_engine **engine, viva_error *error);

/* One more reference to the engine; returns it. Thread-safe. */
VIVA_API viva_engine *viva_engine_retain(viva_engine *engine);

/* Gives one reference back. The threads stop with the last one, or with the last tensor made on the engine, which may
 * outlive it. NULL is allowed. Thread-safe. */
VIVA_API void viva_engine_release(viva_engine *engine);

/* What the engine runs on. Strings belong to the engine. Of several devices: the first one's index, the memory of all, and
 * "2 x NAME". Tensors and linear calls of such an engine are the CPU's; models run on the devices. */
typedef struct viva_device_info {
  size_t size;           /* sizeof(viva_device_info), set by the caller before the call */
  viva_device_kind kind; /* CPU or CUDA */
  int32_t index;
  int32_t threads; /* CPU: threads the engine runs on */
  int32_t reserved;
  uint64_t memory_total;     /* bytes; 0 when unknown */
  uint64_t memory_available; /* bytes that can be taken now (CPU: within the cgroup's limit); 0 when unknown */
  char name[128];            /* processor or GPU */
  char kernels[32];          /* "reference", "avx2", "avx512" ... */
} viva_device_info;

/* Thread-safe. Errors: E_ARGUMENT. */
VIVA_API viva_status viva_engine_info(const viva_engine *engine, viva_device_info *info, viva_error *error);

/* Lists what viva_engine_open can open on this machine: index 0 is the CPU. Returns E_NOT_FOUND past the last one.
 * Thread-safe; opens nothing. Why a device is missing is told by opening an engine on it by name: the error says it. */
VIVA_API viva_status viva_device_list(size_t index, viva_device_info *info, viva_error *error);

/* Memory taken through the engine's allocator by it and everything made on it. stats->size set by the caller.
 * Thread-safe. */
VIVA_API viva_status viva_engine_memory(const viva_engine *engine, viva_memory_stats *stats, viva_error *error);

/* Measures how fast the engine's threads read memory: best of several passes over bytes of memory that it takes for the
 * time of the call (choose several times the last-level cache; 0: 512 MiB). The ceiling of decoding speed. Of several GPUs:
 * the sum of their rates.
 *
 * bytes_per_second: receives the rate */
VIVA_API viva_status viva_engine_read_bandwidth(viva_engine *engine, size_t bytes, double *bytes_per_second,
                                                viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
