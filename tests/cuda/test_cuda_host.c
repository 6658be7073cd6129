/* The host's side of the CUDA backend, on a runtime that is none: calls fail, memory ends, the device is lost. No GPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda_exchange.h"
#include "backend/cuda/nccl_library.h"
#include "backend_cuda/lt_mock.h"

/* ---- a runtime: memory is the host's, `left` calls succeed before one fails with `fault` */

static struct {
  int devices, left, blocks;
  cudaError_t count_status, fault;
  unsigned long long found;
  int cleared;              /* calls of GetLastError */
  int no_way;               /* from one device's memory to another's */
  const uint8_t *described; /* what the last captured step reads when it is launched */
} fake;

static cudaError_t next(void) {
  if (fake.left < 0) return cudaSuccess;
  return fake.left-- == 0 ? fake.fault : cudaSuccess;
}

static cudaError_t get_count(int *count) { return *count = fake.devices, fake.count_status; }
static cudaError_t get_properties(struct cudaDeviceProp *p, int device) {
  (void)device;
  memset(p, 0, sizeof *p);
  memcpy(p->name, "fake", sizeof "fake");
  p->major = 9;
  p->multiProcessorCount = 132;
  p->sharedMemPerBlockOptin = 227 * 1024;
  return cudaSuccess;
}
static cudaError_t set_device(int device) { return (void)device, cudaSuccess; }
static cudaError_t memory(size_t *available, size_t *total) { return *available = 5, *total = 100, cudaSuccess; }
static cudaError_t stream_create(cudaStream_t *s, unsigned flags) {
  (void)flags;
  *s = (cudaStream_t)(void *)&fake;
  return next();
}
static cudaError_t stream_call(cudaStream_t s) { return (void)s, next(); }
static cudaError_t event_create(cudaEvent_t *e) { return *e = (cudaEvent_t)(void *)&fake, next(); }
static cudaError_t event_create_with(cudaEvent_t *e, unsigned flags) { return (void)flags, event_create(e); }
static cudaError_t event_destroy(cudaEvent_t e) { return (void)e, cudaSuccess; }
static cudaError_t pool_create(cudaMemPool_t *p, const struct cudaMemPoolProps *properties) {
  (void)properties;
  *p = (cudaMemPool_t)(void *)&fake;
  return next();
}
static cudaError_t pool_attribute(cudaMemPool_t p, enum cudaMemPoolAttr which, void *value) {
  (void)p, (void)which, (void)value;
  return next();
}
static cudaError_t pool_destroy(cudaMemPool_t p) { return (void)p, cudaSuccess; }
static cudaError_t take(void **dev, size_t bytes, cudaMemPool_t p, cudaStream_t s) {
  (void)p, (void)s;
  const cudaError_t status = next();
  *dev = status == cudaSuccess ? malloc(bytes) : NULL;
  fake.blocks += *dev != NULL;
  return status;
}
static cudaError_t give(void *dev, cudaStream_t s) {
  (void)s;
  fake.blocks--;
  free(dev);
  return cudaSuccess;
}
static cudaError_t take_host(void **host, size_t bytes) { return take(host, bytes, NULL, NULL); }
static cudaError_t give_host(void *host) { return give(host, NULL); }
static cudaError_t set(void *dev, int value, size_t bytes, cudaStream_t s) {
  (void)s;
  memset(dev, value, bytes);
  return next();
}
static cudaError_t copy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t s) {
  (void)kind, (void)s;
  const cudaError_t status = next();
  if (status == cudaSuccess) memcpy(to, from, bytes);
  return status;
}
static cudaError_t clear_now(void *dev, int value, size_t bytes) { return set(dev, value, bytes, NULL); }
static cudaError_t can_reach(int *can, int device, int peer) {
  (void)device, (void)peer;
  *can = !fake.no_way;
  return next();
}
static cudaError_t reach(int peer, unsigned flags) { return (void)peer, (void)flags, next(); }
static cudaError_t last_error(void) { return fake.cleared++, cudaSuccess; }
static const char *error_name(cudaError_t status) { return (void)status, "cudaErrorFake"; }
static const char *error_text(cudaError_t status) { return (void)status, "a fake error"; }

static cudaError_t capture_begin(cudaStream_t s, enum cudaStreamCaptureMode mode) {
  return (void)s, (void)mode, next();
}
static cudaError_t capture_end(cudaStream_t s, cudaGraph_t *graph) {
  (void)s;
  *graph = (cudaGraph_t)(void *)&fake;
  return next();
}
static cudaError_t instantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags) {
  (void)graph, (void)flags;
  *exec = (cudaGraphExec_t)(void *)&fake;
  return next();
}
static cudaError_t launch(cudaGraphExec_t exec, cudaStream_t s) { return (void)exec, (void)s, next(); }
static cudaError_t exec_destroy(cudaGraphExec_t exec) { return (void)exec, cudaSuccess; }
static cudaError_t graph_destroy(cudaGraph_t graph) { return (void)graph, cudaSuccess; }

