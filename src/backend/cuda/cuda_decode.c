/* backend/cuda/cuda_decode.c: a step of few rows as one launch: a graph of the step's kernels, captured when a step of its
 * shape is first run, replayed for any sessions, positions and pages.
 *
 *   fetch                the step's description: the host's pinned memory → the device's
 *   angles               of several sequences; else they are in the description
 *   embed
 *   each layer           norm → q k v → rope and cache → attention → o + x → norm → silu(gate) · up → down + x
 *   norm → head → put    logits to the rows that are to hold them
 *   top                  the best ids, to the host's pinned memory
 *
 * Every kernel may start while the one before it ends (programmatic dependent launch): a product's weights are on their way
 * before its rows are there. Steps whose rows are all kept are taken, of 1 to GEMV_MOST_ROWS rows, and of up to
 * CUDA_DECODE_ROWS sequences of a row each whose products are all gemm.h's. Which kernel multiplies is what it is for
 * operations (cuda_linear.c).
 *
 * silu(gate) · up is written as FP16 without a scale. Where FP16 cannot hold it the row's logits become NaN; then the step is
 * refused and the operations do it, which scale. */
#include "backend/cuda/cuda.h"
#include "backend/cuda/cuda_exchange.h"

#include <string.h>

#define TURN_AT     8   /* in the description: launches of the program before this one */
#define NUMBER_AT   12  /* the number of the step's first exchange */
#define PAGES_LEAST 128 /* of a row's share of the page table: 8192 positions */

typedef struct decode_graph {
  size_t rows, spans, pages; /* pages: room of the table */
  uint32_t row_shares;       /* of attention, at most */
  int turned;                /* the description has what rows turn by, not their angles */
  input_mode mode;
  kv_type kv;
  cudaGraphExec_t exec;
  void *program;  /* dev: stages and runs of persist.h, and its work; NULL: the layers are kernels of their own */
  uint32_t turns; /* of the program */
  struct decode_graph *next;
} decode_graph;

/* The description as it travels: offsets of its arrays, for CUDA_DECODE_ROWS rows; the page table is last. */
typedef struct decode_block {
  size_t logits_to, tokens, positions, sequence, kept_rows, spans, cos_sin, pages;
} decode_block;

/* What the device holds for one decoder's steps. */
struct decode_plan {
  const decoder *d;
  decode_plan *next;
  decode_graph *graphs;
  decode_block at;
  size_t page_room; /* of the table */
  void *host;       /* pinned: the description, then the answers */
  size_t answers_at;
  void *dev;
  /* in dev */
  uint8_t *block, *quantized;
  float *x, *norm, *q, *k, *v, *wide, *logits, *half_scales, *cos_sin;
  uint16_t *half, *act; /* act: silu(gate) · up */
  step_work work;
};

/* ---- which steps are taken. Those of more than GEMV_MOST_ROWS rows: of sequences of a row each, with 16-bit rows, when all
 * products are gemm.h's and need no room but the rows' */

static int weight_taken(const weight *w) { return w->prepared != NULL && w->cols % 8 == 0; }

static int alike(const weight *a, const weight *b) {
  return a->format == b->format && a->cols == b->cols && a->block == b->block && a->scales_type == b->scales_type &&
         a->pairs == b->pairs;
}

static int decoder_taken(const decoder *d) {
  if (d->link && !cuda_exchange_captured(d->link)) return 0;
  if (step_attention_refusal(d->heads) || !weight_taken(&d->head)) return 0;
  for (size_t i = 0; i < d->layer_count; i++) {
    const decoder_layer *l = &d->layers[i];
    enum { MATRICES = 7 };
    const weight *all[MATRICES] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
    for (size_t j = 0; j < MATRICES; j++)
      if (!weight_taken(all[j])) return 0;
  }
  return 1;
}

/* A product of many rows. Its rows are somewhere else: x only says that those of one launch are the same. */
static linear_args many_of(const weight *w, size_t rows, const float *x, const float *bias, float *y, int adds) {
  return (linear_args){.m = rows,
                       .x = x,
                       .x_stride = w->cols,
                       .input = INPUT_FLOAT,
                       .w = w,
                       .bias = bias,
                       .residual = adds ? y : NULL,
                       .y = y,
                       .y_stride = w->rows};
}

static int many_taken(const cuda_backend *c, const decoder *d, const batch *host, input_mode mode) {
  const size_t rows = host->rows;
  if (d->link || mode != INPUT_FLOAT || host->span_count != rows || host->kv.type != KV_F16 || c->gpu.major != 9)
    return 0;
#define MANY(w) many_of(w, rows, NULL, NULL, NULL, 0)
  for (size_t i = 0; i < d->layer_count; i++) {
    const decoder_layer *l = &d->layers[i];
    const linear_args in[] = {MANY(&l->q), MANY(&l->k), MANY(&l->v)}, gated[] = {MANY(&l->gate), MANY(&l->up)},
                      o = MANY(&l->o), down = MANY(&l->down);
    if (!alike(&l->gate, &l->up) || !cuda_many_taken(c, gated, 2, 1) || !cuda_many_taken(c, in, 3, 0) ||
        !cuda_many_taken(c, &o, 1, 0) || !cuda_many_taken(c, &down, 1, 0))
      return 0;
  }
  const linear_args head = MANY(&d->head);
#undef MANY
  return cuda_many_taken(c, &head, 1, 0);
}

