/* Runs a program whose main thread is stopped just before its N-th system call, and
 *
 *   at_call kill N COMMAND [ARGUMENT...]      kills it (SIGKILL)
 *   at_call fail N COMMAND [ARGUMENT...]      lets the call fail: the table below says how
 *
 * Exit code: the program's; 128 + the signal that ended it; 77 when processes cannot be traced here. With N 0 nothing happens,
 * and the number of calls goes to standard output, on a line of its own, behind the program's. Calls are counted from the
 * return of execve; `fail` counts those of the table, from the first fcntl on, with which main begins: what the system's loader
 * does with an error is not ours. (brk is not there: the kernel refuses it with the old end. fail_memory.c is for memory.)
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT_TRACE = 77, STOP_OF_CALL = SIGTRAP | 0x80 };

#ifdef __x86_64__
static const struct {
  long call;
  int error;
} failures[] = {
    {SYS_openat, EMFILE},
    {SYS_open, EMFILE},
    {SYS_read, EIO},
    {SYS_pread64, EIO},
    {SYS_write, ENOSPC},
    {SYS_pwrite64, ENOSPC},
    {SYS_newfstatat, EIO},
    {SYS_fstat, EIO},
    {SYS_stat, EIO},
    {SYS_lstat, EIO},
    {SYS_statx, EIO},
    {SYS_mmap, ENOMEM},
    {SYS_mprotect, ENOMEM},

    {SYS_madvise, ENOMEM},
    {SYS_fsync, EIO},
    {SYS_close, EIO},
    {SYS_rename, EIO},
    {SYS_renameat2, EIO},
    {SYS_unlink, EIO},
    {SYS_mkdir, ENOSPC},
    {SYS_rmdir, EIO},
    {SYS_flock, ENOLCK},
    {SYS_statfs, EIO},
    {SYS_getdents64, EIO},
    {SYS_clone, EAGAIN},
    {SYS_clone3, EAGAIN},
    {SYS_sched_getaffinity, EPERM},
    {SYS_getrandom, EAGAIN},
    {SYS_ioctl, ENOTTY},
    {SYS_lseek, EIO},
    {SYS_sigaltstack, ENOMEM},
    {SYS_rt_sigaction, EINVAL},
};

static int error_of(long call) {
  for (size_t i = 0; i < sizeof failures / sizeof *failures; i++)
    if (failures[i].call == call) return failures[i].error;
  return 0;
}

static int error_here(pid_t child) {
  static int begun;
  struct user_regs_struct r;
  if (ptrace(PTRACE_GETREGS, child, NULL, &r) != 0) return 0;
  begun |= r.orig_rax == SYS_fcntl;
  return begun ? error_of((long)r.orig_rax) : 0;
}

/* At the entry: the kernel finds no call to make. */
static void skip_call(pid_t child) {
  struct user_regs_struct r;
  ptrace(PTRACE_GETREGS, child, NULL, &r);
  r.orig_rax = (unsigned long long)-1;
  ptrace(PTRACE_SETREGS, child, NULL, &r);
}

/* At the exit. */
static void set_result(pid_t child, int error) {
  struct user_regs_struct r;
  ptrace(PTRACE_GETREGS, child, NULL, &r);
  r.rax = (unsigned long long)-error;
  ptrace(PTRACE_SETREGS, child, NULL, &r);
}
#else /* registers have other names: only kills */
static int error_here(pid_t child) { return (void)child, 0; }
static void skip_call(pid_t child) { (void)child; }
static void set_result(pid_t child, int error) { (void)child, (void)error; }
#endif

/* Goes on to the next stop; returns the signal to hand on, or -1 with *how when the program has ended. */
static int next_stop(pid_t child, int hand_on, int *how) {
  if (ptrace(PTRACE_SYSCALL, child, NULL, hand_on) != 0 && errno != ESRCH) return -1;
  if (waitpid(child, how, 0) != child) return -1;
  return WIFSTOPPED(*how) ? WSTOPSIG(*how) : -1;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  int fails = strcmp(argv[1], "fail") == 0, failed = 0;
  long at = strtol(argv[2], NULL, 10), calls = 0;
  pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(CANNOT_TRACE);
    execv(argv[3], argv + 3);
    _exit(127);
  }
  int how = 0, entering = 1;
  if (child < 0 || waitpid(child, &how, 0) != child || !WIFSTOPPED(how)) return CANNOT_TRACE;
  ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  for (int stop = next_stop(child, 0, &how); stop >= 0;) {
    if (stop == STOP_OF_CALL) {
      int error = fails && entering ? error_here(child) : 0;
      if (entering && (!fails || error) && ++calls == at) {
        failed = error;
        if (fails)
          skip_call(child);
        else
          kill(child, SIGKILL);
      } else if (!entering && failed) {
        set_result(child, failed);
        failed = 0;
      }
      entering = !entering;
      stop = 0;
    }
    stop = next_stop(child, stop, &how);
  }
  if (at == 0) printf("\n%ld\n", calls);
  return WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
}
