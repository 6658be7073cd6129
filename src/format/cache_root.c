#include "format/cache_root.h"

#include <string.h>

#define REPOSITORY "models--"

/* The last name, in order, that begins so; in the arena. */
typedef struct last_name {
  arena *a;
  const char *begin, *name;
  size_t count;
} last_name;

static int visit(void *arg, const char *name) {
  last_name *last = arg;
  if (name[0] == '.' || strncmp(name, last->begin, strlen(last->begin)) != 0) return 0;
  last->count++;
  if (!last->name || strcmp(name, last->name) > 0) last->name = arena_text(last->a, name, strlen(name));
  return 0;
}

/* A folder in this one whose name begins so, or NULL. *count: how many there are. */
static const char *child(runtime *rt, arena *a, const char *folder, const char *begin, size_t *count) {
  last_name last = {a, begin, NULL, 0};
  if (!folder || !path_is_folder(rt, folder)) return NULL;
  (void)rt->io->list(rt->io->user, folder, visit, &last);
  *count = last.count;
  const char *path = last.name ? path_join(a, folder, last.name) : NULL;
  return path && path_is_folder(rt, path) ? path : NULL;
}

/* The snapshot that a repository's folder means by "main", else its last one. */
static const char *snapshot_of(runtime *rt, arena *a, const char *repository) {
  const char *snapshots = path_join(a, repository, "snapshots"), *main = path_join(a, repository, "refs/main");
  const char *text;
  size_t bytes, count;
  if (main && snapshots && file_read_all(rt, a, main, 100, &text, &bytes, NULL) == VIVA_OK) {
    const char *name = arena_text(a, text, strcspn(text, "\r\n/"));
    const char *path = name && name[0] ? path_join(a, snapshots, name) : NULL;
    if (path && path_is_folder(rt, path)) return path;
  }
  return child(rt, a, snapshots, "", &count);
}

static int is_named(const char *folder, const char *name) {
  size_t length = strlen(folder), bytes = strlen(name);
  while (length > 0 && folder[length - 1] == '/') length--;
  return length >= bytes && memcmp(folder + length - bytes, name, bytes) == 0 &&
         (length == bytes || folder[length - bytes - 1] == '/');
}

int cache_root(runtime *rt, arena *a, const char *folder, viva_error *error) {
  size_t count = 1;
  if (!rt->io->list) return 0;
  const char *snapshot = is_named(folder, "snapshots") ? child(rt, a, folder, "", &count) : snapshot_of(rt, a, folder);
  const char *what = "the root of a cached repository";
  if (!snapshot) {
    const char *hub = path_join(a, folder, "hub"), *repository = child(rt, a, folder, REPOSITORY, &count);
    if (!repository) repository = child(rt, a, hub, REPOSITORY, &count);
    snapshot = repository ? snapshot_of(rt, a, repository) : NULL;
    what = "a cache of repositories";
  }
  if (!snapshot) return 0;
  error_set(error, VIVA_E_NOT_FOUND, "this is %s; give %s in it: %s", what, count > 1 ? "a snapshot" : "the snapshot",
            snapshot);
  error_at(error, folder, NULL, 0, VIVA_NO_OFFSET);
  return 1;
}