static int step_taken(const cuda_backend *c, const decoder *d, const batch *host, input_mode mode) {
  if (host->kept != host->rows || mode == INPUT_INT4 || !decoder_taken(d)) return 0;
  if (d->link && host->rows * d->hidden > EXCHANGE_FLOATS) return 0;
  return host->rows <= GEMV_MOST_ROWS || many_taken(c, d, host, mode);
}

/* ---- memory */

enum { ANSWERS = 4 }; /* ids, NaN flags, failure, values: to each of them the room of the first */

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static decode_block block_of(size_t rotary_dim) {
  const size_t numbers = cuda_align(CUDA_DECODE_ROWS * sizeof(uint32_t));
  decode_block at = {.logits_to = 256};
  at.tokens = at.logits_to + cuda_align(CUDA_DECODE_ROWS * sizeof(float *));
  at.positions = at.tokens + numbers;
  at.sequence = at.positions + numbers;
  at.kept_rows = at.sequence + numbers;
  at.spans = at.kept_rows + numbers;
  at.cos_sin = at.spans + cuda_align(CUDA_DECODE_ROWS * sizeof(batch_span));
  at.pages = at.cos_sin + cuda_align(CUDA_DECODE_ROWS * rotary_dim * sizeof(float));
  return at;
}

/* Gives each part of the plan's memory its place; NULL for base: only counts. */
static size_t lay_out(const cuda_backend *c, decode_plan *p, uint8_t *base) {
  const decoder *d = p->d;
  const head_shape h = d->heads;
  const size_t rows = CUDA_DECODE_ROWS, q = h.q_heads * h.head_dim, kv = h.kv_heads * h.head_dim;
  const size_t widest = larger(larger(d->hidden, d->ffn), q);
  size_t at = 0;
#define PLACE(member, type, bytes) (p->member = (type)(void *)(base ? base + at : NULL), at += cuda_align(bytes))
  PLACE(block, uint8_t *, p->at.pages + p->page_room * sizeof(void *));
  PLACE(x, float *, rows * d->hidden * sizeof(float));
  PLACE(norm, float *, rows *widest * sizeof(float));
  PLACE(q, float *, rows *q * sizeof(float));
  PLACE(k, float *, rows *kv * sizeof(float));
  PLACE(v, float *, rows *kv * sizeof(float));
  PLACE(wide, float *, 2 * rows * d->ffn * sizeof(float));
  PLACE(half, uint16_t *, rows * widest * sizeof(uint16_t));
  PLACE(act, uint16_t *, rows * d->ffn * sizeof(uint16_t));
  PLACE(half_scales, float *, rows * sizeof(float));
  PLACE(cos_sin, float *, rows * d->rotary_dim * sizeof(float));
  PLACE(quantized, uint8_t *, step_quantized_bytes(INPUT_E4M3, rows, widest));
  PLACE(logits, float *, rows * d->vocab * sizeof(float));
  PLACE(work.counters, uint32_t *, STEP_COUNTERS * sizeof(uint32_t));
  PLACE(work.scratch, void *,
        larger(step_attention_scratch(h, c->gpu.multiprocessors), step_top_scratch(rows, d->vocab, 1)));
#undef PLACE
  p->work.multiprocessors = c->gpu.multiprocessors;
  p->work.clusters = c->gpu.major >= 9;
  p->work.warpgroups = c->gpu.major == 9;
  return at;
}

static void drop_graphs(const cuda_backend *c, decode_plan *p) {
  for (decode_graph *g = p->graphs, *next; g; g = next) {
    next = g->next;
    c->api->GraphExecDestroy(g->exec);
    if (g->program) c->api->FreeAsync(g->program, c->stream);
    mem_free(&c->rt->mem, g);
  }
  p->graphs = NULL;
}

static void drop_memory(cuda_backend *c, decode_plan *p) {
  drop_graphs(c, p);
  if (p->host) c->api->FreeHost(p->host);
  if (p->dev) c->api->FreeAsync(p->dev, c->stream);
  p->host = p->dev = NULL;
}

