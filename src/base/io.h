/* base/io.h: all file access of the library goes through this table, so that any call can be made to fail.
 *
 * Functions return 0 or more on success and a negative errno on failure. They may be interrupted or short as the
 * system's are; the io_* helpers below the table loop until done.
 */
#ifndef BASE_IO_H
#define BASE_IO_H

#include "base/error.h"

typedef struct io_stat {
  uint64_t bytes;
  uint64_t device, inode;
  int64_t mtime_ns;
  int is_folder;
  int is_file; /* a regular file */
  int is_link; /* a symbolic link: only from look */
} io_stat;

typedef enum io_open_mode { IO_READ = 0, IO_CREATE_NEW = 1 /* write; fails when it exists */ } io_open_mode;

typedef struct io_table {
  int (*open)(void *user, const char *path, io_open_mode mode); /* a handle ≥ 0. Close-on-exec, never a terminal */
  int (*stat)(void *user, int handle, io_stat *stat);
  int (*stat_path)(void *user, const char *path, io_stat *stat);
  int64_t (*read_at)(void *user, int handle, void *data, size_t bytes, uint64_t offset); /* bytes read; 0 at the end */
  int (*map)(void *user, int handle, size_t bytes, void **address);                      /* read-only, private */
  int (*unmap)(void *user, void *address, size_t bytes);
  int64_t (*write_at)(void *user, int handle, const void *data, size_t bytes, uint64_t offset);
  int (*sync)(void *user, int handle);
  int (*sync_folder)(void *user, const char *folder);
  int (*rename)(void *user, const char *from, const char *to);
  /* The same, but what is at `to` is never replaced: -EEXIST. Atomic; where a file system can only be asked first, nothing
   * but an empty folder that appears in between is lost. */
  int (*rename_new)(void *user, const char *from, const char *to);
  int (*exchange)(void *user, const char *a, const char *b);     /* in one step; -EINVAL where a file system cannot */
  int (*look)(void *user, const char *path, io_stat *stat);      /* at the name itself: links are not followed */
  int (*lock)(void *user, int handle);                           /* until it is closed; -EWOULDBLOCK: another has it */
  int (*space)(void *user, const char *folder, uint64_t *bytes); /* that are free there; UINT64_MAX: unknown */
  int (*remove)(void *user, const char *path);
  int (*close)(void *user, int handle);
  /* Calls visit for each name in folder (without . and ..), in any order; stops when visit returns nonzero. */
  int (*list)(void *user, const char *folder, int (*visit)(void *arg, const char *name), void *arg);
  int (*make_folder)(void *user, const char *path);   /* fails when it exists */
  int (*remove_folder)(void *user, const char *path); /* an empty one */
  void *user;
} io_table;

/* The system's calls. */
extern const io_table io_system;

/* The error of a failed table call: E_IO, "cannot ACTION: the system's reason (a hint)", with path. result is the
 * negative errno that the call returned. */
viva_status io_fail(viva_error *error, const char *action, const char *path, int64_t result);

/* A file opened for reading. */
typedef struct io_file {
  const io_table *io;
  int handle;
  io_stat stat;
  const char *path; /* the caller's string, which must outlive the file */
} io_file;

/* Opens a regular file (no device, pipe or folder) for reading. Errors: E_IO with path, the system's reason and, where
 * there is one, a hint. */
viva_status io_open(const io_table *io, const char *path, io_file *file, viva_error *error);
void io_close(io_file *file);

/* Reads exactly bytes at offset. A file that ends early is E_IO: "ends at byte N, expected M". */
viva_status io_read(const io_file *file, void *data, size_t bytes, uint64_t offset, viva_error *error);

/* Maps the whole file read-only. bytes 0 gives NULL. */
viva_status io_map(const io_file *file, const void **address, viva_error *error);
void io_unmap(const io_table *io, const void *address, size_t bytes);

#endif
