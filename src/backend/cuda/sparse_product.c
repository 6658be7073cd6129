#include "backend/cuda/sparse_product.h"

#include <string.h>

#include "base/error.h"

#define SPARSE_ALIGNMENT 16 /* bytes, of all matrices */

/* The three matrices and what is done with them. */
static int describe(const sparse_library *lib, sparse_product *p) {
  int status = lib->StructuredDescriptorInit(&lib->handle, &p->a, p->n, p->k, p->k, SPARSE_ALIGNMENT, CUDA_R_8I,
                                             SPARSE_ORDER_ROW, SPARSE_HALF);
  if (status != SPARSE_OK) return status;
  p->made = 1;
  status =
      lib->DenseDescriptorInit(&lib->handle, &p->b, p->k, p->m, p->k, SPARSE_ALIGNMENT, CUDA_R_8I, SPARSE_ORDER_COL);
  if (status != SPARSE_OK) return status;
  p->made = 2;
  status =
      lib->DenseDescriptorInit(&lib->handle, &p->d, p->n, p->m, p->n, SPARSE_ALIGNMENT, CUDA_R_32I, SPARSE_ORDER_COL);
  if (status != SPARSE_OK) return status;
  p->made = 3;
  return lib->MatmulDescriptorInit(&lib->handle, &p->matmul, SPARSE_NOT_TRANSPOSED, SPARSE_NOT_TRANSPOSED, &p->a, &p->b,
                                   &p->d, &p->d, SPARSE_COMPUTE_32I);
}

static int select_algorithm(const sparse_library *lib, sparse_product *p, const sparse_algorithm *wanted) {
  int status = lib->MatmulAlgSelectionInit(&lib->handle, &p->selection, &p->matmul, SPARSE_ALG_DEFAULT);
  if (status != SPARSE_OK || !wanted || wanted->id < 0) return status;
  const struct {
    int which;
    const int *value;
  } numbers[] = {{SPARSE_ALG_ID, &wanted->id},
                 {SPARSE_ALG_SPLIT_K, &wanted->split_k},
                 {SPARSE_ALG_SPLIT_MODE, &wanted->split_mode},
                 {SPARSE_ALG_BUFFERS, &wanted->buffers}};
  const size_t count = wanted->split_k > 1 ? 4 : 1;
  for (size_t i = 0; i < count && status == SPARSE_OK; i++) {
    status = lib->MatmulAlgSetAttribute(&lib->handle, &p->selection, numbers[i].which, numbers[i].value, sizeof(int));
  }
  return status;
}

static int plan(const sparse_library *lib, sparse_product *p) {
  int status = lib->MatmulPlanInit(&lib->handle, &p->plan, &p->matmul, &p->selection);
  if (status != SPARSE_OK) return status;
  p->made = 4;
  status = lib->MatmulGetWorkspace(&lib->handle, &p->plan, &p->workspace_bytes);
  if (status != SPARSE_OK) return status;
  return lib->SpMMACompressedSize(&lib->handle, &p->plan, &p->compressed_bytes, &p->buffer_bytes);
}

viva_status sparse_product_make(const sparse_library *lib, int m, int n, int k, const sparse_algorithm *wanted,
                                sparse_product *p, viva_error *error) {
  memset(p, 0, sizeof *p);
  p->m = m;
  p->n = n;
  p->k = k;
  int status = describe(lib, p);
  if (status == SPARSE_OK) status = select_algorithm(lib, p, wanted);
  if (status == SPARSE_OK) status = plan(lib, p);
  if (status == SPARSE_OK) return VIVA_OK;
  sparse_product_end(lib, p);
  return error_set(error, VIVA_E_UNSUPPORTED,
                   "cuSPARSELt has no product for %d rows, %d channels, K %d: its status is %d", m, n, k, status);
}

int sparse_product_algorithms(const sparse_library *lib, const sparse_product *p) {
  int most = 0;
  int status = lib->MatmulAlgGetAttribute(&lib->handle, &p->selection, SPARSE_ALG_MOST, &most, sizeof most);
  return status == SPARSE_OK ? most : 0;
}

viva_status sparse_product_compress(const sparse_library *lib, const sparse_product *p, const void *dense,
                                    void *compressed, void *buffer, cudaStream_t stream, viva_error *error) {
  int status = lib->SpMMACompress(&lib->handle, &p->plan, dense, compressed, buffer, stream);
  if (status == SPARSE_OK) return VIVA_OK;
  return error_set(error, VIVA_E_INTERNAL, "cuSPARSELt failed to compress %d channels of %d: its status is %d", p->n,
                   p->k, status);
}

viva_status sparse_product_run(const sparse_library *lib, const sparse_product *p, const void *compressed,
                               const void *x, void *y, void *workspace, cudaStream_t stream, viva_error *error) {
  const float one = 1, zero = 0;
  int status = lib->Matmul(&lib->handle, &p->plan, &one, compressed, x, &zero, y, y, workspace, &stream, 1);
  if (status == SPARSE_OK) return VIVA_OK;
  return error_set(error, VIVA_E_INTERNAL, "cuSPARSELt failed to multiply %d rows, %d channels, K %d: its status is %d",
                   p->m, p->n, p->k, status);
}

void sparse_product_end(const sparse_library *lib, sparse_product *p) {
  if (p->made > 3) lib->MatmulPlanDestroy(&p->plan);
  if (p->made > 2) lib->MatDescriptorDestroy(&p->d);
  if (p->made > 1) lib->MatDescriptorDestroy(&p->b);
  if (p->made > 0) lib->MatDescriptorDestroy(&p->a);
  memset(p, 0, sizeof *p);
}
