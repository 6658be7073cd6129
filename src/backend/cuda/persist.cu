/* backend/cuda/persist.cu: which kernel runs a program, its stages and its launch. */
#include "backend/cuda/persist.h"

#include "backend/cuda/gemv_arguments.cuh"
#include "backend/cuda/persist.cuh"

/* Bytes of a block's ring: what is there when a stage's x has come. Beside it x of 14336 columns fits. */
#define PERSIST_RING_BYTES (176 * 1024)

typedef struct persist_choice {
  const void *kernel;
  size_t depth, chunk;
} persist_choice;

template <class F> static persist_choice choice_of() {
  const size_t chunk = persist_chunk<F>::BYTES, fits = PERSIST_RING_BYTES / chunk;
  return {reinterpret_cast<const void *>(persist_kernel<F>), fits < PERSIST_MOST_DEPTH ? fits : PERSIST_MOST_DEPTH,
          chunk};
}

static persist_choice choice_for(const persist_program *p) {
  if (p->rows < 1 || p->rows > PERSIST_MOST_ROWS) return {};
  switch (p->w.format) {
  case WEIGHT_BF16: return choice_of<gemv_dense<true>>();
  case WEIGHT_F16: return choice_of<gemv_dense<false>>();
  case WEIGHT_NVFP4: return choice_of<gemv_nvfp4_few>();
  case WEIGHT_INT8_24: return choice_of<gemv_int8_24>();
  case WEIGHT_FP8: return p->w.block ? choice_of<gemv_fp8_blocks>() : choice_of<gemv_fp8>();
  case WEIGHT_INT4_24: return p->w.block ? choice_of<gemv_int4_24<true>>() : choice_of<gemv_int4_24<false>>();
  default: return {};
  }
}

/* -- sizes */

size_t persist_stage_bytes(void) { return sizeof(persist_stage); }
size_t persist_run_bytes(void) { return sizeof(persist_run); }

template <int LANES, int GROUP> static size_t attention_bytes() { return sizeof(persist_attend_shared<LANES, GROUP>); }

/* Of the kinds of blocks that there may be, the most. */
static size_t attention_bytes_of(const attend_shape &s) {
  if (s.lanes == 8) return s.group == 1 ? attention_bytes<8, 1>() : attention_bytes<8, PERSIST_MANY>();
  return s.group == 1 ? attention_bytes<16, 1>() : attention_bytes<16, PERSIST_MANY>();
}

/* Words of a layer's shares, with `group` q heads a block. */
static size_t share_words(const persist_program *p, size_t group) {
  const size_t slices = step_parts(p->heads.q_heads / p->heads.kv_heads, group);
  return p->heads.kv_heads * slices * PERSIST_SHARES * group * (p->heads.head_dim + 2);
}

static size_t region_bytes(const persist_program *p) {
  const size_t columns = p->heads.q_heads * p->heads.head_dim, widest = columns > p->hidden ? columns : p->hidden;
  const size_t records = ((widest > p->ffn ? widest : p->ffn) + GEMV_RECORD - 1) / GEMV_RECORD;
  const size_t x = records * GEMV_PIECES * gemv_x_stride((int)p->rows),
               a = attention_bytes_of(single_shape_of(p->heads, PERSIST_HEADS));
  return persist_align(x > a ? x : a);
}

/* Values of the residual stream that a block makes, at most. */
static size_t kept_of(const persist_program *p) {
  const size_t tiles = (p->hidden + GEMV_TILE - 1) / GEMV_TILE, blocks = (size_t)p->multiprocessors;
  return (tiles + blocks - 1) / blocks * GEMV_TILE;
}

static size_t shared_bytes(const persist_program *p, const persist_choice &k) {
  return sizeof(persist_control) + persist_align(p->run_count * sizeof(persist_run)) + k.depth * k.chunk +
         region_bytes(p) + (PERSIST_SUMS * 2 * PERSIST_TILE_SUMS + kept_of(p)) * sizeof(float) + sizeof(uint4);
}

/* The words of a program (persist_words.cuh) within its work: their first copy, and those of shares behind the last. */
typedef struct persist_words {
  uint32_t *q, *k, *v, *after_out, *after_down;
  uint16_t *attended, *act;
  uint64_t *partial;
  size_t copy_bytes, bytes;
} persist_words;