static viva_status take_memory(cuda_backend *c, decode_plan *p, size_t pages, viva_error *error) {
  cuda_room room = {NULL, 0};
  p->page_room = larger(pages, CUDA_DECODE_ROWS * PAGES_LEAST);
  p->at = block_of(p->d->rotary_dim);
  p->answers_at = cuda_align(p->at.pages + p->page_room * sizeof(void *));
  TRY(cuda_check(
      c, c->api->MallocHost(&p->host, p->answers_at + ANSWERS * cuda_align(CUDA_DECODE_ROWS * sizeof(viva_token))),
      "taking pinned memory", error));
  memset(p->host, 0, p->answers_at + ANSWERS * cuda_align(CUDA_DECODE_ROWS * sizeof(viva_token)));
  TRY(cuda_room_fit(c, &room, lay_out(c, p, NULL), error));
  p->dev = room.dev;
  lay_out(c, p, p->dev);
  return cuda_check(c, c->api->MemsetAsync(p->work.counters, 0, STEP_COUNTERS * sizeof(uint32_t), c->stream),
                    "clearing counters", error);
}

/* The decoder's plan, with room for so many pages. */
static viva_status plan_for(cuda_backend *c, const decoder *d, size_t pages, decode_plan **out, viva_error *error) {
  decode_plan *p = c->plans;
  while (p && p->d != d) p = p->next;
  if (!p) {
    p = mem_zalloc(&c->rt->mem, sizeof *p);
    if (!p) return error_set(error, VIVA_E_MEMORY, "no memory for a captured step");
    p->d = d;
    p->next = c->plans;
    c->plans = p;
  }
  *out = p;
  if (p->dev && p->page_room >= pages) return VIVA_OK;
  drop_memory(c, p);
  const viva_status status = take_memory(c, p, 2 * pages, error);
  if (status) drop_memory(c, p);
  return status;
}

/* ---- capture */

enum { PRODUCTS = 4, STAGES = 5 }; /* of a layer: persist.h */

typedef struct capture {
  cuda_backend *c;
  const decode_plan *p;
  const decoder *d;
  batch step; /* as the device sees it */
  input_mode mode;
  uint32_t row_shares;
  step_queue q;
  int status;         /* the first cudaError_t; nothing is queued after it */
  const uint16_t *in; /* the rows that the next product takes, and their scales (NULL: 1) */
  const float *scales;
  uint32_t exchanges;     /* so far */
  int sent;               /* x is this rank's part, and the others have been sent it: number exchanges - 1 */
  gemv_norm norm;         /* x not NULL: they are to be made */
  gemv_send send;         /* the next product's */
  uint8_t *stages, *runs; /* not NULL: layers are written there in place of being queued */
  persist_program program;
} capture;

#define QUEUE(s, call)                                                                                                 \
  do {                                                                                                                 \
    if ((s)->status == 0) (s)->status = (s)->c->kernels->call;                                                         \
  } while (0)

/* Rows x [rows][n], FP32, become what products of w take. */
static void enter(capture *s, const float *x, size_t n, const weight *w) {
  const decode_plan *p = s->p;
  const int rows = (int)s->step.rows;
  s->in = p->half;
  s->norm.x = NULL;
  if (s->mode == INPUT_FLOAT || weight_dense(w->format)) {
    QUEUE(s, rows(ROWS_F32, x, n, rows, (int)n, ROWS_TO_F16, p->half, p->half_scales, s->q.stream));
    s->scales = p->half_scales;
    return;
  }
  QUEUE(s, quantize_rows(s->q, s->mode, x, n, (size_t)rows, n, p->quantized));
  QUEUE(s, codes_to_f16(s->mode == INPUT_E4M3 ? CONVERT_E4M3 : CONVERT_INT8, p->quantized, rows, (int)n, p->half, n,
                        s->q.stream));
  s->scales = step_quantized_scales(p->quantized, s->mode, (size_t)rows, n);
}

static step_exchange_group group_of(const capture *s) {
  const uint32_t *number = (const uint32_t *)(const void *)(s->p->block + NUMBER_AT);
  return cuda_exchange_group(s->d->link, s->d->rank, number);
}

/* The next product's rows = rmsnorm(x), for weights like w: made by the product's own kernel, or, where they are quantised or
 * x is a sum that is on its way, before it. */
static void norm(capture *s, const float *gain, const weight *w) {
  const decode_plan *p = s->p;
  const size_t hidden = s->d->hidden;
  s->in = p->half;
  s->scales = NULL;
  if (s->mode == INPUT_FLOAT || weight_dense(w->format)) {
    s->norm = (gemv_norm){.x = p->x, .stride = hidden, .gain = gain, .eps = s->d->eps};
    if (s->step.rows > GEMV_SURE_ROWS && !s->sent) {
      QUEUE(s, gemv_norm_rows(s->q, &s->norm, (int)s->step.rows, (int)hidden, p->half));
      s->norm.x = NULL;
    }
    if (!s->sent) return;
    const step_exchange_args e = {.group = group_of(s), .number = s->exchanges - 1};
    QUEUE(s, gemv_exchange_rows(s->q, &s->norm, &e, (int)s->step.rows, (int)hidden, p->half));
    s->norm.x = NULL;
    s->sent = 0;
    return;
  }
  const step_rmsnorm_args a = {.x = p->x,
                               .y = p->norm,
                               .rows = s->step.rows,
                               .stride = hidden,
                               .groups = 1,
                               .n = hidden,
                               .gain = gain,
                               .eps = s->d->eps};
  QUEUE(s, rmsnorm(s->q, &a));
  enter(s, p->norm, hidden, w);
}

