/* Containers: what is written comes back by every way; what is cut opens up to the last whole chunk; what is changed is
 * refused; no memory is lost when a call fails. */
#include "compress_kit.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/fail_alloc.h"
#include "lib/memory_io.h"

typedef struct bytes {
  uint8_t *data;
  size_t count, room, at; /* at: of reading */
  size_t step;            /* at most this many at once; 0: all */
} bytes;

static int put(void *user, const void *data, size_t count) {
  bytes *b = user;
  if (b->count + count > b->room) {
    b->room = 2 * (b->count + count);
    b->data = realloc(b->data, b->room);
    if (!b->data) return 1;
  }
  memcpy(b->data + b->count, data, count);
  b->count += count;
  return 0;
}

static int64_t get(void *user, void *to, size_t count) {
  bytes *b = user;
  size_t some = b->count - b->at < count ? b->count - b->at : count;
  if (b->step && some > b->step) some = b->step;
  memcpy(to, b->data + b->at, some);
  b->at += some;
  return (int64_t)some;
}

enum { TENSORS = 4 };
static const uint64_t shapes[TENSORS][2] = {{7, 33}, {1, 16}, {0, 5}, {64, 65}};

static viva_compression_config config_of(int i) {
  viva_compression_config c = i % 2 ? viva_nvfp4_e2m1_config() : viva_nvfp4_config();
  c.bound = i == 3 ? VIVA_COMPRESS_FIT_BLOCKS : VIVA_COMPRESS_REPORT;
  c.max_error_pct = i == 3 ? 0.7 : 2;
  c.segment = i == 3 ? 16 * 50 : 0;
  c.row_blocks = i == 0;
  return c;
}

static float *values_of(int i) {
  float *v = kit_floats(shapes[i][0] * shapes[i][1]);
  kit_values(i, 3, v, shapes[i][0] * shapes[i][1], 70 + (uint64_t)i);
  return v;
}

static viva_compressed *make(viva_engine *engine, int i, viva_error *error) {
  const viva_compression_config config = config_of(i);
  float *v = values_of(i);
  viva_tensor *t = NULL;
  viva_compressed *c = NULL;
  if (viva_tensor_wrap(engine, v, shapes[i][0] * shapes[i][1] * sizeof *v, VIVA_F32, 2, shapes[i], &t, error) ==
      VIVA_OK)
    (void)viva_compress(engine, t, &config, &c, error);
  viva_tensor_release(t);
  free(v);
  return c;
}

/* Writes all tensors; path, or to. */
static viva_status write_all(viva_engine *engine, const char *path, bytes *to, viva_error *error) {
  viva_container_writer *w = NULL;
  viva_status status = viva_container_create(engine, path, path ? NULL : put, to, &w, error);
  for (int i = 0; i < TENSORS && status == VIVA_OK; i++) {
    char name[32];
    snprintf(name, sizeof name, "tensor %d \xc3\xa9", i);
    const viva_container_tensor t = {.size = sizeof t, .name = name, .dtype = VIVA_BF16};
    viva_compressed *c = make(engine, i, error);
    status = c ? viva_container_add(w, &t, c, error) : error->code;
    viva_compressed_release(c);
  }
  if (status == VIVA_OK) return viva_container_finish(w, error);
  viva_container_abort(w);
  return status;
}

static void decoded(viva_engine *engine, int i, float *to) {
  viva_error error = {0};
  viva_compressed *c = make(engine, i, &error);
  assert_non_null(c);
  assert_int_equal(viva_decompress_into(engine, c, to, shapes[i][0] * shapes[i][1], NULL), VIVA_OK);
  viva_compressed_release(c);
}

