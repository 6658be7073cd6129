/* pack/word.c */
#include "pack/word.h"

static const struct {
  const char *word;
  weight_format format;
  uint32_t block;
  scale_type scale;
} formats[] = {
    {"f32", WEIGHT_F32, 0, SCALE_F32},
    {"bf16", WEIGHT_BF16, 0, SCALE_F32},
    {"f16", WEIGHT_F16, 0, SCALE_F32},
    {"fp8", WEIGHT_FP8, 0, SCALE_F32},
    {"fp8-b16", WEIGHT_FP8, 16, SCALE_F32},
    {"fp8-b32", WEIGHT_FP8, 32, SCALE_F32},
    {"fp8-b64", WEIGHT_FP8, 64, SCALE_F32},
    {"fp8-b128", WEIGHT_FP8, 128, SCALE_F32},
    {"nvfp4", WEIGHT_NVFP4, NVFP4_BLOCK, SCALE_E4M3},
    {"int8-24", WEIGHT_INT8_24, 0, SCALE_F32},
    {"int4-24", WEIGHT_INT4_24, 128, SCALE_F16},
    {"int4-24-g32", WEIGHT_INT4_24, 32, SCALE_F16},
    {"int4-24-g64", WEIGHT_INT4_24, 64, SCALE_F16},
    {"int4-24-channel", WEIGHT_INT4_24, 0, SCALE_F16},
};

/* What may follow a ':'. */
static const struct {
  weight_format format;
  const char *word;
  scale_type scale;
  nvfp4_search search;
} suffixes[] = {
    {WEIGHT_FP8, "f32", SCALE_F32, NVFP4_SEARCH_MSE},
    {WEIGHT_FP8, "f16", SCALE_F16, NVFP4_SEARCH_MSE},
    {WEIGHT_FP8, "e8m0", SCALE_E8M0, NVFP4_SEARCH_MSE},
    {WEIGHT_INT4_24, "f16", SCALE_F16, NVFP4_SEARCH_MSE},
    {WEIGHT_INT4_24, "f32", SCALE_F32, NVFP4_SEARCH_MSE},
    {WEIGHT_NVFP4, "mse", SCALE_E4M3, NVFP4_SEARCH_MSE},
    {WEIGHT_NVFP4, "absmax", SCALE_E4M3, NVFP4_SEARCH_ABSMAX},
    {WEIGHT_NVFP4, "four-over-six", SCALE_E4M3, NVFP4_SEARCH_FOUR_OVER_SIX},
};

const char *pack_word_suffixes(weight_format format) {
  switch (format) {
  case WEIGHT_FP8: return "f32, f16 or e8m0 (the type of the scales)";
  case WEIGHT_INT4_24: return "f16 or f32 (the type of the scales)";
  case WEIGHT_NVFP4: return "mse, absmax or four-over-six (the search for the scales)";
  default: return NULL;
  }
}

static int is(const char *text, size_t bytes, const char *word) {
  return bytes == strlen(word) && memcmp(text, word, bytes) == 0;
}

pack_word pack_word_read(const char *text, size_t bytes, pack_spec *spec) {
  const char *colon = bytes ? memchr(text, ':', bytes) : NULL;
  const size_t word = colon ? (size_t)(colon - text) : bytes, n = sizeof formats / sizeof *formats;
  size_t f = 0;
  while (f < n && !is(text, word, formats[f].word)) f++;
  if (f == n) return PACK_WORD_UNKNOWN;
  *spec = (pack_spec){.format = formats[f].format, .block = formats[f].block, .scale = formats[f].scale};
  if (!colon) return PACK_WORD_OK;
  for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
    if (suffixes[i].format != spec->format || !is(colon + 1, bytes - word - 1, suffixes[i].word)) continue;
    spec->scale = suffixes[i].scale;
    spec->search = suffixes[i].search;
    return PACK_WORD_OK;
  }
  return PACK_WORD_SUFFIX;
}
