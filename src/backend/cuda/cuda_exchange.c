/* backend/cuda/cuda_exchange.c */
#include "backend/cuda/cuda_exchange.h"

#include <string.h>

#include "backend/cuda/cuda_copies.h"
#include "backend/cuda/nccl_library.h"

/* Below, a half's products are too small for a GPU; and parts of three GPUs and more travel better by NCCL's ways. */
#define HALVES 1024

typedef struct gpu_rank {
  cuda_backend *c;
  uint64_t *inbox;
  uint32_t *failed; /* pinned */
  uint32_t number;  /* of its next exchange */
} gpu_rank;

typedef struct cuda_exchange {
  exchange base;
  runtime *rt;
  gpu_rank each[EXCHANGE_RANKS];
  copies_rank copies[EXCHANGE_RANKS]; /* likewise */
  nccl_library nccl;                  /* .file NULL: absent */
  pthread_mutex_t lock;
  nccl_comm comms[EXCHANGE_RANKS]; /* the lock's; NULL: there are none, or they were given up */
} cuda_exchange;

static cuda_exchange *exchange_of(const exchange *e) { return (cuda_exchange *)(uintptr_t)e; }

/* ---- sums */

uint32_t cuda_exchange_numbers(exchange *e, size_t rank, uint32_t count) {
  gpu_rank *own = &exchange_of(e)->each[rank];
  const uint32_t first = own->number;
  own->number += count;
  return first;
}

step_exchange_group cuda_exchange_group(const exchange *e, size_t rank, const uint32_t *base) {
  const cuda_exchange *x = exchange_of(e);
  step_exchange_group g = {.rank = (int)rank, .ranks = (int)e->ranks, .base = base, .failed = x->each[rank].failed};
  for (size_t i = 0; i < e->ranks; i++) g.inbox[i] = x->each[i].inbox;
  return g;
}

static viva_status sum_in_pieces(cuda_exchange *x, size_t rank, float *values, size_t count, viva_error *error) {
  cuda_backend *c = x->each[rank].c;
  step_exchange_args a = {.group = cuda_exchange_group(&x->base, rank, NULL)};
  for (size_t at = 0; at < count; at += a.count) {
    a.x = values + at;
    a.count = count - at < EXCHANGE_FLOATS ? count - at : EXCHANGE_FLOATS;
    a.number = cuda_exchange_numbers(&x->base, rank, 1);
    TRY(cuda_check(c, (cudaError_t)c->kernels->exchange((step_queue){.stream = c->stream}, &a), "an exchange", error));
  }
  return VIVA_OK;
}

/* NCCL's kernel waits for the other ranks on the device, so it is queued without the lock held for longer than that. */
static viva_status sum_by_nccl(cuda_exchange *x, size_t rank, float *values, size_t count, viva_error *error) {
  cuda_backend *c = x->each[rank].c;
  pthread_mutex_lock(&x->lock);
  nccl_comm comm = x->comms[rank];
  pthread_mutex_unlock(&x->lock);
  if (!comm) return error_set(error, VIVA_E_CANCELLED, "another device of the engine gave up");
  const int status = x->nccl.AllReduce(values, values, count, NCCL_FLOAT, NCCL_SUM, comm, c->stream);
  if (status == NCCL_OK) return VIVA_OK;
  return error_set(error, VIVA_E_DEVICE, "NCCL failed on GPU %d: its status is %d", c->device, status);
}

static viva_status check(exchange *e, size_t rank, viva_error *error) {
  const gpu_rank *own = &exchange_of(e)->each[rank];
  if (!*(volatile uint32_t *)own->failed) return VIVA_OK;
  return error_set(error, VIVA_E_CANCELLED, "another device of the engine gave up, or did not come within %llu ms",
                   EXCHANGE_PATIENCE_NS / 1000000);
}

static viva_status sum(cuda_exchange *x, size_t rank, float *values, size_t count, viva_error *error) {
  const int large = count > EXCHANGE_FLOATS && x->nccl.file;
  TRY(check(&x->base, rank, error));
  if (copies_next(&x->copies[rank], values))
    return copies_sum(x->copies, rank, x->base.ranks, count, x->each[rank].failed, error);
  return large ? sum_by_nccl(x, rank, values, count, error) : sum_in_pieces(x, rank, values, count, error);
}

static viva_status cuda_exchange_sum(exchange *e, size_t rank, backend *b, float *x, size_t count, viva_error *error) {
  CUDA_CALL(b, sum(exchange_of(e), rank, x, count, error));
}

static int travels(const exchange *e, size_t count) { return e->halves && count > EXCHANGE_FLOATS; }

static uint64_t cuda_exchange_reserve_bytes(const exchange *e, size_t count) {
  return travels(e, count) ? copies_bytes(e->ranks, count) : 0;
}

