/* base/arena.c: many small objects in a chain of growing blocks. */
#include <stdint.h>
#include <string.h>

#include "base/asan.h"
#include "base/ck.h"
#include "base/mem.h"

#define OBJECT_ALIGN 16
#define MIN_BLOCK    ((size_t)1024)
#define MAX_BLOCK    ((size_t)4 << 20) /* growth stops doubling here: at most this much of an arena is unused */

#ifdef BASE_ASAN
#define RED_ZONE OBJECT_ALIGN /* never handed out, so that running off an object is seen */
#else
#define RED_ZONE 0
#endif

typedef struct arena_block {
  struct arena_block *previous;
  size_t bytes; /* of data */
  _Alignas(OBJECT_ALIGN) char data[];
} arena_block;

struct arena {
  mem *mem;
  arena_block *block; /* the one that is being filled */
  size_t used;        /* of block->data */
  size_t next_block;  /* bytes of the next one */
};

static int add_block(arena *a, size_t bytes) {
  uint64_t whole;
  size_t size;
  if (ck_add(sizeof(arena_block), bytes, &whole) || ck_size(whole, &size)) return 1;
  arena_block *block = mem_alloc(a->mem, size);
  if (block == NULL) return 1;
  *block = (arena_block){a->block, bytes};
  asan_poison(block->data, bytes);
  a->block = block;
  a->used = 0;
  return 0;
}

arena *arena_create(mem *m, size_t first_block) {
  arena *a = mem_alloc(m, sizeof *a);
  if (a == NULL) return NULL;
  if (first_block < MIN_BLOCK) first_block = MIN_BLOCK;
  *a = (arena){m, NULL, 0, first_block < MAX_BLOCK / 2 ? first_block * 2 : MAX_BLOCK};
  if (add_block(a, first_block)) {
    mem_free(m, a);
    return NULL;
  }
  return a;
}

void *arena_alloc(arena *a, size_t bytes) {
  uint64_t padded, rounded;
  if (ck_add(bytes, RED_ZONE, &padded) || ck_align(padded, OBJECT_ALIGN, &rounded) || rounded > SIZE_MAX) return NULL;
  size_t size = rounded > 0 ? (size_t)rounded : OBJECT_ALIGN;
  if (size > a->block->bytes - a->used) {
    if (add_block(a, size > a->next_block ? size : a->next_block)) return NULL;
    a->next_block = a->next_block < MAX_BLOCK / 2 ? a->next_block * 2 : MAX_BLOCK;
  }
  char *object = a->block->data + a->used;
  a->used += size;
  asan_unpoison(object, bytes);
  return object;
}

char *arena_text(arena *a, const char *text, size_t bytes) {
  if (bytes == SIZE_MAX) return NULL;
  char *copy = arena_alloc(a, bytes + 1);
  if (copy == NULL) return NULL;
  if (bytes > 0) memcpy(copy, text, bytes);
  copy[bytes] = 0;
  return copy;
}

void arena_free(arena *a) {
  if (a == NULL) return;
  for (arena_block *block = a->block; block != NULL;) {
    arena_block *previous = block->previous;
    asan_unpoison(block->data, block->bytes);
    mem_free(a->mem, block);
    block = previous;
  }
  mem_free(a->mem, a);
}
