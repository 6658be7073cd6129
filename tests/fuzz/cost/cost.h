/* tests/fuzz/cost/cost.h: what one input may cost a fuzz target. More is a find, as a crash is.
 *
 * cost.c is the entry that libFuzzer calls; CMake names a target's own entry fuzz_one. Work is counted and not timed, so that a
 * find is one on every machine: each edge of the control flow is a unit, and so are 16 bytes of a memcpy, memcmp and their
 * like. Memory is what is allocated at once, of all that the input asks for.
 */
#ifndef TESTS_FUZZ_COST_H
#define TESTS_FUZZ_COST_H

#include <stddef.h>
#include <stdint.h>

typedef struct fuzz_cost {
  uint64_t work, byte_work;     /* units for each input, and for each of its bytes */
  uint64_t memory, byte_memory; /* bytes, likewise */
} fuzz_cost;

/* Those of the target by this name ("fuzz_json"). */
const fuzz_cost *fuzz_cost_get(const char *target);

#endif
