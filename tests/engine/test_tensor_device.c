/* Tensors in the memory of a device that the host cannot touch (lib/far_device.h): copies in every direction, what takes them
 * and what refuses them, who keeps whom, prepack there, and a device that is lost. */
#include "linear_kit.h"

#include <math.h>

#include "lib/fail_alloc.h"
#include "tensor/dlpack.h"

enum { ROWS = 6, COLS = 10 };

static viva_error trouble;

static float number(size_t i) { return (float)i * 0.5f - 7; }

static viva_tensor *numbers(void) {
  float values[ROWS * COLS];
  for (size_t i = 0; i < ROWS * COLS; i++) values[i] = number(i);
  viva_tensor *t;
  fine(viva_tensor_from_data(engine, values, sizeof values, VIVA_F32, 2, (uint64_t[]){ROWS, COLS}, &t, &fault));
  return t;
}

static viva_tensor *sent(viva_tensor *t) {
  viva_tensor *there;
  fine(viva_tensor_to_device(t, engine, &there, &fault));
  viva_tensor_release(t);
  return there;
}

/* Row by row, from wherever it lies. */
static void holds(const viva_tensor *t, const float *expected, size_t count) {
  viva_tensor *here;
  float values[2 * ROWS * COLS];
  assert_true(count <= 2 * ROWS * COLS);
  fine(viva_tensor_to_host(t, &here, &fault));
  assert_null(viva_tensor_engine(here));
  fine(viva_tensor_to_f32(here, values, count, &fault));
  assert_true(kit_same(values, expected, count));
  viva_tensor_release(here);
}

/* -- copies */

static void there_and_back(void **state) {
  (void)state;
  viva_tensor_desc d = {.size = sizeof d};
  float expected[ROWS * COLS], turned_values[ROWS * COLS];
  viva_tensor *t = sent(numbers()), *turned, *again, *flat;
  for (size_t i = 0; i < ROWS * COLS; i++)
    expected[i] = number(i), turned_values[i] = number(i % ROWS * COLS + i / ROWS);
  fine(viva_tensor_info(t, &d, &fault));
  assert_true(d.on_device == 1 && d.contiguous && d.bytes == ROWS * COLS * 4);
  assert_ptr_equal(viva_tensor_engine(t), engine);
  holds(t, expected, ROWS * COLS);
  fine(viva_tensor_transpose(t, 0, 1, &turned, &fault));
  assert_ptr_equal(viva_tensor_engine(turned), engine);
  holds(turned, turned_values, ROWS * COLS); /* through its span */
  fine(viva_tensor_to_device(turned, engine, &again, &fault));
  holds(again, turned_values, ROWS * COLS);
  fine(viva_tensor_flip(t, NULL, 0, &flat, &fault)); /* backwards: its first element is the last in memory */
  for (size_t i = 0; i < ROWS * COLS; i++) turned_values[i] = number(ROWS * COLS - 1 - i);
  holds(flat, turned_values, ROWS * COLS);
  viva_tensor_release(t), viva_tensor_release(turned), viva_tensor_release(again), viva_tensor_release(flat);
}

/* Larger than what is uploaded at once. */
static void zeros(void **state) {
  static const uint64_t sizes[] = {0, 1, 1000, (64 << 10) / 8, (64 << 10) / 8 + 1, 100003};
  (void)state;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    viva_tensor *t, *here;
    fine(viva_tensor_create_on_device(engine, VIVA_I64, 1, &sizes[i], &t, &fault));
    fine(viva_tensor_to_host(t, &here, &fault));
    const char *bytes = viva_tensor_elements(here);
    for (size_t j = 0; j < sizes[i] * 8; j++) assert_int_equal(bytes[j], 0);
    viva_tensor_release(t), viva_tensor_release(here);
  }
}

/* Between every two of: row-major, transposed, with gaps, backwards; of the host's and of the device's. */
static viva_tensor *target(int layout, int there) {
  viva_tensor *t, *v;
  const uint64_t shape[2] = {layout == 1 ? COLS : ROWS, layout == 1 ? ROWS : COLS}, gaps[2] = {2 * ROWS, 3 * COLS};
  if (there)
    fine(viva_tensor_create_on_device(engine, VIVA_F32, 2, layout == 2 ? gaps : shape, &t, &fault));
  else
    fine(viva_tensor_create(engine, VIVA_F32, 2, layout == 2 ? gaps : shape, &t, &fault));
  if (layout == 0) return t;
  if (layout == 1) fine(viva_tensor_transpose(t, 0, 1, &v, &fault));
  if (layout == 2) fine(viva_tensor_view(t, 2, (uint64_t[]){ROWS, COLS}, (int64_t[]){6 * COLS, 3}, 1, &v, &fault));
  if (layout == 3) fine(viva_tensor_flip(t, NULL, 0, &v, &fault));
  viva_tensor_release(t);
  return v;
}

