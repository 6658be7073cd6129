/* compress/segment_encode.c: values into a segment, and the bits that the bound needs. */
#include <stdatomic.h>

#include "base/error.h"
#include "compress/segment.h"
#include "number/number.h"
#include "pack/pack_kernels.h"

#define FAR 0x1p100f /* times the given scale: beyond this FP32 could not hold a block's range */

/* -- the largest magnitude */

typedef struct absmax_grain {
  float absmax;
  int nonfinite;
} absmax_grain;

typedef struct absmax_job {
  const float *values;
  absmax_grain *grains;
} absmax_job;

static void absmax_body(void *arg, size_t begin, size_t end, size_t t) {
  const absmax_job *job = arg;
  absmax_grain *g = &job->grains[t];
  const float absmax = f32_absmax_n(job->values + begin, end - begin, &g->nonfinite);
  if (absmax > g->absmax) g->absmax = absmax;
}

static viva_status find_absmax(const coder *c, const float *values, size_t count, absmax_grain *all,
                               viva_error *error) {
  const size_t threads = (size_t)pool_threads(c->pool);
  *all = (absmax_grain){0};
  absmax_job job = {values, mem_array(&c->rt->mem, threads, sizeof *job.grains)};
  if (!job.grains) return error_set(error, VIVA_E_MEMORY, "no memory for %zu threads", threads);
  pool_for(c->pool, count, GRAIN_VALUES, absmax_body, &job);
  for (size_t i = 0; i < threads; i++) {
    all->nonfinite |= job.grains[i].nonfinite;
    if (job.grains[i].absmax > all->absmax) all->absmax = job.grains[i].absmax;
  }
  mem_free(&c->rt->mem, job.grains);
  return VIVA_OK;
}

static viva_status refuse_nonfinite(const float *values, size_t count, uint64_t first, viva_error *error) {
  const size_t at = f32_find_nonfinite_n(values, count);
  return error_set(error, VIVA_E_NUMERIC,
                   "value %llu is %s; mend the data, or keep such blocks in 32 bits with keep_nonfinite",
                   (unsigned long long)first + at, values[at] != values[at] ? "NaN" : "infinite");
}

static viva_status find_global(const coder *c, const float *values, uint64_t first, segment *s, int *nonfinite,
                               viva_error *error) {
  absmax_grain all;
  TRY(find_absmax(c, values, s->grid.values, &all, error));
  *nonfinite = all.nonfinite;
  s->absmax = all.absmax;
  if (all.nonfinite && !c->config.keep_nonfinite) return refuse_nonfinite(values, s->grid.values, first, error);
  s->global = c->config.global_scale > 0 ? c->config.global_scale : all.absmax > 0 ? all.absmax : 1;
  if ((double)all.absmax <= FAR * (double)s->global) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "a value of magnitude %g is more than 2^100 times the scale %g", (double)all.absmax,
            (double)s->global);
  return error_option(error, VIVA_E_ARGUMENT, "global_scale");
}

/* -- filling a segment whose bits are known */

static void encode_wide(float global, uint32_t bits, const float *values, size_t count, uint8_t *codes) {
  if (bits == SEGMENT_RAW) {
    memcpy(codes, values, count * sizeof *values);
    return;
  }
  for (size_t i = 0; i < count; i++) {
    const uint16_t half = f16_from_f32(values[i] / global);
    memcpy(codes + i * sizeof half, &half, sizeof half);
  }
}

/* What the codecs need besides the blocks. */
typedef struct codec_tools {
  int unseen;     /* nobody has looked at the values: who fills does, piece by piece, so that they are read once */
  uint64_t first; /* index of the first value, for messages */
  const compress_kernels *kernels;
  const pack_kernels *packing;
  pack_spec spec; /* nvfp4 */
  nvfp4_table table;
} codec_tools;

static void make_tools(const coder *c, const segment *s, int unseen, uint64_t first, codec_tools *tools) {
  *tools = (codec_tools){unseen, first, c->kernels, .packing = pack_kernels_best()};
  if (s->codec != VIVA_CODEC_NVFP4) return;
  const nvfp4_search search = c->config.search == VIVA_SEARCH_MSE ? NVFP4_SEARCH_NEAR : (nvfp4_search)c->config.search;
  tools->spec = (pack_spec){.format = WEIGHT_NVFP4,
                            .block = NVFP4_BLOCK,
                            .scale = SCALE_E4M3,
                            .search = search,
                            .global = nvfp4_number(s->global)};
  nvfp4_make_table(&tools->spec, &tools->table);
}

typedef struct fill_job {
  const segment *s;
  segment_parts parts;
  const codec_tools *tools;
  const float *values;
  _Atomic int unfit;       /* a value is not finite, or far beyond the scale; its piece was left out */
  _Atomic uint32_t absmax; /* of values that nobody had looked at: its bits, which rise with it */
} fill_job;

