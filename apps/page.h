/* page.h: a page of HTML as a file that appears whole or not at all. */
#ifndef APPS_PAGE_H
#define APPS_PAGE_H

#include "output.h"

/* Writes a file's contents; what: the caller's. */
typedef void (*page_fn)(output *out, const void *what);

/* Into a file that output_begin has begun; ends it. Returns 0, or the exit code after a message. */
int page_write(viva_file *file, page_fn put, const void *what);

/* Text between tags: markup and bytes that are no UTF-8 lose their meaning. */
void page_text(output *out, const char *text);

/* The beginning of a page, up to its body; more: rules of style beside the common ones. The end is </body></html>. */
void page_begin(output *out, const char *title, const char *more);

#endif
