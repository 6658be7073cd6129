/* bench.h: one row of viva bench, and its printed forms. */
#ifndef APPS_BENCH_H
#define APPS_BENCH_H

#include <viva/viva.h>

#include "output.h"
#include "stats.h"

enum { BENCH_SAMPLES_MAX = 1000 };

typedef struct bench_row {
  const char *path;
  const char *model;         /* viva_model_description */
  const char *mode;          /* model_mode */
  const char *weights, *act; /* of loaded */
  viva_memory_plan plan;
  viva_device_info device;
  uint64_t prompt;    /* tokens of a pp row, else 0 */
  uint64_t generated; /* tokens of a tg row, of all sequences; else 0 */
  uint64_t sequences; /* decoded together */
  stats rate;         /* tokens per second */
  stats nanoseconds;  /* of one repetition */
  stats read_rate;    /* bytes per second that the engine can read, measured between the repetitions of a tg row */
  double samples[BENCH_SAMPLES_MAX]; /* tokens per second of each repetition */
} bench_row;

typedef enum bench_form { BENCH_MD, BENCH_CSV, BENCH_JSON, BENCH_JSONL } bench_form;

/* What stands before the first row, a row (number: from 0), and what stands after the last one. */
void bench_print_begin(output *out, bench_form form, const bench_row *first);
void bench_print_row(output *out, bench_form form, const bench_row *row, size_t number);
void bench_print_end(output *out, bench_form form);

/* viva bench compress: the compression engine, on the original's data and on a file's largest matrix (path not NULL) or on so
 * many MB of Gaussian values (0: none). Returns the exit code. */
int bench_compress(output *out, const char *path, uint64_t megabytes, uint64_t threads);

/* Bytes per second of weights that a tg row has read; 0 for a pp row. */
double bench_read(const bench_row *row);

#endif
