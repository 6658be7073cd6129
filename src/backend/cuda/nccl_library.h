/* nccl_library.h: NCCL, opened at run time: what several GPUs of one host exchange large sums with. What is used of its
 * header is declared here: the numbers of its enumerations are part of its binary interface. */
#ifndef CUDA_NCCL_LIBRARY_H
#define CUDA_NCCL_LIBRARY_H

#include <stddef.h>

#include "backend/cuda/library_loader.h"
#include "viva/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ncclComm *nccl_comm;
enum { NCCL_OK = 0, NCCL_FLOAT = 7, NCCL_SUM = 0 };

/* Every function that is used: name without its prefix, arguments. All return ncclResult_t, an int. */
#define NCCL_FUNCTIONS(X)                                                                                              \
  X(GetVersion, (int *version))                                                                                        \
  X(CommInitAll, (nccl_comm * comms, int count, const int *devices))                                                   \
  X(CommAbort, (nccl_comm comm))                                                                                       \
  X(AllReduce, (const void *from, void *to, size_t count, int type, int operation, nccl_comm comm, void *stream))

typedef struct nccl_library {
  const library_loader *loader;
  void *file;
  int version; /* 22805 is 2.28.5 */
#define NCCL_POINTER(name, arguments) int(*name) arguments;
  NCCL_FUNCTIONS(NCCL_POINTER)
#undef NCCL_POINTER
} nccl_library;

/* Errors: E_UNSUPPORTED (absent, or it lacks a function: named); then *library is zero. */
viva_status nccl_library_open(const library_loader *loader, nccl_library *library, viva_error *error);
void nccl_library_close(nccl_library *library);

#ifdef __cplusplus
}
#endif
#endif
