/* model/kv_pool.h: the pages of a model's KV caches, counted and shared.
 *
 * A page holds KV_PAGE positions of all layers (backend/kv.h). Sessions hold pages; a page that several hold is shared and
 * not written: who must write takes a page of their own first (kv_writable). Pages that nobody holds stay in the pool.
 *
 * Pages are taken from memory in slabs. Where the host's memory has large pages and one page of the pool fills none of them
 * well, a slab is the fewest pages, `grain` of them, that fill large ones to 7/8: a page of SmolLM2 is 1.47 MB, three make a
 * slab of two large pages and a rest. Elsewhere a slab is one page. A table that reserves takes as many as it needs: slabs
 * of `grain`, and a last one of what is left, fewer than twice as many; the budget cuts the last one of any table. A slab goes
 * back when nobody holds any of it; so that few are held for one page, pages come from slabs that are in use already.
 *
 * A reserving session holds all pages of its capacity from the beginning. When such a page is shared, the pool keeps a free
 * page for each copy that reserving holders may still have to make: those pages are promised, and not given to others. Of
 * h holders, r of them reserving, at most min(r, h - 1) will need one, because the last one writes in place.
 *
 * Thread-safe; one pool for each KV type of a model.
 */
#ifndef MODEL_KV_POOL_H
#define MODEL_KV_POOL_H

#include <pthread.h>

#include "base/mem.h"
#include "engine/engine.h"

typedef struct kv_page {
  void *dev;
  uint32_t holders, reserving;
  struct kv_page *next; /* free in its slab; of a held one, while kv_writable works: what it is to replace */
  struct kv_slab *slab;
} kv_page;

typedef struct kv_slab {
  void *dev;
  size_t count, free_count;
  kv_page *free;
  struct kv_slab *all;
  struct kv_slab *next, *before; /* of the slabs with free pages */
  kv_page pages[];
} kv_slab;

typedef struct kv_pool {
  pthread_mutex_t lock;
  backend *b;
  rank_set *ranks; /* not NULL: pages lie on several devices (shards.h) */
  mem *memory;
  kv_layout layout;
  size_t page_bytes;
  size_t grain; /* pages of a slab; 1: pages are taken one by one */
  size_t most;  /* pages; SIZE_MAX: as many as there is memory for */
  size_t total; /* pages that exist: held or free */
  size_t free_count, promised;
  size_t shared; /* pages with more than one holder */
  kv_slab *all;
  kv_slab *first, *last; /* with free pages; those that nobody holds any of come last */
} kv_pool;

void kv_pool_begin(kv_pool *p, viva_engine *e, kv_layout layout, size_t layers, uint64_t most_bytes);
/* Nobody holds a page any more. */
void kv_pool_end(kv_pool *p);

/* Gives the slabs that nobody holds any of, but for pages that are promised, back to the device. */
void kv_pool_trim(kv_pool *p);

/* Bytes of the pages that anyone may take. */
uint64_t kv_pool_free_bytes(kv_pool *p);

/* One timeline's pages. The owner sets pool and reserves, and makes room in `pages` for `most`. */
typedef struct kv_table {
  kv_pool *pool;
  int reserves;
  kv_page **pages; /* [most]; the first `count` are held */
  size_t count, most;
} kv_table;

/* Holds pages for the positions below `positions`. On failure nothing changed. Errors: E_LIMIT (the budget), E_MEMORY. */
viva_status kv_hold(kv_table *t, size_t positions, viva_error *error);

/* What a step writes of one table: positions [begin, end), of which the table holds those below begin. */
typedef struct kv_write {
  kv_table *table;
  size_t begin, end;
  struct kv_write *next;
} kv_write;

/* Makes the pages of a list of writes, of tables of one pool, their tables' own: a shared page that is to be written is
 * copied first, as far as it holds something. Holds new pages as kv_hold does. All or none: on failure nothing changed, and
 * *failed is the write that found no page (the first of the list for the device's errors). Errors: as kv_hold, and the
 * device's. */
viva_status kv_writable(const kv_write *first, const kv_write **failed, viva_error *error);

/* Gives up the pages behind the first `positions`; a reserving table keeps them. */
void kv_give_up(kv_table *t, size_t positions);

/* Gives up all. */
void kv_release(kv_table *t);

/* to holds the pages of the first `positions` of from, and, when it reserves, its own for the rest. On failure nothing
 * changed. Errors: as kv_hold. */
viva_status kv_share(kv_table *to, const kv_table *from, size_t positions, viva_error *error);

static inline size_t kv_pages_of(size_t positions) { return (positions + KV_PAGE - 1) / KV_PAGE; }

#endif
