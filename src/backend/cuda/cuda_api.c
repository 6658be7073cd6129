/* backend/cuda/cuda_api.c: the table with the runtime's functions. */
#include "backend/cuda/cuda_api.h"

#if CUDART_VERSION < 13000
#error "CUDA 13.0 or newer is needed"
#endif

static cudaError_t event_create(cudaEvent_t *event) { return cudaEventCreate(event); }
static cudaError_t event_create_with(cudaEvent_t *event, unsigned flags) {
  return cudaEventCreateWithFlags(event, flags);
}
static cudaError_t allocate(void **dev, size_t bytes) { return cudaMalloc(dev, bytes); }
static cudaError_t graph_instantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags) {
  return cudaGraphInstantiate(exec, graph, flags);
}

const cuda_api cuda_api_runtime = {
    .DriverGetVersion = cudaDriverGetVersion,
    .GetDeviceCount = cudaGetDeviceCount,
    .GetDeviceProperties = cudaGetDeviceProperties,
    .SetDevice = cudaSetDevice,
    .DeviceCanAccessPeer = cudaDeviceCanAccessPeer,
    .DeviceEnablePeerAccess = cudaDeviceEnablePeerAccess,
    .GetLastError = cudaGetLastError,
    .Malloc = allocate,
    .Free = cudaFree,
    .Memset = cudaMemset,
    .MemGetInfo = cudaMemGetInfo,
    .StreamCreateWithFlags = cudaStreamCreateWithFlags,
    .StreamDestroy = cudaStreamDestroy,
    .StreamSynchronize = cudaStreamSynchronize,
    .StreamBeginCapture = cudaStreamBeginCapture,
    .StreamEndCapture = cudaStreamEndCapture,
    .GraphInstantiate = graph_instantiate,
    .GraphUpload = cudaGraphUpload,
    .GraphLaunch = cudaGraphLaunch,
    .GraphExecDestroy = cudaGraphExecDestroy,
    .GraphDestroy = cudaGraphDestroy,
    .EventCreate = event_create,
    .EventCreateWithFlags = event_create_with,
    .EventDestroy = cudaEventDestroy,
    .EventRecord = cudaEventRecord,
    .EventSynchronize = cudaEventSynchronize,
    .StreamWaitEvent = cudaStreamWaitEvent,
    .EventElapsedTime = cudaEventElapsedTime,
    .MemPoolCreate = cudaMemPoolCreate,
    .MemPoolSetAttribute = cudaMemPoolSetAttribute,
    .MemPoolTrimTo = cudaMemPoolTrimTo,
    .MemPoolDestroy = cudaMemPoolDestroy,
    .MallocFromPoolAsync = cudaMallocFromPoolAsync,
    .FreeAsync = cudaFreeAsync,
    .MallocHost = cudaMallocHost,
    .FreeHost = cudaFreeHost,
    .MemcpyAsync = cudaMemcpyAsync,
    .Memcpy2DAsync = cudaMemcpy2DAsync,
    .MemsetAsync = cudaMemsetAsync,
    .GetErrorName = cudaGetErrorName,
    .GetErrorString = cudaGetErrorString,
};
