/* base/options.h: option structs that grow: clients compiled against older or newer headers keep working. */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include "base/error.h"

/* Lays the caller's struct (whose first member, a size_t, says how long it is) over *options, which holds the defaults
 * and its own size. given NULL leaves the defaults. A shorter struct leaves the later fields at their defaults; a
 * longer one must hold zeros in the part that this version does not know. name is for the message. Errors: E_ARGUMENT
 * (also a size that is no multiple of sizeof(size_t), which could end within a pointer). */
viva_status options_read(void *options, const void *given, const char *name, viva_error *error);

/* A reserved member, which later versions may give a meaning: E_ARGUMENT unless it is 0. name: of the struct. */
viva_status options_reserved(int64_t reserved, const char *name, viva_error *error);

/* For structs that the caller provides and the library fills (their size member set by the caller): copies from the
 * complete *filled as much as the caller's struct holds and keeps its size. Errors: E_ARGUMENT (NULL or too small). */
viva_status options_fill(void *given, const void *filled, const char *name, viva_error *error);

#endif