static void transfers(void **state) {
  float expected[ROWS * COLS];
  (void)state;
  for (size_t i = 0; i < ROWS * COLS; i++) expected[i] = number(i);
  for (int from = 0; from < 8; from++)
    for (int to = 0; to < 8; to++) {
      viva_tensor *first = numbers(), *a = target(from % 4, from / 4), *b = target(to % 4, to / 4);
      fine(viva_tensor_transfer(first, a, &fault));
      fine(viva_tensor_transfer(a, b, &fault));
      holds(b, expected, ROWS * COLS);
      holds(a, expected, ROWS * COLS);
      viva_tensor_release(first), viva_tensor_release(a), viva_tensor_release(b);
    }
  /* What lies between the elements stays. */
  viva_tensor *whole = sent(numbers()), *part, *ones;
  fine(viva_tensor_slice(whole, 1, 2, 3, &part, &fault));
  fine(viva_tensor_full(engine, VIVA_F32, 2, (uint64_t[]){ROWS, 3}, 1, &ones, &fault));
  fine(viva_tensor_transfer(ones, part, &fault));
  for (size_t i = 0; i < ROWS * COLS; i++)
    if (i % COLS >= 2 && i % COLS < 5) expected[i] = 1;
  holds(whole, expected, ROWS * COLS);
  viva_tensor_release(whole), viva_tensor_release(part), viva_tensor_release(ones);
}

/* Onto itself, moved by one: as if through a copy. */
static void overlapping_transfers(void **state) {
  (void)state;
  for (int there = 0; there < 2; there++)
    for (int backwards = 0; backwards < 2; backwards++) {
      float expected[ROWS * COLS];
      viva_tensor *t = there ? sent(numbers()) : numbers(), *flat, *low, *high;
      fine(viva_tensor_flatten(t, &flat, &fault));
      fine(viva_tensor_slice(flat, 0, 0, ROWS * COLS - 1, &low, &fault));
      fine(viva_tensor_slice(flat, 0, 1, ROWS * COLS - 1, &high, &fault));
      fine(viva_tensor_transfer(backwards ? high : low, backwards ? low : high, &fault));
      for (size_t i = 0; i < ROWS * COLS; i++) {
        const size_t last = ROWS * COLS - 1;
        expected[i] = backwards ? number(i < last ? i + 1 : last) : number(i ? i - 1 : 0);
      }
      holds(t, expected, ROWS * COLS);
      viva_tensor_release(t), viva_tensor_release(flat), viva_tensor_release(low), viva_tensor_release(high);
    }
}

static void transfers_are_checked(void **state) {
  (void)state;
  viva_tensor *a = numbers(), *t = sent(numbers()), *turned, *wide, *one, *none = t;
  fine(viva_tensor_transpose(t, 0, 1, &turned, &fault));
  fine(viva_tensor_create_on_device(engine, VIVA_F64, 2, (uint64_t[]){ROWS, COLS}, &wide, &fault));
  fine(viva_tensor_broadcast_to(t, 3, (uint64_t[]){2, ROWS, COLS}, &one, &fault));
  refused(viva_tensor_transfer(NULL, t, &trouble), VIVA_E_ARGUMENT, &trouble, "from is NULL");
  refused(viva_tensor_transfer(a, NULL, &trouble), VIVA_E_ARGUMENT, &trouble, "to is NULL");
  refused(viva_tensor_transfer(a, wide, &trouble), VIVA_E_DTYPE, &trouble, "from holds F32 and to F64");
  refused(viva_tensor_transfer(a, turned, &trouble), VIVA_E_SIZE, &trouble, "to has the shape [10, 6]");
  refused(viva_tensor_transfer(one, one, &trouble), VIVA_E_ARGUMENT, &trouble, "share one place");
  refused(viva_tensor_to_device(a, NULL, &none, &trouble), VIVA_E_ARGUMENT, &trouble, "engine is NULL");
  assert_null(none);
  refused(viva_tensor_to_host(a, NULL, &trouble), VIVA_E_ARGUMENT, &trouble, "is NULL");
  assert_null(viva_tensor_engine(NULL));
  assert_null(viva_tensor_engine(a));
  viva_tensor_release(a), viva_tensor_release(t), viva_tensor_release(turned);
  viva_tensor_release(wide), viva_tensor_release(one);
}

