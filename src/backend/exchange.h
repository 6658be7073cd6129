/* backend/exchange.h: what the devices of one engine tell each other: the communicator, as a small table.
 *
 * Rank r of n runs a decoder that was cut (load/cut.h): its own heads, its own columns of o and down. Those two products are
 * then parts of a sum, which every rank must have whole before it goes on:
 *
 *   rank 0   x + bias + its part ─┐
 *   rank 1   its part ────────────┼─► sum ─► the same bits on every rank
 *   ...                           │
 *
 * Every rank makes the same calls in the same order, each from its own thread. Parts are added in the order of the ranks, so
 * that all ranks get the same bits, and the same ones each time.
 *
 * Of many rows the ranks may sum a share each. Then x is whole in the rows of a rank's share only, and what goes to the others
 * after a norm is what the next products read:
 *
 *   rank 0   its part, rows of share 1 ──► rank 1     x of share 0 + both parts ─► norm ─► rows ──► rank 1
 *   rank 1   its part, rows of share 0 ──► rank 0     x of share 1 + both parts ─► norm ─► rows ──► rank 0
 */
#ifndef BACKEND_EXCHANGE_H
#define BACKEND_EXCHANGE_H

#include <stddef.h>

#include "backend/backend.h"
#include "viva/status.h"

typedef struct exchange_norm {
  size_t rows, n;
  const float *gain; /* [n] */
  float eps;
  input_mode mode;
  void *to;
} exchange_norm;

typedef struct exchange_ops {
  const char *name;
  /* Room for sums of up to count numbers that are sent ahead, and what it takes of a device's memory (optional, both). While
   * nothing is under way; no rank begins a step before all have returned from it. Errors: E_MEMORY, b's. */
  uint64_t (*reserve_bytes)(const exchange *e, size_t count);
  viva_status (*reserve)(exchange *e, size_t rank, backend *b, size_t count, viva_error *error);
  /* x[count] is whole on this rank and may travel (optional); the sum of the same x will be asked for when it is needed. Nobody
   * touches x until then; sums come in the order in which they were sent, and no more than two are on their way. Errors: as
   * sum. */
  viva_status (*send)(exchange *e, size_t rank, backend *b, float *x, size_t count, viva_error *error);
  /* x[count] (dev of b, which is the rank's) = the sum over all ranks. Errors: E_CANCELLED: another rank gave up, or did not
   * come in time; and b's own. After an error the exchange is of no use. */
  viva_status (*sum)(exchange *e, size_t rank, backend *b, float *x, size_t count, viva_error *error);
  /* As sum of x[rows][n], and at once backend.h's rmsnorm of its rows into floats at `to`, or rmsnorm_codes in another mode
   * (optional). E_UNSUPPORTED: nothing was done; sum and norm do the same. */
  viva_status (*sum_norm)(exchange *e, size_t rank, backend *b, float *x, const exchange_norm *norm, viva_error *error);
  /* Sums of x[rows][n] in shares (optional: all four or none). Whether they may go so and be normed so: the same on every rank. */
  int (*shares)(const exchange *e, const exchange_norm *norm);
  /* part[rows][n] is whole on this rank and may travel; nobody touches it until what is normed from it has been taken. Errors:
   * as sum. */
  viva_status (*send_shares)(exchange *e, size_t rank, backend *b, const float *part, size_t rows, size_t n,
                             viva_error *error);
  /* x's rows of this rank's share += all ranks' parts, those that were sent first; their norm on its way to all ranks (norm->to
   * does not matter). zeros: other rows of x become 0, so that all ranks' x add up to the sum. Errors: as sum. */
  viva_status (*norm_shares)(exchange *e, size_t rank, backend *b, float *x, const exchange_norm *norm, int zeros,
                             viva_error *error);
  /* *rows (dev): all rows of the norm that was made first; they stay until the one after the next is made. Errors: as sum. */
  viva_status (*take_shares)(exchange *e, size_t rank, backend *b, const void **rows, viva_error *error);
  /* Once the host has what came of a rank's sums (optional): whether they were whole. Errors: as sum. */
  viva_status (*check)(exchange *e, size_t rank, viva_error *error);
  /* The rank will not come any more: those that wait for it, now or later, get E_CANCELLED. */
  void (*give_up)(exchange *e);
  void (*close)(exchange *e);
} exchange_ops;

/* Every exchange begins with this. */
struct exchange {
  const exchange_ops *ops;
  size_t ranks;
  size_t halves; /* steps of so many rows and more run as two, one's sums on their way beside the other; 0: none do */
};

/* The first row of a rank's share; of rank `ranks`: their end. */
static inline size_t exchange_share(size_t rows, size_t ranks, size_t rank) { return rows * rank / ranks; }

/* Rows of a step's first half; 0: it runs in one. */
static inline size_t exchange_half(const exchange *e, size_t rows) {
  return e->halves && rows >= e->halves ? (rows + 1) / 2 : 0;
}

#endif
