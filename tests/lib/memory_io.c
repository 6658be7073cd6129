#include "lib/memory_io.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILES = 512, MAX_HANDLES = 512 };

typedef struct memory_file {
  char *path; /* NULL: free slot */
  uint8_t *data;
  size_t bytes;
  int is_folder; /* one that was made: it exists without files too */
} memory_file;

struct memory_io {
  io_table table;
  memory_file files[MAX_FILES];
  int handles[MAX_HANDLES]; /* index into files + 1; 0: free */
  int locked[MAX_HANDLES];
  _Atomic int open_count;
  _Atomic uint64_t calls;
  uint64_t fail_at; /* as a value of calls */
  int fail_error, fail_persistent;
  _Atomic int failed;
  size_t short_bytes;
};

/* A test that cannot go on. */
static void *need(void *block) {
  if (block == NULL) abort();
  return block;
}

static int faulty(memory_io *m) {
  uint64_t call = atomic_fetch_add(&m->calls, 1) + 1;
  if (m->fail_at == 0 || call < m->fail_at || (call > m->fail_at && !m->fail_persistent)) return 0;
  atomic_store(&m->failed, 1);
  return 1;
}

static memory_file *file_find(const memory_io *m, const char *path) {
  for (size_t i = 0; i < MAX_FILES; i++)
    if (m->files[i].path && strcmp(m->files[i].path, path) == 0) return (memory_file *)&m->files[i];
  return NULL;
}

static memory_file *file_new(memory_io *m, const char *path) {
  for (size_t i = 0; i < MAX_FILES; i++) {
    if (m->files[i].path) continue;
    m->files[i].path = need(strdup(path));
    return &m->files[i];
  }
  abort();
}

static void file_drop(memory_file *file) {
  free(file->path);
  free(file->data);
  *file = (memory_file){0};
}

static memory_file *file_of(const memory_io *m, int handle) {
  return handle < 0 || handle >= MAX_HANDLES || m->handles[handle] == 0
             ? NULL
             : (memory_file *)&m->files[m->handles[handle] - 1];
}

/* The name below folder, when path lies directly in it; else NULL. */
static const char *name_in(const char *folder, const char *path) {
  size_t n = strlen(folder);
  while (n > 1 && folder[n - 1] == '/') n--;
  if (n == 1 && folder[0] == '.' && path[0] != '/') return path;
  if (strncmp(folder, path, n) != 0) return NULL;
  if (n == 1 && folder[0] == '/') return path + 1;
  return path[n] == '/' ? path + n + 1 : NULL;
}

static void stat_file(const memory_io *m, const memory_file *file, io_stat *stat) {
  *stat = (io_stat){.bytes = file->bytes, .inode = (uint64_t)(file - m->files) + 1, .is_file = 1};
}

/* Folders have no slot of their own: their number is made of their name. */
static void stat_folder(const char *path, io_stat *stat) {
  uint64_t inode = 14695981039346656037u;
  for (; *path != 0; path++) inode = (inode ^ (unsigned char)*path) * 1099511628211u;
  *stat = (io_stat){.inode = inode, .device = 1, .is_folder = 1};
}

static int is_folder(const memory_io *m, const char *path) {
  for (size_t i = 0; i < MAX_FILES; i++)
    if (m->files[i].path &&
        (name_in(path, m->files[i].path) || (m->files[i].is_folder && !strcmp(m->files[i].path, path))))
      return 1;
  return 0;
}

static int table_open(void *user, const char *path, io_open_mode mode) {
  memory_io *m = user;
  if (faulty(m)) return -m->fail_error;
  memory_file *file = file_find(m, path);
  if (mode == IO_CREATE_NEW && file) return -EEXIST;
  if (mode == IO_READ && !file) return -ENOENT;
  if (mode == IO_READ && file->is_folder) return -EISDIR;
  for (int h = 0; h < MAX_HANDLES; h++) {
    if (m->handles[h]) continue;
    if (!file) file = file_new(m, path);
    m->handles[h] = (int)(file - m->files) + 1;
    atomic_fetch_add(&m->open_count, 1);
    return h;
  }
  return -EMFILE;
}

static int table_stat(void *user, int handle, io_stat *stat) {
  memory_io *m = user;
  if (faulty(m)) return -m->fail_error;
  const memory_file *file = file_of(m, handle);
  if (!file) return -EBADF;
  stat_file(m, file, stat);
  return 0;
}

static int table_stat_path(void *user, const char *path, io_stat *stat) {
  memory_io *m = user;
  if (faulty(m)) return -m->fail_error;
  if (is_folder(m, path)) {
    stat_folder(path, stat);
    return 0;
  }
  const memory_file *file = file_find(m, path);
  if (!file) return -ENOENT;
  stat_file(m, file, stat);
  return 0;
}

