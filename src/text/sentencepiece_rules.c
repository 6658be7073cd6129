#include "text/sentencepiece_rules.h"

/* U+2581, what SentencePiece writes for a space. */
#define MARK                                                                                                           \
  { "\xe2\x96\x81", 3 }
#define SPACE                                                                                                          \
  { " ", 1 }
#define AT(it)                                                                                                         \
  { .kind = PATTERN_LITERAL, .literal = it }

void sentencepiece_rules(int space_prefix, tokenizer_spec *spec) {
  static const normal_op normal[] = {{.kind = NORMAL_PREPEND, .content = MARK},
                                     {.kind = NORMAL_REPLACE, .pattern = AT(SPACE), .content = MARK}};
  static const decode_op decode[] = {{.kind = DECODE_REPLACE, .pattern = AT(MARK), .content = SPACE},
                                     {.kind = DECODE_BYTE_FALLBACK},
                                     {.kind = DECODE_FUSE},
                                     {.kind = DECODE_STRIP, .content = SPACE, .start = 1}};
  spec->normal = (normalizer){space_prefix ? normal : normal + 1, space_prefix ? 2 : 1};
  spec->decode_ops = decode;
  spec->decode_count = space_prefix ? 4 : 3;
  spec->rules.byte_fallback = spec->rules.fuse_unknown = 1;
}
