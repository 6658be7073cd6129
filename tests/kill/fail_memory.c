/* Loaded before a program (LD_PRELOAD): its N-th allocation, of those it or the C library makes after main has begun, fails.
 *
 *   VIVA_TEST_FAIL=N     0: none
 *   VIVA_TEST_REPORT=PATH, written at the end: the number of allocations, whether one failed, and how many blocks that the
 *                        program itself asked for were not freed
 *
 * pthread_create is counted as an allocation: it is the third thing that a system may refuse.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t bytes);
void __libc_free(void *block);

enum { TABLE = 1 << 16 }; /* blocks of the program that live at once */
static _Atomic(void *) owned[TABLE];
static _Atomic long calls, failed;
static long fail_at;
static const char *report;
static uintptr_t program_begin, program_end;
static int begun;

static int find_program(struct dl_phdr_info *info, size_t size, void *unused) {
  (void)size, (void)unused;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *p = &info->dlpi_phdr[i];
    if (p->p_type != PT_LOAD || !(p->p_flags & PF_X)) continue;
    program_begin = info->dlpi_addr + p->p_vaddr;
    program_end = program_begin + p->p_memsz;
  }
  return 1; /* the first is the program */
}

__attribute__((constructor)) static void begin(void) {
  const char *at = getenv("VIVA_TEST_FAIL");
  fail_at = at ? strtol(at, NULL, 10) : 0;
  report = getenv("VIVA_TEST_REPORT");
  dl_iterate_phdr(find_program, NULL);
}

/* What runs before main is not ours: the C library's, and CUDA's, which takes no refusal. */
static int (*main_of_program)(int argc, char **argv, char **environment);

static int counted_main(int argc, char **argv, char **environment) {
  begun = 1;
  return main_of_program(argc, argv, environment);
}

typedef int start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void),
                       void (*fini)(void), void (*loader_fini)(void), void *stack);
start_main __libc_start_main;

int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*loader_fini)(void), void *stack) {
  start_main *real;
  *(void **)&real = dlsym(RTLD_NEXT, "__libc_start_main");
  main_of_program = main;
  return real(counted_main, argc, argv, init, fini, loader_fini, stack);
}

static size_t slot(const void *block) { return ((uintptr_t)block >> 4) * 0x9E3779B97F4A7C15u >> 48 & (TABLE - 1); }

static void own(void *block, const void *caller) {
  if (!block || (uintptr_t)caller < program_begin || (uintptr_t)caller >= program_end) return;
  for (size_t i = slot(block);; i = (i + 1) & (TABLE - 1)) {
    void *none = NULL;
    if (atomic_compare_exchange_strong(&owned[i], &none, block)) return;
  }
}

static int disown(void *block) {
  for (size_t i = slot(block), n = 0; n < TABLE; i = (i + 1) & (TABLE - 1), n++) {
    void *there = block;
    if (atomic_compare_exchange_strong(&owned[i], &there, NULL)) return 1;
    if (n > 64) return 0; /* the C library's: not in the table */
  }
  return 0;
}

static int refused(void) {
  if (!begun || atomic_fetch_add(&calls, 1) + 1 != fail_at) return 0;
  atomic_store(&failed, 1);
  return 1;
}

#define CALLER __builtin_return_address(0)

void *malloc(size_t bytes) {
  if (refused()) return errno = ENOMEM, NULL;
  void *block = __libc_malloc(bytes);
  own(block, CALLER);
  return block;
}

void *calloc(size_t count, size_t size) {
  if (refused()) return errno = ENOMEM, NULL;
  void *block = __libc_calloc(count, size);
  own(block, CALLER);
  return block;
}

void *realloc(void *block, size_t bytes) {
  if (refused()) return errno = ENOMEM, NULL;
  if (block) disown(block);
  void *moved = __libc_realloc(block, bytes);
  own(moved ? moved : bytes ? block : NULL, CALLER);
  return moved;
}

void free(void *block) {
  if (block) disown(block);
  __libc_free(block);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg) {
  static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
  return refused() ? EAGAIN : real(thread, attributes, run, arg);
}

__attribute__((destructor)) static void end(void) {
  long live = 0;
  char text[80];
  for (size_t i = 0; i < TABLE; i++) live += atomic_load(&owned[i]) != NULL;
  int length = snprintf(text, sizeof text, "%ld %ld %ld\n", atomic_load(&calls), atomic_load(&failed), live);
  int file = report ? open(report, O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;
  if (file < 0) return;
  if (write(file, text, (size_t)length) != length) _exit(99);
  close(file);
}
