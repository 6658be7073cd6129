/* gemm_tile.h: the sizes that the kernels and the plan of their memory share, and which tile comes when. */
#ifndef CUDA_GEMM_TILE_H
#define CUDA_GEMM_TILE_H

#include "number/number.h"

#define GEMM_CHANNELS    128 /* rows of w in a tile */
#define GEMM_TOKENS      256 /* rows of x in a tile */
#define GEMM_HALF_TOKENS 128 /* in half a tile */
#define GEMM_TAIL        8 /* rows of x that a tall tile has more: a few rows beside a prompt's are no tiles of their own */
#define GEMM_CLUSTER     2    /* blocks, one above the other, that share x */
#define GEMM_GROUP_ROWS  64   /* rows of w that a warpgroup multiplies */
#define GEMM_WARPS       8    /* that multiply */
#define GEMM_ROUND_BYTES 8192 /* of a warpgroup's results on their way out at once */
#define GEMM_BAND        8    /* tiles of tokens that run side by side */

/* The tiles of a product in the order in which clusters take them: bands of 8 tiles of tokens, along which the channels
 * advance, so that what runs at the same time shares rows of both in the L2. The tiles of a last round that would leave half
 * of the clusters or more without one are cut in two halves of tokens. */
typedef struct gemm_tiles {
  int m, pairs; /* rows of x; pairs of tiles along n */
  int whole;    /* so many tiles are whole, the rest is cut */
  int parts;    /* 2: in two halves; 1: into its first half, which holds all of m */
  int tail;     /* 0, or GEMM_TAIL: tiles are tall */
} gemm_tiles;

typedef struct gemm_tile {
  int token, pair; /* first row of x; pair of tiles along n */
  int half;        /* 1: GEMM_HALF_TOKENS rows of x, else GEMM_TOKENS */
  int tail;        /* rows that follow those; of a tall tile that is cut its second half has them */
} gemm_tile;

NUMBER_SHARED int gemm_tiles_high(int m, int tail) { return (m + GEMM_TOKENS + tail - 1) / (GEMM_TOKENS + tail); }

/* tail: GEMM_TAIL where tall tiles are to be had; then they are taken if they are fewer. */
NUMBER_SHARED gemm_tiles gemm_tiles_of(int m, int pairs, int clusters, int tail) {
  if (gemm_tiles_high(m, tail) == gemm_tiles_high(m, 0)) tail = 0;
  const int count = gemm_tiles_high(m, tail) * pairs, rest = count % clusters;
  const gemm_tiles one = {m, pairs, 0, 1, 0}, two = {m, pairs, count - rest, 2, tail},
                   none = {m, pairs, count, 2, tail};
  return m <= GEMM_HALF_TOKENS ? one : 2 * rest <= clusters ? two : none;
}

/* Tiles and halves. */
NUMBER_SHARED int gemm_tiles_count(const gemm_tiles *t) {
  return t->whole + t->parts * (gemm_tiles_high(t->m, t->tail) * t->pairs - t->whole);
}

/* The i-th; 0 when it has no rows: a last half beyond m. */
NUMBER_SHARED int gemm_tiles_find(const gemm_tiles *t, int i, gemm_tile *tile) {
  const int cut = i - t->whole, number = cut < 0 ? i : t->whole + cut / t->parts;
  const int band = number / (GEMM_BAND * t->pairs), within = number - band * GEMM_BAND * t->pairs;
  const int left = gemm_tiles_high(t->m, t->tail) - band * GEMM_BAND, width = left < GEMM_BAND ? left : GEMM_BAND;
  const int second = cut > 0 && cut % t->parts == 1;
  tile->token = (band * GEMM_BAND + within % width) * (GEMM_TOKENS + t->tail) + second * GEMM_HALF_TOKENS;
  tile->pair = within / width;
  tile->half = cut >= 0;
  tile->tail = tile->half && !second ? 0 : t->tail;
  return tile->token < t->m;
}

/* Few rows are one tile high, and their time is that of reading w: so K is shared too. The steps of all pairs follow each
 * other, and each cluster takes as many of them, wherever a pair ends. */
typedef struct gemm_shares {
  int pairs, steps; /* steps: of K */
  int clusters;
} gemm_shares;

#define GEMM_SHARE_LEAST 4  /* steps of a cluster, unless there are fewer */
#define GEMM_SHARE_IDLE  32 /* one of so many clusters may be left out */

/* As many clusters to each pair where that leaves few of them out: then none has parts of two pairs, which it would put to
 * memory one after the other. */
NUMBER_SHARED gemm_shares gemm_shares_of(int pairs, int steps, int clusters) {
  const int most = pairs * steps / GEMM_SHARE_LEAST, all = most < 1 ? 1 : most < clusters ? most : clusters;
  const int whole = all / pairs * pairs;
  const gemm_shares s = {pairs, steps, whole > 0 && (all - whole) * GEMM_SHARE_IDLE <= all ? whole : all};
  return s;
}

/* The first of a cluster's steps, and the end of those of the cluster before it. */
NUMBER_SHARED int gemm_shares_begin(const gemm_shares *s, int cluster) {
  return (int)((int64_t)s->pairs * s->steps * cluster / s->clusters);
}

/* The cluster that has a step. */
NUMBER_SHARED int gemm_shares_cluster(const gemm_shares *s, int step) {
  return (int)((((int64_t)step + 1) * s->clusters - 1) / ((int64_t)s->pairs * s->steps));
}

/* A cluster's part of a pair. */
typedef struct gemm_share {
  int pair, begin, end; /* begin, end: steps of K */
  int first, count;     /* clusters that have a part of the pair */
} gemm_share;

/* The part that begins at a step of a cluster; the next one begins at *step. */
NUMBER_SHARED gemm_share gemm_shares_find(const gemm_shares *s, int cluster, int *step) {
  const int pair = *step / s->steps, begin = *step - pair * s->steps, left = gemm_shares_begin(s, cluster + 1) - *step;
  const int end = begin + left < s->steps ? begin + left : s->steps;
  const int first = gemm_shares_cluster(s, pair * s->steps), last = gemm_shares_cluster(s, (pair + 1) * s->steps - 1);
  const gemm_share share = {pair, begin, end, first, last - first + 1};
  *step += end - begin;
  return share;
}

/* Of the two places that a cluster has for its parts of shared pairs: a pair that began before it is its first, one that goes
 * on after it its last. */
NUMBER_SHARED int gemm_shares_place(const gemm_share *share, int cluster) { return cluster == share->first; }

#endif
