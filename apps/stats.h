/* stats.h: mean and sample standard deviation, by Welford's method (no cancellation). */
#ifndef APPS_STATS_H
#define APPS_STATS_H

#include <stdint.h>

typedef struct stats {
  uint64_t count;
  double mean;
  double squares; /* sum of squared differences from the mean */
} stats;

void stats_add(stats *s, double value);
double stats_deviation(const stats *s); /* 0 for fewer than two values */

#endif
