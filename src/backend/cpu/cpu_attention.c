/* backend/cpu/cpu_attention.c: cuts attention for threads.
 *
 * An item is a run of rows of one session on one kv head (with all its q heads, in slices that a kernel can hold). Rows
 * at a sequence's end look at more positions than those at its beginning, so runs are taken in turn from both ends: any
 * contiguous share of the items has about the same work.
 *
 * When there are hardly more items than threads (decode with few kv heads) each row is cut once more, into the chunks
 * of positions that its sum consists of anyway; their results are then added up in order.
 */
#include "backend/cpu/cpu.h"

typedef struct attention_job {
  cpu_backend *cpu;
  const attention_args *a;
  const batch_span *spans; /* all, or the kept ones */
  size_t span_count;
  size_t run;   /* rows of an item */
  size_t heads; /* q heads of an item at most; slices is how many of these make a kv head's group */
  size_t group, slices;
  /* The cut over positions: chunks of the items [first, end), whose results lie in partial one after the other. */
  size_t first, end;
  float *alone; /* scratch of a job that the calling thread does alone, else NULL */
} attention_job;

static size_t at_most(size_t value, size_t limit) { return value < limit ? value : limit; }
static size_t parts_of(size_t count, size_t part) { return (count + part - 1) / part; }

static size_t span_items(const attention_job *job, const batch_span *span) {
  return parts_of(span->rows, job->run) * job->a->h.kv_heads * job->slices;
}

/* The tile of item `i` of a span, without scratch. */
static attend_tile tile_of(const attention_job *job, const batch_span *span, size_t i) {
  const size_t runs = parts_of(span->rows, job->run), turn = i % runs, group = i / runs;
  const size_t run = turn % 2 == 0 ? turn / 2 : runs - 1 - turn / 2; /* 0, last, 1, last − 1 … */
  const size_t kv_head = group / job->slices, slice = group % job->slices;
  attend_tile tile = {.a = job->a, .span = span, .row = run * job->run, .kv_head = kv_head};
  tile.rows = at_most(job->run, span->rows - tile.row);
  tile.head = kv_head * job->group + slice * job->heads;
  tile.heads = at_most(job->heads, job->group - slice * job->heads);
  return tile;
}

static size_t chunk_size(const attend_tile *tile, size_t row) {
  const size_t position = tile->span->position + row;
  return attention_chunk(position + 1 - attention_first(position, tile->a->window));
}

/* Cuts the tile where the chunk's size changes, which happens at a few positions of a long context. */
static void attend_run(const attention_job *job, attend_tile tile) {
  const cpu_kernels *k = &job->cpu->kernels;
  void (*attend)(const attend_tile *) = tile.a->h.head_dim > k->attend_dim ? ref_attend : k->attend;
  const size_t end = tile.row + tile.rows;
  while (tile.row < end) {
    tile.rows = 1;
    while (tile.row + tile.rows < end && chunk_size(&tile, tile.row + tile.rows) == chunk_size(&tile, tile.row))
      tile.rows++;
    attend(&tile);
    tile.row += tile.rows;
  }
}

static void attend_items(void *arg, size_t begin, size_t end, size_t t) {
  const attention_job *job = arg;
  size_t first = 0;
  for (const batch_span *s = job->spans; s < job->spans + job->span_count && first < end; s++) {
    const size_t items = span_items(job, s);
    const size_t from = begin > first ? begin - first : 0, to = at_most(end - first, items);
    for (size_t i = from; i < to; i++) {
      attend_tile tile = tile_of(job, s, i);
      tile.scratch = job->alone ? job->alone : cpu_scratch(job->cpu, t);
      attend_run(job, tile);
    }
    first += items;
  }
}

/* -- cut over positions: every span has one row */

static attend_tile row_tile(const attention_job *job, size_t item) {
  const size_t each = job->a->h.kv_heads * job->slices;
  return tile_of(job, job->spans + item / each, item % each);
}

typedef struct chunk_range {
  size_t first, count, size;
} chunk_range;

static chunk_range row_chunks(const attend_tile *tile) {
  const size_t position = tile->span->position, size = chunk_size(tile, 0);
  const size_t first = attention_first(position, tile->a->window) / size;
  return (chunk_range){first, position / size - first + 1, size};
}

static size_t row_floats(const attention_job *job, size_t chunks) {
  return chunks * attention_partial(job->heads, job->a->h.head_dim);
}

static void attend_chunks(void *arg, size_t begin, size_t end, size_t t) {
  const attention_job *job = arg;
  size_t first = 0;
  for (size_t item = job->first; item < job->end && first < end; item++) {
    attend_tile tile = row_tile(job, item);
    const chunk_range chunks = row_chunks(&tile);
    const size_t from = begin > first ? begin - first : 0, to = at_most(end - first, chunks.count);
    tile.scratch = cpu_scratch(job->cpu, t);
    for (size_t c = from; c < to; c++)
      job->cpu->kernels.attend_chunk(&tile, chunks.first + c, job->cpu->partial + row_floats(job, first + c));
    first += chunks.count;
  }
}

