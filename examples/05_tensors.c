/* 05_tensors.c: rows centred, one head of attention, rows by index, printing: what the headers of the tensors show.
 *
 *   cc 05_tensors.c -o tensors $(pkg-config --cflags --libs viva)
 *   ./tensors
 */
#include <stdio.h>
#include <viva/viva.h>

static int fail(const viva_error *error) {
  fprintf(stderr, "%s\n", error->message);
  return 1;
}

/* tensor_ops.h: each row less its mean, halved. */
static viva_status centre(viva_engine *engine, viva_tensor **out, viva_error *error) {
  viva_tensor *x = NULL, *centred = NULL, *mean = NULL;
  viva_random_options normal = viva_random_options_default();
  normal.distribution = VIVA_NORMAL, normal.seed = 7;
  viva_status status = viva_tensor_random(engine, VIVA_F32, 2, (uint64_t[]){64, 512}, &normal, &x, error);
  if (!status) status = viva_tensor_reduce(VIVA_MEAN, x, (int32_t[]){1}, 1, 1, &mean, error);
  if (!status) status = viva_tensor_binary(VIVA_SUBTRACT, x, mean, &centred, error);
  if (!status) status = viva_tensor_binary_scalar(VIVA_MULTIPLY, centred, 0.5, out, error);
  viva_tensor_release(x), viva_tensor_release(mean), viva_tensor_release(centred);
  return status;
}

/* tensor_algebra.h: attention of one head: softmax(q·kᵀ)·v. */
static viva_status attend(const viva_tensor *q, const viva_tensor *k, const viva_tensor *v, viva_tensor **mixed,
                          viva_error *error) {
  viva_tensor *scores = NULL, *weights = NULL;
  viva_status status = viva_tensor_einsum("qd,kd->qk", (const viva_tensor *[]){q, k}, 2, &scores, error);
  if (!status) status = viva_tensor_along(VIVA_SOFTMAX, scores, -1, &weights, error);
  if (!status) status = viva_tensor_matmul(weights, v, mixed, error);
  viva_tensor_release(scores), viva_tensor_release(weights);
  return status;
}

/* tensor_select.h: scores in order. tensor.h: memory of the caller's, turned without a copy. */
static viva_status in_order(const viva_tensor *scores, viva_tensor **sorted, viva_error *error) {
  viva_tensor *order = NULL;
  viva_status status = viva_tensor_along(VIVA_ARGSORT, scores, -1, &order, error);
  if (!status) status = viva_tensor_gather(scores, order, -1, sorted, error);
  viva_tensor_release(order);
  return status;
}

/* tensor_text.h */
static viva_status show(const char *name, const viva_tensor *x, viva_error *error) {
  char text[4096];
  viva_status status = viva_tensor_format(x, NULL, text, sizeof text, NULL, error);
  if (!status) printf("%s\n%s\n", name, text);
  return status;
}

int main(void) {
  float data[6] = {3, 1, 2, -0.5f, 4, 0.25f};
  viva_engine *engine = NULL;
  viva_tensor *w = NULL, *turned = NULL, *sorted = NULL, *mixed = NULL, *halved = NULL, *rows = NULL, *tokens = NULL;
  viva_error error = {0};
  viva_status status = viva_engine_open(NULL, &engine, &error);
  if (!status) status = viva_tensor_wrap(engine, data, sizeof data, VIVA_F32, 2, (uint64_t[]){2, 3}, &w, &error);
  if (!status) status = viva_tensor_transpose(w, 0, 1, &turned, &error);
  if (!status) status = in_order(turned, &sorted, &error);
  if (!status) status = attend(w, w, w, &mixed, &error);
  if (!status)
    status = viva_tensor_from_data(engine, (int64_t[]){1, -2, 1}, 24, VIVA_I64, 1, (uint64_t[]){3}, &tokens, &error);
  if (!status) status = viva_tensor_take(w, tokens, 0, &rows, &error);
  if (!status) status = centre(engine, &halved, &error);
  if (!status) status = show("turned", turned, &error);
  if (!status) status = show("sorted", sorted, &error);
  if (!status) status = show("mixed", mixed, &error);
  if (!status) status = show("rows", rows, &error);
  viva_tensor_desc desc = {.size = sizeof desc};
  if (!status) status = viva_tensor_info(halved, &desc, &error);
  if (!status) printf("halved: %llu x %llu\n", (unsigned long long)desc.shape[0], (unsigned long long)desc.shape[1]);
  viva_tensor_release(w), viva_tensor_release(turned), viva_tensor_release(sorted), viva_tensor_release(mixed);
  viva_tensor_release(rows), viva_tensor_release(tokens), viva_tensor_release(halved);
  viva_engine_release(engine);
  return status ? fail(&error) : 0;
}
