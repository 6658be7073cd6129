#include "lib/power_io.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_STEPS = 4096, MAX_ENTRIES = 1024, MAX_OPEN = 1024, NAME = 64 };

/* Entry `name` of folder `folder` is the file or folder `inode`; 0: there is none. */
typedef struct entry {
  uint64_t folder, inode;
  char name[NAME];
} entry;

typedef enum step_kind { STEP_ENTRIES, STEP_WRITE, STEP_SYNC } step_kind;

typedef struct step {
  step_kind kind;
  uint64_t inode; /* written to, or synced: a file or a folder */
  entry sets[2];  /* STEP_ENTRIES; the second may be empty */
} step;

typedef struct tree {
  entry entries[MAX_ENTRIES];
  size_t count;
} tree;

struct power_io {
  io_table table;
  char root[256];
  tree before, after;
  step *steps;
  size_t count;
  uint64_t open[MAX_OPEN]; /* inodes */
};

static void need(int condition) {
  if (!condition) abort();
}

static uint64_t inode_at(const char *path) {
  struct stat s;
  return lstat(path, &s) == 0 ? (uint64_t)s.st_ino : 0;
}

static step *add_step(power_io *p, step_kind kind) {
  need(p->count < MAX_STEPS);
  p->steps[p->count] = (step){.kind = kind};
  return &p->steps[p->count++];
}

static void set_entry(entry *e, const char *path, uint64_t inode) {
  char folder[512];
  const char *slash = strrchr(path, '/');
  need(slash != NULL && (size_t)(slash - path) < sizeof folder && strlen(slash + 1) < NAME);
  memcpy(folder, path, (size_t)(slash - path));
  folder[slash - path] = 0;
  *e = (entry){.folder = inode_at(folder), .inode = inode};
  strcpy(e->name, slash + 1);
}

static void apply(tree *t, const entry *e) {
  if (e->folder == 0) return;
  for (size_t i = 0; i < t->count; i++)
    if (t->entries[i].folder == e->folder && strcmp(t->entries[i].name, e->name) == 0) {
      t->entries[i].inode = e->inode;
      return;
    }
  need(t->count < MAX_ENTRIES);
  t->entries[t->count++] = *e;
}

static void read_tree(tree *t, const char *path, int deeper) {
  DIR *d = opendir(path);
  struct dirent *e;
  while (d && (e = readdir(d)) != NULL) {
    char name[512];
    struct stat s;
    entry found;
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    snprintf(name, sizeof name, "%.250s/%.200s", path, e->d_name);
    set_entry(&found, name, inode_at(name));
    apply(t, &found);
    if (deeper && lstat(name, &s) == 0 && S_ISDIR(s.st_mode)) read_tree(t, name, 0);
  }
  if (d) closedir(d);
}

/* ---- the table */

static int record_open(void *user, const char *path, io_open_mode mode) {
  power_io *p = user;
  int handle = io_system.open(NULL, path, mode);
  if (handle < 0) return handle;
  need(handle < MAX_OPEN);
  p->open[handle] = inode_at(path);
  if (mode == IO_CREATE_NEW) set_entry(&add_step(p, STEP_ENTRIES)->sets[0], path, p->open[handle]);
  return handle;
}

static int64_t record_write(void *user, int handle, const void *data, size_t bytes, uint64_t offset) {
  power_io *p = user;
  int64_t done = io_system.write_at(NULL, handle, data, bytes, offset);
  if (done > 0) add_step(p, STEP_WRITE)->inode = p->open[handle];
  return done;
}

static int record_sync(void *user, int handle) {
  power_io *p = user;
  add_step(p, STEP_SYNC)->inode = p->open[handle];
  return 0; /* the disk of this machine need not be asked */
}

static int record_sync_folder(void *user, const char *folder) {
  power_io *p = user;
  add_step(p, STEP_SYNC)->inode = inode_at(folder);
  return 0;
}

static int record_move(power_io *p, const char *from, const char *to, int exchange,
                       int (*move)(void *user, const char *from, const char *to)) {
  uint64_t moved = inode_at(from), other = exchange ? inode_at(to) : 0;
  int result = move(NULL, from, to);
  if (result < 0) return result;
  step *s = add_step(p, STEP_ENTRIES);
  set_entry(&s->sets[0], to, moved);
  set_entry(&s->sets[1], from, other);
  return 0;
}

static int record_rename(void *user, const char *from, const char *to) {
  return record_move(user, from, to, 0, io_system.rename);
}

static int record_rename_new(void *user, const char *from, const char *to) {
  return record_move(user, from, to, 0, io_system.rename_new);
}

static int record_exchange(void *user, const char *a, const char *b) {
  return record_move(user, a, b, 1, io_system.exchange);
}