static gemv_part part(const weight *w, const float *bias, const float *residual, void *y) {
  return (gemv_part){
      .ordered = w->prepared, .rows = w->rows, .bias = bias, .residual = residual, .y = y, .y_stride = w->rows};
}

/* 1 when gemm.h multiplies by these weights in one launch, as it does where operations are queued one by one. */
static int runs_many(const capture *s, const weight *const *w, int count, int gated) {
  linear_args a[GEMV_MOST_PARTS];
  if (s->mode != INPUT_FLOAT && !weight_dense(w[0]->format)) return 0;
  for (int i = 0; i < count; i++) a[i] = many_of(w[i], s->step.rows, NULL, NULL, NULL, 0);
  return cuda_many_taken(s->c, a, (size_t)count, gated);
}

/* 1 when these weights are multiplied in one launch, whose kernel is that of each alone. */
static int joined(const capture *s, const weight *const *w, int count, int gated) {
  for (int i = 1; i < count; i++)
    if (!alike(w[0], w[i])) return 0;
  return !runs_many(s, w, 1, 0) || runs_many(s, w, count, gated);
}

static void many_product(capture *s, const weight *const *w, const gemv_part *parts, int count,
                         const gemm_output *gated) {
  linear_args a[GEMV_MOST_PARTS];
  for (int i = 0; i < count; i++)
    a[i] = many_of(w[i], s->step.rows, s->p->x, parts[i].bias, parts[i].y, parts[i].residual != NULL);
  if (s->status == 0 && cuda_many_queue(s->c, a, (size_t)count, gated, s->in, s->scales, NULL) != VIVA_OK)
    s->status = cudaErrorInvalidValue;
}

/* w: a weight for each part. */
static void product(capture *s, const weight *const *w, const gemv_part *parts, int count, gemv_activation act,
                    gemv_output output) {
  if (runs_many(s, w, count, act == GEMV_SWIGLU)) {
    const gemm_output gated = output == GEMV_F16 ? GEMM_F16 : GEMM_F32;
    many_product(s, w, parts, count, act == GEMV_SWIGLU ? &gated : NULL);
    return;
  }
  gemv_problem g = {.w = *w[0],
                    .m = (int)s->step.rows,
                    .x = s->in,
                    .x_stride = w[0]->cols,
                    .x_scales = s->scales,
                    .norm = s->norm,
                    .activation = act,
                    .output = output,
                    .send = s->send,
                    .part_count = count};
  memcpy(g.parts, parts, (size_t)count * sizeof *parts);
  if (s->stages) {
    const size_t number = s->program.run_count++;
    uint8_t *stage = s->stages + s->program.stage_count++ * s->c->kernels->persist_stage_bytes();
    QUEUE(s, persist_product(&s->program, number / PRODUCTS, (persist_role)(number % PRODUCTS), &g, stage,
                             s->runs + number * s->c->kernels->persist_run_bytes()));
    return;
  }
  QUEUE(s, gemv(&g, &s->c->gpu, s->q.dependent, s->q.stream));
}

/* x = x + a product; of a rank among several its part of that, where the first rank adds x, and then the sum: by a kernel of
 * its own, or, of several rows, sent by the product and added up by the norm after it. (In a program the product does all.) */
static void add_to_x(capture *s, const weight *w, const float *bias) {
  const decoder *d = s->d;
  const gemv_part x = part(w, bias, d->rank == 0 ? s->p->x : NULL, s->p->x);
  if (!d->link || s->stages) {
    product(s, &w, &x, 1, GEMV_NONE, GEMV_F32);
    return;
  }
  const step_exchange_args sum = {
      .group = group_of(s), .x = s->p->x, .count = s->step.rows * d->hidden, .number = s->exchanges++};
  s->sent = s->step.rows > 1 && s->mode == INPUT_FLOAT && !runs_many(s, &w, 1, 0);
  if (s->sent) s->send = (gemv_send){.to = sum.group, .number = sum.number};
  product(s, &w, &x, 1, GEMV_NONE, GEMV_F32);
  s->send.to.ranks = 0;
  if (!s->sent) QUEUE(s, exchange(s->q, &sum));
}

static void project(capture *s, const decoder_layer *l) {
  const decode_plan *p = s->p;
  const gemv_part parts[] = {part(&l->q, l->q_bias, NULL, p->q), part(&l->k, l->k_bias, NULL, p->k),
                             part(&l->v, l->v_bias, NULL, p->v)};
  const weight *const all[] = {&l->q, &l->k, &l->v};
  norm(s, l->attention_norm, &l->q);
  if (joined(s, all, 3, 0)) {
    product(s, all, parts, 3, GEMV_NONE, GEMV_F32);
    return;
  }
  for (int i = 0; i < 3; i++) product(s, &all[i], &parts[i], 1, GEMV_NONE, GEMV_F32);
}

