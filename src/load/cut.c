/* load/cut.c */
#include "load/cut.h"

#include <string.h>

#include "base/ck.h"
#include "base/error.h"

#define STAGED_BYTES ((size_t)8 << 20) /* of a matrix of columns that are put together on the host */
#define VOCAB_ALIGN  16                /* rows of the head that stay together */

/* ---- what can be cut */

static viva_status divides(size_t number, const char *what, size_t ranks, viva_error *error) {
  if (number % ranks == 0) return VIVA_OK;
  return error_set(error, VIVA_E_UNSUPPORTED, "the model has %zu %s, which %zu devices cannot share evenly", number,
                   what, ranks);
}

/* Columns that stay together. */
static size_t column_unit(const weight *w) {
  size_t unit = w->block ? w->block : 1;
  if ((w->format == WEIGHT_INT8_24 || w->format == WEIGHT_INT4_24) && unit < SPARSE_24_COLUMNS)
    unit = SPARSE_24_COLUMNS;
  return weight_dense(w->format) ? 1 : unit;
}

static viva_status columns_divide(const weight *w, const char *name, size_t layer, size_t ranks, viva_error *error) {
  const size_t unit = column_unit(w), share = w->cols / ranks;
  if (share % unit == 0) return VIVA_OK;
  return error_set(error, VIVA_E_UNSUPPORTED,
                   "%s of layer %zu has %zu columns, %zu for each of %zu devices, but its format keeps %zu together; "
                   "hold it in another format, or use another number of devices",
                   name, layer, w->cols, share, ranks, unit);
}

viva_status cut_check(const decoder *whole, size_t ranks, viva_error *error) {
  TRY(divides(whole->heads.kv_heads, "KV heads", ranks, error));
  TRY(divides(whole->heads.q_heads, "heads", ranks, error));
  TRY(divides(whole->ffn, "feed-forward rows", ranks, error));
  for (size_t i = 0; i < whole->layer_count; i++) {
    TRY(columns_divide(&whole->layers[i].o, "o_proj", i, ranks, error));
    TRY(columns_divide(&whole->layers[i].down, "down_proj", i, ranks, error));
  }
  if (whole->vocab >= ranks * VOCAB_ALIGN) return VIVA_OK;
  return error_set(error, VIVA_E_UNSUPPORTED, "a vocabulary of %zu tokens is too small for %zu devices", whole->vocab,
                   ranks);
}

size_t cut_vocab(size_t vocab, size_t rank, size_t ranks, size_t *first) {
  const size_t units = vocab / VOCAB_ALIGN, next = (rank + 1) * units / ranks * VOCAB_ALIGN;
  *first = rank * units / ranks * VOCAB_ALIGN;
  return (rank + 1 == ranks ? vocab : next) - *first;
}

viva_model_config cut_config(const viva_model_config *whole, size_t rank, size_t ranks) {
  viva_model_config c = *whole;
  size_t first;
  c.num_heads /= ranks;
  c.num_kv_heads /= ranks;
  c.intermediate_size /= ranks;
  c.vocab_size = cut_vocab((size_t)whole->vocab_size, rank, ranks, &first);
  return c;
}

/* ---- a part's place */

static uint8_t *place(cut_target *to, uint64_t bytes) {
  uint8_t *at = to->block ? to->block + to->used : NULL;
  uint64_t next;
  if (ck_add(to->used, bytes, &next) || ck_align(next, MEM_ALIGN, &to->used)) to->used = UINT64_MAX;
  return at;
}

/* rows × bytes, rows from_stride apart, to `at`, one after another. */
static viva_status put(cut_target *to, uint8_t *at, const uint8_t *from, size_t from_stride, size_t rows, size_t bytes,
                       viva_error *error) {
  const backend_ops *ops = to->b->ops;
  if (bytes == from_stride) return ops->upload(to->b, at, from, rows * bytes, error);
  const size_t most = bytes < STAGED_BYTES ? STAGED_BYTES / bytes : 1;
  if (bytes > STAGED_BYTES) return error_set(error, VIVA_E_LIMIT, "a row of %zu bytes is too long to be cut", bytes);
  for (size_t r = 0, count; r < rows; r += count) {
    count = rows - r < most ? rows - r : most;
    for (size_t i = 0; i < count; i++) memcpy(to->staged + i * bytes, from + (r + i) * from_stride, bytes);
    TRY(ops->upload(to->b, at + r * bytes, to->staged, count * bytes, error));
  }
  return VIVA_OK;
}

