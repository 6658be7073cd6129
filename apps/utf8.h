/* utf8.h: where a UTF-8 character ends. */
#ifndef APPS_UTF8_H
#define APPS_UTF8_H

#include <stddef.h>

/* Length of the well-formed UTF-8 character at the beginning of text (1 to 4), or 0 when there is none. */
size_t utf8_length(const char *text, size_t bytes);

#endif
