#include "taken_names.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "messages.h"

typedef struct taken {
  const char *path;
  char name[];
} taken;

static int compare(const void *a, const void *b) {
  const taken *x = a, *y = b;
  return strcmp(x->name, y->name);
}

static taken *make(const char *name, const char *path) {
  const size_t bytes = strlen(name) + 1;
  taken *t = malloc(sizeof *t + bytes);
  if (t == NULL) return NULL;
  t->path = path;
  memcpy(t->name, name, bytes);
  return t;
}

int taken_names_add(taken_names *names, const char *name, const char *path) {
  taken *t = make(name, path);
  taken **at = t != NULL ? tsearch(t, &names->root, compare) : NULL;
  if (at != NULL && *at == t) return CODE_OK;
  free(t);
  if (at == NULL) return message_fail(CODE_LIMIT, "no memory for the name of a tensor");
  return message_fail(CODE_INPUT,
                      "%s: its tensor '%s' has the name of one from %s: in one container they could not be told apart; "
                      "compress each file into a container of its own, or rename one",
                      path, name, (*at)->path);
}

void taken_names_free(taken_names *names) {
  while (names->root != NULL) {
    taken *t = *(taken **)names->root;
    (void)tdelete(t, &names->root, compare);
    free(t);
  }
}
