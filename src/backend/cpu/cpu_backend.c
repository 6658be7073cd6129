/* backend/cpu/cpu_backend.c: the CPU backend's table, its lifetime and its memory. */
#include "backend/cpu/cpu.h"

#include <stdio.h>
#include <string.h>

#include "base/cpu.h"

/* -- kernels */

static const char *const kernel_names[] = {
    [VIVA_KERNELS_AUTO] = "auto",     [VIVA_KERNELS_REFERENCE] = "reference",     [VIVA_KERNELS_AVX2] = "avx2",
    [VIVA_KERNELS_AVX512] = "avx512", [VIVA_KERNELS_AVX512_BF16] = "avx512-bf16",
};

/* The plain table, overridden by what this processor can run, up to the one asked for. */
static viva_status choose_kernels(viva_cpu_kernels wanted, cpu_kernels *k, viva_error *error) {
  if (wanted < VIVA_KERNELS_AUTO || wanted > VIVA_KERNELS_AVX512_BF16)
    return error_set(error, VIVA_E_ARGUMENT, "kernels is %d; expected 0 (auto) to %d", (int)wanted,
                     (int)VIVA_KERNELS_AVX512_BF16);
  viva_cpu_kernels have = VIVA_KERNELS_REFERENCE;
  kernels_reference(k);
#if defined(__x86_64__)
  const cpu_features *cpu = cpu_get();
  const viva_cpu_kernels best = cpu->fast_bf16 ? VIVA_KERNELS_AVX512_BF16 : VIVA_KERNELS_AVX512;
  const viva_cpu_kernels limit = wanted == VIVA_KERNELS_AUTO ? best : wanted;
  if (limit >= VIVA_KERNELS_AVX2 && cpu->avx2) kernels_avx2(k), have = VIVA_KERNELS_AVX2;
  if (limit >= VIVA_KERNELS_AVX512 && cpu->avx2 && cpu->avx512) kernels_avx512(k), have = VIVA_KERNELS_AVX512;
  if (have == VIVA_KERNELS_AVX512 && cpu->avx512_vbmi && cpu->avx512_vnni) kernels_avx512_vbmi(k);
  if (limit >= VIVA_KERNELS_AVX512_BF16 && have == VIVA_KERNELS_AVX512 && cpu->avx512_bf16 && cpu->avx512_vbmi)
    kernels_avx512_bf16(k), have = VIVA_KERNELS_AVX512_BF16;
#endif
  if (wanted == VIVA_KERNELS_AUTO || have == wanted) return VIVA_OK;
  return error_set(error, VIVA_E_UNSUPPORTED, "this processor cannot run the %s kernels; the best it has are %s",
                   kernel_names[wanted], kernel_names[have]);
}

/* -- lifetime */

static void describe(viva_device_info *info, const char *kernels, size_t threads) {
  const size_t size = info->size;
  *info = (viva_device_info){.size = size, .kind = VIVA_DEVICE_CPU, .threads = (int32_t)threads};
  cpu_memory(&info->memory_total, &info->memory_available);
  snprintf(info->name, sizeof info->name, "%s", cpu_get()->name);
  snprintf(info->kernels, sizeof info->kernels, "%s", kernels);
}

static int cpu_device(size_t index, viva_device_info *info) {
  cpu_kernels k;
  if (index > 0 || choose_kernels(VIVA_KERNELS_AUTO, &k, NULL) != VIVA_OK) return 0;
  describe(info, k.name, (size_t)cpu_default_threads());
  return 1;
}

static void cpu_close(backend *b) {
  cpu_backend *cpu = cpu_of(b);
  if (!cpu) return;
  runtime *rt = cpu->rt;
  pthread_mutex_destroy(&cpu->runs_lock);
  pthread_mutex_destroy(&cpu->partial_lock);
  mem_free(&rt->mem, cpu->runs);
  mem_free(&rt->mem, cpu->partial);
  mem_free(&rt->mem, cpu->scratch);
  mem_free(&rt->mem, cpu);
  runtime_release(rt);
}

