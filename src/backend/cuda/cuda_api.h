/* backend/cuda/cuda_api.h: what the backend asks of CUDA's runtime, as a table, so that tests put their own in its place:
 * calls that fail, memory that ends, a device that is lost. The runtime is linked statically and opens the driver by
 * itself: where there is none, GetDeviceCount says so and nothing else is called. */
#ifndef CUDA_CUDA_API_H
#define CUDA_CUDA_API_H

#include <cuda_runtime_api.h>

/* Every function: name without its prefix, arguments. All return cudaError_t. */
#define CUDA_FUNCTIONS(X)                                                                                              \
  X(DriverGetVersion, (int *version))                                                                                  \
  X(GetDeviceCount, (int *count))                                                                                      \
  X(GetDeviceProperties, (struct cudaDeviceProp * properties, int device))                                             \
  X(SetDevice, (int device))                                                                                           \
  X(DeviceCanAccessPeer, (int *can, int device, int peer))                                                             \
  X(DeviceEnablePeerAccess, (int peer, unsigned flags))                                                                \
  X(GetLastError, (void))                                                                                              \
  X(Malloc, (void **dev, size_t bytes))                                                                                \
  X(Free, (void *dev))                                                                                                 \
  X(Memset, (void *dev, int value, size_t bytes))                                                                      \
  X(MemGetInfo, (size_t * available, size_t * total))                                                                  \
  X(StreamCreateWithFlags, (cudaStream_t * stream, unsigned flags))                                                    \
  X(StreamDestroy, (cudaStream_t stream))                                                                              \
  X(StreamSynchronize, (cudaStream_t stream))                                                                          \
  X(StreamBeginCapture, (cudaStream_t stream, enum cudaStreamCaptureMode mode))                                        \
  X(StreamEndCapture, (cudaStream_t stream, cudaGraph_t * graph))                                                      \
  X(GraphInstantiate, (cudaGraphExec_t * exec, cudaGraph_t graph, unsigned long long flags))                           \
  X(GraphUpload, (cudaGraphExec_t exec, cudaStream_t stream))                                                          \
  X(GraphLaunch, (cudaGraphExec_t exec, cudaStream_t stream))                                                          \
  X(GraphExecDestroy, (cudaGraphExec_t exec))                                                                          \
  X(GraphDestroy, (cudaGraph_t graph))                                                                                 \
  X(EventCreate, (cudaEvent_t * event))                                                                                \
  X(EventCreateWithFlags, (cudaEvent_t * event, unsigned flags))                                                       \
  X(EventDestroy, (cudaEvent_t event))                                                                                 \
  X(EventRecord, (cudaEvent_t event, cudaStream_t stream))                                                             \
  X(EventSynchronize, (cudaEvent_t event))                                                                             \
  X(StreamWaitEvent, (cudaStream_t stream, cudaEvent_t event, unsigned flags))                                         \
  X(EventElapsedTime, (float *milliseconds, cudaEvent_t from, cudaEvent_t to))                                         \
  X(MemPoolCreate, (cudaMemPool_t * pool, const struct cudaMemPoolProps *properties))                                  \
  X(MemPoolSetAttribute, (cudaMemPool_t pool, enum cudaMemPoolAttr which, void *value))                                \
  X(MemPoolTrimTo, (cudaMemPool_t pool, size_t keep))                                                                  \
  X(MemPoolDestroy, (cudaMemPool_t pool))                                                                              \
  X(MallocFromPoolAsync, (void **dev, size_t bytes, cudaMemPool_t pool, cudaStream_t stream))                          \
  X(FreeAsync, (void *dev, cudaStream_t stream))                                                                       \
  X(MallocHost, (void **host, size_t bytes))                                                                           \
  X(FreeHost, (void *host))                                                                                            \
  X(MemcpyAsync, (void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream))            \
  X(Memcpy2DAsync, (void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,       \
                    enum cudaMemcpyKind kind, cudaStream_t stream))                                                    \
  X(MemsetAsync, (void *dev, int value, size_t bytes, cudaStream_t stream))

typedef struct cuda_api {
#define CUDA_POINTER(name, arguments) cudaError_t(*name) arguments;
  CUDA_FUNCTIONS(CUDA_POINTER)
#undef CUDA_POINTER
  const char *(*GetErrorName)(cudaError_t status);
  const char *(*GetErrorString)(cudaError_t status);
} cuda_api;

/* The runtime's own. */
extern const cuda_api cuda_api_runtime;

#endif
