/* compare_layers.c: what each layer of a model does to the reference's predictions, alone. */
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "signals.h"
#include "units.h"

enum { DAMAGE_CONTEXT = 128 }; /* its second half is scored: enough to tell layers apart */

/* The reference's logits are computed once, and kept. */
typedef struct layer_walk {
  const viva_token *tokens; /* [quiet + scored] */
  uint64_t quiet, scored;
  size_t vocab;
  float *reference, *mixed; /* [scored][vocab] */
} layer_walk;

static int stop_when_asked(void *user, uint64_t done, uint64_t total) {
  (void)user, (void)done, (void)total;
  return signals_stopped();
}

static viva_status run(const layer_walk *w, viva_model *model, float *logits, viva_error *error) {
  viva_session *session = NULL;
  viva_session_options options = viva_session_options_default();
  viva_prefill_options prefill = viva_prefill_options_default();
  options.capacity = w->quiet + w->scored;
  prefill.progress = stop_when_asked;
  viva_status status = viva_session_create(model, &options, &session, error);
  if (status == VIVA_OK && w->quiet > 0)
    status = viva_session_prefill(session, w->tokens, (size_t)w->quiet, &prefill, error);
  prefill.all_logits = logits;
  prefill.all_logits_count = (size_t)w->scored * w->vocab;
  if (status == VIVA_OK)
    status = viva_session_prefill(session, w->tokens + w->quiet, (size_t)w->scored, &prefill, error);
  viva_session_free(session);
  return status;
}

/* The reference with layers of the model, or with all but its layers. */
static viva_status splice(viva_model *reference, viva_model *model, uint64_t layer, uint64_t layers, viva_model **mixed,
                          viva_error *error) {
  return layer < layers ? viva_model_splice(reference, model, layer, 1, mixed, error)
                        : viva_model_splice(model, reference, 0, layers, mixed, error);
}

static viva_status measure(const layer_walk *w, viva_model *reference, viva_model *model, uint64_t layer,
                           layer_damage *d, viva_error *error) {
  viva_model *mixed = NULL;
  score s = {0};
  viva_status status = splice(reference, model, layer, d->layers, &mixed, error);
  if (status == VIVA_OK) status = run(w, mixed, w->mixed, error);
  for (uint64_t i = 0; i < w->scored && status == VIVA_OK; i++)
    stats_add(&s.kl, score_position_kl(w->reference + i * w->vocab, w->mixed + i * w->vocab, w->vocab));
  d->kl[layer] = s.kl.mean;
  d->error[layer] = score_kl_error(&s);
  viva_model_release(mixed);
  return status;
}

static viva_status measure_all(const layer_walk *w, viva_model *reference, viva_model *model, progress *bar,
                               layer_damage *d, viva_error *error) {
  viva_status status = run(w, reference, w->reference, error);
  for (uint64_t layer = 0; layer <= d->layers && status == VIVA_OK; layer++) {
    status = measure(w, reference, model, layer, d, error);
    progress_update(bar, layer + 1, d->layers + 1, "");
  }
  return status;
}

viva_status damage_measure(viva_model *reference, viva_model *model, const token_list *tokens, uint64_t context,
                           progress *bar, layer_damage *d, viva_error *error) {
  viva_model_config config = {.size = sizeof config};
  memset(d, 0, sizeof *d);
  if (viva_model_get_config(reference, &config, error) != VIVA_OK) return error->code;
  d->layers = config.num_layers;
  d->context = context < DAMAGE_CONTEXT ? context : DAMAGE_CONTEXT;
  layer_walk w = {.tokens = tokens->ids, .quiet = d->context / 2, .vocab = config.vocab_size};
  w.scored = d->context - w.quiet;
  w.reference = calloc((size_t)w.scored * w.vocab, sizeof *w.reference);
  w.mixed = calloc((size_t)w.scored * w.vocab, sizeof *w.mixed);
  d->kl = calloc(d->layers + 1, sizeof *d->kl);
  d->error = calloc(d->layers + 1, sizeof *d->error);
  viva_status status = VIVA_E_MEMORY;
  if (w.reference != NULL && w.mixed != NULL && d->kl != NULL && d->error != NULL) {
    status = measure_all(&w, reference, model, bar, d, error);
  } else {
    memset(error, 0, sizeof *error);
    text_format(error->message, sizeof error->message, "no memory for the layers' figures");
    error->code = status;
  }
  free(w.reference);
  free(w.mixed);
  return status;
}

void damage_free(layer_damage *d) {
  free(d->kl);
  free(d->error);
  d->kl = d->error = NULL;
}
