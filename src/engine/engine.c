/* engine/engine.c: the engine handle: options, device, threads, memory. */
#include "engine/engine.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/options.h"
#include "viva/viva.h"

#define MAX_THREADS 1024 /* viva/engine.h */

#define STRING(x)  #x
#define VERSION(x) STRING(x)

const char *viva_version(void) {
  return VERSION(VIVA_VERSION_MAJOR) "." VERSION(VIVA_VERSION_MINOR) "." VERSION(VIVA_VERSION_PATCH);
}

/* -- options */

viva_engine_options viva_engine_options_default(void) {
  return (viva_engine_options){.size = sizeof(viva_engine_options), .log_level = VIVA_LOG_WARN};
}

static viva_status check_devices(const viva_engine_options *o, viva_error *error) {
  if (!o->devices && o->device_count == 0) return VIVA_OK;
  if (!o->devices || o->device_count == 0 || o->device_count > RANKS_MOST) {
    error_set(error, VIVA_E_ARGUMENT, "device_count is %zu; expected 1 to %d, and as many numbers in devices",
              o->device_count, RANKS_MOST);
    return error_option(error, VIVA_E_ARGUMENT, "device_count");
  }
  for (size_t i = 0; i < o->device_count; i++) {
    if (o->devices[i] >= 0) continue;
    error_set(error, VIVA_E_ARGUMENT, "devices[%zu] is %d; expected 0 or more", i, (int)o->devices[i]);
    return error_option(error, VIVA_E_ARGUMENT, "devices");
  }
  if (o->device_index == 0) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "device_index and devices are both given; give one of them");
  return error_option(error, VIVA_E_ARGUMENT, "device_index");
}

static viva_status check_options(const viva_engine_options *o, viva_error *error) {
  if (o->threads < 0 || o->threads > MAX_THREADS) {
    error_set(error, VIVA_E_ARGUMENT, "threads is %d; expected 0 (one for each physical core) to %d", (int)o->threads,
              MAX_THREADS);
    return error_option(error, VIVA_E_ARGUMENT, "threads");
  }
  if (o->device_index < 0) {
    error_set(error, VIVA_E_ARGUMENT, "device_index is %d; expected 0 or more", (int)o->device_index);
    return error_option(error, VIVA_E_ARGUMENT, "device_index");
  }
  if (o->log_level < VIVA_LOG_ERROR || o->log_level > VIVA_LOG_DEBUG) {
    error_set(error, VIVA_E_ARGUMENT, "log_level is %d; expected %d (errors) to %d (debug)", (int)o->log_level,
              (int)VIVA_LOG_ERROR, (int)VIVA_LOG_DEBUG);
    return error_option(error, VIVA_E_ARGUMENT, "log_level");
  }
  TRY(check_devices(o, error));
  const viva_allocator *a = o->allocator;
  if (a && (!a->alloc || !a->realloc || !a->free)) {
    error_set(error, VIVA_E_ARGUMENT, "alloc, realloc and free must all be given");
    return error_option(error, VIVA_E_ARGUMENT, "allocator");
  }
  return VIVA_OK;
}

/* -- device */

/* The library's one look at the environment. Set means: not empty, not "0". */
static int cuda_switched_off(void) {
  const char *value = getenv("VIVA_NO_CUDA");
  return value && value[0] != 0 && strcmp(value, "0") != 0;
}

/* The backend of a kind; NULL: this build has none. */
static const backend_ops *backend_of(viva_device_kind kind) {
  for (const backend_ops *const *at = backends; *at; at++)
    if ((*at)->kind == kind) return *at;
  return NULL;
}

