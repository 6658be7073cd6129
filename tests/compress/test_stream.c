/* Streams: any split and any number of workers give what one call gives; what goes wrong with a chunk stays with it. */
#include "compress_kit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "compress/stream_inner.h"

/* What a sink has received. */
typedef struct received {
  uint8_t *bytes;
  size_t count, room;
  viva_stream_chunk chunks[4096]; /* data: offsets into bytes */
  size_t chunk_count;
  uint64_t stop_at; /* chunk at which the sink cancels; UINT64_MAX: never */
} received;

static received *receive(void) {
  received *r = calloc(1, sizeof *r);
  assert_non_null(r);
  r->stop_at = UINT64_MAX;
  return r;
}

static void received_free(received *r) {
  free(r->bytes);
  free(r);
}

static int on_chunk(void *user, const viva_stream_chunk *chunk) {
  received *r = user;
  if (chunk->id != r->chunk_count || r->chunk_count == 4096) return 1; /* in order, always */
  if (chunk->id == r->stop_at) return 1;
  if (r->count + chunk->bytes > r->room) {
    r->room = 2 * (r->count + chunk->bytes);
    r->bytes = realloc(r->bytes, r->room);
    if (!r->bytes) return 1;
  }
  memcpy(r->bytes + r->count, chunk->data, chunk->bytes);
  r->chunks[r->chunk_count] = *chunk;
  r->chunks[r->chunk_count++].data = (void *)(uintptr_t)r->count;
  r->count += chunk->bytes;
  return 0;
}

static viva_stream *open_stream(viva_engine *engine, const viva_compression_config *config, viva_stream_options o,
                                received *r) {
  viva_stream *stream = NULL;
  viva_error error = {0};
  o.on_chunk = on_chunk, o.user = r;
  const viva_status status = viva_stream_create(engine, config, &o, &stream, &error);
  kit_good(status, error);
  return stream;
}

/* -- splits */

static void feed(viva_stream *stream, const float *values, size_t count, uint64_t *seed, viva_stream_state *state) {
  viva_error error = {0};
  while (count > 0) {
    const size_t most = kit_next(seed) % 3 ? 50 : 3000, some = kit_next(seed) % most % (count + 1);
    float *exact = kit_floats(some); /* so that the sanitizer sees a read beside them, and after the call */
    memcpy(exact, values, some * sizeof *values);
    viva_status status = viva_stream_process(stream, exact, some, NULL, &error);
    free(exact);
    kit_good(status, error);
    values += some, count -= some;
  }
  const viva_status status = viva_stream_finish(stream, state, &error);
  kit_good(status, error);
}

static viva_compression_config random_config(uint64_t *seed, uint64_t cols) {
  viva_compression_config c = viva_nvfp4_config();
  if (kit_next(seed) % 2) {
    c = viva_nvfp4_e2m1_config();
    c.search = (viva_scale_search)(kit_next(seed) % 3);
  } else {
    c.block_size = 8 * (1 + (uint32_t)(kit_next(seed) % 5));
    c.bits_per_value = 2 + (uint32_t)(kit_next(seed) % 7);
    c.symmetric = (int)(kit_next(seed) % 2);
  }
  c.max_error_pct = (double)(kit_next(seed) % 4);
  c.bound = (viva_compress_bound)(kit_next(seed) % 4);
  c.row_blocks = (int)(kit_next(seed) % 3 == 0);
  c.segment = (c.row_blocks ? cols : c.block_size) * (1 + kit_next(seed) % 20);
  return c;
}

