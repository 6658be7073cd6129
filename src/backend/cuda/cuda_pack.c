/* backend/cuda/cuda_pack.c: rows of weights packed on the device. */
#include "backend/cuda/cuda.h"
#include "pack/pack_kernels.h"

/* Where the kernel found the first value that is NaN or infinite. */
static viva_status find_bad(cuda_backend *c, size_t cols, size_t row, const unsigned long long *dev, pack_place *bad,
                            viva_error *error) {
  const char *where = "packing rows";
  TRY(cuda_answers_fit(c, sizeof *dev, error));
  TRY(cuda_check(c, c->api->MemcpyAsync(c->answers, dev, sizeof *dev, cudaMemcpyDeviceToHost, c->stream), where,
                 error));
  TRY(cuda_check(c, c->api->StreamSynchronize(c->stream), where, error));
  const unsigned long long at = *(const unsigned long long *)c->answers;
  if (at != ~0ull) *bad = (pack_place){1, row + (size_t)(at / cols), (size_t)(at % cols)};
  return VIVA_OK;
}

/* bad: NULL when such values are allowed. */
static viva_status pack(cuda_backend *c, const pack_spec *spec, const pack_sizes *sizes, size_t cols, uint8_t *to,
                        size_t row, size_t rows, const outer_rows *values, pack_place *bad, viva_error *error) {
  pack_units_args a = {.spec = *spec,
                       .scale = pack_scale_type(spec),
                       .block = (uint32_t)pack_block(spec),
                       .largest = pack_largest(spec->format),
                       .values = *values,
                       .rows = rows,
                       .cols = cols,
                       .codes = to + row * sizes->row_bytes,
                       .scales = to + sizes->scales_offset + row * sizes->scale_row_bytes,
                       .row_bytes = sizes->row_bytes,
                       .scale_row_bytes = sizes->scale_row_bytes};
  if (spec->format == WEIGHT_NVFP4) nvfp4_make_table(spec, &a.table);
  if (bad) {
    TRY(cuda_room_fit(c, &c->product, sizeof *a.bad, error));
    a.bad = c->product.dev;
    TRY(cuda_check(c, c->api->MemsetAsync(a.bad, 0xff, sizeof *a.bad, c->stream), "packing rows", error));
  }
  TRY(cuda_check(c, (cudaError_t)c->kernels->pack_rows(&a, c->stream), "packing rows", error));
  return bad ? find_bad(c, cols, row, a.bad, bad, error) : VIVA_OK;
}

viva_status cuda_pack_rows(backend *b, const pack_spec *spec, size_t all_rows, size_t cols, void *to, size_t row,
                           size_t rows, const outer_rows *values, pack_place *bad, viva_error *error) {
  pack_sizes sizes;
  if (bad) *bad = (pack_place){0};
  if (pack_measure(spec, all_rows, cols, &sizes)) return error_set(error, VIVA_E_LIMIT, "the matrix is too large");
  CUDA_CALL(b, pack(cuda_of(b), spec, &sizes, cols, to, row, rows, values, spec->allow_nonfinite ? NULL : bad, error));
}