/* Adding up takes less time than waking a thread for it. */
static void merge_rows(const attention_job *job) {
  const float *partial = job->cpu->partial;
  for (size_t item = job->first; item < job->end; item++) {
    attend_tile tile = row_tile(job, item);
    const size_t count = row_chunks(&tile).count;
    tile.scratch = job->cpu->partial + CPU_PARTIAL_FLOATS;
    job->cpu->kernels.merge(&tile, partial, count, attention_partial(job->heads, job->a->h.head_dim));
    partial += row_floats(job, count);
  }
}

static void attend_by_positions(attention_job *job, size_t items) {
  pthread_mutex_lock(&job->cpu->partial_lock);
  for (job->first = 0; job->first < items; job->first = job->end) {
    size_t chunks = 0;
    for (job->end = job->first; job->end < items; job->end++) {
      const attend_tile tile = row_tile(job, job->end);
      const size_t more = row_chunks(&tile).count;
      if (row_floats(job, chunks + more) > CPU_PARTIAL_FLOATS) break; /* one item always fits: see below */
      chunks += more;
    }
    pool_for(job->cpu->pool, chunks, 1, attend_chunks, job);
    merge_rows(job);
  }
  pthread_mutex_unlock(&job->cpu->partial_lock);
}

_Static_assert((CPU_MAX_CHUNKS + 1) * CPU_ATTEND_QUERIES * (CPU_ATTEND_DIM + 2) <= CPU_PARTIAL_FLOATS,
               "the chunks of one item must fit the space for them");

#define SPLIT_LEAST_CHUNKS 4 /* with fewer, a thread waits about as long as adding up takes */

/* Whether some threads would wait for others for more than an eighth of the time, and cutting over positions helps. */
static int cut_positions(const attention_job *job, size_t items) {
  const size_t threads = job->cpu->threads;
  if (!job->cpu->kernels.attend_chunk || job->a->h.head_dim > job->cpu->kernels.attend_dim || threads == 1) return 0;
  const size_t taken = parts_of(items, threads) * threads;
  if (taken - items <= taken / 8) return 0;
  size_t longest = 0;
  for (size_t i = 0; i < job->span_count; i++) {
    if (job->spans[i].rows != 1) return 0;
    const attend_tile tile = tile_of(job, &job->spans[i], 0);
    const size_t chunks = row_chunks(&tile).count;
    if (chunks > longest) longest = chunks;
  }
  return longest >= SPLIT_LEAST_CHUNKS;
}

/* -- the slot */

#define ITEMS_PER_THREAD 4
#define ALONE_WORK       32768 /* products of queries and keys: what one thread does in the time the others wake up */

/* Products of queries and keys, or the limit if there are more. */
static size_t count_work(const attention_job *job, size_t limit) {
  const attention_args *a = job->a;
  size_t work = 0;
  for (size_t i = 0; i < job->span_count && work < limit; i++) {
    const batch_span *span = &job->spans[i];
    const size_t end = (size_t)span->position + span->rows, seen = a->window != 0 && a->window < end ? a->window : end;
    if (seen > limit || span->rows > limit) return limit;
    work += span->rows * seen * a->h.q_heads * a->h.head_dim;
  }
  return work < limit ? work : limit;
}

static size_t count_items(const attention_job *job) {
  size_t items = 0;
  for (size_t i = 0; i < job->span_count; i++) items += span_items(job, &job->spans[i]);
  return items;
}

viva_status cpu_attention(backend *b, const attention_args *args, viva_error *error) {
  cpu_backend *cpu = cpu_of(b);
  (void)error;
  const batch *step = args->step;
  attention_job job = {.cpu = cpu,
                       .a = args,
                       .spans = args->kept ? step->kept_spans : step->spans,
                       .span_count = args->kept ? step->kept_span_count : step->span_count,
                       .group = args->h.q_heads / args->h.kv_heads};
  job.heads = at_most(job.group, CPU_ATTEND_QUERIES);
  job.slices = parts_of(job.group, job.heads);
  job.run = cpu->kernels.attend_rows > job.heads ? cpu->kernels.attend_rows / job.heads : 1;
  while (job.run > 1 && count_items(&job) < ITEMS_PER_THREAD * cpu->threads) job.run /= 2;
  const size_t items = count_items(&job);
  if (items == 0) return VIVA_OK;
  if (count_work(&job, ALONE_WORK) < ALONE_WORK) {
    pthread_mutex_lock(&cpu->partial_lock);
    job.alone = cpu->partial + CPU_PARTIAL_FLOATS;
    attend_items(&job, 0, items, 0);
    pthread_mutex_unlock(&cpu->partial_lock);
  } else if (cut_positions(&job, items)) {
    attend_by_positions(&job, items);
  } else {
    pool_for(cpu->pool, items, 1, attend_items, &job);
  }
  return VIVA_OK;
}
