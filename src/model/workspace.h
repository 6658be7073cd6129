/* model/workspace.h: what a step works in, borrowed from the model for its time: steps of several threads each have their own,
 * and a session has none. And rows of logits, which sessions share as they share pages. */
#ifndef MODEL_WORKSPACE_H
#define MODEL_WORKSPACE_H

#include <pthread.h>

#include "base/mem.h"
#include "engine/ranks.h"
#include "load/budget.h"

/* Room in a batch: a step's rows, sequences and entries of page tables; and for rows of logits. */
typedef struct batch_room {
  size_t rows, spans, pages;
  size_t kept;   /* 0, 1: a row is made where it stays; more: the workspace has rows for them */
  size_t blocks; /* descriptions of such batches, one after the other; 0 is 1 */
} batch_room;

typedef struct workspace {
  struct workspace *next;
  size_t rows; /* of the activations */
  row_layout layout;
  float *activations; /* dev [layout.floats][rows] */
  void *quantized;    /* dev: the rows that enter layers as codes or FP16; NULL where none do */
  float *logits;      /* dev [BUDGET_LOGIT_ROWS][vocab], made when first needed; the host's beside several devices */
  float *host_logits; /* the same for the host when it cannot read logits; made when first needed */

  batch_room room;
  void *batch_host; /* the block of the batch; batch_dev: its place on the device, NULL when that is the host's */
  void *batch_dev;
  uint8_t nan[BUDGET_LOGIT_ROWS];
  viva_token *top_ids; /* [BUDGET_LOGIT_ROWS][top], likewise values; grown when more are asked for */
  float *top_values;
  size_t top_room, top; /* room; results of each row now */

  struct step_part *parts; /* of viva_step and its like */
  size_t parts_room;
} workspace;

/* One row of logits, counted. */
typedef struct logits_row {
  struct logits_row *next;
  uint32_t holders;
  viva_token best; /* the largest */
  int host_valid;
  void *far;   /* of several devices: each one's part; dev is then the host's, filled when it is asked for */
  float *dev;  /* [vocab] */
  float *host; /* NULL until it is asked for, and where the host reads dev */
} logits_row;

typedef struct work_pool {
  pthread_mutex_t lock;
  backend *b;
  mem *memory;
  row_layout layout;
  size_t vocab, rotary_dim;
  budget_case sizes; /* for the quantised rows */
  /* Not NULL: steps run on several devices (shards.h); workspaces have no activations, rows lie there. */
  rank_set *ranks;
  workspace *free;
  logits_row *free_rows;
  size_t reserving; /* sessions that rely on there being a workspace */
} work_pool;

/* sizes->config stays valid as long as the pool. */
void work_pool_begin(work_pool *p, const budget_case *sizes, mem *memory);
void work_pool_end(work_pool *p);
/* A session that reserves comes (1) or goes (-1). */
void work_pool_reserving(work_pool *p, int change);
/* Frees what nobody uses now, but for one workspace when sessions rely on it. */
void work_pool_trim(work_pool *p);

/* A workspace, one that lies idle when there is one. Given back with work_return. Errors: E_MEMORY. */
viva_status work_borrow(work_pool *p, workspace **out, viva_error *error);
void work_return(work_pool *p, workspace *w);
int work_pool_idle(work_pool *p); /* 1 when one lies idle */

/* Makes room for so many rows and such a batch. Allocates nothing when it had it before. Errors: E_MEMORY, the device's. */
viva_status work_fit(work_pool *p, workspace *w, size_t rows, batch_room room, viva_error *error);

/* Makes room for `top` results of each row, and for the logits on the host. Errors: E_MEMORY. */
viva_status work_reserve_top(work_pool *p, workspace *w, size_t top, viva_error *error);
viva_status work_reserve_host(work_pool *p, workspace *w, viva_error *error);

static inline float *work_at(const workspace *w, size_t offset) { return w->activations + offset * w->rows; }

/* A row that nobody else holds. Errors: E_MEMORY, and the device's. */
viva_status logits_take(work_pool *p, logits_row **out, viva_error *error);
logits_row *logits_share(work_pool *p, logits_row *row); /* NULL gives NULL */
void logits_drop(work_pool *p, logits_row *row);         /* NULL is allowed */
/* Its values in the host's memory, valid as long as the row is held. */
viva_status logits_host(work_pool *p, logits_row *row, const float **values, viva_error *error);

#endif
