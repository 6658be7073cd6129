/* backend/cuda/cuda_backend.c: the CUDA backend's table, its devices, its lifetime, its errors. */
#include "backend/cuda/cuda.h"
#include "backend/cuda/cuda_exchange.h"

#include <stdio.h>
#include <string.h>

/* ---- errors */

/* After these nothing on the device works any more: the context is gone, or the GPU. */
static int ends_device(cudaError_t status) {
  switch (status) {
  case cudaErrorIllegalAddress:
  case cudaErrorLaunchFailure:
  case cudaErrorLaunchTimeout:
  case cudaErrorMisalignedAddress:
  case cudaErrorIllegalInstruction:
  case cudaErrorInvalidAddressSpace:
  case cudaErrorInvalidPc:
  case cudaErrorHardwareStackError:
  case cudaErrorECCUncorrectable:
  case cudaErrorNvlinkUncorrectable:
  case cudaErrorAssert:
  case cudaErrorContextIsDestroyed:
  case cudaErrorDevicesUnavailable:
  case cudaErrorExternalDevice:
  case cudaErrorUnknown: return 1;
  default: return 0;
  }
}

static viva_status lost_error(const cuda_backend *c, viva_error *error) {
  return error_set(error, VIVA_E_DEVICE, "GPU %d is lost since %s: %s (%s); open another engine", c->device,
                   c->lost_where, c->api->GetErrorString(c->lost), c->api->GetErrorName(c->lost));
}

viva_status cuda_check(cuda_backend *c, cudaError_t status, const char *where, viva_error *error) {
  if (status == cudaSuccess) return VIVA_OK;
  if (ends_device(status)) {
    if (c->lost == cudaSuccess) snprintf(c->lost_where, sizeof c->lost_where, "%s", where);
    if (c->lost == cudaSuccess) c->lost = status;
    return lost_error(c, error);
  }
  const viva_status code = status == cudaErrorMemoryAllocation ? VIVA_E_MEMORY : VIVA_E_INTERNAL;
  return error_set(error, code, "%s on GPU %d: %s (%s)", where, c->device, c->api->GetErrorString(status),
                   c->api->GetErrorName(status));
}

viva_status cuda_enter(cuda_backend *c, viva_error *error) {
  pthread_mutex_lock(&c->lock);
  viva_status status = c->lost == cudaSuccess
                           ? cuda_check(c, c->api->SetDevice(c->device), "choosing the device", error)
                           : lost_error(c, error);
  if (status) pthread_mutex_unlock(&c->lock);
  return status;
}

viva_status cuda_leave(cuda_backend *c, viva_status status) {
  pthread_mutex_unlock(&c->lock);
  return status;
}

/* ---- devices */

#define LEAST_MAJOR 8 /* compute capability: what the kernels are compiled for */

static void describe(const struct cudaDeviceProp *found, int index, viva_device_info *info) {
  const size_t size = info->size;
  *info =
      (viva_device_info){.size = size, .kind = VIVA_DEVICE_CUDA, .index = index, .memory_total = found->totalGlobalMem};
  snprintf(info->name, sizeof info->name, "%.127s", found->name);
  snprintf(info->kernels, sizeof info->kernels, "sm_%d%d", found->major, found->minor);
}

static int cuda_device(size_t index, viva_device_info *info) {
  const cuda_api *api = &cuda_api_runtime;
  struct cudaDeviceProp found;
  int count = 0;
  if (api->GetDeviceCount(&count) != cudaSuccess || index >= (size_t)count) return 0;
  if (api->GetDeviceProperties(&found, (int)index) != cudaSuccess || found.major < LEAST_MAJOR) return 0;
  describe(&found, (int)index, info);
  return 1;
}