static void check_loaded(viva_engine *engine, viva_container *container, size_t count) {
  static float got[64 * 65], expected[64 * 65];
  for (size_t i = 0; i < count; i++) {
    viva_container_tensor t = {.size = sizeof t};
    viva_compressed *c = NULL;
    viva_error error = {0};
    assert_int_equal(viva_container_info(container, i, &t, NULL), VIVA_OK);
    const uint64_t n = shapes[i][0] * shapes[i][1];
    assert_true(t.rank == 2 && t.shape[0] == shapes[i][0] && t.shape[1] == shapes[i][1] && t.elements == n);
    assert_true(t.complete && t.dtype == VIVA_BF16 && strncmp(t.name, "tensor ", 7) == 0);
    const viva_status status = viva_container_load(container, i, &c, &error);
    kit_good(status, error);
    viva_compressed_desc info = {.size = sizeof info};
    assert_int_equal(viva_compressed_info(c, &info, NULL), VIVA_OK);
    assert_true(info.num_elements == n && info.segments == t.chunks && (n == 0 || info.memory_bytes == t.bytes));
    assert_int_equal(viva_decompress_into(engine, c, got, n, NULL), VIVA_OK);
    decoded(engine, (int)i, expected);
    assert_memory_equal(got, expected, n * sizeof *got);
    viva_compressed_release(c);
  }
}

/* -- every way back */

typedef struct visited {
  viva_engine *engine;
  int tensors;
  uint64_t values;
  float got[64 * 65];
  uint64_t stop_at;
} visited;

static int visit(void *user, const viva_container_tensor *t, const viva_stream_chunk *chunk, const float *values) {
  visited *v = user;
  if (!chunk) {
    v->tensors++;
    v->values = 0;
    return t->complete != 1;
  }
  if (chunk->first_value != v->values || v->values + chunk->values > 64 * 65) return 1;
  memcpy(v->got + v->values, values, chunk->values * sizeof *values);
  v->values += chunk->values;
  return v->values == v->stop_at;
}

static void there_and_back(void **state) {
  (void)state;
  memory_io *m = memory_io_create();
  memory_io_put_text(m, "/d/other", "");
  viva_engine_options options = viva_engine_options_default();
  viva_engine *engine = NULL;
  viva_error error = {0};
  options.threads = 1, options.device = VIVA_DEVICE_CPU;
  assert_int_equal(engine_open(&options, memory_io_table(m), &engine, &error), VIVA_OK);
  const size_t own = kit_bytes(engine);
  bytes piped = {0};
  viva_status status = write_all(engine, "/d/x.viva", NULL, &error);
  kit_good(status, error);
  status = write_all(engine, NULL, &piped, &error);
  kit_good(status, error);
  size_t size;
  const void *file = memory_io_get(m, "/d/x.viva", &size);
  assert_int_equal(size, piped.count); /* one format, whichever way out */
  assert_memory_equal(file, piped.data, size);
  for (int mode = 0; mode < 2; mode++) {
    viva_container_options o = viva_container_options_default();
    viva_container *c = NULL;
    o.mode = (viva_load_mode)mode;
    status = viva_container_open(engine, "/d/x.viva", &o, &c, &error);
    kit_good(status, error);
    assert_int_equal(viva_container_count(c), TENSORS);
    check_loaded(engine, c, TENSORS);
    viva_compressed *none = NULL;
    assert_int_equal(viva_container_load(c, TENSORS, &none, &error), VIVA_E_NOT_FOUND);
    viva_container_close(c);
  }
  for (piped.step = 0; piped.step < 100; piped.step += 33) { /* pipes give what they have */
    visited *v = calloc(1, sizeof *v);
    static float expected[64 * 65];
    assert_non_null(v);
    piped.at = 0;
    status = viva_container_scan(engine, get, &piped, visit, v, &error);
    kit_good(status, error);
    decoded(engine, 3, expected);
    assert_true(v->tensors == TENSORS && v->values == 64 * 65);
    assert_memory_equal(v->got, expected, sizeof expected);
    piped.at = 0, v->stop_at = 800;
    assert_int_equal(viva_container_scan(engine, get, &piped, visit, v, &error), VIVA_E_CANCELLED);
    free(v);
  }
  free(piped.data);
  kit_engine_close(engine, own);
  assert_int_equal(memory_io_open_count(m), 0);
  memory_io_free(m);
}

/* A stream of unknown length becomes a tensor of one axis. */
static int stream_to_writer(void *user, const viva_stream_chunk *chunk) {
  return viva_container_chunk(user, chunk, NULL) != VIVA_OK;
}

