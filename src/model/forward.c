/* model/forward.c: the Llama graph as a sequence of the backend's operations.
 *
 *   x = embedding[token]
 *   each layer:  n = rmsnorm(x);  q, k, v = linear(n) (+ bias);  q, k = rmsnorm per head (Qwen3);  rope, append to
 * cache x = x + linear(attention(q, cache)) n = rmsnorm(x);  x = x + linear(silu(linear(n)) · linear(n)) logits =
 * linear(rmsnorm(x))
 *
 * Rows never meet but in attention, through the cache; so a row's bits do not depend on which rows are beside it.
 */
#include <math.h>

#include "model/session.h"

typedef struct pass {
  viva_session *s;
  const viva_model *m;
  backend *b;
  size_t rows;
  const kv_span *spans;
  size_t span_count;
} pass;

static float *at(const viva_session *s, size_t offset) { return s->activations + offset * s->chunk; }

/* Spans of the step's rows, without the layer's cache; cos and sin of their positions. */
static viva_status prepare(viva_session *s, const step *st, viva_error *error) {
  size_t dim = s->rows.cos_sin;
  for (size_t r = 0; r < st->rows; r++) {
    const viva_session *of = st->session_count == 1 ? st->sessions[0] : st->sessions[r];
    size_t position = st->session_count == 1 ? st->position + r : of->position;
    rope_row(&of->rope, position, s->cos_sin + r * dim);
    if (r < st->session_count)
      s->spans[r] = (kv_span){.capacity = of->capacity,
                              .position = position,
                              .first_row = r,
                              .rows = st->session_count == 1 ? st->rows : 1};
  }
  backend *b = s->model->engine->backend;
  return b->ops->upload(b, at(s, s->rows.cos_sin_at), s->cos_sin, st->rows * dim * sizeof(float), error);
}

