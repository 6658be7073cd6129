/* tensor/loops_plain.c: the loops for any processor: the reference. */
#define LOOPS loops_plain
#include "tensor/loops_body.h"