static const cuda_api api = {.GetDeviceCount = get_count,
                             .GetDeviceProperties = get_properties,
                             .SetDevice = set_device,
                             .MemGetInfo = memory,
                             .StreamCreateWithFlags = stream_create,
                             .StreamDestroy = stream_call,
                             .StreamSynchronize = stream_call,
                             .StreamBeginCapture = capture_begin,
                             .StreamEndCapture = capture_end,
                             .GraphInstantiate = instantiate,
                             .GraphLaunch = launch,
                             .GraphExecDestroy = exec_destroy,
                             .GraphDestroy = graph_destroy,
                             .EventCreate = event_create,
                             .EventCreateWithFlags = event_create_with,
                             .EventDestroy = event_destroy,
                             .MemPoolCreate = pool_create,
                             .MemPoolSetAttribute = pool_attribute,
                             .MemPoolDestroy = pool_destroy,
                             .MallocFromPoolAsync = take,
                             .FreeAsync = give,
                             .MallocHost = take_host,
                             .FreeHost = give_host,
                             .MemcpyAsync = copy,
                             .MemsetAsync = set,
                             .Memset = clear_now,
                             .Malloc = take_host,
                             .Free = give_host,
                             .DeviceCanAccessPeer = can_reach,
                             .DeviceEnablePeerAccess = reach,
                             .GetLastError = last_error,
                             .GetErrorName = error_name,
                             .GetErrorString = error_text};

static int pieces; /* kernels that sum a piece */
static int silu(step_queue q, const step_silu_args *a) { return (void)q, (void)a, (int)next(); }
/* Finds a value that is not finite at fake.found. */
static int pack_some(const pack_units_args *a, void *stream) {
  (void)stream;
  if (a->bad) *a->bad = fake.found;
  return (int)next();
}
static int sum_piece(step_queue q, const step_exchange_args *a) { return (void)q, (void)a, pieces++, (int)next(); }
static int fetch(const void *host, void *dev, size_t words, void *stream) {
  (void)dev, (void)words, (void)stream;
  fake.described = host;
  return (int)next();
}
static int embed(step_queue q, const weight *table, const viva_token *tokens, size_t m, float *out) {
  return (void)q, (void)table, (void)tokens, (void)m, (void)out, (int)next();
}
static int gemv(const gemv_problem *p, const cuda_gpu *gpu, int dependent, void *stream) {
  return (void)p, (void)gpu, (void)dependent, (void)stream, (int)next();
}
static int put(const float *logits, float *const *to, size_t rows, size_t n, void *stream, int dependent) {
  return (void)logits, (void)to, (void)rows, (void)n, (void)stream, (void)dependent, (int)next();
}
static int top(step_queue q, const step_top_args *a, const step_work *w) {
  return (void)q, (void)a, (void)w, (int)next();
}
static int own_products; /* by our own kernels */
static int make_rows(rows_type type, const void *x, size_t stride, int m, int k, rows_codes to, void *codes,
                     float *scales, void *stream) {
  (void)type, (void)x, (void)stride, (void)m, (void)k, (void)to, (void)codes, (void)scales, (void)stream;
  return (int)next();
}
static int multiply_own(const gemm_problem *p, const gemm_operands *o, int count, void *stream) {
  (void)p, (void)o, (void)stream;
  own_products += count;
  return (int)next();
}
static int load_bias(step_queue q, const outer_rows *from, size_t rows, size_t cols, float *to, size_t to_stride,
                     uint8_t *bad) {
  (void)q, (void)from, (void)rows, (void)cols, (void)to, (void)to_stride, (void)bad;
  return (int)next();
}
static int count_some(step_queue q, viva_dtype dtype, const void *values, size_t count, unsigned long long *found) {
  (void)q, (void)dtype, (void)values;
  *found += count;
  return (int)next();
}
static const cuda_kernels kernels = {.silu_mul = silu,
                                     .pack_rows = pack_some,
                                     .exchange = sum_piece,
                                     .fetch = fetch,
                                     .embed = embed,
                                     .gemv = gemv,
                                     .put = put,
                                     .top = top,
                                     .rows = make_rows,
                                     .gemm = multiply_own,
                                     .load_rows = load_bias,
                                     .count_infinite = count_some};

/* ---- a library that is NCCL's, or none */

static struct {
  int present;
  const char *lacks; /* a function it does not have */
  int init, reduce;  /* what these functions return */
  int live, sums;    /* communicators; sums asked for */
  char told[512];    /* all that was logged */
} nccl;

static int nccl_version(int *version) { return *version = 22805, 0; }
static int nccl_init(nccl_comm *comms, int count, const int *devices) {
  (void)devices;
  if (nccl.init) return nccl.init;
  for (int i = 0; i < count; i++) comms[i] = (nccl_comm)(void *)&nccl;
  nccl.live += count;
  return 0;
}
static int nccl_abort(nccl_comm comm) { return assert_ptr_equal(comm, &nccl), nccl.live--, 0; }
static int nccl_reduce(const void *from, void *to, size_t count, int type, int operation, nccl_comm comm,
                       void *stream) {
  (void)from, (void)to, (void)count, (void)stream;
  assert_int_equal(type, NCCL_FLOAT);
  assert_int_equal(operation, NCCL_SUM);
  assert_ptr_equal(comm, &nccl);
  nccl.sums++;
  return nccl.reduce;
}

