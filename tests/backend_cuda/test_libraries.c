/* cuBLASLt and cuSPARSELt through a library of our own: absent, incomplete, old, failing at each call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "backend/cuda/lt_table.h"
#include "backend/cuda/sparse_product.h"
#include "backend_cuda/lt_mock.h"

static int sp_make1(sparse_object *a) { return memset(a, 1, 512), mock_make(); }
static int sp_end(const sparse_object *a) { return assert_int_equal(a->data[0], 1), mock_end(); }
static int sp_version(const sparse_object *a, int *v) { return (void)a, *v = 800, mock_fails() ? 7 : 0; }
static int sp_dense(const sparse_object *h, sparse_object *o, int64_t r, int64_t c, int64_t ld, uint32_t al,
                    cudaDataType t, int order) {
  (void)h, (void)r, (void)c, (void)ld, (void)al, (void)t, (void)order;
  return sp_make1(o);
}
static int sp_structured(const sparse_object *h, sparse_object *o, int64_t r, int64_t c, int64_t ld, uint32_t al,
                         cudaDataType t, int order, int sparsity) {
  assert_int_equal(sparsity, SPARSE_HALF);
  return sp_dense(h, o, r, c, ld, al, t, order);
}
static int sp_matmul_desc(const sparse_object *h, sparse_object *o, int x, int y, const sparse_object *a,
                          const sparse_object *b, const sparse_object *c, const sparse_object *d, int compute) {
  (void)h, (void)o, (void)x, (void)y, (void)a, (void)b, (void)c, (void)d, (void)compute;
  return mock_fails() ? 7 : 0;
}
static int sp_select(const sparse_object *h, sparse_object *o, const sparse_object *m, int a) {
  return (void)h, (void)o, (void)m, (void)a, mock_fails() ? 7 : 0;
}
static int sp_alg_set(const sparse_object *h, sparse_object *o, int which, const void *v, size_t n) {
  (void)h, (void)o;
  assert_int_equal(n, sizeof(int));
  if (which == SPARSE_ALG_ID) memcpy(&mock.algorithm, v, n);
  return mock_fails() ? 7 : 0;
}
static int sp_alg_get(const sparse_object *h, const sparse_object *o, int which, void *v, size_t n) {
  (void)h, (void)o, (void)n;
  assert_int_equal(which, SPARSE_ALG_MOST);
  return *(int *)v = 25, 0;
}
static int sp_plan(const sparse_object *h, sparse_object *o, const sparse_object *m, const sparse_object *s) {
  return (void)h, (void)m, (void)s, sp_make1(o);
}
static int sp_workspace(const sparse_object *h, const sparse_object *p, size_t *n) {
  return (void)h, (void)p, *n = 10, mock_fails() ? 7 : 0;
}
static int sp_sizes(const sparse_object *h, const sparse_object *p, size_t *n, size_t *b) {
  return (void)h, (void)p, *n = 20, *b = 30, mock_fails() ? 7 : 0;
}
static int sp_compress(const sparse_object *h, const sparse_object *p, const void *d, void *c, void *b,
                       cudaStream_t s) {
  return (void)h, (void)p, (void)d, (void)c, (void)b, (void)s, mock_fails() ? 7 : 0;
}
static int sp_matmul(const sparse_object *h, const sparse_object *p, const void *al, const void *a, const void *b,
                     const void *be, const void *c, void *d, void *w, cudaStream_t *s, int32_t n) {
  (void)h, (void)p, (void)al, (void)a, (void)b, (void)be, (void)c, (void)d, (void)w, (void)s;
  assert_int_equal(n, 1);
  return mock_fails() ? 7 : 0;
}

static const mock_function mock_functions[] = {
    {"cusparseLtInit", (any_function)sp_make1},
    {"cusparseLtDestroy", (any_function)sp_end},
    {"cusparseLtGetVersion", (any_function)sp_version},
    {"cusparseLtDenseDescriptorInit", (any_function)sp_dense},
    {"cusparseLtStructuredDescriptorInit", (any_function)sp_structured},
    {"cusparseLtMatDescriptorDestroy", (any_function)sp_end},
    {"cusparseLtMatmulDescriptorInit", (any_function)sp_matmul_desc},
    {"cusparseLtMatmulAlgSelectionInit", (any_function)sp_select},
    {"cusparseLtMatmulAlgSetAttribute", (any_function)sp_alg_set},
    {"cusparseLtMatmulAlgGetAttribute", (any_function)sp_alg_get},
    {"cusparseLtMatmulPlanInit", (any_function)sp_plan},
    {"cusparseLtMatmulPlanDestroy", (any_function)sp_end},
    {"cusparseLtMatmulGetWorkspace", (any_function)sp_workspace},
    {"cusparseLtSpMMACompressedSize", (any_function)sp_sizes},
    {"cusparseLtSpMMACompress", (any_function)sp_compress},
    {"cusparseLtMatmul", (any_function)sp_matmul},
};
#define MOCK_FUNCTIONS (sizeof mock_functions / sizeof *mock_functions)

static void *mock_open(const char *const *names, const char **reason) {
  assert_non_null(names[0]);
  *reason = "no such file";
  if (!mock.present) return NULL;
  mock.opened++;
  return &mock;
}
static void *mock_find(void *library, const char *name) {
  assert_ptr_equal(library, &mock);
  void *const found = mock_find_in(mock_functions, MOCK_FUNCTIONS, name);
  return found ? found : mock_find_in(lt_mock_functions, LT_MOCK_FUNCTIONS, name);
}
static void mock_close(void *library) {
  assert_ptr_equal(library, &mock);
  mock.opened--;
}
static const library_loader mock_loader = {mock_open, mock_find, mock_close};

static int reset(void **state) {
  (void)state;
  memset(&mock, 0, sizeof mock);
  mock.present = 1;
  mock.version = 130100;
  mock.proposals = 3;
  return 0;
}

/* -- opening */

