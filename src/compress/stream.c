/* compress/stream.c: streams: values gathered into segments, chunks handed out in order. */
#include <stdatomic.h>

#include "base/error.h"
#include "base/options.h"
#include "compress/stream_inner.h"
#include "engine/engine.h"

#define SEGMENT_VALUES ((uint64_t)1 << 20)

struct viva_stream {
  runtime *rt;         /* one reference */
  viva_engine *engine; /* one reference: its threads */
  crew *crew;
  slot *filling;                /* or NULL */
  uint64_t next_id, next_value; /* of the chunk that is filled next */
  uint64_t wanted;              /* the chunk that is handed out next */
  float *tail;                  /* [unit_of], of a stream that is at_once: an incomplete block */
  viva_stream_state state;
  viva_error ended; /* code 0 while it goes on */
  _Atomic int cancelled;
};

viva_stream_options viva_stream_options_default(void) {
  return (viva_stream_options){.size = sizeof(viva_stream_options), .max_failures = 3, .failure_window_ms = 5000};
}

static viva_status read_options(const viva_stream_options *given, viva_stream_options *o, viva_error *error) {
  *o = viva_stream_options_default();
  TRY(options_read(o, given, "viva_stream_options", error));
  TRY(options_reserved(o->reserved, "viva_stream_options", error));
  if (!o->on_chunk) return config_wrong(error, "on_chunk", "a function that takes the chunks");
  if (o->workers < 0 || o->workers > 256) return config_wrong(error, "workers", "0 to 256");
  if (o->queue > 4096) return config_wrong(error, "queue", "up to 4096 chunks");
  if (o->max_failures >= MOST_FAILURES && o->max_failures != UINT32_MAX)
    return config_wrong(error, "max_failures", "up to 63, or UINT32_MAX for no limit");
  if (o->queue == 0) o->queue = 2 * (uint32_t)o->workers + 2;
  return VIVA_OK;
}

/* Whole rows, or whole blocks. */
static uint64_t unit_of(const coder *c) { return c->row ? c->row : c->config.block_size; }

/* Whether blocks need not wait for their segment: its scale is given, and no bound chooses the bits of all of it. */
static int at_once(const coder *c) {
  const int may_fit = c->config.max_error_pct > 0 && c->config.bound != VIVA_COMPRESS_REPORT;
  return c->config.global_scale > 0 && !may_fit;
}

static void default_segment(coder *c) {
  const uint64_t unit = unit_of(c);
  if (c->config.segment == 0) c->config.segment = SEGMENT_VALUES > unit ? SEGMENT_VALUES / unit * unit : unit;
}

viva_status viva_stream_create(viva_engine *engine, const viva_compression_config *config,
                               const viva_stream_options *options, viva_stream **stream, viva_error *error) {
  viva_stream_options o;
  coder c;
  if (!stream) return error_set(error, VIVA_E_ARGUMENT, "stream is NULL; expected a place for the handle");
  *stream = NULL;
  if (!engine) return error_set(error, VIVA_E_ARGUMENT, "engine is NULL; open one with viva_engine_open");
  TRY(read_options(options, &o, error));
  TRY(coder_make(config, (size_t)o.row_length, engine->rt, o.workers ? NULL : engine->pool, &c, error));
  if (c.config.row_blocks && o.row_length == 0)
    return config_wrong(error, "row_length", "the values of a row, for row_blocks");
  default_segment(&c);
  viva_stream *made = mem_zalloc(&engine->rt->mem, sizeof *made);
  if (!made) return error_set(error, VIVA_E_MEMORY, "no memory for the handle of a stream");
  made->rt = runtime_retain(engine->rt);
  made->engine = viva_engine_retain(engine);
  made->state = (viva_stream_state){.size = sizeof made->state, .config = c.config};
  viva_status status = crew_create(&c, &o, (size_t)c.config.segment, &made->crew, error);
  if (status == VIVA_OK && at_once(&c)) {
    made->tail = mem_array(&made->rt->mem, (size_t)unit_of(&c), sizeof *made->tail);
    if (!made->tail) status = error_set(error, VIVA_E_MEMORY, "no memory for the end of a chunk");
  }
  if (status == VIVA_OK)
    *stream = made;
  else
    viva_stream_free(made);
  return status;
}