static void same_as_one_call(const received *r, const viva_compressed *c, const viva_stream_state *state) {
  viva_compressed_desc info = {.size = sizeof info};
  assert_int_equal(viva_compressed_info(c, &info, NULL), VIVA_OK);
  assert_int_equal(r->chunk_count, info.segments);
  for (uint64_t i = 0; i < info.segments; i++) {
    viva_stream_chunk s = {.size = sizeof s};
    const viva_stream_chunk *got = &r->chunks[i];
    assert_int_equal(viva_compressed_segment(c, i, &s, NULL), VIVA_OK);
    assert_true(got->bytes == s.bytes && got->values == s.values && got->first_value == s.first_value);
    assert_true(got->blocks == s.blocks && got->compressed == s.compressed && got->bits == s.bits);
    assert_true(got->global_scale == s.global_scale && got->error_pct == s.error_pct && got->fate == s.fate);
    assert_memory_equal(r->bytes + (uintptr_t)got->data, s.data, s.bytes);
  }
  assert_int_equal(state->processed_chunks, info.segments);
  assert_int_equal(state->total_bytes_in, 4 * info.num_elements);
  assert_int_equal(state->total_bytes_out, info.segments ? info.memory_bytes : 0);
  assert_int_equal(state->values_out, info.num_elements);
  assert_int_equal(state->raw_chunks, info.segments_raw);
}

static void any_split(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(2);
  const size_t own = kit_bytes(engine);
  uint64_t seed = 50;
  const int rounds = getenv("VIVA_SLOW") ? 5000 : 600;
  for (int round = 0; round < rounds; round++) {
    const uint64_t rows = 1 + kit_next(&seed) % 30, cols = 1 + kit_next(&seed) % 300;
    const size_t count = (size_t)(rows * cols);
    float *values = kit_floats(count);
    kit_values(round % KIT_DISTRIBUTIONS, 1, values, count, seed);
    const viva_compression_config config = random_config(&seed, cols);
    viva_tensor *t = kit_tensor(engine, values, rows, cols);
    viva_compressed *c = NULL;
    assert_int_equal(viva_compress(engine, t, &config, &c, NULL), VIVA_OK);
    viva_stream_options o = viva_stream_options_default();
    o.workers = (int32_t)(kit_next(&seed) % 4);
    o.queue = (uint32_t)(kit_next(&seed) % 5);
    o.row_length = cols;
    received *r = receive();
    viva_stream_state s = {.size = sizeof s};
    viva_stream *stream = open_stream(engine, &config, o, r);
    feed(stream, values, count, &seed, &s);
    same_as_one_call(r, c, &s);
    assert_true(o.workers > 0 ? s.copied_bytes == 4 * count : s.copied_bytes <= 4 * count);
    viva_stream_free(stream);
    received_free(r);
    viva_compressed_release(c);
    viva_tensor_release(t);
    free(values);
  }
  kit_engine_close(engine, own);
}

/* With a scale of its own the stream hands out what is complete after each call; joined, the blocks are those of one call. */
static void given_scale(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(1);
  uint64_t seed = 51;
  for (int round = 0; round < 200; round++) {
    const size_t count = 1 + kit_next(&seed) % 3000;
    float *values = kit_floats(count);
    kit_values(0, 1, values, count, seed);
    viva_compression_config config = round % 2 ? viva_nvfp4_e2m1_config() : viva_nvfp4_config();
    config.max_error_pct = 0;
    config.global_scale = 4;
    viva_tensor *t = kit_tensor(engine, values, 1, count);
    viva_compressed *c = NULL;
    assert_int_equal(viva_compress(engine, t, &config, &c, NULL), VIVA_OK);
    config.segment = 16 * (1 + kit_next(&seed) % 40);
    viva_stream_options o = viva_stream_options_default();
    o.workers = round % 3;
    received *r = receive();
    viva_stream *stream = open_stream(engine, &config, o, r);
    viva_stream_state s = {.size = sizeof s};
    feed(stream, values, count, &seed, &s);
    viva_stream_chunk all = {.size = sizeof all};
    assert_int_equal(viva_compressed_segment(c, 0, &all, NULL), VIVA_OK);
    uint64_t block = 0;
    for (size_t i = 0; i < r->chunk_count; i++) {
      const viva_stream_chunk *k = &r->chunks[i];
      const uint8_t *data = r->bytes + (uintptr_t)k->data;
      const size_t each = round % 2 ? 1 : 4; /* bytes of a scale */
      assert_true(k->global_scale == 4 && k->first_value == 16 * block);
      assert_memory_equal(data, (round % 2 ? (const void *)all.nvfp4_scales : all.scales) + each * block,
                          each * k->blocks);
      if (round % 2 == 0) assert_memory_equal(data + 4 * k->blocks, all.zero_points + block, 4 * k->blocks);
      assert_memory_equal(data + (round % 2 ? 1 : 8) * k->blocks, all.codes + 8 * block, 8 * k->blocks);
      block += k->blocks;
    }
    assert_true(block == all.blocks && s.values_out == count);
    /* at once: a call with whole blocks leaves nothing behind */
    viva_stream_free(stream);
    r->chunk_count = r->count = 0;
    o.workers = 0;
    stream = open_stream(engine, &config, o, r);
    assert_int_equal(viva_stream_process(stream, values, count / 16 * 16, &s, NULL), VIVA_OK);
    assert_int_equal(s.values_out, count / 16 * 16);
    assert_int_equal(s.copied_bytes, 0);
    viva_stream_free(stream);
    received_free(r);
    viva_compressed_release(c);
    viva_tensor_release(t);
    free(values);
  }
  viva_engine_release(engine);
}

