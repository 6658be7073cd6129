/* Processors and limits: on texts as Linux writes them, and on this machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/cpu_parse.h"
#include "lib/memory_io.h"

static int in_mask(void *arg, uint64_t cpu) { return cpu < 64 && (*(uint64_t *)arg >> cpu & 1); }

static void lists(void **state) {
  (void)state;
  uint64_t mask = UINT64_MAX;
  assert_int_equal(cpu_list_lowest("0-1\n", in_mask, &mask), 0);
  assert_int_equal(cpu_list_lowest("5,37\n", in_mask, &mask), 5);
  mask = UINT64_C(1) << 37 | UINT64_C(1) << 9;
  assert_int_equal(cpu_list_lowest("5,37\n", in_mask, &mask), 37);
  assert_int_equal(cpu_list_lowest("1-8,10-40", in_mask, &mask), 37);
  const char *const wrong[] = {"", "\n", "x", "1-", "-1", "1,", "3-2", "99999999999999999999", "1;37", "0-4"};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
    assert_int_equal(cpu_list_lowest(wrong[i], in_mask, &mask), -1);
  assert_int_equal(cpu_list_lowest("100-18446744073709551615", in_mask, &mask), -1); /* in no time */
}

static const char meminfo[] = "MemTotal:       24684544 kB\nMemFree:         123456 kB\nMemAvailable:   20480000 kB\n"
                              "SwapTotal:      99 kB\nHugePages_Total:       7\n";

static void memory_texts(void **state) {
  (void)state;
  assert_true(cpu_meminfo_bytes(meminfo, "MemTotal") == UINT64_C(24684544) * 1024);
  assert_true(cpu_meminfo_bytes(meminfo, "MemAvailable") == UINT64_C(20480000) * 1024);
  assert_true(cpu_meminfo_bytes(meminfo, "Total") == 0);
  assert_true(cpu_meminfo_bytes(meminfo, "Mem") == 0);
  assert_true(cpu_meminfo_bytes(meminfo, "HugePages_Total") == 0); /* not in kB */
  assert_true(cpu_meminfo_bytes("MemTotal: 99999999999999999999 kB", "MemTotal") == 0);
  assert_true(cpu_meminfo_bytes("MemTotal: 18446744073709551615 kB", "MemTotal") == 0);
  assert_true(cpu_meminfo_bytes("", "MemTotal") == 0);

  const char stat[] = "anon 100\ninactive_file_x 3\nactive_file 5\ninactive_file 4096\nlast 7";
  assert_true(cpu_stat_value(stat, "inactive_file") == 4096);
  assert_true(cpu_stat_value(stat, "last") == 7);
  assert_true(cpu_stat_value(stat, "file") == 0);
  assert_true(cpu_stat_value("inactive_file x", "inactive_file") == 0);
  assert_true(cpu_limit_value("123\n") == 123);
  assert_true(cpu_limit_value("max\n") == CPU_NO_LIMIT);
  assert_true(cpu_limit_value("-1\n") == CPU_NO_LIMIT);
  assert_true(cpu_limit_value("") == CPU_NO_LIMIT);
}

static void quota_texts(void **state) {
  (void)state;
  assert_true(cpu_quota_v2("max 100000\n") == CPU_NO_LIMIT);
  assert_true(cpu_quota_v2("250000 100000\n") == 2);
  assert_true(cpu_quota_v2("50000 100000\n") == 0);
  const char *const wrong[] = {"", "100000", "100000\n", "100000 0\n", "100000 x", "-5 100"};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) assert_true(cpu_quota_v2(wrong[i]) == CPU_NO_LIMIT);
}

