/* base/mem.c: the one home of malloc and free.
 *
 * A block:   base                          user (aligned)
 *            | slack | mem_header: size, base | bytes ...
 *
 * Nothing is assumed about the alignment of base, so any allocator will do. Under ASan the slack and the header are
 * poisoned, so that a write before or behind a block is caught as it would be with malloc.
 */
#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/asan.h"
#include "base/ck.h"
#include "base/count.h"

#define HUGE_PAGE ((size_t)2 << 20) /* x86-64's and aarch64's usual huge page */

typedef struct mem_header {
  size_t bytes; /* asked for */
  size_t whole; /* got from the table */
  void *base;   /* as the table gave it */
} mem_header;

static void *libc_alloc(void *user, size_t bytes) {
  (void)user;
  return malloc(bytes);
}

static void *libc_realloc(void *user, void *memory, size_t bytes) {
  (void)user;
  return realloc(memory, bytes);
}

static void libc_free(void *user, void *memory) {
  (void)user;
  free(memory);
}

void mem_init(mem *m, const viva_allocator *table) {
  static const viva_allocator libc = {libc_alloc, libc_realloc, libc_free, NULL};
  m->table = table ? *table : libc;
  atomic_init(&m->current, 0);
  atomic_init(&m->peak, 0);
  atomic_init(&m->allocations, 0);
  atomic_init(&m->limit, 0);
  atomic_init(&m->was_limited, 0);
  for (int i = 0; i < MEM_SPARE; i++) atomic_init(&m->spare[i], NULL);
  atomic_init(&m->scratch, NULL);
}

static mem_header *header_of(const void *block) { return (mem_header *)((uintptr_t)block - sizeof(mem_header)); }

/* A copy of the header, which ASan guards. */
static mem_header header_read(const void *block) {
  mem_header *header = header_of(block);
  asan_unpoison(header, sizeof *header);
  mem_header copy = *header;
  asan_poison(header, sizeof *header);
  return copy;
}

static size_t block_alignment(const mem *m, size_t bytes) {
  return bytes >= HUGE_PAGE && m->table.alloc == libc_alloc ? HUGE_PAGE : MEM_ALIGN;
}

size_t mem_large_page(const mem *m) { return m->table.alloc == libc_alloc ? HUGE_PAGE : 0; }

/* Bytes to take for a block, or 1 when they overflow. */
static int block_whole(size_t bytes, size_t alignment, size_t *whole) {
  uint64_t sum;
  return ck_add(bytes, sizeof(mem_header) + alignment - 1, &sum) || ck_size(sum, whole);
}

static void *block_place(void *base, size_t alignment) {
  uintptr_t address = (uintptr_t)base + sizeof(mem_header);
  return (void *)((address + alignment - 1) & ~(uintptr_t)(alignment - 1));
}

static void block_seal(void *block, mem_header header) {
  *header_of(block) = header;
  uintptr_t end = (uintptr_t)block + header.bytes;
  asan_poison(header.base, (uintptr_t)block - (uintptr_t)header.base);
  asan_poison((void *)end, (uintptr_t)header.base + header.whole - end);
}

static void count_growth(mem *m, size_t bytes) {
  size_t now = count_bytes(&m->current, bytes, memory_order_relaxed) + bytes;
  size_t peak = atomic_load_explicit(&m->peak, memory_order_relaxed);
  while (now > peak &&
         !atomic_compare_exchange_weak_explicit(&m->peak, &peak, now, memory_order_relaxed, memory_order_relaxed)) {
  }
}

/* Would so many bytes more pass the limit? */
static int passes_limit(mem *m, size_t more) {
  size_t limit = atomic_load_explicit(&m->limit, memory_order_relaxed);
  size_t current = atomic_load_explicit(&m->current, memory_order_relaxed);
  if (limit == 0 || (current <= limit && more <= limit - current)) return 0;
  atomic_store_explicit(&m->was_limited, 1, memory_order_relaxed);
  return 1;
}

static void count_call(mem *m) { (void)count_bytes(&m->allocations, 1, memory_order_relaxed); }

static void count_shrink(mem *m, size_t bytes) { (void)count_bytes(&m->current, 0 - bytes, memory_order_relaxed); }

void *mem_alloc(mem *m, size_t bytes) {
  size_t alignment = block_alignment(m, bytes), whole;
  if (block_whole(bytes, alignment, &whole) || passes_limit(m, bytes)) return NULL;
  count_call(m);
  void *base = m->table.alloc(m->table.user, whole);
  if (!base) return NULL;
  void *block = block_place(base, alignment);
  block_seal(block, (mem_header){bytes, whole, base});
  /* Only whole huge pages: the rest of the last one belongs to someone else. Advice: a failure changes nothing. */
  if (alignment == HUGE_PAGE) (void)madvise(block, bytes & ~(HUGE_PAGE - 1), MADV_HUGEPAGE);
  count_growth(m, bytes);
  return block;
}

void *mem_zalloc(mem *m, size_t bytes) {
  void *block = mem_alloc(m, bytes);
  if (block) memset(block, 0, bytes);
  return block;
}