/* Where a bound chooses bits for a segment, its blocks wait for it: a split changes nothing, a given scale or not. */
static void given_scale_and_bound(void **state) {
  (void)state;
  enum { COUNT = 3200 };
  viva_engine *engine = kit_engine(1);
  float values[COUNT];
  kit_values(1, 1, values, COUNT, 52);
  for (size_t i = 0; i < COUNT / 2; i++) values[i] *= 0.2f; /* needs fewer bits than the other half */
  viva_tensor *t = kit_tensor(engine, values, 1, COUNT);
  uint64_t seed = 53;
  for (int round = 0; round < 96; round++) {
    viva_compression_config config = viva_nvfp4_config();
    config.global_scale = round < 48 ? 1 : 1000; /* the bound is of the segment's largest magnitude, not of this */
    config.max_error_pct = 0.5;
    config.bound = (viva_compress_bound)(1 + round % 3);
    config.segment = round % 2 ? 0 : 800;
    viva_compressed *c = NULL;
    assert_int_equal(viva_compress(engine, t, &config, &c, NULL), VIVA_OK);
    viva_stream_options o = viva_stream_options_default();
    o.workers = round / 6 % 3;
    received *r = receive();
    viva_stream *stream = open_stream(engine, &config, o, r);
    viva_stream_state s = {.size = sizeof s};
    if (round < 6) /* two halves, whose bits would differ */
      for (size_t half = 0; half < COUNT; half += COUNT / 2)
        assert_int_equal(viva_stream_process(stream, values + half, COUNT / 2, NULL, NULL), VIVA_OK);
    feed(stream, values, round < 6 ? 0 : COUNT, &seed, &s);
    same_as_one_call(r, c, &s);
    if (config.bound == VIVA_COMPRESS_FIT && config.segment == 0) assert_int_equal(r->chunks[0].bits, 6);
    viva_stream_free(stream);
    received_free(r);
    viva_compressed_release(c);
  }
  viva_tensor_release(t);
  viva_engine_release(engine);
}

/* -- supervision */

/* Fails an attempt in 100; a chunk fails when both of its attempts do, or one always. */
typedef struct faults {
  int one_in;
  uint64_t always; /* this chunk fails every time */
  uint64_t slow;   /* this chunk takes slow_ms */
  long slow_ms;
  _Atomic int slow_back; /* the slow one has ended */
  _Atomic uint64_t injected;
} faults;

static viva_status inject(void *user, uint64_t id, int attempt) {
  faults *f = user;
  uint64_t seed = id * 2 + (uint64_t)attempt;
  if (id == f->slow) {
    const struct timespec time = {f->slow_ms / 1000, f->slow_ms % 1000 * 1000000};
    nanosleep(&time, NULL);
    atomic_store(&f->slow_back, 1);
  }
  if (id != f->always && (f->one_in == 0 || kit_next(&seed) % (uint64_t)f->one_in != 0)) return VIVA_OK;
  atomic_fetch_add(&f->injected, 1);
  return VIVA_E_MEMORY;
}

