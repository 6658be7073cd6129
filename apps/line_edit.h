/* line_edit.h: lines that a person types: edited with libedit on a terminal (where the program was built with it),
 * read as they are elsewhere.
 */
#ifndef APPS_LINE_EDIT_H
#define APPS_LINE_EDIT_H

#include <stddef.h>

typedef struct line_edit line_edit;

typedef enum line_status { LINE_READ, LINE_END, LINE_INTERRUPTED, LINE_FAILED } line_status;

/* NULL: no memory. */
line_edit *line_edit_open(void);
void line_edit_close(line_edit *edit); /* NULL is allowed */

/* 1 when standard input is a terminal: prompts are shown, and lines edited. */
int line_edit_terminal(const line_edit *edit);

/* Reads one line, without its end. *line is valid until the next call. END: Ctrl-D, or the end of the input.
 * INTERRUPTED: Ctrl-C; what was typed is gone. FAILED: errno says why. */
line_status line_edit_read(line_edit *edit, const char *prompt, const char **line);

#endif
