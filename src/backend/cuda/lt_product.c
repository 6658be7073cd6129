#include "backend/cuda/lt_product.h"

#include <string.h>

#include "base/error.h"

static cudaDataType data_type(lt_type type) {
  static const cudaDataType types[] = {CUDA_R_8F_E4M3, CUDA_R_16F, CUDA_R_16BF, CUDA_R_32F, CUDA_R_8I, CUDA_R_32I};
  return types[type];
}

static cublasComputeType_t compute_type(const lt_problem *p) {
  return p->input == LT_INT8 ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F;
}

static cudaDataType scale_type_of(const lt_problem *p) { return p->output == LT_INT32 ? CUDA_R_32I : CUDA_R_32F; }

static viva_status lt_failed(viva_error *error, const char *what, const lt_problem *p, int status) {
  return error_set(error, VIVA_E_UNSUPPORTED, "cuBLASLt %s for %d rows, %d channels, K %d: its status is %d", what,
                   p->m, p->n, p->k, status);
}

static cublasStatus_t set(const lt_library *lt, lt_product *product, cublasLtMatmulDescAttributes_t which,
                          const void *value, size_t bytes) {
  return lt->MatmulDescSetAttribute(product->desc, which, value, bytes);
}

static cublasLtEpilogue_t epilogue(const lt_problem *p) {
  if (p->gelu) return p->bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
  return p->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

/* Everything about the product but the pointers. */
static cublasStatus_t describe(const lt_library *lt, lt_product *product) {
  const lt_problem *p = &product->problem;
  const cublasOperation_t transposed = CUBLAS_OP_T;
  const cublasLtEpilogue_t after = epilogue(p);
  cublasStatus_t status = lt->MatmulDescCreate(&product->desc, compute_type(p), scale_type_of(p));
  if (status == CUBLAS_STATUS_SUCCESS)
    status = set(lt, product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
  if (status == CUBLAS_STATUS_SUCCESS) status = set(lt, product, CUBLASLT_MATMUL_DESC_EPILOGUE, &after, sizeof after);
  if (status == CUBLAS_STATUS_SUCCESS && p->bias) {
    const cudaDataType type = data_type(p->output == LT_F32 ? LT_BF16 : p->output);
    status = set(lt, product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof type);
  }
  if (status == CUBLAS_STATUS_SUCCESS && p->input == LT_E4M3) {
    const int8_t fast = !p->full;
    status = set(lt, product, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast, sizeof fast);
  }
  if (status == CUBLAS_STATUS_SUCCESS && p->scales == LT_SCALES_OUTER) {
    const int32_t outer = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    status = set(lt, product, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &outer, sizeof outer);
    if (status == CUBLAS_STATUS_SUCCESS)
      status = set(lt, product, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &outer, sizeof outer);
  }
  const uint64_t m = (uint64_t)p->m, n = (uint64_t)p->n, k = (uint64_t)p->k;
  if (status == CUBLAS_STATUS_SUCCESS)
    status = lt->MatrixLayoutCreate(&product->a, data_type(p->input), k, n, (int64_t)k);
  if (status == CUBLAS_STATUS_SUCCESS)
    status = lt->MatrixLayoutCreate(&product->b, data_type(p->input), k, m, (int64_t)k);
  if (status == CUBLAS_STATUS_SUCCESS)
    status = lt->MatrixLayoutCreate(&product->d, data_type(p->output), n, m, (int64_t)n);
  return status;
}

/* The pointers that belong to the description. The library looks at their alignment when it proposes algorithms, so
 * there they are set to an address of the alignment that operands have. */
static cublasStatus_t set_pointers(const lt_library *lt, lt_product *product, const float *channel_scale,
                                   const float *row_scale, const void *bias) {
  const lt_problem *p = &product->problem;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  if (p->scales == LT_SCALES_OUTER) {
    status = set(lt, product, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &channel_scale, sizeof channel_scale);
    if (status == CUBLAS_STATUS_SUCCESS)
      status = set(lt, product, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &row_scale, sizeof row_scale);
  }
  if (status == CUBLAS_STATUS_SUCCESS && p->bias)
    status = set(lt, product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
  return status;
}

/* Up to most of the library's proposals; their number, or -status. */
static int propose(const lt_library *lt, const lt_product *product, size_t workspace_bytes, int most,
                   cublasLtMatmulHeuristicResult_t *results) {
  cublasLtMatmulPreference_t preference;
  cublasStatus_t status = lt->MatmulPreferenceCreate(&preference);
  if (status != CUBLAS_STATUS_SUCCESS) return -(int)status;
  int found = 0;
  status = lt->MatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes,
                                            sizeof workspace_bytes);
  if (status == CUBLAS_STATUS_SUCCESS) {
    status = lt->MatmulAlgoGetHeuristic(lt->handle, product->desc, product->a, product->b, product->d, product->d,
                                        preference, most, results, &found);
  }
  lt->MatmulPreferenceDestroy(preference);
  return status == CUBLAS_STATUS_SUCCESS ? found : -(int)status;
}

#define LT_NUMBERS 8

/* Where an algorithm's numbers are, and what the library calls them. */
static void algorithm_numbers(const lt_algorithm *a, uint32_t values[LT_NUMBERS]) {
  const uint32_t all[LT_NUMBERS] = {a->tile,    a->stages, a->split_k, a->reduction,
                                    a->swizzle, a->custom, a->inner,   a->cluster};
  memcpy(values, all, sizeof all);
}

static const struct {
  cublasLtMatmulAlgoConfigAttributes_t which;
  size_t bytes; /* the last two are 16 bits wide */
} numbers[LT_NUMBERS] = {
    {CUBLASLT_ALGO_CONFIG_TILE_ID, 4},        {CUBLASLT_ALGO_CONFIG_STAGES_ID, 4},
    {CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 4},     {CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, 4},
    {CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, 4},  {CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, 4},
    {CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, 2}, {CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, 2},
};

static lt_algorithm read_algorithm(const lt_library *lt, const cublasLtMatmulAlgo_t *algo) {
  lt_algorithm a = {-1, 0, 0, 0, 0, 0, 0, 0, 0};
  uint32_t values[LT_NUMBERS] = {0};
  size_t written;
  if (lt->MatmulAlgoConfigGetAttribute(algo, CUBLASLT_ALGO_CONFIG_ID, &a.id, sizeof a.id, &written) !=
      CUBLAS_STATUS_SUCCESS) {
    return a;
  }
  for (size_t i = 0; i < LT_NUMBERS; i++) {
    lt->MatmulAlgoConfigGetAttribute(algo, numbers[i].which, &values[i], numbers[i].bytes, &written);
  }
  return (lt_algorithm){a.id, values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7]};
}

/* 1 when the library accepts wanted for the product; then it is the product's. */
static int take_wanted(const lt_library *lt, lt_product *product, const lt_algorithm *wanted, size_t workspace_bytes) {
  const lt_problem *p = &product->problem;
  cublasLtMatmulAlgo_t algo;
  cudaDataType in = data_type(p->input), out = data_type(p->output);
  if (wanted->id < 0 || lt->MatmulAlgoInit(lt->handle, compute_type(p), scale_type_of(p), in, in, out, out, wanted->id,
                                           &algo) != CUBLAS_STATUS_SUCCESS) {
    return 0;
  }
  uint32_t values[LT_NUMBERS];
  algorithm_numbers(wanted, values);
  for (size_t i = 0; i < LT_NUMBERS; i++) {
    cublasStatus_t status = lt->MatmulAlgoConfigSetAttribute(&algo, numbers[i].which, &values[i], numbers[i].bytes);
    if (status != CUBLAS_STATUS_SUCCESS && values[i] != 0) return 0; /* some algorithms do not know all numbers */
  }
  cublasLtMatmulHeuristicResult_t result;
  if (lt->MatmulAlgoCheck(lt->handle, product->desc, product->a, product->b, product->d, product->d, &algo, &result) !=
          CUBLAS_STATUS_SUCCESS ||
      result.workspaceSize > workspace_bytes) {
    return 0;
  }
  product->algo = algo;
  product->workspace_bytes = result.workspaceSize;
  return 1;
}

viva_status lt_product_make(const lt_library *lt, const lt_problem *problem, const lt_algorithm *wanted,
                            size_t workspace_bytes, lt_product *product, viva_error *error) {
  static const float aligned[4]
      __attribute__((aligned(64))) = {0}; /* never read: its address stands for device memory's */
  memset(product, 0, sizeof *product);
  product->problem = *problem;
  cublasStatus_t status = describe(lt, product);
  if (status == CUBLAS_STATUS_SUCCESS) status = set_pointers(lt, product, aligned, aligned, aligned);
  if (status != CUBLAS_STATUS_SUCCESS) {
    lt_product_end(lt, product);
    return lt_failed(error, "cannot describe the product", problem, (int)status);
  }
  if (wanted && take_wanted(lt, product, wanted, workspace_bytes)) return VIVA_OK;

  cublasLtMatmulHeuristicResult_t result;
  int found = propose(lt, product, workspace_bytes, 1, &result);
  if (found < 1) {
    lt_product_end(lt, product);
    return lt_failed(error, "has no algorithm", problem, -found);
  }
  product->algo = result.algo;
  product->workspace_bytes = result.workspaceSize;
  return VIVA_OK;
}

#define LT_MOST_PROPOSALS 64

int lt_product_proposals(const lt_library *lt, const lt_product *product, size_t workspace_bytes, int most,
                         lt_algorithm *proposals) {
  cublasLtMatmulHeuristicResult_t results[LT_MOST_PROPOSALS];
  if (most > LT_MOST_PROPOSALS) most = LT_MOST_PROPOSALS;
  int found = propose(lt, product, workspace_bytes, most, results), kept = 0;
  for (int i = 0; i < found; i++) {
    if (results[i].state == CUBLAS_STATUS_SUCCESS) proposals[kept++] = read_algorithm(lt, &results[i].algo);
  }
  return kept;
}

lt_algorithm lt_product_algorithm(const lt_library *lt, const lt_product *product) {
  return read_algorithm(lt, &product->algo);
}

viva_status lt_product_run(const lt_library *lt, lt_product *product, const lt_operands *o, cudaStream_t stream,
                           viva_error *error) {
  static const float one = 1, zero = 0;
  static const int32_t one_int = 1, zero_int = 0;
  const int integer = product->problem.output == LT_INT32;
  const void *alpha = integer ? (const void *)&one_int : &one, *beta = integer ? (const void *)&zero_int : &zero;
  cublasStatus_t status = set_pointers(lt, product, o->channel_scale, o->row_scale, o->bias);
  if (status == CUBLAS_STATUS_SUCCESS) {
    status = lt->Matmul(lt->handle, product->desc, alpha, o->w, product->a, o->x, product->b, beta, o->y, product->d,
                        o->y, product->d, &product->algo, o->workspace, o->workspace_bytes, stream);
  }
  if (status == CUBLAS_STATUS_SUCCESS) return VIVA_OK;
  const lt_problem *p = &product->problem;
  return error_set(error, VIVA_E_INTERNAL, "cuBLASLt failed to multiply %d rows, %d channels, K %d: its status is %d",
                   p->m, p->n, p->k, (int)status);
}

void lt_product_end(const lt_library *lt, lt_product *product) {
  if (product->desc) lt->MatmulDescDestroy(product->desc);
  if (product->a) lt->MatrixLayoutDestroy(product->a);
  if (product->b) lt->MatrixLayoutDestroy(product->b);
  if (product->d) lt->MatrixLayoutDestroy(product->d);
  memset(product, 0, sizeof *product);
}