void viva_stream_free(viva_stream *stream) {
  if (!stream) return;
  runtime *rt = stream->rt;
  crew_free(stream->crew);
  viva_engine_release(stream->engine);
  mem_free(&rt->mem, stream->tail);
  mem_free(&rt->mem, stream);
  runtime_release(rt);
}

void viva_stream_cancel(viva_stream *stream) {
  if (stream) atomic_store(&stream->cancelled, 1);
}

void stream_set_fault(viva_stream *stream, stream_fault_fn fault, void *user) {
  stream->crew->fault = fault;
  stream->crew->fault_user = user;
}

/* -- handing out */

static viva_status cancelled(viva_stream *stream) {
  return error_set(&stream->ended, VIVA_E_CANCELLED, "the stream was cancelled at chunk %llu",
                   (unsigned long long)stream->wanted);
}

/* values: those of the slot, wherever they lie. Counts the chunk as well. */
static void make_chunk(viva_stream *stream, const slot *s, const float *values, viva_stream_chunk *chunk) {
  const coder *c = &stream->crew->c;
  viva_stream_state *state = &stream->state;
  segment raw = {.grid = {s->count, c->row ? c->row : s->count, c->config.block_size},
                 .codec = c->config.codec,
                 .bits = SEGMENT_RAW,
                 .global = 1,
                 .fate = s->late ? VIVA_CHUNK_LATE : VIVA_CHUNK_FAILED,
                 .data = (uint8_t *)(uintptr_t)values,
                 .bytes = s->count * sizeof *values};
  raw.blocks = grid_blocks(&raw.grid);
  const segment *made = s->late || s->error.code ? &raw : &s->s;
  if (made == &raw)
    runtime_log(stream->rt, VIVA_LOG_WARN, "chunk %llu is stored as it is: %s", (unsigned long long)s->id,
                s->late ? "its worker took too long" : s->error.message);
  chunk_view(made, s->id, s->first_value, chunk);
  state->processed_chunks++;
  state->values_out += chunk->values;
  state->total_bytes_out += chunk->bytes + GLOBAL_BYTES;
  state->raw_chunks += !chunk->compressed;
  state->failed_chunks += chunk->fate == VIVA_CHUNK_FAILED;
  state->late_chunks += chunk->fate == VIVA_CHUNK_LATE;
  state->missed_chunks += chunk->fate == VIVA_CHUNK_MISSED_BOUND;
}

static viva_status hand_out(viva_stream *stream, slot *s, const float *values) {
  const viva_stream_options *o = &stream->crew->options;
  viva_stream_chunk chunk;
  make_chunk(stream, s, values, &chunk);
  int stop = o->on_chunk(o->user, &chunk) != 0;
  crew_let_go(stream->crew, s);
  stream->wanted++;
  if (o->progress && !stop)
    stop = o->progress(o->progress_user, 4 * stream->state.values_out, stream->state.total_bytes_in) != 0;
  return stop || atomic_load(&stream->cancelled) ? cancelled(stream) : VIVA_OK;
}

/* Too many failures end the stream. */
static viva_status look_at_failures(viva_stream *stream) {
  crew *w = stream->crew;
  pthread_mutex_lock(&w->lock);
  if (w->broken.code) stream->ended = w->broken;
  stream->state.failures = w->failures;
  pthread_mutex_unlock(&w->lock);
  return stream->ended.code;
}

/* Hands out what is there in order; wait: at least one. */
static viva_status collect(viva_stream *stream, int wait) {
  while (stream->wanted < stream->next_id) {
    slot *s = crew_take(stream->crew, stream->wanted, wait);
    if (!s) break;
    TRY(hand_out(stream, s, s->values));
    wait = 0;
  }
  return look_at_failures(stream);
}

/* -- taking in */

/* values: where the chunk's values lie: the slot's own, or (without workers) the caller's. */
static viva_status dispatch(viva_stream *stream, slot *s, const float *values, size_t count) {
  s->id = stream->next_id++;
  s->first_value = stream->next_value;
  s->count = count;
  stream->next_value += count;
  stream->filling = NULL;
  if (stream->crew->options.workers > 0) {
    crew_submit(stream->crew, s);
    return collect(stream, 0);
  }
  crew_run(stream->crew, s, values);
  TRY(look_at_failures(stream));
  return hand_out(stream, s, values);
}

