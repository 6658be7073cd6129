/* model/load.h: fills a model's weights by its plan. */
#ifndef MODEL_LOAD_H
#define MODEL_LOAD_H

#include "model/plan.h"

/* When head and embedding are both there, the model says they are tied, and they are equal bit for bit: plan_tie.
 * Different ones are both kept, with a warning. */
viva_status load_tie(plan *p, viva_error *error);

/* Reads the values of items whose format depends on all of them, settles it, and measures the plan again (an item may
 * have grown). */
viva_status load_survey(plan *p, viva_progress_fn progress, void *user, viva_error *error);

/* Allocates the block of weights, reads and converts all items in parallel, and sets the pointers in model->g and
 * model->layers (which has plan.config.num_layers zeroed elements). On failure model->block may be set: the caller
 * frees it with the model. */
viva_status load_weights(viva_model *model, plan *p, viva_progress_fn progress, void *user, viva_error *error);

#endif