static void streams_into_it(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(1);
  const size_t own = kit_bytes(engine);
  viva_error error = {0};
  bytes piped = {0};
  viva_container_writer *w = NULL;
  viva_stream *stream = NULL;
  viva_stream_state s = {.size = sizeof s};
  viva_compression_config config = viva_nvfp4_e2m1_config();
  config.segment = 1600;
  viva_stream_options o = viva_stream_options_default();
  assert_int_equal(viva_container_create(engine, NULL, put, &piped, &w, &error), VIVA_OK);
  o.on_chunk = stream_to_writer, o.user = w, o.workers = 2;
  const viva_container_tensor t = {.size = sizeof t, .name = "piped", .elements = VIVA_UNKNOWN, .config = config};
  assert_int_equal(viva_container_begin(w, &t, &error), VIVA_OK);
  assert_int_equal(viva_stream_create(engine, &config, &o, &stream, &error), VIVA_OK);
  float *v = values_of(3), *expected = kit_floats(64 * 65);
  for (size_t i = 0; i < 64 * 65; i += 40)
    assert_int_equal(viva_stream_process(stream, v + i, 64 * 65 - i < 40 ? 64 * 65 - i : 40, NULL, &error), VIVA_OK);
  assert_int_equal(viva_stream_finish(stream, &s, &error), VIVA_OK);
  assert_int_equal(viva_container_finish(w, &error), VIVA_OK);
  viva_stream_free(stream);
  const uint8_t *described =
      (const uint8_t *)piped.data + 128; /* docs/formats.md: after the file's header and the record's */
  static const uint8_t zeros[8];
  assert_memory_equal(described + 152, zeros, 8);
  assert_memory_equal(described + 160, "piped", 5);
  visited *seen = calloc(1, sizeof *seen);
  assert_non_null(seen);
  assert_int_equal(viva_container_scan(engine, get, &piped, visit, seen, &error), VIVA_OK);
  viva_tensor *all = kit_tensor(engine, v, 64, 65);
  viva_compressed *c = NULL;
  assert_int_equal(viva_compress(engine, all, &config, &c, &error), VIVA_OK);
  assert_int_equal(viva_decompress_into(engine, c, expected, 64 * 65, &error), VIVA_OK);
  assert_memory_equal(seen->got, expected, 64 * 65 * sizeof *expected);
  viva_compressed_release(c), viva_tensor_release(all);
  free(v), free(expected), free(seen), free(piped.data);
  kit_engine_close(engine, own);
}

/* Views of a mapped file: nothing is copied, and the file stays mapped while they live. */
static void views_are_not_copies(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(1);
  const size_t own = kit_bytes(engine);
  enum { COUNT = 1 << 18 };
  float *v = kit_floats(COUNT), *got = kit_floats(COUNT), *expected = kit_floats(COUNT);
  char path[64];
  snprintf(path, sizeof path, "/tmp/viva-test-%ld.viva", (long)getpid());
  kit_values(0, 1, v, COUNT, 80);
  viva_compression_config config = viva_nvfp4_config();
  config.segment = 1 << 14;
  viva_tensor *t = kit_tensor(engine, v, 1, COUNT);
  viva_compressed *c = NULL, *view = NULL;
  viva_error error = {0};
  viva_container_writer *w = NULL;
  assert_int_equal(viva_compress(engine, t, &config, &c, &error), VIVA_OK);
  assert_int_equal(viva_decompress_into(engine, c, expected, COUNT, &error), VIVA_OK);
  assert_int_equal(viva_container_create(engine, path, NULL, NULL, &w, &error), VIVA_OK);
  const viva_container_tensor described = {.size = sizeof described, .name = "x"};
  assert_int_equal(viva_container_add(w, &described, c, &error), VIVA_OK);
  viva_status status = viva_container_finish(w, &error);
  kit_good(status, error);
  viva_compressed_release(c), viva_tensor_release(t);
  viva_container_options o = viva_container_options_default();
  viva_container *container = NULL;
  o.mode = VIVA_LOAD_MMAP;
  status = viva_container_open(engine, path, &o, &container, &error);
  kit_good(status, error);
  assert_int_equal(viva_container_load(container, 0, &view, &error), VIVA_OK);
  assert_true(kit_bytes(engine) - own < 16384); /* handles and names; the data are 256 KiB */
  viva_stream_chunk first = {.size = sizeof first}, last = {.size = sizeof last};
  assert_int_equal(viva_compressed_segment(view, 0, &first, NULL), VIVA_OK);
  assert_int_equal(viva_compressed_segment(view, 15, &last, NULL), VIVA_OK);
  struct stat file;
  assert_int_equal(stat(path, &file), 0);
  const ptrdiff_t apart = (const uint8_t *)last.data - (const uint8_t *)first.data;
  assert_true(apart > 0 && apart < (ptrdiff_t)file.st_size && (uintptr_t)first.data % 64 == 0);
  viva_container_close(container); /* the view keeps it */
  unlink(path);
  assert_int_equal(viva_decompress_into(engine, view, got, COUNT, &error), VIVA_OK);
  assert_memory_equal(got, expected, COUNT * sizeof *got);
  viva_compressed_release(view);
  free(v), free(got), free(expected);
  kit_engine_close(engine, own);
}

