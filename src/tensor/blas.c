/* tensor/blas.c: finding OpenBLAS. */
#include "tensor/blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

/* Written once, under pthread_once, then constant. */
static struct {
  pthread_once_t once;
  int found;
  blas table;
} state = {.once = PTHREAD_ONCE_INIT};

/* POSIX lets dlsym's object pointer be a function; C has no conversion for it. */
static int look_up(void *library, const char *name, void *function, size_t bytes) {
  void *symbol = dlsym(library, name);
  if (symbol) memcpy(function, &symbol, bytes);
  return symbol != NULL;
}

static void open_once(void) {
  static const char name[] = "libopenblas.so.0";
  blas *b = &state.table;
  char *(*config)(void) = NULL;
  void (*set_threads)(int) = NULL;
  void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  b->ours = library == NULL;
  if (!library) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library) return;
  const int complete = look_up(library, "cblas_sgemm", &b->sgemm, sizeof b->sgemm) &&
                       look_up(library, "cblas_dgemm", &b->dgemm, sizeof b->dgemm) &&
                       look_up(library, "cblas_sgemv", &b->sgemv, sizeof b->sgemv) &&
                       look_up(library, "cblas_dgemv", &b->dgemv, sizeof b->dgemv) &&
                       look_up(library, "openblas_get_config", &config, sizeof config) &&
                       look_up(library, "openblas_set_num_threads", &set_threads, sizeof set_threads);
  if (!complete || strstr(config(), "USE64BITINT")) { /* its integers are not CBLAS's */
    dlclose(library);
    return;
  }
  if (b->ours) set_threads(1);
  state.found = 1;
}

const blas *blas_get(void) {
  (void)pthread_once(&state.once, open_once);
  return state.found ? &state.table : NULL;
}