/* pack/ chooses the scales; the codes are this folder's (kernels.h). */
static void encode_nvfp4(const codec_tools *tools, const float *values, size_t count, uint8_t *codes, uint8_t *scales) {
  for (size_t at = 0; at < count; at += PACK_CHUNK) {
    const size_t some = count - at < PACK_CHUNK ? count - at : PACK_CHUNK, block = at / NVFP4_BLOCK;
    (void)nvfp4_choose_scales(&tools->spec, &tools->table, tools->packing, values + at, some, scales + block);
    tools->kernels->nvfp4_codes(tools->spec.global, scales + block, values + at, some,
                                codes + block * NVFP4_BLOCK_BYTES);
  }
}

static void encode_narrow(const fill_job *job, const block_run *run, uint32_t bits, uint8_t *codes) {
  const segment *s = job->s;
  const segment_parts *p = &job->parts;
  if (s->codec == VIVA_CODEC_AFFINE) {
    const affine a = {s->grid.block, bits, s->symmetric, s->global};
    job->tools->kernels->encode(&a, job->values + run->value, run->values, p->scales + run->first,
                                p->zeros + run->first, codes);
  } else {
    encode_nvfp4(job->tools, job->values + run->value, run->values, codes, p->nvfp4_scales + run->first);
  }
}

static int are_fit(const segment *s, const float *values, size_t count, float *absmax) {
  int nonfinite = 0;
  const float most = f32_absmax_n(values, count, &nonfinite);
  if (most > *absmax) *absmax = most;
  return (double)most <= FAR * (double)s->global && !nonfinite;
}

static void raise_to(_Atomic uint32_t *bits, float absmax) {
  uint32_t most = atomic_load_explicit(bits, memory_order_relaxed);
  while (f32_bits(absmax) > most && !atomic_compare_exchange_weak(bits, &most, f32_bits(absmax))) {
  }
}

static void fill_piece(const fill_job *job, size_t begin, size_t end) {
  const segment *s = job->s;
  while (begin < end) {
    const block_run run = grid_run(&s->grid, begin, end);
    uint8_t *codes = job->parts.codes + segment_code_at(s, &job->parts, begin);
    if (s->bits >= SEGMENT_WIDE)
      encode_wide(s->global, s->bits, job->values + run.value, run.values, codes);
    else
      encode_narrow(job, &run, s->bits, codes);
    begin += run.blocks;
  }
}

/* From the end of a thread's share: what it read last when it looked for the largest magnitude, the caches still hold. */
static void fill_body(void *arg, size_t begin, size_t end, size_t t) {
  const fill_job *job = arg;
  const size_t grain = GRAIN_VALUES / job->s->grid.block;
  (void)t;
  for (size_t to = end; to > begin;) {
    const size_t from = to - begin > grain ? to - grain : begin;
    fill_piece(job, from, to);
    to = from;
  }
}

/* Values that nobody has looked at. */
static void fill_unseen_body(void *arg, size_t begin, size_t end, size_t t) {
  fill_job *job = arg;
  const segment *s = job->s;
  const size_t grain = GRAIN_VALUES / s->grid.block;
  float absmax = 0;
  (void)t;
  for (size_t from = begin; from < end; from += grain) {
    const size_t to = end - from < grain ? end : from + grain, value = segment_value_at(s, from);
    if (are_fit(s, job->values + value, segment_value_at(s, to) - value, &absmax))
      fill_piece(job, from, to);
    else
      atomic_store_explicit(&job->unfit, 1, memory_order_relaxed);
  }
  raise_to(&job->absmax, absmax);
}

/* Blocks that differ: one by one. */
static void fill_mixed_body(void *arg, size_t begin, size_t end, size_t t) {
  const fill_job *job = arg;
  const segment *s = job->s;
  const segment_parts *p = &job->parts;
  uint8_t *codes = p->codes + segment_code_at(s, p, begin);
  (void)t;
  for (size_t b = begin; b < end; b++) {
    const block_run one = grid_run(&s->grid, b, b + 1);
    const uint32_t bits = p->widths[b];
    const size_t bytes = block_code_bytes(s->grid.block, bits);
    if (bits >= SEGMENT_WIDE) {
      memset(codes, 0, bytes);
      encode_wide(s->global, bits, job->values + one.value, one.values, codes);
      if (s->codec == VIVA_CODEC_AFFINE)
        p->scales[b] = 1, p->zeros[b] = 0;
      else
        p->nvfp4_scales[b] = 0x38; /* 1 in E4M3 */
    } else {
      encode_narrow(job, &one, bits, codes);
    }
    codes += bytes;
  }
}

