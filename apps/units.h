/* units.h: sizes and counts for people. */
#ifndef APPS_UNITS_H
#define APPS_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* "93.81 MiB", "1.10 GiB", "512 B" */
void units_bytes(uint64_t bytes, char *text, size_t size);

/* "134.52 M", "1.10 B", "512": as llama-bench writes numbers of parameters. */
void units_count(uint64_t count, char *text, size_t size);

#endif
