/* backend/cuda/cuda_copies.c */
#include "backend/cuda/cuda_copies.h"

#include <string.h>

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
  const size_t words = (COPIES_TURNS + COPIES_NORMS) * EXCHANGE_RANKS * sizeof *own->words;
  void *dev = NULL;
  own->c = c;
  for (size_t i = 0; i < COPIES_TICKS; i++) ticks[i] = (uint32_t)i + 1;
  void *host = NULL;
  TRY(cuda_check(c, api->MallocHost(&host, sizeof ticks), "taking pinned memory", error));
  own->own_ticks = host;
  memcpy(host, ticks, sizeof ticks);
  TRY(cuda_check(c, api->StreamCreateWithFlags(&own->stream, cudaStreamNonBlocking), "making a stream", error));
  for (size_t i = 0; i < COPIES_TURNS; i++) {
    TRY(make_event(c, &own->whole[i], error));
    TRY(make_event(c, &own->sent[i], error));
  }
  for (size_t i = 0; i < COPIES_NORMS; i++) TRY(make_event(c, &own->made[i], error));
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
  for (size_t i = 0; i < COPIES_NORMS; i++)
    if (own->made[i]) api->EventDestroy(own->made[i]);
  if (own->inbox) api->Free(own->inbox);
  if (own->words) api->Free(own->words);
  if (own->ticks) api->Free(own->ticks);
  if (own->own_ticks) api->FreeHost(own->own_ticks);
}

static size_t place_room(size_t count) { return (count + COPIES_ALIGN - 1) / COPIES_ALIGN * COPIES_ALIGN; }

uint64_t copies_bytes(size_t ranks, size_t count) {
  uint64_t bytes;
  const size_t places = COPIES_TURNS * (ranks - 1) + COPIES_NORMS;
  return ck_mul(place_room(count), places * sizeof(float), &bytes) ? UINT64_MAX : bytes;
}

