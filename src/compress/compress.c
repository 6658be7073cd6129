/* compress/compress.c: tensors into segments, and back. */
#include "base/ck.h"
#include "base/error.h"
#include "base/options.h"
#include "compress/compress_inner.h"
#include "compress/compressed.h"
#include "compress/team.h"
#include "engine/engine.h"
#include "tensor/tensor.h"

/* -- values of any tensor as FP32 in a row */

viva_status flat_open(const viva_tensor *tensor, runtime *rt, flat_values *flat, viva_error *error) {
  *flat = (flat_values){.rt = rt, .count = tensor->elements};
  if (tensor->storage->device) return device_refuse(tensor, "the tensor", error);
  viva_tensor_desc desc = {.size = sizeof desc};
  TRY(viva_tensor_info(tensor, &desc, error));
  if (desc.dtype == VIVA_F32 && desc.contiguous) {
    flat->values = (const float *)(const void *)tensor->data;
    return VIVA_OK;
  }
  flat->owned = mem_array(&rt->mem, flat->count, sizeof *flat->owned);
  if (!flat->owned) return error_set(error, VIVA_E_MEMORY, "no memory for %zu values in FP32", flat->count);
  flat->values = flat->owned;
  const viva_status status = viva_tensor_to_f32(tensor, flat->owned, flat->count, error);
  if (status != VIVA_OK) flat_close(flat);
  return status;
}

void flat_close(flat_values *flat) {
  mem_free(&flat->rt->mem, flat->owned);
  *flat = (flat_values){.rt = flat->rt};
}

/* -- compress */

static size_t segment_length(const coder *c, size_t count) {
  return c->config.segment && c->config.segment < count ? (size_t)c->config.segment : count;
}

/* pool_item: segment i. */
static viva_status encode_one(void *arg, size_t i, size_t thread, viva_error *error) {
  const team_job *job = arg;
  const size_t at = i * job->each, left = job->count - at;
  (void)thread;
  return segment_encode(job->c, job->values + at, left < job->each ? left : job->each, at,
                        job->room ? job->room + i * job->room_each : NULL, &job->segments[i], error);
}

/* One piece of memory for all segments, where their sizes are known: in large pages, which a thread need not wait for at every
 * 4 KiB. Without, each has its own. */
static viva_status make_room(team_job *job, size_t segments, viva_error *error) {
  const size_t bytes = coder_bytes(job->c, job->each);
  uint64_t padded, all;
  size_t size;
  if (segments < 2 || bytes == 0) return VIVA_OK;
  if (ck_align(bytes, MEM_ALIGN, &padded) || ck_mul(padded, segments, &all) || ck_size(all, &size))
    return error_set(error, VIVA_E_LIMIT, "the size of %zu segments overflows", segments);
  job->room = mem_alloc(&job->c->rt->mem, size);
  job->room_each = (size_t)padded;
  return job->room ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for %zu bytes of blocks", size);
}

/* As many segments as there are threads at once, by one thread each, which waits for no other. */
static viva_status encode_apart(const team_job *job, size_t segments, viva_error *error) {
  coder alone = *job->c;
  team_job by_one = *job;
  alone.pool = NULL;
  by_one.c = &alone;
  return pool_try(job->c->pool, segments, encode_one, &by_one, error);
}

/* By teams or threads that have equally many; what is left over, one after another, by all threads. */
static viva_status encode_segments(const team_job *job, size_t segments, viva_error *error) {
  const size_t threads = (size_t)pool_threads(job->c->pool), members = job->room ? team_members(job->c, job->each) : 0;
  const size_t at_once = threads / (members ? members : 1), apart = segments / at_once * at_once;
  team_job by_all = *job;
  TRY(members ? team_encode(job, members, apart, error) : encode_apart(job, apart, error));
  for (size_t i = apart; i < segments; i++) TRY(encode_one(&by_all, i, 0, error));
  return VIVA_OK;
}

