/* backend/backends.c: what this build has. */
#include "backend/backend.h"

const backend_ops *const backends[] = {&backend_cpu, NULL};