static void group_texts(void **state) {
  (void)state;
  const char text[] = "12:pids:/user\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/other\nbroken\n0::/user.slice/x:y\n";
  char path[64];
  assert_int_equal(cpu_group_path(text, NULL, path, sizeof path), 1);
  assert_string_equal(path, "/user.slice/x:y");
  assert_int_equal(cpu_group_path(text, "cpu", path, sizeof path), 1);
  assert_string_equal(path, "/docker/abc");
  assert_int_equal(cpu_group_path(text, "cpuacct", path, sizeof path), 1);
  assert_string_equal(path, "/docker/abc");
  assert_int_equal(cpu_group_path(text, "memory", path, sizeof path), 0);
  assert_int_equal(cpu_group_path(text, "cpu", path, 8), 1);
  assert_string_equal(path, "/"); /* too long */
  assert_int_equal(cpu_group_path("", NULL, path, sizeof path), 0);
  assert_int_equal(cpu_group_path("0::", NULL, path, sizeof path), 1);
  assert_string_equal(path, "/");
  assert_int_equal(cpu_group_path("0:", NULL, path, sizeof path), 0);
}

static void put_core(memory_io *m, int cpu, const char *siblings) {
  char path[128];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
  memory_io_put_text(m, path, siblings);
}

static void put_cache(memory_io *m, int cache, const char *level, const char *type, const char *size) {
  const char *const names[3] = {"level", "type", "size"}, *const texts[3] = {level, type, size};
  char path[128];
  for (int i = 0; i < 3; i++) {
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", cache, names[i]);
    memory_io_put_text(m, path, texts[i]);
  }
}

static void caches_hold_data(void **state) {
  (void)state;
  memory_io *m = memory_io_create();
  assert_true(cpu_cache_bytes(memory_io_table(m), 1) == 0); /* nothing is told */
  put_cache(m, 0, "1\n", "Instruction\n", "64K\n");
  put_cache(m, 1, "1\n", "Data\n", "32K\n");
  put_cache(m, 2, "2\n", "Unified\n", "x\n");
  put_cache(m, 3, "3\n", "Unified\n", "32768K\n");
  assert_true(cpu_cache_bytes(memory_io_table(m), 1) == 32 << 10);
  assert_true(cpu_cache_bytes(memory_io_table(m), 2) == 0);
  assert_true(cpu_cache_bytes(memory_io_table(m), 3) == 32 << 20);
  put_cache(m, 3, "3\n", "Unified\n", "99999999999999999999K\n");
  assert_true(cpu_cache_bytes(memory_io_table(m), 3) == 0);
  memory_io_free(m);
}

