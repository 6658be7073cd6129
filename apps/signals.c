#include "signals.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "messages.h"
#include "units.h"

/* A signal handler has no other way to its data than file scope. */
static volatile sig_atomic_t stopped;
static char bus_line[768];
static size_t bus_length;

static void on_stop(int number) { stopped = number; }

static void on_bus(int number) {
  (void)number;
  ssize_t written = write(STDERR_FILENO, bus_line, bus_length);
  (void)written; /* the process ends either way */
  _exit(CODE_IO);
}

static int is_ignored(int number) {
  struct sigaction action;
  return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

void signals_install(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  sigemptyset(&action.sa_mask);
  action.sa_handler = on_stop;
  action.sa_flags = (int)SA_RESETHAND; /* the second signal kills; no SA_RESTART: a read of standard input ends */
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  if (!is_ignored(SIGHUP)) sigaction(SIGHUP, &action, NULL);
  action.sa_handler = SIG_IGN;
  action.sa_flags = 0;
  sigaction(SIGPIPE, &action, NULL);
  sigaction(SIGXFSZ, &action, NULL);
}

int signals_stopped(void) { return stopped != 0; }

int signals_resume(void) {
  if (stopped != SIGINT && stopped != 0) return 0;
  stopped = 0;
  signals_install();
  return 1;
}

void signals_mapped(const char *path) {
  bus_length = text_format(bus_line, sizeof bus_line,
                           "viva: %.512s: the file was cut or could not be read while it was mapped (SIGBUS); "
                           "restore it, or use --load read\n",
                           path);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  sigemptyset(&action.sa_mask);
  action.sa_handler = on_bus;
  sigaction(SIGBUS, &action, NULL);
}
