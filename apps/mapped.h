/* mapped.h: which file is mapped at an address. */
#ifndef APPS_MAPPED_H
#define APPS_MAPPED_H

#include <stddef.h>

/* Writes the path, made visible, to name (cut to fit). 0: nothing is, or the system does not say. May be called from a signal
 * handler: it uses system calls and the stack only. */
int mapped_file(const void *address, char *name, size_t size);

#endif
