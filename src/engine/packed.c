/* engine/packed.c: the handle of a packed weight: counting, description, values back. */
#include "engine/packed.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/ck.h"
#include "base/options.h"
#include "pack/pack.h"

#define INT4_DEFAULT_GROUP 128 /* viva/packed.h */

/* -- lifetime */

static viva_status make(viva_engine *engine, const viva_packed_weight *like, viva_packed_weight **packed,
                        viva_error *error) {
  *packed = NULL;
  viva_packed_weight *p = mem_alloc(&engine->rt->mem, sizeof *p);
  if (!p) return error_set(error, VIVA_E_MEMORY, "no memory for the handle of a packed weight");
  *p = *like;
  atomic_init(&p->references, 1);
  p->engine = viva_engine_retain(engine);
  *packed = p;
  return VIVA_OK;
}

viva_status packed_view(viva_engine *engine, const weight *view, void (*keep_release)(void *keep), void *keep,
                        viva_packed_weight **packed, viva_error *error) {
  const viva_packed_weight like = {.w = *view, .keep_release = keep_release, .keep = keep};
  return make(engine, &like, packed, error);
}

/* The second form that the backend wants of the matrix alone. */
static viva_status prepare(backend *b, viva_packed_weight *p, viva_error *error) {
  const size_t bytes = b->ops->weight_bytes ? b->ops->weight_bytes(b, &p->w, 1) : 0;
  if (bytes == 0) return VIVA_OK;
  TRY(b->ops->alloc(b, bytes, &p->prepared, error));
  const viva_status status = b->ops->weight_prepare(b, &p->w, 1, p->prepared, error);
  if (status) b->ops->free(b, p->prepared, NULL);
  return status;
}

viva_status packed_own(viva_engine *engine, const weight *view, void *memory, viva_packed_weight **packed,
                       viva_error *error) {
  viva_packed_weight like = {.w = *view, .memory = memory};
  TRY(prepare(engine->backend, &like, error));
  const viva_status status = make(engine, &like, packed, error);
  if (status) engine->backend->ops->free(engine->backend, like.prepared, NULL);
  return status;
}

viva_packed_weight *viva_packed_weight_retain(viva_packed_weight *packed) {
  if (packed) atomic_fetch_add_explicit(&packed->references, 1, memory_order_relaxed);
  return packed;
}

void viva_packed_weight_release(viva_packed_weight *packed) {
  if (!packed) return;
  if (atomic_fetch_sub_explicit(&packed->references, 1, memory_order_acq_rel) != 1) return;
  viva_engine *engine = packed->engine;
  engine->backend->ops->free(engine->backend, packed->prepared, NULL);
  engine->backend->ops->free(engine->backend, packed->memory, NULL);
  if (packed->keep_release) packed->keep_release(packed->keep);
  mem_free(&engine->rt->mem, packed);
  viva_engine_release(engine); /* last: the memory above was its */
}

/* -- what it is */

const weight *packed_weight(const viva_packed_weight *packed) { return &packed->w; }

viva_engine *viva_packed_weight_engine(const viva_packed_weight *packed) { return packed ? packed->engine : NULL; }

viva_dtype packed_scale_dtype(const weight *w) {
  static const viva_dtype types[] = {
      [SCALE_F32] = VIVA_F32, [SCALE_F16] = VIVA_F16, [SCALE_E8M0] = VIVA_E8M0, [SCALE_E4M3] = VIVA_E4M3};
  return weight_dense(w->format) ? VIVA_DTYPE_NONE : types[w->scales_type];
}

uint64_t packed_code_bytes(const weight *w) { return (uint64_t)w->rows * w->row_bytes; }

uint64_t packed_scale_bytes(const weight *w) {
  if (weight_dense(w->format)) return 0;
  const uint64_t rows = w->scale_row_bytes ? w->rows : 1;
  return rows * weight_blocks(w) * scale_bytes(w->scales_type);
}

