/* base/options.c */
#include "base/options.h"

#include <string.h>

/* No client can hold a struct longer than this: a larger size was never set. */
#define LARGEST 4096

/* A struct that begins with a size_t is a whole number of them long. So nothing that is copied ends within a pointer. */
static viva_status read_size(const void *given, const char *name, size_t *size, viva_error *error) {
  memcpy(size, given, sizeof *size);
  if (*size >= 2 * sizeof *size && *size <= LARGEST && *size % sizeof *size == 0) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "%s says it is %zu bytes long; set its size member to sizeof(%s)", name, *size,
            name);
  error_at(error, NULL, "size", -1, VIVA_NO_OFFSET);
  return VIVA_E_ARGUMENT;
}

viva_status options_read(void *options, const void *given, const char *name, viva_error *error) {
  size_t ours, theirs;
  if (!given) return VIVA_OK;
  TRY(read_size(given, name, &theirs, error));
  memcpy(&ours, options, sizeof ours);
  for (size_t i = ours; i < theirs; i++)
    if (((const char *)given)[i] != 0)
      return error_set(error, VIVA_E_ARGUMENT,
                       "%s has fields that this version of viva does not know (%zu bytes given, "
                       "%zu known); leave them zero or update the library",
                       name, theirs, ours);
  memcpy(options, given, theirs < ours ? theirs : ours);
  memcpy(options, &ours, sizeof ours);
  return VIVA_OK;
}

viva_status options_reserved(int64_t reserved, const char *name, viva_error *error) {
  if (reserved == 0) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "the reserved member of %s is %lld; expected 0", name, (long long)reserved);
  return error_option(error, VIVA_E_ARGUMENT, "reserved");
}

viva_status options_fill(void *given, const void *filled, const char *name, viva_error *error) {
  size_t ours, theirs;
  if (!given) return error_set(error, VIVA_E_ARGUMENT, "%s is NULL; give a struct whose size member is set", name);
  TRY(read_size(given, name, &theirs, error));
  memcpy(&ours, filled, sizeof ours);
  memcpy(given, filled, theirs < ours ? theirs : ours);
  memcpy(given, &theirs, sizeof theirs);
  return VIVA_OK;
}
