/* base/allowance.h: what opening files may cost: each byte that is there pays for memory and for work.
 *
 *   allowance_pay(&b, file_bytes);                                        for each file that is opened
 *   TRY(allowance_memory(&b, sizeof entry, "the list of names", path, error));     before it is asked for
 *   TRY(allowance_work(&b, states * characters, "its patterns", path, error));     before it is done
 *
 * Sizes that a file chooses are multiplied by sizes that it chooses elsewhere: a limit for each of them leaves their
 * products free. So all that grows with a count from a file is charged here, at its real cost; SECURITY.md promises the
 * sum.
 */
#ifndef BASE_ALLOWANCE_H
#define BASE_ALLOWANCE_H

#include "base/error.h"

#define ALLOWANCE_FREE_MEMORY                                                                                          \
  ((uint64_t)56 << 20)          /* promised are 64 MiB: the rest is for what allocators leave unused */
#define ALLOWANCE_BYTE_MEMORY 2 /* bytes for each byte of the files */
#define ALLOWANCE_FREE_WORK   ((uint64_t)50 * 1000 * 1000) /* units: about a nanosecond each, on a slow machine */
#define ALLOWANCE_BYTE_WORK   50 /* half of what is promised: reading and checking take the rest */

typedef struct allowance {
  uint64_t paid;         /* bytes of files */
  uint64_t memory, work; /* spent */
} allowance;

void allowance_pay(allowance *b, uint64_t file_bytes);

/* Memory that is left, for a limit on all that is asked for (mem.h). */
uint64_t allowance_memory_left(const allowance *b);

/* E_LIMIT: it is more than was paid for. what: "the list of tensors". path: the file, for the error's place. */
viva_status allowance_memory(allowance *b, uint64_t bytes, const char *what, const char *path, viva_error *error);
viva_status allowance_work(allowance *b, uint64_t units, const char *what, const char *path, viva_error *error);

#endif
