#include "backend/cuda/gemm_plan.h"

#include <string.h>

/* For each kind: bytes of a row of w, of index and of x for 128 of K; of a box's rows of w and index; what K must
 * divide by, so that rows begin at multiples of 16 bytes and index rows end with a stage. */
static const struct {
  int w_128, w_box, index_128, index_box, x_128, k_multiple;
  const char *refusal;
} kinds[GEMM_KINDS] = {
    [GEMM_FP8_FAST] = {128, 128, 0, 0, 128, 16, "K a multiple of 16"},
    [GEMM_FP8_FULL] = {128, 128, 0, 0, 128, 16, "K a multiple of 16"},
    [GEMM_FP8_F16] = {128, 64, 0, 0, 256, 16, "K a multiple of 16"},
    [GEMM_NVFP4_F16] = {64, 32, 0, 0, 256, 64, "K a multiple of 64"},
    [GEMM_INT8_24] = {64, 64, 16, 16, 128, 128, "K a multiple of 128"},
    [GEMM_F16_F16] = {256, 128, 0, 0, 256, 8, "K a multiple of 8"},
};

static int output_bytes(gemm_output output) { return output == GEMM_F32 ? 4 : 2; }

/* Channels of y in a tile. */
static int tile_channels(gemm_act act) { return act == GEMM_SWIGLU ? GEMM_CHANNELS / 2 : GEMM_CHANNELS; }

const char *gemm_refusal(const gemm_problem *p) {
  if ((unsigned)p->kind >= GEMM_KINDS) return "a known kind of product";
  if (p->m <= 0 || p->n <= 0 || p->k <= 0) return "a row, a channel and a column at least";
  if (p->k % kinds[p->kind].k_multiple != 0) return kinds[p->kind].refusal;
  if (p->n % 8 != 0) return "a multiple of 8 channels";
  if (p->act == GEMM_GELU && p->output == GEMM_F32) return "16-bit results with GELU";
  return NULL;
}

static uint64_t bytes_for_k(int per_128, int k) { return (uint64_t)per_128 * (uint64_t)k / 128; }

/* [rows][row_bytes] of bytes, moved in boxes of [rows_at_once][row_at_once]. */
static gemm_box matrix_box(const void *data, uint64_t rows, uint64_t row_bytes, uint32_t rows_at_once,
                           uint32_t row_at_once) {
  gemm_box b = {data, GEMM_BYTE, 2, {row_bytes, rows}, {row_bytes}, {row_at_once, rows_at_once}, 0};
  b.swizzle = row_at_once >= 64 ? row_at_once : 0;
  return b;
}

static uint64_t distance(const void *from, const void *to) { return (uint64_t)((uintptr_t)to - (uintptr_t)from); }

/* Two matrices of n rows, moved 8 rows of each at a time: rows g0-7 u0-7 g8-15 ... of the box. */
static gemm_box joined_box(const void *data, const void *up, uint64_t n, uint64_t row_bytes, uint32_t rows_at_once,
                           uint32_t row_at_once) {
  gemm_box b = {data,
                GEMM_BYTE,
                4,
                {row_bytes, 8, 2, n / 8},
                {row_bytes, distance(data, up), 8 * row_bytes},
                {row_at_once, 8, 2, rows_at_once / 16},
                0};
  b.swizzle = row_at_once >= 64 ? row_at_once : 0;
  return b;
}

/* Their rows are taken apart in registers. */
static int widened(gemm_kind kind) { return kind == GEMM_FP8_F16 || kind == GEMM_NVFP4_F16; }

static gemm_box weight_box(const gemm_problem *p, const void *data, const void *up, int per_128, int row_at_once) {
  uint64_t row_bytes = bytes_for_k(per_128, p->k), n = (uint64_t)p->n;
  if (p->act == GEMM_SWIGLU && widened(p->kind))
    return matrix_box(data, n, row_bytes, GEMM_CHANNELS / 2, (uint32_t)row_at_once);
  if (p->act == GEMM_SWIGLU) return joined_box(data, up, n, row_bytes, GEMM_CHANNELS, (uint32_t)row_at_once);
  return matrix_box(data, n, row_bytes, GEMM_CHANNELS, (uint32_t)row_at_once);
}

int gemm_ups_fit(gemm_kind kind, const gemm_operands *o) {
  const uint64_t most = (uint64_t)1 << 40; /* of a stride */
  if (widened(kind)) return 1;
  const uint64_t w = distance(o->w, o->up.w), index = kinds[kind].index_box ? distance(o->index, o->up.index) : w;
  return w < most && index < most && (w | index) % 16 == 0;
}

