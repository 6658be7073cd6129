/* backend/cpu/cpu_linear.c: cuts matrix products for threads and caches.
 *
 * Few rows (decode): the rows of w of all layers of the call, in groups of CPU_FEW_GROUP, one contiguous run for each
 * thread, so that every weight is read once, in the order of memory. Memory does not serve all cores alike: who is done
 * takes over groups of the threads after it. That decides who computes a row, not what comes out.
 *
 * Many rows (prefill): w is cut into panels, x into blocks of rows; an item is a panel times a block. A thread's run
 * goes through all blocks of a panel before the next panel, so a panel is widened once and stays in L2. A K longer than
 * CPU_PANEL_K is cut into blocks, between which the lane sums wait in scratch: the order of the sums stays the same.
 */
#include "backend/cpu/cpu.h"

#include <math.h>

#include "number/number.h"

typedef struct linear_job {
  cpu_backend *cpu;
  const linear_args *args;
  size_t count;
  size_t m, blocks;   /* rows of x, and blocks of them */
  size_t panel_limit; /* rows of w in a panel at most, a multiple of CPU_PANEL_GROUP */
} linear_job;

static size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }
static size_t at_most(size_t value, size_t limit) { return value < limit ? value : limit; }

static const cpu_product *product_of(const cpu_kernels *k, const linear_args *a) {
  const cpu_product *of = k->product[weight_blocked(a->w)][a->w->format], *product = &of[a->input];
  return product->panel && product->panel->fits && !product->panel->fits(a->w) ? &of[INPUT_FLOAT] : product;
}

/* -- few rows */

static size_t groups_of(const linear_args *a) { return (a->w->rows + CPU_FEW_GROUP - 1) / CPU_FEW_GROUP; }

/* Groups [begin, end) of all layers together. */
static void few_groups(const linear_job *job, size_t begin, size_t end) {
  size_t first = 0;
  for (const linear_args *a = job->args; a < job->args + job->count && first < end; a++) {
    const size_t groups = groups_of(a), from = begin > first ? begin - first : 0, to = at_most(end - first, groups);
    if (from < to) {
      const cpu_kernels *k = &job->cpu->kernels;
      const cpu_input in = cpu_input_of(k, a, 0);
      product_of(k, a)->few(k, a, &in, from * CPU_FEW_GROUP, at_most(to * CPU_FEW_GROUP, a->w->rows));
    }
    first += groups;
  }
}

#define SHARE_LEAST 4 /* groups: a share's beginning costs about as much as a group */
#define VICTIMS     3 /* threads that a thread helps: looking at all costs more than it brings on many cores */

/* Groups taken at once of those left: most of them, so that few shares are made, the last ones small. */
static size_t next_share(size_t left) { return left / 2 < SHARE_LEAST ? at_most(left, SHARE_LEAST) : left - left / 4; }

/* Computes a thread's run share by share, as far as others have not. */
static void finish_run(const linear_job *job, cpu_run *run) {
  size_t next = atomic_load_explicit(&run->next, memory_order_relaxed);
  while (next < run->end) {
    const size_t take = next_share(run->end - next);
    if (!atomic_compare_exchange_weak_explicit(&run->next, &next, next + take, memory_order_relaxed,
                                               memory_order_relaxed))
      continue;
    few_groups(job, next, next + take);
    next = atomic_load_explicit(&run->next, memory_order_relaxed);
  }
}

/* Each thread of the pool is called once, with its own number. */
static void few_runs(void *arg, size_t begin, size_t end, size_t t) {
  const linear_job *job = arg;
  cpu_backend *cpu = job->cpu;
  (void)begin;
  (void)end;
  for (size_t i = 0; i <= VICTIMS && i < cpu->threads; i++) finish_run(job, &cpu->runs[(t + i) % cpu->threads]);
}

#define SPREAD_WORK 16384 /* products below which waking a thread costs more than it brings */

static void linear_few(linear_job *job) {
  cpu_backend *cpu = job->cpu;
  size_t groups = 0, products = 0;
  for (size_t i = 0; i < job->count; i++) {
    groups += groups_of(&job->args[i]);
    products += job->args[i].w->rows * job->args[i].w->cols * job->m;
  }
  if (cpu->threads == 1 || products < SPREAD_WORK) {
    few_groups(job, 0, groups);
    return;
  }
  pthread_mutex_lock(&cpu->runs_lock);
  for (size_t t = 0; t < cpu->threads; t++) {
    atomic_store_explicit(&cpu->runs[t].next, groups * t / cpu->threads, memory_order_relaxed);
    cpu->runs[t].end = groups * (t + 1) / cpu->threads;
  }
  pool_for(cpu->pool, cpu->threads, 1, few_runs, job);
  pthread_mutex_unlock(&cpu->runs_lock);
}