static void *nccl_open(const char *const *names, const char **reason) {
  assert_string_equal(names[0], "libnccl.so.2");
  *reason = "no such file";
  return nccl.present ? &nccl : NULL;
}

static void *nccl_find(void *library, const char *name) {
  static const struct {
    const char *name;
    void (*function)(void);
  } all[] = {{"ncclGetVersion", (void (*)(void))nccl_version},
             {"ncclCommInitAll", (void (*)(void))nccl_init},
             {"ncclCommAbort", (void (*)(void))nccl_abort},
             {"ncclAllReduce", (void (*)(void))nccl_reduce}};
  void *found = NULL;
  assert_ptr_equal(library, &nccl);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (!strcmp(name, all[i].name)) memcpy(&found, &all[i].function, sizeof found);
  return nccl.lacks && !strcmp(name, nccl.lacks) ? NULL : found;
}
static void nccl_shut(void *library) { assert_ptr_equal(library, &nccl); }

static const library_loader loader = {nccl_open, nccl_find, nccl_shut};

/* ---- a library that is cuBLASLt, or none (lt_mock.h) */

static void *lt_open(const char *const *names, const char **reason) {
  assert_string_equal(names[0], "libcublasLt.so.13");
  *reason = "no such file";
  mock.opened += mock.present;
  return mock.present ? &mock : NULL;
}
static void *lt_find(void *library, const char *name) {
  assert_ptr_equal(library, &mock);
  return mock_find_in(lt_mock_functions, LT_MOCK_FUNCTIONS, name);
}
static void lt_shut(void *library) { assert_ptr_equal(library, &mock), mock.opened--; }
static const library_loader lt_loader = {lt_open, lt_find, lt_shut};

static void listen(void *user, viva_log_level level, const char *text) {
  (void)user, (void)level;
  strncat(nccl.told, text, sizeof nccl.told - strlen(nccl.told) - 1);
}

static int begin(void **state) {
  (void)state;
  memset(&fake, 0, sizeof fake);
  fake.devices = 1;
  fake.left = -1;
  pieces = 0;
  memset(&nccl, 0, sizeof nccl);
  memset(&mock, 0, sizeof mock);
  mock.version = 130100;
  mock.whole = 1;
  own_products = 0;
  own_products = 0;
  return 0;
}

static void refused(int index, viva_status code, const char *text) {
  viva_error error = {0};
  backend *b;
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_ERROR);
  assert_int_equal(cuda_open_with(rt, &api, &kernels, index, &b, &error), code);
  assert_null(b);
  if (!strstr(error.message, text)) fail_msg("'%s' does not say '%s'", error.message, text);
  runtime_release(rt);
  assert_int_equal(fake.blocks, 0);
}

/* A function that a table lacks is a call of NULL on a machine with a GPU. */
static void tables_are_whole(void **state) {
  void (*entry)(void);
  (void)state;
  for (size_t i = 0; i < sizeof cuda_api_runtime; i += sizeof entry) {
    memcpy(&entry, (const char *)&cuda_api_runtime + i, sizeof entry);
    if (!entry) fail_msg("function %zu of cuda_api is missing", i / sizeof entry);
  }
  for (size_t i = 0; i < sizeof cuda_kernels_compiled; i += sizeof entry) {
    memcpy(&entry, (const char *)&cuda_kernels_compiled + i, sizeof entry);
    if (!entry) fail_msg("kernel %zu of cuda_kernels is missing", i / sizeof entry);
  }
}

static void missing_devices_are_told(void **state) {
  (void)state;
  fake.count_status = cudaErrorInsufficientDriver;
  refused(0, VIVA_E_NO_CUDA, "no NVIDIA driver");
  fake.count_status = cudaErrorNoDevice;
  refused(0, VIVA_E_NO_CUDA, "a fake error");
  fake.count_status = cudaSuccess;
  refused(1, VIVA_E_ARGUMENT, "this machine has 1 GPU");
}

/* Every call of opening fails in turn. */
static void opening_fails_whole(void **state) {
  (void)state;
  for (int i = 0; i < 5; i++) {
    fake.left = i;
    fake.fault = cudaErrorInvalidValue;
    refused(0, VIVA_E_INTERNAL, "a fake error");
  }
}

typedef struct opened {
  runtime *rt;
  backend *b;
} opened;

static opened open_fake(void) {
  opened o = {.rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_ERROR)};
  assert_int_equal(cuda_open_with(o.rt, &api, &kernels, 0, &o.b, NULL), VIVA_OK);
  return o;
}

static void close_fake(opened o) {
  o.b->ops->close(o.b);
  runtime_release(o.rt);
  assert_int_equal(fake.blocks, 0);
}

