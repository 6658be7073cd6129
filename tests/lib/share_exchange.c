#include "lib/share_exchange.h"

#include "base/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WAYS = 2 };

typedef struct share_rank {
  float *parts[WAYS], *rows[WAYS]; /* rows: [RANKS_MOST][..] of a norm */
  size_t room[WAYS], sends, norms, takes;
} share_rank;

typedef struct share_exchange {
  exchange base;
  exchange *inner;
  share_rank ranks[RANKS_MOST]; /* each touched by its own rank */
} share_exchange;

static share_exchange *share_of(const exchange *e) { return (share_exchange *)(uintptr_t)e; }

static viva_status sum(exchange *e, size_t rank, backend *b, float *x, size_t count, viva_error *error) {
  exchange *inner = share_of(e)->inner;
  return inner->ops->sum(inner, rank, b, x, count, error);
}

static int shares(const exchange *e, const exchange_norm *norm) {
  return norm->mode == INPUT_FLOAT && norm->rows >= e->ranks;
}

static viva_status send_shares(exchange *e, size_t rank, backend *b, const float *part, size_t rows, size_t n,
                               viva_error *error) {
  share_rank *own = &share_of(e)->ranks[rank];
  (void)b, (void)rows, (void)n, (void)error;
  own->parts[own->sends++ % WAYS] = (float *)(uintptr_t)part;
  return VIVA_OK;
}

/* Rows of other ranks. */
static void fill_others(const exchange *e, size_t rank, float *x, const exchange_norm *norm, float value) {
  const size_t first = exchange_share(norm->rows, e->ranks, rank) * norm->n;
  const size_t end = exchange_share(norm->rows, e->ranks, rank + 1) * norm->n;
  for (size_t i = 0; i < norm->rows * norm->n; i++)
    if (i < first || i >= end) x[i] = value;
}

static viva_status norm_shares(exchange *e, size_t rank, backend *b, float *x, const exchange_norm *norm, int zeros,
                               viva_error *error) {
  share_rank *own = &share_of(e)->ranks[rank];
  const size_t first = exchange_share(norm->rows, e->ranks, rank), end = exchange_share(norm->rows, e->ranks, rank + 1);
  const size_t n = norm->n, count = norm->rows * n, way = own->norms++ % WAYS;
  float *part = own->parts[way];
  TRY(sum(e, rank, b, part, count, error));
  for (size_t i = first * n; i < end * n; i++) x[i] += part[i];
  fill_others(e, rank, x, norm, zeros ? 0 : NAN);
  for (size_t i = 0; i < count; i++) part[i] = NAN;
  if (own->room[way] < count) {
    free(own->rows[way]);
    own->rows[way] = malloc(count * sizeof(float));
    own->room[way] = count;
  }
  float *rows = own->rows[way];
  TRY(b->ops->rmsnorm(b, x + first * n, rows + first * n, end - first, n, 1, n, norm->gain, norm->eps, error));
  fill_others(e, rank, rows, norm, 0);
  return sum(e, rank, b, rows, count, error);
}

static viva_status take_shares(exchange *e, size_t rank, backend *b, const void **rows, viva_error *error) {
  share_rank *own = &share_of(e)->ranks[rank];
  (void)b, (void)error;
  *rows = own->rows[own->takes++ % WAYS];
  return VIVA_OK;
}

static void give_up(exchange *e) {
  exchange *inner = share_of(e)->inner;
  inner->ops->give_up(inner);
}

static void close_all(exchange *e) {
  share_exchange *s = share_of(e);
  s->inner->ops->close(s->inner);
  for (size_t r = 0; r < e->ranks; r++)
    for (size_t i = 0; i < WAYS; i++) free(s->ranks[r].rows[i]);
  free(s);
}

static const exchange_ops share_ops = {.name = "shares",
                                       .sum = sum,
                                       .shares = shares,
                                       .send_shares = send_shares,
                                       .norm_shares = norm_shares,
                                       .take_shares = take_shares,
                                       .give_up = give_up,
                                       .close = close_all};

void share_exchange_begin(rank_set *r, size_t halves) {
  share_exchange *s = calloc(1, sizeof *s);
  s->base = (exchange){.ops = &share_ops, .ranks = r->count, .halves = halves};
  s->inner = r->exchange;
  r->exchange = &s->base;
}

size_t share_exchange_norms(const rank_set *r) {
  const share_exchange *s = share_of(r->exchange);
  size_t norms = 0;
  for (size_t i = 0; i < r->count; i++) norms += s->ranks[i].norms;
  return norms;
}
