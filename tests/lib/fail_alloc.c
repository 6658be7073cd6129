#include "lib/fail_alloc.h"

#include <stdlib.h>

static int denied(fail_alloc *f) {
  uint64_t call = atomic_fetch_add(&f->calls, 1) + 1;
  if (f->fail_at == 0 || call < f->fail_at || (call > f->fail_at && !f->persistent)) return 0;
  atomic_store(&f->failed, 1);
  return 1;
}

static void *table_alloc(void *user, size_t bytes) {
  fail_alloc *f = user;
  void *block = denied(f) ? NULL : malloc(bytes);
  if (block) atomic_fetch_add(&f->live, 1);
  return block;
}

static void *table_realloc(void *user, void *memory, size_t bytes) {
  fail_alloc *f = user;
  void *block = denied(f) ? NULL : realloc(memory, bytes);
  if (block && !memory) atomic_fetch_add(&f->live, 1);
  return block;
}

static void table_free(void *user, void *memory) {
  fail_alloc *f = user;
  if (memory) atomic_fetch_sub(&f->live, 1);
  free(memory);
}

void fail_alloc_init(fail_alloc *f, uint64_t fail_at, int persistent) {
  f->table = (viva_allocator){table_alloc, table_realloc, table_free, f};
  atomic_store(&f->calls, 0);
  atomic_store(&f->live, 0);
  atomic_store(&f->failed, 0);
  f->fail_at = fail_at;
  f->persistent = persistent;
}
