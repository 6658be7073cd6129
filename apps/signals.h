/* signals.h: Ctrl-C, closed pipes, and mapped files that shrink. The library installs no handlers; the program does. */
#ifndef APPS_SIGNALS_H
#define APPS_SIGNALS_H

/* SIGINT, SIGTERM and SIGHUP, except those that are ignored already (nohup, a shell's background jobs). The first asks the
 * work to stop. A command that has not asked signals_stopped within 100 ms has nothing to put in order and ends with exit
 * code 130, unless signals_answering says that it will; so does, at once, the second signal. SIGPIPE, and SIGXFSZ (a file
 * beyond ulimit -f): ignored, write(2) reports them. */
void signals_install(void);

/* 1 when a signal has asked to stop: then the caller ends the command itself, soon. */
int signals_stopped(void);

/* 1: a token is computed, and signals_stopped is asked after it. With a large model, or on a busy machine, it takes longer
 * than 100 ms; a Ctrl-C waits for it, because text, or a conversation, would be lost. 0: as before. */
void signals_answering(int now);

/* After a Ctrl-C that has been answered: 1, and the next one asks again instead of killing. 0 when it was another signal,
 * which asks the program to end. */
int signals_resume(void);

/* Says which path is mapped from now on: SIGBUS then writes one line that names the file, or this path where the system does
 * not say which, and ends with exit code 4. In whatever thread it comes.
 *
 * advice: what else may be done, as "use --load read"; lives as long as the program */
void signals_mapped(const char *path, const char *advice);

#endif