static void attend(capture *s, const decoder_layer *l, size_t number) {
  const decode_plan *p = s->p;
  const head_shape h = s->d->heads;
  const size_t width = h.q_heads * h.head_dim;
  const int as_half = s->step.kv.type == KV_F16 && (s->mode == INPUT_FLOAT || weight_dense(l->o.format));
  const step_half_rows half = {.rows = p->half, .stride = width}, *to_half = as_half ? &half : NULL;
  const rope_append_args turn = {.step = &s->step,
                                 .layer = number,
                                 .h = h,
                                 .rotary_dim = s->d->rotary_dim,
                                 .q = p->q,
                                 .k = p->k,
                                 .v = p->v,
                                 .q_stride = width,
                                 .kv_stride = h.kv_heads * h.head_dim};
  const attention_args a = {.step = &s->step,
                            .layer = number,
                            .h = h,
                            .scale = s->d->attention_scale,
                            .window = l->window,
                            .q = p->q,
                            .q_stride = width,
                            .out = as_half ? NULL : p->norm,
                            .out_stride = width};
  if (s->stages) {
    uint8_t *stage = s->stages + s->program.stage_count++ * s->c->kernels->persist_stage_bytes();
    QUEUE(s, persist_attention(&s->program, &turn, l->q_norm, l->k_norm, s->d->eps, &a, to_half, stage));
  } else if (p->work.clusters && s->step.span_count == s->step.rows) {
    step_work work = p->work;
    work.row_shares = s->row_shares;
    QUEUE(s, turn_attention(s->q, &turn, l->q_norm, l->k_norm, s->d->eps, &a, to_half, &work));
  } else {
    QUEUE(s, rope_append(s->q, &turn, l->q_norm, l->k_norm, s->d->eps));
    QUEUE(s, attention(s->q, &a, to_half, &p->work));
  }
  s->in = p->half;
  s->scales = NULL;
  s->norm.x = NULL;
  if (!as_half) enter(s, p->norm, width, &l->o);
  add_to_x(s, &l->o, l->o_bias);
}

static void feed_forward(capture *s, const decoder_layer *l) {
  const decode_plan *p = s->p;
  const size_t rows = s->step.rows, ffn = s->d->ffn;
  const weight *const all[] = {&l->gate, &l->up};
  const int gated = joined(s, all, 2, 1);
  const int as_half = gated && (s->mode == INPUT_FLOAT || weight_dense(l->down.format));
  float *gate = p->wide, *up = p->wide + rows * ffn;
  gemv_part parts[] = {part(&l->gate, l->gate_bias, NULL, as_half ? (void *)p->act : gate),
                       part(&l->up, l->up_bias, NULL, up)};
  norm(s, l->mlp_norm, &l->gate);
  if (gated) {
    product(s, all, parts, 2, GEMV_SWIGLU, as_half ? GEMV_F16 : GEMV_F32);
  } else {
    for (int i = 0; i < 2; i++) product(s, &all[i], &parts[i], 1, GEMV_NONE, GEMV_F32);
    const step_silu_args a = {.gate = gate, .up = up, .out = gate, .rows = rows, .n = ffn, .stride = ffn};
    QUEUE(s, silu_mul(s->q, &a));
  }
  s->in = p->act;
  s->scales = NULL;
  s->norm.x = NULL;
  if (!as_half) enter(s, gate, ffn, &l->down);
  add_to_x(s, &l->down, l->down_bias);
}

/* Answers: best ids, then NaN flags. */
static viva_token *answer_ids(const decode_plan *p) {
  return (viva_token *)(void *)((uint8_t *)p->host + p->answers_at);
}
static uint8_t *answer_nan(const decode_plan *p) {
  return (uint8_t *)p->host + p->answers_at + cuda_align(CUDA_DECODE_ROWS * sizeof(viva_token));
}

/* The best ones' values, of a rank among several. */
static float *answer_values(const decode_plan *p) {
  return (float *)(void *)((uint8_t *)p->host + p->answers_at + 3 * cuda_align(CUDA_DECODE_ROWS * sizeof(viva_token)));
}

/* Word of the host's that a program sets when its blocks did not meet. */
static uint32_t *answer_failed(const decode_plan *p) {
  return (uint32_t *)(void *)((uint8_t *)p->host + p->answers_at +
                              2 * cuda_align(CUDA_DECODE_ROWS * sizeof(viva_token)));
}

static void multiply_head(capture *s) {
  const decoder *d = s->d;
  const gemv_part head = part(&d->head, NULL, NULL, s->p->logits);
  const weight *const w = &d->head;
  norm(s, d->output_norm, w);
  product(s, &w, &head, 1, GEMV_NONE, GEMV_F32);
}

