/* backend/cuda/cuda_memory.c: memory of the device, pinned memory of the host's, and copies. */
#include "backend/cuda/cuda.h"

static viva_status take(cuda_backend *c, size_t bytes, void **dev, viva_error *error) {
  size_t available = 0, total = 0;
  *dev = NULL;
  const cudaError_t status = c->api->MallocFromPoolAsync(dev, bytes ? bytes : 1, c->pool, c->stream);
  if (status != cudaErrorMemoryAllocation) return cuda_check(c, status, "taking memory", error);
  *dev = NULL;
  c->api->GetLastError(); /* told here: the next launch, for which the caller may have room, does not fail by it */
  c->api->MemGetInfo(&available, &total);
  return error_set(error, VIVA_E_MEMORY, "GPU %d has no %zu bytes; %zu of its %zu are free", c->device, bytes,
                   available, total);
}

viva_status cuda_alloc(backend *b, size_t bytes, void **dev, viva_error *error) {
  *dev = NULL;
  CUDA_CALL(b, take(cuda_of(b), bytes, dev, error));
}

viva_status cuda_free(backend *b, void *dev, viva_error *error) {
  cuda_backend *c = cuda_of(b);
  if (!dev) return VIVA_OK;
  CUDA_CALL(b, cuda_check(c, c->api->FreeAsync(dev, c->stream), "giving memory back", error));
}

viva_status cuda_upload(backend *b, void *dev, const void *host, size_t bytes, viva_error *error) {
  cuda_backend *c = cuda_of(b);
  if (bytes == 0) return VIVA_OK;
  CUDA_CALL(
      b, cuda_check(c, c->api->MemcpyAsync(dev, host, bytes, cudaMemcpyHostToDevice, c->stream), "an upload", error));
}

static viva_status pin(cuda_backend *c, size_t bytes, void **host, viva_error *error) {
  const cudaError_t status = c->api->MallocHost(host, bytes);
  if (status != cudaSuccess) *host = NULL;
  if (status != cudaErrorMemoryAllocation) return cuda_check(c, status, "taking pinned memory", error);
  c->api->GetLastError(); /* as in take */
  return error_set(error, VIVA_E_MEMORY, "no %zu bytes of the host's memory could be pinned", bytes);
}

viva_status cuda_host_alloc(backend *b, size_t bytes, void **host, viva_error *error) {
  *host = NULL;
  CUDA_CALL(b, pin(cuda_of(b), bytes, host, error));
}

void cuda_host_free(backend *b, void *host) {
  cuda_backend *c = cuda_of(b);
  if (!host) return;
  const int alive = cuda_enter(c, NULL) == VIVA_OK;
  if (alive) c->api->StreamSynchronize(c->stream); /* an upload may read it */
  c->api->FreeHost(host);
  if (alive) cuda_leave(c, VIVA_OK);
}

viva_status cuda_upload_wait(backend *b, viva_error *error) {
  cuda_backend *c = cuda_of(b);
  CUDA_CALL(b, cuda_check(c, c->api->StreamSynchronize(c->stream), "an upload", error));
}

static viva_status bring(cuda_backend *c, void *host, const void *dev, size_t bytes, viva_error *error) {
  TRY(cuda_check(c, c->api->MemcpyAsync(host, dev, bytes, cudaMemcpyDeviceToHost, c->stream), "a download", error));
  return cuda_check(c, c->api->StreamSynchronize(c->stream), "a download", error);
}

viva_status cuda_download(backend *b, void *host, const void *dev, size_t bytes, viva_error *error) {
  if (bytes == 0) return VIVA_OK;
  CUDA_CALL(b, bring(cuda_of(b), host, dev, bytes, error));
}

viva_status cuda_copy(backend *b, void *to, const void *from, size_t bytes, viva_error *error) {
  cuda_backend *c = cuda_of(b);
  if (bytes == 0 || to == from) return VIVA_OK;
  CUDA_CALL(b,
            cuda_check(c, c->api->MemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, c->stream), "a copy", error));
}

/* ---- work space */

viva_status cuda_room_fit(cuda_backend *c, cuda_room *room, size_t bytes, viva_error *error) {
  if (room->bytes >= bytes) return VIVA_OK;
  if (room->dev) TRY(cuda_check(c, c->api->FreeAsync(room->dev, c->stream), "giving work space back", error));
  *room = (cuda_room){NULL, 0};
  TRY(take(c, bytes, &room->dev, error));
  room->bytes = bytes;
  return VIVA_OK;
}

viva_status cuda_answers_fit(cuda_backend *c, size_t bytes, viva_error *error) {
  if (c->answers_bytes >= bytes) return VIVA_OK;
  if (c->answers) c->api->FreeHost(c->answers);
  c->answers = NULL;
  c->answers_bytes = 0;
  TRY(cuda_check(c, c->api->MallocHost(&c->answers, bytes), "taking pinned memory", error));
  c->answers_bytes = bytes;
  return VIVA_OK;
}

/* ---- bandwidth and latency */

/* What is queued between two events, in seconds. */
static viva_status begin_clock(cuda_backend *c, viva_error *error) {
  TRY(cuda_room_fit(c, &c->product, 256, error)); /* what the kernels write, so that nothing is left out */
  return cuda_check(c, c->api->EventRecord(c->begin, c->stream), "reading memory", error);
}

static viva_status end_clock(cuda_backend *c, int launched, double *seconds, viva_error *error) {
  const cuda_api *api = c->api;
  float milliseconds = 0;
  TRY(cuda_check(c, (cudaError_t)launched, "reading memory", error));
  TRY(cuda_check(c, api->EventRecord(c->end, c->stream), "reading memory", error));
  TRY(cuda_check(c, api->EventSynchronize(c->end), "reading memory", error));
  TRY(cuda_check(c, api->EventElapsedTime(&milliseconds, c->begin, c->end), "reading memory", error));
  *seconds = (double)milliseconds / 1000;
  return VIVA_OK;
}

static viva_status read_pass(cuda_backend *c, const void *dev, size_t bytes, double *seconds, viva_error *error) {
  TRY(begin_clock(c, error));
  return end_clock(c, c->kernels->read_memory(&c->gpu, dev, bytes, c->product.dev, c->stream), seconds, error);
}

viva_status cuda_read_pass(backend *b, const void *dev, size_t bytes, double *seconds, viva_error *error) {
  *seconds = 0;
  CUDA_CALL(b, read_pass(cuda_of(b), dev, bytes, seconds, error));
}

static viva_status chase(cuda_backend *c, const uint64_t *words, size_t reads, double *seconds, viva_error *error) {
  TRY(begin_clock(c, error));
  return end_clock(c, c->kernels->chase(words, reads, c->product.dev, c->stream), seconds, error);
}

viva_status cuda_chase(backend *b, const uint64_t *words, size_t reads, double *seconds, viva_error *error) {
  *seconds = 0;
  CUDA_CALL(b, chase(cuda_of(b), words, reads, seconds, error));
}
