/* paste.h: bracketed paste: a terminal that is asked to says where a pasted text begins and ends, so that its line ends are
 * text and not the Enter key.
 */
#ifndef APPS_PASTE_H
#define APPS_PASTE_H

#include <stddef.h>

#define PASTE_ON  "\033[?2004h"
#define PASTE_OFF "\033[?2004l"

typedef struct paste {
  char ahead[8]; /* bytes that were looked at and come again */
  size_t ahead_count;
  char *text; /* what was pasted: zero-ended, line ends as \n, without other control characters but tabs */
  size_t bytes, room;
} paste;

/* Reads one byte from standard input. wait: 1 when there is one (or the end), 0: give up. Returns as read(2). *pasted: 1 when a
 * paste was there instead, and stands in p->text. */
int paste_read(paste *p, int (*wait)(void), char *byte, int *pasted);

void paste_free(paste *p);

#endif