/* ---- matrices */

typedef struct region {
  size_t row, rows, col, cols;
} region;

/* Bytes of codes, and of scales, before column col of a row. */
static size_t code_bytes(const weight *w, size_t col) {
  switch (w->format) {
  case WEIGHT_FP8: return col;
  case WEIGHT_NVFP4: return (col + NVFP4_BLOCK - 1) / NVFP4_BLOCK * NVFP4_BLOCK_BYTES;
  case WEIGHT_INT8_24: return (col + SPARSE_24_COLUMNS - 1) / SPARSE_24_COLUMNS * sizeof(int8_24_block);
  case WEIGHT_INT4_24: return (col + SPARSE_24_COLUMNS - 1) / SPARSE_24_COLUMNS * sizeof(int4_24_block);
  default: return col * weight_element_bytes(w->format);
  }
}

static size_t scale_offset(const weight *w, size_t col) {
  return w->block ? col / w->block * scale_bytes(w->scales_type) : 0;
}

static viva_status cut_matrix(const weight *w, region r, cut_target *to, weight *share, viva_error *error) {
  *share = *w;
  share->rows = r.rows;
  share->cols = r.cols;
  share->row_bytes = code_bytes(w, r.cols);
  share->prepared = NULL;
  uint8_t *codes = place(to, (uint64_t)r.rows * share->row_bytes);
  share->data = codes;
  if (codes)
    TRY(put(to, codes, (const uint8_t *)w->data + r.row * w->row_bytes + code_bytes(w, r.col), w->row_bytes, r.rows,
            share->row_bytes, error));
  if (weight_dense(w->format)) return VIVA_OK;
  /* A scale per tensor is one row that serves all. */
  const size_t bytes = weight_blocks(share) * scale_bytes(w->scales_type), rows = w->scale_row_bytes ? r.rows : 1;
  share->scale_row_bytes = w->scale_row_bytes ? bytes : 0;
  uint8_t *scales = place(to, (uint64_t)rows * bytes);
  share->scales = scales;
  if (!scales) return VIVA_OK;
  const uint8_t *from = (const uint8_t *)w->scales + r.row * w->scale_row_bytes + scale_offset(w, r.col);
  return put(to, scales, from, w->scale_row_bytes ? w->scale_row_bytes : bytes, rows, bytes, error);
}

/* The same rows of every rank: share `rank` of `ranks`. */
static region rows_of(const weight *w, size_t rank, size_t ranks) {
  const size_t rows = w->rows / ranks;
  return (region){rank * rows, rows, 0, w->cols};
}

static region columns_of(const weight *w, size_t rank, size_t ranks) {
  const size_t cols = w->cols / ranks;
  return (region){0, w->rows, rank * cols, cols};
}

static region all_of(const weight *w) { return (region){0, w->rows, 0, w->cols}; }

/* ---- vectors */

/* count floats from `first` on; NULL stays NULL. A vector that exists has a place even where nothing is copied. */
static viva_status cut_vector(const float *v, int present, size_t first, size_t count, cut_target *to,
                              const float **share, viva_error *error) {
  *share = NULL;
  if (!present) return VIVA_OK;
  uint8_t *at = place(to, (uint64_t)count * sizeof(float));
  *share = (const float *)(const void *)at;
  return at ? to->b->ops->upload(to->b, at, v + first, count * sizeof(float), error) : VIVA_OK;
}

/* ---- the decoder */

typedef struct cutter {
  const viva_model_config *config; /* of the whole */
  size_t rank, ranks;
  cut_target *to;
} cutter;

static viva_status cut_rows(const cutter *c, const weight *w, const float *bias, int biased, weight *share,
                            const float **share_bias, viva_error *error) {
  const region r = rows_of(w, c->rank, c->ranks);
  TRY(cut_matrix(w, r, c->to, share, error));
  return cut_vector(bias, biased, r.row, r.rows, c->to, share_bias, error);
}

