/* model/load.c: one list of pieces (some rows of one tensor each), shared out among the threads, batch after batch.
 *
 * A piece is read (or found in the mapping), decoded to FP32, rounded to the type it is held in, and put in its place;
 * a tensor that is held as stored is read straight into its place. On a device whose memory the host cannot write,
 * places lie in a staging buffer that is uploaded after each batch.
 */
#include "model/load.h"

#include <string.h>

#include "number/number.h"

/* Bytes of held weights in one batch: progress and cancel come between batches. */
#define BATCH_BYTES ((uint64_t)32 << 20)

typedef struct piece {
  const plan_item *item;
  size_t row, rows;
} piece;

typedef struct thread_state {
  uint8_t *raw;
  float *values;
  viva_status status;
  size_t failed; /* piece */
  viva_error error;
} thread_state;

typedef struct loader {
  const plan *p;
  const piece *pieces; /* of this batch */
  uint8_t *base;       /* where byte `begin` of the block is */
  uint64_t begin;
  thread_state *threads;
} loader;

/* ---- one piece */

/* Row of the model (half-split order) of row r of the file, where llama.cpp's converter has interleaved the halves of
 * each head: file row 2i + j of a head is model row i + j · head_rows/2. */
static size_t unpermuted(size_t r, size_t head_rows) {
  size_t in_head = r % head_rows;
  return r - in_head + in_head / 2 + in_head % 2 * (head_rows / 2);
}

/* Largest magnitude that does not round to infinity. */
static float largest_finite(weight_format format) {
  switch (format) {
  case WEIGHT_F16: return 0x1.ffdffep+15f; /* just below 65520 */
  case WEIGHT_BF16: return 0x1.fefffep+127f;
  case WEIGHT_F32:
  case WEIGHT_FORMATS: break;
  }
  return 0x1.fffffep+127f;
}

/* 1 when a finite value exceeds the limit; infinities of the file itself stay what they are. Magnitudes are ordered as
 * their bits are, and blocks of a fixed length become vector instructions. */
static int exceeds(const float *values, size_t count, float limit) {
  enum { BLOCK = 32 };
  const int32_t most = (int32_t)f32_bits(limit), infinity = 0x7f800000;
  int32_t beyond = 0;
  size_t i = 0;
  for (; i + BLOCK <= count; i += BLOCK)
    for (size_t j = 0; j < BLOCK; j++) {
      int32_t magnitude = (int32_t)(f32_bits(values[i + j]) & 0x7fffffff);
      beyond |= (magnitude > most) & (magnitude < infinity);
    }
  for (; i < count; i++) {
    int32_t magnitude = (int32_t)(f32_bits(values[i]) & 0x7fffffff);
    beyond |= (magnitude > most) & (magnitude < infinity);
  }
  return beyond != 0;
}

static void convert(weight_format format, const float *values, void *to, size_t count) {
  switch (format) {
  case WEIGHT_F32: memcpy(to, values, count * sizeof *values); break;
  case WEIGHT_BF16: bf16_from_f32_n(values, to, count); break;
  case WEIGHT_F16: f16_from_f32_n(values, to, count); break;
  case WEIGHT_FORMATS: break;
  }
}

static viva_status source(const loader *l, const piece *w, uint8_t *buffer, const uint8_t **data, viva_error *error) {
  const plan_item *item = w->item;
  uint64_t row_bytes = plan_file_row_bytes(item), first = w->row * row_bytes;
  const uint8_t *mapped = checkpoint_mapped(l->p->ck, item->view);
  *data = mapped ? mapped + first : buffer;
  if (mapped) return VIVA_OK;
  return checkpoint_read_part(l->p->ck, item->view, first, buffer, (size_t)(w->rows * row_bytes), error);
}

static uint8_t *place(const loader *l, const plan_item *item, size_t row) {
  uint64_t row_bytes = item->cols * weight_element_bytes(item->format);
  return l->base + (item->offset + row * row_bytes - l->begin);
}

static viva_status load_piece(const loader *l, const piece *w, thread_state *t) {
  const plan_item *item = w->item;
  size_t row_bytes = item->cols * weight_element_bytes(item->format), count = w->rows * item->cols;
  const uint8_t *data;
  int stored = plan_as_stored(item);
  if (stored && !item->head_rows) {
    uint8_t *to = place(l, item, w->row);
    TRY(source(l, w, to, &data, &t->error));
    if (data != to) memcpy(to, data, w->rows * row_bytes);
    return VIVA_OK;
  }
  TRY(source(l, w, t->raw, &data, &t->error));
  if (!stored) {
    TRY(type_dequant(item->view->type, data, t->values, count, &t->error));
    if (exceeds(t->values, count, largest_finite(item->format)))
      return checkpoint_fail(l->p->ck, item->view, &t->error, VIVA_E_NUMERIC,
                             "the tensor has values that are beyond the range of %s; load it with weights %s",
                             item->format == WEIGHT_F16 ? "F16 (65504)" : "BF16",
                             item->format == WEIGHT_F16 ? "bf16" : "f32");
  }
  if (!item->head_rows) {
    convert(item->format, t->values, place(l, item, w->row), count);
    return VIVA_OK;
  }
  for (size_t r = 0; r < w->rows; r++) {
    uint8_t *to = place(l, item, unpermuted(w->row + r, item->head_rows));
    if (stored)
      memcpy(to, data + r * row_bytes, row_bytes);
    else
      convert(item->format, t->values + r * item->cols, to, item->cols);
  }
  return VIVA_OK;
}

