/* base/arena.c: many small objects in a chain of growing blocks. */
#include <stdint.h>
#include <string.h>

#include "base/asan.h"
#include "base/ck.h"
#include "base/mem.h"

#define OBJECT_ALIGN 16
#define MIN_BLOCK    ((size_t)1024)
#define MAX_BLOCK    ((size_t)4 << 20) /* growth stops doubling here: at most this much of an arena is unused */

#define LARGE_SHARE 4 /* what takes more than a quarter of a block is large */

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

static arena_block *new_block(mem *m, size_t bytes) {
  uint64_t whole;
  size_t size;
  if (ck_add(sizeof(arena_block), bytes, &whole) || ck_size(whole, &size)) return NULL;
  arena_block *block = mem_alloc(m, size);
  if (!block) return NULL;
  *block = (arena_block){NULL, bytes};
  asan_poison(block->data, bytes);
  return block;
}

/* A large object gets a block of its own behind the one that is being filled, whose rest stays in use. */
static char *add_large(arena *a, size_t size) {
  arena_block *block = new_block(a->mem, size);
  if (!block) return NULL;
  block->previous = a->block->previous;
  a->block->previous = block;
  return block->data;
}

static char *add_block(arena *a, size_t size) {
  arena_block *block = new_block(a->mem, a->next_block);
  if (!block) return NULL;
  block->previous = a->block;
  a->block = block;
  a->used = size;
  a->next_block = a->next_block < MAX_BLOCK / 2 ? a->next_block * 2 : MAX_BLOCK;
  return block->data;
}

arena *arena_create(mem *m, size_t first_block) {
  if (first_block < MIN_BLOCK) first_block = MIN_BLOCK;
  arena_block *block = new_block(m, first_block);
  arena *a = mem_alloc(m, sizeof *a);
  if (!block || !a) {
    mem_free(m, block);
    mem_free(m, a);
    return NULL;
  }
  *a = (arena){m, block, 0, first_block < MAX_BLOCK / 2 ? first_block * 2 : MAX_BLOCK};
  return a;
}

void *arena_alloc(arena *a, size_t bytes) {
  uint64_t padded, rounded;
  if (ck_add(bytes, RED_ZONE, &padded) || ck_align(padded, OBJECT_ALIGN, &rounded) || rounded > SIZE_MAX) return NULL;
  size_t size = rounded > 0 ? (size_t)rounded : OBJECT_ALIGN;
  char *object;
  if (size <= a->block->bytes - a->used) {
    object = a->block->data + a->used;
    a->used += size;
  } else {
    object = size > a->next_block / LARGE_SHARE ? add_large(a, size) : add_block(a, size);
    if (!object) return NULL;
  }
  asan_unpoison(object, bytes);
  return object;
}

char *arena_text(arena *a, const char *text, size_t bytes) {
  if (bytes == SIZE_MAX) return NULL;
  char *copy = arena_alloc(a, bytes + 1);
  if (!copy) return NULL;
  if (bytes > 0) memcpy(copy, text, bytes);
  copy[bytes] = 0;
  return copy;
}

void arena_free(arena *a) {
  if (!a) return;
  for (arena_block *block = a->block; block;) {
    arena_block *previous = block->previous;
    asan_unpoison(block->data, block->bytes);
    mem_free(a->mem, block);
    block = previous;
  }
  mem_free(a->mem, a);
}
