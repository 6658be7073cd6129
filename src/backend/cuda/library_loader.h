/* library_loader.h: libraries that are opened at run time, so that a program with the CUDA backend starts without
 * them. */
#ifndef CUDA_LIBRARY_LOADER_H
#define CUDA_LIBRARY_LOADER_H

#include "viva/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where a library's functions come from: the dynamic loader, or a test. */
typedef struct library_loader {
  /* Tries names in turn (ended by NULL). NULL when none is there, with *reason set: valid until the next call. */
  void *(*open)(const char *const *names, const char **reason);
  void *(*find)(void *library, const char *name); /* NULL: no such function */
  void (*close)(void *library);
} library_loader;

extern const library_loader library_loader_system;

/* One function of a library, and where its pointer goes. */
typedef struct library_function {
  const char *name;
  void *to;
} library_function;

/* Finds all of them. Errors: E_UNSUPPORTED, naming the library (title) and the function. */
viva_status library_find_all(const library_loader *loader, void *library, const char *title,
                             const library_function *functions, size_t count, viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