/* Why there is no such device: the words of E_NO_CUDA. */
static viva_status find_device(const cuda_api *api, int index, struct cudaDeviceProp *found, viva_error *error) {
  int count = 0;
  const cudaError_t status = api->GetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver)
    return error_set(error, VIVA_E_NO_CUDA,
                     "no NVIDIA driver for CUDA %d.%d was found; install one, or choose the device AUTO or CPU",
                     CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
  if (status != cudaSuccess || count == 0)
    return error_set(error, VIVA_E_NO_CUDA, "no NVIDIA GPU was found: %s; choose the device AUTO or CPU",
                     status == cudaSuccess ? "the driver lists none" : api->GetErrorString(status));
  if (index >= count)
    return error_set(error, VIVA_E_ARGUMENT, "device_index is %d; this machine has %d GPU%s (0 to %d)", index, count,
                     count == 1 ? "" : "s", count - 1);
  const cudaError_t read = api->GetDeviceProperties(found, index);
  if (read != cudaSuccess)
    return error_set(error, VIVA_E_NO_CUDA, "GPU %d cannot be read: %s; choose the device AUTO or CPU", index,
                     api->GetErrorString(read));
  if (found->major < LEAST_MAJOR)
    return error_set(error, VIVA_E_NO_CUDA,
                     "GPU %d (%s) has compute capability %d.%d; %d.0 or newer is needed; choose the device AUTO or CPU",
                     index, found->name, found->major, found->minor, LEAST_MAJOR);
  return VIVA_OK;
}

/* ---- lifetime */

static void cuda_close(backend *b) {
  cuda_backend *c = cuda_of(b);
  if (!c) return;
  runtime *rt = c->rt;
  const cuda_api *api = c->api;
  api->SetDevice(c->device); /* a lost device refuses all of this, and holds nothing any more */
  if (c->stream) api->StreamSynchronize(c->stream);
  cuda_decode_end(c);
  cuda_lt_end(&c->lt);
  enum { ROOMS = 6 };
  cuda_room *const rooms[ROOMS] = {&c->rows, &c->product, &c->expanded, &c->meet, &c->split, &c->lt_workspace};
  for (size_t i = 0; i < ROOMS; i++)
    if (rooms[i]->dev) api->FreeAsync(rooms[i]->dev, c->stream);
  if (c->answers) api->FreeHost(c->answers);
  if (c->begin) api->EventDestroy(c->begin);
  if (c->end) api->EventDestroy(c->end);
  if (c->stream) api->StreamSynchronize(c->stream);
  if (c->pool) api->MemPoolDestroy(c->pool);
  if (c->stream) api->StreamDestroy(c->stream);
  pthread_mutex_destroy(&c->lock);
  mem_free(&rt->mem, c);
  runtime_release(rt);
}

/* The pool keeps what is freed: once warm, nothing is asked of the driver. */
static viva_status make_pool(cuda_backend *c, viva_error *error) {
  const struct cudaMemPoolProps properties = {.allocType = cudaMemAllocationTypePinned,
                                              .location = {.type = cudaMemLocationTypeDevice, .id = c->device}};
  uint64_t keep = UINT64_MAX;
  TRY(cuda_check(c, c->api->MemPoolCreate(&c->pool, &properties), "making the pool of memory", error));
  return cuda_check(c, c->api->MemPoolSetAttribute(c->pool, cudaMemPoolAttrReleaseThreshold, &keep),
                    "making the pool of memory", error);
}

static viva_status start(cuda_backend *c, viva_error *error) {
  const cuda_api *api = c->api;
  TRY(cuda_check(c, api->SetDevice(c->device), "choosing the device", error));
  TRY(cuda_check(c, api->StreamCreateWithFlags(&c->stream, cudaStreamNonBlocking), "making the stream", error));
  TRY(make_pool(c, error));
  TRY(cuda_check(c, api->EventCreate(&c->begin), "making an event", error));
  return cuda_check(c, api->EventCreate(&c->end), "making an event", error);
}

