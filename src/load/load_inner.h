/* load/load_inner.h: one list of slices, shared out among the threads, batch after batch. Private to the loading of weights. */
#ifndef LOAD_LOAD_INNER_H
#define LOAD_LOAD_INNER_H

#include "load/slice.h"

/* Bytes of weights in one batch: progress and cancel come between batches. Pinning two stages takes 0.4 ms a MiB. */
#define BATCH_BYTES ((size_t)16 << 20)

typedef struct loader {
  const plan *p;
  mem *m;
  pool *pool;
  slice *all; /* every slice of the pass */
  size_t count;
  const slice *slices; /* of this batch */
  uint8_t *stages[2];  /* the host's; both the same where the device does not read by itself */
  size_t turn;
  void *values;         /* dev: rows that the device packs; NULL: it does not */
  uint8_t *unpacked;    /* this batch is of such rows: where they go, in the file's order */
  const slice *waiting; /* the first of such rows that are at values and not packed yet; NULL: there are none */
  size_t waiting_rows;
  pack_survey *surveys; /* one for each slice of the batch, in a survey */
  slice_buffers *threads;
  viva_progress_fn progress;
  void *progress_user;
  uint64_t done, total; /* for progress: bytes surveyed in the files, then bytes held */
} loader;

/* ---- load_batch.c */

typedef int (*item_filter)(const plan *p, const plan_item *item);

/* Those whose values go into the block. */
int item_is_loaded(const plan *p, const plan_item *item);

/* Lists the slices of the items that the filter takes. 0, or 1 when there is no memory; loader_end is needed in both
 * cases. */
int loader_begin(loader *l, item_filter takes);
void loader_end(loader *l);
viva_status loader_no_buffers(viva_error *error);

/* These slices, by all threads: surveyed where there are surveys, made for the device where l->unpacked says so, else
 * loaded into their places. */
viva_status loader_run(loader *l, const slice *slices, size_t count, viva_error *error);

/* Progress; E_CANCELLED. */
viva_status loader_tell(const loader *l, viva_error *error);

/* ---- load_device.c: what the device packs */

int device_takes(const loader *l, const plan_item *item);
/* Of a row as the device gets it. */
size_t device_row_bytes(const plan_item *item);
/* One slice into the stage. */
viva_status device_slice(const loader *l, const slice *w, const slice_buffers *b, viva_error *error);
/* Slices [begin, *end), of one item, to the device, where they wait; those that waited are packed. */
viva_status device_fill(loader *l, backend *b, uint8_t *block, size_t begin, size_t *end, viva_error *error);
viva_status device_pack_waiting(loader *l, backend *b, uint8_t *block, viva_error *error);
/* Room for the rows that the device packs. Where it has none left, the host packs. */
viva_status device_take_room(loader *l, backend *b, viva_error *error);

/* ---- load_fill.c */

/* The device has read the other stage. */
viva_status loader_turn(loader *l, backend *b, viva_error *error);
/* All slices into the block. */
viva_status load_fill(void *block, const plan *p, viva_progress_fn progress, void *user, viva_error *error);

#endif
