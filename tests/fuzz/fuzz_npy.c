/* Any bytes as a .npy or .npz: opened, every array read. What is accepted is written again, and must read the same. */
#include <stdlib.h>
#include <string.h>

#include "format/npy/npy.h"
#include "lib/memory_io.h"

enum { MAX_ARRAYS = 16, MAX_BYTES = 1 << 18 };

#define PATH  "/m/x.npz"
#define AGAIN "/m/y.npz"

static void require(int condition) {
  if (!condition) abort();
}

static void write_again(runtime *rt, const viva_tensor_data *arrays, size_t count) {
  viva_npy *again;
  viva_stored_tensor info = {.size = sizeof info};
  viva_error error = {0};
  const viva_status status = npz_write(rt, AGAIN, arrays, count, &error);
  require(status == VIVA_OK);
  require(npy_open(rt, AGAIN, &again, NULL) == VIVA_OK);
  require(viva_npy_count(again) == count);
  for (size_t i = 0; i < count; i++) {
    void *values = malloc(arrays[i].bytes + 1);
    require(viva_npy_info(again, i, &info, NULL) == VIVA_OK);
    require(info.dtype == arrays[i].dtype && info.rank == arrays[i].rank && info.bytes == arrays[i].bytes);
    require(viva_npy_read(again, i, values, arrays[i].bytes, NULL) == VIVA_OK);
    require(arrays[i].bytes == 0 || memcmp(values, arrays[i].data, arrays[i].bytes) == 0);
    free(values);
  }
  viva_npy_close(again);
}

/* Reads what is small enough; the values are for write_again. Returns how many arrays were read. */
static size_t read_all(const viva_npy *f, viva_tensor_data *arrays) {
  size_t count = 0;
  for (size_t i = 0; i < viva_npy_count(f) && count < MAX_ARRAYS; i++) {
    viva_stored_tensor info = {.size = sizeof info};
    viva_error error = {0};
    require(viva_npy_info(f, i, &info, NULL) == VIVA_OK);
    if (info.bytes > MAX_BYTES) continue;
    void *values = malloc((size_t)info.bytes + 1);
    const viva_status status = viva_npy_read(f, i, values, (size_t)info.bytes, &error);
    require(status == VIVA_OK || status == VIVA_E_FORMAT);
    if (status != VIVA_OK) {
      free(values);
      continue;
    }
    viva_tensor_data *a = &arrays[count++];
    *a = (viva_tensor_data){
        .name = info.name, .dtype = info.dtype, .rank = info.rank, .data = values, .bytes = (size_t)info.bytes};
    memcpy(a->shape, info.shape, sizeof a->shape);
  }
  return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  memory_io *io = memory_io_create();
  runtime *rt = runtime_create(NULL, memory_io_table(io), NULL, NULL, VIVA_LOG_WARN);
  viva_npy *f;
  viva_error error = {0};
  memory_io_put(io, PATH, data, size);
  const viva_status status = npy_open(rt, PATH, &f, &error);
  require(status == error.code);
  if (status == VIVA_OK) {
    viva_tensor_data arrays[MAX_ARRAYS];
    const size_t count = read_all(f, arrays);
    write_again(rt, arrays, count);
    for (size_t i = 0; i < count; i++) free((void *)(uintptr_t)arrays[i].data);
    viva_npy_close(f);
  }
  runtime_release(rt);
  require(memory_io_open_count(io) == 0);
  memory_io_free(io);
  return 0;
}