/* The table for a device kind, and the index within it. AUTO is a GPU when there is one, else the CPU. */
static viva_status choose_device(const viva_engine_options *o, const backend_ops **ops, int *index, viva_error *error) {
  const int off = cuda_switched_off();
  const backend_ops *cuda = backend_of(VIVA_DEVICE_CUDA);
  viva_device_info info = {.size = sizeof info};
  *ops = backends[0];
  *index = 0;
  switch (o->device) {
  case VIVA_DEVICE_AUTO:
    if (cuda && !off && cuda->device(0, &info)) *ops = cuda;
    return VIVA_OK;
  case VIVA_DEVICE_CPU: *index = o->device_index; return VIVA_OK;
  case VIVA_DEVICE_CUDA:
    *ops = cuda;
    *index = o->device_index;
    if (cuda && !off) return VIVA_OK;
    error_set(error, VIVA_E_NO_CUDA, "%s; choose the device AUTO or CPU",
              off ? "VIVA_NO_CUDA is set" : "this build has no CUDA backend");
    return error_option(error, VIVA_E_NO_CUDA, "device");
  }
  error_set(error, VIVA_E_ARGUMENT, "device is %d; expected 0 (auto), 1 (CPU) or 2 (CUDA)", (int)o->device);
  return error_option(error, VIVA_E_ARGUMENT, "device");
}

/* -- lifetime */

/* Frees what there is of an engine, in reverse order; the runtime frees itself with its last user. */
static void engine_end(viva_engine *e) {
  runtime *rt = e->rt;
  ranks_close(e->ranks);
  if (e->backend) e->backend->ops->close(e->backend);
  mem_free(&rt->mem, e);
  runtime_release(rt);
}

/* What the engine's models run on. */
static void engine_info(const viva_engine *e, viva_device_info *info) {
  if (e->ranks)
    ranks_info(e->ranks, info);
  else
    e->backend->ops->info(e->backend, info);
}

static viva_status engine_start(const viva_engine_options *o, const backend_ops *ops, int index, viva_engine *e,
                                viva_error *error) {
  const int threads = o->threads > 0 ? (int)o->threads : cpu_default_threads();
  TRY(pool_create(e->rt, threads, &e->pool, error));
  e->rt->pool = e->pool;
  viva_device_info info = {.size = sizeof info};
  if (o->device_count > 1) {
    TRY(backends[0]->open(e->rt, e->pool, 0, o->kernels, &e->backend, error));
    TRY(ranks_open(e->rt, e->pool, ops, o->devices, o->device_count, o->kernels, &e->ranks, error));
  } else {
    TRY(ops->open(e->rt, e->pool, index, o->kernels, &e->backend, error));
  }
  engine_info(e, &info);
  runtime_log(e->rt, VIVA_LOG_INFO, "%s, %s kernels, %d threads", info.name, info.kernels, (int)info.threads);
  return VIVA_OK;
}

viva_status engine_open(const viva_engine_options *options, const io_table *io, viva_engine **engine,
                        viva_error *error) {
  if (!engine) return error_set(error, VIVA_E_ARGUMENT, "engine is NULL; expected a place for the handle");
  *engine = NULL;
  viva_engine_options o = viva_engine_options_default();
  const backend_ops *ops;
  int index;
  TRY(options_read(&o, options, "viva_engine_options", error));
  TRY(check_options(&o, error));
  if (o.device_count == 1) o.device_index = o.devices[0];
  TRY(choose_device(&o, &ops, &index, error));
  runtime *rt = runtime_create(o.allocator, io, o.log, o.log_user, o.log_level);
  if (!rt) return error_set(error, VIVA_E_MEMORY, "no memory for an engine");
  viva_engine *e = mem_zalloc(&rt->mem, sizeof *e);
  if (!e) {
    runtime_release(rt);
    return error_set(error, VIVA_E_MEMORY, "no memory for an engine");
  }
  e->rt = rt;
  engine_make_device(e);
  atomic_init(&e->references, 1);
  const viva_status status = engine_start(&o, ops, index, e, error);
  if (status != VIVA_OK) {
    engine_end(e);
    return status;
  }
  *engine = e;
  return VIVA_OK;
}

viva_status viva_engine_open(const viva_engine_options *options, viva_engine **engine, viva_error *error) {
  return engine_open(options, NULL, engine, error);
}