/* -- damage */

/* What a file in memory gives: the status of opening and loading everything. */
static viva_status use(viva_engine *engine, const char *path, int mode, int recover, size_t *whole) {
  static float got[64 * 65], expected[64 * 65];
  viva_container_options o = viva_container_options_default();
  viva_container *c = NULL;
  viva_error error = {0};
  o.mode = (viva_load_mode)mode, o.recover = recover;
  *whole = 0;
  viva_status status = viva_container_open(engine, path, &o, &c, &error);
  if (status != VIVA_OK) return status;
  for (size_t i = 0; i < viva_container_count(c) && status == VIVA_OK; i++) {
    viva_compressed *made = NULL;
    viva_container_tensor t = {.size = sizeof t};
    assert_int_equal(viva_container_info(c, i, &t, NULL), VIVA_OK);
    status = viva_container_load(c, i, &made, &error);
    if (status != VIVA_OK) break;
    assert_true(t.elements <= 64 * 65);
    assert_int_equal(viva_decompress_into(engine, made, got, t.elements, NULL), VIVA_OK);
    decoded(engine, (int)i, expected);
    assert_memory_equal(got, expected, t.elements * sizeof *got); /* never wrong values */
    *whole += t.elements;
    viva_compressed_release(made);
  }
  viva_container_close(c);
  return status;
}

static void damage(void **state) {
  (void)state;
  memory_io *m = memory_io_create();
  memory_io_put_text(m, "/d/other", "");
  viva_engine_options options = viva_engine_options_default();
  viva_engine *engine = NULL;
  viva_error error = {0};
  options.threads = 1, options.device = VIVA_DEVICE_CPU;
  assert_int_equal(engine_open(&options, memory_io_table(m), &engine, &error), VIVA_OK);
  const size_t own = kit_bytes(engine);
  assert_int_equal(write_all(engine, "/d/x", NULL, &error), VIVA_OK);
  size_t size, whole, before = 0;
  const uint8_t *file = memory_io_get(m, "/d/x", &size);
  uint8_t *copy = malloc(size);
  assert_non_null(copy);
  memcpy(copy, file, size);
  for (size_t cut = 0; cut < size; cut += cut < 700 || cut + 700 > size ? 1 : 41) { /* cut at every byte */
    memory_io_put(m, "/d/cut", copy, cut);
    assert_true(use(engine, "/d/cut", (int)(cut & 1), 0, &whole) == VIVA_E_FORMAT);
    const viva_status status = use(engine, "/d/cut", (int)(cut & 1), 1, &whole);
    assert_true(status == (cut < 64 ? VIVA_E_FORMAT : VIVA_OK) && whole >= before);
    before = whole;
    bytes piped = {copy, cut, 0, 0, 0};
    visited *v = calloc(1, sizeof *v);
    assert_non_null(v);
    assert_int_equal(viva_container_scan(engine, get, &piped, visit, v, &error), VIVA_E_FORMAT);
    free(v);
  }
  assert_int_equal(before, 7 * 33 + 16 + 64 * 65);          /* without the index alone everything is there */
  for (size_t at = 0; at < size; at += at < 1000 ? 1 : 7) { /* each byte changed */
    copy[at] ^= (uint8_t)(1 << at % 8);
    memory_io_put(m, "/d/bad", copy, size);
    const viva_status status = use(engine, "/d/bad", (int)(at & 1), (int)(at >> 1 & 1), &whole);
    if (status == VIVA_OK) assert_true(whole <= 7 * 33 + 16 + 64 * 65); /* padding; or recovered up to the place */
    copy[at] ^= (uint8_t)(1 << at % 8);
  }
  free(copy);
  kit_engine_close(engine, own);
  assert_int_equal(memory_io_open_count(m), 0);
  memory_io_free(m);
}