static void load_pieces(void *arg, size_t begin, size_t end, size_t thread) {
  loader *l = arg;
  thread_state *t = &l->threads[thread];
  for (size_t i = begin; i < end && !t->status; i++) {
    t->status = load_piece(l, &l->pieces[i], t);
    t->failed = i;
  }
}

/* ---- all pieces */

static size_t count_pieces(const plan *p) {
  size_t count = 0;
  for (size_t i = 0; i < p->item_count; i++) {
    const plan_item *item = &p->items[i];
    size_t rows = plan_piece_rows(item);
    if (!item->in_place && item != p->rope_factors) count += (item->rows + rows - 1) / rows;
  }
  return count;
}

static void list_pieces(const plan *p, piece *pieces) {
  for (size_t i = 0; i < p->item_count; i++) {
    const plan_item *item = &p->items[i];
    size_t rows = plan_piece_rows(item);
    if (item->in_place || item == p->rope_factors) continue;
    for (size_t row = 0; row < item->rows; row += rows) {
      size_t left = item->rows - row;
      *pieces++ = (piece){.item = item, .row = row, .rows = left < rows ? left : rows};
    }
  }
}

static uint64_t piece_begin(const piece *w) {
  return w->item->offset + (uint64_t)w->row * w->item->cols * weight_element_bytes(w->item->format);
}

static uint64_t piece_bytes(const piece *w) {
  return (uint64_t)w->rows * w->item->cols * weight_element_bytes(w->item->format);
}

/* The error of the first piece that failed, whichever thread met it. */
static viva_status first_error(const loader *l, size_t threads, viva_error *error) {
  const thread_state *first = NULL;
  for (size_t t = 0; t < threads; t++)
    if (l->threads[t].status && (!first || l->threads[t].failed < first->failed)) first = &l->threads[t];
  if (!first) return VIVA_OK;
  if (error) *error = first->error;
  return first->status;
}

static viva_status run_batches(loader *l, const viva_model *model, const piece *pieces, size_t count,
                               viva_progress_fn progress, void *user, viva_error *error) {
  backend *b = model->engine->backend;
  uint64_t total = l->p->block_bytes, done = 0;
  for (size_t begin = 0, end; begin < count; begin = end) {
    uint64_t from = piece_begin(&pieces[begin]), to = from;
    for (end = begin; end < count && (end == begin || to - from < BATCH_BYTES); end++)
      to = piece_begin(&pieces[end]) + piece_bytes(&pieces[end]);
    l->pieces = pieces + begin;
    if (!b->ops->host_memory) l->begin = from;
    pool_for(model->engine->pool, end - begin, 1, load_pieces, l);
    TRY(first_error(l, (size_t)pool_threads(model->engine->pool), error));
    if (!b->ops->host_memory)
      TRY(b->ops->upload(b, (uint8_t *)model->block + from, l->base, (size_t)(to - from), error));
    done = to;
    if (progress && progress(user, done, total)) return error_set(error, VIVA_E_CANCELLED, "loading was cancelled");
  }
  return VIVA_OK;
}

static size_t largest_batch(const piece *pieces, size_t count) {
  uint64_t largest = 0;
  for (size_t i = 0; i < count; i++)
    if (piece_bytes(&pieces[i]) > largest) largest = piece_bytes(&pieces[i]);
  return (size_t)(BATCH_BYTES + 64 + largest); /* 64: the gap before a weight */
}

static viva_status fill_block(viva_model *model, const plan *p, viva_progress_fn progress, void *user,
                              viva_error *error) {
  mem *m = &model->engine->rt->mem;
  size_t count = count_pieces(p), threads = (size_t)pool_threads(model->engine->pool);
  int host = model->engine->backend->ops->host_memory;
  loader l = {.p = p, .base = model->block};
  piece *pieces = mem_array(m, count, sizeof *pieces);
  l.threads = mem_array(m, threads, sizeof *l.threads);
  uint8_t *staging = NULL;
  int enough = pieces && l.threads;
  if (enough) {
    list_pieces(p, pieces);
    if (!host) enough = (staging = l.base = mem_alloc(m, largest_batch(pieces, count))) != NULL;
  }
  for (size_t t = 0; t < threads && enough; t++) {
    l.threads[t].raw = mem_alloc(m, p->piece_bytes);
    l.threads[t].values = mem_array(m, p->piece_values, sizeof(float));
    enough = l.threads[t].raw && l.threads[t].values;
  }
  viva_status status = enough ? run_batches(&l, model, pieces, count, progress, user, error)
                              : error_set(error, VIVA_E_MEMORY, "no memory for the buffers that loading needs");
  for (size_t t = 0; t < threads && l.threads; t++) {
    mem_free(m, l.threads[t].raw);
    mem_free(m, l.threads[t].values);
  }
  mem_free(m, staging);
  mem_free(m, l.threads);
  mem_free(m, pieces);
  return status;
}

