/* compress/config.c: configurations: the known ones, and what is wrong with others. */
#include <math.h>

#include "base/error.h"
#include "base/options.h"
#include "compress/segment.h"

viva_compression_config viva_nvfp4_config(void) {
  return (viva_compression_config){.size = sizeof(viva_compression_config),
                                   .block_size = 16,
                                   .bits_per_value = 4,
                                   .max_error_pct = 2.0,
                                   .codec = VIVA_CODEC_AFFINE};
}

viva_compression_config viva_int8_config(void) {
  viva_compression_config config = viva_nvfp4_config();
  config.block_size = 32;
  config.bits_per_value = 8;
  config.symmetric = 1;
  config.max_error_pct = 0.5;
  return config;
}

viva_compression_config viva_nvfp4_e2m1_config(void) {
  viva_compression_config config = viva_nvfp4_config();
  config.codec = VIVA_CODEC_NVFP4;
  config.search = VIVA_SEARCH_MSE;
  return config;
}

viva_status config_wrong(viva_error *error, const char *field, const char *expected) {
  return error_option(error, error_set(error, VIVA_E_ARGUMENT, "expected %s", expected), field);
}

static viva_status check_blocks(const viva_compression_config *c, viva_error *error) {
  if (c->codec == VIVA_CODEC_NVFP4) {
    if (c->block_size != NVFP4_BLOCK) return config_wrong(error, "block_size", "16, as NVFP4 has");
    if (c->bits_per_value != 4) return config_wrong(error, "bits_per_value", "4, as NVFP4 has");
    if (c->symmetric) return config_wrong(error, "symmetric", "0: NVFP4 has signed codes and no zero point");
    return VIVA_OK;
  }
  if (c->codec != VIVA_CODEC_AFFINE) return config_wrong(error, "codec", "affine (0) or nvfp4 (1)");
  if (c->block_size < AFFINE_BLOCK_LEAST || c->block_size > AFFINE_BLOCK_MOST)
    return config_wrong(error, "block_size", "8 to 256");
  if (c->bits_per_value < AFFINE_BITS_LEAST || c->bits_per_value > AFFINE_BITS_MOST)
    return config_wrong(error, "bits_per_value", "2 to 8");
  return VIVA_OK;
}

static viva_status check(const viva_compression_config *c, size_t row, viva_error *error) {
  TRY(check_blocks(c, error));
  if (!(c->max_error_pct >= 0) || isinf(c->max_error_pct))
    return config_wrong(error, "max_error_pct", "a finite number that is not negative");
  if (c->error < VIVA_MEASURE_MEAN || c->error > VIVA_MEASURE_RMS)
    return config_wrong(error, "error", "mean (0), largest (1) or rms (2)");
  if (c->bound < VIVA_COMPRESS_REPORT || c->bound > VIVA_COMPRESS_RAW)
    return config_wrong(error, "bound", "report (0), fit (1), fit blocks (2) or raw (3)");
  if (c->search < VIVA_SEARCH_MSE || c->search > VIVA_SEARCH_FOUR_OVER_SIX)
    return config_wrong(error, "search", "least squared error (0), absmax (1) or four over six (2)");
  if (!(c->global_scale >= 0) || isinf(c->global_scale))
    return config_wrong(error, "global_scale", "0, or a finite scale above it");
  if (c->segment % (row ? row : c->block_size) != 0)
    return config_wrong(error, "segment", row ? "a multiple of the length of a row" : "a multiple of block_size");
  return VIVA_OK;
}

viva_status coder_make(const viva_compression_config *config, size_t row, runtime *rt, pool *threads, coder *c,
                       viva_error *error) {
  *c = (coder){.config = viva_nvfp4_config(), .rt = rt, .pool = threads, .kernels = compress_kernels_best()};
  TRY(options_read(&c->config, config, "viva_compression_config", error));
  if (c->config.row_blocks) c->row = row;
  return check(&c->config, c->row, error);
}