/* Waits for a slot when all are under way. */
static viva_status need_slot(viva_stream *stream) {
  while (!stream->filling) {
    stream->filling = crew_free_slot(stream->crew);
    if (stream->filling)
      stream->filling->count = 0;
    else if (stream->wanted == stream->next_id)
      return error_set(&stream->ended, VIVA_E_MEMORY, "no memory for a chunk in place of one that was lost");
    else
      TRY(collect(stream, 1));
  }
  return VIVA_OK;
}

/* How many of count values can be compressed where they lie. */
static size_t in_place(const viva_stream *stream, size_t count) {
  const coder *c = &stream->crew->c;
  const size_t full = (size_t)c->config.segment, unit = (size_t)unit_of(c);
  if (stream->crew->options.workers > 0 || stream->filling->count > 0) return 0;
  if (count >= full) return full;
  return at_once(c) ? count / unit * unit : 0;
}

/* Takes some of count values; *taken: how many. */
static viva_status take_some(viva_stream *stream, const float *values, size_t count, size_t *taken) {
  const size_t full = (size_t)stream->crew->c.config.segment;
  TRY(need_slot(stream));
  slot *s = stream->filling;
  *taken = in_place(stream, count);
  if (*taken > 0) {
    stream->state.total_bytes_in += *taken * sizeof *values;
    return dispatch(stream, s, values, *taken);
  }
  *taken = count < full - s->count ? count : full - s->count;
  memcpy(s->values + s->count, values, *taken * sizeof *values);
  stream->state.total_bytes_in += *taken * sizeof *values;
  stream->state.copied_bytes += *taken * sizeof *values;
  s->count += *taken;
  return s->count == full ? dispatch(stream, s, s->values, full) : VIVA_OK;
}

static viva_status dispatch_complete(viva_stream *stream) {
  slot *s = stream->filling;
  const size_t unit = (size_t)unit_of(&stream->crew->c);
  if (!s || !at_once(&stream->crew->c) || s->count < unit) return VIVA_OK;
  const size_t whole = s->count / unit * unit, rest = s->count - whole;
  memcpy(stream->tail, s->values + whole, rest * sizeof *s->values);
  TRY(dispatch(stream, s, s->values, whole));
  TRY(need_slot(stream));
  memcpy(stream->filling->values, stream->tail, rest * sizeof *s->values);
  stream->filling->count = rest;
  return VIVA_OK;
}

static viva_status process(viva_stream *stream, const float *values, size_t count) {
  while (count > 0) {
    size_t taken = 0;
    if (atomic_load(&stream->cancelled)) return cancelled(stream);
    TRY(take_some(stream, values, count, &taken));
    values += taken;
    count -= taken;
  }
  return dispatch_complete(stream);
}

static viva_status finish(viva_stream *stream) {
  if (atomic_load(&stream->cancelled)) return cancelled(stream);
  slot *s = stream->filling;
  if (s && s->count > 0) TRY(dispatch(stream, s, s->values, s->count));
  while (stream->wanted < stream->next_id) TRY(collect(stream, 1));
  error_set(&stream->ended, VIVA_E_STATE, "the stream is finished; make a new one");
  return VIVA_OK;
}

static viva_status begin_call(const viva_stream *stream, viva_error *error) {
  if (!stream) return error_set(error, VIVA_E_ARGUMENT, "stream is NULL; make one with viva_stream_create");
  if (stream->ended.code && error) *error = stream->ended;
  return stream->ended.code;
}

static viva_status end_call(viva_stream *stream, viva_status status, viva_stream_state *state, viva_error *error) {
  if (status != VIVA_OK && error) *error = stream->ended;
  if (state) TRY(options_fill(state, &stream->state, "viva_stream_state", error));
  return status;
}

viva_status viva_stream_process(viva_stream *stream, const float *values, size_t count, viva_stream_state *state,
                                viva_error *error) {
  TRY(begin_call(stream, error));
  if (!values && count > 0) return error_set(error, VIVA_E_ARGUMENT, "values is NULL; expected %zu floats", count);
  const viva_status status = process(stream, values, count);
  return end_call(stream, status, state, error);
}

viva_status viva_stream_finish(viva_stream *stream, viva_stream_state *state, viva_error *error) {
  TRY(begin_call(stream, error));
  return end_call(stream, finish(stream), state, error);
}

viva_status viva_stream_info(const viva_stream *stream, viva_stream_state *state, viva_error *error) {
  if (!stream) return error_set(error, VIVA_E_ARGUMENT, "stream is NULL; make one with viva_stream_create");
  return options_fill(state, &stream->state, "viva_stream_state", error);
}
