/* backend/cuda/cuda_lt.c: see the header. */
#include "backend/cuda/cuda_lt.h"

#include <string.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/lt_table.h"

#define CUDA_LT_WORKSPACE ((size_t)32 << 20) /* at most, of a product */

static int has_library(cuda_backend *c) {
  viva_error error = {0};
  if (!c->lt.opened && lt_library_open(c->libraries, &c->lt.library, &error) != VIVA_OK)
    runtime_log(c->rt, VIVA_LOG_INFO, "%s; products of many FP8 rows run without it", error.message);
  c->lt.opened = 1;
  return c->lt.library.file != NULL;
}

static int same_problem(const lt_problem *a, const lt_problem *b) {
  return a->input == b->input && a->output == b->output && a->scales == b->scales && a->full == b->full &&
         a->bias == b->bias && a->gelu == b->gelu && a->m == b->m && a->n == b->n && a->k == b->k;
}

static int same_algorithm(const lt_algorithm *a, const lt_algorithm *b) {
  return a->id == b->id && a->tile == b->tile && a->stages == b->stages && a->split_k == b->split_k &&
         a->reduction == b->reduction && a->swizzle == b->swizzle && a->custom == b->custom && a->inner == b->inner &&
         a->cluster == b->cluster;
}

/* A place among those that are kept. */
static lt_product *free_place(cuda_lt *lt) {
  if (lt->count < CUDA_LT_KEPT) return &lt->kept[lt->count++];
  lt_product *const oldest = &lt->kept[lt->next];
  lt->next = (lt->next + 1) % CUDA_LT_KEPT;
  lt_product_end(&lt->library, oldest);
  return oldest;
}

/* The product of this problem by the table's algorithm; NULL when the library refuses it. */
static lt_product *find_product(cuda_lt *lt, const lt_problem *p, const lt_algorithm *wanted) {
  for (size_t i = 0; i < lt->count; i++)
    if (same_problem(&lt->kept[i].problem, p)) return lt->kept[i].desc ? &lt->kept[i] : NULL;
  lt_product *const made = free_place(lt);
  if (lt_product_make(&lt->library, p, wanted, CUDA_LT_WORKSPACE, made, NULL) == VIVA_OK) {
    const lt_algorithm taken = lt_product_algorithm(&lt->library, made);
    if (same_algorithm(&taken, wanted)) return made;
    lt_product_end(&lt->library, made);
  }
  made->problem = *p;
  return NULL;
}

viva_status cuda_lt_multiply(cuda_backend *c, const lt_problem *p, const lt_operands *o, viva_error *error) {
  const lt_gpu gpu = {c->gpu.major, c->gpu.minor, c->gpu.multiprocessors};
  const lt_algorithm *const wanted = lt_table_find(&gpu, p);
  if (!wanted || !has_library(c)) return VIVA_E_UNSUPPORTED;
  lt_product *const product = find_product(&c->lt, p, wanted);
  if (!product) return VIVA_E_UNSUPPORTED;
  lt_operands with = *o;
  if (product->workspace_bytes && cuda_room_fit(c, &c->lt_workspace, product->workspace_bytes, NULL) != VIVA_OK)
    return VIVA_E_UNSUPPORTED; /* our own kernel needs none */
  with.workspace = c->lt_workspace.dev;
  with.workspace_bytes = product->workspace_bytes;
  const viva_status status = lt_product_run(&c->lt.library, product, &with, c->stream, error);
  if (status == VIVA_OK) return VIVA_OK;
  TRY(cuda_check(c, c->api->StreamSynchronize(c->stream), "a product by cuBLASLt", error)); /* is the device lost? */
  return status;
}

void cuda_lt_end(cuda_lt *lt) {
  for (size_t i = 0; i < lt->count; i++) lt_product_end(&lt->library, &lt->kept[i]);
  lt->count = 0;
  lt_library_close(&lt->library);
}
