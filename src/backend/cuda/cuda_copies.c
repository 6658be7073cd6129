/* backend/cuda/cuda_copies.c */
#include "backend/cuda/cuda_copies.h"

#define COPIES_BLOCKS  4  /* of a sum, on each multiprocessor */
#define COPIES_X_ALIGN 16 /* bytes: rows of x may begin anyhow, and quads of it are loaded */
#define COPIES_ALIGN   64 /* numbers: places begin where quads may be loaded */

/* ---- lifetime */

static viva_status make_event(cuda_backend *c, cudaEvent_t *event, viva_error *error) {
  return cuda_check(c, c->api->EventCreateWithFlags(event, cudaEventDisableTiming), "making an event", error);
}

viva_status copies_begin(copies_rank *own, cuda_backend *c, viva_error *error) {
  const cuda_api *api = c->api;
  uint32_t ticks[COPIES_TICKS];
  const size_t words = COPIES_TURNS * EXCHANGE_RANKS * sizeof *own->words;
  void *dev = NULL;
  own->c = c;
  for (size_t i = 0; i < COPIES_TICKS; i++) ticks[i] = (uint32_t)i + 1;
  TRY(cuda_check(c, api->StreamCreateWithFlags(&own->stream, cudaStreamNonBlocking), "making a stream", error));
  for (size_t i = 0; i < COPIES_TURNS; i++) {
    TRY(make_event(c, &own->whole[i], error));
    TRY(make_event(c, &own->sent[i], error));
  }
  TRY(cuda_check(c, api->Malloc(&dev, words), "taking memory for an exchange", error));
  own->words = dev;
  TRY(cuda_check(c, api->MemsetAsync(dev, 0, words, own->stream), "clearing memory for an exchange", error));
  TRY(cuda_check(c, api->Malloc(&dev, sizeof ticks), "taking memory for an exchange", error));
  own->ticks = dev;
  TRY(cuda_check(c, api->MemcpyAsync(dev, ticks, sizeof ticks, cudaMemcpyHostToDevice, own->stream), "an upload",
                 error));
  return cuda_check(c, api->StreamSynchronize(own->stream), "an upload", error);
}

void copies_end(copies_rank *own) {
  const cuda_api *api = own->c ? own->c->api : NULL;
  if (!api) return;
  if (own->stream) api->StreamDestroy(own->stream);
  for (size_t i = 0; i < COPIES_TURNS; i++) {
    if (own->whole[i]) api->EventDestroy(own->whole[i]);
    if (own->sent[i]) api->EventDestroy(own->sent[i]);
  }
  if (own->inbox) api->Free(own->inbox);
  if (own->words) api->Free(own->words);
  if (own->ticks) api->Free(own->ticks);
}

static size_t place_room(size_t count) { return (count + COPIES_ALIGN - 1) / COPIES_ALIGN * COPIES_ALIGN; }

uint64_t copies_bytes(size_t ranks, size_t count) {
  uint64_t bytes;
  return ck_mul(place_room(count), COPIES_TURNS * (ranks - 1) * sizeof(float), &bytes) ? UINT64_MAX : bytes;
}

viva_status copies_fit(copies_rank *own, size_t ranks, size_t count, viva_error *error) {
  cuda_backend *c = own->c;
  const uint64_t bytes = copies_bytes(ranks, count);
  void *dev = NULL;
  if (own->room >= count) return VIVA_OK;
  TRY(cuda_check(c, c->api->StreamSynchronize(c->stream), "an exchange", error));
  if (own->inbox) TRY(cuda_check(c, c->api->Free(own->inbox), "giving memory back", error));
  own->inbox = NULL;
  own->room = 0;
  const cudaError_t made = bytes > SIZE_MAX ? cudaErrorMemoryAllocation : c->api->Malloc(&dev, (size_t)bytes);
  if (made == cudaErrorMemoryAllocation) { /* the device lives on */
    c->api->GetLastError();
    return error_set(error, VIVA_E_MEMORY, "GPU %d has no %llu bytes for sums over several GPUs", c->device,
                     (unsigned long long)bytes);
  }
  TRY(cuda_check(c, made, "taking memory for an exchange", error));
  own->inbox = dev;
  own->room = place_room(count);
  return VIVA_OK;
}

/* ---- sums */

/* Where rank `to` has what rank `from` sends. */
static float *place(const copies_rank *each, size_t to, size_t from, size_t ranks, uint64_t number) {
  const size_t other = from < to ? from : from - 1;
  return each[to].inbox + ((number % COPIES_TURNS) * (ranks - 1) + other) * each[to].room;
}

