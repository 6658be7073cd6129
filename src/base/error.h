/* base/error.h: how the library's own code fills a viva_error. Every function accepts error == NULL. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "viva/status.h"

/* Sets code and message (printf style), clears the place, returns code: `return error_set(error, VIVA_E_SIZE, ...)`. */
viva_status error_set(viva_error *error, viva_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds the place to an error that was set. NULL (or VIVA_NO_OFFSET) leaves a part as it is. Bytes that are not
 * printable UTF-8 are escaped as \xNN. item_bytes < 0 means a zero-ended item. */
void error_at(viva_error *error, const char *file, const char *item, ptrdiff_t item_bytes, uint64_t offset);

/* For an error that was set: its item is an option or an argument. Returns code. */
viva_status error_option(viva_error *error, viva_status code, const char *option);

/* Copies text for a message: control characters and invalid UTF-8 as \xNN, cut with "..." at size. Returns buffer. */
const char *error_quote(char *buffer, size_t size, const char *text, size_t bytes);

/* Returns the status of a failed call at once. */
#define TRY(call)                                                                                                      \
  do {                                                                                                                 \
    viva_status try_status = (call);                                                                                   \
    if (try_status != VIVA_OK) return try_status;                                                                      \
  } while (0)

#endif