/* -- a killed writer */

static int only_temporary(const struct dirent *entry) { return strstr(entry->d_name, ".tmp") != NULL; }

/* A byte to `told` for each tensor that is written. */
static void write_for_ever(const char *path, int told) {
  viva_engine *engine = kit_engine(1);
  viva_container_writer *w = NULL;
  viva_error error = {0};
  if (viva_container_create(engine, path, NULL, NULL, &w, &error) != VIVA_OK) _exit(1);
  for (;;) {
    viva_compressed *c = make(engine, 3, &error);
    const viva_container_tensor t = {.size = sizeof t, .name = "x"};
    if (!c || viva_container_add(w, &t, c, &error) != VIVA_OK) _exit(1);
    viva_compressed_release(c);
    if (write(told, "x", 1) != 1) _exit(1);
  }
}

/* Starts a writer and kills it: 0 to 10 ms after it has written so many tensors, however slow the machine. */
static void kill_a_writer(const char *path, uint64_t tensors, uint64_t *seed) {
  int told[2], how = 0;
  char byte;
  assert_int_equal(pipe(told), 0);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) write_for_ever(path, told[1]);
  close(told[1]);
  while (tensors-- > 0) assert_int_equal(read(told[0], &byte, 1), 1);
  const struct timespec time = {0, (long)(kit_next(seed) % 10000000)};
  nanosleep(&time, NULL);
  assert_int_equal(kill(child, SIGKILL), 0);
  assert_int_equal(waitpid(child, &how, 0), child);
  assert_true(WIFSIGNALED(how));
  close(told[0]);
}

static void killed_writers(void **state) {
  (void)state;
  char folder[] = "/tmp/viva-kill-XXXXXX", path[128], left[400];
  static float got[64 * 65], expected[64 * 65];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/x.viva", folder);
  uint64_t seed = 90, opened = 0, loaded = 0;
  viva_engine *engine = kit_engine(1);
  decoded(engine, 3, expected);
  const int rounds = getenv("VIVA_SLOW") ? 500 : 60;
  for (int round = 0; round < rounds; round++) {
    kill_a_writer(path, kit_next(&seed) % 8, &seed); /* 0: perhaps before there is a file */
    struct dirent **names = NULL;
    const int count = scandir(folder, &names, only_temporary, NULL);
    for (int i = 0; i < count; i++) {
      viva_container_options o = viva_container_options_default();
      viva_container *c = NULL;
      viva_error error = {0};
      snprintf(left, sizeof left, "%s/%s", folder, names[i]->d_name);
      assert_int_equal(viva_container_open(engine, left, &o, &c, &error), VIVA_E_FORMAT);
      o.recover = 1;
      if (viva_container_open(engine, left, &o, &c, &error) == VIVA_OK) { /* else: not even its header had come */
        opened++;
        for (size_t k = 0; k < viva_container_count(c); k++) {
          viva_compressed *made = NULL;
          viva_container_tensor t = {.size = sizeof t};
          assert_int_equal(viva_container_info(c, k, &t, NULL), VIVA_OK);
          assert_int_equal(viva_container_load(c, k, &made, &error), VIVA_OK);
          assert_int_equal(viva_decompress_into(engine, made, got, t.elements, NULL), VIVA_OK);
          assert_memory_equal(got, expected, t.elements * sizeof *got);
          loaded += t.elements;
          viva_compressed_release(made);
        }
        viva_container_close(c);
      }
      unlink(left);
      free(names[i]);
    }
    free(names);
  }
  assert_true(opened > 0 && loaded > 0);
  assert_int_equal(access(path, F_OK), -1); /* never a file under its own name */
  rmdir(folder);
  viva_engine_release(engine);
}

