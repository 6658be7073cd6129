#include "terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int terminal_columns(int fd) {
  struct winsize size;
  return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0; /* fails where there is no terminal */
}

int terminal_fit(int fd, int taken, int least, int most, int wanted) {
  const int columns = terminal_columns(fd), left = columns - taken;
  if (columns == 0) return wanted;
  return left < least ? least : left > most ? most : left;
}

int terminal_colors(int fd) {
  const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
  return isatty(fd) == 1 && (no == NULL || *no == 0) && term != NULL && *term != 0 && strcmp(term, "dumb") != 0;
}
