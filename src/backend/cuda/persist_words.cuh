/* persist_words.cuh: how values go from block to block within persist.cuh's kernel: as words that carry the epoch in which
 * they were written, so that whoever reads a word sees by itself whether it is there. No flag, fence or barrier: a fence
 * would wait for the weights that are on their way (2 µs), and barriers between all blocks are what it is for.
 *
 *   FP32    64 bits: epoch, value
 *   FP16    32 bits: epoch (15 bits and a one), value
 *
 * A layer of a launch is an epoch. Each word is rewritten once in every layer, and only after all blocks have read it: what is
 * written there depends on values of all blocks that depend on theirs. So a word is of this epoch or of the one before. */
#ifndef BACKEND_CUDA_PERSIST_WORDS_CUH
#define BACKEND_CUDA_PERSIST_WORDS_CUH

#include <cuda_fp16.h>

#include "backend/cuda/ptx.cuh"

/* Where column i of a row is: so that the 16 bytes that lanes ask for at once lie beside each other. FP32: piece (8 columns)
 * 32 g + l of a row is read by lane l. FP16: piece l of a record (128 columns) by lane l of 16. */
static __host__ __device__ __forceinline__ uint32_t persist_float_at(uint32_t i) {
  return (i & ~255u) + (i % 8 / 2) * 64 + i / 8 % 32 * 2 + i % 2;
}
static __host__ __device__ __forceinline__ uint32_t persist_half_at(uint32_t i) {
  return (i & ~127u) + (i % 8 / 4) * 64 + i / 8 % 16 * 4 + i % 4;
}
static __host__ __device__ __forceinline__ size_t persist_row(size_t columns) { return (columns + 255) & ~(size_t)255; }

static __device__ __forceinline__ uint32_t persist_half_epoch(uint32_t epoch) { return epoch << 16 | 0x80000000u; }

static __device__ __forceinline__ void persist_put(uint64_t *to, float v, uint32_t epoch) {
  store_relaxed(to, (uint64_t)epoch << 32 | __float_as_uint(v));
}
static __device__ __forceinline__ void persist_put(uint32_t *to, float v, uint32_t epoch) {
  store_relaxed(to, persist_half_epoch(epoch) | __half_as_ushort(__float2half_rn(v)));
}

static __device__ __forceinline__ float persist_value(uint64_t word) { return __uint_as_float((uint32_t)word); }

/* How long a thread waits for words: after that it takes what is there, and the step is worthless. */
struct persist_patience {
  uint64_t end;
  uint32_t *failed, looks;

  /* After a look that found nothing. */
  __device__ __forceinline__ bool over() {
    if (++looks % 1024 != 0 || nanoseconds() < end) return false;
    *static_cast<volatile uint32_t *>(failed) = 1;
    looks--;
    return true;
  }
};

/* Words of a stage's results by which a warp sees that it is time to look for all: looking for words that are not there yet, all
 * blocks would keep each other from seeing those that are. */
struct persist_sample {
  const void *words;
  uint32_t columns;
  int half; /* FP16, else FP32 */
};

/* A warp: until most of 32 words are there: the rest comes while words are read. */
#define PERSIST_SAMPLES_THERE 28

static __device__ __forceinline__ void persist_expect(const persist_sample &s, uint32_t epoch,
                                                      persist_patience *patience) {
  const uint32_t lane = thread_index() % 32, at = (uint32_t)((uint64_t)s.columns * lane / 32);
  bool there = false, over = false;
  do {
    if (!there && s.half)
      there = (load_relaxed(static_cast<const uint32_t *>(s.words) + persist_half_at(at)) ^ persist_half_epoch(epoch)) <
              0x10000u;
    else if (!there)
      there = (uint32_t)(load_relaxed(static_cast<const uint64_t *>(s.words) + persist_float_at(at)) >> 32) == epoch;
    over = patience->over();
  } while (__popc(__ballot_sync(~0u, there)) < PERSIST_SAMPLES_THERE && !__any_sync(~0u, over));
}

/* A piece of FP32, from the place of its first. */
struct persist_floats {
  ulonglong2 word[4] = {};

  __device__ __forceinline__ void look(const uint64_t *from) {
#pragma unroll
    for (int i = 0; i < 4; i++) word[i] = load_relaxed_2(from + 64 * i);
  }
  __device__ __forceinline__ bool there(uint32_t epoch) const {
    uint32_t off = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) off |= ((uint32_t)(word[i].x >> 32) ^ epoch) | ((uint32_t)(word[i].y >> 32) ^ epoch);
    return off == 0;
  }
  __device__ __forceinline__ float4 quad(int i) const {
    return make_float4(persist_value(word[2 * i].x), persist_value(word[2 * i].y), persist_value(word[2 * i + 1].x),
                       persist_value(word[2 * i + 1].y));
  }
};

/* The same of FP16. */
struct persist_halves {
  uint4 word[2] = {};

  __device__ __forceinline__ void look(const uint32_t *from) {
    word[0] = load_relaxed_4(from);
    word[1] = load_relaxed_4(from + 64);
  }
  __device__ __forceinline__ bool there(uint32_t epoch) const {
    const uint32_t e = persist_half_epoch(epoch);
    const uint32_t off = (word[0].x ^ e) | (word[0].y ^ e) | (word[0].z ^ e) | (word[0].w ^ e) | (word[1].x ^ e) |
                         (word[1].y ^ e) | (word[1].z ^ e) | (word[1].w ^ e);
    return off < 0x10000u;
  }
  __device__ __forceinline__ uint4 values() const {
    return make_uint4(__byte_perm(word[0].x, word[0].y, 0x5410), __byte_perm(word[0].z, word[0].w, 0x5410),
                      __byte_perm(word[1].x, word[1].y, 0x5410), __byte_perm(word[1].z, word[1].w, 0x5410));
  }
};

/* N pieces of a kind, piece i from from(i), where used(i): all are asked for before the first is looked at, and only those
 * that were not there again. */
template <class Piece, int N, class Used, class From>
static __device__ __forceinline__ void persist_await(Piece (&piece)[N], uint32_t epoch, persist_patience *patience,
                                                     Used used, From from) {
#pragma unroll
  for (int i = 0; i < N; i++) {
    piece[i] = Piece(); /* what is not asked for would else keep its registers from turn to turn of the stages */
    if (used(i)) piece[i].look(from(i));
  }
  for (;;) {
    bool all = true;
#pragma unroll
    for (int i = 0; i < N; i++)
      if (used(i) && !piece[i].there(epoch)) {
        all = false;
        piece[i].look(from(i));
      }
    if (all || patience->over()) return;
  }
}

#endif
