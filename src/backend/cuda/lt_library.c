#include "backend/cuda/lt_library.h"

#include <string.h>

#include "base/error.h"

/* Version 13 begins with the scales of rows and columns that linear_fp8 uses on sm_90 (12.9 has them too, under another
 * name of the file). */
#define LT_OLDEST 120900

static const char *const lt_names[] = {"libcublasLt.so.13", "libcublasLt.so.12", NULL};

static viva_status lt_find_all(lt_library *library, viva_error *error) {
  const library_function functions[] = {{"cublasLtGetVersion", &library->GetVersion},
#define LT_ROW(name, arguments) {"cublasLt" #name, &library->name},
                                        LT_FUNCTIONS(LT_ROW)
#undef LT_ROW
  };
  return library_find_all(library->loader, library->file, "cuBLASLt", functions, sizeof functions / sizeof *functions,
                          error);
}

static viva_status lt_start(lt_library *library, viva_error *error) {
  TRY(lt_find_all(library, error));
  library->version = library->GetVersion();
  if (library->version < LT_OLDEST) {
    return error_set(error, VIVA_E_UNSUPPORTED, "cuBLASLt is version %zu: viva needs %d (12.9) or later",
                     library->version, LT_OLDEST);
  }
  cublasStatus_t status = library->Create(&library->handle);
  if (status != CUBLAS_STATUS_SUCCESS) {
    library->handle = NULL; /* whatever it holds, there is none */
    return error_set(error, VIVA_E_UNSUPPORTED, "cuBLASLt %zu cannot start on this device: its status is %d",
                     library->version, (int)status);
  }
  return VIVA_OK;
}

viva_status lt_library_open(const library_loader *loader, lt_library *library, viva_error *error) {
  const char *reason = "";
  memset(library, 0, sizeof *library);
  library->loader = loader;
  library->file = loader->open(lt_names, &reason);
  if (!library->file) {
    memset(library, 0, sizeof *library);
    return error_set(error, VIVA_E_UNSUPPORTED, "cuBLASLt (%s) cannot be opened: %s", lt_names[0], reason);
  }
  viva_status status = lt_start(library, error);
  if (status != VIVA_OK) lt_library_close(library);
  return status;
}

void lt_library_close(lt_library *library) {
  if (library->handle) library->Destroy(library->handle);
  if (library->file) library->loader->close(library->file);
  memset(library, 0, sizeof *library);
}