/* -- many rows */

#define PANEL_MOST 64 /* rows of w in a panel */

/* How one layer is cut. */
typedef struct layer_cut {
  size_t k_block; /* columns of a panel: all, or equal parts of CPU_PANEL_K at most */
  size_t rows;    /* of w in a panel */
  size_t panels;
} layer_cut;

static layer_cut cut_layer(const linear_job *job, const linear_args *a) {
  const cpu_panel *form = product_of(&job->cpu->kernels, a)->panel;
  layer_cut cut = {.rows = job->panel_limit};
  if (form) {
    const size_t k = a->w->cols, parts = (k + form->most_columns - 1) / form->most_columns;
    cut.k_block = form->unit;
    if (parts == 1) cut.k_block = round_up(k, form->unit);
    if (parts > 1) cut.k_block = round_up((k + parts - 1) / parts, CPU_CUT_UNIT);
    cut.rows =
        CPU_PANEL_FLOATS * sizeof(float) / (cut.k_block * form->column_bytes) / CPU_PANEL_GROUP * CPU_PANEL_GROUP;
    /* Lane sums have room for the rows of the longest panel only. */
    if (parts > 1) cut.rows = at_most(cut.rows, CPU_PANEL_FLOATS / CPU_PANEL_K);
    cut.rows = at_most(cut.rows, job->panel_limit);
  }
  cut.panels = (a->w->rows + cut.rows - 1) / cut.rows;
  return cut;
}

void kernels_fill_float(const cpu_kernels *k, const weight *w, size_t row, size_t rows, size_t col, size_t cols,
                        size_t stride, void *panel) {
  float *to = panel;
  for (size_t i = 0; i < rows; i++, to += stride) {
    k->widen[w->format](w, row + i, col, to, cols);
    for (size_t c = cols; c < stride; c++) to[c] = 0;
  }
  for (size_t i = 0; i < (round_up(rows, CPU_PANEL_GROUP) - rows) * stride; i++) to[i] = 0;
}

/* A block of x against a panel's rows as they are stored, in parts of as many rows as `few` takes. */
static void multiply_few(const linear_job *job, const linear_args *a, size_t row, size_t rows, size_t x_row, size_t m) {
  const cpu_kernels *k = &job->cpu->kernels;
  for (size_t i = x_row; i < x_row + m; i += CPU_FEW_ROWS) {
    linear_args some = *a;
    const cpu_input in = cpu_input_of(k, a, i);
    some.m = at_most(x_row + m - i, CPU_FEW_ROWS);
    some.y += i * a->y_stride;
    if (some.residual) some.residual += i * a->y_stride;
    product_of(k, a)->few(k, &some, &in, row, row + rows);
  }
}

/* Panel × block of x. fresh: the panel in scratch is not this one yet. */
static void multiply(const linear_job *job, const linear_args *a, const layer_cut *cut, size_t panel, size_t block,
                     int fresh, float *scratch) {
  const cpu_kernels *kernels = &job->cpu->kernels;
  const cpu_panel *form = product_of(kernels, a)->panel;
  const size_t k = a->w->cols, row = panel * cut->rows, rows = at_most(cut->rows, a->w->rows - row);
  const size_t x_row = block * CPU_BLOCK_ROWS, m = at_most(CPU_BLOCK_ROWS, a->m - x_row);
  if (!form) {
    multiply_few(job, a, row, rows, x_row, m);
    return;
  }
  const cpu_input in = cpu_input_of(kernels, a, x_row);
  float w_scales[PANEL_MOST] = {0};
  for (size_t i = 0; i < rows && !weight_dense(a->w->format); i++)
    w_scales[i] = form->whole ? weight_row_scale(a->w, row + i) : cpu_row_factor(kernels, a->w, row + i);
  panel_job p = {.x_stride = in.x_stride,
                 .m = m,
                 .code_stride = in.code_stride,
                 .w = scratch,
                 .n = rows,
                 .w_scales = weight_dense(a->w->format) ? NULL : w_scales,
                 .x_scales = in.scales,
                 .weight = a->w,
                 .row = row,
                 .bias = a->bias ? a->bias + row : NULL,
                 .residual = a->residual ? a->residual + x_row * a->y_stride + row : NULL,
                 .y = a->y + x_row * a->y_stride + row,
                 .y_stride = a->y_stride};
  /* The last block leaves the panel: time to ask for the next one. */
  if (block + 1 == job->blocks && row + rows < a->w->rows) {
    const size_t next = at_most(cut->rows, a->w->rows - row - rows);
    p.ahead = (read_ahead){(const char *)a->w->data + (row + rows) * a->w->row_bytes, next * a->w->row_bytes};
  }
  size_t col = 0;
  do {
    p.col = col;
    p.k = at_most(cut->k_block, k - col);
    p.w_stride = round_up(p.k, form->unit);
    p.x = in.x + col;
    if (form->codes) p.codes = (const char *)in.codes + col * cpu_code_bytes(a->input);
    if (form->pairs) p.codes = in.pairs + col;
    p.first = col == 0;
    p.last = col + p.k == k;
    p.lanes = p.first && p.last ? NULL : scratch + CPU_PANEL_FLOATS;
    if (fresh || !p.first || !p.last) form->fill(kernels, a->w, row, rows, col, p.k, p.w_stride, scratch);
    form->multiply(&p);
    p.ahead.bytes = 0;
    col += p.k;
  } while (col < k);
}