static void memory_ends(void **state) {
  const opened o = open_fake();
  viva_error error = {0};
  void *dev;
  (void)state;
  fake.left = 0;
  fake.fault = cudaErrorMemoryAllocation;
  assert_int_equal(o.b->ops->alloc(o.b, 1000, &dev, &error), VIVA_E_MEMORY);
  assert_null(dev);
  assert_non_null(strstr(error.message, "has no 1000 bytes; 5 of its 100 are free"));
  assert_int_equal(fake.cleared, 1);                                   /* else the next launch would find it */
  assert_int_equal(o.b->ops->alloc(o.b, 1000, &dev, &error), VIVA_OK); /* the device lives */
  assert_int_equal(o.b->ops->free(o.b, dev, NULL), VIVA_OK);
  close_fake(o);
}

/* A failed launch is that call's error alone; one that ends the device is everyone's. */
static void lost_devices_stay_lost(void **state) {
  const opened o = open_fake();
  viva_error error = {0};
  float x = 1;
  void *dev;
  (void)state;
  fake.left = 0;
  fake.fault = cudaErrorInvalidConfiguration;
  assert_int_equal(o.b->ops->silu_mul(o.b, &x, &x, &x, 1, 1, 1, &error), VIVA_E_INTERNAL);
  assert_int_equal(o.b->ops->silu_mul(o.b, &x, &x, &x, 1, 1, 1, &error), VIVA_OK);
  fake.left = 0;
  fake.fault = cudaErrorIllegalAddress;
  assert_int_equal(o.b->ops->silu_mul(o.b, &x, &x, &x, 1, 1, 1, &error), VIVA_E_DEVICE);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(o.b->ops->alloc(o.b, 8, &dev, &error), VIVA_E_DEVICE);
    assert_non_null(strstr(error.message, "lost since a gated activation"));
    assert_int_equal(o.b->ops->upload(o.b, &x, &x, sizeof x, NULL), VIVA_E_DEVICE);
    assert_int_equal(o.b->ops->download(o.b, &x, &x, sizeof x, NULL), VIVA_E_DEVICE);
  }
  close_fake(o);
}

/* A captured step of a decoder without layers. */
static viva_status step_once(backend *b, viva_error *error) {
  static decoder d = {.hidden = 8,
                      .ffn = 8,
                      .vocab = 8,
                      .rotary_dim = 2,
                      .heads = {.q_heads = 1, .kv_heads = 1, .head_dim = 64},
                      .head = {.rows = 8, .cols = 8, .prepared = &fake}};
  static const viva_token token = 1;
  static const uint32_t zero;
  static const float angles[2];
  static const batch_span span = {.rows = 1};
  static void *const page = &fake;
  static float logits[8];
  float *const to = logits;
  const batch step = {.rows = 1,
                      .span_count = 1,
                      .kept = 1,
                      .kept_span_count = 1,
                      .longest = 1,
                      .kv = kv_layout_of(KV_F16, d.heads),
                      .tokens = &token,
                      .positions = &zero,
                      .sequence = &zero,
                      .cos_sin = angles,
                      .spans = &span,
                      .kept_spans = &span,
                      .kept_rows = &zero,
                      .pages = &page,
                      .page_count = 1};
  viva_token best;
  uint8_t nan;
  return b->ops->decode_step(b, &d, &step, INPUT_FLOAT, &to, &best, NULL, &nan, error);
}

/* Launches before this one, as a step's description tells its kernels (cuda_decode.c). */
static uint32_t turn_told(void) {
  enum { TURN_AT = 8 };
  uint32_t turn;
  memcpy(&turn, fake.described + TURN_AT, sizeof turn);
  return turn;
}

/* Every call of a first step fails in turn; the next step does what was left. */
static void first_steps_fail_whole(void **state) {
  int failed = 0;
  (void)state;
  fake.fault = cudaErrorInvalidValue;
  for (viva_status status = VIVA_E_INTERNAL; status; failed++) {
    const opened o = open_fake();
    fake.left = failed;
    status = step_once(o.b, NULL);
    fake.left = -1;
    if (status) assert_int_equal(status, VIVA_E_INTERNAL);
    assert_int_equal(step_once(o.b, NULL), VIVA_OK);
    close_fake(o);
  }
  assert_in_range(failed, 12, 40); /* memory, a capture of five kernels, a launch */
}

/* A launch that failed is no turn: kernels that clear the words of the turns before would miss one. */
static void launches_fail_alone(void **state) {
  const opened o = open_fake();
  viva_error error = {0};
  (void)state;
  for (uint32_t i = 0; i < 2; i++) {
    assert_int_equal(step_once(o.b, NULL), VIVA_OK);
    assert_int_equal(turn_told(), i);
  }
  fake.fault = cudaErrorInvalidValue;
  fake.left = 0; /* the launch */
  assert_int_equal(step_once(o.b, &error), VIVA_E_INTERNAL);
  assert_non_null(strstr(error.message, "a captured step on GPU 0: a fake error"));
  fake.left = 1; /* what waits for it */
  assert_int_equal(step_once(o.b, NULL), VIVA_E_INTERNAL);
  assert_int_equal(turn_told(), 2);
  assert_int_equal(step_once(o.b, NULL), VIVA_OK);
  assert_int_equal(turn_told(), 3);
  fake.fault = cudaErrorLaunchFailure;
  fake.left = 0;
  assert_int_equal(step_once(o.b, &error), VIVA_E_DEVICE);
  assert_int_equal(step_once(o.b, &error), VIVA_E_DEVICE);
  assert_non_null(strstr(error.message, "GPU 0 is lost since a captured step"));
  fake.left = -1;
  close_fake(o);
}