viva_engine *viva_engine_retain(viva_engine *engine) {
  if (engine) atomic_fetch_add_explicit(&engine->references, 1, memory_order_relaxed);
  return engine;
}

void viva_engine_release(viva_engine *engine) {
  if (!engine) return;
  if (atomic_fetch_sub_explicit(&engine->references, 1, memory_order_acq_rel) == 1) engine_end(engine);
}

/* -- what it is and has */

static viva_status need_engine(const viva_engine *engine, viva_error *error) {
  return engine ? VIVA_OK : error_set(error, VIVA_E_ARGUMENT, "engine is NULL; open one with viva_engine_open");
}

viva_status viva_engine_info(const viva_engine *engine, viva_device_info *info, viva_error *error) {
  TRY(need_engine(engine, error));
  viva_device_info found = {.size = sizeof found};
  engine_info(engine, &found);
  return options_fill(info, &found, "viva_device_info", error);
}

viva_status viva_device_list(size_t index, viva_device_info *info, viva_error *error) {
  viva_device_info found = {.size = sizeof found};
  size_t before = 0; /* devices of the backends so far */
  for (const backend_ops *const *at = backends; *at; at++) {
    size_t own = 0;
    if ((*at)->kind == VIVA_DEVICE_CUDA && cuda_switched_off()) continue;
    while ((*at)->device(own, &found)) {
      if (before + own == index) return options_fill(info, &found, "viva_device_info", error);
      own++;
    }
    before += own;
  }
  return error_set(error, VIVA_E_NOT_FOUND, "device %zu was asked for; this machine has %zu that viva can use", index,
                   before);
}

viva_status viva_engine_memory(const viva_engine *engine, viva_memory_stats *stats, viva_error *error) {
  TRY(need_engine(engine, error));
  const mem *m = &engine->rt->mem;
  const viva_memory_stats found = {.size = sizeof found,
                                   .current_bytes = atomic_load(&m->current),
                                   .peak_bytes = atomic_load(&m->peak),
                                   .allocations = atomic_load(&m->allocations)};
  return options_fill(stats, &found, "viva_memory_stats", error);
}

/* -- bandwidth */

#define BANDWIDTH_BYTES  ((size_t)512 << 20)
#define BANDWIDTH_PASSES 8

static viva_status read_rate(backend *b, size_t bytes, double *bytes_per_second, viva_error *error) {
  void *memory;
  TRY(b->ops->alloc(b, bytes, &memory, error));
  /* Written once: untouched pages are all the same page of zeros, which the caches hold. */
  if (b->host_memory) memset(memory, 1, bytes);
  double best = 0;
  viva_status status = VIVA_OK;
  for (int i = 0; i < BANDWIDTH_PASSES && !status; i++) {
    double seconds = 0;
    status = b->ops->read_pass(b, memory, bytes, &seconds, error);
    if (seconds > 0 && (double)bytes / seconds > best) best = (double)bytes / seconds;
  }
  b->ops->free(b, memory, NULL);
  *bytes_per_second = best;
  return status;
}

viva_status viva_engine_read_bandwidth(viva_engine *engine, size_t bytes, double *bytes_per_second, viva_error *error) {
  TRY(need_engine(engine, error));
  if (!bytes_per_second)
    return error_set(error, VIVA_E_ARGUMENT, "bytes_per_second is NULL; expected a place for the rate");
  rank_set *r = engine->ranks;
  if (bytes == 0) bytes = BANDWIDTH_BYTES;
  if (!r || r->each[0].b->host_memory) return read_rate(engine->backend, bytes, bytes_per_second, error);
  *bytes_per_second = 0;
  for (size_t i = 0; i < r->count; i++) {
    double own;
    TRY(ranks_met(r, i, read_rate(r->each[i].b, bytes, &own, error), error));
    *bytes_per_second += own;
  }
  return VIVA_OK;
}
