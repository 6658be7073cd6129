/* compress_args.h: the options that describe how values are compressed; shared by compress and analyze. */
#ifndef APPS_COMPRESS_ARGS_H
#define APPS_COMPRESS_ARGS_H

#include <viva/viva.h>

#include "args.h"

typedef struct compress_args {
  int codec;          /* --codec: affine, nvfp4, adaptive */
  uint64_t bits;      /* --bits; 0: the codec's */
  uint64_t block;     /* --block; 0: the codec's */
  int symmetric;      /* --symmetric */
  double max_error;   /* --max-error */
  int measure, bound; /* --measure, --bound */
  int search;         /* --search */
  uint64_t segment;   /* --segment; 0: about 2^20 */
  int row_blocks, keep_nonfinite;
  uint64_t threads, workers;
  int quiet, json;
} compress_args;

enum { CODEC_AFFINE, CODEC_NVFP4, CODEC_ADAPTIVE };

enum { COMPRESS_CODEC_OPTIONS = 11 };
extern const option compress_codec_options[COMPRESS_CODEC_OPTIONS]; /* in a compress_args */

void compress_args_defaults(compress_args *args);
viva_compression_config compress_args_config(const compress_args *args);
viva_analyze_options compress_args_analyze(const compress_args *args);
/* config.segment for a tensor with rows of so many values: with row blocks whole rows, else as it was asked for. */
uint64_t compress_args_segment(const compress_args *args, uint64_t row, uint32_t block);
/* An option that was given and that the adaptive codec, which chooses by itself, has no use for; or NULL. */
const char *compress_args_not_adaptive(const compress_args *args);

/* Opens an engine on the CPU. Returns 0, or the exit code after a message. */
int compress_args_engine(const compress_args *args, viva_engine **engine);

#endif
