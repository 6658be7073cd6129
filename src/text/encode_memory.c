/* Memory of encode calls, which a tokenizer keeps for the next ones. */
#include "text/encode.h"

#include <string.h>

static void set_up(encode_memory *memory, mem *m, int with_origins) {
  mapped *texts[] = {&memory->whole, &memory->normal[0], &memory->normal[1], &memory->pre.texts[0],
                     &memory->pre.texts[1]};
  for (size_t i = 0; i < sizeof texts / sizeof(mapped *); i++) {
    texts[i]->mem = m;
    texts[i]->count = 0;
    /* Room for bytes is no room for origins. */
    if (texts[i]->with_origins != with_origins) mapped_free(texts[i]);
    texts[i]->with_origins = with_origins;
  }
  memory->bpe.mem = memory->regexes.mem = memory->piece.mem = memory->words.mem = m;
  memory->added[0].mem = memory->added[1].mem = m;
}

encode_memory *encode_memory_take(const viva_tokenizer *t, int with_origins) {
  /* Whose memory lies idle is no part of what a tokenizer is. */
  viva_tokenizer *owner = (viva_tokenizer *)(uintptr_t)t;
  encode_memory *memory = NULL;
  for (size_t i = 0; i < TOKENIZER_IDLE && !memory; i++)
    if (atomic_load_explicit(&owner->idle[i], memory_order_relaxed)) memory = atomic_exchange(&owner->idle[i], NULL);
  if (!memory) {
    memory = mem_alloc(&owner->rt->mem, sizeof *memory);
    if (!memory) return NULL;
    memset(memory, 0, ENCODE_MEMORY_ZEROED);
  }
  set_up(memory, &owner->rt->mem, with_origins);
  return memory;
}

static void free_texts(encode_memory *memory) {
  mapped_free(&memory->whole);
  mapped_free(&memory->normal[0]);
  mapped_free(&memory->normal[1]);
  pre_memory_free(&memory->pre);
  bpe_scratch_free(&memory->bpe);
  regex_memory_free(&memory->regexes);
  piece_memory_free(&memory->piece);
  added_memory_free(&memory->added[0]);
  added_memory_free(&memory->added[1]);
}

void encode_memory_free(encode_memory *memory) {
  if (!memory) return;
  mem *m = memory->words.mem;
  free_texts(memory);
  word_memory_free(&memory->words);
  mem_free(m, memory);
}

#define KEPT_MOST ((size_t)8 << 20) /* bytes of text in one buffer, and symbols */

void encode_memory_give(const viva_tokenizer *t, encode_memory *memory) {
  viva_tokenizer *owner = (viva_tokenizer *)(uintptr_t)t;
  const pre_memory *pre = &memory->pre;
  size_t room[] = {memory->whole.room,    memory->normal[0].room, memory->normal[1].room, pre->texts[0].room,
                   pre->texts[1].room,    pre->room[0],           pre->room[1],           memory->bpe.capacity,
                   memory->added[0].room, memory->added[1].room};
  for (size_t i = 0; i < sizeof room / sizeof *room; i++)
    if (room[i] > KEPT_MOST) {
      free_texts(memory);
      break;
    }
  for (size_t i = 0; i < TOKENIZER_IDLE; i++) {
    encode_memory *none = NULL;
    if (atomic_compare_exchange_strong(&owner->idle[i], &none, memory)) return;
  }
  encode_memory_free(memory);
}
