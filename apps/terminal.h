/* terminal.h: how wide what is printed may be, and whether it may have colours. */
#ifndef APPS_TERMINAL_H
#define APPS_TERMINAL_H

/* The columns of the terminal that fd is, now; 0 when it is none or does not say. */
int terminal_columns(int fd);

/* wanted, or as much as the columns leave beside `taken`: from least to most. wanted when the columns are not known. */
int terminal_fit(int fd, int taken, int least, int most, int wanted);

/* 1 when colours may go to fd: a terminal that knows them, and nobody said no (NO_COLOR, TERM=dumb). */
int terminal_colors(int fd);

#endif
