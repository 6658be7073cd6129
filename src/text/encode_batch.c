/* Many texts at a time: threads take blocks of them in turn, and keep the ids in memory of their own until all are done. */
#include <string.h>

#include "base/ck.h"
#include "base/cpu.h"
#include "base/pool.h"
#include "text/encode.h"

#define BLOCK_BYTES  ((size_t)32 << 10) /* of text in a block, at least: worth taking */
#define THREADS_MOST 1024

/* texts[begin .. end), and where their ids are kept. */
typedef struct block {
  size_t begin, end;
  size_t thread, at;
} block;

typedef struct batch_thread {
  viva_token *ids;
  size_t count, room;
  size_t failed; /* the first text that failed, or SIZE_MAX */
  viva_error error;
} batch_thread;

typedef struct encode_batch {
  const viva_tokenizer *t;
  const encode_request *request;
  viva_text *texts;
  size_t text_count;
  viva_token *ids; /* NULL: what is kept is not asked for */
  block *blocks;
  size_t block_count;
  batch_thread *threads;
  _Atomic size_t next;
  _Atomic int stops;
} encode_batch;

static viva_status room_for(batch_thread *b, mem *m, size_t more, viva_error *error) {
  if (more <= b->room - b->count) return VIVA_OK;
  size_t room = b->room + b->room / 2 + more;
  viva_token *ids = room > SIZE_MAX / sizeof *ids ? NULL : mem_resize(m, b->ids, room * sizeof *ids);
  if (!ids) return error_set(error, VIVA_E_MEMORY, "no memory for %zu ids", room);
  b->ids = ids;
  b->room = room;
  return VIVA_OK;
}

static viva_status encode_one(encode_batch *e, batch_thread *b, size_t i, viva_error *error) {
  mem *m = &e->t->rt->mem;
  viva_text *text = &e->texts[i];
  if (!text->text && text->bytes > 0) return error_set(error, VIVA_E_ARGUMENT, "text %zu is NULL", i);
  TRY(room_for(b, m, text->bytes / 3 + 16, error));
  for (;;) {
    size_t count;
    viva_status status = encode_request_run(e->t, e->request, text->text ? text->text : "", text->bytes,
                                            b->ids + b->count, b->room - b->count, &count, error);
    if (status == VIVA_E_SIZE) {
      TRY(room_for(b, m, count, error));
      continue;
    }
    if (status) return status;
    text->end = count;
    b->count += count;
    return VIVA_OK;
  }
}

static void encode_block(encode_batch *e, block *k, size_t thread) {
  batch_thread *b = &e->threads[thread];
  k->thread = thread;
  k->at = b->count;
  for (size_t i = k->begin; i < k->end; i++) {
    viva_error error;
    if (encode_one(e, b, i, &error) == VIVA_OK) continue;
    if (i < b->failed) b->error = error, b->failed = i;
    atomic_store(&e->stops, 1);
    return;
  }
}

static void run_blocks(void *arg, size_t begin, size_t end, size_t thread) {
  encode_batch *e = arg;
  (void)begin;
  (void)end;
  for (;;) {
    size_t at = atomic_fetch_add(&e->next, 1);
    if (at >= e->block_count || atomic_load(&e->stops)) return;
    encode_block(e, &e->blocks[at], thread);
  }
}

/* The texts' ends are where they belong by now. */
static void copy_blocks(void *arg, size_t begin, size_t end, size_t thread) {
  encode_batch *e = arg;
  (void)thread;
  for (size_t i = begin; i < end; i++) {
    const block *k = &e->blocks[i];
    size_t first = k->begin ? e->texts[k->begin - 1].end : 0, count = e->texts[k->end - 1].end - first;
    if (count > 0) memcpy(e->ids + first, e->threads[k->thread].ids + k->at, count * sizeof *e->ids);
  }
}

/* Returns how many blocks there are; list NULL: counts them only. */
static size_t cut_blocks(const encode_batch *e, block *list) {
  size_t count = 0;
  for (size_t i = 0; i < e->text_count;) {
    size_t begin = i, bytes = 0;
    while (i < e->text_count && bytes < BLOCK_BYTES) bytes += e->texts[i++].bytes;
    if (list) list[count] = (block){begin, i, 0, 0};
    count++;
  }
  return count;
}

static viva_status first_error(const encode_batch *e, size_t threads, viva_error *error) {
  const batch_thread *first = NULL;
  for (size_t i = 0; i < threads; i++)
    if (e->threads[i].failed != SIZE_MAX && (!first || e->threads[i].failed < first->failed)) first = &e->threads[i];
  if (!first) return VIVA_OK;
  if (error) *error = first->error;
  return first->error.code;
}

static viva_status run(encode_batch *e, size_t threads, size_t capacity, viva_error *error) {
  runtime *rt = e->t->rt;
  pool *p = NULL;
  e->block_count = cut_blocks(e, NULL);
  if (threads > e->block_count) threads = e->block_count;
  e->blocks = mem_array(&rt->mem, e->block_count, sizeof *e->blocks);
  e->threads = mem_array(&rt->mem, threads, sizeof *e->threads);
  if (!e->blocks || !e->threads) return error_set(error, VIVA_E_MEMORY, "no memory for %zu texts", e->text_count);
  cut_blocks(e, e->blocks);
  for (size_t i = 0; i < threads; i++) e->threads[i] = (batch_thread){.failed = SIZE_MAX};
  if (threads > 1) TRY(pool_create(rt, (int)threads, &p, error));
  pool_for(p, threads, 1, run_blocks, e);
  viva_status status = first_error(e, threads, error);
  size_t total = 0;
  for (size_t i = 0; !status && i < e->text_count; i++) e->texts[i].end = total += e->texts[i].end;
  if (!status && total > capacity)
    status = error_set(error, VIVA_E_SIZE, "the texts have %zu ids; there is room for %zu", total, capacity);
  else if (!status)
    pool_for(p, e->block_count, 1, copy_blocks, e);
  pool_free(p);
  for (size_t i = 0; i < threads; i++) mem_free(&rt->mem, e->threads[i].ids);
  return status;
}

viva_status viva_tokenizer_encode_batch(const viva_tokenizer *tokenizer, viva_text *texts, size_t count,
                                        const viva_encode_options *options, int32_t threads, viva_token *ids,
                                        size_t capacity, viva_error *error) {
  encode_request request;
  TRY(encode_options_take(options, &request, error));
  if (!tokenizer || (count > 0 && !texts) || (!ids && capacity > 0))
    return error_set(error, VIVA_E_ARGUMENT, "tokenizer, texts and ids must not be NULL");
  if (request.offsets) return error_set(error, VIVA_E_ARGUMENT, "options->offsets must be NULL for many texts");
  if (threads < 0 || threads > THREADS_MOST)
    return error_set(error, VIVA_E_ARGUMENT, "threads can be 0 to %d, not %d", THREADS_MOST, (int)threads);
  if (count == 0) return VIVA_OK;
  encode_batch e = {.t = tokenizer, .request = &request, .texts = texts, .text_count = count, .ids = ids};
  viva_status status = run(&e, threads ? (size_t)threads : (size_t)cpu_default_threads(), capacity, error);
  mem_free(&tokenizer->rt->mem, e.blocks);
  mem_free(&tokenizer->rt->mem, e.threads);
  return status;
}
