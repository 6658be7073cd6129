/* base/thread.h: threads that leave signals to the program. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <signal.h>

/* Starts a thread with signals blocked, so that the program's handlers run in its own threads; not those that an instruction of
 * the thread itself raises (a mapped file that was cut): blocked, they would end the process without asking anybody. 0, or an
 * errno. */
static inline int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg) {
  sigset_t all, before;
  sigfillset(&all);
  sigdelset(&all, SIGBUS);
  sigdelset(&all, SIGSEGV);
  sigdelset(&all, SIGFPE);
  sigdelset(&all, SIGILL);
  int failed = pthread_sigmask(SIG_SETMASK, &all, &before);
  if (failed) return failed;
  failed = pthread_create(thread, NULL, run, arg);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  return failed;
}

#endif
