/* load/load.h: fills a model's weights by its plan. */
#ifndef LOAD_LOAD_H
#define LOAD_LOAD_H

#include "load/plan.h"

/* When head and embedding are both there, the model says they are tied, and they are equal bit for bit: plan_tie.
 * Different ones are both kept, with a warning. */
viva_status load_tie(plan *p, viva_error *error);

/* Reads the values of items whose format depends on all of them, settles it, and measures the plan again (an item may
 * have grown). */
viva_status load_survey(plan *p, viva_progress_fn progress, void *user, viva_error *error);

/* Allocates the block of weights, reads and converts all items in parallel, and sets the weights in *d (which
 * decoder_make made of plan.config). On failure *block (dev) may be set: the caller frees it. */
viva_status load_weights(decoder *d, void **block, plan *p, viva_progress_fn progress, void *user, viva_error *error);

#endif