static persist_words words_of(const persist_program *p) {
  const size_t few = share_words(p, PERSIST_HEADS), many = share_words(p, PERSIST_MANY), rows = p->rows,
               q = p->heads.q_heads * p->heads.head_dim, kv = p->heads.kv_heads * p->heads.head_dim;
  persist_words w = {};
  uint8_t *const base = static_cast<uint8_t *>(p->work);
  auto place = [&](size_t bytes) {
    uint8_t *const at = base ? base + w.bytes : NULL;
    w.bytes += persist_align(bytes);
    return at;
  };
  auto floats = [&](size_t n) { return reinterpret_cast<uint32_t *>(place(n * sizeof(uint32_t))); };
  auto halves = [&](size_t n) { return reinterpret_cast<uint16_t *>(place(n * sizeof(uint16_t))); };
  w.q = floats(rows * q);
  w.k = floats(rows * kv);
  w.v = floats(rows * kv);
  w.after_out = floats(rows * persist_row(p->hidden));
  w.after_down = floats(rows * persist_row(p->hidden));
  w.attended = halves(rows * persist_row(q));
  w.act = halves(rows * persist_row(p->ffn));
  w.copy_bytes = w.bytes;
  w.bytes *= PERSIST_COPIES;
  w.partial = reinterpret_cast<uint64_t *>(place(rows * (few > many ? few : many) * sizeof(uint64_t)));
  return w;
}

size_t persist_work_bytes(const persist_program *p) {
  persist_program nowhere = *p;
  nowhere.work = NULL;
  return words_of(&nowhere).bytes;
}

int persist_fits(const persist_program *p, size_t shared_most) {
  const persist_choice k = choice_for(p);
  return k.kernel && p->heads.head_dim <= PERSIST_MOST_DIM && shared_bytes(p, k) <= shared_most;
}

int persist_may_have_head(const persist_program *p) {
  const size_t projected = (p->heads.q_heads + 2 * p->heads.kv_heads) * p->heads.head_dim; /* q, k and v */
  const size_t widest = projected > p->hidden ? projected : p->hidden;
  return (widest > p->ffn ? widest : p->ffn) / GEMV_TILE >= (size_t)p->multiprocessors;
}

/* -- stages */

static void connect(persist_stage *s, persist_role role, size_t layer, bool is_head, const persist_words &w) {
  s->layer = s->x_layer = (uint32_t)layer;
  switch (role) {
  case PERSIST_QKV:
    s->x_layer--;
    s->x = layer ? w.after_down : NULL;
    if (is_head) break;
    s->words[0] = w.q;
    s->words[1] = w.k;
    s->words[2] = w.v;
    break;
  case PERSIST_OUT:
    s->x = w.attended, s->words[0] = w.after_out, s->keeps = 1, s->exchange = 2 * (uint32_t)layer;
    break;
  case PERSIST_UP: s->x = w.after_out, s->words[0] = w.act; break;
  case PERSIST_DOWN:
    s->x = w.act, s->words[0] = w.after_down, s->keeps = 1, s->exchange = 2 * (uint32_t)layer + 1;
    break;
  }
}

int persist_product(const persist_program *p, size_t layer, persist_role role, const gemv_problem *problem, void *stage,
                    void *run) {
  persist_stage *s = static_cast<persist_stage *>(stage);
  persist_run *r = static_cast<persist_run *>(run);
  const int normed = role == PERSIST_QKV || role == PERSIST_UP;
  const gemv_activation activation = role == PERSIST_UP ? GEMV_SWIGLU : GEMV_NONE;
  const gemv_output output = role == PERSIST_UP ? GEMV_F16 : GEMV_F32;
  if (problem->m != (int)p->rows || problem->part_count < 1 || problem->part_count > GEMV_MOST_PARTS ||
      (problem->norm.x != NULL) != normed || problem->output != output || problem->activation != activation ||
      problem->x_scales)
    return cudaErrorInvalidValue;
  *s = {};
  s->run = (int)(PERSIST_ROLES * layer + role);
  s->product = gemv_arguments(problem);
  if ((size_t)s->product.tiles >= UINT32_MAX / (size_t)p->multiprocessors) return cudaErrorInvalidValue;
  const persist_words w = words_of(p);
  connect(s, role, layer, layer == p->layers, w);
  *r = {};
  for (int i = 0; i < GEMV_MOST_PARTS; i++) {
    const gemv_matrix &m = s->product.matrix[i];
    r->w[i] = m.w;
    r->scales_at[i] = m.w ? (uint32_t)((reinterpret_cast<const uint8_t *>(m.row_scales) - m.w) / 16) : 0;
    if (i > 0) r->first_tile[i - 1] = s->product.matrix[i].first_tile;
  }
  r->tiles = s->product.tiles;
  r->records = s->product.records;
  r->paired = s->product.activation == GEMV_SWIGLU;
  return cudaSuccess;
}