static void queue_step(capture *s) {
  const decode_plan *p = s->p;
  const decoder *d = s->d;
  const size_t rows = s->step.rows;
  QUEUE(s, fetch(p->host, p->block, (p->at.pages + s->step.page_count * sizeof(void *) + 15) / 16, s->q.stream));
  if (s->step.turns) {
    const step_row_angles_args angles = {.positions = s->step.positions,
                                         .turns = (const float *)(const void *)(p->block + p->at.cos_sin),
                                         .cos_sin = p->cos_sin,
                                         .rows = rows,
                                         .pairs = d->rotary_dim / 2};
    QUEUE(s, row_angles(s->q, &angles));
  }
  QUEUE(s, embed(s->q, &d->embedding, s->step.tokens, rows, p->x));
  /* The first product waits until all before it has ended: from there on kernels may read the description before the one before
   * them has ended. */
  const int dependent = s->q.dependent;
  s->q.dependent = 0;
  if (s->program.stages) {
    QUEUE(s, persist_launch(&s->program, &s->c->gpu, s->q.stream));
  } else {
    for (size_t i = 0; i < d->layer_count; i++) {
      project(s, &d->layers[i]);
      s->q.dependent = dependent;
      attend(s, &d->layers[i], i);
      feed_forward(s, &d->layers[i]);
    }
  }
  if (s->program.run_count % PRODUCTS == 0) { /* else the program has it */
    multiply_head(s);
    s->q.dependent = dependent;
  }
  const step_top_args top = {.logits = p->logits,
                             .rows = rows,
                             .n = d->vocab,
                             .k = 1,
                             .ids = answer_ids(p),
                             .values = d->link ? answer_values(p) : NULL,
                             .nan = answer_nan(p)};
  QUEUE(s, put(p->logits, (float *const *)(void *)(p->block + p->at.logits_to), rows, d->vocab, s->q.stream,
               s->q.dependent));
  s->q.dependent = dependent;
  QUEUE(s, top(s->q, &top, &p->work));
}

/* The step as the kernels see it: arrays in the plan's block, a page table of `pages`. */
static batch device_step(const decode_plan *p, const batch *host, size_t pages) {
  batch step = *host;
  const uint8_t *at = p->block;
  step.block = at;
  step.block_bytes = p->at.pages + pages * sizeof(void *);
  step.page_count = pages;
  step.tokens = (const viva_token *)(const void *)(at + p->at.tokens);
  step.positions = (const uint32_t *)(const void *)(at + p->at.positions);
  step.sequence = (const uint32_t *)(const void *)(at + p->at.sequence);
  step.cos_sin = step.turns ? p->cos_sin : (const float *)(const void *)(at + p->at.cos_sin);
  step.spans = step.kept_spans = (const batch_span *)(const void *)(at + p->at.spans);
  step.kept_rows = (const uint32_t *)(const void *)(at + p->at.kept_rows);
  step.pages = (void *const *)(const void *)(at + p->at.pages);
  return step;
}

/* ---- the layers as one kernel (persist.h) */

static int same_form(const weight *a, const weight *b) {
  return a->format == b->format && a->block == b->block && a->scales_type == b->scales_type && a->pairs == b->pairs;
}

/* 1 when every layer is four products of one form, and attention between them over the same window. */
static int layers_alike(const decoder *d, input_mode mode) {
  const weight *first = &d->layers[0].q;
  if (mode != INPUT_FLOAT && !weight_dense(first->format)) return 0;
  for (size_t i = 0; i < d->layer_count; i++) {
    const decoder_layer *l = &d->layers[i];
    if (l->window != d->layers[0].window) return 0; /* blocks keep what they know of a row from layer to layer */
    if (!alike(&l->q, &l->k) || !alike(&l->q, &l->v) || !alike(&l->gate, &l->up)) return 0;
    if (!same_form(first, &l->q) || !same_form(first, &l->o) || !same_form(first, &l->gate) ||
        !same_form(first, &l->down))
      return 0;
  }
  return 1;
}