static viva_status cut_columns(const cutter *c, const weight *w, const float *bias, int biased, weight *share,
                               const float **share_bias, viva_error *error) {
  TRY(cut_matrix(w, columns_of(w, c->rank, c->ranks), c->to, share, error));
  return cut_vector(bias, biased && c->rank == 0, 0, w->rows, c->to, share_bias, error);
}

static viva_status cut_layer(const cutter *c, const decoder *whole, const decoder_layer *l, decoder_layer *s,
                             viva_error *error) {
  const viva_model_config *config = c->config;
  const int qkv = config->qkv_bias, mlp = config->mlp_bias, norms = config->qk_norm;
  TRY(cut_rows(c, &l->q, l->q_bias, qkv, &s->q, &s->q_bias, error));
  TRY(cut_rows(c, &l->k, l->k_bias, qkv, &s->k, &s->k_bias, error));
  TRY(cut_rows(c, &l->v, l->v_bias, qkv, &s->v, &s->v_bias, error));
  TRY(cut_columns(c, &l->o, l->o_bias, config->o_bias, &s->o, &s->o_bias, error));
  TRY(cut_rows(c, &l->gate, l->gate_bias, mlp, &s->gate, &s->gate_bias, error));
  TRY(cut_rows(c, &l->up, l->up_bias, mlp, &s->up, &s->up_bias, error));
  TRY(cut_columns(c, &l->down, l->down_bias, mlp, &s->down, &s->down_bias, error));
  TRY(cut_vector(l->attention_norm, 1, 0, whole->hidden, c->to, &s->attention_norm, error));
  TRY(cut_vector(l->mlp_norm, 1, 0, whole->hidden, c->to, &s->mlp_norm, error));
  TRY(cut_vector(l->q_norm, norms, 0, whole->heads.head_dim, c->to, &s->q_norm, error));
  return cut_vector(l->k_norm, norms, 0, whole->heads.head_dim, c->to, &s->k_norm, error);
}

/* Of a tied table the head is rows of what is there already. */
static viva_status cut_ends(const cutter *c, const decoder *whole, decoder *share, viva_error *error) {
  region r = {.cols = whole->head.cols};
  const int tied = whole->head.data == whole->embedding.data && c->config->tie_word_embeddings;
  r.rows = cut_vocab(whole->vocab, c->rank, c->ranks, &r.row);
  TRY(cut_matrix(&whole->embedding, all_of(&whole->embedding), c->to, &share->embedding, error));
  TRY(cut_vector(whole->output_norm, 1, 0, whole->hidden, c->to, &share->output_norm, error));
  if (!tied || !weight_dense(whole->head.format)) return cut_matrix(&whole->head, r, c->to, &share->head, error);
  share->head = share->embedding;
  share->head.rows = r.rows;
  if (share->head.data) share->head.data = (const uint8_t *)share->head.data + r.row * share->head.row_bytes;
  return VIVA_OK;
}

static viva_status cut_all(const cutter *c, const decoder *whole, decoder *share, viva_error *error) {
  TRY(cut_ends(c, whole, share, error));
  for (size_t i = 0; i < whole->layer_count; i++) TRY(cut_layer(c, whole, &whole->layers[i], &share->layers[i], error));
  return VIVA_OK;
}

viva_status cut_decoder(const decoder *whole, const viva_model_config *config, size_t rank, size_t ranks,
                        cut_target *to, decoder *share, viva_error *error) {
  const cutter c = {config, rank, ranks, to};
  const viva_model_config own = cut_config(config, rank, ranks);
  to->used = 0;
  to->staged = NULL;
  TRY(decoder_make(share, &own, to->memory, error));
  share->layers_as = whole->layers_as;
  share->accumulate = whole->accumulate;
  share->rank = rank;
  if (to->block) to->staged = mem_alloc(to->memory, STAGED_BYTES);
  if (to->block && !to->staged) return error_set(error, VIVA_E_MEMORY, "no memory to cut the model");
  const viva_status status = cut_all(&c, whole, share, error);
  mem_free(to->memory, to->staged);
  to->staged = NULL;
  return status;
}
