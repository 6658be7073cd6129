/* Any bytes as a safetensors file: opened, every tensor read. What is accepted is written again, and must read the same.
 */
#include <stdlib.h>
#include <string.h>

#include "format/checkpoint.h"
#include "format/safetensors/safetensors.h"
#include "lib/memory_io.h"

enum { MAX_TENSORS = 64, MAX_ELEMENTS = 1 << 16 };

#define PATH  "/m/x.safetensors"
#define AGAIN "/m/y.safetensors"

static void require(int condition) {
  if (!condition) abort();
}

static void read_all(const viva_checkpoint *ck) {
  for (size_t i = 0; i < ck->tensor_count; i++) {
    const tensor_view *view = &ck->tensors[i];
    if (view->elements > MAX_ELEMENTS) continue;
    float *values = malloc((size_t)view->elements * sizeof *values + 1);
    viva_status status = viva_checkpoint_read_f32(ck, view->name, values, (size_t)view->elements, NULL);
    require(status == VIVA_OK || status == VIVA_E_DTYPE);
    free(values);
  }
}

static void write_again(runtime *rt, const viva_checkpoint *ck) {
  viva_tensor_data tensors[MAX_TENSORS];
  viva_checkpoint *again;
  if (ck->tensor_count > MAX_TENSORS) return;
  for (size_t i = 0; i < ck->tensor_count; i++) {
    const tensor_view *view = &ck->tensors[i];
    tensors[i] = (viva_tensor_data){.name = view->name,
                                    .dtype = type_get(view->type)->dtype,
                                    .rank = view->rank,
                                    .data = checkpoint_mapped(ck, view),
                                    .bytes = (size_t)view->bytes};
    memcpy(tensors[i].shape, view->shape, sizeof view->shape);
  }
  require(safetensors_write(rt, AGAIN, tensors, ck->tensor_count, NULL, 0, NULL) == VIVA_OK);
  require(checkpoint_open(rt, AGAIN, VIVA_LOAD_MMAP, &again, NULL) == VIVA_OK);
  require(again->tensor_count == ck->tensor_count);
  for (size_t i = 0; i < ck->tensor_count; i++) {
    const tensor_view *a = &ck->tensors[i], *b = &again->tensors[i];
    require(strcmp(a->name, b->name) == 0 && a->type == b->type && a->rank == b->rank && a->bytes == b->bytes);
    require(memcmp(a->shape, b->shape, sizeof a->shape) == 0);
    require(memcmp(checkpoint_mapped(ck, a), checkpoint_mapped(again, b), (size_t)a->bytes) == 0);
  }
  viva_checkpoint_close(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  memory_io *io = memory_io_create();
  runtime *rt = runtime_create(NULL, memory_io_table(io), NULL, NULL, VIVA_LOG_WARN);
  viva_checkpoint *ck;
  viva_error error = {0};
  memory_io_put(io, PATH, data, size);
  viva_status status = checkpoint_open(rt, PATH, size % 2 ? VIVA_LOAD_MMAP : VIVA_LOAD_READ, &ck, &error);
  require(status == error.code);
  if (status == VIVA_OK) {
    read_all(ck);
    if (ck->container == CONTAINER_SAFETENSORS && ck->load == VIVA_LOAD_MMAP) write_again(rt, ck);
    viva_checkpoint_close(ck);
  }
  runtime_release(rt);
  require(memory_io_open_count(io) == 0);
  memory_io_free(io);
  return 0;
}
