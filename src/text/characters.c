/* Lower case and punctuation of single characters. */
#include "text/unicode.h"

#define CAPITAL_I_WITH_DOT 0x130 /* the one capital whose small letter is two characters: i and a dot above */
#define DOT_ABOVE          0x307

size_t unicode_lower_case(uint32_t code, uint32_t out[2]) {
  out[0] = code;
  if (code == CAPITAL_I_WITH_DOT) {
    out[0] = 'i';
    out[1] = DOT_ABOVE;
    return 2;
  }
  size_t low = 0, high = UNICODE_LOWER;
  while (low < high) {
    size_t mid = (low + high) / 2;
    if (unicode_lower[mid].last < code)
      low = mid + 1;
    else
      high = mid;
  }
  const unicode_lower_range *r = &unicode_lower[low];
  if (low < UNICODE_LOWER && r->first <= code && (code - r->first) % r->stride == 0)
    out[0] = (uint32_t)((int32_t)code + r->distance);
  return 1;
}

int unicode_is_punctuation(uint32_t code) {
  size_t low = 0, high = UNICODE_PUNCTUATION;
  while (low < high) {
    size_t mid = (low + high) / 2;
    if (unicode_punctuation[mid].last < code)
      low = mid + 1;
    else
      high = mid;
  }
  return low < UNICODE_PUNCTUATION && unicode_punctuation[low].first <= code;
}
