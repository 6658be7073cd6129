/* signals.h: Ctrl-C, closed pipes, and mapped files that shrink. The library installs no handlers; the program does. */
#ifndef APPS_SIGNALS_H
#define APPS_SIGNALS_H

/* SIGINT, SIGTERM, and SIGHUP unless it is ignored (nohup): the first asks the work to stop, the second kills. SIGPIPE, and
 * SIGXFSZ (a file beyond ulimit -f): ignored, write(2) reports them. */
void signals_install(void);

/* 1 when a signal has asked to stop. */
int signals_stopped(void);

/* After a Ctrl-C that has been answered: 1, and the next one asks again instead of killing. 0 when it was another signal,
 * which asks the program to end. */
int signals_resume(void);

/* Says which path is mapped from now on: SIGBUS then writes one line that names it and ends with exit code 4. */
void signals_mapped(const char *path);

#endif
