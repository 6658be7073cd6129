/* units.h: sizes and counts for people, and printf into a buffer. */
#ifndef APPS_UNITS_H
#define APPS_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* snprintf that returns what it has written, without the zero byte: a text that does not fit is cut. size: 1 or more */
size_t text_format(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* "93.81 MiB", "1.10 GiB", "512 B" */
void units_bytes(uint64_t bytes, char *text, size_t size);

/* "134.52 M", "1.10 B", "512": as llama-bench writes numbers of parameters. */
void units_count(uint64_t count, char *text, size_t size);

#endif