/* -- memory of the caller's */

static void give_back(void *user, void *data) {
  viva_engine *e = user;
  e->backend->ops->free(e->backend, data, NULL);
}

static void wrapped_memory(void **state) {
  float expected[ROWS * COLS];
  void *dev;
  viva_tensor *t, *view, *first = numbers();
  backend *b = engine->backend;
  (void)state;
  for (size_t i = 0; i < ROWS * COLS; i++) expected[i] = number(i / ROWS + i % ROWS * COLS);
  fine(b->ops->alloc(b, ROWS * COLS * 4, &dev, &fault));
  fine(b->ops->upload(b, dev, viva_tensor_elements(first), ROWS * COLS * 4, &fault));
  viva_tensor_memory memory = viva_tensor_memory_default();
  memory.data = dev, memory.bytes = ROWS * COLS * 4, memory.strides = (int64_t[]){1, COLS};
  memory.release = give_back, memory.release_user = engine, memory.on_device = 1;
  const uint64_t shape[2] = {COLS, ROWS};
  refused(viva_tensor_wrap_memory(engine, &memory, VIVA_F64, 2, shape, &t, &trouble), VIVA_E_SIZE, &trouble,
          "reaches outside its memory"); /* and nothing was given back: */
  memory.on_device = 2;
  refused(viva_tensor_wrap_memory(engine, &memory, VIVA_F32, 2, shape, &t, &trouble), VIVA_E_ARGUMENT, &trouble,
          "on_device: on_device is 2; expected 0 or 1");
  memory.on_device = 1, memory.reserved = 1;
  refused(viva_tensor_wrap_memory(engine, &memory, VIVA_F32, 2, shape, &t, &trouble), VIVA_E_ARGUMENT, &trouble,
          "reserved: reserved is 1; expected 0");
  refused(viva_tensor_wrap_memory(engine, NULL, VIVA_F32, 2, shape, &t, &trouble), VIVA_E_ARGUMENT, &trouble,
          "memory is NULL");
  memory.reserved = 0;
  fine(viva_tensor_wrap_memory(engine, &memory, VIVA_F32, 2, shape, &t, &fault));
  assert_ptr_equal(viva_tensor_elements(t), dev);
  holds(t, expected, ROWS * COLS);
  fine(viva_tensor_select(t, 0, 3, &view, &fault));
  viva_tensor_release(t);
  holds(view, expected + 3 * ROWS, ROWS); /* the view keeps it */
  viva_tensor_release(view);
  viva_tensor_release(first);
}

/* -- who takes it */

/* Shapes may change; nothing is read. */
static void views_of_a_device(void **state) {
  viva_tensor *t = sent(numbers()), *v[16], *parts[2];
  size_t n = 0;
  (void)state;
  fine(viva_tensor_view(t, 1, (uint64_t[]){4}, NULL, 3, &v[n++], &fault));
  fine(viva_tensor_transpose(t, 0, 1, &v[n++], &fault));
  fine(viva_tensor_slice(t, 0, 1, 2, &v[n++], &fault));
  fine(viva_tensor_reshape(t, 1, (uint64_t[]){UINT64_MAX}, &v[n++], &fault));
  fine(viva_tensor_flatten(t, &v[n++], &fault));
  fine(viva_tensor_permute(t, NULL, &v[n++], &fault));
  fine(viva_tensor_squeeze(t, NULL, 0, &v[n++], &fault));
  fine(viva_tensor_expand_dims(t, 0, &v[n++], &fault));
  fine(viva_tensor_flip(t, NULL, 0, &v[n++], &fault));
  fine(viva_tensor_broadcast_to(t, 3, (uint64_t[]){2, ROWS, COLS}, &v[n++], &fault));
  fine(viva_tensor_slice_step(t, 1, 0, VIVA_SLICE_NONE, 3, &v[n++], &fault));
  fine(viva_tensor_select(t, -1, 2, &v[n++], &fault));
  fine(viva_tensor_contiguous(t, &v[n++], &fault));
  fine(viva_tensor_split(t, 0, 2, parts, &fault));
  v[n++] = parts[0], v[n++] = parts[1];
  for (size_t i = 0; i < n; i++) {
    assert_ptr_equal(viva_tensor_engine(v[i]), engine);
    viva_tensor_release(v[i]);
  }
  viva_tensor_release(t);
}