static void copies_fail_alone(void **state) {
  const opened o = open_fake();
  float a = 3, b = 0;
  (void)state;
  for (int i = 0; i < 2; i++) { /* the copy, then the waiting */
    fake.left = i;
    fake.fault = cudaErrorInvalidValue;
    assert_int_equal(o.b->ops->download(o.b, &b, &a, sizeof a, NULL), VIVA_E_INTERNAL);
  }
  fake.left = -1;
  assert_int_equal(o.b->ops->download(o.b, &b, &a, sizeof a, NULL), VIVA_OK);
  assert_true(b == 3);
  close_fake(o);
}

static void pinned_memory(void **state) {
  const opened o = open_fake();
  viva_error error = {0};
  void *host;
  (void)state;
  fake.left = 0;
  fake.fault = cudaErrorMemoryAllocation;
  assert_int_equal(o.b->ops->host_alloc(o.b, 1000, &host, &error), VIVA_E_MEMORY);
  assert_null(host);
  assert_non_null(strstr(error.message, "no 1000 bytes of the host's memory could be pinned"));
  assert_int_equal(fake.cleared, 1);
  assert_int_equal(o.b->ops->host_alloc(o.b, 1000, &host, &error), VIVA_OK);
  o.b->ops->host_free(o.b, NULL);
  fake.left = 0;
  fake.fault = cudaErrorIllegalAddress;
  assert_int_equal(o.b->ops->upload_wait(o.b, &error), VIVA_E_DEVICE);
  o.b->ops->host_free(o.b, host); /* on a device that is lost */
  close_fake(o);
}

/* The place that the kernel found becomes a row and a column; every call of packing fails in turn. */
static void packing_tells_places(void **state) {
  const opened o = open_fake();
  const pack_spec spec = {.format = WEIGHT_FP8}, lenient = {.format = WEIGHT_FP8, .allow_nonfinite = 1};
  const outer_rows values = {VIVA_F32, NULL, 100, 1};
  pack_place bad;
  const int before = fake.blocks;
  (void)state;
  fake.found = 2 * 100 + 37;
  for (int i = 0; i < 6; i++) { /* memory for the place and its answer, setting, launch, copy, wait */
    const opened other = open_fake();
    fake.left = i;
    fake.fault = cudaErrorInvalidValue;
    assert_int_equal(other.b->ops->pack_rows(other.b, &spec, 10, 100, NULL, 5, 3, &values, &bad, NULL),
                     VIVA_E_INTERNAL);
    fake.left = -1;
    other.b->ops->close(other.b);
    runtime_release(other.rt);
    assert_int_equal(fake.blocks, before);
  }
  assert_int_equal(o.b->ops->pack_rows(o.b, &spec, 10, 100, NULL, 5, 3, &values, &bad, NULL), VIVA_OK);
  assert_true(bad.found && bad.row == 7 && bad.col == 37);
  fake.found = ~0ull;
  assert_int_equal(o.b->ops->pack_rows(o.b, &spec, 10, 100, NULL, 5, 3, &values, &bad, NULL), VIVA_OK);
  assert_false(bad.found);
  fake.found = 1;
  assert_int_equal(o.b->ops->pack_rows(o.b, &lenient, 10, 100, NULL, 5, 3, &values, &bad, NULL), VIVA_OK);
  assert_false(bad.found);
  close_fake(o);
}

/* ---- whole layers */

enum { LAYER_M = 600, LAYER_N = 128, LAYER_K = 256 };

typedef struct layer {
  opened o;
  weight w;
  outer_rows bias;
  uint64_t overflows;
  linear_outer_args args;
} layer;

static layer *layer_begin(void) {
  static uint8_t memory[64] __attribute__((aligned(64))); /* nobody reads or writes it */
  layer *l = calloc(1, sizeof *l);
  l->o.rt = runtime_create(NULL, NULL, listen, NULL, VIVA_LOG_DEBUG);
  assert_int_equal(cuda_open_with(l->o.rt, &api, &kernels, 0, &l->o.b, NULL), VIVA_OK);
  cuda_of(l->o.b)->libraries = &lt_loader;
  l->w = (weight){.format = WEIGHT_FP8,
                  .rows = LAYER_N,
                  .cols = LAYER_K,
                  .row_bytes = LAYER_K,
                  .data = memory,
                  .scales = memory,
                  .scale_row_bytes = sizeof(float),
                  .scales_type = SCALE_F32};
  l->bias = (outer_rows){VIVA_F16, (void *)(uintptr_t)4096, 0, 1}; /* not within y */
  l->args = (linear_outer_args){.rows = LAYER_M,
                                .x = {VIVA_F16, memory, LAYER_K, 1},
                                .y = {VIVA_F16, memory, LAYER_N, 1},
                                .mode = INPUT_E4M3,
                                .accumulate = ACCUMULATE_FAST,
                                .w = &l->w,
                                .bias = &l->bias,
                                .overflows = &l->overflows};
  return l;
}

