/* base/cpu_parse.h: reading what Linux tells about processors and limits. Apart, so that tests can give the text. */
#ifndef BASE_CPU_PARSE_H
#define BASE_CPU_PARSE_H

#include <stddef.h>
#include <stdint.h>

#include "base/io.h"

#define CPU_NO_LIMIT UINT64_MAX

/* The lowest number of a list like "0-3,8" for which member(arg, number) is true; -1 when there is none or the text is
 * no such list. */
int64_t cpu_list_lowest(const char *text, int (*member)(void *arg, uint64_t cpu), void *arg);

/* "KEY:   123 kB" (of /proc/meminfo) in bytes; 0 when it is not there. */
uint64_t cpu_meminfo_bytes(const char *text, const char *key);

/* The value of "KEY 123" at the start of a line (memory.stat); 0 when it is not there. */
uint64_t cpu_stat_value(const char *text, const char *key);

/* A file that holds one number, or "max"; CPU_NO_LIMIT for the latter and for anything else. */
uint64_t cpu_limit_value(const char *text);

/* cpu.max of cgroup v2: "QUOTA PERIOD" or "max PERIOD". Whole processors, rounded down; CPU_NO_LIMIT for none. */
uint64_t cpu_quota_v2(const char *text);

/* The process's group for a controller, from /proc/self/cgroup: "0::/a/b" (v2, controller NULL) or "4:cpu,cpuacct:/a".
 * Copies "/a/b" into path (zero-ended, "/" when it does not fit) and returns 1; 0 when there is no such line. */
int cpu_group_path(const char *text, const char *controller, char *path, size_t size);

/* As cpu_default_threads and cpu_memory, with the files behind io. allowed: which processors this thread may use. */
int cpu_threads_from(const io_table *io, const uint64_t *allowed, size_t words);
void cpu_memory_from(const io_table *io, uint64_t *total, uint64_t *available);

/* Bytes of the first processor's cache of this level (1, 2, 3) that holds data; 0 when it is not told. */
uint64_t cpu_cache_bytes(const io_table *io, unsigned level);

#endif
