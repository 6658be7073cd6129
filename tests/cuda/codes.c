/* tests/cuda/codes.c: what C makes of the decoders. */
#include "codes.h"

uint32_t decode_code_in_c(int format, uint32_t code) { return decode_code(format, code); }