static viva_status layer_run(layer *l, viva_error *error) { return l->o.b->ops->linear_outer(l->o.b, &l->args, error); }

static void layer_end(layer *l) {
  fake.left = -1;
  mock.fail_at = 0;
  close_fake(l->o);
  assert_int_equal(mock.live, 0);
  assert_int_equal(mock.opened, 0);
  free(l);
}

static void layers_run_whole(void **state) {
  layer *const l = layer_begin();
  (void)state;
  for (int i = 0; i < 3; i++) assert_int_equal(layer_run(l, NULL), VIVA_OK);
  assert_int_equal(own_products, 3);
  assert_int_equal(l->overflows, 3 * LAYER_M * LAYER_N);
  const int blocks = fake.blocks;
  assert_int_equal(layer_run(l, NULL), VIVA_OK);
  assert_int_equal(fake.blocks, blocks); /* nothing more is taken */
  weight up = l->w;                      /* which lies behind, as gemm_ups_fit asks */
  up.data = (const uint8_t *)l->w.data + 32;
  l->args.up = &up;
  assert_int_equal(layer_run(l, NULL), VIVA_OK);
  assert_int_equal(own_products, 5);
  l->args.rows = 100; /* few rows go another way, and so do results with gaps */
  assert_int_equal(layer_run(l, NULL), VIVA_E_UNSUPPORTED);
  l->args.rows = LAYER_M, l->args.y.row_stride++;
  assert_int_equal(layer_run(l, NULL), VIVA_E_UNSUPPORTED);
  assert_int_equal(own_products, 5);
  layer_end(l);
}

/* Every call of the runtime and of the kernels fails in turn; a lost device stays lost. */
static void layers_fail_whole(void **state) {
  int failed = 0;
  (void)state;
  for (int i = 0; i < 100; i++) {
    viva_error error = {0};
    begin(NULL);
    layer *const l = layer_begin();
    fake.left = i;
    fake.fault = i % 2 ? cudaErrorInvalidValue : cudaErrorIllegalAddress;
    const viva_status status = layer_run(l, &error);
    const int reached = fake.left < 0;
    assert_int_equal(status, !reached ? VIVA_OK : i % 2 ? VIVA_E_INTERNAL : VIVA_E_DEVICE);
    fake.left = -1;
    assert_int_equal(layer_run(l, &error), reached && i % 2 == 0 ? VIVA_E_DEVICE : VIVA_OK);
    failed += reached;
    layer_end(l);
    if (!reached) break;
  }
  assert_in_range(failed, 8, 99); /* memory three times, rows, bias, product, and counting */
  viva_error error = {0};
  begin(NULL);
  layer *const l = layer_begin();
  fake.left = 0;
  fake.fault = cudaErrorMemoryAllocation;
  assert_int_equal(layer_run(l, &error), VIVA_E_UNSUPPORTED); /* the other way needs less */
  assert_int_equal(error.code, 0);
  fake.left = -1;
  assert_int_equal(layer_run(l, &error), VIVA_OK);
  layer_end(l);
}

/* ---- the same by cuBLASLt, and where it fails */

enum { LT_POINTERS_SET = 3 }; /* before each product: two scales', a bias' */

static void layers_by_the_library(void **state) {
  layer *const l = layer_begin();
  (void)state;
  mock.present = 1;
  for (int i = 0; i < 3; i++) assert_int_equal(layer_run(l, NULL), VIVA_OK);
  assert_int_equal(mock.algorithm, 66); /* the table's */
  assert_ptr_equal(mock.bias, l->bias.data);
  assert_int_equal(own_products, 0);
  assert_int_equal(l->overflows, 3 * LAYER_M * LAYER_N);
  const int live = mock.live, blocks = fake.blocks;
  assert_int_equal(layer_run(l, NULL), VIVA_OK);
  assert_int_equal(mock.live, live); /* what is kept serves again; nothing more is taken */
  assert_int_equal(fake.blocks, blocks);
  for (l->args.rows = 512; l->args.rows < 700; l->args.rows++) /* more shapes than are kept */
    assert_int_equal(layer_run(l, NULL), VIVA_OK);
  assert_int_equal(own_products, 0);
  l->args.rows = 300; /* the table has no row */
  assert_int_equal(layer_run(l, NULL), VIVA_OK);
  l->args.rows = LAYER_M;
  l->bias.dtype = VIVA_F32; /* not the results' type */
  assert_int_equal(layer_run(l, NULL), VIVA_OK);
  assert_int_equal(own_products, 2);
  weight up = l->w; /* which lies behind, as gemm_ups_fit asks */
  up.data = (const uint8_t *)l->w.data + 32;
  l->args.up = &up;
  assert_int_equal(layer_run(l, NULL), VIVA_OK);
  assert_int_equal(own_products, 3);
  l->args.up = NULL;
  l->args.accumulate = ACCUMULATE_FULL; /* whose sums are more exact than the library's */
  assert_int_equal(layer_run(l, NULL), VIVA_OK);
  assert_int_equal(own_products, 4);
  l->args.accumulate = ACCUMULATE_FAST;
  l->bias = (outer_rows){VIVA_F16, l->args.y.data, 0, 1}; /* within y, which the first piece writes */
  assert_int_equal(layer_run(l, NULL), VIVA_OK);
  assert_int_equal(own_products, 5);
  layer_end(l);
}

