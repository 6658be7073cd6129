/* base/thread.h: threads that leave signals to the program. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <signal.h>

/* Starts a thread with all signals blocked, so that the program's handlers run in its own threads. 0, or an errno. */
static inline int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg) {
  sigset_t all, before;
  sigfillset(&all);
  int failed = pthread_sigmask(SIG_SETMASK, &all, &before);
  if (failed) return failed;
  failed = pthread_create(thread, NULL, run, arg);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  return failed;
}

#endif
