/* bench_shape.h: models of a known shape with random weights, for viva bench. */
#ifndef APPS_BENCH_SHAPE_H
#define APPS_BENCH_SHAPE_H

#include "model_args.h"

/* What --shape takes, as a row of choices; its number chooses one. The first is "none". */
#define BENCH_SHAPES "none|tinyllama|llama3.2-1b|llama3-8b|llama3-70b|llama3-70b-layer"

/* As model_open for a model of that shape, every matrix but the embedding (BF16) in the format args->weights (NULL: bf16). The
 * values are small random numbers: speed does not depend on them. Returns 0, or the exit code after a message. */
int bench_shape_open(const model_args *args, int number, loaded *what);

#endif
