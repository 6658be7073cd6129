/* base/cpu_parse.c: processors and limits, from the files of /proc and /sys.
 *
 * A file that is missing or says something unexpected means "no limit": a guess must not stop the program.
 */
#include "base/cpu_parse.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"

#define FILE_BYTES  16384 /* the longest we read is /proc/meminfo or memory.stat, 2 to 6 KiB */
#define GROUP_BYTES 512
#define PATH_BYTES  (GROUP_BYTES + 128)

/* Reads a whole small file; 0 when there is none. Files of /proc have no size: read until the end. */
static int read_small(const io_table *io, const char *path, char text[FILE_BYTES]) {
  int handle = io->open(io->user, path, IO_READ);
  if (handle < 0) return 0;
  size_t length = 0;
  while (length < FILE_BYTES - 1) {
    int64_t got = io->read_at(io->user, handle, text + length, FILE_BYTES - 1 - length, length);
    if (got <= 0) break;
    length += (size_t)got;
  }
  text[length] = 0;
  (void)io->close(io->user, handle);
  return length > 0;
}

/* Digits at *text; moves past them. 0 on success. */
static int take_number(const char **text, uint64_t *value) {
  size_t digits = strspn(*text, "0123456789");
  if (num_u64(*text, digits, value)) return 1;
  *text += digits;
  return 0;
}

int64_t cpu_list_lowest(const char *text, int (*member)(void *arg, uint64_t cpu), void *arg) {
  const uint64_t most = 1 << 16; /* no kernel numbers processors beyond this */
  for (;;) {
    uint64_t first, last;
    if (take_number(&text, &first)) return -1;
    last = first;
    if (*text == '-') {
      text++;
      if (take_number(&text, &last)) return -1;
    }
    for (uint64_t cpu = first; cpu <= last && cpu < most; cpu++)
      if (member(arg, cpu)) return (int64_t)cpu;
    if (*text != ',') return -1;
    text++;
  }
}

/* What follows key and then separator at the start of a line, without blanks; NULL when no line starts so. */
static const char *find_line(const char *text, const char *key, char separator) {
  size_t length = strlen(key);
  for (const char *line = text; line; line = strchr(line, '\n')) {
    if (*line == '\n') line++;
    if (strncmp(line, key, length) != 0 || line[length] != separator) continue;
    return line + length + 1 + strspn(line + length + 1, " \t");
  }
  return NULL;
}

uint64_t cpu_meminfo_bytes(const char *text, const char *key) {
  const char *value = find_line(text, key, ':');
  uint64_t kib;
  if (!value || take_number(&value, &kib) || strncmp(value, " kB", 3) != 0 || kib > UINT64_MAX / 1024) return 0;
  return kib * 1024;
}

uint64_t cpu_stat_value(const char *text, const char *key) {
  const char *value = find_line(text, key, ' ');
  uint64_t number;
  return !value || take_number(&value, &number) ? 0 : number;
}

uint64_t cpu_limit_value(const char *text) {
  uint64_t number;
  return take_number(&text, &number) ? CPU_NO_LIMIT : number;
}

uint64_t cpu_quota_v2(const char *text) {
  uint64_t quota, period;
  if (take_number(&text, &quota) || *text != ' ') return CPU_NO_LIMIT;
  text++;
  if (take_number(&text, &period) || period == 0) return CPU_NO_LIMIT;
  return quota / period;
}

/* Is word one of the comma-separated names in list[0..bytes)? */
static int list_has(const char *list, size_t bytes, const char *word) {
  size_t length = strlen(word);
  for (const char *end = list + bytes; list < end;) {
    size_t n = strcspn(list, ",:\n");
    if (n == length && strncmp(list, word, n) == 0) return 1;
    list += n + 1;
  }
  return 0;
}

int cpu_group_path(const char *text, const char *controller, char *path, size_t size) {
  for (const char *line = text; line && *line != 0; line = strchr(line, '\n')) {
    if (*line == '\n') line++;
    size_t number = strcspn(line, ":\n");
    if (line[number] != ':') continue;
    const char *names = line + number + 1;
    size_t names_bytes = strcspn(names, ":\n");
    if (names[names_bytes] != ':') continue;
    if (controller ? !list_has(names, names_bytes, controller) : names_bytes != 0) continue;
    const char *group = names + names_bytes + 1;
    size_t bytes = strcspn(group, "\n");
    if (bytes == 0 || bytes >= size || group[0] != '/') {
      memcpy(path, "/", 2);
      return 1;
    }
    memcpy(path, group, bytes);
    path[bytes] = 0;
    return 1;
  }
  return 0;
}

/* Where a controller's files lie: root + group + "/". Shortened from the group up to the root, because a container may
 * not see the group's own folder, and because the limits of all folders above count too. */
typedef struct group_walk {
  const char *root;
  char group[GROUP_BYTES];
} group_walk;

/* One step up; 0 when the root was reached. */
static int walk_up(group_walk *walk) {
  if (strcmp(walk->group, "/") == 0) return 0;
  char *slash = strrchr(walk->group, '/');
  slash[slash == walk->group] = 0;
  return 1;
}