/* ---- pointers */

static void set_pointer(viva_model *model, const plan *p, const plan_item *item) {
  char *owner = item->layer == PLAN_GLOBAL ? (char *)&model->g : (char *)&model->layers[item->layer];
  const void *data = item->in_place ? checkpoint_mapped(p->ck, item->view) : (uint8_t *)model->block + item->offset;
  if (item->vector) {
    const float *vector = data;
    memcpy(owner + item->slot->field, &vector, sizeof vector);
    return;
  }
  weight w = {.format = item->format,
              .rows = item->rows,
              .cols = item->cols,
              .row_bytes = item->cols * weight_element_bytes(item->format),
              .data = data};
  memcpy(owner + item->slot->field, &w, sizeof w);
}

static viva_status load_rope_factors(viva_model *model, const plan *p, viva_error *error) {
  const plan_item *item = p->rope_factors;
  mem *m = &model->engine->rt->mem;
  uint8_t *raw = mem_alloc(m, (size_t)item->view->bytes);
  model->rope_factors = mem_array(m, item->cols, sizeof(float));
  viva_status status = raw && model->rope_factors
                           ? checkpoint_read_part(p->ck, item->view, 0, raw, (size_t)item->view->bytes, error)
                           : error_set(error, VIVA_E_MEMORY, "no memory for the RoPE factors");
  if (!status) status = type_dequant(item->view->type, raw, model->rope_factors, item->cols, error);
  mem_free(m, raw);
  if (status) return status;
  for (size_t i = 0; i < item->cols; i++)
    if (!(model->rope_factors[i] > 0 && model->rope_factors[i] <= 0x1.fffffep+127f))
      return checkpoint_fail(p->ck, item->view, error, VIVA_E_NUMERIC,
                             "RoPE factor %zu is no positive number; the file is damaged", i);
  model->g.rope_factors = model->rope_factors;
  return VIVA_OK;
}

viva_status load_weights(viva_model *model, plan *p, viva_progress_fn progress, void *user, viva_error *error) {
  backend *b = model->engine->backend;
  if (p->block_bytes && !(model->block = b->ops->alloc(b, (size_t)p->block_bytes)))
    return error_set(error, VIVA_E_MEMORY, "no memory for %llu bytes of weights", (unsigned long long)p->block_bytes);
  TRY(fill_block(model, p, progress, user, error));
  if (p->rope_factors) TRY(load_rope_factors(model, p, error));
  for (size_t i = 0; i < p->item_count; i++)
    if (&p->items[i] != p->rope_factors) set_pointer(model, p, &p->items[i]);
  if (!p->head) model->g.head = model->g.embedding;
  if (!p->embedding) model->g.embedding = model->g.head;
  return VIVA_OK;
}

/* ---- tied or not */

#define COMPARE_BYTES ((size_t)1 << 20)

static viva_status compare(const plan *p, const tensor_view *a, const tensor_view *b, int *equal, viva_error *error) {
  mem *m = &p->engine->rt->mem;
  uint8_t *buffer = mem_alloc(m, 2 * COMPARE_BYTES);
  if (!buffer) return error_set(error, VIVA_E_MEMORY, "no memory to compare the embedding with the head");
  viva_status status = VIVA_OK;
  *equal = a->type == b->type && a->bytes == b->bytes;
  for (uint64_t at = 0; *equal && !status && at < a->bytes; at += COMPARE_BYTES) {
    size_t bytes = a->bytes - at < COMPARE_BYTES ? (size_t)(a->bytes - at) : COMPARE_BYTES;
    status = checkpoint_read_part(p->ck, a, at, buffer, bytes, error);
    if (!status) status = checkpoint_read_part(p->ck, b, at, buffer + COMPARE_BYTES, bytes, error);
    if (!status) *equal = memcmp(buffer, buffer + COMPARE_BYTES, bytes) == 0;
  }
  mem_free(m, buffer);
  return status;
}

viva_status load_tie(plan *p, viva_error *error) {
  int equal = 0;
  if (!p->embedding || !p->head || !p->config.tie_word_embeddings) return VIVA_OK;
  TRY(compare(p, p->embedding->view, p->head->view, &equal, error));
  if (equal)
    plan_tie(p);
  else
    runtime_log(p->engine->rt, VIVA_LOG_WARN,
                "%s: the model says that embedding and head are tied, but both are there and differ; both are used",
                p->ck->path);
  return VIVA_OK;
}