static int record_end(power_io *p, const char *path, int (*end)(void *user, const char *path)) {
  step s = {.kind = STEP_ENTRIES};
  set_entry(&s.sets[0], path, 0);
  int result = end(NULL, path);
  if (result == 0) *add_step(p, STEP_ENTRIES) = s;
  return result;
}

static int record_remove(void *user, const char *path) { return record_end(user, path, io_system.remove); }
static int record_remove_folder(void *user, const char *path) {
  return record_end(user, path, io_system.remove_folder);
}

static int record_make_folder(void *user, const char *path) {
  power_io *p = user;
  int result = io_system.make_folder(NULL, path);
  if (result == 0) set_entry(&add_step(p, STEP_ENTRIES)->sets[0], path, inode_at(path));
  return result;
}

power_io *power_io_create(const char *root) {
  power_io *p = calloc(1, sizeof *p);
  need(p != NULL && strlen(root) < sizeof p->root);
  p->steps = calloc(MAX_STEPS, sizeof *p->steps);
  need(p->steps != NULL);
  strcpy(p->root, root);
  p->table = io_system;
  p->table.open = record_open;
  p->table.write_at = record_write;
  p->table.sync = record_sync;
  p->table.sync_folder = record_sync_folder;
  p->table.rename = record_rename;
  p->table.rename_new = record_rename_new;
  p->table.exchange = record_exchange;
  p->table.remove = record_remove;
  p->table.remove_folder = record_remove_folder;
  p->table.make_folder = record_make_folder;
  p->table.user = p;
  read_tree(&p->before, root, 1);
  return p;
}

void power_io_free(power_io *p) {
  free(p->steps);
  free(p);
}

const io_table *power_io_table(power_io *p) { return &p->table; }

/* ---- the replay */

/* Has a sync before `cut` made step i durable? */
static int durable(const power_io *p, size_t i, size_t cut) {
  const step *s = &p->steps[i];
  uint64_t place = s->kind == STEP_WRITE ? s->inode : s->sets[0].folder;
  for (size_t k = i + 1; k < cut; k++)
    if (p->steps[k].kind == STEP_SYNC && p->steps[k].inode == place) return 1;
  return 0;
}

static uint64_t find(const tree *t, uint64_t folder, const char *name) {
  for (size_t i = 0; i < t->count; i++)
    if (t->entries[i].folder == folder && strcmp(t->entries[i].name, name) == 0) return t->entries[i].inode;
  return 0;
}

/* All entries of the folder in `whole` are in t too, and no write into their files was lost. */
static int is_whole(const power_io *p, const tree *t, const tree *whole, uint64_t inode, const uint8_t *lost) {
  for (size_t i = 0; i < whole->count; i++) {
    const entry *e = &whole->entries[i];
    if (e->folder == inode && e->inode != 0 && find(t, inode, e->name) != e->inode) return 0;
  }
  for (size_t i = 0; i < p->count; i++) {
    if (p->steps[i].kind != STEP_WRITE || !lost[i]) continue;
    if (p->steps[i].inode == inode) return 0; /* it is a file itself */
    for (size_t k = 0; k < whole->count; k++)
      if (whole->entries[k].folder == inode && whole->entries[k].inode == p->steps[i].inode) return 0;
  }
  return 1;
}

size_t power_io_replay(power_io *p, const char *name, size_t tries, size_t *states) {
  static tree t;
  static uint8_t lost[MAX_STEPS];
  uint64_t random = 88172645463325252u, root = inode_at(p->root);
  size_t bad = 0;
  p->after.count = 0;
  read_tree(&p->after, p->root, 1);
  uint64_t old = find(&p->before, root, name), new = find(&p->after, root, name);
  *states = 0;
  for (size_t cut = 0; cut <= p->count; cut++)
    for (size_t try = 0; try < tries; try++) {
      t = p->before;
      memset(lost, 1, sizeof lost); /* what has not happened yet counts as lost */
      for (size_t i = 0; i < cut; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        int there = try == 1 || (try > 1 && random >> 63) || durable(p, i, cut);
        lost[i] = (uint8_t)!there;
        if (!there || p->steps[i].kind != STEP_ENTRIES) continue;
        apply(&t, &p->steps[i].sets[0]);
        apply(&t, &p->steps[i].sets[1]);
      }
      uint64_t found = find(&t, root, name);
      int is_old = found == old && (old == 0 || is_whole(p, &t, &p->before, old, lost));
      int is_new = found == new &&new != 0 && is_whole(p, &t, &p->after, new, lost);
      bad += !is_old && !is_new;
      ++*states;
    }
  return bad;
}
