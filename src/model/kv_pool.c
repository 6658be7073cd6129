/* model/kv_pool.c */
#include "model/kv_pool.h"

#include "base/error.h"
#include "model/shards.h"

/* As kv_pool.h says; large: bytes of the host's large pages, 0: it has none. */
static size_t grain_of(size_t page_bytes, size_t large) {
  enum { MOST = 8 }; /* of pages so small that more are needed a cache takes few small pages of the host's anyway */
  for (size_t n = 1; large && n <= MOST; n++)
    if (n * page_bytes / large * large >= n * page_bytes / 8 * 7) return n;
  return 1;
}

void kv_pool_begin(kv_pool *p, viva_engine *e, kv_layout layout, size_t layers, uint64_t most_bytes) {
  *p = (kv_pool){.b = e->backend,
                 .ranks = e->ranks,
                 .memory = &e->rt->mem,
                 .layout = layout,
                 .page_bytes = layers * layout.layer_bytes};
  p->grain = p->b->host_memory && !p->ranks ? grain_of(p->page_bytes, mem_large_page(p->memory)) : 1;
  p->most = most_bytes ? (size_t)(most_bytes / p->page_bytes) : SIZE_MAX;
  pthread_mutex_init(&p->lock, NULL);
}

/* On several devices a slab is one page. */
static viva_status alloc_pages(kv_pool *p, size_t count, void **dev, viva_error *error) {
  return p->ranks ? shards_page(p->ranks, p->page_bytes, dev, error)
                  : p->b->ops->alloc(p->b, count * p->page_bytes, dev, error);
}

static viva_status copy_page(const kv_pool *p, void *to, const void *from, viva_error *error) {
  return p->ranks ? shards_page_copy(p->ranks, to, from, p->page_bytes, error)
                  : p->b->ops->copy(p->b, to, from, p->page_bytes, error);
}

/* ---- slabs; under the lock */

static void list_slab(kv_pool *p, kv_slab *slab) {
  const int unused = slab->free_count == slab->count;
  slab->next = unused ? NULL : p->first;
  slab->before = unused ? p->last : NULL;
  *(slab->before ? &slab->before->next : &p->first) = slab;
  *(slab->next ? &slab->next->before : &p->last) = slab;
}

static void unlist_slab(kv_pool *p, kv_slab *slab) {
  *(slab->before ? &slab->before->next : &p->first) = slab->next;
  *(slab->next ? &slab->next->before : &p->last) = slab->before;
}

static void put_free(kv_pool *p, kv_page *page) {
  kv_slab *slab = page->slab;
  if (slab->free_count) unlist_slab(p, slab);
  page->next = slab->free;
  slab->free = page;
  slab->free_count++;
  p->free_count++;
  list_slab(p, slab);
}

static void take_free(kv_pool *p, kv_page *page) {
  kv_slab *slab = page->slab;
  kv_page **at = &slab->free;
  while (*at != page) at = &(*at)->next;
  *at = page->next;
  page->next = NULL;
  unlist_slab(p, slab);
  slab->free_count--;
  p->free_count--;
  if (slab->free_count) list_slab(p, slab);
}

static void destroy(kv_pool *p, kv_slab *slab) {
  if (p->ranks)
    shards_page_free(p->ranks, slab->dev);
  else
    p->b->ops->free(p->b, slab->dev, NULL);
  p->total -= slab->count;
  mem_free(p->memory, slab);
}

/* ---- the pool */

void kv_pool_end(kv_pool *p) {
  for (kv_slab *slab = p->all, *next; slab; slab = next) {
    next = slab->all;
    destroy(p, slab);
  }
  p->all = p->first = p->last = NULL;
  pthread_mutex_destroy(&p->lock);
}

void kv_pool_trim(kv_pool *p) {
  pthread_mutex_lock(&p->lock);
  for (kv_slab **at = &p->all, *slab; (slab = *at) != NULL;) { /* once: a session of a million pages may have ended */
    if (slab->free_count < slab->count || p->free_count - slab->count < p->promised) {
      at = &slab->all;
      continue;
    }
    *at = slab->all;
    unlist_slab(p, slab);
    p->free_count -= slab->count;
    destroy(p, slab);
  }
  pthread_mutex_unlock(&p->lock);
}

uint64_t kv_pool_free_bytes(kv_pool *p) {
  pthread_mutex_lock(&p->lock);
  const uint64_t bytes = (uint64_t)(p->free_count - p->promised) * p->page_bytes;
  pthread_mutex_unlock(&p->lock);
  return bytes;
}

