/* tests/lib/memory_io.h: a file system in memory behind base/io.h's table, with faults on demand.
 *
 *   memory_io *m = memory_io_create();
 *   memory_io_put(m, "/m/model.safetensors", bytes, size);
 *   runtime *rt = runtime_create(NULL, memory_io_table(m), NULL, NULL, VIVA_LOG_WARN);
 *   ... open "/m" or "/m/model.safetensors" ...
 *   assert_int_equal(memory_io_open_count(m), 0);
 *   memory_io_free(m);
 *
 * A folder exists while a file lies in it, or from make_folder to remove_folder. Contents are kept in blocks of their
 * exact size, so that the sanitizers see a read beyond the end. Reads of different handles may come from several threads;
 * everything else from one.
 */
#ifndef TESTS_MEMORY_IO_H
#define TESTS_MEMORY_IO_H

#include "base/io.h"

typedef struct memory_io memory_io;

memory_io *memory_io_create(void);
void memory_io_free(memory_io *m); /* NULL is allowed */
const io_table *memory_io_table(memory_io *m);

/* Adds or replaces a file (copied). */
void memory_io_put(memory_io *m, const char *path, const void *data, size_t bytes);
void memory_io_put_text(memory_io *m, const char *path, const char *text);
/* Removes the files and folders whose paths begin with this. */
void memory_io_drop(memory_io *m, const char *beginning);
/* The file's contents, or NULL when there is none. */
const void *memory_io_get(const memory_io *m, const char *path, size_t *bytes);
size_t memory_io_file_count(const memory_io *m); /* and folders that were made */
/* Cuts a file that may be open, as another program would. */
void memory_io_truncate(memory_io *m, const char *path, size_t bytes);

/* Handles and mappings that were opened and not closed. */
int memory_io_open_count(const memory_io *m);

/* Calls of the table so far. */
uint64_t memory_io_calls(const memory_io *m);

/* From now on the at-th call (1 = the next) returns -error; with persistent also all that follow. at 0: none. A call
 * that fails does nothing, but close and unmap still free what they were given. */
void memory_io_fail(memory_io *m, uint64_t at, int error, int persistent);
/* 1 when the fault has happened. */
int memory_io_failed(const memory_io *m);

/* Reads and writes move at most this many bytes at once; 0: no limit. */
void memory_io_short(memory_io *m, size_t bytes);

#endif
