/* tensor/gather.c: gather and scatter: along one axis, an index for each element. */
#include <string.h>

#include "base/error.h"
#include "tensor/cast.h"
#include "tensor/few.h"
#include "tensor/index.h"
#include "tensor/ops.h"
#include "tensor/walk.h"
#include "viva/tensor_into.h"

/* One pass over lanes: bases of lanes are walked with the axis left out. */
typedef struct lane_pass {
  viva_scatter_mode mode;
  viva_dtype type;                        /* of a */
  uint64_t size, length;                  /* of the axis in a and in the indices */
  int64_t a_step, index_step, other_step; /* bytes along the axis */
} lane_pass;

/* The place that an index in memory names, which was checked. */
static inline int64_t place_of(const lane_pass *l, const char *index) {
  int64_t value;
  memcpy(&value, index, sizeof value);
  return (int64_t)index_place(value, l->size);
}

/* A lane of elements of so many bytes: from where an index says (gather), or to there (scatter). */
#define GATHER_LANE(bytes)                                                                                             \
  for (uint64_t i = 0; i < l->length; i++, to += l->other_step, index += l->index_step)                                \
    memcpy(to, from + place_of(l, index) * l->a_step, bytes);                                                          \
  break
#define SCATTER_LANE(bytes)                                                                                            \
  for (uint64_t i = 0; i < l->length; i++, from += l->other_step, index += l->index_step)                              \
    memcpy(to + place_of(l, index) * l->a_step, from, bytes);                                                          \
  break

/* p: out or values, a, indices. */
static void gather_lanes(void *arg, char *const *p, const int64_t *step, size_t n) {
  const lane_pass *l = arg;
  const size_t element = tensor_element_bytes(l->type);
  for (size_t k = 0; k < n; k++) {
    char *to = p[0] + (int64_t)k * step[0];
    const char *from = p[1] + (int64_t)k * step[1], *index = p[2] + (int64_t)k * step[2];
    switch (element) {
    case 1: GATHER_LANE(1);
    case 2: GATHER_LANE(2);
    case 4: GATHER_LANE(4);
    default: GATHER_LANE(8);
    }
  }
}

static void add_element(viva_dtype type, char *to, const char *value) {
  const op_types types = binary_types(VIVA_ADD, type, type);
  _Alignas(8) char both[2][8];
  const int64_t none[3] = {0, 0, 0};
  cast_line(types.compute, both[0], 0, type, to, 0, 1);
  cast_line(types.compute, both[1], 0, type, value, 0, 1);
  char *p[3] = {both[0], both[0], both[1]};
  loops_get()->binary[VIVA_ADD][types.compute](p, none, 1);
  cast_line(type, to, 0, types.compute, both[0], 0, 1);
}

/* p: a, values, indices. */
static void scatter_lanes(void *arg, char *const *p, const int64_t *step, size_t n) {
  const lane_pass *l = arg;
  const size_t element = l->mode == VIVA_SCATTER_ADD ? 0 : tensor_element_bytes(l->type);
  for (size_t k = 0; k < n; k++) {
    char *to = p[0] + (int64_t)k * step[0];
    const char *from = p[1] + (int64_t)k * step[1], *index = p[2] + (int64_t)k * step[2];
    switch (element) {
    case 0:
      for (uint64_t i = 0; i < l->length; i++, from += l->other_step, index += l->index_step)
        add_element(l->type, to + place_of(l, index) * l->a_step, from);
      break;
    case 1: SCATTER_LANE(1);
    case 2: SCATTER_LANE(2);
    case 4: SCATTER_LANE(4);
    default: SCATTER_LANE(8);
    }
  }
}

/* t without its axis: an operand without a reference; *step: bytes along the axis. */
static viva_tensor without_axis(const viva_tensor *t, uint32_t axis, int64_t *step) {
  viva_tensor lane = *t;
  *step = t->strides[axis] * (int64_t)tensor_element_bytes(t->dtype);
  lane.rank--;
  for (uint32_t i = axis; i < lane.rank; i++) lane.shape[i] = t->shape[i + 1], lane.strides[i] = t->strides[i + 1];
  return lane;
}