static viva_status cuda_exchange_reserve(exchange *e, size_t rank, backend *b, size_t count, viva_error *error) {
  if (!travels(e, count)) return VIVA_OK;
  CUDA_CALL(b, copies_fit(&exchange_of(e)->copies[rank], e->ranks, count, error));
}

static viva_status cuda_exchange_send(exchange *e, size_t rank, backend *b, float *x, size_t count, viva_error *error) {
  if (!travels(e, count)) return VIVA_OK;
  CUDA_CALL(b, copies_send(exchange_of(e)->copies, rank, e->ranks, x, count, error));
}

static viva_status sum_norm(cuda_exchange *x, size_t rank, float *values, const exchange_norm *norm,
                            viva_error *error) {
  if (!copies_next(&x->copies[rank], values)) return VIVA_E_UNSUPPORTED;
  TRY(check(&x->base, rank, error));
  return copies_sum_norm(x->copies, rank, x->base.ranks, norm, x->each[rank].failed, error);
}

static viva_status cuda_exchange_sum_norm(exchange *e, size_t rank, backend *b, float *x, const exchange_norm *norm,
                                          viva_error *error) {
  CUDA_CALL(b, sum_norm(exchange_of(e), rank, x, norm, error));
}

/* -- in shares */

static int cuda_exchange_shares(const exchange *e, const exchange_norm *norm) {
  return travels(e, norm->rows * norm->n) && copies_shares(exchange_of(e)->copies, e->ranks, norm);
}

static viva_status cuda_exchange_send_shares(exchange *e, size_t rank, backend *b, const float *part, size_t rows,
                                             size_t n, viva_error *error) {
  CUDA_CALL(b, copies_send_shares(exchange_of(e)->copies, rank, e->ranks, part, rows, n, error));
}

static viva_status norm_shares(cuda_exchange *x, size_t rank, float *values, const exchange_norm *norm, int zeros,
                               viva_error *error) {
  TRY(check(&x->base, rank, error));
  return copies_norm_shares(x->copies, rank, x->base.ranks, values, norm, zeros, x->each[rank].failed, error);
}

static viva_status cuda_exchange_norm_shares(exchange *e, size_t rank, backend *b, float *x, const exchange_norm *norm,
                                             int zeros, viva_error *error) {
  CUDA_CALL(b, norm_shares(exchange_of(e), rank, x, norm, zeros, error));
}

static viva_status cuda_exchange_take_shares(exchange *e, size_t rank, backend *b, const void **rows,
                                             viva_error *error) {
  cuda_exchange *x = exchange_of(e);
  CUDA_CALL(b, copies_take_shares(x->copies, rank, e->ranks, rows, x->each[rank].failed, error));
}

/* What waits in NCCL's kernels comes back, and the patience of our own ends. */
static void give_up(exchange *e) {
  cuda_exchange *x = exchange_of(e);
  for (size_t i = 0; i < e->ranks; i++)
    if (x->each[i].failed) *(volatile uint32_t *)x->each[i].failed = 1;
  pthread_mutex_lock(&x->lock);
  for (size_t i = 0; i < e->ranks; i++) {
    if (x->comms[i]) x->nccl.CommAbort(x->comms[i]);
    x->comms[i] = NULL;
  }
  pthread_mutex_unlock(&x->lock);
}

/* ---- lifetime */

static void exchange_close(exchange *e) {
  cuda_exchange *x = exchange_of(e);
  runtime *rt = x->rt;
  for (size_t i = 0; i < e->ranks; i++) { /* nobody writes to what is freed */
    const cuda_backend *c = x->each[i].c;
    if (!c) continue;
    c->api->SetDevice(c->device);
    c->api->StreamSynchronize(c->stream);
    if (x->copies[i].stream) c->api->StreamSynchronize(x->copies[i].stream);
  }
  give_up(e);
  for (size_t i = 0; i < e->ranks; i++) {
    const cuda_backend *c = x->each[i].c;
    if (!c) continue;
    c->api->SetDevice(c->device);
    if (x->each[i].inbox) c->api->Free(x->each[i].inbox);
    if (x->each[i].failed) c->api->FreeHost(x->each[i].failed);
    copies_end(&x->copies[i]);
  }
  nccl_library_close(&x->nccl);
  pthread_mutex_destroy(&x->lock);
  mem_free(&rt->mem, x);
  runtime_release(rt);
}

static const exchange_ops cuda_exchange_ops = {.name = "cuda",
                                               .reserve_bytes = cuda_exchange_reserve_bytes,
                                               .reserve = cuda_exchange_reserve,
                                               .send = cuda_exchange_send,
                                               .sum = cuda_exchange_sum,
                                               .sum_norm = cuda_exchange_sum_norm,
                                               .shares = cuda_exchange_shares,
                                               .send_shares = cuda_exchange_send_shares,
                                               .norm_shares = cuda_exchange_norm_shares,
                                               .take_shares = cuda_exchange_take_shares,
                                               .check = check,
                                               .give_up = give_up,
                                               .close = exchange_close};