static size_t limited(const memory_io *m, size_t bytes) {
  return m->short_bytes && bytes > m->short_bytes ? m->short_bytes : bytes;
}

static int64_t table_read_at(void *user, int handle, void *data, size_t bytes, uint64_t offset) {
  memory_io *m = user;
  if (faulty(m)) return -m->fail_error;
  const memory_file *file = file_of(m, handle);
  if (!file) return -EBADF;
  if (offset >= file->bytes) return 0;
  if (bytes > file->bytes - offset) bytes = (size_t)(file->bytes - offset);
  bytes = limited(m, bytes);
  if (bytes) memcpy(data, file->data + offset, bytes);
  return (int64_t)bytes;
}

static int table_map(void *user, int handle, size_t bytes, void **address) {
  memory_io *m = user;
  if (faulty(m)) return -m->fail_error;
  const memory_file *file = file_of(m, handle);
  if (!file || bytes == 0 || bytes > file->bytes) return -EINVAL;
  *address = need(malloc(bytes));
  memcpy(*address, file->data, bytes);
  atomic_fetch_add(&m->open_count, 1);
  return 0;
}

static int table_unmap(void *user, void *address, size_t bytes) {
  memory_io *m = user;
  (void)bytes;
  free(address);
  atomic_fetch_sub(&m->open_count, 1);
  return faulty(m) ? -m->fail_error : 0;
}

static int64_t table_write_at(void *user, int handle, const void *data, size_t bytes, uint64_t offset) {
  memory_io *m = user;
  if (faulty(m)) return -m->fail_error;
  memory_file *file = file_of(m, handle);
  if (!file) return -EBADF;
  bytes = limited(m, bytes);
  size_t end = (size_t)offset + bytes;
  if (end > file->bytes) {
    file->data = need(realloc(file->data, end));
    memset(file->data + file->bytes, 0, end - file->bytes);
    file->bytes = end;
  }
  if (bytes) memcpy(file->data + offset, data, bytes);
  return (int64_t)bytes;
}

static int table_sync(void *user, int handle) {
  memory_io *m = user;
  if (faulty(m)) return -m->fail_error;
  return file_of(m, handle) ? 0 : -EBADF;
}

static int table_sync_folder(void *user, const char *folder) {
  memory_io *m = user;
  (void)folder;
  return faulty(m) ? -m->fail_error : 0;
}

/* A folder, with all that lies in it. */
static int rename_folder(memory_io *m, const char *from, const char *to) {
  size_t before = strlen(from), after = strlen(to);
  if (is_folder(m, to)) return -ENOTEMPTY;
  for (size_t i = 0; i < MAX_FILES; i++) {
    memory_file *file = &m->files[i];
    if (!file->path || strncmp(file->path, from, before) != 0 || (file->path[before] != 0 && file->path[before] != '/'))
      continue;
    size_t rest = strlen(file->path + before) + 1;
    char *path = need(malloc(after + rest));
    memcpy(path, to, after);
    memcpy(path + after, file->path + before, rest);
    free(file->path);
    file->path = path;
  }
  return 0;
}

static int table_rename(void *user, const char *from, const char *to) {
  memory_io *m = user;
  if (faulty(m)) return -m->fail_error;
  if (is_folder(m, from)) return rename_folder(m, from, to);
  memory_file *file = file_find(m, from);
  if (!file) return -ENOENT;
  memory_file *old = file_find(m, to);
  if (old == file) return 0;
  if (old) file_drop(old);
  free(file->path);
  file->path = need(strdup(to));
  return 0;
}

static int table_rename_new(void *user, const char *from, const char *to) {
  memory_io *m = user;
  if (file_find(m, to) || is_folder(m, to)) return faulty(m) ? -m->fail_error : -EEXIST;
  return table_rename(user, from, to);
}

/* By way of a third name. */
static int table_exchange(void *user, const char *a, const char *b) {
  memory_io *m = user;
  if (faulty(m)) return -m->fail_error;
  if (!is_folder(m, a) || !is_folder(m, b)) return -ENOENT;
  rename_folder(m, a, "/exchange");
  rename_folder(m, b, a);
  return rename_folder(m, "/exchange", b);
}

static int table_lock(void *user, int handle) {
  memory_io *m = user;
  if (faulty(m)) return -m->fail_error;
  if (!file_of(m, handle)) return -EBADF;
  for (int h = 0; h < MAX_HANDLES; h++)
    if (m->locked[h] && m->handles[h] == m->handles[handle]) return -EWOULDBLOCK;
  m->locked[handle] = 1;
  return 0;
}

static int table_space(void *user, const char *folder, uint64_t *bytes) {
  memory_io *m = user;
  (void)folder;
  *bytes = UINT64_MAX;
  return faulty(m) ? -m->fail_error : 0;
}