static double same(void *user, uint64_t index, double x) {
  (void)user, (void)index;
  return x;
}

/* All that reads or writes elements on the CPU. */
static void the_rest_refuses(void **state) {
  viva_tensor *t = sent(numbers()), *h = numbers(), *turned, *y;
  const uint64_t ones[2] = {1, 1}, shape[1] = {ROWS * COLS};
  const int64_t at[2] = {0, 0};
  double number_at;
  int64_t integer_at;
  float values[ROWS * COLS];
  (void)state;
  fine(viva_tensor_transpose(t, 0, 1, &turned, &fault));
#define REFUSES(name, call) refused(call, VIVA_E_STATE, &trouble, name " lies in the memory of the device ")
  REFUSES("a", viva_tensor_unary(VIVA_EXP, t, &y, &trouble));
  if (!strstr(trouble.message, "copy it to the host first (viva_tensor_to_host)")) fail_msg("%s", trouble.message);
  REFUSES("a", viva_tensor_unary_into(VIVA_EXP, t, h, &trouble));
  REFUSES("out", viva_tensor_unary_into(VIVA_EXP, h, t, &trouble));
  REFUSES("a", viva_tensor_binary(VIVA_ADD, t, h, &y, &trouble));
  REFUSES("b", viva_tensor_binary(VIVA_ADD, h, t, &y, &trouble));
  REFUSES("out", viva_tensor_binary_into(VIVA_ADD, h, h, t, &trouble));
  REFUSES("a", viva_tensor_binary_scalar(VIVA_ADD, t, 1, &y, &trouble));
  REFUSES("out", viva_tensor_binary_scalar_into(VIVA_ADD, h, 1, t, &trouble));
  REFUSES("condition", viva_tensor_where(t, h, h, &y, &trouble));
  REFUSES("a", viva_tensor_where(h, t, h, &y, &trouble));
  REFUSES("b", viva_tensor_where(h, h, t, &y, &trouble));
  REFUSES("out", viva_tensor_where_into(h, h, h, t, &trouble));
  REFUSES("a", viva_tensor_clip(t, 0, 1, &y, &trouble));
  REFUSES("a", viva_tensor_map(t, same, NULL, &y, &trouble));
  REFUSES("a", viva_tensor_astype(t, VIVA_F64, &y, &trouble));
  REFUSES("a", viva_tensor_copy(t, &y, &trouble));
  REFUSES("a", viva_tensor_contiguous(turned, &y, &trouble));
  REFUSES("a", viva_tensor_copy_into(t, h, &trouble));
  REFUSES("out", viva_tensor_copy_into(h, t, &trouble));
  REFUSES("out", viva_tensor_fill(t, 1, &trouble));
  REFUSES("a", viva_tensor_check_domain(VIVA_LOG, t, &trouble));
  REFUSES("a", viva_tensor_reduce(VIVA_SUM, t, NULL, 0, 0, &y, &trouble));
  REFUSES("a", viva_tensor_reduce(VIVA_ARGMAX, t, NULL, 0, 0, &y, &trouble));
  REFUSES("out", viva_tensor_reduce_into(VIVA_MAX, h, &(int32_t){0}, 0, 0, t, &trouble));
  REFUSES("a", viva_tensor_reshape(turned, 1, shape, &y, &trouble));
  REFUSES("a", viva_tensor_flatten(turned, &y, &trouble));
  REFUSES("a tensor of the list", viva_tensor_concatenate((const viva_tensor *[]){h, t}, 2, 0, &y, &trouble));
  REFUSES("a tensor of the list", viva_tensor_stack((const viva_tensor *[]){t, h}, 2, 0, &y, &trouble));
  REFUSES("a", viva_tensor_roll(t, 1, 0, &y, &trouble));
  REFUSES("a", viva_tensor_pad(t, ones, ones, 0, &y, &trouble));
  REFUSES("a", viva_tensor_tile(t, ones, &y, &trouble));
  REFUSES("a", viva_tensor_repeat(t, 2, 0, &y, &trouble));
  REFUSES("a", viva_tensor_diag(t, 0, &y, &trouble));
  REFUSES("a", viva_tensor_get(t, at, &number_at, &trouble));
  REFUSES("a", viva_tensor_set(t, at, 1, &trouble));
  REFUSES("a", viva_tensor_get_i64(t, at, &integer_at, &trouble));
  REFUSES("a", viva_tensor_set_i64(t, at, 1, &trouble));
  REFUSES("the tensor", viva_tensor_to_f32(t, values, ROWS * COLS, &trouble));
  fine(viva_tensor_full_like(t, VIVA_DTYPE_NONE, 1, &y, &fault)); /* of its shape alone: the host's */
  assert_null(viva_tensor_engine(y));
  viva_tensor_release(t), viva_tensor_release(h), viva_tensor_release(turned), viva_tensor_release(y);
}