static void test_absent(void **state) {
  (void)state;
  lt_library lt;
  sparse_library sparse;
  viva_error error;
  mock.present = 0;
  assert_int_equal(lt_library_open(&mock_loader, &lt, &error), VIVA_E_UNSUPPORTED);
  assert_non_null(strstr(error.message, "no such file"));
  assert_int_equal(sparse_library_open(&mock_loader, &sparse, &error), VIVA_E_UNSUPPORTED);
  assert_non_null(strstr(error.message, "libcusparseLt"));
  lt_library_close(&lt); /* of one that never opened: nothing */
  sparse_library_close(&sparse);
}

static void test_incomplete(void **state) {
  (void)state;
  for (size_t i = 0; i < MOCK_FUNCTIONS + LT_MOCK_FUNCTIONS; i++) {
    viva_error error;
    lt_library lt;
    sparse_library sparse;
    const int is_lt = i >= MOCK_FUNCTIONS;
    mock.lacks = is_lt ? lt_mock_functions[i - MOCK_FUNCTIONS].name : mock_functions[i].name;
    viva_status status =
        is_lt ? lt_library_open(&mock_loader, &lt, &error) : sparse_library_open(&mock_loader, &sparse, &error);
    assert_int_equal(status, VIVA_E_UNSUPPORTED);
    assert_non_null(strstr(error.message, mock.lacks));
    assert_int_equal(mock.opened, 0);
    assert_int_equal(mock.live, 0);
  }
}

static void test_old_or_failing(void **state) {
  (void)state;
  viva_error error;
  lt_library lt;
  sparse_library sparse;
  mock.version = 120800;
  assert_int_equal(lt_library_open(&mock_loader, &lt, &error), VIVA_E_UNSUPPORTED);
  assert_non_null(strstr(error.message, "120800"));
  mock.version = 130100;
  for (mock.fail_at = 1; mock.fail_at <= 2; mock.fail_at++) {
    mock.calls = 0;
    assert_int_equal(sparse_library_open(&mock_loader, &sparse, NULL), VIVA_E_UNSUPPORTED);
  }
  mock.calls = 0, mock.fail_at = 1;
  assert_int_equal(lt_library_open(&mock_loader, &lt, NULL), VIVA_E_UNSUPPORTED);
  assert_int_equal(mock.live, 0);
  assert_int_equal(mock.opened, 0);
}

/* -- products */

static const lt_problem layer = {LT_E4M3, LT_F16, LT_SCALES_OUTER, 0, 1, 0, 2048, 4096, 4096};

static void test_lt_algorithms(void **state) {
  (void)state;
  lt_library lt;
  lt_product product;
  assert_int_equal(lt_library_open(&mock_loader, &lt, NULL), VIVA_OK);
  const lt_algorithm wanted = {66, 20, 36, 1, 0, 0, 1, 0, 3};
  lt_operands o = {.bias = &wanted};

  assert_int_equal(lt_product_make(&lt, &layer, &wanted, 64, &product, NULL), VIVA_OK);
  lt_algorithm taken = lt_product_algorithm(&lt, &product);
  assert_int_equal(taken.id, 66);
  assert_int_equal(taken.tile, 20);
  assert_int_equal(product.workspace_bytes, 64);
  assert_int_equal(lt_product_run(&lt, &product, &o, NULL, NULL), VIVA_OK);
  assert_int_equal(mock.algorithm, 66);
  assert_ptr_equal(mock.bias, &wanted);
  lt_product_end(&lt, &product);

  /* Too much workspace, or refused by the library: its own first proposal. */
  assert_int_equal(lt_product_make(&lt, &layer, &wanted, 63, &product, NULL), VIVA_OK);
  assert_int_equal(lt_product_algorithm(&lt, &product).id, 100);
  lt_product_end(&lt, &product);
  mock.refuse_check = 1;
  assert_int_equal(lt_product_make(&lt, &layer, &wanted, 64, &product, NULL), VIVA_OK);
  assert_int_equal(lt_product_algorithm(&lt, &product).id, 100);
  lt_algorithm proposals[8];
  assert_int_equal(lt_product_proposals(&lt, &product, 64, 8, proposals), 3);
  assert_int_equal(proposals[2].id, 102);
  lt_product_end(&lt, &product);

  mock.proposals = 0;
  viva_error error;
  assert_int_equal(lt_product_make(&lt, &layer, NULL, 64, &product, &error), VIVA_E_UNSUPPORTED);
  assert_non_null(strstr(error.message, "4096 channels"));
  lt_library_close(&lt);
  assert_int_equal(mock.live, 0);
}

