/* compare_weights.c: the relative error of every matrix, from the values that enter the products. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "signals.h"
#include "units.h"

const char *const compare_projections[COMPARE_PROJECTIONS] = {"q", "k", "v", "o", "gate", "up", "down"};

static viva_status fail(viva_error *error, viva_status code, const char *message) {
  memset(error, 0, sizeof *error);
  error->code = code;
  text_format(error->message, sizeof error->message, "%s", message);
  return code;
}

/* The values of one matrix, which the caller frees. */
static viva_status unpack(const viva_model *model, uint64_t layer, viva_projection projection, float **values,
                          size_t *count, char format[32], viva_error *error) {
  viva_packed_weight *weight = NULL;
  viva_packed_info info = {.size = sizeof info};
  *values = NULL;
  viva_status status = viva_model_weight(model, layer, projection, &weight, error);
  if (status == VIVA_OK) status = viva_packed_weight_info(weight, &info, error);
  *count = (size_t)(info.out_features * info.in_features);
  if (status == VIVA_OK && (*values = malloc(*count * sizeof **values)) == NULL)
    status = fail(error, VIVA_E_MEMORY, "no memory for the values of a matrix");
  if (status == VIVA_OK) status = viva_packed_weight_unpack(weight, *values, *count, error);
  text_format(format, 32, "%s", status == VIVA_OK ? info.name : "");
  viva_packed_weight_release(weight);
  return status;
}

typedef struct sums {
  double error2, reference2;
} sums;

static double relative(sums s) { return s.reference2 > 0 ? sqrt(s.error2 / s.reference2) : 0; }

static viva_status measure(const viva_model *reference, const viva_model *model, uint64_t layer,
                           viva_projection projection, sums *all, double *result, char format[32], viva_error *error) {
  float *a = NULL, *b = NULL;
  size_t count_a = 0, count_b = 0;
  sums s = {0, 0};
  viva_status status = unpack(reference, layer, projection, &a, &count_a, format, error);
  if (status == VIVA_OK) status = unpack(model, layer, projection, &b, &count_b, format, error);
  if (status == VIVA_OK && count_a != count_b)
    status = fail(error, VIVA_E_SIZE, "the matrices of the two models have different shapes");
  for (size_t i = 0; status == VIVA_OK && i < count_a; i++) {
    double difference = (double)b[i] - (double)a[i];
    s.error2 += difference * difference;
    s.reference2 += (double)a[i] * (double)a[i];
  }
  free(a);
  free(b);
  *result = relative(s);
  all->error2 += s.error2;
  all->reference2 += s.reference2;
  return status;
}

viva_status errors_measure(const viva_model *reference, const viva_model *model, uint64_t layers, progress *bar,
                           weight_errors *e, viva_error *error) {
  sums all = {0, 0}, rest = {0, 0};
  memset(e, 0, sizeof *e);
  e->layer = calloc(layers, sizeof *e->layer);
  e->format = calloc(layers, sizeof *e->format);
  if (e->layer == NULL || e->format == NULL) return fail(error, VIVA_E_MEMORY, "no memory for the table of errors");
  viva_status status = VIVA_OK;
  for (uint64_t l = 0; l < layers && status == VIVA_OK; l++) {
    for (int p = 0; p < COMPARE_PROJECTIONS && status == VIVA_OK; p++)
      status = measure(reference, model, l, (viva_projection)p, &all, &e->layer[l][p], e->format[l][p], error);
    if (status == VIVA_OK && progress_callback(bar, l + 1, layers + 1))
      status = fail(error, VIVA_E_CANCELLED, "stopped");
    e->layers = l + (status == VIVA_OK);
  }
  if (status == VIVA_OK) status = measure(reference, model, 0, VIVA_PROJ_HEAD, &all, &e->head, e->head_format, error);
  if (status == VIVA_OK)
    status = measure(reference, model, 0, VIVA_PROJ_EMBEDDING, &rest, &e->embedding, e->embedding_format, error);
  e->all = relative(all);
  return status;
}

void errors_free(weight_errors *e) {
  free(e->layer);
  free(e->format);
  e->layer = NULL;
  e->format = NULL;
}
