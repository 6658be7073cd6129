/* tensor/compare_mixed.c: comparisons of I64 with U64, exact as NumPy's. */
#include "tensor/compare_mixed.h"

#include <string.h>

#define MIXED(name, if_negative, operation)                                                                            \
  static void name(char *const *p, const int64_t *step, size_t n) {                                                    \
    for (size_t i = 0; i < n; i++) {                                                                                   \
      const int64_t k = (int64_t)i;                                                                                    \
      int64_t x;                                                                                                       \
      uint64_t y;                                                                                                      \
      memcpy(&x, p[1] + k * step[1], sizeof x);                                                                        \
      memcpy(&y, p[2] + k * step[2], sizeof y);                                                                        \
      p[0][k * step[0]] = (char)(x < 0 ? if_negative : (uint64_t)x operation y);                                       \
    }                                                                                                                  \
  }
MIXED(mixed_equal, 0, ==)
MIXED(mixed_not_equal, 1, !=)
MIXED(mixed_greater, 0, >)
MIXED(mixed_greater_equal, 0, >=)
MIXED(mixed_less, 1, <)
MIXED(mixed_less_equal, 1, <=)

loop_fn compare_mixed(viva_binary op, int turned) {
  switch (op) {
  case VIVA_EQUAL: return mixed_equal;
  case VIVA_NOT_EQUAL: return mixed_not_equal;
  case VIVA_GREATER: return turned ? mixed_less : mixed_greater;
  case VIVA_GREATER_EQUAL: return turned ? mixed_less_equal : mixed_greater_equal;
  case VIVA_LESS: return turned ? mixed_greater : mixed_less;
  default: return turned ? mixed_greater_equal : mixed_less_equal;
  }
}