static void threads_are_cores_we_may_use(void **state) {
  (void)state;
  memory_io *m = memory_io_create();
  uint64_t allowed[2] = {0xFF, 1};
  assert_int_equal(cpu_threads_from(memory_io_table(m), allowed, 2), 9); /* no topology: processors */
  for (int cpu = 0; cpu < 8; cpu++) {
    char list[8];
    snprintf(list, sizeof list, "%d,%d\n", cpu % 4, cpu % 4 + 4);
    put_core(m, cpu, list);
  }
  put_core(m, 64, "64\n");
  assert_int_equal(cpu_threads_from(memory_io_table(m), allowed, 2), 5);
  allowed[0] = 0xF0; /* the second processor of each core */
  assert_int_equal(cpu_threads_from(memory_io_table(m), allowed, 1), 4);
  allowed[0] = 0x31;
  assert_int_equal(cpu_threads_from(memory_io_table(m), allowed, 1), 2);
  allowed[0] = 0;
  assert_int_equal(cpu_threads_from(memory_io_table(m), allowed, 1), 1);

  allowed[0] = 0x0F;
  memory_io_put_text(m, "/proc/self/cgroup", "0::/a/b\n");
  assert_int_equal(cpu_threads_from(memory_io_table(m), allowed, 1), 4);
  memory_io_put_text(m, "/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  memory_io_put_text(m, "/sys/fs/cgroup/a/cpu.max", "350000 100000\n"); /* of the group above */
  assert_int_equal(cpu_threads_from(memory_io_table(m), allowed, 1), 3);
  memory_io_put_text(m, "/sys/fs/cgroup/cpu.max", "200000 100000\n"); /* of the container's root */
  assert_int_equal(cpu_threads_from(memory_io_table(m), allowed, 1), 2);
  memory_io_put_text(m, "/sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
  assert_int_equal(cpu_threads_from(memory_io_table(m), allowed, 1), 1);

  memory_io_put_text(m, "/proc/self/cgroup", "4:cpu,cpuacct:/docker/x\n");
  memory_io_put_text(m, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n");
  memory_io_put_text(m, "/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  assert_int_equal(cpu_threads_from(memory_io_table(m), allowed, 1), 3);
  memory_io_put_text(m, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  assert_int_equal(cpu_threads_from(memory_io_table(m), allowed, 1), 4);
  assert_int_equal(memory_io_open_count(m), 0);
  memory_io_free(m);
}

static void memory_is_within_the_group(void **state) {
  (void)state;
  memory_io *m = memory_io_create();
  uint64_t total = 1, available = 1;
  cpu_memory_from(memory_io_table(m), &total, &available);
  assert_true(total == 0 && available == 0); /* unknown */
  memory_io_put_text(m, "/proc/meminfo", meminfo);
  cpu_memory_from(memory_io_table(m), &total, &available);
  assert_true(total == UINT64_C(24684544) * 1024 && available == UINT64_C(20480000) * 1024);
  memory_io_put_text(m, "/proc/self/cgroup", "0::/g\n");
  memory_io_put_text(m, "/sys/fs/cgroup/g/memory.max", "1000000\n");
  memory_io_put_text(m, "/sys/fs/cgroup/g/memory.current", "600000\n");
  memory_io_put_text(m, "/sys/fs/cgroup/g/memory.stat", "anon 1\ninactive_file 200000\n");
  cpu_memory_from(memory_io_table(m), &total, &available);
  assert_true(total == 1000000 && available == 600000);
  memory_io_put_text(m, "/sys/fs/cgroup/g/memory.current", "1500000\n");
  cpu_memory_from(memory_io_table(m), &total, &available);
  assert_true(available == 0);
  memory_io_put_text(m, "/sys/fs/cgroup/g/memory.max", "max\n");
  memory_io_put_text(m, "/sys/fs/cgroup/memory.max", "2000000\n");
  cpu_memory_from(memory_io_table(m), &total, &available);
  assert_true(total == 2000000 && available == 2000000);

  memory_io_put_text(m, "/proc/self/cgroup", "9:memory:/docker/y\n");
  memory_io_put_text(m, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "5000000\n");
  memory_io_put_text(m, "/sys/fs/cgroup/memory/memory.usage_in_bytes", "3000000\n");
  memory_io_put_text(m, "/sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 500000\n");
  cpu_memory_from(memory_io_table(m), &total, &available);
  assert_true(total == 5000000 && available == 2500000);
  assert_int_equal(memory_io_open_count(m), 0);
  memory_io_free(m);
}

static void this_machine(void **state) {
  (void)state;
  const cpu_features *cpu = cpu_get();
  assert_ptr_equal(cpu, cpu_get());
  assert_true(cpu->name[0] != 0 && strlen(cpu->name) < sizeof cpu->name);
  assert_true(!cpu->avx512 || cpu->avx2);
  assert_true(!cpu->avx512_bf16 || cpu->avx512);
  assert_true(!cpu->fast_bf16 || cpu->avx512_bf16);
  assert_true(!cpu->avx512_vnni || cpu->avx512);
#if defined(__x86_64__)
  /* The compiler's own reading of CPUID. */
  __builtin_cpu_init();
  assert_int_equal(cpu->avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  assert_int_equal(cpu->avx512, cpu->avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"));
#endif
  int threads = cpu_default_threads();
  assert_true(threads >= 1 && threads <= sysconf(_SC_NPROCESSORS_CONF));
  uint64_t total, available;
  cpu_memory(&total, &available);
  assert_true(available > 0 && available <= total);
  assert_true(total <= (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lists),
      cmocka_unit_test(memory_texts),
      cmocka_unit_test(quota_texts),
      cmocka_unit_test(group_texts),
      cmocka_unit_test(caches_hold_data),
      cmocka_unit_test(threads_are_cores_we_may_use),
      cmocka_unit_test(memory_is_within_the_group),
      cmocka_unit_test(this_machine),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
