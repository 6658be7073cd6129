/* mapped.c: reads /proc/self/maps, byte by byte: "7f0000-7f1000 r--p 00000000 08:01 1234    /path/of/file". */
#include "mapped.h"

#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#include "visible.h"

typedef struct reader {
  int fd;
  size_t at, end;
  char buffer[1024];
} reader;

/* -1: the end. */
static int next(reader *r) {
  if (r->at == r->end) {
    ssize_t got = read(r->fd, r->buffer, sizeof r->buffer);
    if (got <= 0) return -1;
    r->at = 0;
    r->end = (size_t)got;
  }
  return (unsigned char)r->buffer[r->at++];
}

/* Reads hexadecimal digits; *after: the character behind them. */
static uintptr_t number(reader *r, int *after) {
  uintptr_t value = 0;
  for (;;) {
    int c = *after = next(r);
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return value;
    value = value << 4 | (uintptr_t)digit;
  }
}

/* The rest of a line from its first slash on. 0: there is none. */
static size_t read_path(reader *r, char *path, size_t size) {
  size_t length = 0;
  for (int c = next(r); c >= 0 && c != '\n'; c = next(r))
    if ((length > 0 || c == '/') && length < size) path[length++] = (char)c;
  return length;
}

int mapped_file(const void *address, char *name, size_t size) {
  reader r = {.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};
  if (r.fd < 0) return 0;
  char path[480];
  size_t length = 0;
  int found = 0, after = 0;
  while (!found && after >= 0) {
    uintptr_t begin = number(&r, &after), end = number(&r, &after);
    if (after < 0) break;
    length = read_path(&r, path, sizeof path);
    found = (uintptr_t)address >= begin && (uintptr_t)address < end;
  }
  close(r.fd);
  if (!found || length == 0) return 0;
  visible_copy(name, size, path, length, "");
  return 1;
}