/* Absent, too old, failing to begin, refusing the table's algorithm: our own kernel runs, and the log says once why. */
static void layers_without_the_library(void **state) {
  static const char *const says[] = {"cuBLASLt (libcublasLt.so.13) cannot be opened: no such file; products",
                                     "cuBLASLt is version 120800", "cuBLASLt has no function cublasLtMatmul",
                                     "cuBLASLt 130100 cannot start on this device: its status is 7", ""};
  (void)state;
  for (int i = 0; i < 5; i++) {
    begin(NULL);
    mock.present = i > 0;
    if (i == 1) mock.version = 120800;
    if (i == 2) mock.lacks = "cublasLtMatmul";
    mock.fail_at = i == 3;
    mock.refuse_check = i == 4;
    layer *const l = layer_begin();
    for (int k = 0; k < 2; k++) assert_int_equal(layer_run(l, NULL), VIVA_OK);
    assert_int_equal(own_products, 2);
    const char *const told = strstr(nccl.told, says[i]);
    if (!told) fail_msg("'%s' does not say '%s'", nccl.told, says[i]);
    if (i < 4) assert_null(strstr(told + 1, "cuBLASLt"));
    if (i == 4) assert_string_equal(nccl.told, "");
    layer_end(l);
  }
}

/* Every call of the runtime and of the library fails in turn: an error, or, before anything was queued, our own kernel. */
static void libraries_fail_whole(void **state) {
  int failed = 0, tried[2] = {0, 0};
  (void)state;
  for (int library = 0; library < 2; library++)
    for (int i = 0; i < 100; i++) {
      viva_error error = {0};
      begin(NULL);
      layer *const l = layer_begin();
      mock.present = 1;
      if (library)
        mock.fail_at = i + 1;
      else
        fake.left = i, fake.fault = cudaErrorInvalidValue;
      const viva_status status = layer_run(l, &error);
      const int reached = library ? mock.calls > i : fake.left < 0;
      assert_true(status == VIVA_OK || status == VIVA_E_INTERNAL);
      if (library && status) assert_non_null(strstr(error.message, "cuBLASLt failed to multiply 600 rows"));
      if (reached && status == VIVA_OK) assert_int_equal(own_products, 1);
      failed += status != VIVA_OK;
      layer_end(l);
      if (!reached) break;
      tried[library]++;
    }
  assert_in_range(failed, 5, 99);
  assert_in_range(tried[1], 15, 99); /* opening, describing, choosing, multiplying */
}

/* A product that fails because the device is gone ends the device. */
static void layers_on_a_lost_device(void **state) {
  viva_error error = {0};
  layer *const l = layer_begin();
  (void)state;
  mock.present = 1;
  assert_int_equal(layer_run(l, NULL), VIVA_OK);
  mock.fail_at = mock.calls + 1 + LT_POINTERS_SET; /* the next product */
  fake.left = 1;                                   /* its rows; then the question whether the device lives */
  fake.fault = cudaErrorIllegalAddress;
  assert_int_equal(layer_run(l, &error), VIVA_E_DEVICE);
  assert_non_null(strstr(error.message, "lost since a product by cuBLASLt"));
  assert_int_equal(layer_run(l, &error), VIVA_E_DEVICE);
  layer_end(l);
}

/* ---- two devices, with NCCL and without */

enum { PAIR = 2, LARGE = (1 << 18) + 5 };

typedef struct joined {
  runtime *rt;
  backend *each[PAIR];
  exchange *e;
  viva_status status;
  viva_error error;
} joined;

static joined join(void) {
  joined j = {.rt = runtime_create(NULL, NULL, listen, NULL, VIVA_LOG_DEBUG)};
  fake.devices = PAIR;
  for (int i = 0; i < PAIR; i++) assert_int_equal(cuda_open_with(j.rt, &api, &kernels, i, &j.each[i], NULL), VIVA_OK);
  j.status = cuda_join_with(&loader, j.each, PAIR, &j.e, &j.error);
  return j;
}

static void part(joined j) {
  if (j.e) j.e->ops->close(j.e);
  for (int i = 0; i < PAIR; i++) j.each[i]->ops->close(j.each[i]);
  runtime_release(j.rt);
  assert_int_equal(fake.blocks, 0);
  assert_int_equal(nccl.live, 0);
}