static int both_fail(const faults *f, uint64_t id) {
  uint64_t a = id * 2, b = id * 2 + 1;
  if (id == f->always) return 1;
  return f->one_in && kit_next(&a) % (uint64_t)f->one_in == 0 && kit_next(&b) % (uint64_t)f->one_in == 0;
}

static void faults_stay_with_their_chunk(void **state) {
  (void)state;
  enum { CHUNKS = 2000, EACH = 64 };
  float *values = kit_floats(CHUNKS * EACH);
  kit_values(0, 1, values, CHUNKS * EACH, 60);
  for (int round = 0; round < 8; round++) {
    viva_engine *engine = kit_engine(1);
    const size_t own = kit_bytes(engine);
    viva_compression_config config = viva_nvfp4_config();
    config.segment = EACH;
    viva_tensor *t = kit_tensor(engine, values, CHUNKS, EACH);
    viva_compressed *c = NULL;
    assert_int_equal(viva_compress(engine, t, &config, &c, NULL), VIVA_OK);
    faults f = {.one_in = round < 4 ? 100 : 5, .always = 777, .slow = UINT64_MAX};
    viva_stream_options o = viva_stream_options_default();
    o.workers = round % 4;
    o.max_failures = UINT32_MAX;
    received *r = receive();
    viva_stream *stream = open_stream(engine, &config, o, r);
    stream_set_fault(stream, inject, &f);
    uint64_t seed = 61, expected = 0;
    viva_stream_state s = {.size = sizeof s};
    feed(stream, values, CHUNKS * EACH, &seed, &s);
    assert_int_equal(r->chunk_count, CHUNKS);
    for (uint64_t i = 0; i < CHUNKS; i++) {
      const viva_stream_chunk *got = &r->chunks[i];
      const uint8_t *data = r->bytes + (uintptr_t)got->data;
      viva_stream_chunk good = {.size = sizeof good};
      assert_int_equal(viva_compressed_segment(c, i, &good, NULL), VIVA_OK);
      if (both_fail(&f, i)) {
        expected++;
        assert_true(!got->compressed && got->fate == VIVA_CHUNK_FAILED && got->bits == 32);
        assert_true(got->bytes == EACH * sizeof *values);
        assert_memory_equal(data, values + i * EACH, EACH * sizeof *values);
      } else {
        assert_true(got->compressed && got->fate == VIVA_CHUNK_OK && got->bytes == good.bytes);
        assert_memory_equal(data, good.data, good.bytes);
      }
    }
    assert_true(expected >= (round < 4 ? 1 : 40));
    assert_int_equal(s.failed_chunks, expected);
    assert_int_equal(s.raw_chunks, expected);
    assert_int_equal(s.failures, f.injected);
    assert_int_equal(s.processed_chunks, CHUNKS);
    viva_stream_free(stream);
    received_free(r);
    viva_compressed_release(c);
    viva_tensor_release(t);
    kit_engine_close(engine, own);
  }
  free(values);
}

/* A NaN fails its chunk alone, and is no fault of the workers. */
static void bad_values(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(1);
  float values[20 * 16];
  kit_values(0, 1, values, 20 * 16, 62);
  for (int i = 2; i < 12; i++) values[16 * i + i] = NAN;
  viva_compression_config config = viva_nvfp4_config();
  config.segment = 16;
  for (int workers = 0; workers < 3; workers++) {
    viva_stream_options o = viva_stream_options_default();
    o.workers = workers;
    received *r = receive();
    viva_stream *stream = open_stream(engine, &config, o, r);
    viva_stream_state s = {.size = sizeof s};
    uint64_t seed = 63;
    feed(stream, values, 20 * 16, &seed, &s);
    for (uint64_t i = 0; i < 20; i++) {
      assert_int_equal(r->chunks[i].compressed, i < 2 || i >= 12);
      if (i >= 2 && i < 12) assert_memory_equal(r->bytes + (uintptr_t)r->chunks[i].data, values + 16 * i, 64);
    }
    assert_true(s.failed_chunks == 10 && s.failures == 20);
    viva_stream_free(stream);
    received_free(r);
  }
  viva_engine_release(engine);
}

