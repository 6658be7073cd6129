/* taken_names.h: the names of the arrays that go into one container, each from which file. */
#ifndef APPS_TAKEN_NAMES_H
#define APPS_TAKEN_NAMES_H

typedef struct taken_names {
  void *root; /* of a tree of names; NULL: none yet */
} taken_names;

/* Takes name for an array of the file at path, which must live as long as names. Returns 0, or the exit code after a message: an
 * array before has this name, or there is no memory. */
int taken_names_add(taken_names *names, const char *name, const char *path);
void taken_names_free(taken_names *names);

#endif
