/* bench_compress.c: viva bench compress: the original's benchmark, on its data and on a model's matrices or Gaussian values. */
#include <inttypes.h>
#include <stdio.h>

#include "arrays.h"
#include "bench.h"
#include "compress_args.h"
#include "messages.h"

enum { MOST_VALUES = 1 << 26 };

static void put_line(void *user, const char *line) {
  output_text(user, line);
  output_text(user, "\n");
}

/* The largest matrix that is not out of all proportion: what a model's weights are like. */
static viva_status largest_matrix(const arrays *a, size_t *index, viva_error *error) {
  uint64_t most = 0;
  *index = SIZE_MAX;
  for (size_t i = 0; i < arrays_count(a); i++) {
    viva_stored_tensor info;
    const viva_status status = arrays_info(a, i, &info, error);
    if (status != VIVA_OK) return status;
    if (info.rank != 2 || !arrays_real(&info) || info.elements > MOST_VALUES || info.elements <= most) continue;
    most = info.elements;
    *index = i;
  }
  return VIVA_OK;
}

static viva_status read_largest(const arrays *a, viva_stored_tensor *info, viva_tensor **tensor, viva_error *error) {
  size_t index;
  viva_status status = largest_matrix(a, &index, error);
  if (status == VIVA_OK && index != SIZE_MAX) status = arrays_info(a, index, info, error);
  if (status == VIVA_OK && index != SIZE_MAX) status = arrays_read(a, index, tensor, error);
  return status;
}

static viva_status make_gaussian(viva_engine *engine, uint64_t megabytes, viva_tensor **tensor, viva_error *error) {
  viva_random_options normal = viva_random_options_default();
  normal.distribution = VIVA_NORMAL;
  return viva_tensor_random(engine, VIVA_F32, 1, (uint64_t[]){megabytes * 1000000 / sizeof(float)}, &normal, tensor,
                            error);
}

static viva_status run_with(viva_engine *engine, const arrays *a, uint64_t megabytes, output *out, viva_error *error) {
  viva_bench_options options = viva_bench_options_default();
  viva_stored_tensor info = {.size = sizeof info};
  viva_tensor *tensor = NULL;
  char name[64] = "";
  viva_status status = VIVA_OK;
  if (a != NULL)
    status = read_largest(a, &info, &tensor, error);
  else if (megabytes > 0)
    status = make_gaussian(engine, megabytes, &tensor, error);
  snprintf(name, sizeof name, "Gaussian, %" PRIu64 " MB", megabytes);
  options.tensor = tensor;
  options.tensor_name = a != NULL ? info.name : name;
  if (status == VIVA_OK) status = viva_compression_benchmark(engine, &options, put_line, out, NULL, error);
  viva_tensor_release(tensor);
  return status;
}

int bench_compress(output *out, const char *path, uint64_t megabytes, uint64_t threads) {
  compress_args how;
  viva_engine *engine = NULL;
  viva_error error = {0};
  arrays a = {.engine = NULL};
  compress_args_defaults(&how);
  how.threads = threads;
  int code = compress_args_engine(&how, &engine);
  if (code != CODE_OK) return code;
  viva_status status = path != NULL ? arrays_open(engine, path, &a, &error) : VIVA_OK;
  if (status == VIVA_OK) status = run_with(engine, path != NULL ? &a : NULL, megabytes, out, &error);
  if (path != NULL) arrays_close(&a);
  viva_engine_release(engine);
  return status == VIVA_OK ? CODE_OK : message_error(&error);
}