/* DLPack: out as a device's, in again only for the engine whose device it is. */
static void dlpack_stays_on_the_device(void **state) {
  (void)state;
  viva_tensor *t = sent(numbers()), *turned, *back, *copy;
  dlpack_managed *m;
  float expected[ROWS * COLS];
  for (size_t i = 0; i < ROWS * COLS; i++) expected[i] = number(i % ROWS * COLS + i / ROWS);
  fine(viva_tensor_transpose(t, 0, 1, &turned, &fault));
  for (int read_only = 0; read_only < 2; read_only++) {
    fine(viva_tensor_to_dlpack(turned, &m, &fault));
    assert_int_equal(m->tensor.device_type, DLPACK_EXTENSION); /* far_device says that it is no GPU */
    assert_ptr_equal(m->tensor.data, viva_tensor_elements(turned));
    m->tensor.device_id++;
    refused(viva_tensor_from_dlpack(engine, m, &back, &trouble), VIVA_E_UNSUPPORTED, &trouble,
            "the DLPack tensor lies on device ");
    m->tensor.device_id--;
    if (read_only) m->flags |= DLPACK_READ_ONLY;
    fine(viva_tensor_from_dlpack(engine, m, &back, &fault));
    assert_ptr_equal(viva_tensor_engine(back), engine);
    assert_int_equal(viva_tensor_elements(back) == viva_tensor_elements(turned), !read_only);
    holds(back, expected, ROWS * COLS);
    viva_tensor_release(back);
  }
  viva_tensor_release(t), viva_tensor_release(turned);
  t = numbers();
  fine(viva_tensor_to_dlpack(t, &m, &fault)); /* the host's stays there */
  assert_int_equal(m->tensor.device_type, DLPACK_CPU);
  fine(viva_tensor_from_dlpack(engine, m, &copy, &fault));
  assert_null(viva_tensor_engine(copy));
  viva_tensor_release(t), viva_tensor_release(copy);
}

/* -- linear calls and prepack */

/* The result lies where the input does, or in `into`, wherever that is. */
static void results_go_home(void **state) {
  viva_packed_weight *p = pack("fp8", w_values);
  viva_tensor *there, *expected, *y, *into;
  viva_linear_options o = f32_output(VIVA_ACT_AUTO);
  float values[M * N];
  (void)state;
  fine(viva_tensor_to_device(input, engine, &there, &fault));
  fine(viva_linear_fp8(input, p, bias, &o, &expected, &fault));
  assert_null(viva_tensor_engine(expected));
  fine(viva_tensor_to_f32(expected, values, M * N, &fault));
  fine(viva_linear_fp8(there, p, bias, &o, &y, &fault)); /* a bias of the host's is copied over */
  assert_ptr_equal(viva_tensor_engine(y), engine);
  holds(y, values, M * N);
  viva_tensor_release(y);
  for (int from = 0; from < 2; from++)
    for (int to = 0; to < 2; to++) {
      const uint64_t shape[2] = {M, N};
      if (to)
        fine(viva_tensor_create_on_device(engine, VIVA_F32, 2, shape, &into, &fault));
      else
        fine(viva_tensor_create(engine, VIVA_F32, 2, shape, &into, &fault));
      o.into = into;
      fine(viva_linear_fp8(from ? there : input, p, bias, &o, NULL, &fault));
      holds(into, values, M * N);
      viva_tensor_release(into);
    }
  viva_tensor_release(there), viva_tensor_release(expected);
  viva_packed_weight_release(p);
}

