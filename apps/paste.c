#include "paste.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BEGIN "\033[200~"
#define END   "\033[201~"

enum {
  SEQUENCE = sizeof BEGIN - 1,
  SOON = 30, /* milliseconds: a sequence comes in one piece, Esc and then a key does not */
  MOST = 16 << 20
};

static int next_byte(paste *p, int (*wait)(void), char *byte) {
  if (p->ahead_count > 0) {
    *byte = p->ahead[0];
    memmove(p->ahead, p->ahead + 1, --p->ahead_count);
    return 1;
  }
  for (;;) {
    errno = EINTR;
    if (!wait()) return -1;
    ssize_t got = read(STDIN_FILENO, byte, 1);
    if (got >= 0 || errno != EINTR) return (int)got;
  }
}

/* 1 when BEGIN's other bytes follow. Those of another sequence come again. */
static int begins(paste *p) {
  char seen[SEQUENCE];
  size_t count = 0;
  struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
  if (p->ahead_count > 0) return 0;
  int same = 1;
  while (same && count + 1 < SEQUENCE && poll(&in, 1, SOON) == 1 && read(STDIN_FILENO, &seen[count], 1) == 1) {
    same = seen[count] == BEGIN[count + 1];
    count++;
  }
  if (same && count + 1 == SEQUENCE) return 1;
  memcpy(p->ahead, seen, count);
  p->ahead_count = count;
  return 0;
}

static int add(paste *p, char byte) {
  if (p->bytes + 2 > p->room) {
    size_t room = 2 * p->room + 256;
    char *grown = room <= MOST ? realloc(p->text, room) : NULL;
    if (grown == NULL) return 1;
    p->text = grown;
    p->room = room;
  }
  p->text[p->bytes++] = byte;
  p->text[p->bytes] = 0;
  return 0;
}

static int ends(const paste *p) {
  return p->bytes >= SEQUENCE && memcmp(p->text + p->bytes - SEQUENCE, END, SEQUENCE) == 0;
}

/* Terminals send line ends as \r. The last one is dropped: Enter is still to come. */
static void clean(paste *p) {
  size_t count = 0;
  for (size_t i = 0; i + SEQUENCE < p->bytes; i++) {
    char c = p->text[i];
    if (c == '\r' && p->text[i + 1] == '\n') continue;
    if (c == '\r') c = '\n';
    if (c == '\n' || c == '\t' || ((unsigned char)c >= 32 && c != 127)) p->text[count++] = c;
  }
  while (count > 0 && p->text[count - 1] == '\n') count--;
  p->text[count] = 0;
  p->bytes = count;
}

int paste_read(paste *p, int (*wait)(void), char *byte, int *pasted) {
  *pasted = 0;
  int got = next_byte(p, wait, byte);
  if (got <= 0 || *byte != BEGIN[0] || !begins(p)) return got;
  p->bytes = 0;
  while (!ends(p)) {
    got = next_byte(p, wait, byte);
    if (got <= 0) return got;
    if (add(p, *byte)) return errno = ENOMEM, -1;
  }
  clean(p);
  *pasted = 1;
  return 1;
}

void paste_free(paste *p) {
  free(p->text);
  *p = (paste){.text = NULL};
}