static viva_status encode_all(const coder *c, const flat_values *flat, viva_compressed *made, viva_error *error) {
  const size_t each = segment_length(c, flat->count);
  const size_t segments = each ? flat->count / each + (flat->count % each != 0) : 0;
  team_job job = {.c = c, .values = flat->values, .count = flat->count, .each = each, .segments = made->segments};
  viva_status status = make_room(&job, segments, error);
  made->room = job.room;
  if (status == VIVA_OK) status = encode_segments(&job, segments, error);
  /* also after a failure: so those that were made are released with the others */
  for (size_t i = 0; i < segments; i++) compressed_count(made);
  return status;
}

viva_status compress_flat(const coder *c, const flat_values *flat, uint32_t rank, const uint64_t *shape,
                          viva_compressed **out, viva_error *error) {
  const size_t each = segment_length(c, flat->count);
  viva_compressed *made = compressed_make(c->rt, &c->config, each ? flat->count / each + 1 : 1);
  if (!made) return error_set(error, VIVA_E_MEMORY, "no memory for the handle of a compressed tensor");
  made->owned = 1;
  made->rank = rank;
  for (uint32_t i = 0; i < rank; i++) made->shape[i] = shape[i];
  made->elements = flat->count;
  const viva_status status = encode_all(c, flat, made, error);
  if (status == VIVA_OK)
    *out = made;
  else
    viva_compressed_release(made);
  return status;
}

viva_status viva_compress(viva_engine *engine, const viva_tensor *tensor, const viva_compression_config *config,
                          viva_compressed **compressed, viva_error *error) {
  if (!compressed) return error_set(error, VIVA_E_ARGUMENT, "compressed is NULL; expected a place for the handle");
  *compressed = NULL;
  if (!engine) return error_set(error, VIVA_E_ARGUMENT, "engine is NULL; open one with viva_engine_open");
  if (!tensor) return error_set(error, VIVA_E_ARGUMENT, "tensor is NULL");
  coder c;
  flat_values flat;
  TRY(coder_make(config, tensor->rank ? (size_t)tensor->shape[tensor->rank - 1] : 1, engine->rt, engine->pool, &c,
                 error));
  TRY(flat_open(tensor, engine->rt, &flat, error));
  const viva_status status = compress_flat(&c, &flat, tensor->rank, tensor->shape, compressed, error);
  flat_close(&flat);
  return status;
}

/* -- decompress */

static void decode_all(const viva_compressed *c, pool *threads, float *to) {
  for (size_t i = 0; i < c->count; i++) {
    segment_decode(&c->segments[i], threads, to);
    to += c->segments[i].grid.values;
  }
}

viva_status viva_decompress_into(viva_engine *engine, const viva_compressed *compressed, float *values, size_t count,
                                 viva_error *error) {
  if (!engine || !compressed) return error_set(error, VIVA_E_ARGUMENT, "%s is NULL", engine ? "compressed" : "engine");
  if (count != compressed->elements)
    return error_set(error, VIVA_E_SIZE, "count is %zu; the tensor has %llu values", count,
                     (unsigned long long)compressed->elements);
  if (count == 0) return VIVA_OK;
  if (!values) return error_set(error, VIVA_E_ARGUMENT, "values is NULL; expected a place for %zu floats", count);
  decode_all(compressed, engine->pool, values);
  return VIVA_OK;
}

viva_status viva_decompress(viva_engine *engine, const viva_compressed *compressed, viva_tensor **tensor,
                            viva_error *error) {
  if (!tensor) return error_set(error, VIVA_E_ARGUMENT, "tensor is NULL; expected a place for the handle");
  *tensor = NULL;
  if (!engine || !compressed) return error_set(error, VIVA_E_ARGUMENT, "%s is NULL", engine ? "compressed" : "engine");
  viva_tensor *made;
  TRY(tensor_create(engine->rt, VIVA_F32, compressed->rank, compressed->shape, &made, error));
  decode_all(compressed, engine->pool, (float *)(void *)made->data);
  *tensor = made;
  return VIVA_OK;
}