/* What lies on the device of another engine is refused by name, not read. */
static void devices_do_not_mix(void **state) {
  viva_engine *other = open_engine(VIVA_KERNELS_AUTO, 1), *cpu = open_engine(VIVA_KERNELS_AUTO, 1);
  far_device far_other;
  viva_tensor *there, *line, *y, *w = matrix_of(engine, VIVA_F32, N, K, w_values);
  viva_packed_weight *p = pack("fp8", w_values), *q;
  viva_linear_options o = viva_linear_options_default();
  (void)state;
  far_begin(&far_other, other, FAR_PREPARE);
  fine(viva_tensor_to_device(input, other, &there, &fault));
  fine(viva_tensor_to_device(bias, other, &line, &fault));
  refused(viva_linear_fp8(there, p, NULL, NULL, &y, &trouble), VIVA_E_ARGUMENT, &trouble,
          "input: input lies on the device of another engine than the weight's; copy it there (viva_tensor_to_device)");
  refused(viva_linear_fp8(input, p, line, NULL, &y, &trouble), VIVA_E_ARGUMENT, &trouble, "bias: bias lies on the");
  fine(viva_tensor_create_on_device(other, VIVA_F16, 2, (uint64_t[]){M, N}, &o.into, &fault));
  refused(viva_linear_fp8(input, p, NULL, &o, &y, &trouble), VIVA_E_ARGUMENT, &trouble, "into: into lies on the");
  fine(viva_prepack_fp8_weight(cpu, w, NULL, &q, &fault));
  refused(viva_linear_fp8(there, q, NULL, NULL, &y, &trouble), VIVA_E_ARGUMENT, &trouble, "input: input lies on the");
  viva_packed_weight_release(q);
  viva_tensor *moved;
  fine(viva_tensor_to_device(there, engine, &moved, &fault)); /* from device to device, as is said */
  fine(viva_linear_fp8(moved, p, NULL, NULL, &y, &fault));
  viva_tensor_release(y), viva_tensor_release(moved);
  viva_tensor_release(there), viva_tensor_release(line), viva_tensor_release(o.into), viva_tensor_release(w);
  viva_packed_weight_release(p);
  far_end(&far_other);
  viva_engine_release(other), viva_engine_release(cpu);
}

/* The bytes of a packed weight, codes and scales. */
static size_t packed_bytes(const viva_packed_weight *p, uint8_t *bytes, size_t most) {
  backend *b = p->engine->backend;
  const weight *w = packed_weight(p);
  const size_t codes = (size_t)packed_code_bytes(w), scales = (size_t)packed_scale_bytes(w);
  assert_true(codes + scales <= most);
  fine(b->ops->download(b, bytes, w->data, codes, &fault));
  if (scales) fine(b->ops->download(b, bytes + codes, w->scales, scales, &fault));
  return codes + scales;
}

/* Packed on the host or by the device, from tensors of either side, of every type: the bytes that the CPU makes. */
static void prepacked_bytes(void **state) {
  static const viva_dtype types[] = {VIVA_F32, VIVA_F16, VIVA_BF16, VIVA_F64};
  enum { MOST = N * K * 8 };
  static uint8_t expected[MOST], got[MOST];
  viva_engine *cpu = open_engine(VIVA_KERNELS_AUTO, 2);
  (void)state;
  for (int packs = 0; packs < 2; packs++) {
    far_device other;
    viva_engine *e = open_engine(VIVA_KERNELS_AUTO, 2);
    far_begin(&other, e, packs ? FAR_PREPARE | FAR_PACK : FAR_PREPARE);
    for (size_t i = 0; i < ALL_FORMATS; i++)
      for (size_t n = 0; n < 4; n++)
        for (int turned = 0; turned < 2; turned++) {
          viva_tensor *t = (turned ? turned_of : matrix_of)(cpu, types[n], N, K, w_values), *there, *view;
          viva_packed_weight *p, *from_host, *from_device;
          fine(prepack_named(cpu, all_formats[i], t, NULL, &p, &fault));
          const size_t bytes = packed_bytes(p, expected, MOST);
          const size_t before = other.packed;
          fine(prepack_named(e, all_formats[i], t, NULL, &from_host, &fault));
          assert_int_equal(packed_bytes(from_host, got, MOST), bytes);
          assert_memory_equal(got, expected, bytes);
          if (turned) { /* columns that lie together there too */
            fine(viva_tensor_transpose(t, 0, 1, &view, &fault));
            fine(viva_tensor_to_device(view, e, &there, &fault));
            viva_tensor_release(view);
            fine(viva_tensor_transpose(there, 0, 1, &view, &fault));
            viva_tensor_release(there);
            there = view;
          } else {
            fine(viva_tensor_to_device(t, e, &there, &fault));
          }
          fine(prepack_named(e, all_formats[i], there, NULL, &from_device, &fault));
          assert_int_equal(packed_bytes(from_device, got, MOST), bytes);
          assert_memory_equal(got, expected, bytes);
          const int dense = weight_dense(packed_weight(p)->format);
          assert_int_equal(other.packed - before, packs && !dense && types[n] != VIVA_F64 ? 2 * N : 0);
          viva_tensor_release(t), viva_tensor_release(there);
          viva_packed_weight_release(p);
          viva_packed_weight_release(from_host), viva_packed_weight_release(from_device);
        }
    far_end(&other);
    viva_engine_release(e);
  }
  viva_engine_release(cpu);
}

