/* backend/cpu/cpu_rows.c: the slots that work on single rows, cut over threads by rows. */
#include "backend/cpu/cpu.h"

#include <string.h>
#include <time.h>

/* Below this many elements a loop runs on the calling thread: waking the others costs about 2 µs, the time in which one
 * thread handles some thousand elements. */
#define SPREAD_ELEMENTS 16384

void cpu_spread(cpu_backend *cpu, size_t count, size_t work, pool_body body, void *arg) {
  if (count == 0) return;
  if (count == 1 || work < SPREAD_ELEMENTS / count)
    body(arg, 0, count, 0);
  else
    pool_for(cpu->pool, count, 1, body, arg);
}

/* -- embed */

typedef struct embed_job {
  const cpu_kernels *kernels;
  const weight *table;
  const viva_token *tokens;
  float *out;
} embed_job;

static void embed_rows(void *arg, size_t begin, size_t end, size_t t) {
  const embed_job *job = arg;
  const weight *table = job->table;
  (void)t;
  for (size_t i = begin; i < end; i++) {
    const size_t row = (size_t)job->tokens[i];
    float *out = job->out + i * table->cols;
    job->kernels->widen[table->format](table, row, 0, out, table->cols);
    if (weight_dense(table->format)) continue;
    const float scale = cpu_row_factor(job->kernels, table, row);
    for (size_t c = 0; c < table->cols; c++) out[c] *= scale;
  }
}

viva_status cpu_embed(backend *b, const weight *table, const viva_token *tokens, size_t m, float *out,
                      viva_error *error) {
  cpu_backend *cpu = cpu_of(b);
  (void)error;
  cpu_spread(cpu, m, table->cols, embed_rows, &(embed_job){&cpu->kernels, table, tokens, out});
  return VIVA_OK;
}

/* -- rmsnorm */

typedef struct rmsnorm_job {
  const cpu_kernels *kernels;
  const float *x, *gain;
  float *y;
  size_t stride, groups, n;
  float eps;
} rmsnorm_job;

static void rmsnorm_rows(void *arg, size_t begin, size_t end, size_t t) {
  const rmsnorm_job *job = arg;
  (void)t;
  for (size_t r = begin; r < end; r++) {
    for (size_t g = 0; g < job->groups; g++) {
      const size_t at = r * job->stride + g * job->n;
      job->kernels->rmsnorm(job->x + at, job->y + at, job->n, job->gain, job->eps);
    }
  }
}

viva_status cpu_rmsnorm(backend *b, const float *x, float *y, size_t rows, size_t stride, size_t groups, size_t n,
                        const float *gain, float eps, viva_error *error) {
  cpu_backend *cpu = cpu_of(b);
  (void)error;
  cpu_spread(cpu, rows, groups * n, rmsnorm_rows, &(rmsnorm_job){&cpu->kernels, x, gain, y, stride, groups, n, eps});
  return VIVA_OK;
}

/* -- silu_mul */

typedef struct silu_job {
  const cpu_kernels *kernels;
  const float *gate, *up;
  float *out;
  size_t n, stride;
} silu_job;

static void silu_rows(void *arg, size_t begin, size_t end, size_t t) {
  const silu_job *job = arg;
  (void)t;
  for (size_t r = begin; r < end; r++)
    job->kernels->silu_mul(job->gate + r * job->stride, job->up + r * job->stride, job->out + r * job->stride, job->n);
}

viva_status cpu_silu_mul(backend *b, const float *gate, const float *up, float *out, size_t rows, size_t n,
                         size_t stride, viva_error *error) {
  cpu_backend *cpu = cpu_of(b);
  (void)error;
  cpu_spread(cpu, rows, n, silu_rows, &(silu_job){&cpu->kernels, gate, up, out, n, stride});
  return VIVA_OK;
}

/* -- rope_append */

typedef struct rope_job {
  const cpu_kernels *kernels;
  const rope_append_args *a;
} rope_job;

static void append(const rope_job *job, const kv_span *span, void *cache, const float *values, size_t row) {
  const size_t dim = job->a->h.head_dim, position = span->position + (row - span->first_row);
  for (size_t h = 0; h < job->a->h.kv_heads; h++) {
    const size_t at = (h * span->capacity + position) * dim;
    if (job->a->type == KV_F16)
      job->kernels->narrow_f16(values + h * dim, (uint16_t *)cache + at, dim);
    else
      memcpy((float *)cache + at, values + h * dim, dim * sizeof *values);
  }
}

static void rope_rows(void *arg, size_t begin, size_t end, size_t t) {
  const rope_job *job = arg;
  const rope_append_args *a = job->a;
  const size_t half = a->rotary_dim / 2;
  const kv_span *span = a->spans;
  (void)t;
  for (size_t r = begin; r < end; r++) {
    while (r < span->first_row || r - span->first_row >= span->rows) {
      span++; /* spans cover all rows, in any order: from the last one on, then around */
      if (span == a->spans + a->span_count) span = a->spans;
    }
    const float *cos_ = a->cos_sin + r * a->rotary_dim, *sin_ = cos_ + half;
    float *q = a->q + r * a->q_stride, *k = a->k + r * a->kv_stride;
    for (size_t h = 0; h < a->h.q_heads; h++) job->kernels->rotate(q + h * a->h.head_dim, cos_, sin_, half);
    for (size_t h = 0; h < a->h.kv_heads; h++) job->kernels->rotate(k + h * a->h.head_dim, cos_, sin_, half);
    append(job, span, span->k, k, r);
    append(job, span, span->v, a->v + r * a->kv_stride, r);
  }
}

viva_status cpu_rope_append(backend *b, const rope_append_args *args, viva_error *error) {
  cpu_backend *cpu = cpu_of(b);
  size_t rows = 0;
  (void)error;
  for (size_t i = 0; i < args->span_count; i++) rows += args->spans[i].rows;
  cpu_spread(cpu, rows, (args->h.q_heads + 2 * args->h.kv_heads) * args->h.head_dim, rope_rows,
             &(rope_job){&cpu->kernels, args});
  return VIVA_OK;
}

/* -- argmax, read_pass */

viva_status cpu_argmax(backend *b, const float *values, size_t n, viva_token *id, int *nan, viva_error *error) {
  if (n == 0) return error_set(error, VIVA_E_ARGUMENT, "argmax of no values");
  *nan = 0;
  *id = (viva_token)cpu_of(b)->kernels.argmax(values, n, nan);
  return VIVA_OK;
}

typedef struct read_job {
  cpu_backend *cpu;
  const char *from;
  size_t bytes;
} read_job;

#define READ_UNIT 4096

static void read_units(void *arg, size_t begin, size_t end, size_t t) {
  const read_job *job = arg;
  const size_t from = begin * READ_UNIT, to = end * READ_UNIT;
  const uint64_t sum = job->cpu->kernels.read(job->from + from, (to < job->bytes ? to : job->bytes) - from);
  memcpy(cpu_scratch(job->cpu, t), &sum, sizeof sum);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double cpu_read_pass(backend *b, const void *dev, size_t bytes) {
  cpu_backend *cpu = cpu_of(b);
  const double begin = seconds();
  pool_for(cpu->pool, (bytes + READ_UNIT - 1) / READ_UNIT, 1, read_units, &(read_job){cpu, dev, bytes});
  return seconds() - begin;
}
