#include "backend/cuda/library_loader.h"

#include <dlfcn.h>
#include <string.h>

#include "base/error.h"

static void *system_open(const char *const *names, const char **reason) {
  for (; *names; names++) {
    void *library = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
    if (library) return library;
  }
  *reason = dlerror();
  if (!*reason) *reason = "no name to try";
  return NULL;
}

static void *system_find(void *library, const char *name) { return dlsym(library, name); }

static void system_close(void *library) { dlclose(library); }

const library_loader library_loader_system = {system_open, system_find, system_close};

viva_status library_find_all(const library_loader *loader, void *library, const char *title,
                             const library_function *functions, size_t count, viva_error *error) {
  for (size_t i = 0; i < count; i++) {
    void *function = loader->find(library, functions[i].name);
    if (!function) {
      return error_set(error, VIVA_E_UNSUPPORTED, "%s has no function %s: install a newer version", title,
                       functions[i].name);
    }
    memcpy(functions[i].to, &function, sizeof function);
  }
  return VIVA_OK;
}
