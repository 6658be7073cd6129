/* base/io.c: reading files through an io_table, with every failure explained. */
#include "base/io.h"

#include <errno.h>

#include "base/ck.h"

typedef struct reason_row {
  int number;
  const char *reason;
  const char *hint; /* what to do next, or NULL */
} reason_row;

/* Our own texts: strerror's depend on the locale. */
static const reason_row reasons[] = {
    {ENOENT, "no such file or folder", "check the path"},
    {EACCES, "permission denied", "check the permissions of the file and of the folders above it"},
    {EPERM, "the system does not permit it", "check the permissions of the file and of the folders above it"},
    {ENOTDIR, "a part of the path is not a folder", "check the path"},
    {EISDIR, "it is a folder", "give the path of a file"},
    {EEXIST, "it exists already", NULL},
    {ENAMETOOLONG, "the path is too long", NULL},
    {ELOOP, "the path goes through too many symbolic links", NULL},
    {ENXIO, "it is a socket or a pipe without a reader", "give the path of a regular file"},
    {ENODEV, "it cannot be mapped", "read it instead of mapping it"},
    {EMFILE, "this process has too many open files", "raise the limit with ulimit -n"},
    {ENFILE, "the system has too many open files", "close other programs"},
    {ENOMEM, "the system is out of memory", "free some memory, or choose a smaller model"},
    {ENOSPC, "no space is left on the device", "free some space and try again"},
    {EDQUOT, "the disk quota is used up", "free some space and try again"},
    {EFBIG, "no file may be so large here", "choose another place, or raise the limit with ulimit -f"},
    {EOVERFLOW, "the offset is larger than a file can be", NULL},
    {EROFS, "the file system is read-only", "choose another place"},
    {EIO, "the device reported an input/output error", "check the disk; fetch the file again"},
    {ESTALE, "the file's server no longer knows it", "mount the file system again"},
    {EBUSY, "it is in use", NULL},
    {ETXTBSY, "it is a program that is running", NULL},
    {EXDEV, "it would have to move to another file system", NULL},
    {EINVAL, "the file system does not support it", NULL},
    {ENOTEMPTY, "the folder is not empty", NULL},
    {EBADF, "the file is not open", NULL},
};

viva_status io_fail(viva_error *error, const char *action, const char *path, int64_t result) {
  int number = result < 0 && result > -4096 ? (int)-result : 0; /* the kernel's errno values are below 4096 */
  const reason_row *row = NULL;
  for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
    if (reasons[i].number == number) row = &reasons[i];
  if (!row)
    error_set(error, VIVA_E_IO, "cannot %s: system error %d", action, number);
  else if (!row->hint)
    error_set(error, VIVA_E_IO, "cannot %s: %s", action, row->reason);
  else
    error_set(error, VIVA_E_IO, "cannot %s: %s; %s", action, row->reason, row->hint);
  error_at(error, path, NULL, 0, VIVA_NO_OFFSET);
  return VIVA_E_IO;
}

static viva_status check_regular(io_file *file, viva_error *error) {
  int result;
  do result = file->io->stat(file->io->user, file->handle, &file->stat);
  while (result == -EINTR);
  if (result < 0) return io_fail(error, "look at the file", file->path, result);
  if (file->stat.is_file) return VIVA_OK;
  error_set(error, VIVA_E_IO, "expected a file, found a %s; give the path of a regular file",
            file->stat.is_folder ? "folder" : "device, pipe or socket");
  error_at(error, file->path, NULL, 0, VIVA_NO_OFFSET);
  return VIVA_E_IO;
}

viva_status io_open(const io_table *io, const char *path, io_file *file, viva_error *error) {
  *file = (io_file){.io = io, .handle = -1, .path = path};
  if (path[0] == 0) return error_set(error, VIVA_E_ARGUMENT, "the path of the file to read is empty");
  int handle;
  do handle = io->open(io->user, path, IO_READ);
  while (handle == -EINTR);
  if (handle < 0) return io_fail(error, "open the file", path, handle);
  file->handle = handle;
  viva_status status = check_regular(file, error);
  if (status != VIVA_OK) io_close(file);
  return status;
}

void io_close(io_file *file) {
  if (file->handle < 0) return;
  (void)file->io->close(file->io->user, file->handle); /* nothing was written: nothing can be lost */
  file->handle = -1;
}

static viva_status fail_short(const io_file *file, uint64_t end, uint64_t wanted, viva_error *error) {
  error_set(error, VIVA_E_IO,
            "the file ends at byte %llu but %llu more bytes were expected there: it was truncated; fetch it again",
            (unsigned long long)end, (unsigned long long)wanted);
  error_at(error, file->path, NULL, 0, end);
  return VIVA_E_IO;
}

viva_status io_read(const io_file *file, void *data, size_t bytes, uint64_t offset, viva_error *error) {
  uint64_t end;
  if (ck_add(offset, bytes, &end)) return io_fail(error, "read the file", file->path, -EOVERFLOW);
  for (size_t done = 0; done < bytes;) {
    int64_t got = file->io->read_at(file->io->user, file->handle, (char *)data + done, bytes - done, offset + done);
    if (got == -EINTR) continue;
    if (got < 0) {
      (void)io_fail(error, "read the file", file->path, got);
      error_at(error, NULL, NULL, 0, offset + done);
      return VIVA_E_IO;
    }
    if (got == 0) return fail_short(file, offset + done, bytes - done, error);
    done += (uint64_t)got <= bytes - done ? (size_t)got : bytes - done;
  }
  return VIVA_OK;
}

viva_status io_map(const io_file *file, const void **address, viva_error *error) {
  *address = NULL;
  size_t bytes;
  if (file->stat.bytes == 0) return VIVA_OK;
  if (ck_size(file->stat.bytes, &bytes)) return io_fail(error, "map the file", file->path, -ENOMEM);
  void *mapped = NULL;
  int result = file->io->map(file->io->user, file->handle, bytes, &mapped);
  if (result < 0) return io_fail(error, "map the file", file->path, result);
  *address = mapped;
  return VIVA_OK;
}

void io_unmap(const io_table *io, const void *address, size_t bytes) {
  if (address) (void)io->unmap(io->user, (void *)(uintptr_t)address, bytes);
}
