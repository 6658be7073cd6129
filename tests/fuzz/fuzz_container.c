/* Any bytes as a container: opened from a file (read and mapped, with and without recovery) and scanned as from a pipe.
 * Nothing is read outside it, every handle and byte comes back, and what both ways accept has the same values.
 *
 * Checksums stop a fuzzer at the first record, so the target puts them right before it opens its input: byte 0 says how many
 * records from the beginning get theirs.
 */
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "compress/container.h"
#include "engine/engine.h"
#include "lib/memory_io.h"

enum { MOST_VALUES = 1 << 20 };

static void require(int condition) {
  if (!condition) abort();
}

static void put_checksum(uint8_t *at, uint64_t value) {
  for (int i = 0; i < 8; i++) at[i] = (uint8_t)(value >> (8 * i));
}

static void mend(uint8_t *file, size_t size, unsigned records) {
  if (size < CONTAINER_UNIT) return;
  put_checksum(file + 56, checksum_bytes(file, 56));
  for (size_t at = CONTAINER_UNIT; records > 0 && size - at >= CONTAINER_UNIT; records--) {
    uint64_t bytes = 0;
    for (int i = 7; i >= 0; i--) bytes = bytes << 8 | file[at + 8 + (size_t)i];
    if (bytes <= size - at - CONTAINER_UNIT)
      put_checksum(file + at + 16, checksum_bytes(file + at + CONTAINER_UNIT, (size_t)bytes));
    put_checksum(file + at + 56, checksum_bytes(file + at, 56));
    if (bytes > size - at - CONTAINER_UNIT) return;
    at += CONTAINER_UNIT + (size_t)(bytes + record_padding(bytes));
    if (at > size) return;
  }
}

static uint64_t sum_of(const float *values, uint64_t count) {
  return checksum_bytes(values, (size_t)count * sizeof *values);
}

/* Values of all tensors by loading; *sum mixes them. */
static viva_status load(viva_engine *engine, viva_load_mode mode, int recover, uint64_t *sum) {
  viva_container_options o = viva_container_options_default();
  viva_container *c = NULL;
  viva_error error = {0};
  o.mode = mode, o.recover = recover;
  *sum = 0;
  viva_status status = viva_container_open(engine, "/f", &o, &c, &error);
  for (size_t i = 0; status == VIVA_OK && i < viva_container_count(c); i++) {
    viva_container_tensor t = {.size = sizeof t};
    viva_compressed *made = NULL;
    require(viva_container_info(c, i, &t, NULL) == VIVA_OK);
    status = viva_container_load(c, i, &made, &error);
    if (status == VIVA_OK && t.elements <= MOST_VALUES) {
      float *values = malloc((size_t)t.elements * sizeof *values + 1);
      require(values && viva_decompress_into(engine, made, values, (size_t)t.elements, NULL) == VIVA_OK);
      *sum = *sum * 31 + sum_of(values, t.elements);
      viva_compressed_desc info = {.size = sizeof info};
      require(viva_compressed_info(made, &info, NULL) == VIVA_OK && info.num_elements == t.elements);
      for (uint64_t b = 0; b < info.blocks && b < 100; b++) {
        viva_micro_block block = {.size = sizeof block};
        int32_t codes[256];
        require(viva_compressed_block(made, b, &block, NULL) == VIVA_OK && block.count <= 256);
        (void)viva_micro_block_codes(&block, codes, block.count, NULL);
      }
      free(values);
    }
    viva_compressed_release(made);
  }
  if (status != VIVA_OK) require(error.message[0] != 0);
  viva_container_close(c);
  return status;
}

typedef struct pipe_in {
  const uint8_t *data;
  size_t size, at;
} pipe_in;

static int64_t get(void *user, void *to, size_t count) {
  pipe_in *p = user;
  const size_t some = p->size - p->at < count ? p->size - p->at : count;
  memcpy(to, p->data + p->at, some);
  p->at += some;
  return (int64_t)some;
}

static int visit(void *user, const viva_container_tensor *t, const viva_stream_chunk *chunk, const float *values) {
  uint64_t *sum = user;
  require(strlen(t->name) <= CONTAINER_NAME);
  if (chunk) *sum = *sum * 31 + sum_of(values, chunk->values);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1 || size > 1 << 16) return 0;
  static viva_engine *engine;
  static memory_io *files;
  if (!engine) {
    viva_engine_options options = viva_engine_options_default();
    files = memory_io_create();
    options.threads = 1;
    options.device = VIVA_DEVICE_CPU;
    require(engine_open(&options, memory_io_table(files), &engine, NULL) == VIVA_OK);
  }
  const size_t own = engine->rt->mem.current;
  uint8_t *file = malloc(size);
  require(file != NULL);
  memcpy(file, data + 1, size - 1);
  mend(file, size - 1, data[0]);
  memory_io_put(files, "/f", file, size - 1);
  uint64_t read, mapped, recovered, scanned = 0;
  const viva_status status = load(engine, VIVA_LOAD_READ, 0, &read);
  require(load(engine, VIVA_LOAD_MMAP, 0, &mapped) == status && read == mapped);
  const viva_status again = load(engine, VIVA_LOAD_READ, 1, &recovered);
  require(status != VIVA_OK || (again == VIVA_OK && recovered == read));
  pipe_in in = {file, size - 1, 0};
  (void)viva_container_scan(engine, get, &in, visit, &scanned, NULL);
  free(file);
  require(memory_io_open_count(files) == 0 && engine->rt->mem.current == own);
  return 0;
}