static viva_status sum_large(const joined *j, viva_error *error) {
  static float x[LARGE];
  return j->e->ops->sum(j->e, 0, j->each[0], x, LARGE, error);
}

/* Absent, or not what it should be: told once, and large sums go piece after piece. */
static void sums_without_nccl(void **state) {
  static const char *const says[] = {"NCCL (libnccl.so.2) cannot be opened: no such file; sums of many rows",
                                     "NCCL has no function ncclCommAbort", "NCCL 22805 cannot start: its status is 3"};
  (void)state;
  for (int i = 0; i < 3; i++) {
    viva_error error = {0};
    begin(NULL);
    nccl.present = i > 0;
    nccl.lacks = i == 1 ? "ncclCommAbort" : NULL;
    nccl.init = i == 2 ? 3 : 0;
    const joined j = join();
    assert_int_equal(j.status, VIVA_OK);
    if (!strstr(nccl.told, says[i])) fail_msg("'%s' does not say '%s'", nccl.told, says[i]);
    assert_int_equal(sum_large(&j, &error), VIVA_OK);
    assert_int_equal(pieces, 2);
    assert_int_equal(nccl.sums, 0);
    part(j);
  }
}

static void sums_by_nccl(void **state) {
  viva_error error = {0};
  (void)state;
  nccl.present = 1;
  const joined j = join();
  assert_int_equal(j.status, VIVA_OK);
  assert_int_equal(sum_large(&j, &error), VIVA_OK);
  assert_int_equal(nccl.sums, 1);
  assert_int_equal(pieces, 0);
  nccl.reduce = 5;
  assert_int_equal(sum_large(&j, &error), VIVA_E_DEVICE);
  assert_non_null(strstr(error.message, "NCCL failed on GPU 0: its status is 5"));
  j.e->ops->give_up(j.e); /* as the ranks do */
  assert_int_equal(nccl.live, 0);
  assert_int_equal(sum_large(&j, &error), VIVA_E_CANCELLED);
  part(j);
}

/* A rank that gave up is not waited for. */
static void nobody_waits_for_who_gave_up(void **state) {
  viva_error error = {0};
  (void)state;
  const joined j = join();
  j.e->ops->give_up(j.e);
  for (size_t r = 0; r < PAIR; r++) assert_int_equal(j.e->ops->check(j.e, r, &error), VIVA_E_CANCELLED);
  assert_int_equal(sum_large(&j, &error), VIVA_E_CANCELLED);
  part(j);
}

/* Every call of joining fails in turn; without a way to each other, that is said. */
static void joining_fails_whole(void **state) {
  (void)state;
  fake.no_way = 1;
  const joined apart = join();
  assert_int_equal(apart.status, VIVA_E_UNSUPPORTED);
  assert_non_null(strstr(apart.error.message, "GPU 0 does not reach the memory of GPU 1"));
  part(apart);
  fake.no_way = 0;
  int failed = 0;
  for (int i = 0; i < 100; i++) {
    joined j = {.rt = runtime_create(NULL, NULL, listen, NULL, VIVA_LOG_DEBUG)};
    fake.left = -1;
    for (int k = 0; k < PAIR; k++) assert_int_equal(cuda_open_with(j.rt, &api, &kernels, k, &j.each[k], NULL), VIVA_OK);
    fake.left = i;
    fake.fault = cudaErrorInvalidValue;
    j.status = cuda_join_with(&loader, j.each, PAIR, &j.e, &j.error);
    fake.left = -1;
    failed += j.status != VIVA_OK;
    assert_true(j.status == VIVA_OK || j.status == VIVA_E_INTERNAL);
    assert_true((j.status == VIVA_OK) == (j.e != NULL));
    part(j);
    if (j.status == VIVA_OK) break;
  }
  assert_in_range(failed, 20, 99);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(tables_are_whole, begin),
      cmocka_unit_test_setup(missing_devices_are_told, begin),
      cmocka_unit_test_setup(opening_fails_whole, begin),
      cmocka_unit_test_setup(memory_ends, begin),
      cmocka_unit_test_setup(lost_devices_stay_lost, begin),
      cmocka_unit_test_setup(copies_fail_alone, begin),
      cmocka_unit_test_setup(first_steps_fail_whole, begin),
      cmocka_unit_test_setup(launches_fail_alone, begin),
      cmocka_unit_test_setup(pinned_memory, begin),
      cmocka_unit_test_setup(packing_tells_places, begin),
      cmocka_unit_test_setup(sums_without_nccl, begin),
      cmocka_unit_test_setup(sums_by_nccl, begin),
      cmocka_unit_test_setup(joining_fails_whole, begin),
      cmocka_unit_test_setup(nobody_waits_for_who_gave_up, begin),
      cmocka_unit_test_setup(layers_by_the_library, begin),
      cmocka_unit_test_setup(layers_without_the_library, begin),
      cmocka_unit_test_setup(libraries_fail_whole, begin),
      cmocka_unit_test_setup(layers_on_a_lost_device, begin),
      cmocka_unit_test_setup(layers_run_whole, begin),
      cmocka_unit_test_setup(layers_fail_whole, begin),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