/* Values that cannot be packed are told as on the CPU; a mask of the device's is one too. */
static void prepack_refuses_there_too(void **state) {
  float bad[N * K];
  (void)state;
  memcpy(bad, w_values, sizeof bad);
  bad[3 * K + 5] = NAN, bad[7 * K] = INFINITY;
  for (int packs = 0; packs < 2; packs++) {
    far.ops.pack_rows = packs ? far.ops.pack_rows : NULL;
    for (size_t i = 3; i < ALL_FORMATS; i++) {
      viva_tensor *t = sent(matrix_of(engine, VIVA_F32, N, K, bad));
      viva_packed_weight *p;
      refused(prepack_named(engine, all_formats[i], t, NULL, &p, &trouble), VIVA_E_NUMERIC, &trouble,
              "weight: the weight at row 3, column 5 is NaN; expected finite numbers");
      assert_null(p);
      viva_tensor_release(t);
    }
  }
  uint8_t mask[N * K];
  viva_tensor *keep, *t = sent(matrix_of(engine, VIVA_F32, N, K, w_values));
  viva_packed_weight *p, *q;
  viva_prepack_options o = viva_prepack_options_default();
  for (size_t i = 0; i < N * K; i++) mask[i] = i % K % 4 < 2;
  fine(viva_tensor_from_data(engine, mask, sizeof mask, VIVA_U8, 2, (uint64_t[]){N, K}, &keep, &fault));
  o.keep = keep;
  fine(viva_prepack_int8_sparse_24_weight(engine, t, &o, &p, &fault));
  viva_tensor *keep_there = sent(keep);
  o.keep = keep_there;
  fine(viva_prepack_int8_sparse_24_weight(engine, t, &o, &q, &fault));
  float *a = calloc(N * K, sizeof *a), *b = calloc(N * K, sizeof *b);
  fine(viva_packed_weight_unpack(p, a, N * K, &fault));
  fine(viva_packed_weight_unpack(q, b, N * K, &fault));
  for (size_t i = 0; i < N * K; i++) assert_true(mask[i] || a[i] == 0);
  assert_true(kit_same(a, b, N * K));
  free(a), free(b);
  viva_packed_weight_release(p), viva_packed_weight_release(q);
  viva_tensor_release(t), viva_tensor_release(keep_there);
}

/* -- who keeps whom, and what fails */

static void a_tensor_keeps_its_engine(void **state) {
  viva_engine *e = open_engine(VIVA_KERNELS_AUTO, 1);
  viva_tensor *t, *view, *line = numbers();
  far_device other;
  (void)state;
  far_begin(&other, e, 0);
  fine(viva_tensor_to_device(line, e, &t, &fault));
  fine(viva_tensor_transpose(t, 0, 1, &view, &fault));
  assert_int_equal(e->references, 2); /* the storage's, one for all its tensors */
  viva_engine_release(e);
  viva_tensor_release(t);
  assert_int_equal(e->references, 1);
  float expected[1] = {number(0)};
  fine(viva_tensor_view(view, 1, (uint64_t[]){1}, NULL, 0, &t, &fault));
  holds(t, expected, 1);
  viva_engine_retain(e); /* far_end needs it */
  viva_tensor_release(view), viva_tensor_release(t), viva_tensor_release(line);
  far_end(&other);
  viva_engine_release(e);
}

