/* tests/lib/schedule.h: what a server may do with the sessions of a model, as bytes: steps of any parts, prefill, decode, copies,
 * truncation, an empty pool. After each operation every session must hold what it would hold alone, bit for bit. */
#ifndef TESTS_SCHEDULE_H
#define TESTS_SCHEDULE_H

#include "viva/viva.h"

enum { SCHEDULE_SESSIONS = 12, SCHEDULE_CAPACITY = 200 };

/* Runs the schedule on sessions of the model, which has vocab tokens; calls abort, after a message, when something is not as it
 * must be. The pool of the model may have a limit. Returns how many operations were done; *refused of them found no page. */
size_t schedule_run(viva_model *model, size_t vocab, const uint8_t *bytes, size_t count, size_t *refused);

#endif