static uint32_t *word(const copies_rank *each, size_t to, size_t from, uint64_t number) {
  return each[to].words + (number % COPIES_TURNS) * EXCHANGE_RANKS + from;
}

static viva_status copy(cuda_backend *c, cudaStream_t stream, void *to, const void *from, size_t bytes,
                        viva_error *error) {
  return cuda_check(c, c->api->MemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "sending a part", error);
}

static viva_status send_piece(copies_rank *each, size_t rank, size_t ranks, copies_sent piece, viva_error *error) {
  copies_rank *own = &each[rank];
  cuda_backend *c = own->c;
  const uint64_t number = own->sends++;
  const size_t turn = number % COPIES_TURNS;
  own->queue[turn] = piece;
  TRY(cuda_check(c, c->api->EventRecord(own->whole[turn], c->stream), "sending a part", error));
  TRY(cuda_check(c, c->api->StreamWaitEvent(own->stream, own->whole[turn], 0), "sending a part", error));
  for (size_t r = 0; r < ranks; r++) {
    if (r == rank) continue;
    TRY(copy(c, own->stream, place(each, r, rank, ranks, number), piece.x, piece.count * sizeof(float), error));
    TRY(copy(c, own->stream, word(each, r, rank, number), own->ticks + number % COPIES_TICKS, sizeof(uint32_t), error));
  }
  return cuda_check(c, c->api->EventRecord(own->sent[turn], own->stream), "sending a part", error);
}

viva_status copies_send(copies_rank *each, size_t rank, size_t ranks, float *x, size_t count, viva_error *error) {
  size_t room = each[rank].room;
  for (size_t r = 0; r < ranks; r++)
    if (each[r].room < room) room = each[r].room;
  const uint64_t pieces = each[rank].sends - each[rank].sums + (count > room ? 2 : 1);
  if (room == 0 || count > 2 * room || (uintptr_t)x % COPIES_X_ALIGN || pieces > COPIES_ON_THE_WAY) return VIVA_OK;
  for (size_t at = 0; at < count; at += room)
    TRY(send_piece(each, rank, ranks, (copies_sent){x + at, count - at < room ? count - at : room}, error));
  return VIVA_OK;
}

int copies_next(const copies_rank *own, const float *x) {
  return own->sums < own->sends && own->queue[own->sums % COPIES_TURNS].x == x;
}

/* The next sum's arguments, behind the rank's own copies: the sum takes x's place, which they read. */
static viva_status next_sum(copies_rank *each, size_t rank, size_t ranks, uint32_t *failed, step_exchange_sum_args *a,
                            viva_error *error) {
  copies_rank *own = &each[rank];
  cuda_backend *c = own->c;
  const uint64_t number = own->sums++;
  const copies_sent *piece = &own->queue[number % COPIES_TURNS];
  *a = (step_exchange_sum_args){.rank = (int)rank,
                                .ranks = (int)ranks,
                                .x = piece->x,
                                .count = piece->count,
                                .tick = (uint32_t)(number % COPIES_TICKS) + 1,
                                .failed = failed,
                                .blocks = COPIES_BLOCKS * (size_t)c->gpu.multiprocessors};
  for (size_t r = 0; r < ranks; r++) {
    if (r == rank) continue;
    a->parts[r] = place(each, rank, r, ranks, number);
    a->words[r] = word(each, rank, r, number);
  }
  return cuda_check(c, c->api->StreamWaitEvent(c->stream, own->sent[number % COPIES_TURNS], 0), "a sum", error);
}

viva_status copies_sum(copies_rank *each, size_t rank, size_t ranks, size_t count, uint32_t *failed,
                       viva_error *error) {
  cuda_backend *c = each[rank].c;
  step_exchange_sum_args a;
  for (size_t done = 0; done < count; done += a.count) {
    TRY(next_sum(each, rank, ranks, failed, &a, error));
    TRY(cuda_check(c, (cudaError_t)c->kernels->exchange_sum((step_queue){.stream = c->stream}, &a), "a sum", error));
  }
  return VIVA_OK;
}

viva_status copies_sum_norm(copies_rank *each, size_t rank, size_t ranks, const exchange_norm *norm, uint32_t *failed,
                            viva_error *error) {
  copies_rank *own = &each[rank];
  cuda_backend *c = own->c;
  step_exchange_sum_args a;
  const copies_sent *piece = &own->queue[own->sums % COPIES_TURNS];
  if (piece->count != norm->rows * norm->n || step_exchange_norm_refusal(norm)) return VIVA_E_UNSUPPORTED;
  TRY(next_sum(each, rank, ranks, failed, &a, error));
  return cuda_check(c, (cudaError_t)c->kernels->exchange_norm((step_queue){.stream = c->stream}, &a, norm), "a sum",
                    error);
}