static viva_status refuse(const char *name, const viva_tensor *a, const viva_tensor *indices, viva_error *error) {
  char first[128], second[128];
  return error_set(error, VIVA_E_SIZE, "%s: indices %s do not go with %s: sizes beside the axis must be equal, or 1",
                   name, tensor_shape_text(indices, second), tensor_shape_text(a, first));
}

/* The shape of lanes: a's and the indices' beside the axis, broadcast; only indices may be repeated in scatter. */
static viva_status lane_shape(const char *name, int scatter, const viva_tensor *a, const viva_tensor *indices,
                              uint32_t axis, uint64_t *shape, viva_error *error) {
  if (a->rank != indices->rank) return refuse(name, a, indices, error);
  for (uint32_t i = 0; i < a->rank; i++) {
    const uint64_t x = a->shape[i], y = indices->shape[i];
    if (i != axis && x != y && y != 1 && (x != 1 || scatter)) return refuse(name, a, indices, error);
    shape[i] = i == axis ? y : x == 1 ? y : x;
  }
  return VIVA_OK;
}

static viva_status gather(const viva_tensor *a, const viva_tensor *indices, int32_t axis, goal *g, viva_error *error) {
  const viva_tensor *both[2] = {a, indices};
  tensor_local room;
  uint32_t at;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  viva_tensor *places, *made = NULL;
  TRY(operand_need(a, "a", error));
  TRY(operand_need(indices, "indices", error));
  TRY(operand_axis(a, axis, &at, error));
  TRY(lane_shape("gather", 0, a, indices, at, shape, error));
  TRY(index_hold(indices, a, &room, &places, error));
  lane_pass l = {.type = a->dtype, .size = a->shape[at], .length = indices->shape[at]};
  int empty = 0; /* then no index is looked at */
  for (uint32_t i = 0; i < a->rank; i++) empty |= shape[i] == 0;
  viva_status status = empty ? VIVA_OK : index_check(places, a, at, error);
  if (status == VIVA_OK) status = goal_begin(g, a->storage->rt, a->dtype, a->rank, shape, both, 2, &made, error);
  if (status == VIVA_OK && !empty && a->rank == 1) { /* a single lane */
    char *const p[3] = {made->data, a->data, places->data};
    static const int64_t none[3] = {0, 0, 0};
    const int64_t element = (int64_t)tensor_element_bytes(a->dtype);
    l.a_step = a->strides[0] * element, l.other_step = made->strides[0] * element, l.index_step = sizeof(int64_t);
    gather_lanes(&l, p, none, 1);
  } else if (status == VIVA_OK && !empty) {
    const viva_tensor lanes[3] = {without_axis(made, at, &l.other_step), without_axis(a, at, &l.a_step),
                                  without_axis(places, at, &l.index_step)};
    const viva_tensor *operands[3] = {&lanes[0], &lanes[1], &lanes[2]};
    walk w;
    walk_make(&w, lanes[0].rank, lanes[0].shape, operands, 3);
    walk_run(&w, a->storage->rt->pool, gather_lanes, &l);
  }
  viva_tensor_release(places);
  if (status == VIVA_OK) goal_end(g, made);
  return status;
}

viva_status viva_tensor_gather(const viva_tensor *a, const viva_tensor *indices, int32_t axis, viva_tensor **out,
                               viva_error *error) {
  goal g;
  g.fresh = out;
  TRY(operand_place(out, error));
  return gather(a, indices, axis, &g, error);
}

viva_status viva_tensor_gather_into(const viva_tensor *a, const viva_tensor *indices, int32_t axis, viva_tensor *out,
                                    viva_error *error) {
  goal g;
  g.fresh = NULL, g.into = out;
  TRY(operand_need(out, "out", error));
  return gather(a, indices, axis, &g, error);
}