/* The stages of the layers to the device, if that is how they run: then s->program.stages is not NULL. */
static viva_status make_program(capture *s, decode_graph *g, viva_error *error) {
  cuda_backend *c = s->c;
  const decoder *d = s->d;
  const cuda_kernels *k = c->kernels;
  if (d->layers_as == LAYERS_AS_STAGES) return VIVA_OK;
  if (!s->p->work.clusters || s->step.kv.type != KV_F16 || s->step.span_count != s->step.rows || d->layer_count == 0)
    return VIVA_OK;
  persist_program program = {.w = d->layers[0].q,
                             .rows = s->step.rows,
                             .multiprocessors = c->gpu.multiprocessors,
                             .hidden = d->hidden,
                             .ffn = d->ffn,
                             .layers = d->layer_count,
                             .heads = d->heads,
                             .run_count = d->layer_count * PRODUCTS};
  if (d->link) program.peers = group_of(s);
  if (!layers_alike(d, s->mode)) return VIVA_OK;
  const int head = same_form(&d->head, &program.w) && k->persist_may_have_head(&program);
  program.run_count += (size_t)head;
  if (!k->persist_fits(&program, c->gpu.shared_most)) return VIVA_OK;
  const size_t stages = cuda_align((d->layer_count * STAGES + (size_t)head) * k->persist_stage_bytes());
  const size_t runs = cuda_align(program.run_count * k->persist_run_bytes()), work = k->persist_work_bytes(&program);
  cuda_room room = {NULL, 0};
  TRY(cuda_room_fit(c, &room, stages + runs + work, error));
  g->program = room.dev;
  uint8_t *dev = room.dev;
  s->stages = mem_zalloc(&c->rt->mem, stages + runs);
  if (!s->stages) return error_set(error, VIVA_E_MEMORY, "no memory for a captured step");
  s->runs = s->stages + stages;
  program.run_count = 0;
  program.work = dev + stages + runs;
  program.turn = (const uint32_t *)(const void *)(s->p->block + TURN_AT);
  program.failed = answer_failed(s->p);
  s->program = program;
  for (size_t i = 0; i < d->layer_count; i++) {
    project(s, &d->layers[i]);
    attend(s, &d->layers[i], i);
    feed_forward(s, &d->layers[i]);
  }
  if (head) multiply_head(s);
  viva_status status = cuda_check(c, (cudaError_t)s->status, "writing the stages of a step", error);
  if (!status)
    status = cuda_check(c, c->api->MemcpyAsync(dev, s->stages, stages + runs, cudaMemcpyHostToDevice, c->stream),
                        "the stages of a step", error);
  if (!status)
    status = cuda_check(c, c->api->MemsetAsync(dev + stages + runs, 0xff, work, c->stream), "clearing words", error);
  if (!status) status = cuda_check(c, c->api->StreamSynchronize(c->stream), "the stages of a step", error);
  mem_free(&c->rt->mem, s->stages);
  s->stages = NULL;
  s->program.stages = dev;
  s->program.runs = dev + stages;
  return status;
}

static viva_status capture_step(cuda_backend *c, decode_plan *p, const batch *host, decode_graph *g,
                                viva_error *error) {
  const cuda_api *api = c->api;
  cudaGraph_t graph = NULL;
  capture s = {.c = c,
               .p = p,
               .d = p->d,
               .step = device_step(p, host, g->pages),
               .mode = g->mode,
               .row_shares = g->row_shares,
               .q = {.stream = c->stream, .dependent = c->gpu.major >= 9}};
  TRY(make_program(&s, g, error));
  if (g->rows > GEMV_SURE_ROWS) TRY(cuda_many_prepare(c, error));
  TRY(cuda_check(c, api->StreamBeginCapture(c->stream, cudaStreamCaptureModeThreadLocal), "capturing a step", error));
  queue_step(&s);
  const cudaError_t ended = api->StreamEndCapture(c->stream, &graph);
  viva_status status = cuda_check(c, (cudaError_t)s.status, "capturing a step", error);
  if (!status) status = cuda_check(c, ended, "capturing a step", error);
  if (!status) status = cuda_check(c, api->GraphInstantiate(&g->exec, graph, 0), "making a graph", error);
  if (graph) api->GraphDestroy(graph);
  return status;
}

/* Attention's blocks for the step's longest row. A kernel that stays asks the device. */
static uint32_t row_shares_of(const decoder *d, const batch *host) {
  uint32_t longest = 0;
  if (host->rows == 1 && d->layers_as != LAYERS_AS_STAGES) return 2 * STEP_HALF_SHARES;
  for (size_t i = 0; i < host->rows; i++)
    if (host->positions[i] >= longest) longest = host->positions[i] + 1;
  return step_row_shares(longest, step_share(host->rows));
}

/* Pages of the graph that a step takes: so many are copied. */
static size_t graph_pages(const batch *host) {
  size_t pages = host->rows * PAGES_LEAST;
  while (pages < host->page_count) pages *= 2;
  return pages;
}

static viva_status graph_for(cuda_backend *c, decode_plan *p, const batch *host, input_mode mode, decode_graph **out,
                             viva_error *error) {
  const uint32_t row_shares = row_shares_of(p->d, host);
  const size_t pages = graph_pages(host);
  for (decode_graph *g = p->graphs; g; g = g->next) {
    if (g->rows != host->rows || g->spans != host->span_count || g->pages != pages) continue;
    if (g->mode != mode || g->kv != host->kv.type || g->row_shares != row_shares) continue;
    if (g->turned != (host->turns != NULL)) continue;
    *out = g;
    return VIVA_OK;
  }
  decode_graph *g = mem_zalloc(&c->rt->mem, sizeof *g);
  if (!g) return error_set(error, VIVA_E_MEMORY, "no memory for a captured step");
  *g = (decode_graph){.rows = host->rows,
                      .spans = host->span_count,
                      .pages = pages,
                      .row_shares = row_shares,
                      .turned = host->turns != NULL,
                      .mode = mode,
                      .kv = host->kv.type};
  const viva_status status = capture_step(c, p, host, g, error);
  if (status) {
    if (g->program) c->api->FreeAsync(g->program, c->stream);
    mem_free(&c->rt->mem, g);
    return status;
  }
  g->next = p->graphs;
  p->graphs = g;
  *out = g;
  return VIVA_OK;
}