static void too_many_failures(void **state) {
  (void)state;
  float values[16 * 100] = {0};
  for (int workers = 0; workers < 3; workers++) {
    viva_engine *engine = kit_engine(1);
    const size_t own = kit_bytes(engine);
    viva_compression_config config = viva_nvfp4_config();
    config.segment = 16;
    faults f = {.one_in = 1, .always = UINT64_MAX, .slow = UINT64_MAX};
    viva_stream_options o = viva_stream_options_default();
    o.workers = workers;
    received *r = receive();
    viva_stream *stream = open_stream(engine, &config, o, r);
    stream_set_fault(stream, inject, &f);
    viva_error error = {0}, again = {0};
    viva_stream_state s = {.size = sizeof s};
    viva_status status = viva_stream_process(stream, values, 16 * 100, &s, &error);
    if (status == VIVA_OK) status = viva_stream_finish(stream, &s, &error);
    assert_int_equal(status, VIVA_E_LIMIT);
    assert_non_null(strstr(error.message, "more than 3 failures within 5000 ms, the last one of chunk "));
    assert_true(s.failures >= 4 && s.processed_chunks <= 2);
    assert_int_equal(viva_stream_finish(stream, NULL, &again), VIVA_E_LIMIT);
    assert_string_equal(error.message, again.message);
    viva_stream_free(stream);
    received_free(r);
    kit_engine_close(engine, own);
  }
}

/* A chunk past its deadline is stored raw and not waited for; the others go on beside it. */
static void deadline(void **state) {
  (void)state;
  enum { CHUNKS = 40, EACH = 16 };
  float values[CHUNKS * EACH];
  kit_values(0, 1, values, CHUNKS * EACH, 64);
  for (int workers = 1; workers < 3; workers++) {
    viva_engine *engine = kit_engine(1);
    viva_compression_config config = viva_nvfp4_config();
    config.segment = EACH;
    static faults all[3]; /* a lost worker looks at it after the stream has gone */
    faults *f = &all[workers];
    f->always = UINT64_MAX, f->slow = 7, f->slow_ms = 1500;
    viva_stream_options o = viva_stream_options_default();
    o.workers = workers;
    o.deadline_ms = 200; /* far above what a chunk needs on a busy machine */
    received *r = receive();
    viva_stream *stream = open_stream(engine, &config, o, r);
    stream_set_fault(stream, inject, f);
    viva_stream_state s = {.size = sizeof s};
    uint64_t seed = 65;
    feed(stream, values, CHUNKS * EACH, &seed, &s);
    assert_int_equal(atomic_load(&f->slow_back), 0); /* nobody waited for it */
    assert_true(s.late_chunks >= 1 && s.processed_chunks == CHUNKS && s.raw_chunks == s.late_chunks);
    assert_int_equal(r->chunks[7].fate, VIVA_CHUNK_LATE);
    assert_memory_equal(r->bytes + (uintptr_t)r->chunks[7].data, values + 7 * EACH, EACH * sizeof *values);
    viva_stream_free(stream); /* does not wait for it either */
    received_free(r);
    viva_engine_release(engine);
    const struct timespec moment = {0, 50000000}; /* until it is back, and its memory too */
    while (!atomic_load(&f->slow_back)) nanosleep(&moment, NULL);
    nanosleep(&moment, NULL);
  }
}

static int on_any(void *user, const viva_stream_chunk *chunk) {
  (void)user;
  return chunk->values == 0;
}

static void *cancel_soon(void *stream) {
  const struct timespec time = {0, 20000000};
  nanosleep(&time, NULL);
  viva_stream_cancel(stream);
  return NULL;
}

static int stop_at_half(void *user, uint64_t done, uint64_t total) {
  *(uint64_t *)user = total;
  return done >= 20 * 64;
}