/* Each call fails in turn: a status, and nothing left behind. */
static void test_lt_failures(void **state) {
  (void)state;
  lt_library lt;
  lt_product product;
  assert_int_equal(lt_library_open(&mock_loader, &lt, NULL), VIVA_OK);
  int failures = 0;
  for (mock.fail_at = 1;; mock.fail_at++, failures++) {
    mock.calls = 0;
    viva_status status = lt_product_make(&lt, &layer, NULL, 64, &product, NULL);
    if (status == VIVA_OK) {
      status = lt_product_run(&lt, &product, &(lt_operands){0}, NULL, NULL);
      lt_product_end(&lt, &product);
      if (status == VIVA_OK) break;
      assert_int_equal(status, VIVA_E_INTERNAL);
    } else {
      assert_int_equal(status, VIVA_E_UNSUPPORTED);
    }
    assert_int_equal(mock.live, 1); /* the library's handle */
  }
  assert_true(failures > 12);
  lt_library_close(&lt);
}

static void test_sparse_failures(void **state) {
  (void)state;
  sparse_library lib;
  sparse_product product;
  const sparse_algorithm wanted = {17, 2, 1, 1};
  assert_int_equal(sparse_library_open(&mock_loader, &lib, NULL), VIVA_OK);
  assert_int_equal(lib.version, 800);
  int failures = 0;
  for (mock.fail_at = 1;; mock.fail_at++, failures++) {
    mock.calls = 0;
    viva_status status = sparse_product_make(&lib, 17, 128, 256, &wanted, &product, NULL);
    const viva_status expected = status == VIVA_OK ? VIVA_E_INTERNAL : VIVA_E_UNSUPPORTED;
    if (status == VIVA_OK) {
      status = sparse_product_compress(&lib, &product, NULL, NULL, NULL, NULL, NULL);
      if (status == VIVA_OK) status = sparse_product_run(&lib, &product, NULL, NULL, NULL, NULL, NULL, NULL);
      assert_int_equal(sparse_product_algorithms(&lib, &product), 25);
      assert_int_equal(product.compressed_bytes, 20);
      sparse_product_end(&lib, &product);
    }
    assert_int_equal(mock.live, 1);
    if (status == VIVA_OK) break;
    assert_int_equal(status, expected);
  }
  assert_int_equal(mock.algorithm, 17);
  assert_true(failures > 10);
  sparse_library_close(&lib);
  assert_int_equal(mock.live, 0);
}

/* -- the table */

static void test_table(void **state) {
  (void)state;
  const lt_gpu h200 = {9, 0, 132}, other = {8, 9, 128};
  assert_null(lt_table_find(&other, &layer));
  const lt_algorithm *a = lt_table_find(&h200, &layer);
  assert_non_null(a);
  assert_int_equal(a->id, 66);
  lt_problem large = layer, deep = layer, full = layer, few = layer, integers = layer;
  full.full = large.full = 1;
  large.m = large.n = large.k = 8192;
  deep.k = 14336;
  few.m = 16;
  integers.input = LT_INT8;
  assert_ptr_equal(lt_table_find(&h200, &deep), a); /* of fast sums one is the best of all */
  assert_ptr_not_equal(lt_table_find(&h200, &full), a);
  assert_ptr_not_equal(lt_table_find(&h200, &large), lt_table_find(&h200, &full));
  assert_null(lt_table_find(&h200, &few)); /* not measured: the library's own proposal */
  assert_null(lt_table_find(&h200, &integers));
  lt_problem bf16 = layer;
  bf16.output = LT_BF16;
  assert_ptr_equal(lt_table_find(&h200, &bf16), a); /* 16 bits are 16 bits */
  bf16.output = LT_F32;
  assert_null(lt_table_find(&h200, &bf16));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_absent, reset),         cmocka_unit_test_setup(test_incomplete, reset),
      cmocka_unit_test_setup(test_old_or_failing, reset), cmocka_unit_test_setup(test_lt_algorithms, reset),
      cmocka_unit_test_setup(test_lt_failures, reset),    cmocka_unit_test_setup(test_sparse_failures, reset),
      cmocka_unit_test_setup(test_table, reset),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
