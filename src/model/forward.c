/* model/forward.c: the Llama graph as a sequence of the backend's operations.
 *
 *     x = embedding[token]
 *     each layer:
 *       n = rmsnorm(x)
 *       q, k, v = linear(n) (+ bias);  q, k = rmsnorm per head (Qwen3);  rope, into the cache
 *       x = x + linear(attention(q, cache))
 *       n = rmsnorm(x)
 *       x = x + linear(silu(linear(n)) · linear(n))
 *     logits = linear(rmsnorm(x))
 *
 * Rows never meet but in attention, through the cache; so a row's bits do not depend on which rows are beside it. Behind the
 * last layer's cache only the kept rows matter: there they are taken together at the front. A decoder that was cut for several
 * devices makes parts of the two sums into x, and has them added up (backend/exchange.h).
 */
#include "backend/exchange.h"
#include "model/step.h"

typedef struct pass {
  backend *b;
  const decoder *d;
  input_mode mode; /* how rows enter packed weights */
  const workspace *w;
  const batch *step;
  step_watch *watch;
  int64_t layer; /* that watch is told of */
} pass;

/* What an operation made, to whoever looks. */
static viva_status told(const pass *p, const char *name, const float *values, size_t rows, size_t cols,
                        viva_error *error) {
  return watch_stage(p->watch, p->b, name, p->layer, values, rows, cols, error);
}

static linear_args linear(size_t rows, const float *x, size_t x_stride, const weight *w, const float *bias, float *y,
                          size_t y_stride) {
  return (linear_args){.m = rows,
                       .x = x,
                       .x_stride = x_stride,
                       .w = w,
                       .bias = bias,
                       .act = ACTIVATION_NONE,
                       .y = y,
                       .y_stride = y_stride};
}

/* 1 when these products read codes only and nobody looks at their rows: then codes are all that has to be made of them. */
static int codes_suffice(const pass *p, const linear_args *args, size_t count) {
  if (p->mode == INPUT_FLOAT || p->watch) return 0;
  for (size_t i = 0; i < count; i++)
    if (weight_dense(args[i].w->format)) return 0;
  return 1;
}

/* gated: NULL, or these are gate and up: 1 when silu(gate) · up is in gate's place already. Whoever looks wants to see both. */
static viva_status products(const pass *p, const linear_args *args, size_t count, int *gated, viva_error *error) {
  const backend_ops *ops = p->b->ops;
  if (gated && ops->linear_gated && !p->watch) {
    const viva_status status = ops->linear_gated(p->b, args, error);
    *gated = status == VIVA_OK;
    if (status != VIVA_E_UNSUPPORTED) return status;
  }
  return ops->linear(p->b, args, count, error);
}

/* Layers of packed weights that read the rows quantised last. */
static viva_status multiply_codes(const pass *p, linear_args *args, size_t count, int *gated, viva_error *error) {
  for (size_t i = 0; i < count; i++) {
    args[i].input = p->mode;
    args[i].xq = p->w->quantized;
  }
  return products(p, args, count, gated, error);
}

/* Layers that read the same rows. Where weights are packed and the model quantises its activations, the rows are quantised
 * once; dense weights of the same group take them as they are. */
static viva_status multiply(const pass *p, const linear_args *args, size_t count, int *gated, viva_error *error) {
  linear_args packed[3], dense[3];
  size_t packed_count = 0, dense_count = 0;
  if (p->mode == INPUT_FLOAT) return products(p, args, count, gated, error);
  for (size_t i = 0; i < count; i++) {
    if (weight_dense(args[i].w->format))
      dense[dense_count++] = args[i];
    else
      packed[packed_count++] = args[i];
  }
  if (packed_count) {
    TRY(p->b->ops->quantize_rows(p->b, p->mode, args->x, args->x_stride, args->m, args->w->cols, p->w->quantized,
                                 error));
    TRY(multiply_codes(p, packed, packed_count, packed_count == count ? gated : NULL, error));
  }
  return dense_count ? p->b->ops->linear(p->b, dense, dense_count, error) : VIVA_OK;
}