/* t repeated to this shape, without its axis: an operand without a reference; *step: bytes along the axis. */
static viva_tensor spread_lane(const viva_tensor *t, uint32_t rank, const uint64_t *shape, uint32_t axis,
                               int64_t *step) {
  const uint32_t missing = rank - t->rank;
  viva_tensor lane = *t;
  lane.rank = 0, *step = 0;
  for (uint32_t i = 0; i < rank; i++) {
    const int64_t stride = i < missing || t->shape[i - missing] == 1 ? 0 : t->strides[i - missing];
    if (i == axis)
      *step = stride * (int64_t)tensor_element_bytes(t->dtype);
    else
      lane.shape[lane.rank] = shape[i], lane.strides[lane.rank++] = stride;
  }
  return lane;
}

static int can_spread(const viva_tensor *t, uint32_t rank, const uint64_t *shape) {
  if (t->rank > rank) return 0;
  for (uint32_t i = 0; i < t->rank; i++)
    if (t->shape[i] != 1 && t->shape[i] != shape[rank - t->rank + i]) return 0;
  return 1;
}

/* Into a tensor that overlaps nothing. values: of its type. */
static void scatter_over(viva_scatter_mode mode, viva_tensor *to, const viva_tensor *places, const viva_tensor *values,
                         uint32_t axis, const uint64_t *shape) {
  lane_pass l = {.mode = mode, .type = to->dtype, .size = to->shape[axis], .length = places->shape[axis]};
  for (uint32_t i = 0; i < to->rank; i++)
    if (shape[i] == 0) return;
  if (to->rank == 1) { /* a single lane */
    char *const p[3] = {to->data, values->data, places->data};
    static const int64_t none[3] = {0, 0, 0};
    const int repeats = values->rank == 0 || values->shape[0] == 1;
    const int64_t element = (int64_t)tensor_element_bytes(to->dtype);
    l.a_step = to->strides[0] * element, l.index_step = sizeof(int64_t);
    l.other_step = repeats ? 0 : values->strides[0] * element;
    scatter_lanes(&l, p, none, 1);
    return;
  }
  const viva_tensor lanes[3] = {without_axis(to, axis, &l.a_step),
                                spread_lane(values, to->rank, shape, axis, &l.other_step),
                                spread_lane(places, to->rank, shape, axis, &l.index_step)};
  const viva_tensor *operands[3] = {&lanes[0], &lanes[1], &lanes[2]};
  walk w;
  walk_make(&w, lanes[0].rank, lanes[0].shape, operands, 3);
  walk_run(&w, NULL, scatter_lanes, &l);
}

static viva_status scatter(viva_scatter_mode mode, viva_tensor *to, const viva_tensor *places,
                           const viva_tensor *values, uint32_t axis, const uint64_t *shape, viva_error *error) {
  tensor_local room;
  viva_tensor *same, *spread;
  TRY(index_check(places, to, axis, error));
  if (!can_spread(values, to->rank, shape)) /* fails, and says why */
    return viva_tensor_broadcast_to(values, to->rank, shape, &spread, error);
  if (values->dtype == to->dtype) {
    scatter_over(mode, to, places, values, axis, shape);
    return VIVA_OK;
  }
  TRY(operand_copy_in(&room, values, to->dtype, &same, error));
  scatter_over(mode, to, places, same, axis, shape);
  viva_tensor_release(same);
  return VIVA_OK;
}

