#include "backend/cuda/nccl_library.h"

#include <string.h>

#include "base/error.h"

static const char *const nccl_names[] = {"libnccl.so.2", NULL};

viva_status nccl_library_open(const library_loader *loader, nccl_library *library, viva_error *error) {
  const char *reason = "";
  memset(library, 0, sizeof *library);
  library->loader = loader;
  library->file = loader->open(nccl_names, &reason);
  if (!library->file) {
    memset(library, 0, sizeof *library);
    return error_set(error, VIVA_E_UNSUPPORTED, "NCCL (%s) cannot be opened: %s", nccl_names[0], reason);
  }
  const library_function functions[] = {
#define NCCL_ROW(name, arguments) {"nccl" #name, &library->name},
      NCCL_FUNCTIONS(NCCL_ROW)
#undef NCCL_ROW
  };
  const viva_status status =
      library_find_all(loader, library->file, "NCCL", functions, sizeof functions / sizeof *functions, error);
  if (status)
    nccl_library_close(library);
  else if (library->GetVersion(&library->version) != NCCL_OK)
    library->version = 0;
  return status;
}

void nccl_library_close(nccl_library *library) {
  if (library->file) library->loader->close(library->file);
  memset(library, 0, sizeof *library);
}
