/* pack/word.h: formats as words: "bf16", "fp8-b16:f16", "nvfp4:absmax", "int4-24-g64:f32".
 *
 * A word, and what may follow it after a colon: the type of the scales, or NVFP4's search for them. */
#ifndef PACK_WORD_H
#define PACK_WORD_H

#include "pack/pack.h"

#define PACK_WORDS                                                                                                     \
  "f32, bf16, f16, fp8, fp8-b16, fp8-b32, fp8-b64, fp8-b128, nvfp4, int8-24, int4-24, int4-24-g32, int4-24-g64, "      \
  "int4-24-channel"

typedef enum pack_word {
  PACK_WORD_OK = 0,
  PACK_WORD_UNKNOWN = 1, /* no such format */
  PACK_WORD_SUFFIX = 2   /* not after this one: spec->format says which, pack_word_suffixes what may */
} pack_word;

/* bytes of text; spec->global is not set. */
pack_word pack_word_read(const char *text, size_t bytes, pack_spec *spec);

/* What may follow a format's word and a colon, for messages; NULL: nothing. */
const char *pack_word_suffixes(weight_format format);

#endif
