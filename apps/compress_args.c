/* compress_args.c: the options that describe how values are compressed. */
#include "compress_args.h"

#include <string.h>

#include "messages.h"

#define AT(field) offsetof(compress_args, field)
#define SEGMENT   ((uint64_t)1 << 20)

const option compress_codec_options[COMPRESS_CODEC_OPTIONS] = {
    {0, OPTION_CHOICE, "codec", "affine|nvfp4|adaptive", AT(codec),
     "affine: codes with a scale and a zero point for each block; nvfp4: E2M1 codes with E4M3 scales; adaptive: the "
     "smallest format that keeps the error within --max-error, for each tensor; it takes none of the options below but "
     "--max-error and --measure",
     0, 0},
    {0, OPTION_COUNT, "bits", "N", AT(bits), "affine: bits of a code, 2 to 8; 0: 4", 0, 8},
    {0, OPTION_COUNT, "block", "N", AT(block), "affine: values to a block, 8 to 256; 0: 16", 0, 256},
    {0, OPTION_SET, "symmetric", NULL, AT(symmetric), "affine: signed codes, no zero point", 0, 0},
    {0, OPTION_REAL, "max-error", "PERCENT", AT(max_error), "the error allowed, in percent of the largest magnitude", 0,
     0},
    {0, OPTION_CHOICE, "measure", "mean|largest|rms", AT(measure), "which error that is", 0, 0},
    {0, OPTION_CHOICE, "bound", "report|fit|fit-blocks|raw", AT(bound),
     "where it is missed: say so; more bits for the segment; more bits for the blocks; store the segment as it is", 0,
     0},
    {0, OPTION_CHOICE, "search", "mse|absmax|four-over-six", AT(search), "nvfp4: how a block's scale is chosen", 0, 0},
    {0, OPTION_COUNT, "segment", "N", AT(segment),
     "values that share a global scale: a multiple of the block; with --row-blocks as many whole rows as it holds, one "
     "at "
     "least; 0: about 2^20",
     0, 1e12},
    {0, OPTION_SET, "row-blocks", NULL, AT(row_blocks), "end a block at the end of each row, as packed weights do", 0,
     0},
    {0, OPTION_SET, "keep-nonfinite", NULL, AT(keep_nonfinite),
     "store blocks with a NaN or an infinity in 32 bits; without it they are an error", 0, 0},
};

void compress_args_defaults(compress_args *args) {
  memset(args, 0, sizeof *args);
  args->codec = CODEC_NVFP4;
  args->max_error = 2;
}

viva_compression_config compress_args_config(const compress_args *args) {
  viva_compression_config config = args->codec == CODEC_NVFP4 ? viva_nvfp4_e2m1_config() : viva_nvfp4_config();
  if (args->bits > 0) config.bits_per_value = (uint32_t)args->bits;
  if (args->block > 0) config.block_size = (uint32_t)args->block;
  config.symmetric = args->symmetric;
  config.max_error_pct = args->max_error;
  config.error = (viva_error_measure)args->measure;
  config.bound = (viva_compress_bound)args->bound;
  config.search = (viva_scale_search)args->search;
  config.segment = args->segment;
  config.row_blocks = args->row_blocks;
  config.keep_nonfinite = args->keep_nonfinite;
  return config;
}

uint64_t compress_args_segment(const compress_args *args, uint64_t row, uint32_t block) {
  if (args->segment > 0 && !args->row_blocks) return args->segment;
  const uint64_t unit = args->row_blocks && row > 0 ? row : block, wanted = args->segment > 0 ? args->segment : SEGMENT;
  return wanted > unit ? wanted / unit * unit : unit;
}

const char *compress_args_not_adaptive(const compress_args *args) {
  if (args->bits > 0) return "--bits";
  if (args->block > 0) return "--block";
  if (args->symmetric) return "--symmetric";
  if (args->bound != VIVA_COMPRESS_REPORT) return "--bound";
  if (args->search != VIVA_SEARCH_MSE) return "--search";
  if (args->segment > 0) return "--segment";
  if (args->row_blocks) return "--row-blocks";
  return args->keep_nonfinite ? "--keep-nonfinite" : NULL;
}

viva_analyze_options compress_args_analyze(const compress_args *args) {
  viva_analyze_options options = viva_analyze_options_default();
  options.error = (viva_error_measure)args->measure;
  options.max_error_pct = args->max_error;
  return options;
}

int compress_args_engine(const compress_args *args, viva_engine **engine) {
  viva_engine_options options = viva_engine_options_default();
  viva_error error = {0};
  options.device = VIVA_DEVICE_CPU;
  options.threads = (int32_t)args->threads;
  options.log = message_log;
  return viva_engine_open(&options, engine, &error) == VIVA_OK ? CODE_OK : message_error(&error);
}