/* A norm of x's rows to the place that the layers read. stage: what whoever looks calls it. gated: as in products. */
static viva_status multiply_normed(const pass *p, const float *x, const float *gain, const char *stage,
                                   linear_args *args, size_t count, int *gated, viva_error *error) {
  const backend_ops *ops = p->b->ops;
  const size_t rows = args->m, hidden = p->w->layout.hidden;
  float *norm = work_at(p->w, p->w->layout.norm_at);
  if (ops->rmsnorm_codes && codes_suffice(p, args, count)) {
    TRY(ops->rmsnorm_codes(p->b, x, rows, hidden, gain, p->d->eps, p->mode, p->w->quantized, error));
    return multiply_codes(p, args, count, gated, error);
  }
  TRY(ops->rmsnorm(p->b, x, norm, rows, hidden, 1, hidden, gain, p->d->eps, error));
  TRY(told(p, stage, norm, rows, hidden, error));
  return multiply(p, args, count, gated, error);
}

/* silu(gate) · up in gate's place, where it may be already, which the layer reads. */
static viva_status multiply_gated(const pass *p, float *gate, const float *up, int gated, linear_args *args,
                                  viva_error *error) {
  const backend_ops *ops = p->b->ops;
  const size_t rows = args->m, ffn = p->w->layout.ffn;
  if (gated) return multiply(p, args, 1, NULL, error);
  if (ops->silu_mul_codes && codes_suffice(p, args, 1)) {
    TRY(ops->silu_mul_codes(p->b, gate, up, rows, ffn, p->mode, p->w->quantized, error));
    return multiply_codes(p, args, 1, NULL, error);
  }
  TRY(ops->silu_mul(p->b, gate, up, gate, rows, ffn, ffn, error));
  TRY(told(p, "product", gate, rows, ffn, error));
  return multiply(p, args, 1, NULL, error);
}

/* x = residual + product: the residual is one rank's part among several. */
static void into_x(const pass *p, linear_args *args, const float *residual) {
  if (p->d->rank == 0) args->residual = residual;
}

/* y of all ranks becomes the sum of their parts. */
static viva_status sum_of_ranks(const pass *p, const linear_args *args, viva_error *error) {
  exchange *e = p->d->link;
  return e ? e->ops->sum(e, p->d->rank, p->b, args->y, args->m * args->y_stride, error) : VIVA_OK;
}

/* Normed rows → q, k, v. */
static viva_status project(const pass *p, const decoder_layer *l, viva_error *error) {
  const row_layout *w = &p->w->layout;
  backend *b = p->b;
  const size_t rows = p->step->rows;
  const head_shape h = p->d->heads;
  float *x = work_at(p->w, w->x_at), *norm = work_at(p->w, w->norm_at);
  float *q = work_at(p->w, w->q_at), *k = work_at(p->w, w->k_at), *v = work_at(p->w, w->v_at), eps = p->d->eps;
  linear_args qkv[3] = {linear(rows, norm, w->hidden, &l->q, l->q_bias, q, w->q),
                        linear(rows, norm, w->hidden, &l->k, l->k_bias, k, w->kv),
                        linear(rows, norm, w->hidden, &l->v, l->v_bias, v, w->kv)};
  TRY(multiply_normed(p, x, l->attention_norm, "attention_norm", qkv, 3, NULL, error));
  if (l->q_norm) TRY(b->ops->rmsnorm(b, q, q, rows, w->q, h.q_heads, h.head_dim, l->q_norm, eps, error));
  if (l->k_norm) TRY(b->ops->rmsnorm(b, k, k, rows, w->kv, h.kv_heads, h.head_dim, l->k_norm, eps, error));
  TRY(told(p, "q", q, rows, w->q, error));
  TRY(told(p, "k", k, rows, w->kv, error));
  return told(p, "v", v, rows, w->kv, error);
}

static rope_append_args turn_of(const pass *p, size_t number) {
  const row_layout *w = &p->w->layout;
  return (rope_append_args){.step = p->step,
                            .layer = number,
                            .h = p->d->heads,
                            .rotary_dim = p->d->rotary_dim,
                            .q = work_at(p->w, w->q_at),
                            .k = work_at(p->w, w->k_at),
                            .v = work_at(p->w, w->v_at),
                            .q_stride = w->q,
                            .kv_stride = w->kv};
}

/* q and k turned, k and v in the cache, then attention (NULL: the cache is all that is wanted). */
static viva_status attend(const pass *p, size_t number, const attention_args *attention, viva_error *error) {
  const backend_ops *ops = p->b->ops;
  const rope_append_args turn = turn_of(p, number);
  if (attention && ops->turn_attention && !p->watch) {
    const viva_status status = ops->turn_attention(p->b, &turn, attention, error);
    if (status != VIVA_E_UNSUPPORTED) return status;
  }
  TRY(ops->rope_append(p->b, &turn, error));
  TRY(told(p, "q_turned", turn.q, p->step->rows, turn.q_stride, error));
  return attention ? ops->attention(p->b, attention, error) : VIVA_OK;
}

