/* tensor/reducers_plain.c: the loops of reductions for any processor, and the choice. */
#define REDUCERS reducers_plain
#include "tensor/reducers_body.h"

#include "base/cpu.h"

const reducers *reducers_get(void) {
  const reducers *fast = cpu_get()->avx2 ? reducers_avx2() : NULL;
  return fast ? fast : reducers_plain();
}