const char *packed_name(const weight *w, char name[PACKED_NAME_BYTES]) {
  static const char *const words[WEIGHT_FORMATS] = {
      [WEIGHT_F32] = "f32",     [WEIGHT_BF16] = "bf16",       [WEIGHT_F16] = "f16",        [WEIGHT_FP8] = "fp8",
      [WEIGHT_NVFP4] = "nvfp4", [WEIGHT_INT8_24] = "int8-24", [WEIGHT_INT4_24] = "int4-24"};
  static const char *const scales[] = {
      [SCALE_F32] = ":f32", [SCALE_F16] = ":f16", [SCALE_E8M0] = ":e8m0", [SCALE_E4M3] = ":e4m3"};
  const scale_type usual = w->format == WEIGHT_NVFP4 ? SCALE_E4M3 : w->format == WEIGHT_INT4_24 ? SCALE_F16 : SCALE_F32;
  const char *suffix = weight_dense(w->format) || w->scales_type == usual ? "" : scales[w->scales_type];
  char block[16] = "";
  if (w->format == WEIGHT_FP8 && w->block) snprintf(block, sizeof block, "-b%u", (unsigned)w->block);
  if (w->format == WEIGHT_INT4_24 && !w->block) snprintf(block, sizeof block, "-channel");
  if (w->format == WEIGHT_INT4_24 && w->block && w->block != INT4_DEFAULT_GROUP)
    snprintf(block, sizeof block, "-g%u", (unsigned)w->block);
  snprintf(name, PACKED_NAME_BYTES, "%s%s%s", words[w->format], block, suffix);
  return name;
}

static viva_status need_packed(const viva_packed_weight *packed, viva_error *error) {
  return packed ? VIVA_OK
                : error_set(error, VIVA_E_ARGUMENT,
                            "packed is NULL; make one with a viva_prepack call or take one from "
                            "a model");
}

viva_status viva_packed_weight_info(const viva_packed_weight *packed, viva_packed_info *info, viva_error *error) {
  TRY(need_packed(packed, error));
  const weight *w = &packed->w;
  const int nvfp4 = w->format == WEIGHT_NVFP4;
  viva_packed_info found = {.size = sizeof found,
                            .format = (viva_weight_format)w->format,
                            .block = weight_dense(w->format) ? 0 : w->block,
                            .out_features = w->rows,
                            .in_features = w->cols,
                            .scale_dtype = packed_scale_dtype(w),
                            .global_divides = nvfp4 && w->global_divides,
                            .global_scale = nvfp4 ? w->global : 1,
                            .pairs = w->format == WEIGHT_INT4_24 && w->pairs,
                            .code_bytes = packed_code_bytes(w),
                            .scale_bytes = packed_scale_bytes(w)};
  found.bytes = found.code_bytes + found.scale_bytes;
  found.bits_per_weight = 8 * (double)found.bytes / ((double)w->rows * (double)w->cols);
  packed_name(w, found.name);
  return options_fill(info, &found, "viva_packed_info", error);
}

/* -- back to FP32 */

typedef struct unpack_work {
  const weight *w;
  float *to;
} unpack_work;

static void unpack_body(void *arg, size_t begin, size_t end, size_t t) {
  (void)t;
  const unpack_work *u = arg;
  unpack_rows(u->w, begin, end - begin, u->to + begin * u->w->cols, u->w->cols);
}

/* A copy of the matrix in the host's memory, for backends whose memory is elsewhere. */
static viva_status bring(viva_engine *e, const weight *w, weight *host, void **memory, viva_error *error) {
  const size_t codes = (size_t)packed_code_bytes(w);
  const size_t scales =
      w->scales ? (w->scale_row_bytes ? w->rows * w->scale_row_bytes : (size_t)packed_scale_bytes(w)) : 0;
  uint8_t *at = mem_alloc(&e->rt->mem, codes + PACK_ALIGN + scales);
  if (!at) return error_set(error, VIVA_E_MEMORY, "no memory for a copy of %zu bytes", codes + scales);
  *memory = at;
  uint8_t *const scales_at = at + (codes + PACK_ALIGN - 1) / PACK_ALIGN * PACK_ALIGN;
  *host = *w;
  host->data = at;
  host->scales = scales ? scales_at : NULL;
  TRY(e->backend->ops->download(e->backend, at, w->data, codes, error));
  return scales ? e->backend->ops->download(e->backend, scales_at, w->scales, scales, error) : VIVA_OK;
}

viva_status viva_packed_weight_unpack(const viva_packed_weight *packed, float *values, size_t count,
                                      viva_error *error) {
  TRY(need_packed(packed, error));
  viva_engine *e = packed->engine;
  weight host = packed->w;
  uint64_t all;
  if (ck_mul(host.rows, host.cols, &all) || all != count)
    return error_set(error, VIVA_E_SIZE, "count is %zu; expected %zu x %zu, the values of the matrix", count, host.rows,
                     host.cols);
  if (!values) return error_set(error, VIVA_E_ARGUMENT, "values is NULL; expected a place for %zu floats", count);
  void *memory = NULL;
  viva_status status = VIVA_OK;
  if (!e->backend->host_memory) status = bring(e, &packed->w, &host, &memory, error);
  unpack_work work = {.w = &host, .to = values};
  if (status == VIVA_OK) pool_for(e->pool, host.rows, 1, unpack_body, &work);
  mem_free(&e->rt->mem, memory);
  return status;
}
