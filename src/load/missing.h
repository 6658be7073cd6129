/* load/missing.h: why a tensor that the model needs is not there. */
#ifndef LOAD_MISSING_H
#define LOAD_MISSING_H

#include "format/checkpoint.h"

/* Fills text with the likeliest cause: an adapter, matrices stored as one, parts that were not fetched. */
void missing_cause(const viva_checkpoint *ck, char *text, size_t size);

#endif