static void cancelling(void **state) {
  (void)state;
  enum { COUNT = 16 * 1000 };
  float *values = kit_floats(COUNT);
  for (int workers = 0; workers < 3; workers++) {
    viva_engine *engine = kit_engine(1);
    const size_t own = kit_bytes(engine);
    viva_compression_config config = viva_nvfp4_config();
    config.segment = 16;
    viva_error error = {0};
    viva_stream_options o = viva_stream_options_default();
    o.workers = workers;
    received *r = receive();
    r->stop_at = 5; /* by the sink */
    viva_stream *stream = open_stream(engine, &config, o, r);
    viva_stream_state s = {.size = sizeof s};
    assert_int_equal(viva_stream_process(stream, values, COUNT, &s, &error), VIVA_E_CANCELLED);
    assert_int_equal(r->chunk_count, 5);
    assert_int_equal(viva_stream_finish(stream, &s, &error), VIVA_E_CANCELLED);
    viva_stream_free(stream);
    r->stop_at = UINT64_MAX, r->chunk_count = r->count = 0; /* by progress */
    uint64_t total = 0;
    o.progress = stop_at_half, o.progress_user = &total;
    stream = open_stream(engine, &config, o, r);
    assert_int_equal(viva_stream_process(stream, values, COUNT, &s, &error), VIVA_E_CANCELLED);
    assert_true(r->chunk_count == 20 && total >= 20 * 64);
    viva_stream_free(stream);
    o.progress = NULL; /* by another thread */
    o.on_chunk = on_any;
    assert_int_equal(viva_stream_create(engine, &config, &o, &stream, NULL), VIVA_OK);
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, cancel_soon, stream), 0);
    viva_status status = VIVA_OK;
    while (status == VIVA_OK) status = viva_stream_process(stream, values, 160, NULL, &error);
    pthread_join(other, NULL);
    assert_int_equal(status, VIVA_E_CANCELLED);
    viva_stream_free(stream);
    received_free(r);
    kit_engine_close(engine, own);
  }
  free(values);
}

static void wrong_arguments(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(1);
  viva_stream *stream = NULL;
  viva_error error = {0};
  viva_stream_options o = viva_stream_options_default();
  assert_int_equal(viva_stream_create(engine, NULL, &o, &stream, &error), VIVA_E_ARGUMENT);
  assert_string_equal(error.item, "on_chunk");
  received *r = receive();
  o.on_chunk = on_chunk, o.user = r;
  o.workers = 257;
  assert_int_equal(viva_stream_create(engine, NULL, &o, &stream, &error), VIVA_E_ARGUMENT);
  assert_string_equal(error.item, "workers");
  o.workers = 0;
  viva_compression_config config = viva_nvfp4_config();
  config.row_blocks = 1;
  assert_int_equal(viva_stream_create(engine, &config, &o, &stream, &error), VIVA_E_ARGUMENT);
  assert_string_equal(error.item, "row_length");
  assert_int_equal(viva_stream_create(engine, NULL, &o, &stream, &error), VIVA_OK);
  viva_stream_state s = {.size = sizeof s};
  assert_int_equal(viva_stream_info(stream, &s, NULL), VIVA_OK);
  assert_true(s.processed_chunks == 0 && s.total_bytes_in == 0 && s.total_bytes_out == 0);
  assert_true(s.config.block_size == 16 && s.config.segment == 1 << 20);
  assert_int_equal(viva_stream_process(stream, NULL, 1, NULL, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_stream_process(stream, NULL, 0, NULL, &error), VIVA_OK);
  assert_int_equal(viva_stream_finish(stream, &s, &error), VIVA_OK);
  assert_int_equal(viva_stream_process(stream, NULL, 0, NULL, &error), VIVA_E_STATE);
  viva_stream_free(stream);
  received_free(r);
  viva_engine_release(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(any_split),
      cmocka_unit_test(given_scale),
      cmocka_unit_test(given_scale_and_bound),
      cmocka_unit_test(bad_values),
      cmocka_unit_test(faults_stay_with_their_chunk),
      cmocka_unit_test(deadline),
      cmocka_unit_test(too_many_failures),
      cmocka_unit_test(cancelling),
      cmocka_unit_test(wrong_arguments),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