int cuda_exchange_captured(const exchange *e) { return e->ops == &cuda_exchange_ops; }

/* Each reaches each other's memory. */
static viva_status open_ways(backend *const *ranks, size_t count, viva_error *error) {
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < count; j++) {
      cuda_backend *c = cuda_of(ranks[i]), *peer = cuda_of(ranks[j]);
      int can = 0;
      if (i == j) continue;
      if (c->device == peer->device) return error_set(error, VIVA_E_UNSUPPORTED, "GPU %d is given twice", c->device);
      TRY(cuda_check(c, c->api->DeviceCanAccessPeer(&can, c->device, peer->device), "asking for peers", error));
      if (!can)
        return error_set(error, VIVA_E_UNSUPPORTED, "GPU %d does not reach the memory of GPU %d", c->device,
                         peer->device);
      TRY(cuda_check(c, c->api->SetDevice(c->device), "choosing the device", error));
      const cudaError_t status = c->api->DeviceEnablePeerAccess(peer->device, 0);
      if (status == cudaErrorPeerAccessAlreadyEnabled) {
        c->api->GetLastError();
        continue;
      }
      TRY(cuda_check(c, status, "reaching a peer", error));
    }
  return VIVA_OK;
}

static viva_status make_rank(cuda_exchange *x, size_t i, cuda_backend *c, viva_error *error) {
  const cuda_api *api = c->api;
  const size_t bytes = exchange_inbox_bytes(x->base.ranks);
  gpu_rank *own = &x->each[i];
  void *inbox = NULL, *failed = NULL;
  own->c = c;
  own->number = 1;
  TRY(cuda_check(c, api->SetDevice(c->device), "choosing the device", error));
  TRY(cuda_check(c, api->Malloc(&inbox, bytes), "taking memory for an exchange", error));
  own->inbox = inbox;
  TRY(cuda_check(c, api->Memset(inbox, 0, bytes), "clearing memory for an exchange", error));
  TRY(cuda_check(c, api->StreamSynchronize(NULL), "clearing memory for an exchange", error));
  TRY(cuda_check(c, api->MallocHost(&failed, sizeof(uint32_t)), "taking pinned memory", error));
  own->failed = failed;
  *own->failed = 0;
  return copies_begin(&x->copies[i], c, error);
}

static void start_nccl(cuda_exchange *x, const library_loader *loader) {
  int devices[EXCHANGE_RANKS];
  viva_error error = {0};
  for (size_t i = 0; i < x->base.ranks; i++) devices[i] = x->each[i].c->device;
  if (nccl_library_open(loader, &x->nccl, &error)) {
    runtime_log(x->rt, VIVA_LOG_INFO, "%s; sums of many rows are exchanged without it", error.message);
    return;
  }
  const int status = x->nccl.CommInitAll(x->comms, (int)x->base.ranks, devices);
  if (status == NCCL_OK) return;
  runtime_log(x->rt, VIVA_LOG_WARN,
              "NCCL %d cannot start: its status is %d; sums of many rows are exchanged without it", x->nccl.version,
              status);
  memset(x->comms, 0, sizeof x->comms);
  nccl_library_close(&x->nccl);
}

viva_status cuda_join_with(const library_loader *loader, backend *const *ranks, size_t count, exchange **out,
                           viva_error *error) {
  runtime *rt = cuda_of(ranks[0])->rt;
  *out = NULL;
  if (count > EXCHANGE_RANKS) return error_set(error, VIVA_E_UNSUPPORTED, "more than %d GPUs", EXCHANGE_RANKS);
  TRY(open_ways(ranks, count, error));
  cuda_exchange *x = mem_zalloc(&rt->mem, sizeof *x);
  if (!x) return error_set(error, VIVA_E_MEMORY, "no memory for an exchange between %zu GPUs", count);
  x->base = (exchange){.ops = &cuda_exchange_ops, .ranks = count};
  x->rt = runtime_retain(rt);
  pthread_mutex_init(&x->lock, NULL);
  for (size_t i = 0; i < count; i++) {
    const viva_status status = make_rank(x, i, cuda_of(ranks[i]), error);
    if (!status) continue;
    exchange_close(&x->base);
    return status;
  }
  start_nccl(x, loader);
  if (count == 2 || !x->nccl.file) x->base.halves = HALVES;
  *out = &x->base;
  return VIVA_OK;
}

viva_status cuda_join(backend *const *ranks, size_t count, exchange **out, viva_error *error) {
  return cuda_join_with(&library_loader_system, ranks, count, out, error);
}