void *mem_array(mem *m, size_t count, size_t size) {
  uint64_t product;
  size_t bytes;
  if (ck_mul(count, size, &product) || ck_size(product, &bytes)) return NULL;
  return mem_zalloc(m, bytes);
}

/* Both alignments are MEM_ALIGN: the table's realloc may be able to grow the block where it is. */
static void *resize_in_place(mem *m, void *block, mem_header old, size_t bytes) {
  size_t whole, offset = (uintptr_t)block - (uintptr_t)old.base;
  if (block_whole(bytes, MEM_ALIGN, &whole) || (bytes > old.bytes && passes_limit(m, bytes - old.bytes))) return NULL;
  asan_unpoison(old.base, old.whole);
  count_call(m);
  void *base = m->table.realloc(m->table.user, old.base, whole);
  if (!base) {
    block_seal(block, old);
    return NULL;
  }
  asan_unpoison(base, whole);
  void *moved = block_place(base, MEM_ALIGN);
  void *copied = (char *)base + offset; /* where realloc left the bytes: base may sit differently in its line now */
  size_t kept = old.bytes < bytes ? old.bytes : bytes;
  if (moved != copied) memmove(moved, copied, kept);
  block_seal(moved, (mem_header){bytes, whole, base});
  if (bytes > old.bytes)
    count_growth(m, bytes - old.bytes);
  else
    count_shrink(m, old.bytes - bytes);
  return moved;
}

void *mem_resize(mem *m, void *block, size_t bytes) {
  if (!block) return mem_alloc(m, bytes);
  mem_header old = header_read(block);
  int small = block_alignment(m, bytes) == MEM_ALIGN && block_alignment(m, old.bytes) == MEM_ALIGN;
  if (small) return resize_in_place(m, block, old, bytes);
  void *grown = mem_alloc(m, bytes);
  if (!grown) return NULL;
  memcpy(grown, block, old.bytes < bytes ? old.bytes : bytes);
  mem_free(m, block);
  return grown;
}

void mem_free(mem *m, void *block) {
  if (!block) return;
  mem_header header = header_read(block);
  asan_unpoison(header.base, header.whole);
  m->table.free(m->table.user, header.base);
  count_shrink(m, header.bytes);
}

size_t mem_size(const void *block) { return header_read(block).bytes; }

/* -- small blocks that are kept */

void *mem_quick_alloc(mem *m, size_t bytes) {
  if (bytes > MEM_SMALL) return mem_alloc(m, bytes);
  for (int i = 0; i < MEM_SPARE; i++) {
    if (!atomic_load_explicit(&m->spare[i], memory_order_relaxed)) continue;
    if (passes_limit(m, MEM_SMALL)) return NULL;
    void *block = count_exchange(&m->spare[i], NULL);
    if (!block) continue; /* another thread was quicker */
    asan_unpoison(block, MEM_SMALL);
    count_call(m);
    count_growth(m, MEM_SMALL);
    return block;
  }
  return mem_alloc(m, MEM_SMALL);
}

void mem_quick_free(mem *m, void *block) {
  const int kept = m->table.alloc == libc_alloc && mem_size(block) == MEM_SMALL;
  for (int i = 0; kept && i < MEM_SPARE; i++) {
    if (atomic_load_explicit(&m->spare[i], memory_order_relaxed)) continue;
    asan_poison(block, MEM_SMALL);
    count_shrink(m, MEM_SMALL);
    block = count_exchange(&m->spare[i], block);
    if (!block) return;
    asan_unpoison(block, MEM_SMALL); /* another thread's, which was quicker */
    count_growth(m, MEM_SMALL);
  }
  mem_free(m, block);
}

/* A block that is kept, not counted, goes. */
static void drop_kept(mem *m, void *block) {
  if (!block) return;
  count_growth(m, mem_size(block)); /* mem_free takes it off again */
  mem_free(m, block);
}

void *mem_scratch_alloc(mem *m, size_t bytes) {
  void *block = atomic_load_explicit(&m->scratch, memory_order_relaxed) ? count_exchange(&m->scratch, NULL) : NULL;
  const size_t held = block ? mem_size(block) : 0;
  if (held < bytes || !block || passes_limit(m, held)) {
    drop_kept(m, block);
    return mem_alloc(m, bytes);
  }
  asan_unpoison(block, held);
  count_call(m);
  count_growth(m, held);
  return block;
}

void mem_scratch_free(mem *m, void *block) {
  const size_t held = block ? mem_size(block) : 0;
  if (!block || m->table.alloc != libc_alloc || held > MEM_SCRATCH) {
    mem_free(m, block);
    return;
  }
  asan_poison(block, held);
  count_shrink(m, held);
  drop_kept(m, count_exchange(&m->scratch, block)); /* another thread's */
}

void mem_drop_spare(mem *m) {
  for (int i = 0; i < MEM_SPARE; i++) drop_kept(m, atomic_exchange(&m->spare[i], NULL));
  drop_kept(m, atomic_exchange(&m->scratch, NULL));
}
