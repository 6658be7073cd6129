/* viva/file.h: a file that appears whole under its name, or not at all.
 *
 *   viva_file *file;
 *   viva_file_options options = viva_file_options_default();
 *   viva_file_open("page.html", &options, &file, &error);
 *   viva_file_write(file, text, bytes, &error);               as often as needed
 *   viva_file_commit(file, &error);                           or viva_file_abort(file)
 *
 * It is written as PATH.viva-N.tmp in the same folder, beside a PATH.viva-N.lock, and renamed when all of it is on the disk.
 * What a killed process left of these is removed by the next one that writes to PATH.
 */
#ifndef VIVA_FILE_H
#define VIVA_FILE_H

#include "viva/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct viva_file viva_file;

typedef struct viva_file_options {
  size_t size;      /* sizeof(viva_file_options) */
  int32_t replace;  /* 1 (the default): a file that is there already is replaced */
  int32_t reserved; /* 0 */
  const char *const
      *inputs; /* files, or folders of files, that are never replaced, by whatever name or link; or NULL */
  size_t input_count;
  const viva_allocator *allocator; /* NULL: the C library's */
} viva_file_options;

VIVA_API viva_file_options viva_file_options_default(void);

/* Makes the temporary file, so that a place that cannot be written to is known before the work.
 * Errors: E_ARGUMENT (path is one of the inputs), E_IO (something is there and replace is 0; a link, a folder or a device is
 * there; an input cannot be looked at; the system's refusals), E_MEMORY. On error *file is NULL.
 *
 * options: NULL: the defaults
 * file:    to be ended with viva_file_commit or viva_file_abort. One thread at a time */
VIVA_API viva_status viva_file_open(const char *path, const viva_file_options *options, viva_file **file,
                                    viva_error *error);

/* Appends bytes. They are gathered, so that an error may be reported by a later call. Errors: E_IO; all later calls fail. */
VIVA_API viva_status viva_file_write(viva_file *file, const void *data, size_t bytes, viva_error *error);

/* To the disk, then the name. Ends file, also after an error; then path is as it was (but when the system refuses the last
 * sync, the new file is there, and the message says so). */
VIVA_API viva_status viva_file_commit(viva_file *file, viva_error *error);

/* Ends file and leaves path as it was. NULL is allowed. */
VIVA_API void viva_file_abort(viva_file *file);

#ifdef __cplusplus
}
#endif
#endif
