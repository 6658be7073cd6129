/* base/io_system.c: the io_table of the operating system. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/io.h"

/* Bytes of one read or write: between two of them a signal's handler runs, which it must within 0.2 s of any disk. */
#define MAX_TRANSFER ((size_t)4 << 20)

static int system_open(void *user, const char *path, io_open_mode mode) {
  (void)user;
  /* O_NONBLOCK: opening a pipe that nobody writes to must not hang. It changes nothing for regular files. */
  int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (mode == IO_READ ? O_RDONLY : O_WRONLY | O_CREAT | O_EXCL);
  int handle;
  do handle = open(path, flags, 0666);
  while (handle < 0 && errno == EINTR);
  return handle < 0 ? -errno : handle;
}

static void fill_stat(const struct stat *from, io_stat *to) {
  *to = (io_stat){
      .bytes = from->st_size < 0 ? 0 : (uint64_t)from->st_size,
      .device = (uint64_t)from->st_dev,
      .inode = (uint64_t)from->st_ino,
      .mtime_ns = (int64_t)from->st_mtim.tv_sec * 1000000000 + (int64_t)from->st_mtim.tv_nsec,
      .is_folder = S_ISDIR(from->st_mode),
      .is_file = S_ISREG(from->st_mode),
      .is_link = S_ISLNK(from->st_mode),
  };
}

static int system_stat(void *user, int handle, io_stat *out) {
  (void)user;
  struct stat found;
  if (fstat(handle, &found) != 0) return -errno;
  fill_stat(&found, out);
  return 0;
}

static int system_stat_path(void *user, const char *path, io_stat *out) {
  (void)user;
  struct stat found;
  if (stat(path, &found) != 0) return -errno;
  fill_stat(&found, out);
  return 0;
}

static int64_t system_read_at(void *user, int handle, void *data, size_t bytes, uint64_t offset) {
  (void)user;
  if (offset > INT64_MAX) return -EOVERFLOW;
  ssize_t done;
  do done = pread(handle, data, bytes < MAX_TRANSFER ? bytes : MAX_TRANSFER, (off_t)offset);
  while (done < 0 && errno == EINTR);
  return done < 0 ? -errno : done;
}

static int64_t system_write_at(void *user, int handle, const void *data, size_t bytes, uint64_t offset) {
  (void)user;
  if (offset > INT64_MAX) return -EFBIG;
  ssize_t done;
  do done = pwrite(handle, data, bytes < MAX_TRANSFER ? bytes : MAX_TRANSFER, (off_t)offset);
  while (done < 0 && errno == EINTR);
  return done < 0 ? -errno : done;
}

static int system_map(void *user, int handle, size_t bytes, void **address) {
  (void)user;
  void *mapped = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, handle, 0);
  if (mapped == MAP_FAILED) return -errno;
  *address = mapped;
  return 0;
}

static int system_unmap(void *user, void *address, size_t bytes) {
  (void)user;
  return munmap(address, bytes) != 0 ? -errno : 0;
}

static int system_sync(void *user, int handle) {
  (void)user;
  int result;
  do result = fsync(handle);
  while (result != 0 && errno == EINTR);
  return result != 0 ? -errno : 0;
}

static int system_sync_folder(void *user, const char *folder) {
  int handle;
  do handle = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  while (handle < 0 && errno == EINTR);
  if (handle < 0) return -errno;
  int result = system_sync(user, handle);
  (void)close(handle);
  /* Some file systems have no sync of folders; they say so with EINVAL, and there is nothing more to be done. */
  return result == -EINVAL || result == -EOPNOTSUPP ? 0 : result;
}

static int system_rename(void *user, const char *from, const char *to) {
  (void)user;
  return rename(from, to) != 0 ? -errno : 0;
}

static int system_look(void *user, const char *path, io_stat *out) {
  (void)user;
  struct stat found;
  if (lstat(path, &found) != 0) return -errno;
  fill_stat(&found, out);
  return 0;
}

/* For file systems without RENAME_NOREPLACE. link never replaces; rename of a folder replaces an empty folder at most. */
static int rename_asking_first(const char *from, const char *to) {
  struct stat found;
  if (lstat(to, &found) == 0) return -EEXIST;
  if (lstat(from, &found) != 0) return -errno;
  if (!S_ISDIR(found.st_mode)) {
    if (link(from, to) != 0) return -errno;
    (void)unlink(from); /* it has its name; a second one does no harm */
    return 0;
  }
  if (rename(from, to) == 0) return 0;
  return errno == ENOTEMPTY || errno == ENOTDIR ? -EEXIST : -errno;
}

static int system_rename_new(void *user, const char *from, const char *to) {
  (void)user;
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
  return errno == EINVAL || errno == ENOSYS ? rename_asking_first(from, to) : -errno;
}

static int system_exchange(void *user, const char *a, const char *b) {
  (void)user;
  if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0) return 0;
  return errno == ENOSYS ? -EINVAL : -errno;
}

static int system_lock(void *user, int handle) {
  (void)user;
  return flock(handle, LOCK_EX | LOCK_NB) != 0 ? -errno : 0;
}

static int system_space(void *user, const char *folder, uint64_t *bytes) {
  (void)user;
  struct statvfs found;
  if (statvfs(folder, &found) != 0) return -errno;
  /* Some file systems of the network count nothing. */
  if (found.f_blocks == 0 || __builtin_mul_overflow(found.f_bavail, found.f_frsize, bytes)) *bytes = UINT64_MAX;
  return 0;
}

static int system_remove(void *user, const char *path) {
  (void)user;
  return unlink(path) != 0 ? -errno : 0;
}

static int system_close(void *user, int handle) {
  (void)user;
  /* After EINTR Linux has closed the handle: a second try could close somebody else's. */
  return close(handle) != 0 && errno != EINTR ? -errno : 0;
}

static int system_list(void *user, const char *folder, int (*visit)(void *arg, const char *name), void *arg) {
  (void)user;
  DIR *open_folder = opendir(folder);
  if (!open_folder) return -errno;
  const struct dirent *entry;
  errno = 0;
  while ((entry = readdir(open_folder))) {
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && visit(arg, entry->d_name) != 0) {
      errno = 0;
      break;
    }
    errno = 0;
  }
  int result = -errno;
  (void)closedir(open_folder);
  return result;
}

static int system_make_folder(void *user, const char *path) {
  (void)user;
  return mkdir(path, 0777) != 0 ? -errno : 0;
}

static int system_remove_folder(void *user, const char *path) {
  (void)user;
  return rmdir(path) != 0 ? -errno : 0;
}

const io_table io_system = {
    .open = system_open,
    .stat = system_stat,
    .stat_path = system_stat_path,
    .read_at = system_read_at,
    .map = system_map,
    .unmap = system_unmap,
    .write_at = system_write_at,
    .sync = system_sync,
    .sync_folder = system_sync_folder,
    .rename = system_rename,
    .rename_new = system_rename_new,
    .exchange = system_exchange,
    .look = system_look,
    .lock = system_lock,
    .space = system_space,
    .remove = system_remove,
    .close = system_close,
    .list = system_list,
    .make_folder = system_make_folder,
    .remove_folder = system_remove_folder,
    .user = NULL,
};
