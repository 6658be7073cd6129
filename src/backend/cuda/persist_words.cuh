/* persist_words.cuh: how values go from block to block within persist.cuh's kernel: whoever reads a word sees by itself
 * whether it is there. No flag, no barrier between all blocks, and no fence that anybody waits for: it would wait for the
 * weights that are on their way (2 µs).
 *
 *   words of products and of attention    FP32 or FP16. One that is not written yet has all bits set: a NaN, but not the one
 *                                         that arithmetic gives. They are there PERSIST_COPIES times, and layers of all
 *                                         launches take the copies in turn: who writes a word clears that of two layers
 *                                         later
 *   words of shares of attention          64 bits: epoch (layer of all launches), FP32. Which of them are written depends on
 *                                         the position, so that nobody could clear them all
 *
 * A layer writes each word once, and only after all blocks have read those of the layer before: what is written depends on
 * values of all blocks that depend on theirs. So what is cleared has been read. It is cleared before it is looked at again,
 * since a fence of each layer (persist_finish_all) comes between it and values on which that look depends: those of the layer
 * before. (So a block that has no tile of any layer must not have one of the head.) */
#ifndef BACKEND_CUDA_PERSIST_WORDS_CUH
#define BACKEND_CUDA_PERSIST_WORDS_CUH

#include <cuda_fp16.h>

#include "backend/cuda/ptx.cuh"

#define PERSIST_COPIES 4
#define PERSIST_NONE   0xffffffffu /* of FP16 each half */

/* A layer of all launches, and bytes from where words are in the first copy to where its own are, and to those it clears. */
struct persist_layer {
  uint32_t epoch, at, later;

  __device__ __forceinline__ persist_layer(uint32_t number, uint32_t copy_bytes)
      : epoch(number), at(number % PERSIST_COPIES * copy_bytes), later((number + 2) % PERSIST_COPIES * copy_bytes) {}
  template <class T> __device__ __forceinline__ T *of(T *words) const { return moved(words, at); }
  template <class T> static __device__ __forceinline__ T *moved(T *words, uint32_t bytes) {
    return reinterpret_cast<T *>(reinterpret_cast<uintptr_t>(words) + bytes);
  }

  /* to: in the first copy */
  __device__ __forceinline__ void put(uint32_t *to, float v) const {
    store_relaxed(of(to), __float_as_uint(v));
    store_relaxed(moved(to, later), PERSIST_NONE);
  }
  __device__ __forceinline__ void put(uint16_t *to, float v) const {
    store_relaxed(of(to), __half_as_ushort(__float2half_rn(v)));
    store_relaxed(moved(to, later), (uint16_t)PERSIST_NONE);
  }
};

/* What the thread has stored or seen stored comes before what it stores from now on. */
static __device__ __forceinline__ void persist_fence() { asm volatile("fence.acq_rel.gpu;" ::: "memory"); }

/* Where column i of a row of FP32 is: so that the 16 bytes that lanes ask for at once lie beside each other: piece (8 columns)
 * 32 g + l of a row is read by lane l. FP16 lies in its order. */
static __host__ __device__ __forceinline__ uint32_t persist_float_at(uint32_t i) {
  return (i & ~255u) + (i % 8 / 4) * 128 + i / 8 % 32 * 4 + i % 4;
}
static __host__ __device__ __forceinline__ size_t persist_row(size_t columns) { return (columns + 255) & ~(size_t)255; }

/* -- words of shares */

static __device__ __forceinline__ void persist_put_share(uint64_t *to, float v, uint32_t epoch) {
  store_relaxed(to, (uint64_t)epoch << 32 | __float_as_uint(v));
}
static __device__ __forceinline__ float persist_share_value(uint64_t word) { return __uint_as_float((uint32_t)word); }

/* -- waiting */

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

static __device__ __forceinline__ void persist_expect(const persist_sample &s, const persist_layer &layer,
                                                      persist_patience *patience) {
  const uint32_t lane = thread_index() % 32, at = (uint32_t)((uint64_t)s.columns * lane / 32);
  const void *const words = layer.of(s.words);
  bool there = false, over = false;
  do {
    if (!there && s.half)
      there = load_relaxed(static_cast<const uint16_t *>(words) + at) != (uint16_t)PERSIST_NONE;
    else if (!there)
      there = load_relaxed(static_cast<const uint32_t *>(words) + persist_float_at(at)) != PERSIST_NONE;
    over = patience->over();
  } while (__popc(__ballot_sync(~0u, there)) < PERSIST_SAMPLES_THERE && !__any_sync(~0u, over));
}

/* A piece of FP32, from the place of its first. */
struct persist_floats {
  uint4 word[2] = {};

  __device__ __forceinline__ void look(const uint32_t *from) {
#pragma unroll
    for (int i = 0; i < 2; i++) word[i] = load_relaxed_4(from + 128 * i);
  }
  __device__ __forceinline__ bool there() const {
    bool all = true;
#pragma unroll
    for (int i = 0; i < 2; i++)
      all = all && word[i].x != PERSIST_NONE && word[i].y != PERSIST_NONE && word[i].z != PERSIST_NONE &&
            word[i].w != PERSIST_NONE;
    return all;
  }
  __device__ __forceinline__ float4 quad(int i) const {
    return make_float4(__uint_as_float(word[i].x), __uint_as_float(word[i].y), __uint_as_float(word[i].z),
                       __uint_as_float(word[i].w));
  }
};

/* The same of FP16. */
struct persist_halves {
  uint4 values = {};

  __device__ __forceinline__ void look(const uint16_t *from) {
    values = load_relaxed_4(reinterpret_cast<const uint32_t *>(from));
  }
  /* The highest bit of a half whose bits are all set. */
  static __device__ __forceinline__ uint32_t none(uint32_t pair) { return (~pair - 0x10001u) & pair & 0x80008000u; }
  __device__ __forceinline__ bool there() const {
    return (none(values.x) | none(values.y) | none(values.z) | none(values.w)) == 0;
  }
};

/* N pieces of a kind, piece i from from(i), where used(i): all are asked for before the first is looked at, and only those
 * that were not there again. */
template <class Piece, int N, class Used, class From>
static __device__ __forceinline__ void persist_await(Piece (&piece)[N], persist_patience *patience, Used used,
                                                     From from) {
#pragma unroll
  for (int i = 0; i < N; i++) {
    piece[i] = Piece(); /* what is not asked for would else keep its registers from turn to turn of the stages */
    if (used(i)) piece[i].look(from(i));
  }
  for (;;) {
    bool all = true;
#pragma unroll
    for (int i = 0; i < N; i++)
      if (used(i) && !piece[i].there()) {
        all = false;
        piece[i].look(from(i));
      }
    if (all || patience->over()) return;
  }
}

#endif
