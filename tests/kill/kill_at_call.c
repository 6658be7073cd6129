/* Runs a program of one thread and kills it (SIGKILL) just before its N-th system call:
 *
 *   kill_at_call N COMMAND [ARGUMENT...]
 *
 * Exit code: the program's; 128 + the signal that ended it; 77 when processes cannot be traced here. N 0 kills nothing and
 * prints the number of calls. Calls are counted from the return of execve.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT_TRACE = 77, STOP_OF_CALL = SIGTRAP | 0x80 };

/* Goes on to the next stop; returns the signal to hand on, or -1 with *how when the program has ended. */
static int next_stop(pid_t child, int hand_on, int *how) {
  if (ptrace(PTRACE_SYSCALL, child, NULL, hand_on) != 0 && errno != ESRCH) return -1;
  if (waitpid(child, how, 0) != child) return -1;
  return WIFSTOPPED(*how) ? WSTOPSIG(*how) : -1;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  long at = strtol(argv[1], NULL, 10), calls = 0;
  pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(CANNOT_TRACE);
    execv(argv[2], argv + 2);
    _exit(127);
  }
  int how = 0, entering = 1;
  if (child < 0 || waitpid(child, &how, 0) != child || !WIFSTOPPED(how)) return CANNOT_TRACE;
  ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  for (int stop = next_stop(child, 0, &how); stop >= 0;) {
    if (stop == STOP_OF_CALL) {
      if (entering && ++calls == at) kill(child, SIGKILL);
      entering = !entering;
      stop = 0;
    }
    stop = next_stop(child, stop, &how);
  }
  if (at == 0) printf("%ld\n", calls);
  return WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
}