/* At every call: one clear status, and what was taken is given back (end and far_end count). */
static void a_lost_device(void **state) {
  viva_status status = VIVA_E_DEVICE;
  (void)state;
  for (long left = 0; status != VIVA_OK; left++) {
    viva_engine *e = open_engine(VIVA_KERNELS_AUTO, 1);
    far_device other;
    viva_tensor *t = NULL, *y = NULL, *w = matrix_of(engine, VIVA_F32, N, K, w_values);
    viva_packed_weight *p = NULL;
    far_begin(&other, e, FAR_PREPARE | FAR_PACK);
    other.calls_left = left;
    status = viva_tensor_to_device(w, e, &t, &trouble);
    if (!status) status = viva_prepack_nvfp4_weight(e, t, NULL, &p, &trouble);
    if (!status) status = viva_linear_nvfp4(input, p, bias, NULL, &y, &trouble);
    if (status) {
      assert_int_equal(status, VIVA_E_DEVICE);
      assert_null(y);
    }
    viva_tensor_release(t), viva_tensor_release(y), viva_tensor_release(w);
    viva_packed_weight_release(p);
    far_end(&other);
    viva_engine_release(e);
  }
}

/* The host has no memory at the k-th time, for every k. */
static void no_memory(void **state) {
  (void)state;
  viva_status status = VIVA_E_MEMORY;
  for (uint64_t k = 1; status != VIVA_OK; k++) {
    fail_alloc f;
    viva_engine *e;
    viva_engine_options options = viva_engine_options_default();
    far_device other;
    viva_tensor *t = NULL, *turned = NULL, *y = NULL, *w = matrix_of(engine, VIVA_F32, N, K, w_values);
    viva_packed_weight *p = NULL;
    fail_alloc_init(&f, 0, 0);
    options.device = VIVA_DEVICE_CPU, options.threads = 1, options.allocator = &f.table;
    fine(viva_engine_open(&options, &e, &fault));
    far_begin(&other, e, FAR_PREPARE);
    f.fail_at = f.calls + k;
    status = viva_tensor_to_device(w, e, &t, &trouble);
    if (!status) status = viva_tensor_transpose(t, 0, 1, &turned, &trouble);
    if (!status) status = viva_prepack_fp8_weight(e, turned, NULL, &p, &trouble);
    if (!status) {
      viva_packed_weight_release(p);
      status = viva_prepack_nvfp4_weight(e, t, NULL, &p, &trouble);
    }
    if (!status) status = viva_linear_nvfp4(input, p, bias, NULL, &y, &trouble);
    if (status) assert_int_equal(status, VIVA_E_MEMORY);
    viva_tensor_release(t), viva_tensor_release(turned), viva_tensor_release(y), viva_tensor_release(w);
    viva_packed_weight_release(p);
    far_end(&other);
    viva_engine_release(e);
    assert_int_equal(f.live, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(there_and_back),
      cmocka_unit_test(zeros),
      cmocka_unit_test(transfers),
      cmocka_unit_test(overlapping_transfers),
      cmocka_unit_test(transfers_are_checked),
      cmocka_unit_test(wrapped_memory),
      cmocka_unit_test(views_of_a_device),
      cmocka_unit_test(the_rest_refuses),
      cmocka_unit_test(dlpack_stays_on_the_device),
      cmocka_unit_test_setup_teardown(results_go_home, prepare_input, drop_input),
      cmocka_unit_test_setup_teardown(devices_do_not_mix, prepare_input, drop_input),
      cmocka_unit_test_setup_teardown(prepacked_bytes, prepare_input, drop_input),
      cmocka_unit_test_setup_teardown(prepack_refuses_there_too, prepare_input, drop_input),
      cmocka_unit_test(a_tensor_keeps_its_engine),
      cmocka_unit_test_setup_teardown(a_lost_device, prepare_input, drop_input),
      cmocka_unit_test_setup_teardown(no_memory, prepare_input, drop_input),
  };
  where = FAR_FROM_HOST;
  return cmocka_run_group_tests(tests, begin, end);
}