int persist_attention(const persist_program *p, const rope_append_args *turn, const float *q_norm, const float *k_norm,
                      float eps, const attention_args *a, const step_half_rows *half, void *stage) {
  persist_stage *s = static_cast<persist_stage *>(stage);
  const persist_words w = words_of(p);
  if (a->step->kv.type != KV_F16 || !half || a->kept || a->step->span_count != a->step->rows)
    return cudaErrorInvalidValue;
  *s = {};
  s->attends = 1;
  s->layer = s->x_layer = (uint32_t)a->layer;
  s->attention.attend = single_args_of(a, half, single_shape_of(a->h, PERSIST_HEADS).slices);
  s->attention.turn = rope_args_of(turn, q_norm, k_norm, eps);
  s->attention.q = w.q;
  s->attention.k = w.k;
  s->attention.v = w.v;
  s->attention.out = w.attended;
  s->attention.partial = w.partial;
  return cudaSuccess;
}

/* -- launch */

/* Bytes under way in a block: measured with 8B and TinyLlama in FP8; twice as many cost 2 to 5 % (docs/speed-log.md). */
#define PERSIST_BUSY_BYTES    (64 * 1024)
#define PERSIST_WAITING_BYTES (16 * 1024)

/* least: two while the block multiplies, so that one comes while the other is multiplied. */
static int chunks_of(size_t bytes, size_t least, const persist_choice &k) {
  const size_t chunks = bytes / k.chunk;
  return (int)(chunks < least ? least : chunks > k.depth ? k.depth : chunks);
}

int persist_launch(const persist_program *p, size_t shared_most, void *stream) {
  const persist_choice k = choice_for(p);
  if (!persist_fits(p, shared_most)) return cudaErrorInvalidValue;
  const size_t bytes = shared_bytes(p, k);
  const persist_words w = words_of(p);
  const uint32_t hidden = (uint32_t)p->hidden, columns = (uint32_t)(p->heads.q_heads * p->heads.head_dim);
  persist_args args = {.stages = static_cast<const persist_stage *>(p->stages),
                       .runs = static_cast<const persist_run *>(p->runs),
                       .stage_count = (int)p->stage_count,
                       .run_count = (int)p->run_count,
                       .rows = (int)p->rows,
                       .record_bytes = (int)gemv_order_of(&p->w).record_bytes,
                       .layers = (int)p->layers,
                       .depth = (int)k.depth,
                       .most_busy = chunks_of(PERSIST_BUSY_BYTES, 2, k),
                       .most_waiting = chunks_of(PERSIST_WAITING_BYTES, 1, k),
                       .heads = (uint32_t)p->heads.kv_heads,
                       .lanes = single_shape_of(p->heads, PERSIST_HEADS).lanes,
                       .before = {{w.after_down, hidden, 0},
                                  {w.attended, columns, 1},
                                  {w.after_out, hidden, 0},
                                  {w.act, (uint32_t)p->ffn, 1}},
                       .copy_bytes = (uint32_t)w.copy_bytes,
                       .region = region_bytes(p),
                       .kept = (int)kept_of(p),
                       .turn = p->turn,
                       .failed = p->failed,
                       .peers = p->peers,
                       .patience_ns =
                           PERSIST_SECONDS * (uint64_t)1000000000 + (p->peers.ranks ? EXCHANGE_PATIENCE_NS : 0)};
  const cudaError_t status = gemv_allow_shared(k.kernel, shared_most);
  if (status != cudaSuccess) return status;
  void *arguments[] = {&args};
  cudaLaunchAttribute together = {}; /* all blocks run at once, or the launch fails */
  together.id = cudaLaunchAttributeCooperative;
  together.val.cooperative = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3((unsigned)p->multiprocessors);
  config.blockDim = dim3(PERSIST_THREADS);
  config.dynamicSmemBytes = bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &together;
  config.numAttrs = 1;
  return cudaLaunchKernelExC(&config, k.kernel, arguments);
}
