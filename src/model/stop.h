/* model/stop.h: finds stop strings in text that arrives byte by byte, wherever its pieces are cut. */
#ifndef MODEL_STOP_H
#define MODEL_STOP_H

#include "base/mem.h"

typedef struct stop_matcher stop_matcher;

/* Strings must not be empty; they are copied. NULL: no memory. */
stop_matcher *stop_create(mem *m, const char *const *strings, size_t count);
void stop_free(mem *m, stop_matcher *s); /* NULL is allowed */

/* Takes the next byte. Returns the length of the longest stop string that ends with it, or 0. */
size_t stop_feed(stop_matcher *s, char byte);

/* How many of the last bytes may be the beginning of a stop string. */
size_t stop_held(const stop_matcher *s);

#endif
