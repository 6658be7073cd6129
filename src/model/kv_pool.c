/* model/kv_pool.c */
#include "model/kv_pool.h"

#include "base/error.h"
#include "model/shards.h"

void kv_pool_begin(kv_pool *p, viva_engine *e, kv_layout layout, size_t layers, uint64_t most_bytes) {
  *p = (kv_pool){.b = e->backend,
                 .ranks = e->ranks,
                 .memory = &e->rt->mem,
                 .layout = layout,
                 .page_bytes = layers * layout.layer_bytes};
  p->most = most_bytes ? (size_t)(most_bytes / p->page_bytes) : SIZE_MAX;
  pthread_mutex_init(&p->lock, NULL);
}

static viva_status alloc_page(kv_pool *p, void **dev, viva_error *error) {
  return p->ranks ? shards_page(p->ranks, p->page_bytes, dev, error)
                  : p->b->ops->alloc(p->b, p->page_bytes, dev, error);
}

static viva_status copy_page(const kv_pool *p, void *to, const void *from, viva_error *error) {
  return p->ranks ? shards_page_copy(p->ranks, to, from, p->page_bytes, error)
                  : p->b->ops->copy(p->b, to, from, p->page_bytes, error);
}

static void destroy(kv_pool *p, kv_page *page) {
  if (p->ranks)
    shards_page_free(p->ranks, page->dev);
  else
    p->b->ops->free(p->b, page->dev, NULL);
  mem_free(p->memory, page);
  p->total--;
}

void kv_pool_end(kv_pool *p) {
  for (kv_page *page = p->all, *next; page; page = next) {
    next = page->all;
    destroy(p, page);
  }
  p->all = p->free = NULL;
  pthread_mutex_destroy(&p->lock);
}

void kv_pool_trim(kv_pool *p) {
  pthread_mutex_lock(&p->lock);
  size_t kept = 0;
  p->free = NULL;
  for (kv_page **at = &p->all, *page; (page = *at) != NULL;) { /* once: a session of a million pages may have ended */
    if (page->holders == 0 && kept == p->promised) {
      *at = page->all;
      destroy(p, page);
      continue;
    }
    if (page->holders == 0) {
      page->next = p->free;
      p->free = page;
      kept++;
    }
    at = &page->all;
  }
  p->free_count = kept;
  pthread_mutex_unlock(&p->lock);
}

uint64_t kv_pool_free_bytes(kv_pool *p) {
  pthread_mutex_lock(&p->lock);
  const uint64_t bytes = (uint64_t)(p->free_count - p->promised) * p->page_bytes;
  pthread_mutex_unlock(&p->lock);
  return bytes;
}

/* ---- under the lock */

static viva_status too_few(const kv_pool *p, viva_error *error) {
  return error_set(
      error, VIVA_E_LIMIT,
      "no page for the KV cache is left: %zu pages of %d tokens exist, %zu of them are free and %zu promised to "
      "sessions that reserve, and cache_bytes allows %zu; free or truncate a session, or allow more",
      p->total, KV_PAGE, p->free_count, p->promised, p->most);
}

/* One more page in the list of free ones. */
static viva_status grow(kv_pool *p, viva_error *error) {
  if (p->total >= p->most) return too_few(p, error);
  kv_page *page = mem_zalloc(p->memory, sizeof *page);
  if (!page) return error_set(error, VIVA_E_MEMORY, "no memory for a page of the KV cache");
  viva_status status = alloc_page(p, &page->dev, error);
  if (status) {
    mem_free(p->memory, page);
    return status == VIVA_E_MEMORY
               ? error_set(error, VIVA_E_MEMORY, "no memory for a page of the KV cache (%zu bytes)", p->page_bytes)
               : status;
  }
  page->all = p->all;
  p->all = page;
  page->next = p->free;
  p->free = page;
  p->total++;
  p->free_count++;
  return VIVA_OK;
}

/* A free page; promised: one that was kept for the caller. */
static viva_status take(kv_pool *p, int promised, kv_page **out, viva_error *error) {
  if (!promised && p->free_count <= p->promised) {
    viva_status status = grow(p, error);
    if (status) return status;
  }
  kv_page *page = p->free;
  p->free = page->next;
  p->free_count--;
  if (promised) p->promised--;
  *page = (kv_page){.dev = page->dev, .all = page->all};
  *out = page;
  return VIVA_OK;
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
  if (page->holders) return;
  page->next = p->free;
  p->free = page;
  p->free_count++;
}

static viva_status hold(kv_table *t, size_t pages, viva_error *error) {
  kv_pool *p = t->pool;
  const size_t before = t->count;
  while (t->count < pages) {
    kv_page *page;
    viva_status status = take(p, 0, &page, error);
    if (status) {
      while (t->count > before) drop_holder(p, t->pages[--t->count], t->reserves);
      return status;
    }
    add_holder(p, page, t->reserves);
    t->pages[t->count++] = page;
  }
  return VIVA_OK;
}

/* A page of the table's own in place of a shared one, which it remembers. */
static viva_status separate(kv_table *t, size_t at, viva_error *error) {
  kv_pool *p = t->pool;
  kv_page *shared = t->pages[at], *own;
  const int promised = t->reserves && needed(shared) > 0;
  viva_status status = take(p, promised, &own, error);
  if (status) return status;
  if (promised) p->promised++; /* the promise is the shared page's: it falls when the holder leaves it */
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
  if (page->holders == 0) {
    kv_page **at = &p->free;
    while (*at != page) at = &(*at)->next;
    *at = page->next;
    p->free_count--;
  }
  add_holder(p, page, reserves);
}

static viva_status share(kv_table *to, const kv_table *from, size_t pages, viva_error *error) {
  kv_pool *p = to->pool;
  const size_t own = to->count < pages ? to->count : pages;
  viva_status status = VIVA_OK;
  for (size_t i = 0; i < pages; i++) add_holder(p, from->pages[i], to->reserves);
  for (size_t i = 0; i < own; i++) drop_holder(p, to->pages[i], to->reserves);
  while (p->free_count < p->promised && !status) status = grow(p, error);
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
