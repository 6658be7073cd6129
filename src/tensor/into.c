/* tensor/into.c: calls that make a tensor, into one that is there: the result is made apart, then moved, so that out may
 * overlap what it is made from and stays as it was after an error. */
#include "viva/tensor_into.h"

#include "base/error.h"
#include "tensor/create.h"

/* out = made, which is released. */
static viva_status put(viva_tensor *made, viva_tensor *out, viva_error *error) {
  const viva_status status = operand_out(out, made->rank, made->shape, error);
  if (status == VIVA_OK) operand_move(out, made);
  viva_tensor_release(made);
  return status;
}

/* name: of the call; parameters: as declared, arguments: passed on. */
#define INTO(name, parameters, ...)                                                                                    \
  viva_status viva_tensor_##name##_into parameters {                                                                   \
    viva_tensor *made;                                                                                                 \
    TRY(operand_need(out, "out", error));                                                                              \
    TRY(viva_tensor_##name(__VA_ARGS__, &made, error));                                                                \
    return put(made, out, error);                                                                                      \
  }
#define OUT viva_tensor *out, viva_error *error

INTO(map2,
     (const viva_tensor *a, const viva_tensor *b, double (*function)(void *user, uint64_t index, double x, double y),
      void *user, OUT),
     a, b, function, user)

/* -- given values */

/* E_SIZE unless out has so many axes. */
static viva_status need_axes(const viva_tensor *out, const char *name, uint32_t axes, viva_error *error) {
  char text[128];
  TRY(operand_need(out, "out", error));
  if (out->rank == axes) return VIVA_OK;
  return error_set(error, VIVA_E_SIZE, "%s: out has the shape %s; expected %u axes", name, tensor_shape_text(out, text),
                   (unsigned)axes);
}

viva_status viva_tensor_arange_into(double start, double stop, double step, OUT) {
  goal g;
  TRY(operand_need(out, "out", error));
  g.fresh = NULL, g.into = out;
  return create_range(out->storage->rt, out->dtype, start, stop, step, &g, error);
}

viva_status viva_tensor_linspace_into(double start, double stop, OUT) {
  goal g;
  TRY(need_axes(out, "linspace", 1, error));
  g.fresh = NULL, g.into = out;
  return create_spaced(out->storage->rt, out->dtype, start, stop, out->shape[0], 0, &g, error);
}

viva_status viva_tensor_logspace_into(double start, double stop, double base, OUT) {
  goal g;
  TRY(need_axes(out, "logspace", 1, error));
  g.fresh = NULL, g.into = out;
  return create_logspace_to(out->storage->rt, out->dtype, start, stop, out->shape[0], base, &g, error);
}

viva_status viva_tensor_eye_into(int64_t k, OUT) {
  viva_tensor *made;
  TRY(need_axes(out, "eye", 2, error));
  TRY(create_eye(out->storage->rt, out->dtype, out->shape[0], out->shape[1], k, &made, error));
  return put(made, out, error);
}

viva_status viva_tensor_random_into(const viva_random_options *options, OUT) {
  viva_random_options o;
  goal g;
  TRY(operand_need(out, "out", error));
  TRY(create_random_options(&o, options, error));
  g.fresh = NULL, g.into = out;
  return create_random_to(out->storage->rt, out->dtype, out->rank, out->shape, &o, &g, error);
}
