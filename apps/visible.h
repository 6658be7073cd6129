/* visible.h: text from files for a terminal: what viva_visible refuses is shown as \xNN. */
#ifndef APPS_VISIBLE_H
#define APPS_VISIBLE_H

#include <stddef.h>

/* Copies bytes of text to the zero-ended buffer, cut between characters at size. Returns buffer. Safe in a signal handler.
 *
 * keep: characters that stay as they are, "\n" for text of several lines; or ""
 * size: 1 or more */
const char *visible_copy(char *buffer, size_t size, const char *text, size_t bytes, const char *keep);

#endif