void gemm_plan(const gemm_problem *p, const gemm_operands *o, gemm_boxes *boxes) {
  memset(boxes, 0, sizeof *boxes);
  int x_bytes = kinds[p->kind].x_128 / 128, y_bytes = output_bytes(p->output);
  /* Each block of a cluster brings its part of the rows of x. */
  boxes->x = matrix_box(o->x, (uint64_t)p->m, (uint64_t)p->k * (uint64_t)x_bytes, GEMM_TOKENS / GEMM_CLUSTER, 128);
  if (x_bytes == 2) {
    boxes->x.element = GEMM_HALF;
    boxes->x.size[0] = (uint64_t)p->k;
    boxes->x.box[0] = 64;
  }
  const int half = gemm_shared(p, o) ? gemm_few_tokens(p->m) : GEMM_HALF_TOKENS;
  boxes->x_half = boxes->x;
  boxes->x_half.box[1] = (uint32_t)half / GEMM_CLUSTER;
  boxes->x_tail = boxes->x;
  boxes->x_tail.box[1] = GEMM_TAIL;
  const int w_128 = kinds[p->kind].w_128, w_box = kinds[p->kind].w_box;
  boxes->w = weight_box(p, o->w, o->up.w, w_128, w_box);
  if (kinds[p->kind].index_box)
    boxes->index = weight_box(p, o->index, o->up.index, kinds[p->kind].index_128, kinds[p->kind].index_box);
  else if (p->act == GEMM_SWIGLU && widened(p->kind))
    boxes->index = weight_box(p, o->up.w, NULL, w_128, w_box);

  /* A warpgroup's channels, in rows of at most 128 bytes; as many tokens as a round holds (gemm_epilogue.cuh). */
  uint32_t row = (uint32_t)(tile_channels(p->act) / 2 * y_bytes), width = row > 128 ? 128 : row;
  boxes->y = (gemm_box){o->y,
                        y_bytes == 2 ? GEMM_HALF : GEMM_FLOAT,
                        2,
                        {(uint64_t)p->n, (uint64_t)p->m},
                        {(uint64_t)p->n * (uint64_t)y_bytes},
                        {width / (uint32_t)y_bytes, GEMM_ROUND_BYTES / row},
                        width};
}

int gemm_pairs(const gemm_problem *p) {
  const int high = GEMM_CLUSTER * tile_channels(p->act);
  return (int)(((int64_t)p->n + high - 1) / high);
}

gemm_tiles gemm_tiles_plan(const gemm_problem *p, int count, int sms) {
  const int tall = widened(p->kind) && p->output == GEMM_F32 && p->act != GEMM_GELU;
  int pairs = 0;
  for (int i = 0; i < count; i++) pairs += gemm_pairs(&p[i]);
  return gemm_tiles_of(p->m, pairs, sms / GEMM_CLUSTER, tall ? GEMM_TAIL : 0);
}

int gemm_shared(const gemm_problem *p, const gemm_operands *o) {
  const int written =
      p->output == GEMM_F32 || (p->output == GEMM_F16 && p->act == GEMM_SWIGLU); /* as write_rows does */
  return o->meet && p->m <= GEMM_FEW_TOKENS && written && p->act != GEMM_GELU;
}

int gemm_few_tokens(int m) {
  int tokens = GEMM_FEW_TOKENS / 4;
  while (tokens < m) tokens *= 2;
  return tokens;
}

int gemm_ordered(const gemm_problem *p, const gemm_operands *o) {
  return gemm_shared(p, o) && p->kind == GEMM_FP8_F16 && o->ordered && (p->act != GEMM_SWIGLU || o->up.ordered);
}

gemm_shares gemm_shares_plan(const gemm_problem *p, const gemm_operands *o, int count, int sms) {
  const int stage_k = kinds[p->kind].x_128 == 128 || gemm_ordered(p, o) ? 128 : 64;
  int pairs = 0;
  for (int i = 0; i < count; i++) pairs += gemm_pairs(&p[i]);
  return gemm_shares_of(pairs, (p->k + stage_k - 1) / stage_k, sms / GEMM_CLUSTER);
}

size_t gemm_meet_zeros(int multiprocessors) {
  return ((size_t)multiprocessors * 2 * sizeof(uint32_t) + 255) / 256 * 256;
}

/* Two places for each block, of 128 channels. */
size_t gemm_meet_bytes(int m, int multiprocessors) {
  if (m > GEMM_FEW_TOKENS) return 0;
  return gemm_meet_zeros(multiprocessors) +
         (size_t)multiprocessors * 2 * GEMM_CHANNELS * (size_t)gemm_few_tokens(m) * sizeof(float);
}

int gemm_blocks(const gemm_tiles *tiles, int sms) {
  const int count = gemm_tiles_count(tiles), clusters = sms / GEMM_CLUSTER;
  return GEMM_CLUSTER * (count < clusters ? count : clusters);
}

int gemm_joins(const gemm_problem *p, const gemm_operands *o, const gemm_problem *q, const gemm_operands *with) {
  return p->kind == q->kind && p->output == q->output && p->act == q->act && p->m == q->m && p->k == q->k &&
         o->x == with->x && o->row_scale == with->row_scale && !o->ordered == !with->ordered;
}
