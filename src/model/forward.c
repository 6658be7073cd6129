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
 * last layer's cache only the kept rows matter: there they are taken together at the front.
 *
 * A decoder that was cut for several devices makes parts of the two sums into x, and has them added up (backend/exchange.h).
 * Many rows run as two batches beside each other, so that parts are on their way while the other batch is computed:
 *
 *     batch 0   q k v, attention, o ─┐ (sum travels)         norm, gate, up, down ─┐ (sum travels)
 *     batch 1                        └ q k v, attention, o ─┐                      └ norm, gate, up, down ─ ...
 *
 * Batch 1 may look back at the rows of batch 0, whose keys and values of the same layer are in the cache by then.
 *
 * Where the exchange sums in shares, each rank norms its rows of a batch's sum before the last product of the other batch's
 * stage, so that normed rows travel beside that product; x is whole in a rank's share only, and parts are made in the norm's
 * place:
 *
 *     batch 0   q k v, attention, o ─┐                           ┌► gate, up       ...
 *     batch 1                        └ q k v, attention, norm 0 ─┴ o ─┐        └ norm 1, down ...
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
  int64_t layer;      /* that watch is told of */
  float *x, *norm;    /* its rows of the residual stream, and of norms as floats */
  size_t rows;        /* of x, from here on: all, then the kept ones */
  const char *summed; /* what x is the sum of, once settle has brought the ranks' parts together; NULL: it is whole */
  int shares;         /* the ranks sum shares of its rows, but for the last layer's */
  exchange_norm next; /* .rows > 0: of parts that are made in shares: how their sum is normed for the next products */
  int normed;         /* it is, and on its way */
  int spread;         /* before the last layer: x's rows are zero on the ranks that do not have them */
} pass;

static int in_shares(const pass *p) { return p->next.rows > 0; }

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

/* The mode in which the rows of these products suffice: their codes, where all weights are packed, or FP16, where all take
 * floats and the backend brings them so. FLOAT, where they are not alike, or somebody looks at the rows. */
