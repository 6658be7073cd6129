/* model/shards.h: a model on an engine of several devices: what each rank holds of it, and steps on all of them.
 *
 *   decoder (host) ──cut──► decoder of rank 0, 1, ...        each in its device's memory
 *   page of the cache       a page on every rank, for its own heads: here an array of pointers
 *   step                    described once on the host; every rank copies the description and puts its own pages in
 *
 * Each rank runs the forward pass on its share, meets the others in the exchange after o and down, and brings its part of the
 * logits to the host, where the best are chosen among all parts.
 */
#ifndef MODEL_SHARDS_H
#define MODEL_SHARDS_H

#include "engine/engine.h"
#include "load/cut.h"
#include "model/workspace.h"

typedef struct shards shards;

/* Cuts whole, which lies in the host's memory, and gives each rank its share. On failure *out is NULL. Errors: those of
 * cut_check, E_MEMORY, the devices'. */
viva_status shards_make(viva_engine *engine, const decoder *whole, const viva_model_config *config, kv_type kv,
                        input_mode act, int plain, shards **out, viva_error *error);
void shards_free(shards *s); /* NULL is allowed */

/* Room on every rank for steps of so many rows, such batches, and top results of a row. Errors: E_MEMORY, the devices'. */
viva_status shards_fit(shards *s, size_t rows, batch_room room, size_t top, viva_error *error);

/* What a run makes. rows ≤ BUDGET_LOGIT_ROWS of the kept ones, from `first` on; first = 0 runs the layers before. */
typedef struct shards_wanted {
  size_t first, rows, top;
  uint64_t step;                /* 0 with first = 0; then as shards_step left it */
  float *logits;                /* host [rows][vocab]; NULL: they need not come to the host */
  void *far[BUDGET_LOGIT_ROWS]; /* of each row: what keeps it (shards_row), or NULL */
  viva_token *ids;              /* [rows][top], best first; as backend's top */
  float *values;                /* [rows][top] */
  uint8_t *nan;                 /* [rows] */
} shards_wanted;

/* A step, or, first > 0, the head of more of its rows; where another thread's step came between, its layers run again. host: the description, whose pages are those of shards_page. Once
 * it failed in the middle the engine's devices are lost. Errors: E_DEVICE. */
viva_status shards_step(shards *s, const batch *host, shards_wanted *wanted, viva_error *error);

/* A row of logits, each rank's part on its device; and its values brought to the host. Freed by shards_page_free. Errors: as
 * shards_page. */
viva_status shards_row(rank_set *r, size_t vocab, void **row, viva_error *error);
viva_status shards_row_bring(rank_set *r, void *row, size_t vocab, float *host, viva_error *error);

/* Pages of a KV cache for all ranks, bytes in all. Errors: E_MEMORY, E_DEVICE. */
viva_status shards_page(rank_set *r, size_t bytes, void **page, viva_error *error);
void shards_page_free(rank_set *r, void *page); /* NULL is allowed */
viva_status shards_page_copy(rank_set *r, void *to, const void *from, size_t bytes, viva_error *error);

#endif