viva_status copies_fit(copies_rank *own, size_t ranks, size_t count, viva_error *error) {
  cuda_backend *c = own->c;
  const uint64_t bytes = copies_bytes(ranks, count);
  const size_t before = own->room;
  void *dev = NULL;
  if (before >= count) return VIVA_OK;
  TRY(cuda_check(c, c->api->StreamSynchronize(c->stream), "an exchange", error));
  if (own->inbox) TRY(cuda_check(c, c->api->Free(own->inbox), "giving memory back", error));
  own->inbox = NULL;
  own->room = 0;
  const cudaError_t made = bytes > SIZE_MAX ? cudaErrorMemoryAllocation : c->api->Malloc(&dev, (size_t)bytes);
  if (made == cudaErrorMemoryAllocation) { /* the device lives on; other models go on with what they had */
    c->api->GetLastError();
    if (before && c->api->Malloc(&dev, (size_t)copies_bytes(ranks, before)) == cudaSuccess) {
      own->inbox = dev;
      own->room = before;
    }
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

/* What all ranks have. */
static size_t common_room(const copies_rank *each, size_t ranks) {
  size_t room = each[0].room;
  for (size_t r = 1; r < ranks; r++)
    if (each[r].room < room) room = each[r].room;
  return room;
}

viva_status copies_send(copies_rank *each, size_t rank, size_t ranks, float *x, size_t count, viva_error *error) {
  const size_t room = common_room(each, ranks);
  const uint64_t pieces = each[rank].sends - each[rank].sums + (count > room ? 2 : 1);
  if (room == 0 || count > 2 * room || (uintptr_t)x % COPIES_X_ALIGN || pieces > COPIES_ON_THE_WAY) return VIVA_OK;
  for (size_t at = 0; at < count; at += room)
    TRY(send_piece(each, rank, ranks, (copies_sent){x + at, count - at < room ? count - at : room}, error));
  return VIVA_OK;
}

int copies_next(const copies_rank *own, const float *x) {
  return own->sums < own->sends && own->queue[own->sums % COPIES_TURNS].x == x;
}

static uint32_t tick_of(uint64_t number) { return (uint32_t)(number % COPIES_TICKS) + 1; }

/* The next sum's arguments. */
static step_exchange_sum_args next_args(copies_rank *each, size_t rank, size_t ranks, uint32_t *failed) {
  copies_rank *own = &each[rank];
  const uint64_t number = own->sums++;
  const copies_sent *piece = &own->queue[number % COPIES_TURNS];
  step_exchange_sum_args a = {.rank = (int)rank,
                              .ranks = (int)ranks,
                              .x = piece->x,
                              .own = piece->x,
                              .count = piece->count,
                              .tick = tick_of(number),
                              .failed = failed,
                              .blocks = COPIES_BLOCKS * (size_t)own->c->gpu.multiprocessors};
  for (size_t r = 0; r < ranks; r++) {
    if (r == rank) continue;
    a.parts[r] = place(each, rank, r, ranks, number);
    a.words[r] = word(each, rank, r, number);
  }
  return a;
}

/* The same, behind the rank's own copies: the sum takes x's place, which they read. */
static viva_status next_sum(copies_rank *each, size_t rank, size_t ranks, uint32_t *failed, step_exchange_sum_args *a,
                            viva_error *error) {
  cuda_backend *c = each[rank].c;
  const uint64_t number = each[rank].sums;
  *a = next_args(each, rank, ranks, failed);
  return cuda_check(c, c->api->StreamWaitEvent(c->stream, each[rank].sent[number % COPIES_TURNS], 0), "a sum", error);
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
  return cuda_check(c, (cudaError_t)c->kernels->exchange_norm((step_queue){.stream = c->stream}, &a, norm, 0), "a sum",
                    error);
}

/* ---- sums in shares */

/* Where rank `to` has the rows of a norm. */
static void *norm_place(const copies_rank *each, size_t to, size_t ranks, uint64_t number) {
  return each[to].inbox + (COPIES_TURNS * (ranks - 1) + number % COPIES_NORMS) * each[to].room;
}

static uint32_t *norm_word(const copies_rank *each, size_t to, size_t from, uint64_t number) {
  return each[to].words + (COPIES_TURNS + number % COPIES_NORMS) * EXCHANGE_RANKS + from;
}

int copies_shares(const copies_rank *each, size_t ranks, const exchange_norm *norm) {
  const size_t count = norm->rows * norm->n, room = common_room(each, ranks);
  return norm->rows >= ranks && count <= room && !step_exchange_norm_refusal(norm) &&
         step_quantized_bytes(norm->mode, norm->rows, norm->n) <= room * sizeof(float);
}

viva_status copies_send_shares(copies_rank *each, size_t rank, size_t ranks, const float *part, size_t rows, size_t n,
                               viva_error *error) {
  copies_rank *own = &each[rank];
  cuda_backend *c = own->c;
  const uint64_t number = own->sends++;
  const size_t turn = number % COPIES_TURNS;
  own->queue[turn] = (copies_sent){(float *)(uintptr_t)part, rows * n};
  TRY(cuda_check(c, c->api->EventRecord(own->whole[turn], c->stream), "sending a part", error));
  TRY(cuda_check(c, c->api->StreamWaitEvent(own->stream, own->whole[turn], 0), "sending a part", error));
  for (size_t r = 0; r < ranks; r++) {
    const size_t first = exchange_share(rows, ranks, r), end = exchange_share(rows, ranks, r + 1);
    if (r == rank) continue;
    TRY(copy(c, own->stream, place(each, r, rank, ranks, number), part + first * n, (end - first) * n * sizeof(float),
             error));
    TRY(copy(c, own->stream, word(each, r, rank, number), own->ticks + number % COPIES_TICKS, sizeof(uint32_t), error));
  }
  return cuda_check(c,
                    c->api->MemcpyAsync(word(each, rank, rank, number), own->own_ticks + number % COPIES_TICKS,
                                        sizeof(uint32_t), cudaMemcpyHostToDevice, own->stream),
                    "sending a part", error);
}

/* Rows first … end of a norm that lies in `from` to the same place in `to`. */
static viva_status send_rows(copies_rank *own, const exchange_norm *norm, void *to, const void *from, size_t first,
                             size_t end, viva_error *error) {
  const size_t scales =
      (size_t)((const uint8_t *)step_quantized_scales(from, norm->mode, norm->rows, norm->n) - (const uint8_t *)from);
  const size_t row = norm->mode == INPUT_FLOAT ? norm->n * sizeof(float)
                     : norm->mode == INPUT_F16 ? norm->n * sizeof(uint16_t)
                                               : norm->n;
  TRY(copy(own->c, own->stream, (uint8_t *)to + first * row, (const uint8_t *)from + first * row, (end - first) * row,
           error));
  if (norm->mode == INPUT_FLOAT) return VIVA_OK;
  return copy(own->c, own->stream, (uint8_t *)to + scales + first * sizeof(float),
              (const uint8_t *)from + scales + first * sizeof(float), (end - first) * sizeof(float), error);
}

static viva_status zero_rows(cuda_backend *c, float *x, size_t rows, size_t n, viva_error *error) {
  if (rows == 0) return VIVA_OK;
  return cuda_check(c, c->api->MemsetAsync(x, 0, rows * n * sizeof *x, c->stream), "clearing rows", error);
}

viva_status copies_norm_shares(copies_rank *each, size_t rank, size_t ranks, float *x, const exchange_norm *norm,
                               int zeros, uint32_t *failed, viva_error *error) {
  copies_rank *own = &each[rank];
  cuda_backend *c = own->c;
  const size_t n = norm->n, first = exchange_share(norm->rows, ranks, rank),
               end = exchange_share(norm->rows, ranks, rank + 1);
  const uint64_t number = own->norms++;
  const step_queue q = {.stream = c->stream, .dependent = c->gpu.major >= 9};
  exchange_norm here = *norm;
  step_exchange_sum_args a = next_args(each, rank, ranks, failed);
  here.to = norm_place(each, rank, ranks, number);
  a.words[rank] = word(each, rank, rank, own->sums - 1);
  a.own += first * n;
  a.x = x + first * n;
  a.before = a.x;
  a.count = (end - first) * n;
  TRY(cuda_check(c, (cudaError_t)c->kernels->exchange_norm(q, &a, &here, first), "a sum", error));
  TRY(cuda_check(c, c->api->EventRecord(own->made[number % COPIES_NORMS], c->stream), "sending rows", error));
  TRY(cuda_check(c, c->api->StreamWaitEvent(own->stream, own->made[number % COPIES_NORMS], 0), "sending rows", error));
  for (size_t r = 0; r < ranks; r++) {
    if (r == rank) continue;
    TRY(send_rows(own, &here, norm_place(each, r, ranks, number), here.to, first, end, error));
    TRY(copy(c, own->stream, norm_word(each, r, rank, number), own->ticks + number % COPIES_TICKS, sizeof(uint32_t),
             error));
  }
  if (!zeros) return VIVA_OK;
  TRY(zero_rows(c, x, first, n, error));
  return zero_rows(c, x + end * n, norm->rows - end, n, error);
}

viva_status copies_take_shares(copies_rank *each, size_t rank, size_t ranks, const void **rows, uint32_t *failed,
                               viva_error *error) {
  cuda_backend *c = each[rank].c;
  const uint64_t number = each[rank].takes++;
  const step_queue q = {.stream = c->stream, .dependent = c->gpu.major >= 9};
  step_exchange_sum_args a = {.rank = (int)rank, .ranks = (int)ranks, .tick = tick_of(number), .failed = failed};
  for (size_t r = 0; r < ranks; r++)
    if (r != rank) a.words[r] = norm_word(each, rank, r, number);
  *rows = norm_place(each, rank, ranks, number);
  return cuda_check(c, (cudaError_t)c->kernels->exchange_wait(q, &a), "waiting for rows", error);
}