static int table_remove(void *user, const char *path) {
  memory_io *m = user;
  if (faulty(m)) return -m->fail_error;
  memory_file *file = file_find(m, path);
  if (!file) return -ENOENT;
  if (file->is_folder) return -EISDIR;
  file_drop(file);
  return 0;
}

static int table_make_folder(void *user, const char *path) {
  memory_io *m = user;
  if (faulty(m)) return -m->fail_error;
  if (file_find(m, path) || is_folder(m, path)) return -EEXIST;
  file_new(m, path)->is_folder = 1;
  return 0;
}

static int table_remove_folder(void *user, const char *path) {
  memory_io *m = user;
  if (faulty(m)) return -m->fail_error;
  for (size_t i = 0; i < MAX_FILES; i++)
    if (m->files[i].path && name_in(path, m->files[i].path)) return -ENOTEMPTY;
  memory_file *file = file_find(m, path);
  if (!file || !file->is_folder) return file ? -ENOTDIR : -ENOENT;
  file_drop(file);
  return 0;
}

static int table_close(void *user, int handle) {
  memory_io *m = user;
  if (handle < 0 || handle >= MAX_HANDLES || m->handles[handle] == 0) return -EBADF;
  m->handles[handle] = m->locked[handle] = 0;
  atomic_fetch_sub(&m->open_count, 1);
  return faulty(m) ? -m->fail_error : 0;
}

static int table_list(void *user, const char *folder, int (*visit)(void *arg, const char *name), void *arg) {
  memory_io *m = user;
  if (faulty(m)) return -m->fail_error;
  if (!is_folder(m, folder)) return -ENOENT;
  for (size_t i = 0; i < MAX_FILES; i++) {
    const char *name = m->files[i].path ? name_in(folder, m->files[i].path) : NULL;
    if (name && !strchr(name, '/') && visit(arg, name)) break;
  }
  return 0;
}

memory_io *memory_io_create(void) {
  memory_io *m = need(calloc(1, sizeof *m));
  m->table = (io_table){.open = table_open,
                        .stat = table_stat,
                        .stat_path = table_stat_path,
                        .read_at = table_read_at,
                        .map = table_map,
                        .unmap = table_unmap,
                        .write_at = table_write_at,
                        .sync = table_sync,
                        .sync_folder = table_sync_folder,
                        .rename = table_rename,
                        .rename_new = table_rename_new,
                        .exchange = table_exchange,
                        .look = table_stat_path,
                        .lock = table_lock,
                        .space = table_space,
                        .remove = table_remove,
                        .close = table_close,
                        .list = table_list,
                        .make_folder = table_make_folder,
                        .remove_folder = table_remove_folder,
                        .user = m};
  return m;
}

void memory_io_free(memory_io *m) {
  if (!m) return;
  for (size_t i = 0; i < MAX_FILES; i++) file_drop(&m->files[i]);
  free(m);
}

const io_table *memory_io_table(memory_io *m) { return &m->table; }

void memory_io_put(memory_io *m, const char *path, const void *data, size_t bytes) {
  memory_file *file = file_find(m, path);
  if (!file) file = file_new(m, path);
  free(file->data);
  file->data = need(malloc(bytes ? bytes : 1));
  if (bytes) memcpy(file->data, data, bytes);
  file->bytes = bytes;
}

void memory_io_put_text(memory_io *m, const char *path, const char *text) {
  memory_io_put(m, path, text, strlen(text));
}

void memory_io_drop(memory_io *m, const char *beginning) {
  for (size_t i = 0; i < MAX_FILES; i++)
    if (m->files[i].path && strncmp(m->files[i].path, beginning, strlen(beginning)) == 0) file_drop(&m->files[i]);
}

const void *memory_io_get(const memory_io *m, const char *path, size_t *bytes) {
  const memory_file *file = file_find(m, path);
  if (bytes) *bytes = file ? file->bytes : 0;
  return file ? file->data : NULL;
}

size_t memory_io_file_count(const memory_io *m) {
  size_t count = 0;
  for (size_t i = 0; i < MAX_FILES; i++) count += m->files[i].path != NULL;
  return count;
}

void memory_io_truncate(memory_io *m, const char *path, size_t bytes) {
  memory_file *file = file_find(m, path);
  if (file && bytes < file->bytes) file->bytes = bytes;
}

int memory_io_open_count(const memory_io *m) { return atomic_load(&m->open_count); }
uint64_t memory_io_calls(const memory_io *m) { return atomic_load(&m->calls); }

void memory_io_fail(memory_io *m, uint64_t at, int error, int persistent) {
  m->fail_at = at ? atomic_load(&m->calls) + at : 0;
  m->fail_error = error;
  m->fail_persistent = persistent;
  atomic_store(&m->failed, 0);
}

int memory_io_failed(const memory_io *m) { return atomic_load(&m->failed); }

void memory_io_short(memory_io *m, size_t bytes) { m->short_bytes = bytes; }