/* fresh: out is a new tensor that nobody else knows. */
static viva_status scatter_to(viva_scatter_mode mode, viva_tensor *out, int fresh, const viva_tensor *indices,
                              const viva_tensor *values, int32_t axis, viva_error *error) {
  uint32_t at;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  tensor_local room;
  viva_tensor *places, *apart = NULL;
  if (mode != VIVA_SCATTER_SET && mode != VIVA_SCATTER_ADD)
    return error_set(error, VIVA_E_ARGUMENT, "there is no mode %d of scatter", (int)mode);
  TRY(operand_need(indices, "indices", error));
  TRY(operand_need(values, "values", error));
  if (mode == VIVA_SCATTER_ADD && !dtype_is_compute(out->dtype))
    return operand_refuse("scatter_add", out->dtype, VIVA_DTYPE_NONE, error);
  TRY(operand_axis(out, axis, &at, error));
  if (!fresh) TRY(operand_target(out, "out", out->rank, out->shape, error));
  TRY(lane_shape("scatter", 1, out, indices, at, shape, error));
  TRY(index_hold(indices, out, &room, &places, error));
  viva_status status = VIVA_OK;
  if (!fresh && tensor_overlap(out, values)) {
    status = operand_copy(values, values->dtype, &apart, error);
    values = apart;
  }
  if (status == VIVA_OK && !fresh && tensor_overlap(out, places)) {
    viva_tensor *copy;
    status = operand_copy(places, VIVA_I64, &copy, error);
    if (status == VIVA_OK) viva_tensor_release(places), places = copy;
  }
  if (status == VIVA_OK) status = scatter(mode, out, places, values, at, shape, error);
  viva_tensor_release(places), viva_tensor_release(apart);
  return status;
}

viva_status viva_tensor_scatter_into(viva_scatter_mode mode, viva_tensor *out, const viva_tensor *indices,
                                     const viva_tensor *values, int32_t axis, viva_error *error) {
  TRY(operand_need(out, "out", error));
  return scatter_to(mode, out, 0, indices, values, axis, error);
}

static int is_few_line(const viva_tensor *t) { return t->rank == 1 && !t->storage->device && few_fits(t); }

/* One axis of few elements, set: on the stack. 0: something else, or what scatter_to refuses. */
static int scatter_few(const viva_tensor *a, const viva_tensor *indices, const viva_tensor *values, int32_t axis,
                       viva_tensor **out, viva_status *status, viva_error *error) {
  if (a->rank != 1 || (axis != 0 && axis != -1) || !few_fits(a)) return 0;
  if (!indices || !is_few_line(indices) || !dtype_is_integer(indices->dtype) || indices->dtype == VIVA_U64) return 0;
  if (!values || !is_few_line(values) || values->elements != indices->elements) return 0;
  const size_t size = tensor_element_bytes(a->dtype);
  few_room room[3], made;
  goal g;
  const int64_t *places = few_hold(indices, VIVA_I64, &room[0]);
  for (size_t i = 0; i < indices->elements; i++)
    if (index_place(places[i], a->elements) >= a->elements) return 0;
  lane_pass l = {.type = a->dtype, .size = a->elements, .length = indices->elements};
  l.a_step = l.other_step = (int64_t)size, l.index_step = sizeof *places;
  memcpy(made.bytes, few_hold(a, a->dtype, &room[1]), a->elements * size);
  char *const p[3] = {made.bytes, (char *)(uintptr_t)few_hold(values, a->dtype, &room[2]), (char *)(uintptr_t)places};
  static const int64_t none[3] = {0, 0, 0};
  scatter_lanes(&l, p, none, 1);
  g.fresh = out;
  *status = few_give(&g, a->storage->rt, a->dtype, 1, a->shape, a->dtype, made.bytes, error);
  return 1;
}

viva_status viva_tensor_scatter(viva_scatter_mode mode, const viva_tensor *a, const viva_tensor *indices,
                                const viva_tensor *values, int32_t axis, viva_tensor **out, viva_error *error) {
  viva_tensor *made;
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  viva_status status;
  if (mode == VIVA_SCATTER_SET && scatter_few(a, indices, values, axis, out, &status, error)) return status;
  TRY(operand_copy(a, a->dtype, &made, error));
  status = scatter_to(mode, made, 1, indices, values, axis, error);
  if (status == VIVA_OK)
    *out = made;
  else
    viva_tensor_release(made);
  return status;
}
