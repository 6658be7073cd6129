/* analyze.h: what viva analyze knows of one tensor, and its printed forms. */
#ifndef APPS_ANALYZE_H
#define APPS_ANALYZE_H

#include <viva/viva.h>

#include "json_out.h"
#include "output.h"

typedef struct analysis {
  char name[256];
  char shape[96];
  const char *type_name;
  viva_distribution_stats d;
  viva_format_candidate candidates[VIVA_FORMAT_CANDIDATES];
  int predicted;    /* 0: the tensor has values that are no numbers: there are no candidates */
  double max_error; /* the bound, in percent */
} analysis;

typedef struct analyses {
  const char *file;
  analysis *list;
  size_t count, room;
} analyses;

/* The candidate that the bound chooses; -1: none meets it. */
int analysis_choice(const analysis *a);

void analysis_print(output *out, const analysis *a);
void analysis_json(json_out *json, const analysis *a);
/* A page_fn for an analyses: tables, histograms and curves drawn as SVG inside the page. */
void analysis_page(output *out, const void *all);

#endif
