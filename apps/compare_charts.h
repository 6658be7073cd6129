/* compare_charts.h: the pictures of viva compare's page. Each draws all comparisons from the first on, side by side. */
#ifndef APPS_COMPARE_CHARTS_H
#define APPS_COMPARE_CHARTS_H

#include "compare.h"

void charts_positions(output *out, const comparison *first); /* KL along the window */
void charts_layers(output *out, const comparison *first);    /* KL of each layer alone; all must have it measured */
void charts_weights(output *out,
                    const comparison *first); /* relative error of each matrix, and what the colours mean */

#endif
