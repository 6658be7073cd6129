#include "stats.h"

#include <math.h>

void stats_add(stats *s, double value) {
  s->count++;
  double difference = value - s->mean;
  s->mean += difference / (double)s->count;
  s->squares += difference * (value - s->mean);
}

double stats_deviation(const stats *s) { return s->count < 2 ? 0.0 : sqrt(s->squares / (double)(s->count - 1)); }
