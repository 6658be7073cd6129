/* compress/segment_decode.c: values back from a segment, and how far they are from the originals. */
#include "base/error.h"
#include "compress/segment.h"
#include "number/finite.h"
#include "number/number.h"

#define CHUNK       1024              /* values measured at once: they stay in the first cache */
#define PAST_CACHES ((size_t)4 << 20) /* values: 16 MiB, the most that this many caches would keep */
#define OVERFLOWS   0x1p27f           /* global scale: values are at most 2^100 times it */

/* Rounded up, a value near FP32's end would be infinite. */
static void keep_finite(const segment *s, size_t count, float *to) {
  if (!(s->global >= OVERFLOWS)) return;
  for (size_t i = 0; i < count; i++) to[i] = f32_kept_finite(to[i]);
}

static void decode_halves(const uint8_t *codes, size_t count, float global, float *to) {
  f16_to_f32_n(codes, to, count);
  for (size_t i = 0; i < count; i++) to[i] *= global;
}

static void decode_wide(const segment *s, const uint8_t *codes, uint32_t bits, size_t count, float *to) {
  if (bits == SEGMENT_WIDE)
    decode_halves(codes, count, s->global, to), keep_finite(s, count, to);
  else
    memcpy(to, codes, count * sizeof *to);
}

/* Blocks of one row with the same bits. */
static void decode_narrow(const segment *s, const segment_parts *p, const block_run *run, uint32_t bits,
                          const uint8_t *codes, int past, float *to) {
  const compress_kernels *k = compress_kernels_best();
  if (s->codec == VIVA_CODEC_AFFINE) {
    const affine a = {s->grid.block, bits, s->symmetric, s->global};
    k->decode(&a, p->scales + run->first, p->zeros + run->first, codes, run->values, past, to);
  } else {
    k->nvfp4_values(nvfp4_number(s->global), p->nvfp4_scales + run->first, codes, run->values, past, to);
  }
  keep_finite(s, run->values, to);
}

static void decode_run(const segment *s, const segment_parts *p, const block_run *run, int past, float *to) {
  if (s->bits) {
    const uint8_t *codes = p->codes + segment_code_at(s, p, run->first);
    if (s->bits >= SEGMENT_WIDE)
      decode_wide(s, codes, s->bits, run->values, to);
    else
      decode_narrow(s, p, run, s->bits, codes, past, to);
    return;
  }
  size_t at = segment_code_at(s, p, run->first);
  for (size_t b = run->first; b < run->first + run->blocks; b++) {
    const block_run one = grid_run(&s->grid, b, b + 1);
    const uint32_t bits = p->widths[b];
    float *here = to + (one.value - run->value);
    if (bits >= SEGMENT_WIDE)
      decode_wide(s, p->codes + at, bits, one.values, here);
    else
      decode_narrow(s, p, &one, bits, p->codes + at, 0, here);
    at += block_code_bytes(s->grid.block, bits);
  }
}

void segment_decode_blocks(const segment *s, size_t from, size_t end, int past, float *to) {
  const segment_parts p = segment_split(s);
  while (from < end) {
    const block_run run = grid_run(&s->grid, from, end);
    decode_run(s, &p, &run, past, to);
    to += run.values;
    from += run.blocks;
  }
}

/* -- by all threads */

typedef struct decode_job {
  const segment *s;
  int past;
  float *to;
} decode_job;

static void decode_body(void *arg, size_t begin, size_t end, size_t t) {
  const decode_job *job = arg;
  (void)t;
  segment_decode_blocks(job->s, begin, end, job->past, job->to + grid_run(&job->s->grid, begin, begin + 1).value);
}

static size_t grain(const segment *s) { return GRAIN_VALUES / s->grid.block; }

void segment_decode(const segment *s, pool *threads, float *to) {
  decode_job job = {s, s->grid.values >= PAST_CACHES, to};
  pool_for(threads, s->blocks, grain(s), decode_body, &job);
}

/* -- errors */

typedef struct errors_job {
  const segment *s;
  const compress_kernels *kernels;
  const float *values;
  error_sums *sums; /* of each grain, so that they are folded in one order whatever the threads */
  float unit;
} errors_job;

static void measure_blocks(const errors_job *job, size_t from, size_t end, error_sums *sums) {
  const segment *s = job->s;
  const size_t most = CHUNK / s->grid.block;
  float decoded[CHUNK];
  for (size_t b = from; b < end;) {
    const block_run run = grid_run(&s->grid, b, end - b < most ? end : b + most);
    segment_decode_blocks(s, b, b + run.blocks, 0, decoded);
    job->kernels->errors(job->values + run.value, decoded, run.values, job->unit, sums);
    b += run.blocks;
  }
}

static void errors_body(void *arg, size_t begin, size_t end, size_t t) {
  const errors_job *job = arg;
  const size_t step = grain(job->s);
  (void)t;
  for (size_t b = begin; b < end; b += step)
    measure_blocks(job, b, end - b < step ? end : b + step, &job->sums[b / step]);
}

viva_status segment_errors(const segment *s, const coder *c, const float *values, float unit, error_sums *sums,
                           viva_error *error) {
  const size_t grains = s->blocks / grain(s) + 1;
  *sums = (error_sums){0};
  error_sums *each = mem_array(&c->rt->mem, grains, sizeof *each);
  if (!each) return error_set(error, VIVA_E_MEMORY, "no memory for the sums of %zu pieces", grains);
  errors_job job = {s, c->kernels, values, each, unit};
  pool_for(c->pool, s->blocks, grain(s), errors_body, &job);
  for (size_t i = 0; i < grains; i++) {
    sums->absolute += each[i].absolute;
    sums->square += each[i].square;
    sums->signal += each[i].signal;
    if (each[i].largest > sums->largest) sums->largest = each[i].largest;
  }
  mem_free(&c->rt->mem, each);
  return VIVA_OK;
}
