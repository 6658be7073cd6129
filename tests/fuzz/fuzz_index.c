/* Any bytes as model.safetensors.index.json beside two good shards. Nothing outside the folder is ever opened. */
#include <stdlib.h>
#include <string.h>

#include "format/checkpoint.h"
#include "lib/memory_io.h"

static void require(int condition) {
  if (!condition) abort();
}

static void put_shard(memory_io *io, const char *path, const char *header, size_t data_bytes) {
  uint8_t file[256] = {0};
  size_t n = strlen(header);
  file[0] = (uint8_t)n;
  memcpy(file + 8, header, n);
  memory_io_put(io, path, file, 8 + n + data_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  memory_io *io = memory_io_create();
  runtime *rt = runtime_create(NULL, memory_io_table(io), NULL, NULL, VIVA_LOG_WARN);
  viva_checkpoint *ck;
  viva_error error = {0};
  put_shard(io, "/m/a", "{\"x\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2);
  put_shard(io, "/m/b", "{\"y\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
  put_shard(io, "/c", "{\"y\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
  memory_io_put(io, "/m/model.safetensors.index.json", data, size);
  viva_status status = checkpoint_open(rt, "/m", VIVA_LOAD_READ, &ck, &error);
  require(status == error.code);
  if (status == VIVA_OK) {
    for (size_t i = 0; i < ck->file_count; i++) require(strncmp(ck->files[i].path, "/m/", 3) == 0);
    for (size_t i = 0; i < ck->tensor_count; i++) {
      uint8_t bytes[2];
      require(viva_checkpoint_read(ck, ck->tensors[i].name, bytes, (size_t)ck->tensors[i].bytes, NULL) == VIVA_OK);
    }
    viva_checkpoint_close(ck);
  }
  runtime_release(rt);
  require(memory_io_open_count(io) == 0);
  memory_io_free(io);
  return 0;
}