/* ---- replay */

/* What the rows, of a sequence each, turn by, as step_row_angles takes it. */
static void describe_turns(const batch *host, size_t rotary_dim, float *to) {
  for (size_t i = 0; i < host->rows; i++, to += rotary_dim) {
    const batch_turn *turn = &host->turns[host->sequence[i]];
    memcpy(to, turn->inv_freq, turn->pairs * sizeof(float));
    to[turn->pairs] = turn->scaling;
  }
}

static void describe(const decode_plan *p, const batch *host, float *const *logits) {
  uint8_t *to = p->host;
  memcpy(to + p->at.logits_to, logits, host->kept * sizeof *logits);
  memcpy(to + p->at.tokens, host->tokens, host->rows * sizeof *host->tokens);
  memcpy(to + p->at.positions, host->positions, host->rows * sizeof *host->positions);
  memcpy(to + p->at.sequence, host->sequence, host->rows * sizeof *host->sequence);
  memcpy(to + p->at.kept_rows, host->kept_rows, host->kept * sizeof *host->kept_rows);
  memcpy(to + p->at.spans, host->spans, host->span_count * sizeof *host->spans);
  if (host->turns)
    describe_turns(host, p->d->rotary_dim, (float *)(void *)(to + p->at.cos_sin));
  else
    memcpy(to + p->at.cos_sin, host->cos_sin, host->rows * p->d->rotary_dim * sizeof(float));
  memcpy(to + p->at.pages, host->pages, host->page_count * sizeof(void *));
}

static viva_status decode(cuda_backend *c, const decoder *d, const batch *host, input_mode mode, float *const *logits,
                          viva_token *best, float *values, uint8_t *nan, viva_error *error) {
  decode_plan *p = NULL;
  decode_graph *g = NULL;
  int bad = 0;
  TRY(plan_for(c, d, graph_pages(host), &p, error));
  TRY(graph_for(c, p, host, mode, &g, error));
  describe(p, host, logits);
  memcpy((uint8_t *)p->host + TURN_AT, &g->turns, sizeof g->turns);
  if (d->link) {
    const uint32_t number = cuda_exchange_numbers(d->link, d->rank, 2 * (uint32_t)d->layer_count);
    memcpy((uint8_t *)p->host + NUMBER_AT, &number, sizeof number);
  }
  TRY(cuda_check(c, c->api->GraphLaunch(g->exec, c->stream), "a captured step", error));
  g->turns++; /* of launches that were made: the words of a turn are cleared by the turns before it */
  TRY(cuda_check(c, c->api->StreamSynchronize(c->stream), "a captured step", error));
  if (g->program && *(volatile uint32_t *)answer_failed(p))
    return cuda_check(c, cudaErrorLaunchTimeout, "a persistent step, whose blocks did not meet", error);
  memcpy(best, answer_ids(p), host->rows * sizeof *best);
  memcpy(nan, answer_nan(p), host->rows);
  if (values) memcpy(values, answer_values(p), host->rows * sizeof *values);
  for (size_t i = 0; i < host->rows; i++) bad |= nan[i];
  return bad ? VIVA_E_UNSUPPORTED : VIVA_OK; /* the operations find out whether it is FP16's fault */
}

viva_status cuda_decode_step(backend *b, const decoder *d, const batch *host, input_mode mode, float *const *logits,
                             viva_token *best, float *values, uint8_t *nan, viva_error *error) {
  if (!step_taken(cuda_of(b), d, host, mode)) return VIVA_E_UNSUPPORTED;
  CUDA_CALL(b, decode(cuda_of(b), d, host, mode, logits, best, values, nan, error));
}

void cuda_decode_forget(backend *b, const decoder *d) {
  cuda_backend *c = cuda_of(b);
  if (cuda_enter(c, NULL)) return; /* lost: what is left of it ends with the backend */
  for (decode_plan **at = &c->plans; *at; at = &(*at)->next) {
    decode_plan *p = *at;
    if (p->d != d) continue;
    c->api->StreamSynchronize(c->stream);
    drop_memory(c, p);
    *at = p->next;
    mem_free(&c->rt->mem, p);
    break;
  }
  cuda_leave(c, VIVA_OK);
}

void cuda_decode_end(cuda_backend *c) {
  for (decode_plan *p = c->plans, *next; p; p = next) {
    next = p->next;
    drop_memory(c, p);
    mem_free(&c->rt->mem, p);
  }
  c->plans = NULL;
}