/* Rotation, attention and MLP of all rows, or of the kept ones, which then are the first ones of x. */
static viva_status mix(const pass *p, const decoder_layer *l, size_t number, int kept, viva_error *error) {
  const row_layout *w = &p->w->layout;
  backend *b = p->b;
  const size_t rows = kept ? p->step->kept : p->step->rows;
  float *x = work_at(p->w, w->x_at), *norm = work_at(p->w, w->norm_at), *residual = x;
  float *gate = work_at(p->w, w->gate_at), *up = work_at(p->w, w->up_at), *out = work_at(p->w, w->out_at);
  const attention_args attention = {.step = p->step,
                                    .layer = number,
                                    .kept = kept,
                                    .h = p->d->heads,
                                    .scale = p->d->attention_scale,
                                    .window = l->window,
                                    .q = work_at(p->w, w->q_at),
                                    .q_stride = w->q,
                                    .out = out,
                                    .out_stride = w->q};
  TRY(attend(p, number, &attention, error));
  TRY(told(p, "attention", out, rows, w->q, error));
  if (kept) {
    residual = norm;
    TRY(b->ops->take_rows(b, x, p->step->kept_rows, rows, w->hidden, w->hidden, residual, error));
  }
  linear_args o = linear(rows, out, w->q, &l->o, l->o_bias, x, w->hidden);
  into_x(p, &o, residual);
  TRY(multiply(p, &o, 1, NULL, error));
  TRY(sum_of_ranks(p, &o, error));
  TRY(told(p, "attention_sum", x, rows, w->hidden, error));
  linear_args gate_up[2] = {linear(rows, norm, w->hidden, &l->gate, l->gate_bias, gate, w->ffn),
                            linear(rows, norm, w->hidden, &l->up, l->up_bias, up, w->ffn)};
  int gated = 0;
  TRY(multiply_normed(p, x, l->mlp_norm, "mlp_norm", gate_up, 2, &gated, error));
  TRY(told(p, "gate", gate, rows, w->ffn, error));
  TRY(told(p, "up", up, rows, w->ffn, error));
  linear_args down = linear(rows, gate, w->ffn, &l->down, l->down_bias, x, w->hidden);
  into_x(p, &down, x);
  TRY(multiply_gated(p, gate, up, gated, &down, error));
  TRY(sum_of_ranks(p, &down, error));
  return told(p, "mlp_sum", x, rows, w->hidden, error);
}

viva_status forward_layers(backend *b, const decoder *d, input_mode mode, const workspace *w, const batch *dev,
                           step_watch *watch, viva_error *error) {
  pass p = {b, d, mode, w, dev, watch, -1};
  float *x = work_at(w, w->layout.x_at);
  TRY(b->ops->embed(b, &d->embedding, dev->tokens, dev->rows, x, error));
  TRY(told(&p, "embedding", x, dev->rows, w->layout.hidden, error));
  for (size_t i = 0; i < d->layer_count; i++) {
    const decoder_layer *l = &d->layers[i];
    const int last = i + 1 == d->layer_count;
    p.layer = (int64_t)i;
    TRY(project(&p, l, error));
    if (last && dev->kept == 0) return attend(&p, i, NULL, error); /* the cache is all that was wanted */
    TRY(mix(&p, l, i, last && dev->kept < dev->rows, error));
  }
  return VIVA_OK;
}

viva_status forward_head(backend *b, const decoder *d, input_mode mode, const workspace *w, size_t first, size_t rows,
                         float *logits, step_watch *watch, viva_error *error) {
  const row_layout *l = &w->layout;
  const pass p = {b, d, mode, w, NULL, watch, -1};
  float *x = work_at(w, l->x_at) + first * l->hidden, *norm = work_at(w, l->norm_at);
  linear_args head = linear(rows, norm, l->hidden, &d->head, NULL, logits, d->vocab);
  TRY(multiply_normed(&p, x, d->output_norm, "output_norm", &head, 1, NULL, error));
  return told(&p, "logits", logits, rows, d->vocab, error);
}