void segment_fill_blocks(const coder *c, const segment *s, const float *values, size_t from, size_t end) {
  codec_tools tools;
  make_tools(c, s, 0, 0, &tools);
  fill_job job = {s, segment_split(s), &tools, values, 0, 0};
  fill_body(&job, from, end, 0);
}

static viva_status allocate(const coder *c, segment *s, size_t bytes, viva_error *error) {
  s->bytes = bytes;
  s->data = s->room ? s->room : mem_alloc(&c->rt->mem, bytes);
  return s->data ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for %zu bytes of blocks", bytes);
}

static void release(const coder *c, segment *s) {
  if (!s->room) mem_free(&c->rt->mem, s->data);
  s->data = NULL;
}

/* s->data of blocks that all have s->bits, or (s->bits 0) each the bits in widths. */
static viva_status fill(const coder *c, const codec_tools *tools, const float *values, const uint8_t *widths,
                        segment *s, viva_error *error) {
  size_t codes_at, bytes;
  if (segment_sizes(s, &codes_at, &bytes))
    return error_set(error, VIVA_E_LIMIT, "the size of %zu blocks overflows", s->blocks);
  for (size_t b = 0; s->bits == 0 && b < s->blocks; b++) bytes += block_code_bytes(s->grid.block, widths[b]);
  TRY(allocate(c, s, bytes, error));
  fill_job job = {s, segment_split(s), tools, values, 0, 0};
  uint64_t at = 0;
  for (size_t b = 0; s->bits == 0 && b < s->blocks; b++) {
    if (b % STARTS_EVERY == 0) job.parts.starts[b / STARTS_EVERY] = at;
    job.parts.widths[b] = widths[b];
    at += block_code_bytes(s->grid.block, widths[b]);
  }
  const pool_body body = s->bits == 0 ? fill_mixed_body : tools->unseen ? fill_unseen_body : fill_body;
  pool_for(c->pool, s->blocks, GRAIN_VALUES / s->grid.block, body, &job);
  if (tools->unseen) s->absmax = f32_from_bits(job.absmax);
  if (!job.unfit) return VIVA_OK;
  release(c, s);
  int nonfinite; /* which is refused */
  return find_global(c, values, tools->first, s, &nonfinite, error);
}

/* -- how many bits */

static uint32_t more_bits(viva_codec codec, uint32_t bits) {
  if (codec == VIVA_CODEC_AFFINE && bits < AFFINE_BITS_MOST) return bits + 1;
  return bits < SEGMENT_WIDE ? SEGMENT_WIDE : SEGMENT_RAW;
}

static int met(double percent, const coder *c) { return percent <= c->config.max_error_pct; }

/* Fills s and measures it. */
static viva_status fill_and_measure(const coder *c, const codec_tools *tools, const float *values,
                                    const uint8_t *widths, segment *s, viva_error *error) {
  error_sums sums;
  TRY(fill(c, tools, values, widths, s, error));
  s->error_pct = 0;
  s->bound_met = 1;
  if (c->config.max_error_pct == 0 || s->bits == SEGMENT_RAW) return VIVA_OK;
  const float unit = error_unit(s->absmax);
  viva_status status = segment_errors(s, c, values, unit, &sums, error);
  if (status != VIVA_OK) {
    release(c, s);
    return status;
  }
  s->error_pct = error_percent(&sums, s->grid.values, unit, s->absmax, c->config.error);
  s->bound_met = met(s->error_pct, c);
  return VIVA_OK;
}

typedef struct width_job {
  const coder *c;
  const segment *s;
  const codec_tools *tools;
  const float *values;
  uint8_t *widths;
  uint32_t bits; /* to begin with */
} width_job;

/* The error of one block in `bits` bits. */
static double block_percent(const width_job *job, const block_run *run, uint32_t bits) {
  uint64_t data[(2 * sizeof(float) + AFFINE_BLOCK_MOST * 2) / 8]; /* up to halves */
  float back[AFFINE_BLOCK_MOST];
  segment alone = *job->s;
  alone.bits = bits;
  alone.grid = (block_grid){run->values, run->values, job->s->grid.block};
  alone.blocks = 1;
  alone.data = (uint8_t *)data;
  alone.bytes = sizeof data;
  fill_job fill_alone = {&alone, segment_split(&alone), job->tools, job->values + run->value, 0, 0};
  fill_body(&fill_alone, 0, 1, 0);
  segment_decode_blocks(&alone, 0, 1, 0, back);
  error_sums sums = {0};
  const float unit = error_unit(alone.absmax);
  job->c->kernels->errors(job->values + run->value, back, run->values, unit, &sums);
  return error_percent(&sums, run->values, unit, alone.absmax, job->c->config.error);
}