/* ---- holding; under the lock */

static viva_status too_few(const kv_pool *p, viva_error *error) {
  return error_set(
      error, VIVA_E_LIMIT,
      "no page for the KV cache is left: %zu pages of %d tokens exist, %zu of them are free and %zu promised to "
      "sessions that reserve, and cache_bytes allows %zu; free or truncate a session, or allow more",
      p->total, KV_PAGE, p->free_count, p->promised, p->most);
}

/* One more slab, of free pages. */
static viva_status add_slab(kv_pool *p, size_t count, viva_error *error) {
  kv_slab *slab = mem_zalloc(p->memory, sizeof *slab + count * sizeof *slab->pages);
  if (!slab) return error_set(error, VIVA_E_MEMORY, "no memory for a page of the KV cache");
  viva_status status = alloc_pages(p, count, &slab->dev, error);
  if (status) {
    mem_free(p->memory, slab);
    return status == VIVA_E_MEMORY
               ? error_set(error, VIVA_E_MEMORY, "no memory for a page of the KV cache (%zu bytes)", p->page_bytes)
               : status;
  }
  slab->count = count;
  slab->all = p->all;
  p->all = slab;
  p->total += count;
  for (size_t i = count; i-- > 0;) { /* the first one comes first */
    slab->pages[i] = (kv_page){.dev = (uint8_t *)slab->dev + i * p->page_bytes, .slab = slab};
    put_free(p, &slab->pages[i]);
  }
  return VIVA_OK;
}

/* Pages of the next slab, of `missing` ones. exact: no more than those. */
static size_t slab_pages(const kv_pool *p, size_t missing, int exact) {
  const size_t wanted = exact && missing < 2 * p->grain ? missing : p->grain;
  return wanted < p->most - p->total ? wanted : p->most - p->total;
}

/* So many free pages that are not promised. */
static viva_status provide(kv_pool *p, size_t count, int exact, viva_error *error) {
  while (p->free_count < p->promised + count) {
    const size_t pages = slab_pages(p, p->promised + count - p->free_count, exact);
    if (pages == 0) return too_few(p, error);
    viva_error refused = {0};
    viva_status status = add_slab(p, pages, &refused);
    if (status == VIVA_E_MEMORY && pages > 1)
      status = add_slab(p, 1, error); /* there may be room for less */
    else if (status && error)
      *error = refused;
    if (status) return status;
  }
  return VIVA_OK;
}

/* A free page, which is there. */
static kv_page *take(kv_pool *p) {
  kv_page *page = p->first->free;
  take_free(p, page);
  return page;
}

/* Free pages that the holders of a page may still need. */
static size_t needed(const kv_page *page) {
  const size_t copies = page->holders ? page->holders - 1 : 0;
  return page->reserving < copies ? page->reserving : copies;
}

static void add_holder(kv_pool *p, kv_page *page, int reserves) {
  const size_t before = needed(page);
  page->holders++;
  page->reserving += reserves != 0;
  p->shared += page->holders == 2;
  p->promised += needed(page) - before;
}

/* Whether it was the last holder or not, promises fall or stay. */
static void drop_holder(kv_pool *p, kv_page *page, int reserves) {
  const size_t before = needed(page);
  p->shared -= page->holders == 2;
  page->holders--;
  page->reserving -= reserves != 0;
  p->promised -= before - needed(page);
  if (page->holders == 0) put_free(p, page);
}

static viva_status hold(kv_table *t, size_t pages, viva_error *error) {
  kv_pool *p = t->pool;
  if (t->count >= pages) return VIVA_OK;
  TRY(provide(p, pages - t->count, t->reserves, error));
  while (t->count < pages) {
    kv_page *page = take(p);
    add_holder(p, page, t->reserves);
    t->pages[t->count++] = page;
  }
  return VIVA_OK;
}

/* A page of the table's own in place of a shared one, which it remembers. */
static viva_status separate(kv_table *t, size_t at, viva_error *error) {
  kv_pool *p = t->pool;
  kv_page *shared = t->pages[at];
  const int promised = t->reserves && needed(shared) > 0; /* such a promise falls when the holder leaves the page */
  if (!promised) TRY(provide(p, 1, t->reserves, error));
  kv_page *own = take(p);
  drop_holder(p, shared, t->reserves);
  add_holder(p, own, t->reserves);
  own->next = shared;
  t->pages[at] = own;
  return VIVA_OK;
}

