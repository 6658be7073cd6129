#include "backend/cuda/sparse_library.h"

#include <string.h>

#include "base/error.h"

static const char *const sparse_names[] = {"libcusparseLt.so.0", NULL};

static viva_status sparse_start(sparse_library *library, viva_error *error) {
  const library_function functions[] = {
#define SPARSE_ROW(name, arguments) {"cusparseLt" #name, &library->name},
      SPARSE_FUNCTIONS(SPARSE_ROW)
#undef SPARSE_ROW
  };
  TRY(library_find_all(library->loader, library->file, "cuSPARSELt", functions, sizeof functions / sizeof *functions,
                       error));
  int status = library->Init(&library->handle);
  if (status == SPARSE_OK) {
    status = library->GetVersion(&library->handle, &library->version);
    if (status != SPARSE_OK) library->Destroy(&library->handle);
  }
  if (status == SPARSE_OK) return VIVA_OK;
  return error_set(error, VIVA_E_UNSUPPORTED, "cuSPARSELt cannot start on this device: its status is %d", status);
}

viva_status sparse_library_open(const library_loader *loader, sparse_library *library, viva_error *error) {
  const char *reason = "";
  memset(library, 0, sizeof *library);
  library->loader = loader;
  library->file = loader->open(sparse_names, &reason);
  if (!library->file) {
    memset(library, 0, sizeof *library);
    return error_set(error, VIVA_E_UNSUPPORTED, "cuSPARSELt (%s) cannot be opened: %s", sparse_names[0], reason);
  }
  viva_status status = sparse_start(library, error);
  if (status != VIVA_OK) {
    loader->close(library->file);
    memset(library, 0, sizeof *library);
  }
  return status;
}

void sparse_library_close(sparse_library *library) {
  if (!library->file) return;
  library->Destroy(&library->handle);
  library->loader->close(library->file);
  memset(library, 0, sizeof *library);
}