viva_status cuda_open_with(runtime *rt, const cuda_api *api, const cuda_kernels *kernels, int device_index,
                           backend **out, viva_error *error) {
  struct cudaDeviceProp found;
  *out = NULL;
  TRY(find_device(api, device_index, &found, error));
  cuda_backend *c = mem_zalloc(&rt->mem, sizeof *c);
  if (!c) return error_set(error, VIVA_E_MEMORY, "no memory for the CUDA backend");
  c->base = (backend){.ops = &backend_cuda, .host_memory = 0};
  c->rt = runtime_retain(rt);
  c->api = api;
  c->kernels = kernels;
  c->libraries = &library_loader_system;
  c->device = device_index;
  c->gpu = (cuda_gpu){.major = found.major,
                      .minor = found.minor,
                      .multiprocessors = found.multiProcessorCount,
                      .shared_most = found.sharedMemPerBlockOptin};
  pthread_mutex_init(&c->lock, NULL);
  const viva_status status = start(c, error);
  if (status) {
    cuda_close(&c->base);
    return status;
  }
  *out = &c->base;
  return VIVA_OK;
}

static viva_status cuda_open(runtime *rt, pool *p, int device_index, viva_cpu_kernels kernels, backend **out,
                             viva_error *error) {
  (void)p;
  (void)kernels;
  return cuda_open_with(rt, &cuda_api_runtime, &cuda_kernels_compiled, device_index, out, error);
}

static void cuda_info(backend *b, viva_device_info *info) {
  cuda_backend *c = cuda_of(b);
  struct cudaDeviceProp found;
  size_t available = 0, total = 0;
  *info = (viva_device_info){.size = info->size, .kind = VIVA_DEVICE_CUDA, .index = c->device};
  if (cuda_enter(c, NULL)) return;
  if (c->api->GetDeviceProperties(&found, c->device) == cudaSuccess) describe(&found, c->device, info);
  if (c->api->MemGetInfo(&available, &total) == cudaSuccess) info->memory_available = available;
  cuda_leave(c, VIVA_OK);
}

const backend_ops backend_cuda = {
    .name = "cuda",
    .kind = VIVA_DEVICE_CUDA,
    .pass_rows = 2048, /* a wave of 256 × 128 tiles on 132 multiprocessors, for each of a model's matrices */
    .pass_bytes = (uint64_t)512 << 20,
    .device = cuda_device,
    .open = cuda_open,
    .close = cuda_close,
    .info = cuda_info,
    .join = cuda_join,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .upload = cuda_upload,
    .host_alloc = cuda_host_alloc,
    .host_free = cuda_host_free,
    .upload_wait = cuda_upload_wait,
    .download = cuda_download,
    .copy = cuda_copy,
    .weight_bytes = cuda_weight_bytes,
    .weight_prepare = cuda_weight_prepare,
    .pack_rows = cuda_pack_rows,
    .step_begin = cuda_step_begin,
    .step_end = cuda_step_end,
    .embed = cuda_embed,
    .rmsnorm = cuda_rmsnorm,
    .linear = cuda_linear,
    .takes_f16 = cuda_takes_f16,
    .quantized_bytes = cuda_quantized_bytes,
    .quantize_rows = cuda_quantize_rows,
    .load_rows = cuda_load_rows,
    .store_rows = cuda_store_rows,
    .rope_append = cuda_rope_append,
    .attention = cuda_attention,
    .turn_attention = cuda_turn_attention,
    .silu_mul = cuda_silu_mul,
    .linear_gated = cuda_linear_gated,
    .linear_outer = cuda_linear_outer,
    .rmsnorm_codes = cuda_rmsnorm_codes,
    .silu_mul_codes = cuda_silu_mul_codes,
    .take_rows = cuda_take_rows,
    .top = cuda_top,
    .decode_step = cuda_decode_step,
    .decode_rows = CUDA_DECODE_ROWS,
    .angle_rows = CUDA_DECODE_ROWS,
    .angle_sequences = CUDA_ANGLE_SEQUENCES,
    .decode_forget = cuda_decode_forget,
    .read_pass = cuda_read_pass,
    .chase = cuda_chase,
    .scratch_bytes = cuda_scratch_bytes,
    .reserve = cuda_reserve,
};
