/* tests/backend_cuda/lt_mock.h: a cuBLASLt of the tests' own: absent, incomplete, old, failing at each call. */
#ifndef TESTS_LT_MOCK_H
#define TESTS_LT_MOCK_H

#include <string.h>

#include "backend/cuda/lt_product.h"

static struct {
  int present, opened;
  const char *lacks; /* a function it does not have */
  size_t version;
  int calls, fail_at; /* the call that fails, counted from 1; 0: none */
  int live;           /* objects made and not ended */
  int proposals;
  int refuse_check;  /* AlgoCheck says no */
  int32_t algorithm; /* of the last Matmul */
  const void *bias;  /* as last set */
  int whole;         /* 1: algorithms keep all their numbers, not the tile alone */
} mock;

static int mock_fails(void) { return ++mock.calls == mock.fail_at; }
static int mock_make(void) {
  if (mock_fails()) return 7;
  mock.live++;
  return 0;
}
static int mock_end(void) {
  mock.live--;
  return 0;
}

static size_t lt_version(void) { return mock.version; }
static cublasStatus_t lt_create(cublasLtHandle_t *h) {
  *h = (cublasLtHandle_t)&mock;
  return (cublasStatus_t)mock_make();
}
static cublasStatus_t lt_destroy(cublasLtHandle_t h) {
  assert_ptr_equal(h, &mock);
  return (cublasStatus_t)mock_end();
}
static cublasStatus_t lt_desc(cublasLtMatmulDesc_t *d, cublasComputeType_t c, cudaDataType_t s) {
  (void)c, (void)s;
  int status = mock_make();
  *d = status ? NULL : (cublasLtMatmulDesc_t)&mock;
  return (cublasStatus_t)status;
}
static cublasStatus_t lt_desc_end(cublasLtMatmulDesc_t d) { return (void)d, (cublasStatus_t)mock_end(); }
static cublasStatus_t lt_set(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t a, const void *v, size_t n) {
  (void)d;
  if (a == CUBLASLT_MATMUL_DESC_BIAS_POINTER) memcpy(&mock.bias, v, n);
  return mock_fails() ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t lt_layout(cublasLtMatrixLayout_t *l, cudaDataType t, uint64_t r, uint64_t c, int64_t ld) {
  (void)t, (void)r, (void)c, (void)ld;
  int status = mock_make();
  *l = status ? NULL : (cublasLtMatrixLayout_t)&mock;
  return (cublasStatus_t)status;
}
static cublasStatus_t lt_layout_end(cublasLtMatrixLayout_t l) { return (void)l, (cublasStatus_t)mock_end(); }
static cublasStatus_t lt_preference(cublasLtMatmulPreference_t *p) {
  *p = (cublasLtMatmulPreference_t)&mock;
  return (cublasStatus_t)mock_make();
}
static cublasStatus_t lt_preference_end(cublasLtMatmulPreference_t p) { return (void)p, (cublasStatus_t)mock_end(); }
static cublasStatus_t lt_preference_set(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t a,
                                        const void *v, size_t n) {
  (void)p, (void)a, (void)v, (void)n;
  return mock_fails() ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS;
}
/* An algorithm's first word is its id here, the next ones its numbers. */
static cublasStatus_t lt_heuristic(cublasLtHandle_t h, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
                                   cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t e,
                                   cublasLtMatmulPreference_t p, int most, cublasLtMatmulHeuristicResult_t *r, int *n) {
  (void)h, (void)d, (void)a, (void)b, (void)c, (void)e, (void)p;
  if (mock_fails()) return CUBLAS_STATUS_NOT_SUPPORTED;
  *n = mock.proposals < most ? mock.proposals : most;
  for (int i = 0; i < *n; i++) {
    memset(&r[i], 0, sizeof r[i]);
    r[i].algo.data[0] = (uint64_t)(100 + i);
    r[i].workspaceSize = 32;
  }
  return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t lt_init(cublasLtHandle_t h, cublasComputeType_t c, cudaDataType_t s, cudaDataType_t a,
                              cudaDataType_t b, cudaDataType_t cc, cudaDataType_t d, int id, cublasLtMatmulAlgo_t *o) {
  (void)h, (void)c, (void)s, (void)a, (void)b, (void)cc, (void)d;
  memset(o, 0, sizeof *o);
  o->data[0] = (uint64_t)id;
  return CUBLAS_STATUS_SUCCESS;
}
/* Number w of an algorithm: set from `from`, or read to `to`. */
static cublasStatus_t mock_number(cublasLtMatmulAlgoConfigAttributes_t w, uint64_t *data, const void *from, void *to,
                                  size_t bytes) {
  uint8_t *const place = (uint8_t *)(data + 1) + 4 * (size_t)w;
  assert_in_range(w, 1, 10);
  if (from) memcpy(place, from, bytes);
  if (to) memcpy(to, place, bytes);
  return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t lt_config_set(cublasLtMatmulAlgo_t *o, cublasLtMatmulAlgoConfigAttributes_t w, const void *v,
                                    size_t n) {
  assert_in_range(n, 1, 4);
  if (mock.whole) return mock_number(w, o->data, v, NULL, n);
  if (w == CUBLASLT_ALGO_CONFIG_TILE_ID) memcpy(&o->data[1], v, n);
  return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t lt_config_get(const cublasLtMatmulAlgo_t *o, cublasLtMatmulAlgoConfigAttributes_t w, void *v,
                                    size_t n, size_t *written) {
  memset(v, 0, n);
  if (w == CUBLASLT_ALGO_CONFIG_ID) memcpy(v, &o->data[0], n);
  if (mock.whole && w != CUBLASLT_ALGO_CONFIG_ID) mock_number(w, (uint64_t *)(uintptr_t)o->data, NULL, v, n);
  if (!mock.whole && w == CUBLASLT_ALGO_CONFIG_TILE_ID) memcpy(v, &o->data[1], n);
  *written = n;
  return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t lt_check(cublasLtHandle_t h, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
                               cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t e,
                               const cublasLtMatmulAlgo_t *o, cublasLtMatmulHeuristicResult_t *r) {
  (void)h, (void)d, (void)a, (void)b, (void)c, (void)e, (void)o;
  memset(r, 0, sizeof *r);
  r->workspaceSize = 64;
  return mock.refuse_check ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t lt_matmul(cublasLtHandle_t h, cublasLtMatmulDesc_t d, const void *alpha, const void *a,
                                cublasLtMatrixLayout_t al, const void *b, cublasLtMatrixLayout_t bl, const void *beta,
                                const void *c, cublasLtMatrixLayout_t cl, void *y, cublasLtMatrixLayout_t yl,
                                const cublasLtMatmulAlgo_t *o, void *w, size_t n, cudaStream_t s) {
  (void)h, (void)d, (void)al, (void)bl, (void)cl, (void)yl, (void)w, (void)n, (void)s, (void)a, (void)b, (void)c;
  (void)y, (void)beta;
  assert_true(*(const float *)alpha == 1);
  mock.algorithm = (int32_t)o->data[0];
  return mock_fails() ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_SUCCESS;
}

typedef void (*any_function)(void);

typedef struct mock_function {
  const char *name;
  any_function function;
} mock_function;

static const mock_function lt_mock_functions[] = {
    {"cublasLtGetVersion", (any_function)lt_version},
    {"cublasLtCreate", (any_function)lt_create},
    {"cublasLtDestroy", (any_function)lt_destroy},
    {"cublasLtMatmulDescCreate", (any_function)lt_desc},
    {"cublasLtMatmulDescDestroy", (any_function)lt_desc_end},
    {"cublasLtMatmulDescSetAttribute", (any_function)lt_set},
    {"cublasLtMatrixLayoutCreate", (any_function)lt_layout},
    {"cublasLtMatrixLayoutDestroy", (any_function)lt_layout_end},
    {"cublasLtMatmulPreferenceCreate", (any_function)lt_preference},
    {"cublasLtMatmulPreferenceDestroy", (any_function)lt_preference_end},
    {"cublasLtMatmulPreferenceSetAttribute", (any_function)lt_preference_set},
    {"cublasLtMatmulAlgoGetHeuristic", (any_function)lt_heuristic},
    {"cublasLtMatmulAlgoInit", (any_function)lt_init},
    {"cublasLtMatmulAlgoConfigSetAttribute", (any_function)lt_config_set},
    {"cublasLtMatmulAlgoConfigGetAttribute", (any_function)lt_config_get},
    {"cublasLtMatmulAlgoCheck", (any_function)lt_check},
    {"cublasLtMatmul", (any_function)lt_matmul},
};
#define LT_MOCK_FUNCTIONS (sizeof lt_mock_functions / sizeof *lt_mock_functions)

/* NULL when there is none, or the mock lacks it. */
static void *mock_find_in(const mock_function *functions, size_t count, const char *name) {
  if (mock.lacks && strcmp(mock.lacks, name) == 0) return NULL;
  for (size_t i = 0; i < count; i++) {
    void *pointer;
    memcpy(&pointer, &functions[i].function, sizeof pointer);
    if (strcmp(functions[i].name, name) == 0) return pointer;
  }
  return NULL;
}

#endif
