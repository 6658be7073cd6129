/* backend/cpu/cpu_rows.c: the slots that work on single rows, cut over threads by rows. */
#include "backend/cpu/cpu.h"

#include <string.h>

#include "base/clock.h"
#include "number/number.h"

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

#define E4M3_LARGEST 448.0f
#define F16_NAN      0x7e00

/* One head's vector as E4M3 codes and their scale. What is not finite, or beyond the scales of F16, becomes NaN when it is
 * read, so that the fault shows in the logits. */
static void append_fp8(const float *values, size_t dim, uint8_t *codes, uint16_t *scale) {
  int nonfinite = 0;
  const float exact = f32_absmax_n(values, dim, &nonfinite) / E4M3_LARGEST;
  uint16_t up = f16_from_f32(exact);
  if (f16_to_f32(up) < exact) up++; /* so that no code saturates */
  *scale = nonfinite ? F16_NAN : up;
  const float divisor = up ? f16_to_f32(up) : 1;
  e4m3_scaled_from_f32_n(values, divisor, codes, dim);
}

/* Keys or values of one row into its page. */
static void append(const rope_job *job, char *page, size_t scales_at, size_t offset, const float *values) {
  const rope_append_args *a = job->a;
  const kv_layout *kv = &a->step->kv;
  const size_t dim = a->h.head_dim;
  for (size_t h = 0; h < a->h.kv_heads; h++, values += dim) {
    char *to = page + h * kv->head_bytes + offset * dim * kv->element_bytes;
    uint16_t *scale = (uint16_t *)(void *)(page + scales_at) + h * KV_PAGE + offset;
    switch (kv->type) {
    case KV_F16: job->kernels->narrow_f16(values, (uint16_t *)(void *)to, dim); break;
    case KV_FP8: append_fp8(values, dim, (uint8_t *)to, scale); break;
    default: memcpy(to, values, dim * sizeof *values); break;
    }
  }
}

static void rope_rows(void *arg, size_t begin, size_t end, size_t t) {
  const rope_job *job = arg;
  const rope_append_args *a = job->a;
  const batch *step = a->step;
  const kv_layout *kv = &step->kv;
  const size_t half = a->rotary_dim / 2;
  (void)t;
  for (size_t r = begin; r < end; r++) {
    const size_t position = step->positions[r], first = step->spans[step->sequence[r]].first_page;
    char *page = (char *)step->pages[first + position / KV_PAGE] + a->layer * kv->layer_bytes;
    const float *cos_ = step->cos_sin + r * a->rotary_dim, *sin_ = cos_ + half;
    float *q = a->q + r * a->q_stride, *k = a->k + r * a->kv_stride;
    for (size_t h = 0; h < a->h.q_heads; h++) job->kernels->rotate(q + h * a->h.head_dim, cos_, sin_, half);
    for (size_t h = 0; h < a->h.kv_heads; h++) job->kernels->rotate(k + h * a->h.head_dim, cos_, sin_, half);
    append(job, page, kv->key_scales_at, position % KV_PAGE, k);
    append(job, page + kv->values_at, kv->value_scales_at - kv->values_at, position % KV_PAGE, a->v + r * a->kv_stride);
  }
}

viva_status cpu_rope_append(backend *b, const rope_append_args *args, viva_error *error) {
  cpu_backend *cpu = cpu_of(b);
  (void)error;
  cpu_spread(cpu, args->step->rows, (args->h.q_heads + 2 * args->h.kv_heads) * args->h.head_dim, rope_rows,
             &(rope_job){&cpu->kernels, args});
  return VIVA_OK;
}

/* -- take_rows */

typedef struct take_job {
  const float *from;
  const uint32_t *rows;
  size_t n, stride;
  float *to;
} take_job;

static void take_some(void *arg, size_t begin, size_t end, size_t t) {
  const take_job *job = arg;
  (void)t;
  for (size_t i = begin; i < end; i++)
    memcpy(job->to + i * job->stride, job->from + job->rows[i] * job->stride, job->n * sizeof(float));
}

viva_status cpu_take_rows(backend *b, const float *from, const uint32_t *rows, size_t count, size_t n, size_t stride,
                          float *to, viva_error *error) {
  (void)error;
  cpu_spread(cpu_of(b), count, n, take_some, &(take_job){from, rows, n, stride, to});
  return VIVA_OK;
}

/* -- top */

typedef struct top_job {
  const cpu_kernels *kernels;
  const float *logits;
  size_t n, k;
  viva_token *ids;
  float *values;
  uint8_t *nan;
} top_job;

/* 1 when value a with index i comes before value b with index j. */
static int before(float a, viva_token i, float b, viva_token j) { return a > b || (a == b && i < j); }

/* The k first of n by insertion into a sorted list: most values are not larger than its last. */
static void top_k(const float *v, size_t n, size_t k, viva_token *ids) {
  size_t count = 0;
  for (size_t i = 0; i < n; i++) {
    if (count == k && !before(v[i], (viva_token)i, v[ids[k - 1]], ids[k - 1])) continue;
    size_t at = count < k ? count++ : k - 1;
    for (; at > 0 && before(v[i], (viva_token)i, v[ids[at - 1]], ids[at - 1]); at--) ids[at] = ids[at - 1];
    ids[at] = (viva_token)i;
  }
}

static void top_rows(void *arg, size_t begin, size_t end, size_t t) {
  const top_job *job = arg;
  (void)t;
  for (size_t r = begin; r < end; r++) {
    const float *v = job->logits + r * job->n;
    viva_token *ids = job->ids + r * job->k;
    int nan = 0;
    ids[0] = (viva_token)job->kernels->argmax(v, job->n, &nan);
    job->nan[r] = (uint8_t)nan;
    if (job->k > 1 && !nan) top_k(v, job->n, job->k, ids);
    for (size_t i = 0; i < job->k && !nan && job->values; i++) job->values[r * job->k + i] = v[ids[i]];
  }
}

viva_status cpu_top(backend *b, const float *logits, size_t rows, size_t n, size_t k, viva_token *ids, float *values,
                    uint8_t *nan, viva_error *error) {
  if (k == 0 || k > n) return error_set(error, VIVA_E_ARGUMENT, "the %zu largest of %zu values", k, n);
  cpu_spread(cpu_of(b), rows, n, top_rows, &(top_job){&cpu_of(b)->kernels, logits, n, k, ids, values, nan});
  return VIVA_OK;
}

/* -- read_pass */

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

viva_status cpu_read_pass(backend *b, const void *dev, size_t bytes, double *seconds, viva_error *error) {
  (void)error;
  cpu_backend *cpu = cpu_of(b);
  const uint64_t begin = clock_ns();
  pool_for(cpu->pool, (bytes + READ_UNIT - 1) / READ_UNIT, 1, read_units, &(read_job){cpu, dev, bytes});
  *seconds = 1e-9 * (double)(clock_ns() - begin);
  return VIVA_OK;
}