/* -- failing calls */

/* Compresses, streams, writes, reads: everything that allocates. */
static viva_status everything(viva_engine *engine, const char *path, viva_error *error) {
  static float got[64 * 65];
  viva_container *c = NULL;
  viva_compressed *made = NULL, *chosen = NULL;
  viva_status status = write_all(engine, path, NULL, error);
  if (status == VIVA_OK) status = viva_container_open(engine, path, NULL, &c, error);
  if (status == VIVA_OK) status = viva_container_load(c, 3, &made, error);
  if (status == VIVA_OK) status = viva_decompress_into(engine, made, got, 64 * 65, error);
  float *v = values_of(3);
  viva_tensor *t = NULL;
  viva_distribution_stats d = {.size = sizeof d};
  viva_compression_stats s = {.size = sizeof s};
  if (status == VIVA_OK) status = viva_tensor_wrap(engine, v, 64 * 65 * sizeof *v, VIVA_F32, 2, shapes[3], &t, error);
  if (status == VIVA_OK) status = viva_analyze(engine, t, &d, error);
  if (status == VIVA_OK) status = viva_analyze_and_compress(engine, t, NULL, &chosen, error);
  if (status == VIVA_OK) status = viva_compression_statistics(engine, t, chosen, &s, error);
  viva_compressed_release(made), viva_compressed_release(chosen);
  viva_container_close(c);
  viva_tensor_release(t);
  free(v);
  return status;
}

static void failing_allocations(void **state) {
  (void)state;
  for (int persistent = 0; persistent < 2; persistent++) {
    for (uint64_t k = 1;; k++) {
      fail_alloc f;
      memory_io *m = memory_io_create();
      viva_engine *engine = NULL;
      viva_error error = {0};
      viva_engine_options options = viva_engine_options_default();
      memory_io_put_text(m, "/d/other", "");
      fail_alloc_init(&f, 0, persistent);
      options.threads = 1, options.device = VIVA_DEVICE_CPU, options.allocator = &f.table;
      assert_int_equal(engine_open(&options, memory_io_table(m), &engine, &error), VIVA_OK);
      f.fail_at = f.calls + k;
      const viva_status status = everything(engine, "/d/x", &error);
      const int failed = f.failed;
      f.fail_at = 0;
      viva_engine_release(engine);
      assert_int_equal(f.live, 0);
      assert_int_equal(memory_io_open_count(m), 0);
      assert_int_equal(status, failed ? VIVA_E_MEMORY : VIVA_OK);
      if (failed) assert_true(error.message[0] != 0);
      memory_io_free(m);
      if (!failed) break;
      assert_true(k < 1000);
    }
  }
}

static void failing_files(void **state) {
  (void)state;
  for (int persistent = 0; persistent < 2; persistent++) {
    for (uint64_t k = 1;; k++) {
      memory_io *m = memory_io_create();
      viva_engine *engine = NULL;
      viva_error error = {0};
      viva_engine_options options = viva_engine_options_default();
      memory_io_put_text(m, "/d/other", "");
      options.threads = 1, options.device = VIVA_DEVICE_CPU;
      assert_int_equal(engine_open(&options, memory_io_table(m), &engine, &error), VIVA_OK);
      const size_t own = kit_bytes(engine);
      memory_io_fail(m, k, 5, persistent); /* EIO */
      const viva_status status = everything(engine, "/d/x", &error);
      const int failed = memory_io_failed(m);
      memory_io_fail(m, 0, 0, 0);
      if (status != VIVA_OK) assert_true(failed && status == VIVA_E_IO);
      kit_engine_close(engine, own);
      assert_int_equal(memory_io_open_count(m), 0);
      memory_io_free(m);
      if (!failed) break;
      assert_true(k < 1000);
    }
  }
}

