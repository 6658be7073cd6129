/* load/plan.h: from a checkpoint's headers to a list of what will be loaded, and how much memory that takes. */
#ifndef LOAD_PLAN_H
#define LOAD_PLAN_H

#include "engine/engine.h"
#include "format/quant/quant.h"
#include "load/budget.h"
#include "load/names.h"
#include "load/rule.h"
#include "viva/model.h"

#define PLAN_ALIGN 64 /* of each weight in the block of weights */

#define PLAN_GLOBAL SIZE_MAX /* plan_item.layer of a tensor outside the layers */

typedef struct plan_item {
  const slot *slot;
  size_t layer;            /* or PLAN_GLOBAL */
  const tensor_view *view; /* of a quantised matrix: its codes */
  quant_matrix source;     /* .kind QUANT_DENSE: view says all */
  int native;              /* held as the quantised codes and scales of the file */
  pack_spec spec;          /* as it will be held */
  size_t rows, cols;       /* a vector is one row; a permuted vector one column */
  size_t head_rows;        /* rows of one head when they must be un-permuted, else 0 */
  int vector;              /* becomes a pointer, not a weight */
  int in_place;            /* used where the file is mapped */
  int copy;                /* another item has the same view: a tied head in a format of its own */
  uint64_t bytes;          /* as held */
  uint64_t offset;         /* in the block of weights */
} plan_item;

typedef struct plan {
  viva_engine *engine;       /* borrowed */
  const viva_checkpoint *ck; /* borrowed */
  quant *quant;              /* what of it is stored in few bits */
  viva_model_config config;  /* num_layers as it will be run */
  uint64_t ck_layers;        /* num_layers as the file says */
  uint64_t context;
  kv_type kv;
  input_mode act;
  accumulation accumulate;
  spelling names;   /* of ck */
  rule rule;        /* borrows the option's text */
  plan_item *items; /* in the order of the table, layer by layer */
  size_t item_count;
  plan_item *embedding, *head, *rope_factors; /* NULL: absent. One of the first two may be (they are then tied) */
  size_t slice_bytes, slice_values;           /* largest loading buffers of one thread */
  uint64_t surveyed_bytes;                    /* read before the weights are loaded */
  uint64_t block_bytes;                       /* of the block that all copied weights share */
  viva_memory_plan memory;
} plan;

/* options have been completed by options_read. Errors: see viva_model_plan. plan_end is needed after success only. */
viva_status plan_begin(plan *p, viva_engine *engine, const viva_checkpoint *ck, const viva_model_options *options,
                       viva_error *error);
void plan_end(plan *p);

/* Chooses item->spec from slot, layer, view and vector. Errors: E_UNSUPPORTED. */
viva_status plan_choose(const plan *p, plan_item *item, viva_error *error);

/* 1: the kernels have the quantised form of the file, which *spec says. */
int plan_native(const plan_item *item, pack_spec *spec);

/* Sets bytes and in_place from spec, rows and cols. */
void plan_size(const plan *p, plan_item *item);

/* The item as another rule would hold it. */
plan_item plan_item_under(const plan *p, const plan_item *item, const rule *r);

/* 1 when two dense items of one tensor would hold the same bytes. */
int plan_same_format(const plan_item *a, const plan_item *b);

/* Places every copied weight and fills the numbers. Called again when a format or the list of items changed. */
void plan_measure(plan *p);

/* The head holds what the embedding holds: it is not loaded. */
void plan_tie(plan *p);

/* -- plan_devices.c: an engine of several devices; of one, these do nothing */

/* Whether they can share the model. Errors: those of cut_check, E_MEMORY. */
viva_status plan_check_devices(const plan *p, viva_error *error);

/* What each would hold, in memory's figures: plan_shares of the plan's decoder. */
void plan_devices(plan *p);

/* The same of a decoder. Sets what devices hold, what the host needs, and the largest context up to limit. c->backend is not
 * used. */
void plan_shares(const viva_engine *e, const decoder *whole, const budget_case *c, uint64_t limit, viva_memory_plan *n);

/* E_LIMIT with all numbers when memory.needed_bytes exceeds what is available. */
viva_status plan_refuse(const plan *p, viva_error *error);

/* Rows of item that are read and converted at once. */
size_t plan_slice_rows(const plan_item *item);

/* Bytes of one row in the file, of a quantised matrix about. */
uint64_t plan_file_row_bytes(const plan_item *item);

/* Bytes that a thread needs for reading so many rows, beside their values. */
size_t plan_raw_bytes(const plan_item *item, size_t rows);

/* The view of an item whose bytes lie at data. */
weight plan_view(const plan *p, const plan_item *item, const void *data);

/* Sets the item's matrix or vector, whose bytes lie at data, in a decoder of the plan's configuration. (RoPE's factors are
 * the host's: nothing is set.) */
void plan_set(const plan *p, const plan_item *item, const void *data, decoder *d);

/* 1 when the file's bytes are what will be held. */
int plan_as_stored(const plan_item *item);

#endif
