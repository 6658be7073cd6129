/* backend/cuda/cuda_copies.h: large sums over GPUs, whose parts travel by the copy engines while the multiprocessors compute.
 *
 * Each rank has COPIES_TURNS places for a part of every other rank, and a word beside each. A send is two copies into the
 * places of the others, on a stream of its own: the part, then a word that tells which send it is. A sum is one kernel: it
 * waits for the words, then adds (step_exchange.h).
 *
 *   stream    ... product ─┬─ other work ...   sum (n)            sends come in pairs at most:
 *   copies                 └► part n ► word n ─┘  ▲               send n + 2 follows sum n
 *   the other GPU                  part, word n ──┘
 *
 * That a kernel which sees a word sees the part before it rests on the copies' being made one after the other, each whole
 * before the next begins.
 *
 * Sums in shares go the same way, in other rows: a part's rows of a share to the rank whose share it is, and then that share's
 * normed rows to all, into one of COPIES_NORMS places for whole norms, each with words of its own:
 *
 *   stream    ... product ─┬─ other work ... sum, norm of a share ─┬─ other work ... wait, product
 *   copies                 └► part n ► word n ─┘                   └► rows n ► word n ─┘
 *
 * A share's sum does not wait for the kernel before it: a last word, to the rank itself, tells that its own part is whole. So
 * it fills the multiprocessors that the other half's attention, or gate and up, leave towards their ends.
 *
 * A part may be written again once the rows normed from it were taken: whoever sent them had seen this rank's word, which
 * followed its part. Nor is a norm's place used too soon: rows n + 2 come from a rank that had this one's part n + 2, which was
 * made from what followed rows n (the same half of a step).
 *
 * A place is used again by send n + COPIES_TURNS, which follows the other rank's sum n + 2, which had this rank's send n + 2,
 * which follows its sum n: so what lay there has been read.
 */
#ifndef CUDA_CUDA_COPIES_H
#define CUDA_CUDA_COPIES_H

#include "backend/cuda/cuda.h"
#include "backend/exchange.h"

#define COPIES_TURNS      4
#define COPIES_NORMS      2   /* one for each half of a step */
#define COPIES_ON_THE_WAY 2   /* sends that no sum was asked for */
#define COPIES_TICKS      256 /* words that tell sends apart; a multiple of COPIES_TURNS */

typedef struct copies_sent {
  float *x;
  size_t count;
} copies_sent;

typedef struct copies_rank {
  cuda_backend *c;
  cudaStream_t stream;
  cudaEvent_t whole[COPIES_TURNS], sent[COPIES_TURNS]; /* of the part; of its copies */
  cudaEvent_t made[COPIES_NORMS];                      /* of a share's rows */
  float *inbox;          /* dev [COPIES_TURNS][ranks - 1][room], then [COPIES_NORMS][room]; NULL: there is none yet */
  uint32_t *words;       /* dev [COPIES_TURNS + COPIES_NORMS][EXCHANGE_RANKS], zero at first */
  uint32_t *ticks;       /* dev [COPIES_TICKS]: 1, 2, ... */
  uint32_t *own_ticks;   /* the same, pinned: copies within a device are kernels, which wait for room between others */
  size_t room;           /* numbers of a place */
  uint64_t sends, sums;  /* so far */
  uint64_t norms, takes; /* of shares */
  copies_sent queue[COPIES_TURNS]; /* sends that no sum was asked for yet */
} copies_rank;

/* The rank's stream, events and words; no places. What it made when it fails copies_end frees. With c's lock, or before others
 * know of c. */
viva_status copies_begin(copies_rank *own, cuda_backend *c, viva_error *error);
void copies_end(copies_rank *own);

/* Places for parts of so many numbers, and their bytes. Nothing may be under way. With c's lock. */
uint64_t copies_bytes(size_t ranks, size_t count);
viva_status copies_fit(copies_rank *own, size_t ranks, size_t count, viva_error *error);

/* x[count] to all others; nothing when it has no room in two places, or lies where no quads are
 * loaded: its sum then goes another way, on all ranks. each: [ranks]. With c's lock. */
viva_status copies_send(copies_rank *each, size_t rank, size_t ranks, float *x, size_t count, viva_error *error);

/* 1: x was sent, and its sum is the next. */
int copies_next(const copies_rank *own, const float *x);
/* x[count], which was sent, becomes the sum. failed: pinned, as step_exchange_group has it. With c's lock. */
viva_status copies_sum(copies_rank *each, size_t rank, size_t ranks, size_t count, uint32_t *failed, viva_error *error);
/* The same and a norm of its rows. E_UNSUPPORTED: nothing was done. */
viva_status copies_sum_norm(copies_rank *each, size_t rank, size_t ranks, const exchange_norm *norm, uint32_t *failed,
                            viva_error *error);

/* Sums in shares (exchange.h). shares: 1 when all ranks have room. With c's lock. */
int copies_shares(const copies_rank *each, size_t ranks, const exchange_norm *norm);
viva_status copies_send_shares(copies_rank *each, size_t rank, size_t ranks, const float *part, size_t rows, size_t n,
                               viva_error *error);
viva_status copies_norm_shares(copies_rank *each, size_t rank, size_t ranks, float *x, const exchange_norm *norm,
                               int zeros, uint32_t *failed, viva_error *error);
viva_status copies_take_shares(copies_rank *each, size_t rank, size_t ranks, const void **rows, uint32_t *failed,
                               viva_error *error);

#endif
