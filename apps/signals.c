#include "signals.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "mapped.h"
#include "messages.h"
#include "units.h"

/* From the signal to the end of a command that does not ask. Under a sanitizer a token takes longer than that. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { PATIENCE_US = 3000000 };
#else
enum { PATIENCE_US = 100000 };
#endif

/* A signal handler has no other way to its data than file scope. */
static volatile sig_atomic_t stopped;
static volatile sig_atomic_t asked;          /* signals_stopped has told it */
static volatile sig_atomic_t answering;      /* signals_answering */
static atomic_flag holed = ATOMIC_FLAG_INIT; /* a thread has met the end of a mapped file */
static char mapped_path[512];
static const char *mapped_advice;

static void end_now(int code, const char *line, size_t bytes) {
  ssize_t written = write(STDERR_FILENO, line, bytes);
  (void)written; /* the process ends either way */
  _exit(code);
}

static void start_alarm(void) {
  const struct itimerval once = {.it_value = {PATIENCE_US / 1000000, PATIENCE_US % 1000000}};
  setitimer(ITIMER_REAL, &once, NULL);
}

static void on_stop(int number) {
  stopped = number;
  start_alarm();
}

static void on_alarm(int number) {
  static const char line[] = "viva: stopped\n";
  (void)number;
  if (asked) return;
  if (!answering || stopped != SIGINT) end_now(CODE_INTERRUPTED, line, sizeof line - 1);
  start_alarm();
}

static void on_bus(int number, siginfo_t *info, void *context) {
  char line[1024], name[512];
  (void)number, (void)context;
  while (atomic_flag_test_and_set(&holed)) pause(); /* another thread is saying it */
  size_t used = 0;
  const char *parts[] = {"viva: ", mapped_file(info->si_addr, name, sizeof name) ? name : mapped_path,
                         ": the file was cut or could not be read while it was mapped (SIGBUS); restore it, or ",
                         mapped_advice, "\n"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    for (const char *at = parts[i]; *at != 0 && used < sizeof line; at++) line[used++] = *at;
  end_now(CODE_IO, line, used);
}

static int is_ignored(int number) {
  struct sigaction action;
  return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

void signals_install(void) {
  static const int stops[] = {SIGINT, SIGTERM, SIGHUP};
  struct sigaction action;
  memset(&action, 0, sizeof action);
  sigemptyset(&action.sa_mask);
  action.sa_handler = on_alarm;
  sigaction(SIGALRM, &action, NULL);
  sigset_t alarm;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  sigprocmask(SIG_UNBLOCK, &alarm, NULL);
  action.sa_handler = on_stop;
  action.sa_flags = (int)SA_RESETHAND; /* the second signal kills; no SA_RESTART: a read of standard input ends */
  for (size_t i = 0; i < sizeof stops / sizeof *stops; i++)
    if (!is_ignored(stops[i])) sigaction(stops[i], &action, NULL);
  action.sa_handler = SIG_IGN;
  action.sa_flags = 0;
  sigaction(SIGPIPE, &action, NULL);
  sigaction(SIGXFSZ, &action, NULL);
}

int signals_stopped(void) {
  if (stopped) asked = 1;
  return stopped != 0;
}

void signals_answering(int now) { answering = now != 0; }

int signals_resume(void) {
  static const struct itimerval never;
  if (stopped != SIGINT && stopped != 0) return 0;
  setitimer(ITIMER_REAL, &never, NULL);
  stopped = asked = 0;
  signals_install();
  return 1;
}

void signals_mapped(const char *path, const char *advice) {
  struct sigaction action;
  text_format(mapped_path, sizeof mapped_path, "%s", path);
  mapped_advice = advice;
  memset(&action, 0, sizeof action);
  sigemptyset(&action.sa_mask);
  action.sa_sigaction = on_bus;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, NULL);
}