static viva_status cpu_open(runtime *rt, pool *p, int device_index, viva_cpu_kernels kernels, backend **out,
                            viva_error *error) {
  *out = NULL;
  if (device_index != 0)
    return error_set(error, VIVA_E_ARGUMENT, "device_index is %d; the CPU is device 0", device_index);
  cpu_kernels chosen;
  TRY(choose_kernels(kernels, &chosen, error));
  const size_t threads = p ? (size_t)pool_threads(p) : 1;
  cpu_backend *cpu = mem_alloc(&rt->mem, sizeof *cpu);
  float *scratch = mem_array(&rt->mem, threads, CPU_SCRATCH_FLOATS * sizeof(float));
  float *partial = mem_array(&rt->mem, CPU_PARTIAL_FLOATS + CPU_SCRATCH_FLOATS, sizeof(float));
  cpu_run *runs = mem_array(&rt->mem, threads, sizeof *runs);
  if (!cpu || !scratch || !partial || !runs) {
    mem_free(&rt->mem, runs);
    mem_free(&rt->mem, partial);
    mem_free(&rt->mem, scratch);
    mem_free(&rt->mem, cpu);
    return error_set(error, VIVA_E_MEMORY, "no memory for the work space of %zu threads (%zu bytes each)", threads,
                     CPU_SCRATCH_FLOATS * sizeof(float));
  }
  *cpu = (cpu_backend){.base = {.ops = &backend_cpu, .host_memory = 1},
                       .rt = runtime_retain(rt),
                       .pool = p,
                       .threads = threads,
                       .kernels = chosen,
                       .scratch = scratch,
                       .partial = partial,
                       .runs = runs};
  pthread_mutex_init(&cpu->partial_lock, NULL);
  pthread_mutex_init(&cpu->runs_lock, NULL);
  *out = &cpu->base;
  return VIVA_OK;
}

static void cpu_info(backend *b, viva_device_info *info) {
  const cpu_backend *cpu = cpu_of(b);
  describe(info, cpu->kernels.name, cpu->threads);
}

/* -- memory */

static viva_status cpu_alloc(backend *b, size_t bytes, void **dev, viva_error *error) {
  *dev = mem_alloc(&cpu_of(b)->rt->mem, bytes);
  return *dev ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for %zu bytes", bytes);
}

static viva_status cpu_free(backend *b, void *dev, viva_error *error) {
  (void)error;
  mem_free(&cpu_of(b)->rt->mem, dev);
  return VIVA_OK;
}

static viva_status move(backend *b, void *to, const void *from, size_t bytes, viva_error *error) {
  (void)b;
  (void)error;
  if (bytes > 0) memmove(to, from, bytes);
  return VIVA_OK;
}

/* -- steps */

/* The host's arrays are the device's. */
static viva_status cpu_step_begin(backend *b, const batch *host, void *place, batch *dev, viva_error *error) {
  (void)b;
  (void)place;
  (void)error;
  *dev = *host;
  return VIVA_OK;
}

static viva_status cpu_step_end(backend *b, viva_error *error) {
  (void)b;
  (void)error;
  return VIVA_OK;
}

/* The work space does not depend on the step's size: the kernels work in blocks. */
static size_t cpu_scratch_bytes(backend *b, size_t m, size_t context, size_t width) {
  (void)m;
  (void)context;
  (void)width;
  return ((cpu_of(b)->threads + 1) * CPU_SCRATCH_FLOATS + CPU_PARTIAL_FLOATS) * sizeof(float);
}

static viva_status cpu_reserve(backend *b, size_t m, size_t context, size_t width, viva_error *error) {
  (void)b;
  (void)m;
  (void)context;
  (void)width;
  (void)error;
  return VIVA_OK; /* made at open */
}

const backend_ops backend_cpu = {
    .name = "cpu",
    .kind = VIVA_DEVICE_CPU,
    .pass_rows = 512,
    .pass_bytes = (uint64_t)64 << 20,
    .device = cpu_device,
    .open = cpu_open,
    .close = cpu_close,
    .info = cpu_info,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = move,
    .download = move,
    .copy = move,
    .step_begin = cpu_step_begin,
    .step_end = cpu_step_end,
    .embed = cpu_embed,
    .rmsnorm = cpu_rmsnorm,
    .linear = cpu_linear,
    .quantized_bytes = cpu_quantized_bytes,
    .quantize_rows = cpu_quantize_rows,
    .load_rows = cpu_load_rows,
    .store_rows = cpu_store_rows,
    .rope_append = cpu_rope_append,
    .attention = cpu_attention,
    .silu_mul = cpu_silu_mul,
    .take_rows = cpu_take_rows,
    .top = cpu_top,
    .read_pass = cpu_read_pass,
    .scratch_bytes = cpu_scratch_bytes,
    .reserve = cpu_reserve,
};