static void width_body(void *arg, size_t begin, size_t end, size_t t) {
  const width_job *job = arg;
  (void)t;
  for (size_t b = begin; b < end; b++) {
    const block_run run = grid_run(&job->s->grid, b, b + 1);
    uint32_t bits = job->bits;
    if (f32_find_nonfinite_n(job->values + run.value, run.values) < run.values)
      bits = SEGMENT_RAW;
    else if (job->c->config.bound == VIVA_COMPRESS_FIT_BLOCKS && job->c->config.max_error_pct > 0)
      while (bits < SEGMENT_RAW && !met(block_percent(job, &run, bits), job->c)) bits = more_bits(job->s->codec, bits);
    job->widths[b] = (uint8_t)bits;
  }
}

/* The bits of each block, from s->bits on; *differ: some have others. */
static viva_status choose_widths(const coder *c, const codec_tools *tools, const float *values, const segment *s,
                                 uint8_t **widths, int *differ, viva_error *error) {
  *widths = mem_alloc(&c->rt->mem, s->blocks);
  if (!*widths) return error_set(error, VIVA_E_MEMORY, "no memory for the widths of %zu blocks", s->blocks);
  width_job job = {c, s, tools, values, *widths, s->bits};
  pool_for(c->pool, s->blocks, GRAIN_VALUES / s->grid.block, width_body, &job);
  *differ = 0;
  for (size_t b = 0; b < s->blocks; b++) *differ |= (*widths)[b] != s->bits;
  return VIVA_OK;
}

/* s->bits: those to begin with. mixed: blocks may need bits of their own. */
static viva_status encode_with(const coder *c, const codec_tools *tools, const float *values, int mixed, segment *s,
                               viva_error *error) {
  uint8_t *widths = NULL;
  int differ = 0;
  if (mixed) TRY(choose_widths(c, tools, values, s, &widths, &differ, error));
  if (differ) s->bits = 0;
  const viva_status status = fill_and_measure(c, tools, values, widths, s, error);
  mem_free(&c->rt->mem, widths);
  return status;
}

/* -- a segment */

void segment_begin(const coder *c, size_t count, uint8_t *room, segment *s) {
  *s = (segment){.room = room,
                 .codec = c->config.codec,
                 .symmetric = c->config.symmetric,
                 .bits = c->config.bits_per_value,
                 .global = 1,
                 .bound_met = 1};
  s->grid = (block_grid){count, c->row ? c->row : count, c->config.block_size};
  s->blocks = grid_blocks(&s->grid);
}

size_t coder_bytes(const coder *c, size_t count) {
  const int may_fit = c->config.max_error_pct > 0 && c->config.bound != VIVA_COMPRESS_REPORT;
  segment s;
  size_t codes_at, bytes;
  segment_begin(c, count, NULL, &s);
  return may_fit || c->config.keep_nonfinite || segment_sizes(&s, &codes_at, &bytes) ? 0 : bytes;
}

viva_status segment_encode(const coder *c, const float *values, size_t count, uint64_t first, uint8_t *room, segment *s,
                           viva_error *error) {
  int nonfinite = 0;
  codec_tools tools;
  const int fit_blocks = c->config.bound == VIVA_COMPRESS_FIT_BLOCKS && c->config.max_error_pct > 0;
  const int unseen = c->config.global_scale > 0 && !c->config.keep_nonfinite && !fit_blocks;
  segment_begin(c, count, room, s);
  if (unseen)
    s->global = c->config.global_scale;
  else
    TRY(find_global(c, values, first, s, &nonfinite, error));
  make_tools(c, s, unseen, first, &tools);
  const int mixed = nonfinite || fit_blocks;
  for (uint32_t bits = s->bits;; bits = more_bits(s->codec, bits)) {
    s->bits = bits;
    TRY(encode_with(c, &tools, values, mixed, s, error));
    if (s->bound_met || c->config.bound == VIVA_COMPRESS_REPORT || bits == SEGMENT_RAW) return VIVA_OK;
    release(c, s);
    if (c->config.bound == VIVA_COMPRESS_RAW) break;
  }
  TRY(segment_store(c, values, count, s, error));
  s->fate = VIVA_CHUNK_MISSED_BOUND;
  return VIVA_OK;
}

viva_status segment_store(const coder *c, const float *values, size_t count, segment *s, viva_error *error) {
  segment_begin(c, count, NULL, s);
  s->bits = SEGMENT_RAW;
  if (count > SIZE_MAX / sizeof *values) return error_set(error, VIVA_E_LIMIT, "%zu values overflow", count);
  TRY(allocate(c, s, count * sizeof *values, error));
  memcpy(s->data, values, count * sizeof *values);
  return VIVA_OK;
}
