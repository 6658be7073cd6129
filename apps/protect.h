/* protect.h: outputs that would destroy what a command reads, beyond what viva_file_open compares. */
#ifndef APPS_PROTECT_H
#define APPS_PROTECT_H

#include <stddef.h>

/* 0, or the exit code after a message: the file at path is what standard input reads, or belongs to an input that names
 * one file of a model's folder. */
int protect_inputs(const char *path, const char *const *inputs, size_t count);

/* 0, or the exit code after a message: standard output writes into the file at path (NULL or "-": standard input), which
 * would be read on and on. For commands that write while they read. */
int protect_stream(const char *path);

#endif