static int read_group_file(const io_table *io, const group_walk *walk, const char *file, char text[FILE_BYTES]) {
  char path[PATH_BYTES];
  const char *group = strcmp(walk->group, "/") == 0 ? "" : walk->group;
  snprintf(path, sizeof path, "%s%s/%s", walk->root, group, file);
  return read_small(io, path, text);
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t quota_of(const io_table *io, const char *groups) {
  char text[FILE_BYTES];
  uint64_t quota = CPU_NO_LIMIT;
  group_walk walk = {.root = "/sys/fs/cgroup"};
  if (cpu_group_path(groups, NULL, walk.group, sizeof walk.group)) {
    do
      if (read_group_file(io, &walk, "cpu.max", text)) quota = least(quota, cpu_quota_v2(text));
    while (walk_up(&walk));
  }
  walk.root = "/sys/fs/cgroup/cpu";
  if (cpu_group_path(groups, "cpu", walk.group, sizeof walk.group)) {
    do {
      if (!read_group_file(io, &walk, "cpu.cfs_quota_us", text)) continue;
      uint64_t microseconds = cpu_limit_value(text); /* "-1": no limit */
      if (microseconds == CPU_NO_LIMIT || !read_group_file(io, &walk, "cpu.cfs_period_us", text)) continue;
      uint64_t period = cpu_limit_value(text);
      if (period != 0 && period != CPU_NO_LIMIT) quota = least(quota, microseconds / period);
    } while (walk_up(&walk));
  }
  return quota;
}

typedef struct cpu_mask {
  const uint64_t *bits;
  size_t words;
} cpu_mask;

static int mask_has(void *arg, uint64_t cpu) {
  const cpu_mask *mask = arg;
  return cpu / 64 < mask->words && (mask->bits[cpu / 64] >> cpu % 64 & 1) != 0;
}

/* A core counts once: for the lowest of its processors that we may use. */
static uint64_t count_cores(const io_table *io, cpu_mask *mask) {
  char text[FILE_BYTES], path[PATH_BYTES];
  uint64_t cores = 0;
  for (uint64_t cpu = 0; cpu < 64 * mask->words; cpu++) {
    if (!mask_has(mask, cpu)) continue;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%llu/topology/thread_siblings_list",
             (unsigned long long)cpu);
    int64_t lowest = read_small(io, path, text) ? cpu_list_lowest(text, mask_has, mask) : -1;
    cores += lowest < 0 || (uint64_t)lowest == cpu;
  }
  return cores;
}

int cpu_threads_from(const io_table *io, const uint64_t *allowed, size_t words) {
  const uint64_t most = 1024; /* nobody profits from more threads by default */
  char groups[FILE_BYTES];
  cpu_mask mask = {allowed, words};
  uint64_t threads = least(count_cores(io, &mask), most);
  if (read_small(io, "/proc/self/cgroup", groups)) threads = least(threads, quota_of(io, groups));
  return threads < 1 ? 1 : (int)threads;
}

/* Lowers total and available by one controller's limits. Pages of files that were not used lately can be taken back, so
 * they count as free. */
static void apply_memory_limits(const io_table *io, group_walk *walk, const char *const files[3], const char *credit,
                                uint64_t *total, uint64_t *available) {
  char text[FILE_BYTES];
  do {
    if (!read_group_file(io, walk, files[0], text)) continue;
    uint64_t limit = cpu_limit_value(text);
    if (limit == CPU_NO_LIMIT) continue;
    *total = least(*total, limit);
    uint64_t used = read_group_file(io, walk, files[1], text) ? cpu_limit_value(text) : 0;
    uint64_t idle = read_group_file(io, walk, files[2], text) ? cpu_stat_value(text, credit) : 0;
    used = used == CPU_NO_LIMIT ? 0 : used;
    used = idle < used ? used - idle : 0;
    *available = least(*available, used < limit ? limit - used : 0);
  } while (walk_up(walk));
}

void cpu_memory_from(const io_table *io, uint64_t *total, uint64_t *available) {
  static const char *const v2[3] = {"memory.max", "memory.current", "memory.stat"};
  static const char *const v1[3] = {"memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"};
  char text[FILE_BYTES];
  *total = *available = 0;
  if (!read_small(io, "/proc/meminfo", text)) return;
  *total = cpu_meminfo_bytes(text, "MemTotal");
  *available = cpu_meminfo_bytes(text, "MemAvailable");
  if (!read_small(io, "/proc/self/cgroup", text)) return;
  group_walk walk = {.root = "/sys/fs/cgroup"};
  if (cpu_group_path(text, NULL, walk.group, sizeof walk.group))
    apply_memory_limits(io, &walk, v2, "inactive_file", total, available);
  walk.root = "/sys/fs/cgroup/memory";
  if (cpu_group_path(text, "memory", walk.group, sizeof walk.group))
    apply_memory_limits(io, &walk, v1, "total_inactive_file", total, available);
}

/* -- caches */

#define MOST_CACHES 8

/* One of the small files that tell about a cache; 0 when there is none. */
static int read_cache_file(const io_table *io, int cache, const char *file, char text[FILE_BYTES]) {
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", cache, file);
  return read_small(io, path, text);
}

/* "32768K" and a line's end. */
static uint64_t cache_size(const char *text) {
  uint64_t kib;
  return take_number(&text, &kib) || *text != 'K' || kib > UINT64_MAX >> 10 ? 0 : kib << 10;
}

uint64_t cpu_cache_bytes(const io_table *io, unsigned level) {
  char text[FILE_BYTES];
  for (int i = 0; i < MOST_CACHES; i++) {
    uint64_t found;
    const char *at = text;
    if (!read_cache_file(io, i, "level", text) || take_number(&at, &found) || found != level) continue;
    if (!read_cache_file(io, i, "type", text) || text[0] == 'I') continue; /* Data, Instruction, Unified */
    if (read_cache_file(io, i, "size", text)) return cache_size(text);
  }
  return 0;
}
