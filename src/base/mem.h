/* base/mem.h: all memory of the library goes through here, so that any allocation can be counted and made to fail.
 *
 * Blocks are aligned to 64 bytes and carry their size in front of them. Blocks of 2 MiB and more that come from the C
 * library are aligned to 2 MiB and offered huge pages. Thread-safe.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdatomic.h>

#include "viva/types.h"

enum {
  MEM_SMALL = 512,      /* bytes of a small block */
  MEM_SPARE = 8,        /* of them are kept */
  MEM_SCRATCH = 4 << 20 /* bytes of the largest block of scratch that is kept */
};

typedef struct mem {
  viva_allocator table;
  _Atomic size_t current, peak; /* bytes asked for */
  _Atomic size_t allocations;
  _Atomic size_t limit;    /* of current; 0: none. A call that would pass it fails as if there were no memory */
  _Atomic int was_limited; /* 1: such a call was made */
  _Atomic(void *) spare[MEM_SPARE];
  _Atomic(void *) scratch;
} mem;

#define MEM_ALIGN 64

/* table NULL: the C library's functions. */
void mem_init(mem *m, const viva_allocator *table);

/* NULL when there is none (or bytes overflow). bytes 0 gives a valid pointer. Contents are undefined. */
void *mem_alloc(mem *m, size_t bytes);
size_t mem_large_page(const mem *m);                 /* bytes of a huge page; 0: blocks get none */
void *mem_zalloc(mem *m, size_t bytes);              /* zeroed */
void *mem_array(mem *m, size_t count, size_t size);  /* count × size, checked; zeroed */
void *mem_resize(mem *m, void *block, size_t bytes); /* NULL: block is still valid. block may be NULL */
void mem_free(mem *m, void *block);                  /* NULL is allowed */
size_t mem_size(const void *block);                  /* bytes asked for */

/* For blocks that come and go: what fits MEM_SMALL bytes takes as many, and the last few that were freed are kept for the next:
 * malloc and free take a fifth of what a small tensor takes. Counted as all others; a caller's allocator sees each of them. */
void *mem_quick_alloc(mem *m, size_t bytes);
void mem_quick_free(mem *m, void *block); /* of mem_quick_alloc */
/* For scratch of one call: the last one is kept for the next, which so has pages that are there already: giving them to the
 * system and taking them again takes longer than sorting what lies in them. As above. */
void *mem_scratch_alloc(mem *m, size_t bytes);
void mem_scratch_free(mem *m, void *block); /* of mem_scratch_alloc */
void mem_drop_spare(mem *m);                /* before m goes, where such blocks came from it */

/* Arena: many small objects, freed together. Objects are aligned to 16 bytes. Under ASan, gaps are poisoned. */
typedef struct arena arena;
arena *arena_create(mem *m, size_t first_block);            /* NULL: no memory */
void *arena_alloc(arena *a, size_t bytes);                  /* NULL: no memory. Contents are undefined */
char *arena_text(arena *a, const char *text, size_t bytes); /* a zero-ended copy */
void arena_free(arena *a);                                  /* NULL is allowed */

#endif
