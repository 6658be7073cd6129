/* tests/lib/power_io.h: what a power cut could leave of a folder, after what a program did in it.
 *
 * The table does everything for real and writes down what it did. A cut is then replayed at every place of that list: of
 * what a sync had not made durable by then, any part may be on the disk and any part not, in whatever order (the model of
 * ALICE, Pillai et al., OSDI 2014, with no order promised between operations). An operation is one entry of a folder set or
 * removed, both entries of a rename together, or one write into a file.
 */
#ifndef TESTS_POWER_IO_H
#define TESTS_POWER_IO_H

#include "base/io.h"

typedef struct power_io power_io;

/* root: an existing folder; all that happens in it and in its folders is recorded. */
power_io *power_io_create(const char *root);
void power_io_free(power_io *p);
const io_table *power_io_table(power_io *p);

/* Replays cuts at every place, tries times each (the first with nothing and the second with all of what was not durable), and
 * returns in how many of them root/name was neither what it was at the beginning nor what it is now, whole. *states: replays. */
size_t power_io_replay(power_io *p, const char *name, size_t tries, size_t *states);

#endif