static void select_layer(viva_session *s, const step *st, size_t number) {
  for (size_t i = 0; i < st->session_count; i++) {
    const viva_session *of = st->sessions[i];
    s->spans[i].k = (char *)of->cache + 2 * number * of->cache_half;
    s->spans[i].v = (char *)s->spans[i].k + of->cache_half;
  }
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

/* Layers that read the same rows. Where weights are packed and the model quantises its activations, the rows are quantised
 * once; dense weights of the same group take them as they are. */
static viva_status multiply(const pass *p, const linear_args *args, size_t count, viva_error *error) {
  linear_args packed[3], dense[3];
  size_t packed_count = 0, dense_count = 0;
  if (p->m->act == INPUT_FLOAT) return p->b->ops->linear(p->b, args, count, error);
  for (size_t i = 0; i < count; i++) {
    if (weight_dense(args[i].w->format)) {
      dense[dense_count++] = args[i];
      continue;
    }
    packed[packed_count] = args[i];
    packed[packed_count].input = p->m->act;
    packed[packed_count++].xq = p->s->quantized;
  }
  if (packed_count) {
    TRY(p->b->ops->quantize_rows(p->b, p->m->act, args->x, args->x_stride, args->m, args->w->cols, p->s->quantized,
                                 error));
    TRY(p->b->ops->linear(p->b, packed, packed_count, error));
  }
  return dense_count ? p->b->ops->linear(p->b, dense, dense_count, error) : VIVA_OK;
}

/* Normed rows → q, k, v, turned and appended to the cache. */
static viva_status project(const pass *p, const decoder_layer *l, viva_error *error) {
  const viva_model_config *c = &p->m->config;
  const row_layout *w = &p->s->rows;
  backend *b = p->b;
  float *x = at(p->s, w->x_at), *norm = at(p->s, w->norm_at);
  float *q = at(p->s, w->q_at), *k = at(p->s, w->k_at), *v = at(p->s, w->v_at), eps = (float)c->rms_norm_eps;
  head_shape h = p->m->dec.heads;
  TRY(b->ops->rmsnorm(b, x, norm, p->rows, w->hidden, 1, w->hidden, l->attention_norm, eps, error));
  linear_args qkv[3] = {linear(p->rows, norm, w->hidden, &l->q, l->q_bias, q, w->q),
                        linear(p->rows, norm, w->hidden, &l->k, l->k_bias, k, w->kv),
                        linear(p->rows, norm, w->hidden, &l->v, l->v_bias, v, w->kv)};
  TRY(multiply(p, qkv, 3, error));
  if (l->q_norm) TRY(b->ops->rmsnorm(b, q, q, p->rows, w->q, h.q_heads, h.head_dim, l->q_norm, eps, error));
  if (l->k_norm) TRY(b->ops->rmsnorm(b, k, k, p->rows, w->kv, h.kv_heads, h.head_dim, l->k_norm, eps, error));
  rope_append_args turn = {.h = h,
                           .rotary_dim = w->cos_sin,
                           .cos_sin = at(p->s, w->cos_sin_at),
                           .q = q,
                           .k = k,
                           .v = v,
                           .q_stride = w->q,
                           .kv_stride = w->kv,
                           .spans = p->spans,
                           .span_count = p->span_count,
                           .type = p->s->kv};
  return b->ops->rope_append(b, &turn, error);
}

/* Attention and MLP of rows from first on. */
static viva_status mix(const pass *p, const decoder_layer *l, size_t first, size_t window, viva_error *error) {
  const viva_model_config *c = &p->m->config;
  const row_layout *w = &p->s->rows;
  backend *b = p->b;
  size_t rows = p->rows - first;
  float *x = at(p->s, w->x_at) + first * w->hidden, *norm = at(p->s, w->norm_at) + first * w->hidden;
  float *gate = at(p->s, w->gate_at), *up = at(p->s, w->up_at), *out = at(p->s, w->out_at);
  kv_span rest = p->spans[0]; /* first is not 0 for one session only */
  rest.position += first;
  rest.rows -= first;
  attention_args attention = {.h = p->m->dec.heads,
                              .scale = (float)(1 / sqrt((double)c->head_dim)),
                              .window = window,
                              .q = at(p->s, w->q_at) + first * w->q,
                              .q_stride = w->q,
                              .out = out,
                              .out_stride = w->q,
                              .spans = first ? &rest : p->spans,
                              .span_count = p->span_count,
                              .type = p->s->kv};
  TRY(b->ops->attention(b, &attention, error));
  linear_args o = linear(rows, out, w->q, &l->o, l->o_bias, x, w->hidden);
  o.residual = x;
  TRY(multiply(p, &o, 1, error));
  TRY(b->ops->rmsnorm(b, x, norm, rows, w->hidden, 1, w->hidden, l->mlp_norm, (float)c->rms_norm_eps, error));
  linear_args gate_up[2] = {linear(rows, norm, w->hidden, &l->gate, l->gate_bias, gate, w->ffn),
                            linear(rows, norm, w->hidden, &l->up, l->up_bias, up, w->ffn)};
  TRY(multiply(p, gate_up, 2, error));
  TRY(b->ops->silu_mul(b, gate, up, gate, rows, w->ffn, w->ffn, error));
  linear_args down = linear(rows, gate, w->ffn, &l->down, l->down_bias, x, w->hidden);
  down.residual = x;
  return multiply(p, &down, 1, error);
}

viva_status forward_layers(viva_session *s, const step *st, viva_error *error) {
  const viva_model *m = s->model;
  pass p = {
      .s = s, .m = m, .b = m->engine->backend, .rows = st->rows, .spans = s->spans, .span_count = st->session_count};
  TRY(prepare(s, st, error));
  TRY(p.b->ops->embed(p.b, &m->dec.embedding, st->tokens, st->rows, at(s, s->rows.x_at), error));
  for (size_t i = 0; i < m->dec.layer_count; i++) {
    const decoder_layer *l = &m->dec.layers[i];
    size_t window = i >= m->config.sliding_from_layer ? (size_t)m->config.sliding_window : 0;
    size_t first = i + 1 == m->dec.layer_count ? st->keep : 0; /* behind the last layer's cache only kept rows matter */
    select_layer(s, st, i);
    TRY(project(&p, l, error));
    if (first < st->rows) TRY(mix(&p, l, first, window, error));
  }
  return VIVA_OK;
}

viva_status forward_head(viva_session *s, size_t first, size_t rows, float *logits, viva_error *error) {
  const viva_model *m = s->model;
  const row_layout *w = &s->rows;
  const pass p = {.s = s, .m = m, .b = m->engine->backend, .rows = rows};
  float *x = at(s, w->x_at) + first * w->hidden, *norm = at(s, w->norm_at);
  TRY(p.b->ops->rmsnorm(p.b, x, norm, rows, w->hidden, 1, w->hidden, m->dec.output_norm, (float)m->config.rms_norm_eps,
                        error));
  linear_args head = linear(rows, norm, w->hidden, &m->dec.head, NULL, logits, (size_t)m->config.vocab_size);
  return multiply(&p, &head, 1, error);
}
