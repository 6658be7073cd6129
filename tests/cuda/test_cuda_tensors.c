/* Tensors in a GPU's memory: copies there and back, and DLPack of it, out and in, without a copy. tests/engine/test_tensor_device.c
 * has the rest, on a device that is made up. */
#include "engine/engine_kit.h"

#include "tensor/dlpack.h"

extern const backend_ops backend_cuda __attribute__((weak)); /* NULL in a build without CUDA */

enum { ROWS = 6, COLS = 32, OUTPUTS = 48, OFFSET = 3 /* elements */ };

static viva_engine *gpu;
static int32_t gpu_index;
static viva_error trouble;

/* Bytes that count, of any type: they are moved, not read. */
static viva_tensor *counted(viva_dtype type, uint64_t rows, uint64_t cols) {
  const uint64_t shape[2] = {rows, cols};
  viva_tensor *t;
  fine(viva_tensor_create(gpu, type, 2, shape, &t, &fault));
  unsigned char *bytes = viva_tensor_elements(t);
  for (size_t i = 0; i < t->elements * tensor_element_bytes(type); i++) bytes[i] = (unsigned char)(i * 7 % 251);
  return t;
}

static viva_tensor *sent(const viva_tensor *t) {
  viva_tensor *there;
  fine(viva_tensor_to_device(t, gpu, &there, &fault));
  assert_ptr_equal(viva_tensor_engine(there), gpu);
  return there;
}

/* Both hold the same bytes, wherever they lie. */
static void same_bytes(const viva_tensor *a, const viva_tensor *b) {
  viva_tensor *x, *y, *dense;
  fine(viva_tensor_to_host(a, &x, &fault));
  fine(viva_tensor_to_host(b, &y, &fault));
  fine(viva_tensor_contiguous(y, &dense, &fault));
  assert_int_equal(x->elements, dense->elements);
  assert_memory_equal(x->data, dense->data, x->elements * tensor_element_bytes(x->dtype));
  viva_tensor_release(x), viva_tensor_release(y), viva_tensor_release(dense);
}

static void there_and_back(void **state) {
  static const viva_dtype types[] = {VIVA_F64, VIVA_F32, VIVA_F16, VIVA_I8, VIVA_E4M3};
  static const uint64_t shapes[][2] = {{1, 1}, {7, 13}, {1025, 1031}}; /* the last in several parts */
  (void)state;
  for (size_t t = 0; t < sizeof types / sizeof *types; t++)
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
      viva_tensor *here = counted(types[t], shapes[s][0], shapes[s][1]), *there = sent(here), *turned, *turned_there;
      same_bytes(there, here);
      fine(viva_tensor_transpose(here, 0, 1, &turned, &fault));
      fine(viva_tensor_transpose(there, 0, 1, &turned_there, &fault));
      same_bytes(turned_there, turned);
      viva_tensor_release(here), viva_tensor_release(there);
      viva_tensor_release(turned), viva_tensor_release(turned_there);
    }
}

/* A view of the GPU's memory goes out as such, and comes in again. */
static void dlpack_out(void **state) {
  (void)state;
  viva_tensor *here = counted(VIVA_F32, ROWS, COLS), *there = sent(here), *view, *expected, *back;
  dlpack_managed *m;
  fine(viva_tensor_slice(here, 1, OFFSET, 5, &expected, &fault));
  fine(viva_tensor_slice(there, 1, OFFSET, 5, &view, &fault));
  fine(viva_tensor_to_dlpack(view, &m, &fault));
  assert_int_equal(m->tensor.device_type, DLPACK_CUDA);
  assert_int_equal(m->tensor.device_id, gpu_index);
  assert_ptr_equal(m->tensor.data, (char *)viva_tensor_elements(there) + OFFSET * sizeof(float));
  assert_true(m->tensor.rank == 2 && m->tensor.shape[0] == ROWS && m->tensor.shape[1] == 5);
  assert_true(m->tensor.strides[0] == COLS && m->tensor.strides[1] == 1);
  viva_tensor_release(there), viva_tensor_release(view); /* m keeps the memory */
  m->tensor.device_id++;
  refused(viva_tensor_from_dlpack(gpu, m, &back, &trouble), VIVA_E_UNSUPPORTED, &trouble, "lies on device ");
  m->tensor.device_id--;
  viva_engine *cpu = open_engine(VIVA_KERNELS_AUTO, 1);
  refused(viva_tensor_from_dlpack(cpu, m, &back, &trouble), VIVA_E_UNSUPPORTED, &trouble, "of type 2");
  viva_engine_release(cpu);
  fine(viva_tensor_from_dlpack(gpu, m, &back, &fault));
  assert_ptr_equal(viva_tensor_engine(back), gpu);
  same_bytes(back, expected);
  viva_tensor_release(back), viva_tensor_release(expected), viva_tensor_release(here);
}

/* Another library's tensor: its memory, and how often it was given back. */
typedef struct foreign {
  dlpack_managed managed;
  int64_t shape[2];
  void *memory;
  int deleted;
} foreign;

static void give_back(dlpack_managed *m) {
  foreign *f = m->manager;
  f->deleted++;
  fine(gpu->backend->ops->free(gpu->backend, f->memory, &fault));
}