static input_mode mode_that_suffices(const pass *p, const linear_args *args, size_t count) {
  const backend_ops *ops = p->b->ops;
  size_t floats = 0;
  if (p->watch) return INPUT_FLOAT;
  for (size_t i = 0; i < count; i++) floats += p->mode == INPUT_FLOAT || weight_dense(args[i].w->format);
  if (floats == 0) return p->mode;
  return floats == count && ops->takes_f16 && ops->takes_f16(p->b, args, count) ? INPUT_F16 : INPUT_FLOAT;
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

/* Layers that read these rows in this mode, which is not FLOAT. */
static viva_status multiply_codes(const pass *p, input_mode mode, const void *rows, linear_args *args, size_t count,
                                  int *gated, viva_error *error) {
  for (size_t i = 0; i < count; i++) {
    args[i].input = mode;
    args[i].xq = rows;
    args[i].accumulate = p->d->accumulate;
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
    TRY(multiply_codes(p, p->mode, p->w->quantized, packed, packed_count, packed_count == count ? gated : NULL, error));
  }
  return dense_count ? p->b->ops->linear(p->b, dense, dense_count, error) : VIVA_OK;
}

/* x = residual + product: the residual is one rank's part among several, or each rank's own. In shares only the product, beside
 * x. */
static void into_x(const pass *p, linear_args *args, const float *residual) {
  if (in_shares(p))
    args->y = p->norm;
  else if (p->d->rank == 0 || p->spread)
    args->residual = residual;
}

/* x becomes the sum of all ranks' parts. */
static viva_status settle(pass *p, viva_error *error) {
  exchange *e = p->d->link;
  const char *stage = p->summed;
  const size_t hidden = p->w->layout.hidden;
  if (!stage) return VIVA_OK;
  p->summed = NULL;
  if (e) TRY(e->ops->sum(e, p->d->rank, p->b, p->x, p->rows * hidden, error));
  return told(p, stage, p->x, p->rows, hidden, error);
}

/* The rank's part of x is made; the others' come until x is settled, at once where there are none. stage: what whoever looks
 * calls the sum. */
static viva_status part_made(pass *p, const char *stage, viva_error *error) {
  exchange *e = p->d->link;
  if (in_shares(p)) return e->ops->send_shares(e, p->d->rank, p->b, p->norm, p->rows, p->w->layout.hidden, error);
  p->summed = stage;
  p->spread = 0;
  if (!e) return settle(p, error);
  return e->ops->send ? e->ops->send(e, p->d->rank, p->b, p->x, p->rows * p->w->layout.hidden, error) : VIVA_OK;
}

/* x settled and its rows normed: into floats, or codes in another mode. */
static viva_status settle_normed(pass *p, float *x, size_t rows, const float *gain, input_mode mode, void *to,
                                 viva_error *error) {
  const size_t hidden = p->w->layout.hidden;
  exchange *e = p->d->link;
  if (p->summed && e && e->ops->sum_norm && !p->watch) {
    const exchange_norm norm = {.rows = rows, .n = hidden, .gain = gain, .eps = p->d->eps, .mode = mode, .to = to};
    const viva_status status = e->ops->sum_norm(e, p->d->rank, p->b, x, &norm, error);
    if (status != VIVA_E_UNSUPPORTED) {
      p->summed = NULL;
      return status;
    }
  }
  TRY(settle(p, error));
  if (mode == INPUT_FLOAT) return p->b->ops->rmsnorm(p->b, x, to, rows, hidden, 1, hidden, gain, p->d->eps, error);
  return p->b->ops->rmsnorm_codes(p->b, x, rows, hidden, gain, p->d->eps, mode, to, error);
}

/* The mode in which a norm's rows enter these products. */
static input_mode mode_of_norm(const pass *p, const linear_args *args, size_t count) {
  return p->b->ops->rmsnorm_codes ? mode_that_suffices(p, args, count) : INPUT_FLOAT;
}

/* The next sum into x goes in shares, if this pass's do. Its norm, of this gain, is what these products will read. */
static void expect(pass *p, const float *gain, const linear_args *args, size_t count) {
  if (!p->shares) return;
  p->next = (exchange_norm){
      .rows = p->rows, .n = p->w->layout.hidden, .gain = gain, .eps = p->d->eps, .mode = mode_of_norm(p, args, count)};
}

/* The rank's share of a sum that was expected, normed. */
static viva_status norm_share(pass *p, viva_error *error) {
  exchange *e = p->d->link;
  if (!in_shares(p) || p->normed) return VIVA_OK;
  p->normed = 1;
  return e->ops->norm_shares(e, p->d->rank, p->b, p->x, &p->next, p->spread, error);
}

/* The products of rows that the ranks normed in shares. */
static viva_status multiply_shares(pass *p, linear_args *args, size_t count, int *gated, viva_error *error) {
  exchange *e = p->d->link;
  const void *rows;
  TRY(norm_share(p, error));
  TRY(e->ops->take_shares(e, p->d->rank, p->b, &rows, error));
  const input_mode mode = p->next.mode;
  p->next.rows = 0;
  p->normed = 0;
  if (mode != INPUT_FLOAT) return multiply_codes(p, mode, rows, args, count, gated, error);
  for (size_t i = 0; i < count; i++) args[i].x = rows;
  return multiply(p, args, count, gated, error);
}

/* A norm of x's rows, settled before, to the place that the layers read. stage: what whoever looks calls it. gated: as in
 * products. */
static viva_status multiply_normed(pass *p, float *x, const float *gain, const char *stage, linear_args *args,
                                   size_t count, int *gated, viva_error *error) {
  const size_t rows = args->m, hidden = p->w->layout.hidden;
  if (in_shares(p)) return multiply_shares(p, args, count, gated, error);
  const input_mode mode = mode_of_norm(p, args, count);
  if (mode != INPUT_FLOAT) {
    TRY(settle_normed(p, x, rows, gain, mode, p->w->quantized, error));
    return multiply_codes(p, mode, p->w->quantized, args, count, gated, error);
  }
  TRY(settle_normed(p, x, rows, gain, INPUT_FLOAT, p->norm, error));
  TRY(told(p, stage, p->norm, rows, hidden, error));
  return multiply(p, args, count, gated, error);
}

/* silu(gate) · up in gate's place, where it may be already, which the layer reads. */
static viva_status multiply_gated(const pass *p, float *gate, const float *up, int gated, linear_args *args,
                                  viva_error *error) {
  const backend_ops *ops = p->b->ops;
  const size_t rows = args->m, ffn = p->w->layout.ffn;
  if (gated) return multiply(p, args, 1, NULL, error);
  const input_mode mode = ops->silu_mul_codes ? mode_that_suffices(p, args, 1) : INPUT_FLOAT;
  if (mode != INPUT_FLOAT) {
    TRY(ops->silu_mul_codes(p->b, gate, up, rows, ffn, mode, p->w->quantized, error));
    return multiply_codes(p, mode, p->w->quantized, args, 1, NULL, error);
  }
  TRY(ops->silu_mul(p->b, gate, up, gate, rows, ffn, ffn, error));
  TRY(told(p, "product", gate, rows, ffn, error));
  return multiply(p, args, 1, NULL, error);
}

enum { PROJECTIONS = 3, GATED = 2 };

static void projections(const pass *p, const decoder_layer *l, linear_args *qkv) {
  const row_layout *w = &p->w->layout;
  const size_t rows = p->step->rows;
  qkv[0] = linear(rows, p->norm, w->hidden, &l->q, l->q_bias, work_at(p->w, w->q_at), w->q);
  qkv[1] = linear(rows, p->norm, w->hidden, &l->k, l->k_bias, work_at(p->w, w->k_at), w->kv);
  qkv[2] = linear(rows, p->norm, w->hidden, &l->v, l->v_bias, work_at(p->w, w->v_at), w->kv);
}

static void gate_and_up(const pass *p, const decoder_layer *l, linear_args *args) {
  const row_layout *w = &p->w->layout;
  args[0] = linear(p->rows, p->norm, w->hidden, &l->gate, l->gate_bias, work_at(p->w, w->gate_at), w->ffn);
  args[1] = linear(p->rows, p->norm, w->hidden, &l->up, l->up_bias, work_at(p->w, w->up_at), w->ffn);
}

/* Normed rows → q, k, v. */
static viva_status project(pass *p, const decoder_layer *l, viva_error *error) {
  const row_layout *w = &p->w->layout;
  backend *b = p->b;
  const size_t rows = p->step->rows;
  const head_shape h = p->d->heads;
  float *q = work_at(p->w, w->q_at), *k = work_at(p->w, w->k_at), *v = work_at(p->w, w->v_at), eps = p->d->eps;
  linear_args qkv[PROJECTIONS];
  projections(p, l, qkv);
  TRY(multiply_normed(p, p->x, l->attention_norm, "attention_norm", qkv, PROJECTIONS, NULL, error));
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

/* q and k turned, k and v in the cache, then attention (NULL: the cache is all that is wanted). attention->f16 becomes NULL
 * where the rows are in out. */
static viva_status attend(const pass *p, size_t number, attention_args *attention, viva_error *error) {
  const backend_ops *ops = p->b->ops;
  const rope_append_args turn = turn_of(p, number);
  if (attention && ops->turn_attention && !p->watch) {
    const viva_status status = ops->turn_attention(p->b, &turn, attention, error);
    if (status != VIVA_E_UNSUPPORTED) return status;
  }
  if (attention) attention->f16 = NULL;
  TRY(ops->rope_append(p->b, &turn, error));
  TRY(told(p, "q_turned", turn.q, p->step->rows, turn.q_stride, error));
  return attention ? ops->attention(p->b, attention, error) : VIVA_OK;
}

/* Rotation, attention and its product, of all rows or of the kept ones, which then are the first ones of x. beside: whose share
 * is normed before the product. */
static viva_status look_back(pass *p, pass *beside, const decoder_layer *l, size_t number, int kept,
                             viva_error *error) {
  const row_layout *w = &p->w->layout;
  float *residual = p->x, *out = work_at(p->w, w->out_at);
  linear_args o = linear(kept ? p->step->kept : p->rows, out, w->q, &l->o, l->o_bias, p->x, w->hidden);
  attention_args attention = {.step = p->step,
                              .layer = number,
                              .kept = kept,
                              .h = p->d->heads,
                              .scale = p->d->attention_scale,
                              .window = l->window,
                              .q = work_at(p->w, w->q_at),
                              .q_stride = w->q,
                              .out = out,
                              .out_stride = w->q};
  if (mode_that_suffices(p, &o, 1) == INPUT_F16) attention.f16 = p->w->quantized;
  TRY(attend(p, number, &attention, error));
  if (kept) p->rows = p->step->kept;
  TRY(told(p, "attention", out, p->rows, w->q, error));
  if (kept) {
    residual = p->norm;
    TRY(p->b->ops->take_rows(p->b, p->x, p->step->kept_rows, p->rows, w->hidden, w->hidden, residual, error));
  }
  linear_args next[GATED];
  gate_and_up(p, l, next);
  expect(p, l->mlp_norm, next, GATED);
  into_x(p, &o, residual);
  TRY(norm_share(beside, error));
  TRY(attention.f16 ? multiply_codes(p, INPUT_F16, attention.f16, &o, 1, NULL, error)
                    : multiply(p, &o, 1, NULL, error));
  return part_made(p, "attention_sum", error);
}

/* beside: as in look_back. */
static viva_status mlp(pass *p, pass *beside, const decoder_layer *l, viva_error *error) {
  const row_layout *w = &p->w->layout;
  float *gate = work_at(p->w, w->gate_at), *up = work_at(p->w, w->up_at);
  linear_args gate_up[GATED], next[PROJECTIONS];
  int gated = 0;
  gate_and_up(p, l, gate_up);
  TRY(multiply_normed(p, p->x, l->mlp_norm, "mlp_norm", gate_up, GATED, &gated, error));
  TRY(told(p, "gate", gate, p->rows, w->ffn, error));
  TRY(told(p, "up", up, p->rows, w->ffn, error));
  linear_args down = linear(p->rows, gate, w->ffn, &l->down, l->down_bias, p->x, w->hidden);
  if (p->shares) { /* another layer follows; the last one sums as a whole */
    projections(p, l + 1, next);
    expect(p, l[1].attention_norm, next, PROJECTIONS);
    p->spread = p->layer + 2 == (int64_t)p->d->layer_count && p->step->kept > 0;
  }
  into_x(p, &down, p->x);
  TRY(norm_share(beside, error));
  TRY(multiply_gated(p, gate, up, gated, &down, error));
  return part_made(p, "mlp_sum", error);
}

/* A layer of all passes, stage by stage. */
static viva_status run_layer(pass *passes, size_t count, size_t number, viva_error *error) {
  const decoder *d = passes[0].d;
  const decoder_layer *l = &d->layers[number];
  const int last = number + 1 == d->layer_count;
  for (size_t i = 0; i < count; i++) {
    pass *p = &passes[i];
    const size_t kept = p->step->kept;
    p->layer = (int64_t)number;
    p->shares = p->shares && !last;
    TRY(project(p, l, error));
    TRY(last && kept == 0 ? attend(p, number, NULL, error) /* the cache is all that was wanted */
                          : look_back(p, &passes[count - 1 - i], l, number, last && kept < p->rows, error));
  }
  for (size_t i = 0; i < count; i++) {
    pass *p = &passes[i];
    if (last && p->step->kept == 0) continue;
    TRY(mlp(p, &passes[count - 1 - i], l, error));
  }
  return VIVA_OK;
}

/* 1 when the ranks may sum shares of these rows in every layer. */
static int sums_in_shares(const pass *p) {
  const decoder *d = p->d;
  const exchange *e = d->link;
  if (!e || !e->ops->shares || p->watch) return 0;
  for (size_t i = 0; i < d->layer_count; i++) {
    linear_args args[PROJECTIONS];
    projections(p, &d->layers[i], args);
    exchange_norm norm = {.rows = p->rows, .n = p->w->layout.hidden, .gain = d->layers[i].attention_norm};
    norm.mode = mode_of_norm(p, args, PROJECTIONS);
    if (!e->ops->shares(e, &norm)) return 0;
    gate_and_up(p, &d->layers[i], args);
    norm.gain = d->layers[i].mlp_norm;
    norm.mode = mode_of_norm(p, args, GATED);
    if (!e->ops->shares(e, &norm)) return 0;
  }
  return 1;
}

viva_status forward_layers(backend *b, const decoder *d, input_mode mode, const workspace *w, const batch *dev,
                           size_t count, step_watch *watch, viva_error *error) {
  pass passes[FORWARD_BATCHES];
  float *x = work_at(w, w->layout.x_at), *norm = work_at(w, w->layout.norm_at);
  for (size_t i = count; i-- > 0;) { /* the last one's rows lie first */
    pass *p = &passes[i];
    *p = (pass){
        .b = b, .d = d, .mode = mode, .w = w, .step = &dev[i], .watch = watch, .layer = -1, .x = x, .norm = norm};
    p->rows = dev[i].rows;
    p->shares = count > 1 && sums_in_shares(p);
    x += p->rows * w->layout.hidden;
    norm += p->rows * w->layout.hidden;
    TRY(b->ops->embed(b, &d->embedding, p->step->tokens, p->rows, p->x, error));
    TRY(told(p, "embedding", p->x, p->rows, w->layout.hidden, error));
  }
  for (size_t i = 0; i < d->layer_count; i++) TRY(run_layer(passes, count, i, error));
  for (size_t i = 0; i < count; i++) TRY(settle(&passes[i], error));
  return VIVA_OK;
}

viva_status forward_head(backend *b, const decoder *d, input_mode mode, const workspace *w, size_t first, size_t rows,
                         float *logits, step_watch *watch, viva_error *error) {
  const row_layout *l = &w->layout;
  pass p = {.b = b, .d = d, .mode = mode, .w = w, .watch = watch, .layer = -1, .norm = work_at(w, l->norm_at)};
  float *x = work_at(w, l->x_at) + first * l->hidden;
  linear_args head = linear(rows, p.norm, l->hidden, &d->head, NULL, logits, d->vocab);
  TRY(multiply_normed(&p, x, d->output_norm, "output_norm", &head, 1, NULL, error));
  return told(&p, "logits", logits, rows, d->vocab, error);
}