static void panel_items(void *arg, size_t begin, size_t end, size_t t) {
  const linear_job *job = arg;
  float *scratch = cpu_scratch(job->cpu, t);
  size_t first = 0;
  for (const linear_args *a = job->args; a < job->args + job->count && first < end; a++) {
    const layer_cut cut = cut_layer(job, a);
    const size_t items = cut.panels * job->blocks;
    const size_t from = begin > first ? begin - first : 0, to = at_most(end - first, items);
    for (size_t i = from; i < to; i++)
      multiply(job, a, &cut, i / job->blocks, i % job->blocks, i == from || i % job->blocks == 0, scratch);
    first += items;
  }
}

static size_t count_items(const linear_job *job) {
  size_t items = 0;
  for (size_t i = 0; i < job->count; i++) items += cut_layer(job, &job->args[i]).panels * job->blocks;
  return items;
}

#define ITEMS_PER_THREAD 16 /* so that a thread with one item more than another has at most 1/16 more to do */
#define PANEL_LEAST      16 /* rows of w below which reading x again costs more than balance gains */

static void linear_many(linear_job *job) {
  job->blocks = (job->m + CPU_BLOCK_ROWS - 1) / CPU_BLOCK_ROWS;
  job->panel_limit = PANEL_MOST;
  while (job->panel_limit > PANEL_LEAST && count_items(job) < ITEMS_PER_THREAD * job->cpu->threads)
    job->panel_limit /= 2;
  pool_for(job->cpu->pool, count_items(job), 1, panel_items, job);
}

/* -- rows of x with NaN or infinity, where the product may not have seen it */

static void spoil_rows(void *arg, size_t begin, size_t end, size_t t) {
  const linear_args *a = arg;
  (void)t;
  for (size_t i = begin; i < end; i++) {
    if (f32_find_nonfinite_n(a->x + i * a->x_stride, a->w->cols) == a->w->cols) continue;
    for (size_t n = 0; n < a->w->rows; n++) a->y[i * a->y_stride + n] = NAN;
  }
}

/* -- activations: a pass of their own over y, so that a value's bits do not depend on the tile that made it */

typedef struct activate_job {
  const cpu_kernels *kernels;
  const linear_args *a;
} activate_job;

static void activate_rows(void *arg, size_t begin, size_t end, size_t t) {
  const activate_job *job = arg;
  (void)t;
  for (size_t i = begin; i < end; i++)
    job->kernels->activate(job->a->act, job->a->y + i * job->a->y_stride, job->a->w->rows);
}

viva_status cpu_linear(backend *b, const linear_args *args, size_t count, viva_error *error) {
  (void)error;
  if (count == 0 || args[0].m == 0) return VIVA_OK;
  linear_job job = {.cpu = cpu_of(b), .args = args, .count = count, .m = args[0].m};
  if (job.m <= CPU_FEW_ROWS)
    linear_few(&job);
  else
    linear_many(&job);
  for (size_t i = 0; i < count; i++) {
    linear_args a = args[i];
    const cpu_panel *form = product_of(&job.cpu->kernels, &a)->panel;
    if (a.input == INPUT_FLOAT && form && form->kept_only) cpu_spread(job.cpu, job.m, a.w->cols, spoil_rows, &a);
  }
  for (size_t i = 0; i < count; i++)
    if (args[i].act != ACTIVATION_NONE)
      cpu_spread(job.cpu, job.m, 8 * args[i].w->rows, activate_rows, &(activate_job){&job.cpu->kernels, &args[i]});
  return VIVA_OK;
}
