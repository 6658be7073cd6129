/* wrap.h: sentences that fit a narrow terminal. */
#ifndef APPS_WRAP_H
#define APPS_WRAP_H

#include <stddef.h>

/* Copies text with line ends in place of blanks where a line would have more than `columns` characters, and `indent` blanks
 * behind each. columns 0: as it is. A word longer than a line stays whole. Cut to size, zero-ended. Returns the bytes. */
size_t wrap_text(char *out, size_t size, const char *text, int columns, int indent);

#endif