/* here's elements, row-major, OFFSET elements behind the beginning of the memory. */
static void make_foreign(foreign *f, const viva_tensor *here) {
  backend *b = gpu->backend;
  const size_t bytes = here->elements * sizeof(float);
  *f = (foreign){.shape = {(int64_t)here->shape[0], (int64_t)here->shape[1]}};
  fine(b->ops->alloc(b, bytes + OFFSET * sizeof(float), &f->memory, &fault));
  fine(b->ops->upload(b, (char *)f->memory + OFFSET * sizeof(float), here->data, bytes, &fault));
  char byte;
  fine(b->ops->download(b, &byte, f->memory, 1, &fault)); /* waits, as the header asks of the producer */
  f->managed = (dlpack_managed){.major = DLPACK_MAJOR,
                                .minor = DLPACK_MINOR,
                                .manager = f,
                                .deleter = give_back,
                                .tensor = {.data = f->memory,
                                           .device_type = DLPACK_CUDA,
                                           .device_id = gpu_index,
                                           .rank = 2,
                                           .code = 2, /* kDLFloat */
                                           .bits = 32,
                                           .lanes = 1,
                                           .shape = f->shape,
                                           .byte_offset = OFFSET * sizeof(float)}};
}

static void dlpack_in(void **state) {
  (void)state;
  viva_tensor *here = counted(VIVA_F32, ROWS, COLS);
  for (int read_only = 0; read_only < 2; read_only++) {
    foreign f;
    viva_tensor *t, *row, *expected;
    make_foreign(&f, here);
    if (read_only) f.managed.flags |= DLPACK_READ_ONLY;
    fine(viva_tensor_from_dlpack(gpu, &f.managed, &t, &fault));
    assert_ptr_equal(viva_tensor_engine(t), gpu);
    assert_int_equal(viva_tensor_elements(t) == (char *)f.memory + OFFSET * sizeof(float), !read_only);
    assert_int_equal(f.deleted, read_only); /* which is copied */
    same_bytes(t, here);
    fine(viva_tensor_select(t, 0, 2, &row, &fault));
    viva_tensor_release(t);
    assert_int_equal(f.deleted, read_only); /* a view keeps it */
    fine(viva_tensor_select(here, 0, 2, &expected, &fault));
    same_bytes(row, expected);
    viva_tensor_release(row), viva_tensor_release(expected);
    assert_int_equal(f.deleted, 1);
  }
  viva_tensor_release(here);
}

/* What another library has put there is the input of a product, as if it had been sent from here. */
static void dlpack_is_computed_with(void **state) {
  const uint64_t input_shape[2] = {ROWS, COLS}, weight_shape[2] = {OUTPUTS, COLS};
  float values[OUTPUTS * COLS];
  uint64_t seed = 1;
  viva_tensor *input, *weight_values, *t, *there, *y[2];
  viva_packed_weight *p;
  foreign f;
  (void)state;
  fill_bell(values, ROWS * COLS, 1, &seed);
  fine(viva_tensor_from_data(gpu, values, ROWS * COLS * sizeof *values, VIVA_F32, 2, input_shape, &input, &fault));
  fill_bell(values, OUTPUTS * COLS, 1, &seed);
  fine(viva_tensor_from_data(gpu, values, sizeof values, VIVA_F32, 2, weight_shape, &weight_values, &fault));
  fine(viva_prepack_fp8_weight(gpu, weight_values, NULL, &p, &fault));
  make_foreign(&f, input);
  fine(viva_tensor_from_dlpack(gpu, &f.managed, &t, &fault));
  there = sent(input);
  fine(viva_linear_fp8_w8a16(t, p, NULL, NULL, &y[0], &fault));
  fine(viva_linear_fp8_w8a16(there, p, NULL, NULL, &y[1], &fault));
  assert_ptr_equal(viva_tensor_engine(y[0]), gpu);
  same_bytes(y[0], y[1]);
  for (int i = 0; i < 2; i++) viva_tensor_release(y[i]);
  viva_tensor_release(t), viva_tensor_release(there), viva_tensor_release(input), viva_tensor_release(weight_values);
  viva_packed_weight_release(p);
  assert_int_equal(f.deleted, 1);
}

static int skip_for(const char *reason) {
  fprintf(stderr, "skipped: %s\n", reason);
  return 77;
}

int main(void) {
  viva_device_info info = {.size = sizeof info};
  viva_engine_options options = viva_engine_options_default();
  if (!&backend_cuda) return skip_for("built without CUDA");
  if (!backend_cuda.device(0, &info)) return skip_for("no CUDA device");
  options.device = VIVA_DEVICE_CUDA;
  if (viva_engine_open(&options, &gpu, &fault) != VIVA_OK) return fprintf(stderr, "%s\n", fault.message), 1;
  if (viva_engine_info(gpu, &info, &fault) != VIVA_OK) return fprintf(stderr, "%s\n", fault.message), 1;
  gpu_index = info.index;
  const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(dlpack_out),
                                     cmocka_unit_test(dlpack_in), cmocka_unit_test(dlpack_is_computed_with)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  viva_engine_release(gpu);
  return failed;
}