/* Streams: a chunk whose memory fails is stored raw, so a stream ends well unless its own memory fails. */
static int count_chunks(void *user, const viva_stream_chunk *chunk) {
  *(uint64_t *)user += chunk->values;
  return 0;
}

static void failing_streams(void **state) {
  (void)state;
  float *v = values_of(3);
  for (int workers = 0; workers < 2; workers++) {
    for (uint64_t k = 1;; k++) {
      fail_alloc f;
      viva_engine *engine = NULL;
      viva_stream *stream = NULL;
      viva_error error = {0};
      viva_engine_options options = viva_engine_options_default();
      viva_stream_options o = viva_stream_options_default();
      viva_compression_config config = viva_nvfp4_config();
      uint64_t values = 0;
      config.segment = 160;
      o.workers = workers, o.on_chunk = count_chunks, o.user = &values;
      fail_alloc_init(&f, 0, 0);
      options.threads = 1, options.device = VIVA_DEVICE_CPU, options.allocator = &f.table;
      assert_int_equal(viva_engine_open(&options, &engine, &error), VIVA_OK);
      f.fail_at = f.calls + k;
      viva_status status = viva_stream_create(engine, &config, &o, &stream, &error);
      if (status == VIVA_OK) {
        assert_int_equal(viva_stream_process(stream, v, 64 * 65, NULL, &error), VIVA_OK);
        assert_int_equal(viva_stream_finish(stream, NULL, &error), VIVA_OK);
        assert_int_equal(values, 64 * 65);
      } else {
        assert_true(status == VIVA_E_MEMORY || status == VIVA_E_LIMIT);
      }
      viva_stream_free(stream);
      const int failed = f.failed;
      f.fail_at = 0;
      viva_engine_release(engine);
      assert_int_equal(f.live, 0);
      if (!failed) break;
      assert_true(k < 1000);
    }
  }
  free(v);
}

static void wrong_use(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(1);
  bytes piped = {0};
  viva_error error = {0};
  viva_container_writer *w = NULL;
  viva_container *c = NULL;
  assert_int_equal(viva_container_create(engine, NULL, NULL, NULL, &w, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_container_create(engine, "x", put, NULL, &w, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_container_open(engine, "/no/such", NULL, &c, &error), VIVA_E_IO);
  /* a tensor that ends too early fails the writer for good */
  assert_int_equal(viva_container_create(engine, NULL, put, &piped, &w, &error), VIVA_OK);
  viva_container_tensor t = {.size = sizeof t, .name = "x", .rank = 1, .shape = {5}, .elements = 5};
  t.config = viva_nvfp4_config();
  assert_int_equal(viva_container_begin(w, &t, &error), VIVA_OK);
  assert_int_equal(viva_container_begin(w, &t, &error), VIVA_E_SIZE);
  assert_int_equal(viva_container_begin(w, &t, &error), VIVA_E_SIZE);
  assert_int_equal(viva_container_finish(w, &error), VIVA_E_SIZE);
  assert_int_equal(viva_container_create(engine, NULL, put, &piped, &w, &error), VIVA_OK);
  t.shape[0] = 6;
  assert_int_equal(viva_container_begin(w, &t, &error), VIVA_E_ARGUMENT);
  viva_container_abort(w);
  viva_stream_chunk chunk = {.size = sizeof chunk, .values = 1};
  assert_int_equal(viva_container_create(engine, NULL, put, &piped, &w, &error), VIVA_OK);
  assert_int_equal(viva_container_chunk(w, &chunk, &error), VIVA_E_STATE);
  viva_container_abort(w);
  free(piped.data);
  viva_engine_release(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(there_and_back), cmocka_unit_test(streams_into_it), cmocka_unit_test(views_are_not_copies),
      cmocka_unit_test(damage),         cmocka_unit_test(killed_writers),  cmocka_unit_test(failing_allocations),
      cmocka_unit_test(failing_files),  cmocka_unit_test(failing_streams), cmocka_unit_test(wrong_use),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
