/* backend/backends.c: what this build has. */
#include "backend/backend.h"

#ifdef VIVA_WITH_CUDA
extern const backend_ops backend_cuda; /* backend/cuda */
const backend_ops *const backends[] = {&backend_cpu, &backend_cuda, NULL};
#else
const backend_ops *const backends[] = {&backend_cpu, NULL};
#endif