static viva_status claim(const kv_write *w, viva_error *error) {
  kv_table *t = w->table;
  for (size_t at = w->begin / KV_PAGE; at < t->count && at < kv_pages_of(w->end); at++)
    if (t->pages[at]->holders > 1) TRY(separate(t, at, error));
  return hold(t, kv_pages_of(w->end), error);
}

/* What is still read of a shared page. */
static viva_status copy_claimed(const kv_write *w, viva_error *error) {
  const kv_pool *p = w->table->pool;
  const size_t at = w->begin / KV_PAGE;
  if (at >= w->table->count || at * KV_PAGE == w->begin) return VIVA_OK;
  const kv_page *own = w->table->pages[at];
  return own->next ? copy_page(p, own->dev, own->next->dev, error) : VIVA_OK;
}

/* After claim: the shared pages are forgotten, or taken back. They have other holders: nobody else has had the lock. */
static void end_claim(const kv_write *w, int back) {
  kv_table *t = w->table;
  for (size_t at = w->begin / KV_PAGE; at < t->count; at++) {
    kv_page *own = t->pages[at], *shared = own->next;
    own->next = NULL;
    if (!shared || !back) continue;
    drop_holder(t->pool, own, t->reserves);
    add_holder(t->pool, shared, t->reserves);
    t->pages[at] = shared;
  }
  while (back && !t->reserves && t->count > kv_pages_of(w->begin)) drop_holder(t->pool, t->pages[--t->count], 0);
}

/* ---- calls */

viva_status kv_hold(kv_table *t, size_t positions, viva_error *error) {
  pthread_mutex_lock(&t->pool->lock);
  viva_status status = hold(t, kv_pages_of(positions), error);
  pthread_mutex_unlock(&t->pool->lock);
  return status;
}

viva_status kv_writable(const kv_write *first, const kv_write **failed, viva_error *error) {
  kv_pool *p = first->table->pool;
  viva_status status = VIVA_OK;
  pthread_mutex_lock(&p->lock);
  *failed = first;
  for (const kv_write *w = first; w && !status; w = w->next) {
    status = claim(w, error);
    if (status) *failed = w;
  }
  for (const kv_write *w = first; w && !status; w = w->next) status = copy_claimed(w, error);
  for (const kv_write *w = first; w; w = w->next) end_claim(w, status != VIVA_OK);
  pthread_mutex_unlock(&p->lock);
  return status;
}

void kv_give_up(kv_table *t, size_t positions) {
  if (t->reserves) return;
  pthread_mutex_lock(&t->pool->lock);
  while (t->count > kv_pages_of(positions)) drop_holder(t->pool, t->pages[--t->count], 0);
  pthread_mutex_unlock(&t->pool->lock);
}

void kv_release(kv_table *t) {
  if (!t->pool) return;
  pthread_mutex_lock(&t->pool->lock);
  while (t->count) drop_holder(t->pool, t->pages[--t->count], t->reserves);
  pthread_mutex_unlock(&t->pool->lock);
}

/* Undoes drop_holder while nobody else has had the lock. */
static void hold_again(kv_pool *p, kv_page *page, int reserves) {
  if (page->holders == 0) take_free(p, page);
  add_holder(p, page, reserves);
}

static viva_status share(kv_table *to, const kv_table *from, size_t pages, viva_error *error) {
  kv_pool *p = to->pool;
  const size_t own = to->count < pages ? to->count : pages;
  viva_status status;
  for (size_t i = 0; i < pages; i++) add_holder(p, from->pages[i], to->reserves);
  for (size_t i = 0; i < own; i++) drop_holder(p, to->pages[i], to->reserves);
  status = provide(p, 0, 1, error);
  if (status) {
    for (size_t i = 0; i < own; i++) hold_again(p, to->pages[i], to->reserves);
    for (size_t i = 0; i < pages; i++) drop_holder(p, from->pages[i], to->reserves);
    return status;
  }
  for (size_t i = 0; i < pages; i++) to->pages[i] = from->pages[i];
  if (to->count < pages) to->count = pages;
  while (!to->reserves && to->count > pages) drop_holder(p, to->pages[--to->count], 0);
  return VIVA_OK;
}

viva_status kv_share(kv_table *to, const kv_table *from, size_t positions, viva_error *error) {
  pthread_mutex_lock(&to->pool->lock);
  viva_status status = share(to, from, kv_pages_of(positions), error);
  pthread_mutex_unlock(&to->pool->lock);
  return status;
}
